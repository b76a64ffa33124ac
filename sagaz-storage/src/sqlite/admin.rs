//! Those who own nothing: definitions, requests to cancel, operators, and retention.
//!
//! Invariant: each compares the state in the statement that sets it, so that it never writes over an owner's progress.

use super::{
    connection::Database,
    records::{Events, Payloads, Step, json},
    row,
    sql::{finished, live, now, store_events, store_steps, stored_payload},
};
use crate::value::{as_i64, as_u64, millis, unreadable};
use sagaz_core::{
    SagaId,
    store::{
        CancelReply, Defined, DefinitionKey, InstanceState, OperatorWrite, Retention, StoreError,
    },
};
use sqlx::{Row, SqliteConnection};
use std::{sync::Arc, time::Duration};

const OTHER_DEFINITION: &str = "SELECT fingerprint, count(*) FROM saga_instance
    WHERE saga = ? AND state IN ('pending', 'executing', 'compensating', 'stuck') AND version = ? AND fingerprint <> ?
    GROUP BY fingerprint ORDER BY fingerprint LIMIT 1";

const DEFINE: &str = concat!(
    "INSERT INTO saga_definition (saga, version, fingerprint, defined_at) VALUES (?, ?, ?, ",
    now!(),
    ") ON CONFLICT (saga, version) DO UPDATE SET fingerprint = excluded.fingerprint, defined_at = excluded.defined_at
        WHERE fingerprint <> excluded.fingerprint"
);

/// Parameters: the instance, the instance.
const REQUEST_CANCEL: &str = concat!(
    "BEGIN IMMEDIATE;
    UPDATE saga_instance SET cancel_requested = 1, updated_at = ",
    now!(),
    ", wake_at = CASE WHEN owner IS NULL THEN min(wake_at, ",
    now!(),
    ") END WHERE id = ? AND NOT pivot_passed AND ",
    live!(),
    ";
    SELECT state, pivot_passed FROM saga_instance WHERE id = ?;
    COMMIT"
);

/// Parameters: the payloads, the events, the payloads, the steps, then state, `pivot_passed`, failure, whether it is live, the intervention, the
/// instance, its epoch.
const OPERATE: &str = concat!(
    "BEGIN IMMEDIATE;",
    store_events!("i.state = 'stuck'"),
    store_steps!("i.state = 'stuck'"),
    "UPDATE saga_instance SET epoch = epoch + 1, takeovers = 0, owner = NULL, stuck = NULL, cancel_requested = 0,
        state = ?, pivot_passed = ?, failure = coalesce(?, failure), wake_at = CASE WHEN ? THEN ",
    now!(),
    " END, interventions = json_insert(coalesce(interventions, '[]'), '$[#]', json_set(?, '$.at_ms', ",
    now!(),
    ")), updated_at = ",
    now!(),
    " WHERE id = ? AND epoch = ? AND state = 'stuck' RETURNING id;
    COMMIT"
);

const OLD: &str = concat!(
    "SELECT id FROM saga_instance WHERE ",
    finished!(),
    " AND updated_at <= ",
    now!(),
    " - ? ORDER BY updated_at LIMIT ?"
);

/// Parameters: the instances, twice. `OR IGNORE`: what is there already must not keep the rest from being moved.
const ARCHIVE: &str = concat!(
    "INSERT OR IGNORE INTO saga_archive SELECT * FROM saga_instance WHERE id IN (SELECT value FROM json_each(?)) AND ",
    finished!(),
    ";
    INSERT OR IGNORE INTO saga_archive_step SELECT * FROM saga_step WHERE instance_id IN (SELECT value FROM json_each(?))"
);

/// What has ended never changes again, so what was found to be old still is. Parameters: the instances, twice.
const PRUNE: &str = concat!(
    "DELETE FROM saga_step WHERE instance_id IN (SELECT value FROM json_each(?));
    DELETE FROM saga_instance WHERE id IN (SELECT value FROM json_each(?)) AND ",
    finished!(),
    ";
    SELECT changes();
    DELETE FROM saga_definition WHERE NOT EXISTS (
        SELECT 1 FROM saga_instance AS i INDEXED BY saga_instance_listing
        WHERE i.saga = saga_definition.saga AND i.version = saga_definition.version);
    COMMIT"
);

