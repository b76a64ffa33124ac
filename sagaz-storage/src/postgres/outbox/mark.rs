//! What became of events.
//!
//! Invariant: a mark holds the rows of its worker's lanes, as they are and not as they were when it began, and touches events of
//! these alone. A sender's word counts while the lease lasts that its event was stored with.
//!
//! Events are looked up one by one ([`found`]) and then met by their physical places: joined, the planner would read the whole index of
//! a table that it knew to be small, with all that was deleted and is kept by an old snapshot. A row that somebody writes in the same
//! moment has another place then, and is left as it is: its event is sent once more, sometime.

use super::super::database::Database;
use crate::value::{as_i64, as_u64, millis, without_nul};
use sagaz_core::{
    EventId,
    store::{Fate, Mark, Place, SentEvents, StoreError, WorkerId},
};
use sqlx::Row;
use std::collections::{BTreeSet, HashSet};

/// The worker's lanes, held. A mark that waited for a takeover sees here what became of it. Parameters: the worker, lanes.
macro_rules! mine {
    () => {
        "mine AS MATERIALIZED (
            SELECT l.lane, l.epoch FROM sagaz.outbox_lane AS l WHERE l.lane = ANY($2) AND l.owner = $1
            ORDER BY l.lane FOR SHARE
        )"
    };
}

/// Those of the marks' lanes that are not the worker's. Parameters: the lanes, their epochs.
macro_rules! lost {
    () => {
        "SELECT DISTINCT m.lane FROM unnest($2::integer[], $3::bigint[]) AS m(lane, epoch)
        WHERE ((m.lane, m.epoch) IN (SELECT l.lane, l.epoch FROM mine AS l)) IS NOT TRUE"
    };
}

/// The events at these places, with what is said of each, `$columns` of the row `m`.
macro_rules! found {
    ($from:literal, $columns:literal) => {
        concat!(
            "m AS MATERIALIZED (
                SELECT o.place",
            $columns,
            " FROM ",
            $from,
            " CROSS JOIN LATERAL (
                    SELECT o.ctid AS place FROM sagaz.outbox AS o WHERE o.lane = m.lane AND o.seq = m.seq
                    ORDER BY o.seq LIMIT 1
                ) AS o
            )"
        )
    };
}

/// Events that have left the outbox, `$from`, to the archive.
macro_rules! archived {
    ($from:literal) => {
        concat!(
            "archived AS (
                INSERT INTO sagaz.outbox_archive (lane, seq, id, key, type, source, subject, time, attributes, content_type,
                    data_text, data_bytes, stored_at, sent_at)
                SELECT g.lane, g.seq, g.id, g.key, g.type, g.source, g.subject, g.time, g.attributes, g.content_type,
                    g.data_text, g.data_bytes, g.stored_at, clock_timestamp() FROM ",
            $from,
            ")"
        )
    };
}

/// All of them sent. Parameters: the worker, lanes, epochs, places.
macro_rules! sent {
    ($archived:expr) => {
        concat!(
            "WITH ",
            mine!(),
            ", own AS MATERIALIZED (
                SELECT m.lane, m.seq FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS m(lane, epoch, seq)
                WHERE ((m.lane, m.epoch) IN (SELECT l.lane, l.epoch FROM mine AS l)) IS TRUE
            ), ",
            found!("own AS m", ""),
            ", gone AS (
                DELETE FROM sagaz.outbox AS o WHERE o.ctid = ANY(ARRAY(SELECT m.place FROM m)) RETURNING o.*
            )",
            $archived,
            " ",
            lost!()
        )
    };
}

const SENT_DELETE: &str = sent!("");

const SENT_ARCHIVE: &str = sent!(concat!(", ", archived!("gone AS g")));

