//! The statements of writes.
//!
//! Parameters are arrays, a column each: what [`Accepts`](super::super::columns::Accepts) and its like bind, in this order.

use super::super::event::key_lock;

/// New instances. Parameters: the columns of [`Accepts`] (1 to 12).
macro_rules! accept {
    () => {
        "INSERT INTO sagaz.saga_instance (id, saga, version, fingerprint, state, owner, epoch, wake_at, deadline_at, start_key,
            input_digest, trace, created_at, updated_at, content_type, input_text, input_bytes)
        SELECT a.id, a.saga, a.version, a.fingerprint, 'pending', a.owner, CASE WHEN a.owner IS NULL THEN 0 ELSE 1 END,
            CASE WHEN a.owner IS NULL THEN clock_timestamp() END,
            clock_timestamp() + a.deadline_ms * interval '1 millisecond', a.start_key, a.input_digest, a.trace,
            clock_timestamp(), clock_timestamp(), a.content_type, a.text, a.bytes
        FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::bigint[],
                $9::text[], $10::text[], $11::text[], $12::bytea[])
            AS a(id, saga, version, fingerprint, owner, start_key, input_digest, deadline_ms, trace, content_type, text,
                bytes)
        ORDER BY a.saga, a.start_key, a.id
        ON CONFLICT DO NOTHING
        RETURNING id, false AS cancel_requested"
    };
}

