//! The values of the store's contract as databases hold them, both ways: what the stores of this package have in common.
//!
//! Not here: columns and their types, which each database has its own of (`row.rs` of each).

use sagaz_core::store::{Filter, InstanceState, StepState, StoreError};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    borrow::Cow,
    fmt::Debug,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Beyond every age and delay, and small enough to be added to a time.
const FAR_MS: i64 = 1 << 50;

/// A stored value that this code cannot have written.
pub(crate) fn unreadable(what: &str, value: impl Debug) -> sqlx::Error {
    sqlx::Error::Decode(format!("the stored {what} {value:?} is not of this store").into())
}

pub(crate) fn is_decoding(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }
    )
}

/// What could not be read, in words.
pub(crate) fn decoding(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Decode(source) => source.to_string(),
        other => other.to_string(),
    }
}

/// No database holds a NUL character in a text.
pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A delay or an age in whole milliseconds, never shorter than it was asked for.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).map_or(FAR_MS, |ms| ms.min(FAR_MS))
}

/// A lease in whole milliseconds, rounded down: it must not last longer here than its engine believes.
pub(crate) fn lease_millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).map_or(FAR_MS, |ms| ms.min(FAR_MS))
}

/// Databases' integers are signed. No epoch or count gets near the difference.
pub(crate) fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn as_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// From milliseconds since the Unix epoch.
pub(crate) fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(as_u64(millis))
}

/// From how many milliseconds are left.
pub(crate) fn time_left(millis: Option<i64>) -> Option<Duration> {
    millis.map(|millis| Duration::from_millis(as_u64(millis)))
}

pub(crate) fn instance_state(word: String) -> Result<InstanceState, sqlx::Error> {
    InstanceState::from_word(&word).ok_or_else(|| unreadable("state of an instance", word))
}

pub(crate) fn step_state(word: String) -> Result<StepState, sqlx::Error> {
    StepState::from_word(&word).ok_or_else(|| unreadable("state of a step", word))
}

/// The states that the filter lets through, as they are stored.
pub(crate) fn states(filter: &Filter) -> Vec<&'static str> {
    InstanceState::ALL
        .into_iter()
        .filter(|state| filter.states.is_empty() || filter.states.contains(state))
        .map(InstanceState::as_str)
        .collect()
}

/// From JSON; `what` it is, for the error.
pub(crate) fn from_json<T: DeserializeOwned>(
    what: &str,
    text: Option<String>,
) -> Result<Option<T>, sqlx::Error> {
    text.map(|text| serde_json::from_str(&text).map_err(|_| unreadable(what, text)))
        .transpose()
}

/// As JSON that a statement takes.
pub(crate) fn to_json(records: &(impl Serialize + ?Sized)) -> Result<String, sqlx::Error> {
    serde_json::to_string(records).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// As JSON that is stored.
pub(crate) fn record(value: &(impl Serialize + ?Sized)) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::refusal("a record cannot be written as JSON").caused_by(error))
}
