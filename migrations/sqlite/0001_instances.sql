-- Schema 1: instances, their steps, and the engines that run them.
--
-- Ids are UUIDs as text. Times are milliseconds since the Unix epoch by this database's clock. A payload of type
-- application/json is text, any other a blob. States are the words of the documentation.

-- `schema_version`: of these tables. `oldest_code`: the oldest code that these tables still serve.
CREATE TABLE saga_meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- A running engine. What it owns is free to be claimed when its lease has ended or its row is gone.
CREATE TABLE saga_engine (
    id TEXT NOT NULL PRIMARY KEY,
    lease_until INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE saga_definition (
    saga TEXT NOT NULL,
    version INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    defined_at INTEGER NOT NULL,
    PRIMARY KEY (saga, version)
) WITHOUT ROWID;

CREATE TABLE saga_instance (
    id TEXT NOT NULL PRIMARY KEY,
    saga TEXT NOT NULL,
    version INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL,
    pivot_passed INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    epoch INTEGER NOT NULL,
    takeovers INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    -- When it is due. Only of a live instance that nobody owns.
    wake_at INTEGER,
    deadline_at INTEGER,
    start_key TEXT,
    input_digest TEXT NOT NULL,
    -- JSON: why it is undone, why it is stuck, and what operators did to it.
    failure TEXT,
    stuck TEXT,
    interventions TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    -- Last, because it can be long: the columns before it are read without its overflow pages.
    input BLOB NOT NULL
);

-- Claims: instances that are due. The predicate is repeated literally in the queries, or the index is not used.
CREATE INDEX saga_instance_due ON saga_instance (saga, version, wake_at, takeovers)
    WHERE owner IS NULL AND state IN ('pending', 'executing', 'compensating');

-- Claims and renewals: what an engine owns.
CREATE INDEX saga_instance_owner ON saga_instance (owner, saga, version) WHERE owner IS NOT NULL;

-- A saga starts once per key.
CREATE UNIQUE INDEX saga_instance_start_key ON saga_instance (saga, start_key) WHERE start_key IS NOT NULL;

-- Retention.
CREATE INDEX saga_instance_finished ON saga_instance (updated_at) WHERE state IN ('completed', 'rolled_back');

-- Lists, newest first, and counts.
CREATE INDEX saga_instance_listing ON saga_instance (saga, state, id, created_at, version);

CREATE TABLE saga_step (
    instance_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    undo_attempts INTEGER NOT NULL,
    recoveries INTEGER NOT NULL,
    error TEXT,
    -- When it is attempted again.
    wake_at INTEGER,
    updated_at INTEGER NOT NULL,
    content_type TEXT,
    output BLOB,
    PRIMARY KEY (instance_id, name)
) WITHOUT ROWID;

-- The archive: ended instances as they were, for people. The columns are those of `saga_instance` and `saga_step`, in the same
-- order.
CREATE TABLE saga_archive (
    id TEXT NOT NULL PRIMARY KEY,
    saga TEXT NOT NULL,
    version INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL,
    pivot_passed INTEGER NOT NULL,
    owner TEXT,
    epoch INTEGER NOT NULL,
    takeovers INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    wake_at INTEGER,
    deadline_at INTEGER,
    start_key TEXT,
    input_digest TEXT NOT NULL,
    failure TEXT,
    stuck TEXT,
    interventions TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    input BLOB NOT NULL
);

CREATE TABLE saga_archive_step (
    instance_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    undo_attempts INTEGER NOT NULL,
    recoveries INTEGER NOT NULL,
    error TEXT,
    wake_at INTEGER,
    updated_at INTEGER NOT NULL,
    content_type TEXT,
    output BLOB,
    PRIMARY KEY (instance_id, name)
) WITHOUT ROWID;
