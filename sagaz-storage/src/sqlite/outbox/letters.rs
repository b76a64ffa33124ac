//! Dead letters, and what is removed when it is old.

use crate::{
    sqlite::{
        connection::Database,
        events::{event, event_columns},
        records::json,
        sql::now,
    },
    value::{as_u64, from_json, millis, time, to_json, unreadable},
};
use sagaz_core::store::{
    DeadDecision, DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterPage, DeadState, LANES,
    StoreError, lane_of,
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use std::{sync::Arc, time::Duration};

/// A letter `d` that was decided on longer ago than the age, which is its parameter.
macro_rules! old_letter {
    () => {
        concat!(
            "d.decided_at <= ",
            now!(),
            " - ? AND NOT (d.is_given_back AND NOT EXISTS (
                SELECT 1 FROM saga_inbox AS i WHERE i.consumer = d.consumer AND i.event_id = d.id))"
        )
    };
}

/// Parameters: the state, type, key, consumer or NULL, each twice; the event after which it goes on or NULL, twice, and its
/// consumer; the length.
const LIST: &str = concat!(
    "SELECT ",
    event_columns!("d"),
    ", d.consumer, d.attempts, d.error, d.blocks, d.state, d.died_at, d.interventions
    FROM saga_dead_letter AS d
    WHERE (? IS NULL OR d.state = ?) AND (? IS NULL OR d.type = ?) AND (? IS NULL OR d.key = ?)
        AND (? IS NULL OR d.consumer = ?) AND (? IS NULL OR (d.id, d.consumer) > (?, ?))
    ORDER BY d.id, d.consumer LIMIT ?"
);

/// Parameter: events and consumers.
const OPEN: &str = "BEGIN IMMEDIATE;
    SELECT DISTINCT d.id, d.consumer, d.key FROM json_each(?) AS v CROSS JOIN saga_dead_letter AS d
    WHERE d.id = v.value->>0 AND d.consumer = v.value->>1 AND d.state = 'open'";

/// Those of a key go back in the order in which they died. Parameters: events, lanes and events, consumers and events.
const RETRY: &str = concat!(
    "UPDATE saga_outbox SET is_blocking = 0, attempts = 0, error = NULL, wait_until = NULL
    WHERE is_blocking AND id IN (SELECT value->>1 FROM json_each(?));
    INSERT INTO saga_outbox (id, key, type, source, subject, time_ns, attributes, content_type, data, lane, created_at)
    SELECT ",
    event_columns!("d"),
    ", v.value->>0, ",
    now!(),
    " FROM json_each(?) AS v CROSS JOIN saga_dead_letter AS d
    WHERE d.id = v.value->>1 AND d.consumer = '' AND NOT d.blocks ORDER BY d.died_at, d.id
    ON CONFLICT (id) DO NOTHING;
    DELETE FROM saga_inbox WHERE (consumer, event_id) IN (SELECT value->>0, value->>1 FROM json_each(?));"
);

/// Parameter: lanes and events.
const DISCARD: &str = "DELETE FROM saga_outbox
    WHERE is_blocking AND id IN (SELECT value->>1 FROM json_each(?))";

/// Parameters: the state, whether it is a retry, the intervention, events and consumers.
const DECIDE: &str = concat!(
    "UPDATE saga_dead_letter SET state = ?, is_given_back = ? AND consumer <> '', blocks = 0, decided_at = ",
    now!(),
    ", interventions = json_insert(coalesce(interventions, '[]'), '$[#]', json_set(?, '$.at_ms', ",
    now!(),
    ")) WHERE state = 'open' AND (id, consumer) IN (SELECT value->>0, value->>1 FROM json_each(?));
    COMMIT"
);

/// Parameters: the age, the limit.
const OLD_SENT: &str = concat!(
    "SELECT id FROM saga_outbox_archive WHERE sent_at <= ",
    now!(),
    " - ? ORDER BY sent_at LIMIT ?"
);

/// One that its consumer has not handled again yet is not old. Parameters: the age, the limit.
const OLD_LETTERS: &str = concat!(
    "SELECT d.id, d.consumer FROM saga_dead_letter AS d WHERE ",
    old_letter!(),
    " ORDER BY d.decided_at LIMIT ?"
);

/// Parameters: events, events and consumers, the age.
const PRUNE: &str = concat!(
    "BEGIN IMMEDIATE;
    DELETE FROM saga_outbox_archive WHERE id IN (SELECT value FROM json_each(?));
    SELECT changes();
    DELETE FROM saga_dead_letter AS d WHERE (d.id, d.consumer) IN (SELECT value->>0, value->>1 FROM json_each(?)) AND ",
    old_letter!(),
    ";
    SELECT changes();
    COMMIT"
);

pub(super) async fn list(
    database: &Database,
    filter: &DeadLetterFilter,
) -> Result<DeadLetterPage, StoreError> {
    read_page(database, filter)
        .await
        .map_err(|error| database.error(error))
}

