//! Reads what is to be published.
//!
//! Invariant: a place that a fetch gives back as read has none below it that becomes visible later, so nothing is unsettled. A
//! lane's place may therefore go on to the last one of all lanes.

use crate::{
    sqlite::{
        connection::Database,
        events::{event, event_columns, number, seq},
        records::json,
        row::time_left,
        sql::now,
    },
    value::as_u64,
};
use sagaz_core::store::{
    Fetch, Fetched, KEY_EVENTS_MAX, Lane, OutboxEvent, OutboxStats, Place, StoreError, WorkerId,
};
use sqlx::{Row, sqlite::SqliteRow};
use std::collections::BTreeSet;

macro_rules! outbox_columns {
    () => {
        concat!(
            event_columns!("o"),
            ", o.seq, o.lane, o.attempts, o.is_blocking, CASE WHEN o.wait_until > ",
            now!(),
            " THEN o.wait_until - ",
            now!(),
            " END AS wait_ms"
        )
    };
}

/// Parameter: the worker.
const LOOK: &str = "SELECT lane, epoch, coalesce((SELECT max(seq) FROM saga_outbox), 0) AS last
    FROM saga_outbox_lane WHERE owner = ?";

/// In the order of places, so that it ends at the limit. Parameters: lanes and their places, the lowest of them, the last place,
/// the limit.
const OF_LANES: &str = concat!(
    "WITH wanted AS MATERIALIZED (SELECT value->>0 AS lane, value->>1 AS after FROM json_each(?))
    SELECT ",
    outbox_columns!(),
    " FROM saga_outbox AS o CROSS JOIN wanted AS w ON w.lane = o.lane AND o.seq > w.after
    WHERE o.seq > ? AND o.seq <= ? ORDER BY o.seq LIMIT ?"
);

/// Parameters: keys and their places, the limit of each.
const OF_KEYS: &str = concat!(
    "SELECT ",
    outbox_columns!(),
    " FROM json_each(?) AS k CROSS JOIN saga_outbox AS o ON o.seq IN (
        SELECT s.seq FROM saga_outbox AS s WHERE s.key = k.value->>0 AND s.seq >= k.value->>1 ORDER BY s.seq LIMIT ?)
    ORDER BY k.key, o.seq"
);

const STATS: &str = concat!(
    "SELECT (SELECT count(*) FROM saga_outbox WHERE NOT is_blocking),
        (SELECT max(0, ",
    now!(),
    " - created_at) AS oldest_ms FROM saga_outbox WHERE NOT is_blocking ORDER BY seq LIMIT 1) AS oldest_ms,
        (SELECT count(*) FROM saga_dead_letter WHERE state = 'open')"
);

pub(super) async fn fetch(database: &Database, fetch: &Fetch) -> Result<Fetched, StoreError> {
    let look = look(database, fetch.worker).await;
    let (owned, last) = look.map_err(|error| database.error(error))?;
    let mine = |lane: &Lane| owned.contains(lane);
    let lanes: Vec<_> = fetch.lanes.iter().filter(|(lane, _)| mine(lane)).collect();
    let keys: Vec<_> = fetch.keys.iter().filter(|key| mine(&key.lane)).collect();

    let mut fetched = Fetched::default();
    let mut until = last;
    let lowest = lanes.iter().map(|(_, after)| *after).min();
    if let Some(lowest) = lowest.filter(|lowest| *lowest < last) {
        let places: Vec<_> = lanes
            .iter()
            .map(|(lane, after)| (lane.index, seq(*after)))
            .collect();
        let query = sqlx::query(OF_LANES)
            .bind(json(&places)?)
            .bind(seq(lowest))
            .bind(seq(last))
            .bind(fetch.limit);
        fetched.events = read(database, query).await?;
        if fetched.events.len() >= fetch.limit as usize {
            until = fetched
                .events
                .last()
                .map_or(lowest, |event| event.place.seq);
            fetched.more = until < last;
        }
    }
    let after = |(lane, after): &(Lane, u64)| mine(lane).then_some((*after).max(until));
    fetched.after = fetch.lanes.iter().map(after).collect();

    if !keys.is_empty() {
        let places: Vec<_> = keys.iter().map(|key| (&key.key, seq(key.from))).collect();
        let query = sqlx::query(OF_KEYS)
            .bind(json(&places)?)
            .bind(KEY_EVENTS_MAX);
        let mut events = read(database, query).await?;
        // What was left behind is before what is read for the first time.
        events.append(&mut fetched.events);
        fetched.events = events;
    }
    Ok(fetched)
}

/// The worker's lanes, and the last place.
async fn look(database: &Database, worker: WorkerId) -> Result<(BTreeSet<Lane>, u64), sqlx::Error> {
    let rows = sqlx::query(LOOK)
        .bind(worker.to_string())
        .fetch_all(&database.readers)
        .await?;
    let last = rows.first().map_or(Ok(0), |row| number(row, "last"))?;
    let lanes = rows.iter().map(|row| {
        Ok(Lane {
            index: number(row, "lane")?,
            epoch: number(row, "epoch")?,
        })
    });
    Ok((lanes.collect::<Result<_, sqlx::Error>>()?, last))
}

async fn read(
    database: &Database,
    query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
) -> Result<Vec<OutboxEvent>, StoreError> {
    let rows = query.fetch_all(&database.readers).await;
    rows.and_then(|rows| rows.iter().map(outbox_event).collect())
        .map_err(|error| database.error(error))
}

fn outbox_event(row: &SqliteRow) -> Result<OutboxEvent, sqlx::Error> {
    Ok(OutboxEvent {
        place: Place {
            lane: number(row, "lane")?,
            seq: number(row, "seq")?,
        },
        event: event(row)?,
        attempts: row.try_get("attempts")?,
        wait: time_left(row, "wait_ms")?,
        is_blocking: row.try_get("is_blocking")?,
    })
}

pub(super) async fn stats(database: &Database) -> Result<OutboxStats, StoreError> {
    let stats = sqlx::query(STATS).fetch_one(&database.readers).await;
    let stats = stats.and_then(|row| {
        let mut stats = OutboxStats::default();
        stats.pending = as_u64(row.try_get(0)?);
        stats.oldest = time_left(&row, "oldest_ms")?;
        stats.dead = as_u64(row.try_get(2)?);
        Ok(stats)
    });
    stats.map_err(|error| database.error(error))
}
