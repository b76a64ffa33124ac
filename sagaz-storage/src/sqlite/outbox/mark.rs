//! What became of events, by the worker of their lanes or by the sender that they were stored with.
//!
//! Invariant: whose they are is judged in the transaction that writes.

use crate::{
    sqlite::{
        connection::Database,
        events::{event_columns, number, seq},
        sql::{now, reopen},
    },
    value::{millis, to_json, unreadable, without_nul},
};
use sagaz_core::{
    EventId,
    store::{Fate, Lane, Mark, Place, SentEvents, StoreError, WorkerId},
};
use serde::Serialize;
use sqlx::{Row, SqliteConnection};
use std::{borrow::Cow, collections::BTreeSet};

macro_rules! delete_sent {
    () => {
        "DELETE FROM saga_outbox WHERE seq IN (SELECT value FROM json_each(?)) AND lane IN (SELECT value FROM json_each(?));"
    };
}

/// Parameter: the worker.
const OWNED: &str = "BEGIN IMMEDIATE; SELECT lane, epoch FROM saga_outbox_lane WHERE owner = ?";

/// Parameters: places and lanes, twice.
const ARCHIVE: &str = concat!(
    "INSERT INTO saga_outbox_archive (id, key, type, source, subject, time_ns, attributes, content_type, data, seq, created_at,
        sent_at)
    SELECT ",
    event_columns!("o"),
    ", seq, created_at, ",
    now!(),
    " FROM saga_outbox AS o WHERE seq IN (SELECT value FROM json_each(?)) AND lane IN (SELECT value FROM json_each(?))
    ON CONFLICT (id) DO NOTHING;",
    delete_sent!()
);

/// Parameters: places and lanes.
const DELETE: &str = delete_sent!();

/// Parameters: retries, lanes.
const RETRY: &str = concat!(
    "UPDATE saga_outbox SET attempts = v.attempts, error = v.error, sender = NULL, wait_until = ",
    now!(),
    " + v.after_ms
    FROM (
        SELECT value->>'$.seq' AS seq, value->>'$.attempts' AS attempts, value->>'$.error' AS error,
            value->>'$.after_ms' AS after_ms
        FROM json_each(?)
    ) AS v
    WHERE saga_outbox.seq = v.seq AND NOT is_blocking AND lane IN (SELECT value FROM json_each(?));"
);

/// What operators did to a letter before stays with it. Parameters: the dead, lanes, the dead, lanes, the dead, lanes.
const BURY: &str = concat!(
    "INSERT INTO saga_dead_letter (id, key, type, source, subject, time_ns, attributes, content_type, data, consumer, attempts,
        error, blocks, state, died_at)
    SELECT ",
    event_columns!("o"),
    ", '', v.value->>'$.attempts', v.value->>'$.error', v.value->>'$.blocks', 'open', ",
    now!(),
    " FROM json_each(?) AS v CROSS JOIN saga_outbox AS o
    WHERE o.seq = v.value->>'$.seq' AND NOT o.is_blocking AND o.lane IN (SELECT value FROM json_each(?)) ",
    reopen!(),
    ";
    DELETE FROM saga_outbox WHERE seq IN (SELECT value->>'$.seq' FROM json_each(?) WHERE NOT value->>'$.blocks')
        AND NOT is_blocking AND lane IN (SELECT value FROM json_each(?));
    UPDATE saga_outbox SET is_blocking = 1, attempts = v.attempts, error = v.error, sender = NULL, wait_until = NULL
    FROM (
        SELECT value->>'$.seq' AS seq, value->>'$.attempts' AS attempts, value->>'$.error' AS error
        FROM json_each(?) WHERE value->>'$.blocks'
    ) AS v
    WHERE saga_outbox.seq = v.seq AND lane IN (SELECT value FROM json_each(?));"
);

/// Parameters: the events, the sender.
const HEADS: &str = concat!(
    "SELECT id, lane, seq FROM saga_outbox WHERE id IN (SELECT value FROM json_each(?)) AND sender = ? AND wait_until > ",
    now!()
);

/// Parameters: the places, the sender.
const LEASED: &str = concat!(
    "BEGIN IMMEDIATE; SELECT seq FROM saga_outbox
    WHERE seq IN (SELECT value FROM json_each(?)) AND sender = ? AND wait_until > ",
    now!()
);

/// Parameter: the places.
const LEAVE: &str = "UPDATE saga_outbox SET sender = NULL, wait_until = NULL
    WHERE seq IN (SELECT value FROM json_each(?))";

/// An event that is tried again.
#[derive(Serialize)]
struct Retry<'a> {
    seq: i64,
    attempts: u32,
    error: Cow<'a, str>,
    after_ms: i64,
}

/// An event that is given up.
#[derive(Serialize)]
struct Dead<'a> {
    seq: i64,
    attempts: u32,
    error: Cow<'a, str>,
    blocks: bool,
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
    let mut turn = database.turn().await?;
    let result = mark_on(&mut turn.connection, worker, marks, sent).await;
    turn.end(result).await
}

