//! Fragments that several statements share.
//!
//! Every statement is a constant, whatever the size of a batch, so that it is prepared once. sqlx binds the `?` of the
//! statements of one query one after the other; a numbered parameter must not leave out a smaller number, or sqlx
//! miscounts what comes after it.

use std::time::Duration;

/// The database's clock: milliseconds since the Unix epoch. One statement sees one time.
macro_rules! now {
    () => {
        "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)"
    };
}

/// The state of an instance that an engine works on, or should; in the words of the partial indexes.
macro_rules! live {
    () => {
        "state IN ('pending', 'executing', 'compensating')"
    };
}

/// Picks a payload out of the parameter that concatenates all of them: text if it is JSON, to be read by people.
macro_rules! payload {
    ($payloads:literal) => {
        concat!(
            "CASE WHEN v.value->>'$.content_type' = 'application/json' ",
            "THEN CAST(substr(", $payloads, ", v.value->>'$.at', v.value->>'$.len') AS TEXT) ",
            "ELSE substr(", $payloads, ", v.value->>'$.at', v.value->>'$.len') END"
        )
    };
}

/// Replaces the rows of steps: of the records `?1` with the payloads `?2`, those whose instance passes the fence.
macro_rules! store_steps {
    ($fence:literal) => {
        concat!(
            "INSERT INTO saga_step (instance_id, name, kind, state, attempts, undo_attempts, recoveries, error, wake_at,
                 updated_at, content_type, output)
             SELECT i.id, v.value->>'$.name', v.value->>'$.kind', v.value->>'$.state', v.value->>'$.attempts',
                 v.value->>'$.undo_attempts', v.value->>'$.recoveries', v.value->>'$.error',
                 ", now!(), " + (v.value->>'$.wake_ms'), ", now!(), ", v.value->>'$.content_type',
                 ", payload!("p.payloads"), "
             FROM (SELECT ? AS records, ? AS payloads) AS p
             CROSS JOIN json_each(p.records) AS v
             CROSS JOIN saga_instance AS i ON i.id = v.value->>'$.id'
             WHERE ", $fence, "
             ON CONFLICT (instance_id, name) DO UPDATE SET
                 kind = excluded.kind, state = excluded.state, attempts = excluded.attempts,
                 undo_attempts = excluded.undo_attempts, recoveries = excluded.recoveries, error = excluded.error,
                 wake_at = excluded.wake_at, updated_at = excluded.updated_at,
                 content_type = coalesce(excluded.content_type, content_type),
                 output = coalesce(excluded.output, output);"
        )
    };
}

pub(super) use {live, now, payload, store_steps};

/// A delay in whole milliseconds, never shorter than it was asked for, and small enough to be added to a time.
pub(super) fn millis(delay: Duration) -> i64 {
    const FAR_MS: i64 = 1 << 50;
    i64::try_from(delay.as_nanos().div_ceil(1_000_000)).map_or(FAR_MS, |millis| millis.min(FAR_MS))
}

