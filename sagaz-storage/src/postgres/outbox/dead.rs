//! Dead letters, retention, and how the outbox stands.

use super::super::{
    database::Database,
    event::{self, KeyLock, event_columns, key_lock},
    row::{self, ms},
};
use crate::value::{self, as_u64, millis, record, unreadable};
use sagaz_core::store::{
    DeadDecision, DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterPage, DeadState,
    Intervention, OutboxStats, StoreError,
};
use sqlx::{Connection, Row, postgres::PgConnection, postgres::PgRow};
use std::time::Duration;
use uuid::Uuid;

/// The oldest of each lane is found in the primary key. Parameter: how far to count.
const STATS: &str = "SELECT
    (SELECT count(*) FROM (SELECT 1 FROM sagaz.outbox AS o WHERE NOT o.is_dead LIMIT $1) AS counted) AS pending,
    (SELECT (extract(epoch FROM clock_timestamp() - min(first.stored_at)) * 1000)::bigint
        FROM sagaz.outbox_lane AS l CROSS JOIN LATERAL (
            SELECT o.stored_at FROM sagaz.outbox AS o WHERE o.lane = l.lane AND NOT o.is_dead ORDER BY o.seq LIMIT 1
        ) AS first) AS oldest_ms,
    (SELECT count(*) FROM (SELECT 1 FROM sagaz.dead_letter AS d WHERE d.state = 'open' LIMIT $1) AS counted) AS dead";

/// How far is counted.
const COUNT_MAX: i64 = 100_000;

/// By the primary key. Parameters: state, type, key, consumer, the place (id and consumer), length.
const LIST: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", o.consumer, o.attempts, o.error, o.lane IS NOT NULL AS blocks, o.state, o.interventions, ",
    ms!("o.died_at"),
    " AS died_ms FROM sagaz.dead_letter AS o
    WHERE (o.id, o.consumer) > ($5::text, $6::text)
        AND ($1::text IS NULL OR o.state = $1) AND ($2::text IS NULL OR o.type = $2) AND ($3::text IS NULL OR o.key = $3)
        AND ($4::text IS NULL OR o.consumer = $4)
    ORDER BY o.id, o.consumer LIMIT $7"
);

/// Open letters, held in their order, and the keys that some need a new place in. Parameters: ids, consumers.
const HOLD: &str = "SELECT d.id, d.consumer, CASE WHEN d.consumer = '' AND d.lane IS NULL THEN d.key END AS key
    FROM sagaz.dead_letter AS d
    WHERE (d.id, d.consumer) IN (SELECT v.id, v.consumer FROM unnest($1::text[], $2::text[]) AS v(id, consumer))
        AND d.state = 'open'
    ORDER BY d.id, d.consumer FOR UPDATE";

/// Instances whose ids are keys, and then keys. Parameters: both.
const LOCK: &str = concat!(
    "WITH held AS MATERIALIZED (
        SELECT i.id FROM sagaz.saga_instance AS i WHERE i.id = ANY($1) ORDER BY i.id FOR NO KEY UPDATE
    )
    SELECT pg_advisory_xact_lock(",
    key_lock!("k.key"),
    ") FROM (SELECT count(*) FROM held) AS h
    LEFT JOIN (SELECT DISTINCT k.key FROM unnest($2::text[]) AS k(key) ORDER BY 1) AS k ON true"
);

/// The letters, as they are after the decision. Parameters: ids, consumers, the state, the intervention up to its time.
macro_rules! decided {
    ($given_back:literal) => {
        concat!(
            "letter AS MATERIALIZED (
                SELECT d.* FROM sagaz.dead_letter AS d
                WHERE (d.id, d.consumer) IN (SELECT v.id, v.consumer FROM unnest($1::text[], $2::text[]) AS v(id, consumer))
            ), decided AS (
                UPDATE sagaz.dead_letter AS d SET state = $3, decided_at = clock_timestamp(), lane = NULL, seq = NULL,
                    is_given_back = ",
            $given_back,
            ", interventions = coalesce(left(d.interventions, -1) || ',', '[') || $4
                    || (extract(epoch FROM clock_timestamp()) * 1000)::bigint || '}]'
                FROM letter AS l WHERE d.id = l.id AND d.consumer = l.consumer
            )"
        )
    };
}

