-- Schema 1: instances, their steps, and the engines that run them. `sagaz.` stands for the schema that is configured.
--
-- Times are this server's. A payload of type application/json is in the text column, to be read by people, and any other in the
-- column of bytes. States are the words of the documentation.

-- `schema_version`: of these tables. `oldest_code`: the oldest code that these tables still serve.
CREATE TABLE sagaz.saga_meta (
    key text NOT NULL PRIMARY KEY,
    value text NOT NULL
);

-- A running engine. What it owns is free to be claimed when its lease has ended or its row is gone.
CREATE TABLE sagaz.saga_engine (
    id uuid NOT NULL PRIMARY KEY,
    lease_until timestamptz NOT NULL
);

CREATE TABLE sagaz.saga_definition (
    saga text NOT NULL,
    version bigint NOT NULL,
    fingerprint text NOT NULL,
    defined_at timestamptz NOT NULL,
    PRIMARY KEY (saga, version)
);

CREATE TABLE sagaz.saga_instance (
    id uuid NOT NULL PRIMARY KEY,
    saga text NOT NULL,
    version bigint NOT NULL,
    fingerprint text NOT NULL,
    state text NOT NULL,
    pivot_passed boolean NOT NULL DEFAULT false,
    owner uuid,
    epoch bigint NOT NULL,
    takeovers bigint NOT NULL DEFAULT 0,
    cancel_requested boolean NOT NULL DEFAULT false,
    -- When it is due: exactly of a live instance that nobody owns.
    wake_at timestamptz,
    -- When it completed or was rolled back.
    ended_at timestamptz,
    deadline_at timestamptz,
    start_key text,
    input_digest text NOT NULL,
    -- JSON: why it is undone, why it is stuck, and what operators did to it.
    failure text,
    stuck text,
    interventions text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    content_type text NOT NULL,
    input_text text,
    input_bytes bytea,
    -- Which try of a write was the last one: of which handle of a store, and its number there.
    tried_by bigint,
    try bigint
) WITH (
    -- Room for the versions of rows that were written together and change together soon after.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

-- No index names `state` or `updated_at`, which every write changes: so a write that only goes on puts no entry into any index.
-- The predicates are repeated literally in the queries, or the indexes are not used.

-- Claims: instances that are due.
CREATE INDEX saga_instance_due ON sagaz.saga_instance (saga, version, wake_at, takeovers) WHERE wake_at IS NOT NULL;

-- Claims and renewals: what an engine owns.
CREATE INDEX saga_instance_owner ON sagaz.saga_instance (owner, saga, version) WHERE owner IS NOT NULL;

-- A saga starts once per key.
CREATE UNIQUE INDEX saga_instance_start_key ON sagaz.saga_instance (saga, start_key) WHERE start_key IS NOT NULL;

-- Retention.
CREATE INDEX saga_instance_ended ON sagaz.saga_instance (saga, version, ended_at) WHERE ended_at IS NOT NULL;

-- What is not finished, for people and for a change of a definition: few rows among many.
CREATE INDEX saga_instance_unfinished ON sagaz.saga_instance (saga, version, id) WHERE ended_at IS NULL;

CREATE TABLE sagaz.saga_step (
    instance_id uuid NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    attempts bigint NOT NULL,
    undo_attempts bigint NOT NULL,
    recoveries bigint NOT NULL,
    error text,
    -- When it is attempted again.
    wake_at timestamptz,
    updated_at timestamptz NOT NULL,
    content_type text,
    output_text text,
    output_bytes bytea,
    PRIMARY KEY (instance_id, name)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- The archive: ended instances as they were, for people. The columns are those of `saga_instance` and `saga_step`, in the same
-- order; a migration that changes these changes them too. A row of `saga_archive` that is deleted takes its steps with it.
CREATE TABLE sagaz.saga_archive (LIKE sagaz.saga_instance, PRIMARY KEY (id));

CREATE TABLE sagaz.saga_archive_step (
    LIKE sagaz.saga_step,
    PRIMARY KEY (instance_id, name),
    FOREIGN KEY (instance_id) REFERENCES sagaz.saga_archive (id) ON DELETE CASCADE
);
