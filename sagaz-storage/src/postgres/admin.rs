//! Those who own nothing: definitions, requests to cancel, and retention.
//!
//! Invariant: each compares the state in the statement that sets it, so that it never writes over an owner's progress.

use super::{database::Database, row};
use crate::value::{as_u64, millis};
use sagaz_core::{
    SagaId,
    store::{CancelReply, Defined, DefinitionKey, Retention, StoreError},
};
use sqlx::{Connection, Row};
use std::time::Duration;

/// One at a time for each saga and version.
const DEFINING: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))";

const OTHER_DEFINITION: &str = "SELECT fingerprint, count(*) AS unfinished FROM sagaz.saga_instance
    WHERE saga = $1 AND version = $2 AND ended_at IS NULL AND fingerprint <> $3
    GROUP BY fingerprint ORDER BY fingerprint LIMIT 1";

const DEFINE: &str = "INSERT INTO sagaz.saga_definition AS d (saga, version, fingerprint, defined_at)
    VALUES ($1, $2, $3, clock_timestamp())
    ON CONFLICT (saga, version) DO UPDATE SET fingerprint = excluded.fingerprint, defined_at = excluded.defined_at
        WHERE d.fingerprint <> excluded.fingerprint";

const REQUEST_CANCEL: &str =
    "UPDATE sagaz.saga_instance SET cancel_requested = true, updated_at = clock_timestamp(),
        wake_at = CASE WHEN owner IS NULL THEN least(wake_at, clock_timestamp()) END
    WHERE id = $1 AND NOT pivot_passed AND state IN ('pending', 'executing', 'compensating')
    RETURNING owner IS NULL AS is_due";

const HOW_IT_STANDS: &str = "SELECT state FROM sagaz.saga_instance WHERE id = $1";

/// What is old enough, `old`, and is removed. The sagas and versions are read by skipping through the index. Parameters: the age,
/// the limit.
macro_rules! removed {
    () => {
        "WITH RECURSIVE kind(saga, version) AS (
            (SELECT saga, version FROM sagaz.saga_instance WHERE ended_at IS NOT NULL ORDER BY saga, version LIMIT 1)
            UNION ALL
            SELECT next.saga, next.version FROM kind AS k CROSS JOIN LATERAL (
                SELECT i.saga, i.version FROM sagaz.saga_instance AS i
                WHERE i.ended_at IS NOT NULL AND (i.saga, i.version) > (k.saga, k.version)
                ORDER BY i.saga, i.version LIMIT 1) AS next
        ), old AS MATERIALIZED (
            SELECT o.id FROM kind AS k CROSS JOIN LATERAL (
                SELECT i.id FROM sagaz.saga_instance AS i WHERE i.saga = k.saga AND i.version = k.version
                    AND i.ended_at <= statement_timestamp() - $1 * interval '1 millisecond'
                ORDER BY i.ended_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS o
            LIMIT $2
        ), steps AS (
            DELETE FROM sagaz.saga_step AS s USING old WHERE s.instance_id = old.id RETURNING s.*
        ), instances AS (
            DELETE FROM sagaz.saga_instance AS i USING old WHERE i.id = old.id RETURNING i.*
        )"
    };
}

const DELETE: &str = concat!(removed!(), " SELECT count(*) FROM instances");

/// What is there already must not keep the rest from being moved.
const ARCHIVE: &str = concat!(
    removed!(),
    ", archived AS (
        INSERT INTO sagaz.saga_archive SELECT * FROM instances ON CONFLICT DO NOTHING
    ), archived_steps AS (
        INSERT INTO sagaz.saga_archive_step SELECT * FROM steps ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM instances"
);

/// Each is looked up in two indexes: written so that the planner cannot join it to all instances.
const FORGET_DEFINITIONS: &str = "DELETE FROM sagaz.saga_definition AS d WHERE (
        SELECT true FROM sagaz.saga_instance AS i
        WHERE i.saga = d.saga AND i.version = d.version AND i.ended_at IS NOT NULL LIMIT 1) IS NULL
    AND (
        SELECT true FROM sagaz.saga_instance AS i
        WHERE i.saga = d.saga AND i.version = d.version AND i.ended_at IS NULL LIMIT 1) IS NULL";

pub(super) async fn define(
    database: &Database,
    key: &DefinitionKey,
) -> Result<Defined, StoreError> {
    let version = i64::from(key.version);
    database
        .call(&database.readers, async |connection| {
            let mut transaction = connection.begin().await?;
            let lock = database
                .query(DEFINING)
                .bind(key.saga.clone())
                .bind(version);
            lock.execute(&mut *transaction).await?;
            let other = database
                .query(OTHER_DEFINITION)
                .bind(key.saga.clone())
                .bind(version)
                .bind(key.fingerprint.clone());
            if let Some(other) = other.fetch_optional(&mut *transaction).await? {
                let conflict = Defined::Conflict {
                    fingerprint: other.try_get("fingerprint")?,
                    unfinished: as_u64(other.try_get("unfinished")?),
                };
                transaction.rollback().await?;
                return Ok(conflict);
            }
            let define = database
                .query(DEFINE)
                .bind(key.saga.clone())
                .bind(version)
                .bind(key.fingerprint.clone());
            define.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(Defined::Stored)
        })
        .await
}

pub(super) async fn request_cancel(
    database: &Database,
    id: SagaId,
) -> Result<CancelReply, StoreError> {
    let mut is_due = false;
    let reply = database
        .call(&database.readers, async |connection| {
            let request = database.query(REQUEST_CANCEL).bind(id.as_uuid());
            if let Some(row) = request.fetch_optional(&mut *connection).await? {
                is_due = row.try_get("is_due")?;
                return Ok(CancelReply::Requested);
            }
            // What was refused stays refused: neither a passed pivot nor an end is taken back. A decision of an operator's
            // between the two statements is as if it had come after both.
            let look = database.query(HOW_IT_STANDS).bind(id.as_uuid());
            Ok(match look.fetch_optional(&mut *connection).await? {
                None => CancelReply::NotFound,
                Some(row) => match row::state(&row, "state")? {
                    state if state.is_live() => CancelReply::PivotPassed,
                    state => CancelReply::NotLive(state),
                },
            })
        })
        .await?;
    database.tell_if(is_due);
    Ok(reply)
}

pub(super) async fn prune(
    database: &Database,
    age: Duration,
    limit: u32,
    retention: Retention,
) -> Result<u64, StoreError> {
    let statement = match retention {
        Retention::Archive => ARCHIVE,
        _ => DELETE,
    };
    let prune = database
        .query(statement)
        .bind(millis(age))
        .bind(i64::from(limit));
    database
        .call(&database.readers, async |connection| {
            let removed = prune.fetch_one(&mut *connection).await?;
            let removed = as_u64(removed.try_get(0)?);
            if removed > 0 {
                let forget = database.query(FORGET_DEFINITIONS);
                forget.execute(&mut *connection).await?;
            }
            Ok(removed)
        })
        .await
}
