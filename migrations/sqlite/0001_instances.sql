-- Schema 1: instances, their steps, and the engines that run them; events that wait to be published, and those that were handled.
--
-- Ids of our own are UUIDs as text. Times are milliseconds since the Unix epoch by this database's clock. A payload of type
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

-- Events that wait to be published. There is one writer at a time, and a place is never given twice (AUTOINCREMENT); so the
-- order of places is the order of commits, for all keys.
CREATE TABLE saga_outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    lane INTEGER NOT NULL,
    id TEXT NOT NULL,
    key TEXT NOT NULL,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT,
    -- In nanoseconds, by the clock of whoever made the event.
    time_ns INTEGER NOT NULL,
    -- JSON: its other attributes.
    attributes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Why the last attempt failed.
    error TEXT,
    -- Until when no relay publishes it: the next attempt, or the end of the lease of `sender`, which publishes it by then.
    wait_until INTEGER,
    sender TEXT,
    -- Whether it is a dead letter, and its key waits for an operator.
    is_blocking INTEGER NOT NULL DEFAULT 0,
    content_type TEXT NOT NULL,
    data BLOB NOT NULL
);

-- An event is there once.
CREATE UNIQUE INDEX saga_outbox_id ON saga_outbox (id);

-- The events of a key in order, as the place is part of every index.
CREATE INDEX saga_outbox_key ON saga_outbox (key);

-- A part of all keys, and the worker that publishes its events.
CREATE TABLE saga_outbox_lane (
    lane INTEGER NOT NULL PRIMARY KEY,
    owner TEXT,
    epoch INTEGER NOT NULL DEFAULT 0
);

INSERT INTO saga_outbox_lane (lane)
    WITH RECURSIVE lanes (lane) AS (SELECT 0 UNION ALL SELECT lane + 1 FROM lanes WHERE lane < 63) SELECT lane FROM lanes;

-- A worker that publishes events. Its lanes are free when its lease has ended.
CREATE TABLE saga_outbox_worker (
    id TEXT NOT NULL PRIMARY KEY,
    lease_until INTEGER NOT NULL
) WITHOUT ROWID;

-- Events that were sent, until they are pruned.
CREATE TABLE saga_outbox_archive (
    id TEXT NOT NULL PRIMARY KEY,
    key TEXT NOT NULL,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT,
    time_ns INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    -- Its place was behind those of its key that have a lower one.
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    data BLOB NOT NULL
);

CREATE INDEX saga_outbox_archive_sent ON saga_outbox_archive (sent_at);

-- Events that no broker took, whose consumer is the empty text, or that a consumer could not handle.
CREATE TABLE saga_dead_letter (
    id TEXT NOT NULL,
    consumer TEXT NOT NULL,
    key TEXT,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT,
    time_ns INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    -- Whether it still is in the outbox, at its place, and its key waits for it.
    blocks INTEGER NOT NULL,
    -- 'open', 'retried' or 'discarded'.
    state TEXT NOT NULL,
    -- Whether it was given back to its consumer, and is not known to have been handled since.
    is_given_back INTEGER NOT NULL DEFAULT 0,
    died_at INTEGER NOT NULL,
    decided_at INTEGER,
    -- JSON: what operators did to it.
    interventions TEXT,
    content_type TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (id, consumer)
);

CREATE INDEX saga_dead_letter_open ON saga_dead_letter (id, consumer) WHERE state = 'open';

CREATE INDEX saga_dead_letter_decided ON saga_dead_letter (decided_at) WHERE decided_at IS NOT NULL;

CREATE INDEX saga_dead_letter_given_back ON saga_dead_letter (consumer, id) WHERE is_given_back;

-- What consumers have handled.
CREATE TABLE saga_inbox (
    consumer TEXT NOT NULL,
    event_id TEXT NOT NULL,
    handled_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, event_id)
) WITHOUT ROWID;

CREATE INDEX saga_inbox_handled ON saga_inbox (handled_at);