async fn mark_on(
    connection: &mut SqliteConnection,
    worker: WorkerId,
    marks: &[Mark],
    sent: SentEvents,
) -> Result<Vec<u16>, sqlx::Error> {
    let rows = sqlx::query(OWNED)
        .bind(worker.to_string())
        .fetch_all(&mut *connection)
        .await?;
    let owned = rows.iter().map(|row| {
        Ok(Lane {
            index: number(row, "lane")?,
            epoch: number(row, "epoch")?,
        })
    });
    let owned = owned.collect::<Result<BTreeSet<_>, sqlx::Error>>()?;

    let (mut lanes, mut lost) = (BTreeSet::new(), BTreeSet::new());
    let (mut sent_seqs, mut retries, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    for mark in marks {
        if !owned.contains(&mark.lane) {
            lost.insert(mark.lane.index);
            continue;
        }
        lanes.insert(mark.lane.index);
        let seq = seq(mark.seq);
        match &mark.fate {
            Fate::Sent => sent_seqs.push(seq),
            Fate::Retry {
                attempts,
                error,
                after,
            } => retries.push(Retry {
                seq,
                attempts: *attempts,
                error: without_nul(error),
                after_ms: millis(*after),
            }),
            Fate::Dead {
                attempts,
                error,
                blocks,
            } => dead.push(Dead {
                seq,
                attempts: *attempts,
                error: without_nul(error),
                blocks: *blocks,
            }),
        }
    }

    let lanes = to_json(&lanes)?;
    if !sent_seqs.is_empty() {
        remove_sent(connection, to_json(&sent_seqs)?, lanes.clone(), sent).await?;
    }
    if !retries.is_empty() {
        let retry = sqlx::query(RETRY).bind(to_json(&retries)?).bind(&lanes);
        retry.execute(&mut *connection).await?;
    }
    if !dead.is_empty() {
        let dead = to_json(&dead)?;
        let mut bury = sqlx::query(BURY);
        for _ in 0..3 {
            bury = bury.bind(&dead).bind(&lanes);
        }
        bury.execute(&mut *connection).await?;
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(lost.into_iter().collect())
}

async fn remove_sent(
    connection: &mut SqliteConnection,
    seqs: String,
    lanes: String,
    sent: SentEvents,
) -> Result<(), sqlx::Error> {
    let query = match sent {
        SentEvents::Archive => sqlx::query(ARCHIVE).bind(seqs.clone()).bind(lanes.clone()),
        SentEvents::Delete => sqlx::query(DELETE),
        other => return Err(unreadable("retention of sent events", other)),
    };
    query.bind(seqs).bind(lanes).execute(connection).await?;
    Ok(())
}

pub(super) async fn heads(
    database: &Database,
    sender: WorkerId,
    events: &[EventId],
) -> Result<Vec<(EventId, Place)>, StoreError> {
    let heads = read_heads(database, sender, events).await;
    let heads = heads.map_err(|error| database.error(error))?;
    if heads.len() < events.len() {
        // The others are the relay's, which was not told of what has a sender.
        database.news.tell();
    }
    Ok(heads)
}

async fn read_heads(
    database: &Database,
    sender: WorkerId,
    events: &[EventId],
) -> Result<Vec<(EventId, Place)>, sqlx::Error> {
    let rows = sqlx::query(HEADS)
        .bind(to_json(events)?)
        .bind(sender.to_string())
        .fetch_all(&database.readers)
        .await?;
    let heads = rows.iter().map(|row| {
        let place = Place {
            lane: number(row, "lane")?,
            seq: number(row, "seq")?,
        };
        Ok((row.try_get::<String, _>("id")?.into(), place))
    });
    heads.collect()
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
    let mut turn = database.turn().await?;
    let result = settle_on(&mut turn.connection, sender, heads, sent).await;
    turn.end(result).await?;
    if heads.iter().any(|(_, is_sent)| !is_sent) {
        database.news.tell();
    }
    Ok(())
}

async fn settle_on(
    connection: &mut SqliteConnection,
    sender: WorkerId,
    heads: &[(Place, bool)],
    sent: SentEvents,
) -> Result<(), sqlx::Error> {
    let places: Vec<_> = heads.iter().map(|(place, _)| seq(place.seq)).collect();
    let rows = sqlx::query(LEASED)
        .bind(to_json(&places)?)
        .bind(sender.to_string())
        .fetch_all(&mut *connection)
        .await?;
    let leased = rows.iter().map(|row| number(row, "seq"));
    let leased = leased.collect::<Result<BTreeSet<u64>, _>>()?;

    let (mut lanes, mut sent_seqs, mut left) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (place, is_sent) in heads {
        if !leased.contains(&place.seq) {
            continue;
        }
        if *is_sent {
            lanes.insert(place.lane);
            sent_seqs.push(seq(place.seq));
        } else {
            left.push(seq(place.seq));
        }
    }
    if !sent_seqs.is_empty() {
        remove_sent(connection, to_json(&sent_seqs)?, to_json(&lanes)?, sent).await?;
    }
    if !left.is_empty() {
        let leave = sqlx::query(LEAVE).bind(to_json(&left)?);
        leave.execute(&mut *connection).await?;
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(())
}
