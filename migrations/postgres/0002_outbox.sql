-- Schema 2: events that wait to be published, dead letters, and what consumers have handled.
--
-- Names that are compared and sorted are of collation "C": in their order by bytes, as the code has it. `lane`: a fixed part of
-- all keys. `time` is the event's own, in its words.

-- The places of events. They are handed out one by one, so that within a key, whose lock is held, they are in order.
CREATE SEQUENCE sagaz.outbox_seq CACHE 1;

-- A row leaves when its event was sent, so the table is small and changes all the time.
CREATE TABLE sagaz.outbox (
    lane integer NOT NULL,
    seq bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    -- The transaction that stored it: one that was open when a worker read past this place is looked for later.
    xid xid8 NOT NULL,
    key text COLLATE "C" NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    subject text,
    time text,
    -- JSON: all other attributes.
    attributes text NOT NULL,
    content_type text NOT NULL,
    data_text text,
    data_bytes bytea,
    attempts bigint NOT NULL DEFAULT 0,
    error text,
    -- When it is tried again.
    wake_at timestamptz,
    -- Who publishes it right after its commit, and until when nobody else does.
    leased_to uuid,
    leased_until timestamptz,
    -- A dead letter that blocks its key.
    is_dead boolean NOT NULL DEFAULT false,
    stored_at timestamptz NOT NULL,
    PRIMARY KEY (lane, seq)
) WITH (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05
);

-- Whether an event is the first of its key, and keys that are read once more.
CREATE INDEX outbox_key ON sagaz.outbox (key, seq);

-- An event is there once.
CREATE UNIQUE INDEX outbox_id ON sagaz.outbox (id);

-- What became of transactions that were open.
CREATE INDEX outbox_xid ON sagaz.outbox (xid);

-- A running worker. Its lanes are free when its lease has ended or its row is gone.
CREATE TABLE sagaz.outbox_worker (
    id uuid NOT NULL PRIMARY KEY,
    lease_until timestamptz NOT NULL
);

CREATE TABLE sagaz.outbox_lane (
    lane integer NOT NULL PRIMARY KEY,
    owner uuid,
    epoch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

INSERT INTO sagaz.outbox_lane (lane) SELECT generate_series(0, 63);

-- Events that were sent, until they are pruned: for people, and to be published again.
CREATE TABLE sagaz.outbox_archive (
    lane integer NOT NULL,
    seq bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    subject text,
    time text,
    attributes text NOT NULL,
    content_type text NOT NULL,
    data_text text,
    data_bytes bytea,
    stored_at timestamptz NOT NULL,
    sent_at timestamptz NOT NULL
);

CREATE INDEX outbox_archive_id ON sagaz.outbox_archive (id);

-- Retention.
CREATE INDEX outbox_archive_sent ON sagaz.outbox_archive (sent_at);

-- Events that no broker took (`consumer` is ''), or that a consumer could not handle.
CREATE TABLE sagaz.dead_letter (
    id text COLLATE "C" NOT NULL,
    consumer text COLLATE "C" NOT NULL,
    -- Others' events may have no key.
    key text COLLATE "C",
    type text NOT NULL,
    source text NOT NULL,
    subject text,
    time text,
    attributes text NOT NULL,
    content_type text NOT NULL,
    data_text text,
    data_bytes bytea,
    attempts bigint NOT NULL,
    error text NOT NULL,
    -- Where it still is in the outbox, if it blocks its key there.
    lane integer,
    seq bigint,
    -- 'open', 'retried' or 'discarded'.
    state text NOT NULL,
    -- It was given back to its consumer, which has not handled it yet.
    is_given_back boolean NOT NULL DEFAULT false,
    died_at timestamptz NOT NULL,
    decided_at timestamptz,
    -- JSON: what operators did to it.
    interventions text,
    PRIMARY KEY (id, consumer)
);

-- What waits for an operator.
CREATE INDEX dead_letter_open ON sagaz.dead_letter (id, consumer) WHERE state = 'open';

-- What waits for its consumer.
CREATE INDEX dead_letter_given_back ON sagaz.dead_letter (consumer, id) WHERE is_given_back;

-- Retention.
CREATE INDEX dead_letter_decided ON sagaz.dead_letter (decided_at) WHERE decided_at IS NOT NULL;

-- What consumers have handled, or given up.
CREATE TABLE sagaz.consumer_inbox (
    consumer text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    handled_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, event_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- Retention.
CREATE INDEX consumer_inbox_handled ON sagaz.consumer_inbox (handled_at);
