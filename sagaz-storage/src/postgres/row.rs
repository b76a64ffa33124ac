//! Rows as the values of the store's contract.

use crate::value::{self, as_u64, unreadable};
use sagaz_core::{
    Payload, SagaId,
    store::{DefinitionKey, InstanceState, Snapshot, StepRow, Summary},
};
use serde::de::DeserializeOwned;
use sqlx::{Row, postgres::PgRow};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Milliseconds since the Unix epoch.
macro_rules! ms {
    ($time:literal) => {
        concat!("(extract(epoch FROM ", $time, ") * 1000)::bigint")
    };
}

/// Milliseconds until then: none are left if it has passed, and NULL is NULL, of which `greatest` would make 0.
macro_rules! ms_left {
    ($time:literal) => {
        concat!(
            "CASE WHEN ",
            $time,
            " IS NOT NULL THEN greatest(0, ceil(extract(epoch FROM ",
            $time,
            " - clock_timestamp()) * 1000))::bigint END"
        )
    };
}

/// The columns of [`summary`], of the instance `i`.
macro_rules! summary_columns {
    () => {
        concat!(
            "i.id, i.saga, i.version, i.fingerprint, i.state, i.pivot_passed, i.owner, i.epoch, i.takeovers, i.start_key,
            i.failure, i.stuck, ",
            ms!("i.created_at"),
            " AS created_ms, ",
            ms!("i.updated_at"),
            " AS updated_ms"
        )
    };
}

/// The columns of [`snapshot`], of the instance `i`.
macro_rules! snapshot_columns {
    () => {
        concat!(
            summary_columns!(),
            ", ",
            ms_left!("i.deadline_at"),
            " AS deadline_ms, i.trace, i.cancel_requested, i.interventions, i.content_type, i.input_text AS text,
            i.input_bytes AS bytes"
        )
    };
}

/// The columns of [`step`], of the step `s`.
macro_rules! step_columns {
    () => {
        concat!(
            "s.instance_id, s.name, s.state, s.attempts, s.undo_attempts, s.recoveries, s.error, ",
            ms_left!("s.wake_at"),
            " AS wake_ms, ",
            ms!("s.updated_at"),
            " AS updated_ms, s.content_type, s.output_text AS text, s.output_bytes AS bytes"
        )
    };
}

pub(super) use {ms, ms_left, snapshot_columns, step_columns, summary_columns};

/// For a list: a failure or a reason to be stuck that cannot be read is left out, so that it hides no other row.
pub(super) fn summary(row: &PgRow) -> Result<Summary, sqlx::Error> {
    let mut summary = standing(row)?;
    summary.failure = json(row, "failure").unwrap_or_default();
    summary.stuck = json(row, "stuck").unwrap_or_default();
    Ok(summary)
}

/// Without failure and stuck.
fn standing(row: &PgRow) -> Result<Summary, sqlx::Error> {
    let definition = DefinitionKey {
        saga: row.try_get("saga")?,
        version: number(row, "version")?,
        fingerprint: row.try_get("fingerprint")?,
    };
    let mut summary = Summary::new(id(row, "id")?, definition, time(row, "created_ms")?);
    summary.state = state(row, "state")?;
    summary.pivot_passed = row.try_get("pivot_passed")?;
    summary.owner = row.try_get::<Option<Uuid>, _>("owner")?.map(Into::into);
    summary.epoch = as_u64(row.try_get("epoch")?);
    summary.takeovers = number(row, "takeovers")?;
    summary.start_key = row.try_get("start_key")?;
    summary.updated_at = time(row, "updated_ms")?;
    Ok(summary)
}

/// Without its steps.
pub(super) fn snapshot(row: &PgRow) -> Result<Snapshot, sqlx::Error> {
    let content_type = row.try_get("content_type")?;
    let input = payload(row, content_type)?.ok_or_else(|| unreadable("input", "none"))?;
    let mut summary = standing(row)?;
    summary.failure = json(row, "failure")?;
    summary.stuck = json(row, "stuck")?;
    let mut snapshot = Snapshot::new(summary, input);
    snapshot.trace = row.try_get("trace")?;
    snapshot.deadline = time_left(row, "deadline_ms")?;
    snapshot.cancel_requested = row.try_get("cancel_requested")?;
    snapshot.interventions = json(row, "interventions")?.unwrap_or_default();
    Ok(snapshot)
}

pub(super) fn step(row: &PgRow) -> Result<StepRow, sqlx::Error> {
    let content_type: Option<String> = row.try_get("content_type")?;
    Ok(StepRow {
        name: row.try_get("name")?,
        state: value::step_state(row.try_get("state")?)?,
        attempts: number(row, "attempts")?,
        undo_attempts: number(row, "undo_attempts")?,
        recoveries: number(row, "recoveries")?,
        output: match content_type {
            Some(content_type) => payload(row, content_type)?,
            None => None,
        },
        error: row.try_get("error")?,
        wake: time_left(row, "wake_ms")?,
        updated_at: time(row, "updated_ms")?,
    })
}

fn payload(row: &PgRow, content_type: String) -> Result<Option<Payload>, sqlx::Error> {
    let text: Option<String> = row.try_get("text")?;
    let bytes = match text {
        Some(text) => Some(text.into_bytes()),
        None => row.try_get("bytes")?,
    };
    Ok(bytes.map(|bytes| Payload {
        content_type,
        bytes,
    }))
}

/// A payload as it is stored: as text if it is JSON, to be read by people.
pub(super) fn columns(payload: &Payload) -> (Option<&str>, Option<&[u8]>) {
    let is_json = payload.content_type == "application/json";
    match std::str::from_utf8(&payload.bytes) {
        // A text of PostgreSQL's holds no NUL character; well-formed JSON has none.
        Ok(text) if is_json && !text.contains('\0') => (Some(text), None),
        _ => (None, Some(&payload.bytes)),
    }
}

pub(super) fn id(row: &PgRow, column: &str) -> Result<SagaId, sqlx::Error> {
    row.try_get::<Uuid, _>(column).map(Into::into)
}

pub(super) fn state(row: &PgRow, column: &str) -> Result<InstanceState, sqlx::Error> {
    value::instance_state(row.try_get(column)?)
}

pub(super) fn number(row: &PgRow, column: &str) -> Result<u32, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    u32::try_from(number).map_err(|_| unreadable(column, number))
}

fn json<T: DeserializeOwned>(row: &PgRow, column: &str) -> Result<Option<T>, sqlx::Error> {
    value::from_json(column, row.try_get(column)?)
}

fn time(row: &PgRow, column: &str) -> Result<SystemTime, sqlx::Error> {
    row.try_get(column).map(value::time)
}

/// A column that holds how many milliseconds are left.
pub(super) fn time_left(row: &PgRow, column: &str) -> Result<Option<Duration>, sqlx::Error> {
    row.try_get(column).map(value::time_left)
}
