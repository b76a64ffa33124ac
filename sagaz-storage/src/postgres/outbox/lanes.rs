//! Who publishes which lanes.
//!
//! Invariant: as with instances, whoever takes the lanes of a dead worker has set its lease back before, under its lock: a
//! renewal that comes at the same time either comes first, and the worker is not dead, or sees afterwards what it has lost. The
//! rows of lanes change hands under `FOR UPDATE`, for which a mark in progress waits, and is waited for.

use super::super::database::Database;
use crate::value::{as_u64, lease_millis};
use sagaz_core::store::{Attendance, Lane, StoreError, WorkerId};
use sqlx::{Row, postgres::PgConnection};
use std::time::Duration;
use uuid::Uuid;

/// Parameters: the worker, its lease.
const RENEW: &str = "INSERT INTO sagaz.outbox_worker (id, lease_until)
    VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond')
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";

/// In a statement of its own: a renewal may have waited for whoever took its lanes. Parameter: the worker.
const LOOK: &str = "WITH owners AS MATERIALIZED (
        SELECT DISTINCT l.owner FROM sagaz.outbox_lane AS l WHERE l.owner IS NOT NULL AND l.owner <> $1
    )
    SELECT (SELECT count(*) FROM sagaz.outbox_worker WHERE lease_until > clock_timestamp()) AS workers,
        (SELECT count(*) FROM sagaz.outbox_lane AS l WHERE l.owner = $1) AS owned,
        EXISTS (SELECT 1 FROM sagaz.outbox_lane AS l WHERE l.owner IS NULL) AS has_free,
        ARRAY(SELECT o.owner FROM owners AS o WHERE NOT EXISTS (
            SELECT 1 FROM sagaz.outbox_worker AS w WHERE w.id = o.owner AND w.lease_until > clock_timestamp())) AS dead";

/// Parameter: workers that seem to be dead. Gives those that are, and have been set back: now, or before, and then they are held
/// all the same, because one of them may be renewing its lease.
const BURY: &str = "WITH dead AS (
        SELECT id FROM sagaz.outbox_worker WHERE id = ANY($1) AND lease_until <= clock_timestamp()
        ORDER BY id FOR UPDATE SKIP LOCKED
    ), buried AS (
        UPDATE sagaz.outbox_worker AS w SET lease_until = '-infinity' FROM dead WHERE w.id = dead.id RETURNING w.id
    )
    SELECT id FROM buried
    UNION ALL SELECT d.id FROM unnest($1::uuid[]) AS d(id) WHERE NOT EXISTS (
        SELECT 1 FROM sagaz.outbox_worker AS w WHERE w.id = d.id)";

/// Parameters: the worker, the dead, how many.
const TAKE: &str = "UPDATE sagaz.outbox_lane AS l SET owner = $1, epoch = l.epoch + 1
    FROM (
        SELECT f.lane FROM sagaz.outbox_lane AS f WHERE f.owner IS NULL OR f.owner = ANY($2)
        ORDER BY f.lane LIMIT $3 FOR UPDATE SKIP LOCKED
    ) AS free WHERE l.lane = free.lane";

const OWNED: &str =
    "SELECT lane, epoch FROM sagaz.outbox_lane AS l WHERE l.owner = $1 ORDER BY lane";

/// The dead that own nothing are forgotten.
const FORGET: &str = "DELETE FROM sagaz.outbox_worker WHERE id IN (
        SELECT w.id FROM sagaz.outbox_worker AS w WHERE w.lease_until <= clock_timestamp()
            AND NOT EXISTS (SELECT 1 FROM sagaz.outbox_lane AS l WHERE l.owner = w.id)
        FOR UPDATE SKIP LOCKED)";

/// Parameters: the worker, its lanes.
const RELEASE: &str =
    "UPDATE sagaz.outbox_lane SET owner = NULL WHERE owner = $1 AND lane = ANY($2)";

const LEAVE: &str = "WITH free AS (
        UPDATE sagaz.outbox_lane SET owner = NULL WHERE owner = $1
    )
    DELETE FROM sagaz.outbox_worker WHERE id = $1";

pub(super) async fn attend(
    database: &Database,
    worker: WorkerId,
    ttl: Duration,
    wanted: u16,
) -> Result<Attendance, StoreError> {
    let begin = Some("BEGIN ISOLATION LEVEL READ COMMITTED");
    database
        .call_in(&database.relays, begin, async |connection| {
            renew(database, connection, worker, ttl).await?;
            let look = database.query(LOOK).bind(worker.as_uuid());
            let row = look.fetch_one(&mut *connection).await?;
            let workers: i64 = row.try_get("workers")?;
            let owned: i64 = row.try_get("owned")?;
            let dead: Vec<Uuid> = row.try_get("dead")?;
            let missing = i64::from(wanted) - owned;
            if missing > 0 && (!dead.is_empty() || row.try_get("has_free")?) {
                take(database, connection, worker, dead, missing).await?;
            }
            let owned = database.query(OWNED).bind(worker.as_uuid());
            let rows = owned.fetch_all(connection).await?;
            let lanes = rows.iter().map(|row| {
                let lane: i32 = row.try_get("lane")?;
                Ok(Lane {
                    index: u16::try_from(lane).unwrap_or(u16::MAX),
                    epoch: as_u64(row.try_get("epoch")?),
                })
            });
            Ok(Attendance {
                lanes: lanes.collect::<Result<_, sqlx::Error>>()?,
                workers: u32::try_from(workers).unwrap_or(u32::MAX),
            })
        })
        .await
}

/// The lease alone, and the lock of the worker's row to the end of the transaction.
async fn renew(
    database: &Database,
    connection: &mut PgConnection,
    worker: WorkerId,
    ttl: Duration,
) -> Result<(), sqlx::Error> {
    let renew = database.query(RENEW).bind(worker.as_uuid());
    renew
        .bind(lease_millis(ttl))
        .execute(connection)
        .await
        .map(|_| ())
}

async fn take(
    database: &Database,
    connection: &mut PgConnection,
    worker: WorkerId,
    dead: Vec<Uuid>,
    missing: i64,
) -> Result<(), sqlx::Error> {
    let mut buried: Vec<Uuid> = Vec::new();
    if !dead.is_empty() {
        let bury = database.query(BURY).bind(dead);
        for row in bury.fetch_all(&mut *connection).await? {
            buried.push(row.try_get("id")?);
        }
    }
    let take = database.query(TAKE).bind(worker.as_uuid());
    take.bind(buried)
        .bind(missing)
        .execute(&mut *connection)
        .await?;
    database.query(FORGET).execute(connection).await?;
    Ok(())
}

pub(super) async fn release(
    database: &Database,
    worker: WorkerId,
    lanes: Option<&[u16]>,
) -> Result<(), StoreError> {
    let query = match lanes {
        Some(lanes) => {
            let lanes: Vec<i32> = lanes.iter().copied().map(i32::from).collect();
            database.query(RELEASE).bind(worker.as_uuid()).bind(lanes)
        }
        None => database.query(LEAVE).bind(worker.as_uuid()),
    };
    database
        .call(&database.relays, async |connection| {
            query.execute(&mut *connection).await.map(|_| ())
        })
        .await?;
    // Somebody else publishes now what was this worker's.
    database.news.tell_events();
    Ok(())
}
