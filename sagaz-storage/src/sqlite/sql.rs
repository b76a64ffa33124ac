//! Fragments that several statements share.
//!
//! Every statement is a constant, whatever the size of a batch, so that it is prepared once. Parameters are plain `?`:
//! sqlx binds them one after the other, through all statements of one query.

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

/// The state of an instance that has ended; in the words of the partial index.
macro_rules! finished {
    () => {
        "state IN ('completed', 'rolled_back')"
    };
}

/// A payload as it is stored: text if it is JSON, to be read by people.
macro_rules! stored_payload {
    () => {
        "CASE content_type WHEN 'application/json' THEN CAST(payload AS TEXT) ELSE payload END"
    };
}

/// Replaces the rows of the steps in a [`records::Step`](super::records::Step) array whose instance passes the fence.
/// Parameters: the payloads, the array.
macro_rules! store_steps {
    ($fence:literal) => {
        concat!(
            "INSERT INTO saga_step (instance_id, name, kind, state, attempts, undo_attempts, recoveries, error, wake_at,
                updated_at, content_type, output)
            SELECT instance_id, name, kind, state, attempts, undo_attempts, recoveries, error, ",
            now!(),
            " + wake_ms, ",
            now!(),
            ", content_type, ",
            stored_payload!(),
            " FROM (
                SELECT i.id AS instance_id, v.value->>'$.name' AS name, v.value->>'$.kind' AS kind,
                    v.value->>'$.state' AS state, v.value->>'$.attempts' AS attempts,
                    v.value->>'$.undo_attempts' AS undo_attempts, v.value->>'$.recoveries' AS recoveries,
                    v.value->>'$.error' AS error, v.value->>'$.wake_ms' AS wake_ms,
                    v.value->>'$.content_type' AS content_type,
                    substr(?, v.value->>'$.at', v.value->>'$.len') AS payload
                FROM jsonb_each(?) AS v CROSS JOIN saga_instance AS i
                WHERE i.id = v.value->>'$.id' AND i.epoch = v.value->>'$.epoch' AND ",
            $fence,
            ")
            WHERE true
            ON CONFLICT (instance_id, name) DO UPDATE SET
                kind = excluded.kind, state = excluded.state, attempts = excluded.attempts,
                undo_attempts = excluded.undo_attempts, recoveries = excluded.recoveries, error = excluded.error,
                wake_at = excluded.wake_at, updated_at = excluded.updated_at,
                content_type = coalesce(excluded.content_type, content_type),
                output = coalesce(excluded.output, output);"
        )
    };
}

pub(super) use {finished, live, now, store_steps, stored_payload};
