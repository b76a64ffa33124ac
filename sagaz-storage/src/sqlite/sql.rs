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

/// Stores the events in a [`records::Published`](super::records::Published) array whose instance passes the fence, unless the
/// row of their step says that an earlier try of the same write did: so it comes before the steps are stored. An event is born
/// leased to its sender only if it is the first of its key. Parameters: the payloads, the array.
macro_rules! store_events {
    ($fence:literal) => {
        concat!(
            "INSERT INTO saga_outbox (lane, id, key, type, source, subject, time_ns, attributes, created_at, sender, wait_until,
                content_type, data)
            SELECT lane, id, key, type, source, subject, time_ns, attributes, ",
            now!(),
            ", sender, CASE WHEN sender IS NOT NULL THEN ",
            now!(),
            " + lease_ms END, content_type, ",
            stored_payload!(),
            " FROM (
                SELECT v.value->>'$.lane' AS lane, v.value->>'$.id' AS id, v.value->>'$.key' AS key,
                    v.value->>'$.type' AS type, v.value->>'$.source' AS source, v.value->>'$.subject' AS subject,
                    v.value->>'$.time_ns' AS time_ns, v.value->'$.attributes' AS attributes,
                    CASE WHEN v.value->>'$.is_first'
                        AND NOT EXISTS (SELECT 1 FROM saga_outbox AS o WHERE o.key = v.value->>'$.key')
                    THEN v.value->>'$.sender' END AS sender,
                    v.value->>'$.lease_ms' AS lease_ms, v.value->>'$.content_type' AS content_type,
                    substr(?, v.value->>'$.at', v.value->>'$.len') AS payload
                FROM jsonb_each(?) AS v CROSS JOIN saga_instance AS i
                WHERE i.id = v.value->>'$.instance' AND i.epoch = v.value->>'$.epoch' AND ",
            $fence,
            " AND NOT EXISTS (SELECT 1 FROM saga_step AS s WHERE s.instance_id = i.id
                        AND s.name = v.value->>'$.step' AND s.state = v.value->>'$.state')
                    AND NOT EXISTS (SELECT 1 FROM saga_outbox_archive AS a WHERE a.id = v.value->>'$.id')
                ORDER BY v.key)
            WHERE true
            ON CONFLICT (id) DO NOTHING;"
        )
    };
}

/// Where a dead letter that is stored was one before: what operators did to it stays with it.
macro_rules! reopen {
    () => {
        "ON CONFLICT (id, consumer) DO UPDATE SET
            key = excluded.key, type = excluded.type, source = excluded.source, subject = excluded.subject,
            time_ns = excluded.time_ns, attributes = excluded.attributes, content_type = excluded.content_type,
            data = excluded.data, attempts = excluded.attempts, error = excluded.error, blocks = excluded.blocks,
            state = excluded.state, is_given_back = 0, died_at = excluded.died_at, decided_at = NULL"
    };
}

pub(super) use {finished, live, now, reopen, store_events, store_steps, stored_payload};
