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
use std::collections::{BTreeMap, BTreeSet};

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

/// In the order of places, so that it ends at the limit. Parameters: the place to begin after, the last place, lanes, the limit.
const OF_LANES: &str = concat!(
    "SELECT ",
    outbox_columns!(),
    " FROM saga_outbox AS o WHERE o.seq > ? AND o.seq <= ? AND o.lane IN (SELECT value FROM json_each(?))
    ORDER BY o.seq LIMIT ?"
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
    let places = fetch.lanes.iter().filter(|(lane, _)| mine(lane));
    let places: BTreeMap<_, _> = places.map(|(lane, after)| (lane.index, *after)).collect();
    let keys: Vec<_> = fetch.keys.iter().filter(|key| mine(&key.lane)).collect();

    let mut fetched = Fetched::default();
    let mut until = last;
    let lowest = places.values().min().copied();
    if let Some(lowest) = lowest.filter(|lowest| *lowest < last) {
        let query = sqlx::query(OF_LANES)
            .bind(seq(lowest))
            .bind(seq(last))
            .bind(json(&places.keys().collect::<Vec<_>>())?)
            .bind(fetch.limit);
        fetched.events = read(database, query).await?;
        if fetched.events.len() >= fetch.limit as usize {
            until = fetched
                .events
                .last()
                .map_or(lowest, |event| event.place.seq);
            fetched.more = until < last;
        }
        // A lane that came later is behind the others, whose events are met on its way.
        let is_new = |place: Place| {
            places
                .get(&place.lane)
                .is_some_and(|after| place.seq > *after)
        };
        fetched.events.retain(|event| is_new(event.place));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Sqlite;
    use sqlx::AssertSqlSafe;

    async fn plan(database: &Database, statement: &str) -> Vec<String> {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let rows = sqlx::query(explain).fetch_all(&database.readers).await;
        let lines = rows.unwrap();
        lines.iter().map(|row| row.get("detail")).collect()
    }

    /// However much waits: events are met in the order of their places, and the rest of them is not; a key's are found by it.
    #[tokio::test]
    async fn a_fetch_reads_little_more_than_it_gives() {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path().join("sagas.db"))
            .await
            .unwrap();
        let of_lanes = plan(&store.database, OF_LANES).await;
        let by_place = "SEARCH o USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)";
        assert!(of_lanes.iter().any(|line| line == by_place), "{of_lanes:?}");
        let sorts = |line: &String| line.contains("TEMP B-TREE");
        assert!(!of_lanes.iter().any(sorts), "{of_lanes:?}");

        let of_keys = plan(&store.database, OF_KEYS).await;
        let by_key = "SEARCH s USING COVERING INDEX saga_outbox_key (key=? AND rowid>?)";
        assert!(of_keys.iter().any(|line| line == by_key), "{of_keys:?}");
        let scans = |line: &String| line.starts_with("SCAN o") || line.starts_with("SCAN s");
        assert!(!of_keys.iter().any(scans), "{of_keys:?}");
    }
}
