//! Leases of engines, by the server's clock.
//!
//! Invariant: whoever takes a dead engine's instances has set its lease back before (`claim`), so a renewal that comes
//! after that, or waited for it, tells that the lease had lapsed.

use super::database::Database;
use crate::value::lease_millis;
use sagaz_core::{
    EngineId,
    store::{Renewal, StoreError},
};
use sqlx::Row;
use std::time::Duration;
use uuid::Uuid;

/// Parameters: the engine, its lease. `old` is looked at, under its lock, before it is replaced.
const RENEW: &str = "WITH old AS MATERIALIZED (
        SELECT lease_until > clock_timestamp() AS is_live FROM sagaz.saga_engine WHERE id = $1 FOR UPDATE
    ), renewed AS (
        INSERT INTO sagaz.saga_engine (id, lease_until)
        SELECT $1, clock_timestamp() + $2 * interval '1 millisecond' FROM (SELECT count(*) FROM old) AS looked
        ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
        RETURNING id
    )
    SELECT coalesce((SELECT is_live FROM old), false) AS was_live,
        (SELECT count(*) FROM sagaz.saga_engine WHERE id <> $1 AND lease_until > clock_timestamp()) AS others,
        ARRAY(SELECT id FROM sagaz.saga_instance WHERE owner = $1 AND cancel_requested
            AND state IN ('pending', 'executing', 'compensating') ORDER BY id) AS cancelled,
        (SELECT count(*) FROM renewed) AS renewed";

/// The dead that own nothing are forgotten.
const FORGET: &str = "DELETE FROM sagaz.saga_engine WHERE id IN (
        SELECT e.id FROM sagaz.saga_engine AS e WHERE e.lease_until <= clock_timestamp()
            AND NOT EXISTS (SELECT 1 FROM sagaz.saga_instance AS i WHERE i.owner = e.id)
        FOR UPDATE SKIP LOCKED)";

const RETIRE: &str = "DELETE FROM sagaz.saga_engine WHERE id = $1";

pub(super) async fn renew(
    database: &Database,
    engine: EngineId,
    ttl: Duration,
) -> Result<Renewal, StoreError> {
    let query = database
        .query(RENEW)
        .bind(engine.as_uuid())
        .bind(lease_millis(ttl));
    database
        .call(&database.keeper, async |connection| {
            let row = query.fetch_one(&mut *connection).await?;
            let others: i64 = row.try_get("others")?;
            let cancelled: Vec<Uuid> = row.try_get("cancelled")?;
            database.query(FORGET).execute(&mut *connection).await?;
            Ok(Renewal {
                cancel_requested: cancelled.into_iter().map(Into::into).collect(),
                other_engines: u32::try_from(others).unwrap_or(u32::MAX),
                lapsed: !row.try_get::<bool, _>("was_live")?,
            })
        })
        .await
}

pub(super) async fn retire(database: &Database, engine: EngineId) -> Result<(), StoreError> {
    let query = database.query(RETIRE).bind(engine.as_uuid());
    database
        .call(&database.keeper, async |connection| {
            query.execute(&mut *connection).await.map(|_| ())
        })
        .await?;
    // What it owned can be taken over.
    database.tell_if(true);
    Ok(())
}