/// To their old places, to new ones, or to their consumers.
const RETRY: &str = concat!(
    "WITH ",
    decided!("d.consumer <> ''"),
    ", unblocked AS (
        UPDATE sagaz.outbox AS o SET is_dead = false, attempts = 0, error = NULL, wake_at = NULL
        FROM letter AS l WHERE l.consumer = '' AND o.lane = l.lane AND o.seq = l.seq
    ), given_back AS (
        DELETE FROM sagaz.consumer_inbox AS c USING letter AS l WHERE c.consumer = l.consumer AND c.event_id = l.id
    )
    INSERT INTO sagaz.outbox (lane, seq, xid, id, key, type, source, subject, time, attributes, content_type, data_text, data_bytes,
        stored_at)
    SELECT x.new_lane, nextval('sagaz.outbox_seq'), pg_current_xact_id(), x.id, x.key, x.type, x.source, x.subject, x.time,
        x.attributes, x.content_type, x.data_text, x.data_bytes, clock_timestamp()
    FROM (
        SELECT l.*, v.lane AS new_lane FROM unnest($1::text[], $2::text[], $5::integer[]) AS v(id, consumer, lane)
        JOIN letter AS l ON l.id = v.id AND l.consumer = v.consumer
        WHERE l.consumer = '' AND l.lane IS NULL ORDER BY l.died_at, l.id
    ) AS x
    ON CONFLICT (id) DO NOTHING"
);

/// Their keys go on.
const DISCARD: &str = concat!(
    "WITH ",
    decided!("false"),
    "
    DELETE FROM sagaz.outbox AS o USING letter AS l WHERE l.consumer = '' AND o.lane = l.lane AND o.seq = l.seq"
);

/// How many letters are decided on in one transaction, and so how many keys it holds.
const DECIDED_AT_ONCE: usize = 100;

/// Parameters: the age, the limit.
const PRUNE_ARCHIVE: &str = "WITH old AS MATERIALIZED (
        SELECT a.ctid FROM sagaz.outbox_archive AS a
        WHERE a.sent_at <= statement_timestamp() - $1 * interval '1 millisecond'
        ORDER BY a.sent_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM sagaz.outbox_archive AS a WHERE a.ctid = ANY(ARRAY(SELECT old.ctid FROM old))";

/// The same. What a consumer is still to handle again stays.
const PRUNE_LETTERS: &str = "WITH old AS MATERIALIZED (
        SELECT d.ctid FROM sagaz.dead_letter AS d
        WHERE d.decided_at IS NOT NULL AND d.decided_at <= statement_timestamp() - $1 * interval '1 millisecond'
            AND NOT d.is_given_back
        ORDER BY d.decided_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM sagaz.dead_letter AS d WHERE d.ctid = ANY(ARRAY(SELECT old.ctid FROM old))";

pub(super) async fn stats(database: &Database) -> Result<OutboxStats, StoreError> {
    let query = database.query(STATS).bind(COUNT_MAX);
    database
        .call(&database.readers, async |connection| {
            let row = query.fetch_one(connection).await?;
            let mut stats = OutboxStats::default();
            stats.pending = as_u64(row.try_get("pending")?);
            stats.oldest = row::time_left(&row, "oldest_ms")?;
            stats.dead = as_u64(row.try_get("dead")?);
            Ok(stats)
        })
        .await
}

/// The consumer's name in the table: no consumer has an empty one.
pub(super) fn consumer_column(consumer: Option<&str>) -> String {
    consumer.unwrap_or_default().to_owned()
}

pub(super) async fn list(
    database: &Database,
    filter: &DeadLetterFilter,
) -> Result<DeadLetterPage, StoreError> {
    let length = filter.page_len() as usize;
    let after = filter.after.as_ref();
    let consumer = filter.consumer.as_ref();
    let query = database
        .query(LIST)
        .bind(filter.state.map(DeadState::as_str))
        .bind(filter.event_type.clone())
        .bind(filter.key.clone())
        .bind(consumer.map(|consumer| consumer_column(consumer.as_deref())))
        .bind(after.map_or(String::new(), |after| after.event.as_str().to_owned()))
        .bind(after.map_or(String::new(), |after| {
            consumer_column(after.consumer.as_deref())
        }))
        .bind(i64::from(filter.page_len()) + 1);
    database
        .call(&database.readers, async |connection| {
            let rows = query.fetch_all(connection).await?;
            let letters = rows.iter().take(length).map(letter);
            let letters = letters.collect::<Result<Vec<_>, _>>()?;
            let last = letters.last().filter(|_| rows.len() > length);
            Ok(DeadLetterPage {
                next: last.map(|last| DeadLetterId {
                    event: last.event.event_id().clone(),
                    consumer: last.consumer.clone(),
                }),
                letters,
            })
        })
        .await
}

