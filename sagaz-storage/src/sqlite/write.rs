//! The hot path: a batch of writes, in one round trip to the connection's thread.
//!
//! Invariant: the fence (owner and epoch) is in the statements that write; events are written before the steps that published
//! them, whose rows tell whether they were before, and steps before their instance, which may be given up by the same batch. Whether a write was applied is then read from the rows: after it,
//! and after any repeat of it, the epoch is the token's and the owner the token's or nobody.

use super::{
    connection::Database,
    records::{Batch, json},
    sql::{now, store_events, store_steps, stored_payload},
};
use crate::value::unreadable;
use sagaz_core::store::{Accepted, StoreError, Write, Written};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use std::sync::Arc;

/// Parameters: the payloads, the accepts.
macro_rules! accept {
    () => {
        concat!(
            "INSERT INTO saga_instance (id, saga, version, fingerprint, state, owner, epoch, wake_at, deadline_at,
                start_key, input_digest, trace, created_at, updated_at, content_type, input)
            SELECT id, saga, version, fingerprint, 'pending', owner, owner IS NOT NULL,
                CASE WHEN owner IS NULL THEN ",
            now!(),
            " END, ",
            now!(),
            " + deadline_ms, start_key, input_digest, trace, ",
            now!(),
            ", ",
            now!(),
            ", content_type, ",
            stored_payload!(),
            " FROM (
                SELECT value->>'$.id' AS id, value->>'$.saga' AS saga, value->>'$.version' AS version,
                    value->>'$.fingerprint' AS fingerprint, value->>'$.owner' AS owner,
                    value->>'$.start_key' AS start_key, value->>'$.input_digest' AS input_digest,
                    value->>'$.deadline_ms' AS deadline_ms, value->>'$.trace' AS trace,
                    value->>'$.content_type' AS content_type,
                    substr(?, value->>'$.at', value->>'$.len') AS payload
                FROM jsonb_each(?)
            )
            WHERE true
            ON CONFLICT DO NOTHING;"
        )
    };
}

/// Parameter: the progress. `+` keeps the planner from the index of owners.
macro_rules! progress {
    () => {
        concat!(
            "UPDATE saga_instance SET
                state = v.state,
                pivot_passed = v.pivot_passed,
                failure = coalesce(v.failure, saga_instance.failure),
                stuck = v.stuck,
                owner = CASE WHEN v.release THEN NULL ELSE saga_instance.owner END,
                wake_at = ",
            now!(),
            " + v.wake_ms,
                takeovers = CASE WHEN v.advanced THEN 0 ELSE takeovers END,
                updated_at = ",
            now!(),
            " FROM (
                SELECT value->>'$.id' AS id, value->>'$.owner' AS owner, value->>'$.epoch' AS epoch,
                    value->>'$.state' AS state, value->>'$.pivot_passed' AS pivot_passed,
                    value->'$.failure' AS failure, value->'$.stuck' AS stuck, value->>'$.release' AS release,
                    value->>'$.wake_ms' AS wake_ms, value->>'$.advanced' AS advanced
                FROM jsonb_each(?)
            ) AS v
            WHERE saga_instance.id = v.id AND +saga_instance.owner = v.owner AND saga_instance.epoch = v.epoch;"
        )
    };
}

/// How many writes there are, and those with more to say than that they were applied. Parameters: accepts, progress,
/// accepts, progress.
macro_rules! replies {
    () => {
        "SELECT json_array_length(?) + json_array_length(?),
            (SELECT json_group_array(json_array(v.value->>'$.n', other.id, other.input_digest))
            FROM jsonb_each(?) AS v LEFT JOIN saga_instance AS other
                ON other.saga = v.value->>'$.saga' AND other.start_key = v.value->>'$.start_key'
            WHERE NOT EXISTS (SELECT 1 FROM saga_instance AS i WHERE i.id = v.value->>'$.id')),
            (SELECT json_group_array(json_array(n, is_stored, cancel_requested)) FROM (
                SELECT v.value->>'$.n' AS n, coalesce(i.cancel_requested, 0) AS cancel_requested,
                    coalesce(i.epoch > 0 AND i.epoch = v.value->>'$.epoch'
                        AND (i.owner IS NULL OR i.owner = v.value->>'$.owner'), 0) AS is_stored
                FROM jsonb_each(?) AS v LEFT JOIN saga_instance AS i ON i.id = v.value->>'$.id'
            ) WHERE cancel_requested OR NOT is_stored);"
    };
}

/// A batch of one kind, or of both, in a transaction; progress that publishes nothing is spared a statement.
macro_rules! batch {
    (accepts) => {
        concat!(accept!(), replies!())
    };
    (progress) => {
        concat!(
            store_steps!("i.owner = v.value->>'$.owner'"),
            progress!(),
            replies!()
        )
    };
    (publishing) => {
        concat!(
            store_events!("i.owner = v.value->>'$.owner'"),
            batch!(progress)
        )
    };
    (both) => {
        concat!(
            accept!(),
            store_events!("i.owner = v.value->>'$.owner'"),
            store_steps!("i.owner = v.value->>'$.owner'"),
            progress!(),
            replies!()
        )
    };
}

/// The statements for a batch.
struct Statements {
    accepts: &'static str,
    progress: &'static str,
    publishing: &'static str,
    both: &'static str,
}

/// A batch that is a transaction.
const ALONE: Statements = Statements {
    accepts: concat!("BEGIN IMMEDIATE;", batch!(accepts), "COMMIT"),
    progress: concat!("BEGIN IMMEDIATE;", batch!(progress), "COMMIT"),
    publishing: concat!("BEGIN IMMEDIATE;", batch!(publishing), "COMMIT"),
    both: concat!("BEGIN IMMEDIATE;", batch!(both), "COMMIT"),
};

