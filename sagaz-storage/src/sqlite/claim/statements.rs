//! The statements of a claim. Each row says in its column `what` which of them it is of.

use crate::sqlite::{
    row::{snapshot_columns, step_columns, summary_columns},
    sql::{live, now},
};

/// Whether the claimer holds a lease, and the time until the next instance is due. Parameters: the engine, the versions.
macro_rules! outlook {
    () => {
        concat!(
            "SELECT 'outlook' AS what, EXISTS (SELECT 1 FROM saga_engine WHERE id = ? AND lease_until > ",
            now!(),
            ") AS is_leased, (
                SELECT min((
                    SELECT min(i.wake_at) FROM saga_instance AS i
                    WHERE i.saga = v.value->>'$.saga' AND i.version = v.value->>'$.version'
                        AND owner IS NULL AND ",
            live!(),
            " AND i.wake_at > ",
            now!(),
            ")) FROM json_each(?) AS v
            ) - ",
            now!(),
            " AS next_due_ms;"
        )
    };
}

/// The columns of a [`Found`], of the instance `i`. Its steps matter only to an instance of an older version.
macro_rules! found_columns {
    ($is_older:literal) => {
        concat!(
            "'found' AS what, i.id, i.saga, i.version, i.fingerprint, i.takeovers,
            i.owner IS NOT NULL AS is_orphaned, ",
            $is_older,
            " AS is_older, CASE WHEN ",
            $is_older,
            " THEN (
                SELECT json_group_array(json_array(s.name, s.state, s.kind)) FROM saga_step AS s
                WHERE s.instance_id = i.id
            ) END AS steps"
        )
    };
}

/// Candidates: orphans first, for they have waited longest. Each version of each saga is read from the index by itself,
/// so that none crowds out another; so are suspects, of which only one can be taken. Parameters: the engine, the
/// versions; the engine; versions, seen, limit, for each of the orphans, the suspects and the others.
pub(super) const LOOK: &str = concat!(
    outlook!(),
    "WITH RECURSIVE
        owners(owner) AS (
            SELECT min(owner) FROM saga_instance WHERE owner IS NOT NULL
            UNION ALL
            SELECT (SELECT min(i.owner) FROM saga_instance AS i WHERE i.owner > o.owner)
            FROM owners AS o WHERE o.owner IS NOT NULL
        ),
        dead AS MATERIALIZED (
            SELECT o.owner FROM owners AS o
            WHERE o.owner IS NOT NULL AND o.owner <> ? AND NOT EXISTS (
                SELECT 1 FROM saga_engine AS e WHERE e.id = o.owner AND e.lease_until > ",
    now!(),
    ")
        ),
        candidate(r, is_older) AS (
            SELECT i.rowid, v.value->>'$.is_older'
            FROM dead CROSS JOIN json_each(?) AS v CROSS JOIN saga_instance AS i ON i.rowid IN (
                SELECT d.rowid FROM saga_instance AS d
                WHERE d.owner = dead.owner AND d.saga = v.value->>'$.saga' AND d.version = v.value->>'$.version'
                    AND d.id NOT IN (SELECT value FROM json_each(?)) LIMIT ?)
            UNION ALL
            SELECT i.rowid, v.value->>'$.is_older'
            FROM json_each(?) AS v CROSS JOIN saga_instance AS i ON i.rowid IN (
                SELECT d.rowid FROM saga_instance AS d
                WHERE d.saga = v.value->>'$.saga' AND d.version = v.value->>'$.version'
                    AND owner IS NULL AND ",
    live!(),
    " AND d.wake_at <= ",
    now!(),
    " AND d.takeovers >= v.value->>'$.suspect_after'
                    AND d.id NOT IN (SELECT value FROM json_each(?)) ORDER BY d.wake_at LIMIT ?)
            UNION ALL
            SELECT i.rowid, v.value->>'$.is_older'
            FROM json_each(?) AS v CROSS JOIN saga_instance AS i ON i.rowid IN (
                SELECT d.rowid FROM saga_instance AS d
                WHERE d.saga = v.value->>'$.saga' AND d.version = v.value->>'$.version'
                    AND owner IS NULL AND ",
    live!(),
    " AND d.wake_at <= ",
    now!(),
    " AND d.takeovers < v.value->>'$.suspect_after'
                    AND d.id NOT IN (SELECT value FROM json_each(?)) ORDER BY d.wake_at LIMIT ?)
        )
    SELECT ",
    found_columns!("c.is_older"),
    " FROM candidate AS c CROSS JOIN saga_instance AS i ON i.rowid = c.r
    ORDER BY is_orphaned DESC, i.wake_at, i.id"
);

/// The candidates again, as they are under the lock. Parameters: the candidates, the engine.
pub(super) const DECIDE: &str = concat!(
    "BEGIN IMMEDIATE;
    SELECT ",
    found_columns!("v.value->>'$.is_older'"),
    " FROM json_each(?) AS v CROSS JOIN saga_instance AS i
    WHERE i.id = v.value->>'$.id' AND i.version = v.value->>'$.version' AND i.",
    live!(),
    " AND CASE WHEN i.owner IS NULL THEN i.wake_at <= ",
    now!(),
    " ELSE NOT EXISTS (SELECT 1 FROM saga_engine AS e WHERE e.id = i.owner AND e.lease_until > ",
    now!(),
    ") END
        AND EXISTS (SELECT 1 FROM saga_engine AS e WHERE e.id = ? AND e.lease_until > ",
    now!(),
    ")
    ORDER BY v.key"
);

/// Leaves the transaction open. Parameters: the decisions, the decisions, the decisions, the engine, the versions.
pub(super) const CARRY_OUT: &str = concat!(
    "UPDATE saga_instance SET
        owner = v.owner, epoch = saga_instance.epoch + 1, takeovers = v.takeovers, version = v.version,
        fingerprint = v.fingerprint, state = coalesce(v.state, saga_instance.state),
        stuck = coalesce(v.stuck, saga_instance.stuck), wake_at = ",
    now!(),
    " + v.wake_ms, updated_at = ",
    now!(),
    " FROM (
        SELECT value->>'$.id' AS id, value->>'$.owner' AS owner, value->>'$.takeovers' AS takeovers,
            value->>'$.version' AS version, value->>'$.fingerprint' AS fingerprint, value->>'$.state' AS state,
            value->>'$.stuck' AS stuck, value->>'$.wake_ms' AS wake_ms
        FROM json_each(?)
    ) AS v WHERE saga_instance.id = v.id;
    SELECT 'instance' AS what, ",
    snapshot_columns!(),
    " FROM json_each(?) AS v CROSS JOIN saga_instance AS i
        WHERE i.id = v.value->>'$.id' AND v.value->>'$.owner' IS NOT NULL ORDER BY v.key;
    SELECT 'step' AS what, ",
    step_columns!(),
    " FROM json_each(?) AS v CROSS JOIN saga_step AS s
        WHERE s.instance_id = v.value->>'$.id' AND v.value->>'$.owner' IS NOT NULL;",
    outlook!()
);

/// Ends the transaction. No engine ever has the token of the new epoch. Parameters: what cannot be read.
pub(super) const SET_ASIDE: &str = concat!(
    "UPDATE saga_instance SET
        owner = NULL, epoch = saga_instance.epoch + 1, state = 'stuck', stuck = v.stuck, wake_at = NULL, updated_at = ",
    now!(),
    " FROM (SELECT value->>'$.id' AS id, value->>'$.stuck' AS stuck FROM json_each(?)) AS v
    WHERE saga_instance.id = v.id;
    COMMIT"
);