fn letter(row: &PgRow) -> Result<DeadLetter, sqlx::Error> {
    let consumer: String = row.try_get("consumer")?;
    let consumer = (!consumer.is_empty()).then_some(consumer);
    let attempts = row::number(row, "attempts")?;
    let died_at = value::time(row.try_get("died_ms")?);
    let error = row.try_get("error")?;
    let mut letter = DeadLetter::new(event::read(row)?, consumer, attempts, error, died_at);
    letter.blocks = row.try_get("blocks")?;
    let state: String = row.try_get("state")?;
    letter.state =
        DeadState::from_word(&state).ok_or_else(|| unreadable("state of a dead letter", state))?;
    let interventions: Option<Vec<Intervention>> =
        value::from_json("interventions", row.try_get("interventions")?)?;
    letter.interventions = interventions.unwrap_or_default();
    Ok(letter)
}

pub(super) async fn decide(
    database: &Database,
    decision: &DeadDecision,
) -> Result<u64, StoreError> {
    let (is_retried, statement) = match decision.state {
        DeadState::Retried => (true, RETRY),
        DeadState::Discarded => (false, DISCARD),
        _ => {
            return Err(StoreError::refusal(
                "a decision on a dead letter is to retry or to discard it",
            ));
        }
    };
    // The time is the last field, and the server's.
    let mut intervention = decision.intervention.clone();
    intervention.at_ms = 0;
    let intervention = record(&intervention)?;
    let intervention = intervention.trim_end_matches("0}").to_owned();
    let mut letters = decision.letters.clone();
    letters.sort_unstable();
    letters.dedup();
    let mut decided = 0;
    for some in letters.chunks(DECIDED_AT_ONCE) {
        let begin = Some("BEGIN ISOLATION LEVEL READ COMMITTED");
        decided += database
            .call_in(&database.readers, begin, async |connection| {
                let open = hold(database, connection, some).await?;
                let count = open.ids.len();
                if count == 0 {
                    return Ok(0);
                }
                if is_retried {
                    let lock = database.query(LOCK).bind(open.instances).bind(open.keys);
                    lock.execute(&mut *connection).await?;
                }
                let query = database.query(statement);
                let query = query.bind(open.ids).bind(open.consumers);
                let mut query = query
                    .bind(decision.state.as_str())
                    .bind(intervention.clone());
                if is_retried {
                    query = query.bind(open.lanes);
                }
                query.execute(connection).await?;
                Ok(count as u64)
            })
            .await?;
    }
    if decided > 0 {
        database.news.tell_events();
    }
    Ok(decided)
}

/// Letters that are open, and held; a column each.
#[derive(Default)]
struct Open {
    ids: Vec<String>,
    consumers: Vec<String>,
    lanes: Vec<i32>,
    /// What is to be locked.
    instances: Vec<Uuid>,
    keys: Vec<String>,
}

async fn hold(
    database: &Database,
    connection: &mut PgConnection,
    letters: &[DeadLetterId],
) -> Result<Open, sqlx::Error> {
    let ids: Vec<_> = letters
        .iter()
        .map(|letter| letter.event.as_str().to_owned())
        .collect();
    let consumers: Vec<_> = letters
        .iter()
        .map(|letter| consumer_column(letter.consumer.as_deref()))
        .collect();
    let rows = database
        .query(HOLD)
        .bind(ids)
        .bind(consumers)
        .fetch_all(connection)
        .await?;
    let mut open = Open::default();
    for row in rows {
        open.ids.push(row.try_get("id")?);
        open.consumers.push(row.try_get("consumer")?);
        let key: Option<String> = row.try_get("key")?;
        let key = key.unwrap_or_default();
        open.lanes.push(event::lane(&key));
        if !key.is_empty() {
            let lock = KeyLock::of(&key, None);
            open.instances.extend(lock.instance);
            open.keys.extend(lock.name);
        }
    }
    Ok(open)
}

pub(super) async fn prune_sent(
    database: &Database,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    let archive = database.query(PRUNE_ARCHIVE).bind(millis(age));
    let archive = archive.bind(i64::from(limit));
    database
        .call(&database.readers, async |connection| {
            let mut transaction = connection.begin().await?;
            let sent = archive.execute(&mut *transaction).await?.rows_affected();
            let rest = i64::from(limit) - i64::try_from(sent).unwrap_or(i64::MAX);
            let letters = database.query(PRUNE_LETTERS).bind(millis(age)).bind(rest);
            let letters = letters.execute(&mut *transaction).await?.rows_affected();
            transaction.commit().await?;
            Ok(sent + letters)
        })
        .await
}
