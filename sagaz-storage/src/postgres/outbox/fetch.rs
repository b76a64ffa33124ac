//! Reading.
//!
//! A lane is read from a place on. A place below it can still become visible: its transaction was open in the snapshot of the
//! read that went past. So a read gives the transactions that were open in its own snapshot, and the next one looks for their
//! events too. A snapshot names those that are open below the highest number that has ended; one that has a higher number may be
//! open too, and hold a place: so the first of these numbers is given with them, and the first that nobody had yet. One that is open
//! still is among the open ones of that read again; so nothing else is remembered.

use super::super::{
    database::Database,
    event::{self, event_columns},
    row::{self, ms_left},
};
use crate::value::{as_i64, as_u64};
use sagaz_core::store::{Fetch, Fetched, KEY_EVENTS_MAX, OutboxEvent, Place, StoreError};
use sqlx::{Row, postgres::PgRow};
use std::collections::BTreeMap;

/// The columns of an [`OutboxEvent`], of the row `o`.
macro_rules! columns {
    () => {
        concat!(
            event_columns!(),
            ", o.lane, o.seq, o.attempts, o.is_dead, ",
            ms_left!("greatest(o.wake_at, o.leased_until)"),
            " AS wait_ms"
        )
    };
}

/// The lanes, what was open before, and keys: of one snapshot, whose open transactions are in the last row. Stragglers are read by
/// their transactions: the planner can use no other index for that, which would have what was deleted. Parameters: the worker; lanes, epochs and
/// places; the open transactions; how many of a lane, how many stragglers; keys with their lanes and epochs, places; how many of a key;
/// from which number on transactions were open, and the first number that none had.
const FETCH: &str = concat!(
    "WITH f AS MATERIALIZED (
        SELECT f.lane, f.after FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS f(lane, epoch, after)
        JOIN sagaz.outbox_lane AS l ON l.lane = f.lane AND l.epoch = f.epoch AND l.owner = $1
    ), k AS MATERIALIZED (
        SELECT k.key, k.first FROM unnest($8::integer[], $9::bigint[], $10::text[], $11::bigint[]) AS k(lane, epoch, key, first)
        JOIN sagaz.outbox_lane AS l ON l.lane = k.lane AND l.epoch = k.epoch AND l.owner = $1
    ), straggler AS MATERIALIZED (
        SELECT s.* FROM (
            SELECT ",
    columns!(),
    " FROM sagaz.outbox AS o
            WHERE o.xid = ANY($5::text[]::xid8[]) AND o.seq <= (SELECT f.after FROM f WHERE f.lane = o.lane)
            UNION ALL SELECT ",
    columns!(),
    " FROM sagaz.outbox AS o
            WHERE o.xid >= $13::text::xid8 AND o.xid < $14::text::xid8
                AND o.seq <= (SELECT f.after FROM f WHERE f.lane = o.lane)
        ) AS s LIMIT $7
    )
    SELECT 0 AS part, o.*, NULL::integer[] AS owned, NULL::text[] AS open FROM f CROSS JOIN LATERAL (
        SELECT ",
    columns!(),
    " FROM sagaz.outbox AS o WHERE o.lane = f.lane AND o.seq > f.after ORDER BY o.seq LIMIT $6) AS o
    UNION ALL SELECT 1, s.*, NULL, NULL FROM straggler AS s
    UNION ALL SELECT 2, o.*, NULL, NULL FROM k CROSS JOIN LATERAL (
        SELECT ",
    columns!(),
    " FROM sagaz.outbox AS o WHERE o.key = k.key AND o.seq >= k.first ORDER BY o.seq LIMIT $12) AS o
    UNION ALL SELECT 3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        (SELECT count(*) FROM straggler), NULL, NULL, ARRAY(SELECT f.lane FROM f),
        ARRAY(SELECT x::text FROM pg_snapshot_xip(pg_current_snapshot()) AS x)
            || (SELECT ARRAY[x::text, (x::text::bigint + age(x::xid))::text] FROM pg_snapshot_xmax(pg_current_snapshot()) AS x)"
);

/// How many stragglers are read at least. If there are more, the lanes are read from their beginning.
const STRAGGLERS_MIN: u32 = 1_000;

/// Which part of the statement a row is of.
const LANE: i32 = 0;
const STANDING: i32 = 3;

pub(super) async fn fetch(database: &Database, fetch: &Fetch) -> Result<Fetched, StoreError> {
    let lanes = fetch.lanes.iter();
    let share = fetch
        .limit
        .div_ceil(u32::try_from(lanes.len()).unwrap_or(u32::MAX).max(1));
    let share = share.max(1);
    let stragglers = fetch.limit.max(STRAGGLERS_MIN);
    let lane = |lane: &sagaz_core::store::Lane| (i32::from(lane.index), as_i64(lane.epoch));
    let (indices, epochs): (Vec<_>, Vec<_>) = lanes.clone().map(|(of, _)| lane(of)).unzip();
    let after: Vec<_> = lanes.map(|(_, after)| as_i64(*after)).collect();
    let (open, open_range) = match fetch.unsettled.split_last_chunk() {
        Some((open, range)) => (open, Some(range)),
        None => (&[][..], None),
    };
    let open: Vec<_> = open.iter().map(u64::to_string).collect();
    let [open_from, open_to] =
        [0, 1].map(|at| open_range.map(|range: &[u64; 2]| range[at].to_string()));
    let (key_lanes, key_epochs): (Vec<_>, Vec<_>) =
        fetch.keys.iter().map(|key| lane(&key.lane)).unzip();
    let keys: Vec<_> = fetch.keys.iter().map(|key| key.key.clone()).collect();
    let firsts: Vec<_> = fetch.keys.iter().map(|key| as_i64(key.from)).collect();
    let query = database
        .query(FETCH)
        .bind(fetch.worker.as_uuid())
        .bind(indices)
        .bind(epochs)
        .bind(after)
        .bind(open)
        // One more tells whether there are more.
        .bind(i64::from(share) + 1)
        .bind(i64::from(stragglers) + 1)
        .bind(key_lanes)
        .bind(key_epochs)
        .bind(keys)
        .bind(firsts)
        .bind(i64::from(KEY_EVENTS_MAX))
        .bind(open_from)
        .bind(open_to);
    database
        .call(&database.relays, async |connection| {
            let rows = query.fetch_all(connection).await?;
            fetched(fetch, &rows, share, stragglers)
        })
        .await
}

fn fetched(
    fetch: &Fetch,
    rows: &[PgRow],
    share: u32,
    stragglers: u32,
) -> Result<Fetched, sqlx::Error> {
    let mut fetched = Fetched::default();
    let (mut owned, mut has_left_stragglers) = (Vec::<i32>::new(), false);
    // How many of each lane, and the last.
    let mut lanes = BTreeMap::<u16, (u32, u64)>::new();
    let mut events = BTreeMap::new();
    for row in rows {
        let part: i32 = row.try_get("part")?;
        if part == STANDING {
            owned = row.try_get("owned")?;
            let open: Vec<String> = row.try_get("open")?;
            fetched.unsettled = open.iter().filter_map(|xid| xid.parse().ok()).collect();
            has_left_stragglers = row.try_get::<i64, _>("attempts")? > i64::from(stragglers);
            continue;
        }
        let event = outbox_event(row)?;
        let Place { lane, seq } = event.place;
        if part == LANE {
            let (count, last) = lanes.entry(lane).or_default();
            if *count == share {
                fetched.more = true;
                continue;
            }
            *count += 1;
            *last = seq;
        }
        events.insert((seq, lane), event);
    }
    let is_owned = |lane: u16| owned.contains(&i32::from(lane));
    if has_left_stragglers {
        // Nothing may be told before what was left behind, which may be of the same key.
        events.clear();
        fetched.more = true;
    }
    fetched.after = fetch
        .lanes
        .iter()
        .map(|(lane, after)| {
            let last = lanes.get(&lane.index).map_or(*after, |(_, last)| *last);
            is_owned(lane.index).then_some(if has_left_stragglers { 0 } else { last })
        })
        .collect();
    fetched.events = events.into_values().collect();
    Ok(fetched)
}

fn outbox_event(row: &PgRow) -> Result<OutboxEvent, sqlx::Error> {
    let lane: i32 = row.try_get("lane")?;
    Ok(OutboxEvent {
        place: Place {
            lane: u16::try_from(lane).unwrap_or(u16::MAX),
            seq: as_u64(row.try_get("seq")?),
        },
        event: event::read(row)?,
        attempts: row::number(row, "attempts")?,
        wait: event::wait(row, "wait_ms")?,
        is_blocking: row.try_get("is_dead")?,
    })
}
