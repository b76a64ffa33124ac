//! The values of the store's contract as databases hold them, both ways: what the stores of this package have in common.
//!
//! Not here: columns and their types, which each database has its own of (`row.rs` of each).

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use sql::*;

use sagaz_core::store::{Filter, InstanceState, StoreError};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Beyond every age and delay, and small enough to be added to a time.
const FAR_MS: i64 = 1 << 50;

/// A delay or an age in whole milliseconds, never shorter than it was asked for.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).map_or(FAR_MS, |ms| ms.min(FAR_MS))
}

/// A lease in whole milliseconds, rounded down: it must not last longer here than its engine believes.
pub(crate) fn lease_millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).map_or(FAR_MS, |ms| ms.min(FAR_MS))
}

pub(crate) fn as_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// From milliseconds since the Unix epoch.
pub(crate) fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(as_u64(millis))
}

/// The states that the filter lets through, as they are stored.
pub(crate) fn states(filter: &Filter) -> Vec<&'static str> {
    InstanceState::ALL
        .into_iter()
        .filter(|state| filter.states.is_empty() || filter.states.contains(state))
        .map(InstanceState::as_str)
        .collect()
}

/// As JSON that is stored.
pub(crate) fn record(value: &(impl Serialize + ?Sized)) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::refusal("a record cannot be written as JSON").caused_by(error))
}