/// A batch in a transaction that somebody else ends. Progress is that of a step, whose transaction has a savepoint from its
/// begin on: where that is gone, the transaction has ended already, and what is written now would not be one with the step's work.
const WITHIN: Statements = Statements {
    accepts: batch!(accepts),
    progress: concat!("RELEASE sagaz_step;", batch!(progress)),
    publishing: concat!("RELEASE sagaz_step;", batch!(publishing)),
    both: batch!(both),
};

pub(super) async fn write(
    database: &Database,
    writes: &[Write],
) -> Result<Vec<Written>, StoreError> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let batch = Batch::new(writes)?;
    let are_for_relay = batch.events.are_for_relay();
    let batch = Parameters::new(batch)?;
    let mut turn = database.turn().await?;
    let result = apply(&mut turn.connection, batch, &ALONE).await;
    let replies = turn.end(result).await?;
    if are_for_relay {
        database.news.tell();
    }
    written(writes, &replies).map_err(|error| database.error(error))
}

/// In a transaction that somebody else ends.
pub(super) async fn write_in(
    database: &Database,
    connection: &mut SqliteConnection,
    write: &Write,
) -> Result<Written, StoreError> {
    let writes = std::slice::from_ref(write);
    let batch = Batch::new(writes)?;
    if batch.events.are_for_relay() {
        database.news.hold_back(None);
    }
    let batch = Parameters::new(batch)?;
    let replies = apply(connection, batch, &WITHIN).await;
    replies
        .and_then(|replies| written(writes, &replies))
        .and_then(|written| written.into_iter().next().ok_or(sqlx::Error::RowNotFound))
        .map_err(|error| database.error(error))
}

/// A batch, ready to be bound.
struct Parameters {
    accepts: Option<(Vec<u8>, Arc<str>)>,
    progress: Option<(Vec<u8>, Arc<str>, Arc<str>)>,
    events: Option<(Vec<u8>, Arc<str>)>,
}

impl Parameters {
    fn new(batch: Batch<'_>) -> Result<Self, StoreError> {
        let accepts = if batch.accepts.is_empty() {
            None
        } else {
            let accepts = json(&batch.accepts)?;
            Some((batch.accept_payloads.0, accepts))
        };
        let progress = if batch.progress.is_empty() {
            None
        } else {
            let (steps, progress) = (json(&batch.steps)?, json(&batch.progress)?);
            Some((batch.step_payloads.0, steps, progress))
        };
        // Accepts and progress together have a statement for events, whether there are any or not.
        let events = if batch.events.published.is_empty() && batch.accepts.is_empty() {
            None
        } else {
            let events = json(&batch.events.published)?;
            Some((batch.events.payloads.0, events))
        };
        Ok(Self {
            accepts,
            progress,
            events,
        })
    }
}

async fn apply(
    connection: &mut SqliteConnection,
    batch: Parameters,
    statements: &Statements,
) -> Result<SqliteRow, sqlx::Error> {
    let none = || Arc::<str>::from("[]");
    let statements = match (&batch.accepts, &batch.progress, &batch.events) {
        (Some(_), None, _) => statements.accepts,
        (None, _, None) => statements.progress,
        (None, _, Some(_)) => statements.publishing,
        (Some(_), Some(_), _) => statements.both,
    };
    let mut query = sqlx::query(statements);
    let mut accepts = none();
    if let Some((payloads, records)) = batch.accepts {
        accepts = Arc::clone(&records);
        query = query.bind(payloads).bind(records);
    }
    let mut progress = none();
    if let Some((payloads, steps, records)) = batch.progress {
        progress = Arc::clone(&records);
        if let Some((payloads, events)) = batch.events {
            query = query.bind(payloads).bind(events);
        }
        query = query.bind(payloads).bind(steps).bind(records);
    }
    query = query
        .bind(Arc::clone(&accepts))
        .bind(Arc::clone(&progress))
        .bind(accepts)
        .bind(progress);
    // To the end: `fetch_one` would stop at the row, before the commit.
    query
        .fetch_all(connection)
        .await?
        .pop()
        .ok_or(sqlx::Error::RowNotFound)
}

fn written(writes: &[Write], replies: &SqliteRow) -> Result<Vec<Written>, sqlx::Error> {
    let count: i64 = replies.try_get(0)?;
    if usize::try_from(count).ok() != Some(writes.len()) {
        return Err(unreadable("number of writes", count));
    }
    let accepts: String = replies.try_get(1)?;
    let accepts: Vec<(usize, String, String)> =
        serde_json::from_str(&accepts).map_err(|_| unreadable("reply", accepts))?;
    let progress: String = replies.try_get(2)?;
    let progress: Vec<(usize, u8, u8)> =
        serde_json::from_str(&progress).map_err(|_| unreadable("reply", progress))?;

    let mut written: Vec<_> = writes
        .iter()
        .map(|write| match write {
            Write::Accept(_) => Written::Accepted(Accepted::New),
            _ => Written::Stored {
                cancel_requested: false,
            },
        })
        .collect();
    for (n, id, input_digest) in accepts {
        let id = id.parse().map_err(|_| unreadable("instance id", id))?;
        let place = written
            .get_mut(n)
            .ok_or_else(|| unreadable("place in a batch", n))?;
        *place = Written::Accepted(Accepted::Existing { id, input_digest });
    }
    for (n, is_stored, cancel_requested) in progress {
        let place = written
            .get_mut(n)
            .ok_or_else(|| unreadable("place in a batch", n))?;
        *place = if is_stored == 0 {
            Written::Lost
        } else {
            Written::Stored {
                cancel_requested: cancel_requested != 0,
            }
        };
    }
    Ok(written)
}