async fn read_page(
    database: &Database,
    filter: &DeadLetterFilter,
) -> Result<DeadLetterPage, sqlx::Error> {
    let consumer = filter.consumer.as_ref();
    let consumer = consumer.map(|consumer| consumer.as_deref().unwrap_or_default());
    let after = filter.after.as_ref();
    let after_event = after.map(|after| after.event.as_str());
    let mut query = sqlx::query(LIST);
    let wanted = [
        filter.state.map(DeadState::as_str),
        filter.event_type.as_deref(),
        filter.key.as_deref(),
        consumer,
    ];
    for wanted in wanted {
        query = query.bind(wanted).bind(wanted);
    }
    let rows = query
        .bind(after_event)
        .bind(after_event)
        .bind(after.map(|after| after.consumer.as_deref().unwrap_or_default()))
        .bind(filter.page_len() + 1)
        .fetch_all(&database.readers)
        .await?;
    let mut letters: Vec<_> = rows.iter().map(letter).collect::<Result<_, _>>()?;
    let length = filter.page_len() as usize;
    let has_more = letters.len() > length;
    letters.truncate(length);
    let last = letters.last().filter(|_| has_more);
    Ok(DeadLetterPage {
        next: last.map(|last| DeadLetterId {
            event: last.event.event_id().clone(),
            consumer: last.consumer.clone(),
        }),
        letters,
    })
}

fn letter(row: &SqliteRow) -> Result<DeadLetter, sqlx::Error> {
    let consumer: String = row.try_get("consumer")?;
    let mut letter = DeadLetter::new(
        event(row)?,
        Some(consumer).filter(|consumer| !consumer.is_empty()),
        row.try_get("attempts")?,
        row.try_get("error")?,
        time(row.try_get("died_at")?),
    );
    let state: String = row.try_get("state")?;
    letter.state =
        DeadState::from_word(&state).ok_or_else(|| unreadable("state of a dead letter", state))?;
    letter.blocks = row.try_get("blocks")?;
    let interventions = from_json("interventions", row.try_get("interventions")?)?;
    letter.interventions = interventions.unwrap_or_default();
    Ok(letter)
}

pub(super) async fn decide(
    database: &Database,
    decision: &DeadDecision,
) -> Result<u64, StoreError> {
    let intervention = json(&decision.intervention)?;
    let mut turn = database.turn().await?;
    let result = decide_on(&mut turn.connection, decision, intervention).await;
    let decided = turn.end(result).await?;
    if decided > 0 {
        database.news.tell();
    }
    Ok(decided)
}

async fn decide_on(
    connection: &mut SqliteConnection,
    decision: &DeadDecision,
    intervention: Arc<str>,
) -> Result<u64, sqlx::Error> {
    let wanted = decision.letters.iter().map(|letter| {
        let consumer = letter.consumer.as_deref().unwrap_or_default();
        (letter.event.as_str(), consumer)
    });
    let wanted: Vec<_> = wanted.collect();
    let rows = sqlx::query(OPEN)
        .bind(to_json(&wanted)?)
        .fetch_all(&mut *connection)
        .await?;
    let (mut open, mut of_outbox, mut of_consumers) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        let (id, consumer): (String, String) = (row.try_get("id")?, row.try_get("consumer")?);
        if consumer.is_empty() {
            let key: Option<String> = row.try_get("key")?;
            of_outbox.push((lane_of(&key.unwrap_or_default(), LANES), id.clone()));
        } else {
            of_consumers.push((consumer.clone(), id.clone()));
        }
        open.push((id, consumer));
    }
    let of_outbox = to_json(&of_outbox)?;
    let is_retry = match decision.state {
        DeadState::Retried => {
            let retry = sqlx::query(RETRY)
                .bind(&of_outbox)
                .bind(&of_outbox)
                .bind(to_json(&of_consumers)?);
            retry.execute(&mut *connection).await?;
            true
        }
        DeadState::Discarded => {
            let discard = sqlx::query(DISCARD).bind(of_outbox);
            discard.execute(&mut *connection).await?;
            false
        }
        other => return Err(unreadable("decision on dead letters", other)),
    };
    let decide = sqlx::query(DECIDE)
        .bind(decision.state.as_str())
        .bind(is_retry)
        .bind(intervention)
        .bind(to_json(&open)?);
    decide.execute(connection).await?;
    Ok(open.len() as u64)
}

pub(super) async fn prune(
    database: &Database,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    // Found without the lock: mostly there is nothing to remove.
    let old = old(database, millis(age), limit).await;
    let (sent, letters) = old.map_err(|error| database.error(error))?;
    if sent.is_empty() && letters.is_empty() {
        return Ok(0);
    }
    let query = sqlx::query(PRUNE)
        .bind(json(&sent)?)
        .bind(json(&letters)?)
        .bind(millis(age));
    let mut turn = database.turn().await?;
    let result = query.fetch_all(&mut turn.connection).await;
    let removed = result.and_then(|rows| {
        let counts = rows.iter().map(|row| row.try_get(0).map(as_u64));
        counts.sum::<Result<u64, _>>()
    });
    turn.end(removed).await
}

/// Events that were sent, and dead letters with their consumers.
type Old = (Vec<String>, Vec<(String, String)>);

async fn old(database: &Database, age_ms: i64, limit: u32) -> Result<Old, sqlx::Error> {
    let sent: Vec<String> = sqlx::query_scalar(OLD_SENT)
        .bind(age_ms)
        .bind(limit)
        .fetch_all(&database.readers)
        .await?;
    let left = limit.saturating_sub(u32::try_from(sent.len()).unwrap_or(u32::MAX));
    let letters = sqlx::query_as(OLD_LETTERS)
        .bind(age_ms)
        .bind(left)
        .fetch_all(&database.readers)
        .await?;
    Ok((sent, letters))
}