/// The steps `t` of the instances `$of`, as rows. An output, once stored, stays. Written so that the planner looks each up in
/// a hash, whatever it expects.
macro_rules! store_steps {
    ($steps:literal, $of:literal) => {
        concat!(
            "INSERT INTO sagaz.saga_step AS s (instance_id, name, kind, state, attempts, undo_attempts, recoveries, error,
                wake_at, updated_at, content_type, output_text, output_bytes)
            SELECT t.id, t.name, t.kind, t.state, t.attempts, t.undo_attempts, t.recoveries, t.error,
                clock_timestamp() + t.wake_ms * interval '1 millisecond', clock_timestamp(), t.content_type, t.text, t.bytes
            FROM unnest(",
            $steps,
            ") AS t(id, name, kind, state, attempts, undo_attempts, recoveries, error, wake_ms, content_type, text, bytes)
            WHERE (t.id IN (SELECT id FROM ",
            $of,
            ")) IS TRUE
            ON CONFLICT (instance_id, name) DO UPDATE SET
                kind = excluded.kind, state = excluded.state, attempts = excluded.attempts,
                undo_attempts = excluded.undo_attempts, recoveries = excluded.recoveries, error = excluded.error,
                wake_at = excluded.wake_at, updated_at = excluded.updated_at,
                content_type = coalesce(excluded.content_type, s.content_type),
                output_text = CASE WHEN excluded.content_type IS NULL THEN s.output_text ELSE excluded.output_text END,
                output_bytes = CASE WHEN excluded.content_type IS NULL THEN s.output_bytes ELSE excluded.output_bytes END"
        )
    };
}

/// Progress of instances, `changed`, and the rows of their steps. `IS NOT DISTINCT FROM`, because an index on the owner, which
/// would have all that it owns, cannot be used for that. The planner takes a limit that it does not know for few rows, and looks up
/// each of them; and where it thinks that the table has hardly any rows, and would read all of it, `ANY` keeps it to those of the
/// batch. `$only` is a condition on what is written. Parameters: the columns of [`Changes`], of which the first is the ids, those of
/// [`Steps`].
macro_rules! progress {
    ($ids:literal, $changes:literal, $only:literal, $steps:literal) => {
        concat!(
            "v AS MATERIALIZED (
                SELECT * FROM unnest(",
            $changes,
            ") AS v(id, owner, epoch, state, pivot_passed, failure, stuck, release, wake_ms, advanced, tried_by, try) ",
            $only,
            " ORDER BY id LIMIT cardinality(",
            $ids,
            ")
            ), changed AS (
                UPDATE sagaz.saga_instance AS i SET
                    state = v.state, pivot_passed = v.pivot_passed, failure = coalesce(v.failure, i.failure), stuck = v.stuck,
                    owner = CASE WHEN v.release THEN NULL ELSE i.owner END,
                    wake_at = clock_timestamp() + v.wake_ms * interval '1 millisecond',
                    ended_at = CASE WHEN v.state IN ('completed', 'rolled_back') THEN clock_timestamp() END,
                    takeovers = CASE WHEN v.advanced THEN 0 ELSE i.takeovers END, updated_at = clock_timestamp(),
                    tried_by = v.tried_by, try = v.try
                FROM v WHERE i.id = v.id AND i.epoch = v.epoch AND i.owner IS NOT DISTINCT FROM v.owner
                    AND (i.tried_by IS DISTINCT FROM v.tried_by OR i.try < v.try) AND i.id = ANY(",
            $ids,
            ")
                RETURNING i.id, i.cancel_requested
            ), stored AS (",
            store_steps!($steps, "changed"),
            ")"
        )
    };
}

/// A batch of new instances alone.
pub(super) const ACCEPT: &str = accept!();

/// A batch of progress alone.
pub(super) const PROGRESS: &str = concat!(
    "WITH ",
    progress!(
        "$1::uuid[]",
        "$1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::boolean[], $6::text[], $7::text[], $8::boolean[], $9::bigint[],
                $10::boolean[], $11::bigint[], $12::bigint[]",
        "",
        "$13::uuid[], $14::text[], $15::text[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::text[],
                $21::bigint[], $22::text[], $23::text[], $24::bytea[]"
    ),
    " SELECT id, cancel_requested FROM changed"
);

/// A batch of both.
pub(super) const BOTH: &str = concat!(
    "WITH accepted AS (",
    accept!(),
    "), ",
    progress!(
        "$13::uuid[]",
        "$13::uuid[], $14::uuid[], $15::bigint[], $16::text[], $17::boolean[], $18::text[], $19::text[], $20::boolean[],
                $21::bigint[], $22::boolean[], $23::bigint[], $24::bigint[]",
        "",
        "$25::uuid[], $26::text[], $27::text[], $28::text[], $29::bigint[], $30::bigint[], $31::bigint[], $32::text[],
                $33::bigint[], $34::text[], $35::text[], $36::bytea[]"
    ),
    " SELECT id, cancel_requested FROM accepted UNION ALL SELECT id, cancel_requested FROM changed"
);

/// A batch with events. Those of a write get their places in this order: `held`, the rows of the batch's instances in the order of
/// their ids; `guests` and `locks`, the other locks of keys, without waiting; the rest for the writes that are not `busy`. Busy is
/// also one whose row was `seen` in another version than it is held in: somebody wrote it while this statement waited, maybe the
/// same, and what is stored of its steps cannot be seen here. Events are skipped if the row of their step has its new state
/// already: then an earlier try stored them, and they may be sent and gone. Parameters: those of both (1 to 36), the columns of
/// [`Events`](super::events::Events).
pub(super) const EVENTS: &str = concat!(
    "WITH e AS MATERIALIZED (
        SELECT * FROM unnest($37::uuid[], $38::text[], $39::text[], $40::text[], $41::uuid[], $42::integer[], $43::text[],
                $44::text[], $45::text[], $46::text[], $47::text[], $48::text[], $49::text[], $50::text[], $51::text[],
                $52::bytea[], $53::uuid[], $54::bigint[])
            WITH ORDINALITY AS e(instance, step, state, lock, guest, lane, id, key, type, source, subject, time, attributes,
                content_type, text, bytes, sender, lease_ms, n)
    ), seen AS MATERIALIZED (
        SELECT i.id, i.xmin::text AS version FROM sagaz.saga_instance AS i WHERE i.id = ANY($13)
    ), held AS MATERIALIZED (
        SELECT i.id, i.xmin::text AS version FROM sagaz.saga_instance AS i WHERE i.id = ANY($13) ORDER BY i.id FOR NO KEY UPDATE
    ), guests AS MATERIALIZED (
        SELECT i.id FROM sagaz.saga_instance AS i WHERE i.id = ANY($41) AND (SELECT count(*) FROM held) >= 0
        FOR NO KEY UPDATE SKIP LOCKED
    ), locks AS MATERIALIZED (
        SELECT k.key, pg_try_advisory_xact_lock(",
    key_lock!("k.key"),
    ") AS is_ours
        FROM (SELECT DISTINCT e.lock AS key FROM e WHERE e.lock IS NOT NULL ORDER BY 1) AS k
        WHERE (SELECT count(*) FROM held) >= 0
    ), busy AS MATERIALIZED (
        SELECT DISTINCT e.instance AS id FROM e
        WHERE (e.lock IN (SELECT l.key FROM locks AS l WHERE NOT l.is_ours)) IS TRUE
            OR (e.guest IN (SELECT i.id FROM sagaz.saga_instance AS i WHERE i.id = ANY($41))) IS TRUE
                AND (e.guest IN (SELECT g.id FROM guests AS g)) IS NOT TRUE
            OR (e.instance IN (SELECT s.id FROM seen AS s
                WHERE ((s.id, s.version) IN (SELECT h.id, h.version FROM held AS h)) IS NOT TRUE)) IS TRUE
    ), accepted AS (",
    accept!(),
    "), ",
    progress!(
        "$13::uuid[]",
        "$13::uuid[], $14::uuid[], $15::bigint[], $16::text[], $17::boolean[], $18::text[], $19::text[], $20::boolean[],
                $21::bigint[], $22::boolean[], $23::bigint[], $24::bigint[]",
        "WHERE (v.id IN (SELECT b.id FROM busy AS b)) IS NOT TRUE",
        "$25::uuid[], $26::text[], $27::text[], $28::text[], $29::bigint[], $30::bigint[], $31::bigint[], $32::text[],
                $33::bigint[], $34::text[], $35::text[], $36::bytea[]"
    ),
    ", published AS (
        INSERT INTO sagaz.outbox (lane, seq, xid, id, key, type, source, subject, time, attributes, content_type, data_text,
            data_bytes, leased_to, leased_until, stored_at)
        SELECT x.lane, nextval('sagaz.outbox_seq'), pg_current_xact_id(), x.id, x.key, x.type, x.source, x.subject, x.time,
            x.attributes, x.content_type, x.text, x.bytes, CASE WHEN x.is_first THEN x.sender END,
            CASE WHEN x.is_first THEN clock_timestamp() + x.lease_ms * interval '1 millisecond' END, clock_timestamp()
        FROM (
            SELECT e.*, e.sender IS NOT NULL
                AND (SELECT true FROM sagaz.outbox AS o WHERE o.key = e.key LIMIT 1) IS NULL AS is_first
            FROM e WHERE (e.instance IN (SELECT c.id FROM changed AS c)) IS TRUE
                AND (SELECT true FROM sagaz.saga_step AS s
                    WHERE s.instance_id = e.instance AND s.name = e.step AND s.state = e.state) IS NULL
            ORDER BY e.n
        ) AS x
        ON CONFLICT (id) DO NOTHING
    )
    SELECT id, cancel_requested FROM accepted UNION ALL SELECT id, cancel_requested FROM changed
    UNION ALL SELECT id, NULL FROM busy"
);

/// What the events of a write need before it, in a transaction where there is time to wait for it: the rows of instances, and
/// then keys. In a statement of its own, so that the write sees what was committed meanwhile. Parameters: both.
pub(super) const LOCK: &str = concat!(
    "WITH held AS MATERIALIZED (
        SELECT i.id FROM sagaz.saga_instance AS i WHERE i.id = ANY($1) ORDER BY i.id FOR NO KEY UPDATE
    )
    SELECT pg_advisory_xact_lock(",
    key_lock!("k.key"),
    ") FROM (SELECT count(*) FROM held) AS h
    LEFT JOIN (SELECT DISTINCT k.key FROM unnest($2::text[]) AS k(key) ORDER BY 1) AS k ON true"
);

/// What is there of writes that were not applied. Parameters: ids, sagas and start keys.
pub(super) const LOOK: &str =
    "SELECT w.id AS write_id, i.id, i.epoch, i.owner, i.cancel_requested, i.input_digest
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS w(id, saga, start_key)
    JOIN sagaz.saga_instance AS i ON i.id = w.id OR i.saga = w.saga AND i.start_key = w.start_key";

/// Parameters: the instance, its epoch, state, whether the pivot is passed, failure, whether it is live, the intervention up to
/// its time, the steps (8 to 19).
pub(super) const OPERATE: &str = concat!(
    "WITH held AS (
        SELECT id FROM sagaz.saga_instance WHERE id = $1 AND epoch = $2 AND state = 'stuck' FOR NO KEY UPDATE
    ), stored AS (",
    store_steps!(
        "$8::uuid[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::text[],
                $16::bigint[], $17::text[], $18::text[], $19::bytea[]",
        "held"
    ),
    ")
    UPDATE sagaz.saga_instance AS i SET epoch = i.epoch + 1, takeovers = 0, owner = NULL, stuck = NULL,
        cancel_requested = false, state = $3, pivot_passed = $4, failure = coalesce($5, i.failure),
        wake_at = CASE WHEN $6 THEN clock_timestamp() END,
        ended_at = CASE WHEN $3 IN ('completed', 'rolled_back') THEN clock_timestamp() END,
        interventions = coalesce(left(i.interventions, -1) || ',', '[') || $7
            || (extract(epoch FROM clock_timestamp()) * 1000)::bigint || '}]',
        updated_at = clock_timestamp()
    FROM held WHERE i.id = held.id RETURNING i.id"
);