/// Parameters: the worker, lanes, epochs, places, fates, attempts, errors, delays, whether they block; whether to archive.
const MARK: &str = concat!(
    "WITH ",
    mine!(),
    ", own AS MATERIALIZED (
        SELECT * FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::bigint[],
                $9::boolean[]) AS m(lane, epoch, seq, fate, attempts, error, after_ms, blocks)
        WHERE ((m.lane, m.epoch) IN (SELECT l.lane, l.epoch FROM mine AS l)) IS TRUE
    ), ",
    found!("own AS m", ", m.fate, m.attempts, m.error, m.after_ms, m.blocks"),
    ", gone AS (
        DELETE FROM sagaz.outbox AS o USING m
        WHERE o.ctid = m.place AND (m.fate = 'sent' OR m.fate = 'dead' AND NOT m.blocks)
        RETURNING o.*, m.fate, m.attempts AS tried, m.error AS last_error
    ), kept AS (
        UPDATE sagaz.outbox AS o SET attempts = m.attempts, error = m.error, leased_to = NULL, leased_until = NULL,
            wake_at = clock_timestamp() + m.after_ms * interval '1 millisecond', is_dead = m.fate = 'dead'
        FROM m WHERE o.ctid = m.place AND NOT o.is_dead AND (m.fate = 'retry' OR m.fate = 'dead' AND m.blocks)
        RETURNING o.*, m.fate, m.attempts AS tried, m.error AS last_error
    ), ",
    archived!("gone AS g WHERE g.fate = 'sent' AND $10"),
    ", buried AS (
        INSERT INTO sagaz.dead_letter AS d (id, consumer, key, type, source, subject, time, attributes, content_type, data_text,
            data_bytes, attempts, error, lane, seq, state, died_at)
        SELECT b.id, '', b.key, b.type, b.source, b.subject, b.time, b.attributes, b.content_type, b.data_text, b.data_bytes,
            b.tried, b.last_error, CASE WHEN b.stays THEN b.lane END, CASE WHEN b.stays THEN b.seq END, 'open',
            clock_timestamp()
        FROM (SELECT *, false AS stays FROM gone UNION ALL SELECT *, true FROM kept) AS b WHERE b.fate = 'dead'
        ON CONFLICT (id, consumer) DO UPDATE SET attempts = excluded.attempts, error = excluded.error, lane = excluded.lane,
            seq = excluded.seq, state = 'open', is_given_back = false, died_at = excluded.died_at, decided_at = NULL
    ) ",
    lost!()
);

/// Judged after the commit: what is older in a key was committed before, so it is seen here, or gone. Parameters: the sender, events.
const HEADS: &str = "WITH mine AS MATERIALIZED (
        SELECT o.ctid AS place, o.lane, o.seq, o.id, (SELECT true FROM sagaz.outbox AS older
            WHERE older.key = o.key AND older.seq < o.seq ORDER BY older.seq LIMIT 1) IS NULL AS is_head
        FROM sagaz.outbox AS o WHERE o.id = ANY($2) AND o.leased_to = $1 AND o.leased_until > clock_timestamp()
    ), given_up AS (
        UPDATE sagaz.outbox AS o SET leased_to = NULL, leased_until = NULL
        FROM mine AS m WHERE o.ctid = m.place AND o.leased_to = $1 AND NOT m.is_head
    )
    SELECT m.id, m.lane, m.seq FROM mine AS m WHERE m.is_head";

/// Gives whether something is left to the relay: what was not sent, or what follows in a key. Parameters: the sender, lanes, places,
/// whether they were sent; whether to archive.
const SETTLE: &str = concat!(
    "WITH ",
    found!(
        "unnest($2::integer[], $3::bigint[], $4::boolean[]) AS m(lane, seq, was_sent)",
        ", m.was_sent"
    ),
    ", gone AS (
        DELETE FROM sagaz.outbox AS o USING m WHERE o.ctid = m.place AND m.was_sent
            AND o.leased_to = $1 AND o.leased_until > clock_timestamp()
        RETURNING o.*
    ), ",
    archived!("gone AS g WHERE $5"),
    ", given_up AS (
        UPDATE sagaz.outbox AS o SET leased_to = NULL, leased_until = NULL
        FROM m WHERE o.ctid = m.place AND NOT m.was_sent
            AND o.leased_to = $1 AND o.leased_until > clock_timestamp()
        RETURNING o.seq
    )
    SELECT EXISTS (SELECT 1 FROM given_up) OR EXISTS (SELECT 1 FROM gone AS g
        WHERE (SELECT true FROM sagaz.outbox AS o WHERE o.key = g.key AND o.seq > g.seq ORDER BY o.seq LIMIT 1))"
);

/// Marks, a column each.
#[derive(Default)]
struct Marks {
    lanes: Vec<i32>,
    epochs: Vec<i64>,
    seqs: Vec<i64>,
    fates: Vec<&'static str>,
    attempts: Vec<i64>,
    errors: Vec<String>,
    delays_ms: Vec<Option<i64>>,
    block: Vec<bool>,
}

