-- For the database of a participant, not that of the sagas: what actions and compensations have arrived. In the schema that is
-- first in the search path.
CREATE TABLE IF NOT EXISTS saga_barrier (
    -- The idempotency key of the action: the instance and the step.
    key text NOT NULL PRIMARY KEY,
    -- begun: committed although its work failed. done: the action's work is done. undone: so is the compensation's.
    -- refused: the compensation came before the action, which is refused when it comes.
    state text NOT NULL CHECK (state IN ('begun', 'done', 'undone', 'refused')),
    -- JSON: what the action gave.
    output text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX IF NOT EXISTS saga_barrier_changed ON saga_barrier (changed_at);
