//! What the stores with tables have in common: values as sqlx hands them over.

use super::as_u64;
use sagaz_core::store::{InstanceState, StepState};
use serde::{Serialize, de::DeserializeOwned};
use std::{borrow::Cow, fmt::Debug, time::Duration};

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

/// Databases' integers are signed. No epoch or count gets near the difference.
pub(crate) fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
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