pub(super) async fn define(
    database: &Database,
    key: &DefinitionKey,
) -> Result<Defined, StoreError> {
    let mut turn = database.turn().await?;
    let result = define_on(&mut turn.connection, key).await;
    turn.end(result).await
}

async fn define_on(
    connection: &mut SqliteConnection,
    key: &DefinitionKey,
) -> Result<Defined, sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    let other = sqlx::query(OTHER_DEFINITION)
        .bind(&key.saga)
        .bind(key.version)
        .bind(&key.fingerprint);
    let defined = if let Some(other) = other.fetch_optional(&mut *connection).await? {
        Defined::Conflict {
            fingerprint: other.try_get(0)?,
            unfinished: as_u64(other.try_get(1)?),
        }
    } else {
        let define = sqlx::query(DEFINE)
            .bind(&key.saga)
            .bind(key.version)
            .bind(&key.fingerprint);
        define.execute(&mut *connection).await?;
        Defined::Stored
    };
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(defined)
}

pub(super) async fn request_cancel(
    database: &Database,
    id: SagaId,
) -> Result<CancelReply, StoreError> {
    let mut turn = database.turn().await?;
    let result = request_cancel_on(&mut turn.connection, &id.to_string()).await;
    turn.end(result).await
}

async fn request_cancel_on(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<CancelReply, sqlx::Error> {
    let rows = sqlx::query(REQUEST_CANCEL)
        .bind(id)
        .bind(id)
        .fetch_all(connection)
        .await?;
    let Some(row) = rows.first() else {
        return Ok(CancelReply::NotFound);
    };
    let state: InstanceState = row::state(row, "state")?;
    Ok(if !state.is_live() {
        CancelReply::NotLive(state)
    } else if row.try_get("pivot_passed")? {
        CancelReply::PivotPassed
    } else {
        CancelReply::Requested
    })
}

pub(super) async fn operate(
    database: &Database,
    write: &OperatorWrite,
) -> Result<bool, StoreError> {
    let epoch = as_i64(write.epoch);
    let (mut payloads, mut steps) = (Payloads::default(), Vec::new());
    let mut events = Events::default();
    for step in &write.steps {
        let row = Step::new(write.id, None, epoch, step, &mut payloads);
        for event in &step.events {
            events.add(&row, event, None)?;
        }
        steps.push(row);
    }
    let (steps, published) = (json(&steps)?, json(&events.published)?);
    let failure: Option<Arc<str>> = write.failure.as_ref().map(json).transpose()?;
    let intervention = json(&write.intervention)?;

    let mut turn = database.turn().await?;
    let query = sqlx::query(OPERATE)
        .bind(events.payloads.0)
        .bind(published)
        .bind(payloads.0)
        .bind(steps)
        .bind(write.state.as_str())
        .bind(write.pivot_passed)
        .bind(failure)
        .bind(write.state.is_live())
        .bind(intervention)
        .bind(write.id.to_string())
        .bind(epoch);
    let result = query.fetch_all(&mut turn.connection).await;
    turn.end(result.map(|rows| !rows.is_empty())).await
}

pub(super) async fn prune(
    database: &Database,
    age: Duration,
    limit: u32,
    retention: Retention,
) -> Result<u64, StoreError> {
    // Found without the lock: mostly there is nothing to remove.
    let old = sqlx::query_scalar(OLD)
        .bind(millis(age))
        .bind(limit)
        .fetch_all(&database.readers)
        .await;
    let old: Vec<String> = old.map_err(|error| database.error(error))?;
    if old.is_empty() {
        return Ok(0);
    }
    let old = json(&old)?;
    let mut turn = database.turn().await?;
    let result = remove(&mut turn.connection, old, retention).await;
    turn.end(result).await
}

async fn remove(
    connection: &mut SqliteConnection,
    ids: Arc<str>,
    retention: Retention,
) -> Result<u64, sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    if retention == Retention::Archive {
        sqlx::query(ARCHIVE)
            .bind(Arc::clone(&ids))
            .bind(Arc::clone(&ids))
            .execute(&mut *connection)
            .await?;
    }
    let rows = sqlx::query(PRUNE)
        .bind(Arc::clone(&ids))
        .bind(ids)
        .fetch_all(connection)
        .await?;
    let removed = rows
        .first()
        .ok_or_else(|| unreadable("number of removed instances", "none"))?;
    Ok(as_u64(removed.try_get(0)?))
}
