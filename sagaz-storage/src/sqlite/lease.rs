//! Leases of engines, by the database's clock.

use super::{
    connection::Database,
    row::id,
    sql::{live, now},
};
use crate::value::lease_millis;
use sagaz_core::{
    EngineId,
    store::{Renewal, StoreError},
};
use sqlx::{Row, SqliteConnection};
use std::time::Duration;

/// Parameters: the engine, the engine, its lease, the engine, the engine. The dead that own nothing are forgotten; the others are
/// needed by nobody either, but are told apart from those that never were when people look at the table.
const RENEW: &str = concat!(
    "BEGIN IMMEDIATE;
    SELECT NOT EXISTS (SELECT 1 FROM saga_engine WHERE id = ? AND lease_until > ",
    now!(),
    ") AS lapsed, NULL AS others, NULL AS id;
    INSERT INTO saga_engine (id, lease_until) VALUES (?, ",
    now!(),
    " + ?) ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until;
    DELETE FROM saga_engine WHERE lease_until <= ",
    now!(),
    " AND NOT EXISTS (SELECT 1 FROM saga_instance AS i WHERE i.owner = saga_engine.id);
    SELECT NULL AS lapsed, count(*) AS others, NULL AS id FROM saga_engine WHERE id <> ? AND lease_until > ",
    now!(),
    ";
    SELECT NULL AS lapsed, NULL AS others, id FROM saga_instance WHERE owner = ? AND cancel_requested AND ",
    live!(),
    " ORDER BY id;
    COMMIT"
);

const RETIRE: &str = "DELETE FROM saga_engine WHERE id = ?";

pub(super) async fn renew(
    database: &Database,
    engine: EngineId,
    ttl: Duration,
) -> Result<Renewal, StoreError> {
    let mut turn = database.turn().await?;
    let result = renewal(&mut turn.connection, engine, ttl).await;
    turn.end(result).await
}

async fn renewal(
    connection: &mut SqliteConnection,
    engine: EngineId,
    ttl: Duration,
) -> Result<Renewal, sqlx::Error> {
    let engine = engine.to_string();
    let query = sqlx::query(RENEW)
        .bind(&engine)
        .bind(&engine)
        .bind(lease_millis(ttl))
        .bind(&engine)
        .bind(&engine);
    let mut renewal = Renewal::default();
    for row in query.fetch_all(connection).await? {
        if let Some(lapsed) = row.try_get("lapsed")? {
            renewal.lapsed = lapsed;
        } else if let Some(others) = row.try_get("others")? {
            renewal.other_engines = others;
        } else {
            renewal.cancel_requested.push(id(&row, "id")?);
        }
    }
    Ok(renewal)
}

pub(super) async fn retire(database: &Database, engine: EngineId) -> Result<(), StoreError> {
    let mut turn = database.turn().await?;
    let result = sqlx::query(RETIRE)
        .bind(engine.to_string())
        .execute(&mut turn.connection)
        .await;
    turn.end(result.map(|_| ())).await
}