impl Marks {
    fn of(marks: &[Mark]) -> Self {
        let mut columns = Self::default();
        let mut known = HashSet::new();
        for mark in marks {
            // A statement cannot write one row twice.
            if !known.insert((mark.lane, mark.seq)) {
                continue;
            }
            columns.lanes.push(mark.lane.index.into());
            columns.epochs.push(as_i64(mark.lane.epoch));
            columns.seqs.push(as_i64(mark.seq));
            let (fate, attempts, error, delay, blocks) = match &mark.fate {
                Fate::Sent => ("sent", 0, "", None, false),
                Fate::Retry {
                    attempts,
                    error,
                    after,
                } => ("retry", *attempts, error.as_str(), Some(*after), false),
                Fate::Dead {
                    attempts,
                    error,
                    blocks,
                } => ("dead", *attempts, error.as_str(), None, *blocks),
            };
            columns.fates.push(fate);
            columns.attempts.push(attempts.into());
            columns.errors.push(without_nul(error).into_owned());
            columns.delays_ms.push(delay.map(millis));
            columns.block.push(blocks);
        }
        columns
    }
}

pub(super) async fn mark(
    database: &Database,
    worker: WorkerId,
    marks: &[Mark],
    sent: SentEvents,
) -> Result<Vec<u16>, StoreError> {
    if marks.is_empty() {
        return Ok(Vec::new());
    }
    let archives = sent == SentEvents::Archive;
    let columns = Marks::of(marks);
    let are_sent = marks.iter().all(|mark| mark.fate == Fate::Sent);
    let statement = match (are_sent, archives) {
        (true, true) => SENT_ARCHIVE,
        (true, false) => SENT_DELETE,
        (false, _) => MARK,
    };
    let mut query = database
        .query(statement)
        .bind(worker.as_uuid())
        .bind(columns.lanes)
        .bind(columns.epochs)
        .bind(columns.seqs);
    if !are_sent {
        query = query
            .bind(columns.fates)
            .bind(columns.attempts)
            .bind(columns.errors)
            .bind(columns.delays_ms)
            .bind(columns.block)
            .bind(archives);
    }
    database
        .call(&database.relays, async |connection| {
            let rows = query.fetch_all(connection).await?;
            let lanes = rows.iter().map(|row| {
                let lane: i32 = row.try_get("lane")?;
                Ok(u16::try_from(lane).unwrap_or(u16::MAX))
            });
            lanes.collect()
        })
        .await
}

pub(super) async fn heads(
    database: &Database,
    sender: WorkerId,
    events: &[EventId],
) -> Result<Vec<(EventId, Place)>, StoreError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let asked: BTreeSet<String> = events.iter().map(|id| id.as_str().to_owned()).collect();
    let count = asked.len();
    let query = database
        .query(HEADS)
        .bind(sender.as_uuid())
        .bind(asked.into_iter().collect::<Vec<_>>());
    let heads = database
        .call(&database.relays, async |connection| {
            let rows = query.fetch_all(connection).await?;
            let heads = rows.iter().map(|row| {
                let lane: i32 = row.try_get("lane")?;
                let place = Place {
                    lane: u16::try_from(lane).unwrap_or(u16::MAX),
                    seq: as_u64(row.try_get("seq")?),
                };
                Ok((EventId::from(row.try_get::<String, _>("id")?), place))
            });
            heads.collect::<Result<Vec<_>, sqlx::Error>>()
        })
        .await?;
    if heads.len() < count {
        database.news.tell_events();
    }
    Ok(heads)
}

pub(super) async fn settle_heads(
    database: &Database,
    sender: WorkerId,
    heads: &[(Place, bool)],
    sent: SentEvents,
) -> Result<(), StoreError> {
    if heads.is_empty() {
        return Ok(());
    }
    let lanes: Vec<i32> = heads.iter().map(|(of, _)| of.lane.into()).collect();
    let seqs: Vec<i64> = heads.iter().map(|(of, _)| as_i64(of.seq)).collect();
    let were_sent: Vec<bool> = heads.iter().map(|(_, was_sent)| *was_sent).collect();
    let query = database
        .query(SETTLE)
        .bind(sender.as_uuid())
        .bind(lanes)
        .bind(seqs)
        .bind(were_sent)
        .bind(sent == SentEvents::Archive);
    let is_left = database
        .call(&database.relays, async |connection| {
            query.fetch_one(connection).await?.try_get::<bool, _>(0)
        })
        .await?;
    if is_left {
        database.news.tell_events();
    }
    Ok(())
}
