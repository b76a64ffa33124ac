//! Rows as the values of the store's contract.

use crate::value::{self, as_u64, unreadable};
use sagaz_core::{
    EngineId, Payload, SagaId,
    store::{DefinitionKey, InstanceState, Snapshot, StepRow, Summary},
};
use serde::de::DeserializeOwned;
use sqlx::{Row, sqlite::SqliteRow};
use std::time::{Duration, SystemTime};

/// The columns of [`summary`], of the instance `i`.
macro_rules! summary_columns {
    () => {
        "i.id, i.saga, i.version, i.fingerprint, i.state, i.pivot_passed, i.owner, i.epoch, i.takeovers, i.start_key,
        i.failure, i.stuck, i.created_at, i.updated_at"
    };
}

/// The columns of [`snapshot`], of the instance `i`.
macro_rules! snapshot_columns {
    () => {
        concat!(
            summary_columns!(),
            ", max(0, i.deadline_at - ",
            now!(),
            ") AS deadline_ms, i.trace, i.cancel_requested, i.interventions, i.content_type, i.input"
        )
    };
}

/// The columns of [`step`], of the step `s`.
macro_rules! step_columns {
    () => {
        concat!(
            "s.instance_id, s.name, s.state, s.attempts, s.undo_attempts, s.recoveries, s.error, max(0, s.wake_at - ",
            now!(),
            ") AS wake_ms, s.updated_at, s.content_type, s.output"
        )
    };
}

pub(super) use {snapshot_columns, step_columns, summary_columns};

/// For a list: what cannot be read of a row is left out, or it would hide every other row; but each is listed with its id and its state.
pub(super) fn summary(row: &SqliteRow) -> Result<Summary, sqlx::Error> {
    let definition = DefinitionKey {
        saga: row.try_get("saga").unwrap_or_default(),
        version: row.try_get("version").unwrap_or_default(),
        fingerprint: row.try_get("fingerprint").unwrap_or_default(),
    };
    let time = |column| time(row, column).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut summary = Summary::new(id(row, "id")?, definition, time("created_at"));
    summary.state = state(row, "state")?;
    summary.pivot_passed = row.try_get("pivot_passed").unwrap_or_default();
    summary.owner = owner(row).unwrap_or_default();
    summary.epoch = row.try_get("epoch").map(as_u64).unwrap_or_default();
    summary.takeovers = row.try_get("takeovers").unwrap_or_default();
    summary.start_key = row.try_get("start_key").unwrap_or_default();
    summary.updated_at = time("updated_at");
    summary.failure = json(row, "failure").unwrap_or_default();
    summary.stuck = json(row, "stuck").unwrap_or_default();
    Ok(summary)
}

/// Nothing is left out.
fn whole_summary(row: &SqliteRow) -> Result<Summary, sqlx::Error> {
    let definition = DefinitionKey {
        saga: row.try_get("saga")?,
        version: row.try_get("version")?,
        fingerprint: row.try_get("fingerprint")?,
    };
    let mut summary = Summary::new(id(row, "id")?, definition, time(row, "created_at")?);
    summary.state = state(row, "state")?;
    summary.pivot_passed = row.try_get("pivot_passed")?;
    summary.owner = owner(row)?;
    summary.epoch = as_u64(row.try_get("epoch")?);
    summary.takeovers = row.try_get("takeovers")?;
    summary.start_key = row.try_get("start_key")?;
    summary.updated_at = time(row, "updated_at")?;
    summary.failure = json(row, "failure")?;
    summary.stuck = json(row, "stuck")?;
    Ok(summary)
}

/// Without its steps.
pub(super) fn snapshot(row: &SqliteRow) -> Result<Snapshot, sqlx::Error> {
    let input = Payload {
        content_type: row.try_get("content_type")?,
        bytes: row.try_get("input")?,
    };
    let mut snapshot = Snapshot::new(whole_summary(row)?, input);
    snapshot.trace = row.try_get("trace")?;
    snapshot.deadline = time_left(row, "deadline_ms")?;
    snapshot.cancel_requested = row.try_get("cancel_requested")?;
    snapshot.interventions = json(row, "interventions")?.unwrap_or_default();
    Ok(snapshot)
}

pub(super) fn step(row: &SqliteRow) -> Result<StepRow, sqlx::Error> {
    let bytes: Option<Vec<u8>> = row.try_get("output")?;
    let content_type: Option<String> = row.try_get("content_type")?;
    Ok(StepRow {
        name: row.try_get("name")?,
        state: value::step_state(row.try_get("state")?)?,
        attempts: row.try_get("attempts")?,
        undo_attempts: row.try_get("undo_attempts")?,
        recoveries: row.try_get("recoveries")?,
        output: content_type
            .zip(bytes)
            .map(|(content_type, bytes)| Payload {
                content_type,
                bytes,
            }),
        error: row.try_get("error")?,
        wake: time_left(row, "wake_ms")?,
        updated_at: time(row, "updated_at")?,
    })
}

pub(super) fn id(row: &SqliteRow, column: &str) -> Result<SagaId, sqlx::Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| unreadable("instance id", text))
}

pub(super) fn state(row: &SqliteRow, column: &str) -> Result<InstanceState, sqlx::Error> {
    value::instance_state(row.try_get(column)?)
}

fn owner(row: &SqliteRow) -> Result<Option<EngineId>, sqlx::Error> {
    let text: Option<String> = row.try_get("owner")?;
    text.map(|text| text.parse().map_err(|_| unreadable("owner", text)))
        .transpose()
}

fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, sqlx::Error> {
    value::from_json(column, row.try_get(column)?)
}

fn time(row: &SqliteRow, column: &str) -> Result<SystemTime, sqlx::Error> {
    row.try_get(column).map(value::time)
}

/// A column that holds how many milliseconds are left.
pub(super) fn time_left(row: &SqliteRow, column: &str) -> Result<Option<Duration>, sqlx::Error> {
    row.try_get(column).map(value::time_left)
}
