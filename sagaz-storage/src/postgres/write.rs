//! The hot path: a batch of writes in one statement, so in one round trip and one commit.
//!
//! Invariant: `changed` is an UPDATE whose condition is the token. An UPDATE locks the row and judges its condition again
//! after it has waited for somebody else's lock, and steps are written for the rows that it gives alone. So a former owner's
//! write changes nothing. It goes through the rows in the order of their ids (`settings`), so that two batches that hold the
//! same rows wait for each other and do not deadlock. What was not applied is looked at once more in a statement of its own:
//! the first one saw the tables as they were before it waited.
//!
//! Invariant: an earlier *try* of a write that was held up on its way, and arrives after a later one of the same instance, changes
//! nothing: tries are numbered, and the row knows the last one. A connection that was given up may still deliver what was sent.

use super::{
    columns::{Accepts, Changes, Statement, Steps},
    database::Database,
    error::{is_lock_timeout, store_error},
    row,
};
use crate::value::{as_i64, as_u64, record, unreadable};
use sagaz_core::{
    SagaId,
    store::{Accepted, OperatorWrite, StoreError, Write, Written},
};
use sqlx::{Row, postgres::PgConnection};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// New instances. Parameters: the columns of [`Accepts`] (1 to 11).
macro_rules! accept {
    () => {
        "INSERT INTO sagaz.saga_instance (id, saga, version, fingerprint, state, owner, epoch, wake_at, deadline_at, start_key,
            input_digest, created_at, updated_at, content_type, input_text, input_bytes)
        SELECT a.id, a.saga, a.version, a.fingerprint, 'pending', a.owner, CASE WHEN a.owner IS NULL THEN 0 ELSE 1 END,
            CASE WHEN a.owner IS NULL THEN clock_timestamp() END,
            clock_timestamp() + a.deadline_ms * interval '1 millisecond', a.start_key, a.input_digest, clock_timestamp(),
            clock_timestamp(), a.content_type, a.text, a.bytes
        FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::bigint[],
                $9::text[], $10::text[], $11::bytea[])
            AS a(id, saga, version, fingerprint, owner, start_key, input_digest, deadline_ms, content_type, text, bytes)
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
/// batch. Parameters: the columns of [`Changes`], of which the first is the ids, those of [`Steps`].
macro_rules! progress {
    ($ids:literal, $changes:literal, $steps:literal) => {
        concat!(
            "v AS MATERIALIZED (
                SELECT * FROM unnest(",
            $changes,
            ") AS v(id, owner, epoch, state, pivot_passed, failure, stuck, release, wake_ms, advanced, tried_by, try)
                ORDER BY id LIMIT cardinality(",
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
const ACCEPT: &str = accept!();

/// A batch of progress alone.
const PROGRESS: &str = concat!(
    "WITH ",
    progress!(
        "$1::uuid[]",
        "$1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::boolean[], $6::text[], $7::text[], $8::boolean[], $9::bigint[],
                $10::boolean[], $11::bigint[], $12::bigint[]",
        "$13::uuid[], $14::text[], $15::text[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::text[],
                $21::bigint[], $22::text[], $23::text[], $24::bytea[]"
    ),
    " SELECT id, cancel_requested FROM changed"
);

/// A batch of both.
const BOTH: &str = concat!(
    "WITH accepted AS (",
    accept!(),
    "), ",
    progress!(
        "$12::uuid[]",
        "$12::uuid[], $13::uuid[], $14::bigint[], $15::text[], $16::boolean[], $17::text[], $18::text[], $19::boolean[],
                $20::bigint[], $21::boolean[], $22::bigint[], $23::bigint[]",
        "$24::uuid[], $25::text[], $26::text[], $27::text[], $28::bigint[], $29::bigint[], $30::bigint[], $31::text[],
                $32::bigint[], $33::text[], $34::text[], $35::bytea[]"
    ),
    " SELECT id, cancel_requested FROM accepted UNION ALL SELECT id, cancel_requested FROM changed"
);

/// What is there of writes that were not applied. Parameters: ids, sagas and start keys.
const LOOK: &str =
    "SELECT w.id AS write_id, i.id, i.epoch, i.owner, i.cancel_requested, i.input_digest
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS w(id, saga, start_key)
    JOIN sagaz.saga_instance AS i ON i.id = w.id OR i.saga = w.saga AND i.start_key = w.start_key";

/// Parameters: the instance, its epoch, state, whether the pivot is passed, failure, whether it is live, the intervention up to
/// its time, the steps (8 to 19).
const OPERATE: &str = concat!(
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

/// As long as on connections that are set up for it.
const PATIENT: &str =
    "BEGIN; SET LOCAL lock_timeout = 1500; SET LOCAL idle_in_transaction_session_timeout = 60000";

/// For what is most likely held by somebody who does not let go.
const IMPATIENT: &str =
    "BEGIN; SET LOCAL lock_timeout = 20; SET LOCAL idle_in_transaction_session_timeout = 60000";

/// The most held instances that are remembered.
const HELD_MAX: usize = 10_000;

/// Those of the instances that somebody else holds, or a step of them.
const HELD: &str = "WITH free AS MATERIALIZED (
        SELECT id FROM sagaz.saga_instance WHERE id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED
    ), free_step AS MATERIALIZED (
        SELECT instance_id, name FROM sagaz.saga_step WHERE instance_id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED
    )
    SELECT i.id FROM sagaz.saga_instance AS i WHERE i.id = ANY($1) AND (i.id IN (SELECT id FROM free)) IS NOT TRUE
    UNION
    SELECT s.instance_id FROM sagaz.saga_step AS s
    WHERE s.instance_id = ANY($1) AND ((s.instance_id, s.name) IN (SELECT instance_id, name FROM free_step)) IS NOT TRUE";

pub(super) async fn write(
    database: &Database,
    writes: &[Write],
) -> Result<Vec<Written>, StoreError> {
    if !database.held.has_one_of(writes) {
        let all: Vec<&Write> = writes.iter().collect();
        match write_rows(database, &all, None).await {
            Err(error) if is_lock_timeout(&error) => {}
            result => return result,
        }
    }
    // The others do not wait for a row that somebody does not let go; nor do they the next time.
    let held = held(database, writes).await?;
    let free = writes.iter().filter(|write| !held.contains(&write.id()));
    let mut written = write_apart(database, free.collect()).await?;
    let written: Vec<_> = writes
        .iter()
        .map(|write| written.remove(&write.id()).unwrap_or(Written::Busy))
        .collect();
    database.held.update(writes, &written);
    Ok(written)
}

/// Those with a start key each by itself: one may be in somebody's open transaction, and only the wait for it tells.
async fn write_apart(
    database: &Database,
    writes: Vec<&Write>,
) -> Result<HashMap<SagaId, Written>, StoreError> {
    let has_key =
        |write: &&Write| matches!(write, Write::Accept(accept) if accept.start_key.is_some());
    let (with_key, others): (Vec<_>, Vec<_>) = writes.into_iter().partition(has_key);
    let mut all: HashMap<_, _> =
        by_id(&others, write_rows(database, &others, None).await?).collect();
    for write in with_key {
        match write_rows(database, &[write], Some(IMPATIENT)).await {
            Err(error) if is_lock_timeout(&error) => {}
            written => all.extend(by_id(&[write], written?)),
        }
    }
    Ok(all)
}

fn by_id(writes: &[&Write], written: Vec<Written>) -> impl Iterator<Item = (SagaId, Written)> {
    writes.iter().map(|write| write.id()).zip(written)
}

/// Instances whose rows somebody else held when they were last written.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<HashSet<SagaId>>);

impl Held {
    fn has_one_of(&self, writes: &[Write]) -> bool {
        let held = self.ids();
        !held.is_empty() && writes.iter().any(|write| held.contains(&write.id()))
    }

    fn update(&self, writes: &[Write], written: &[Written]) {
        let mut ids = self.ids();
        // One that is never written again is forgotten some day: it costs a look and nothing else.
        if ids.len() > HELD_MAX {
            ids.clear();
        }
        for (write, written) in writes.iter().zip(written) {
            if *written == Written::Busy {
                ids.insert(write.id());
            } else {
                ids.remove(&write.id());
            }
        }
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<SagaId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn held(database: &Database, writes: &[Write]) -> Result<HashSet<SagaId>, StoreError> {
    let ids: Vec<Uuid> = writes
        .iter()
        .filter(|write| matches!(write, Write::Progress(_)))
        .map(|write| write.id().as_uuid())
        .collect();
    let query = database.query(HELD).bind(ids);
    database
        .call(&database.writers, async |connection| {
            let rows = query.fetch_all(connection).await?;
            rows.iter().map(|row| row::id(row, "id")).collect()
        })
        .await
}

async fn write_rows(
    database: &Database,
    writes: &[&Write],
    begin: Option<&'static str>,
) -> Result<Vec<Written>, StoreError> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let query = statement(database, writes)?;
    let apply =
        async |connection: &mut PgConnection| apply(database, connection, writes, query).await;
    // A session behind a pooler knows no timeout for locks but this one.
    let begin = begin.or((!database.prepared).then_some(PATIENT));
    let written = match begin {
        None => database.call(&database.writers, apply).await?,
        begin => database.call_in(&database.writers, begin, apply).await?,
    };
    let mut pairs = writes.iter().zip(&written);
    database.tell_if(pairs.any(|(write, written)| is_left(write, written)));
    Ok(written)
}

/// In a transaction that somebody else ends.
pub(super) async fn write_in(
    database: &Database,
    connection: &mut PgConnection,
    write: &Write,
) -> Result<Written, StoreError> {
    let writes = &[write];
    let query = statement(database, writes)?;
    let written = apply(database, connection, writes, query).await;
    written
        .and_then(|written| written.into_iter().next().ok_or(sqlx::Error::RowNotFound))
        .map_err(store_error)
}

fn statement(database: &Database, writes: &[&Write]) -> Result<Statement, StoreError> {
    let mut accepts = Accepts::default();
    let mut changes = Changes::default();
    let mut steps = Steps::default();
    for write in writes {
        match write {
            Write::Accept(accept) => accepts.push(accept),
            Write::Progress(progress) => {
                changes.push(progress, database.tries.next())?;
                for step in &progress.steps {
                    steps.push(progress.id, step);
                }
            }
            _ => {
                let id = write.id();
                return Err(StoreError::refusal(format!(
                    "a write of instance {id} is of no known kind"
                )));
            }
        }
    }
    Ok(match (accepts.is_empty(), changes.is_empty()) {
        (false, true) => accepts.bind(database.query(ACCEPT)),
        (true, _) => steps.bind(changes.bind(database.query(PROGRESS))),
        (false, false) => steps.bind(changes.bind(accepts.bind(database.query(BOTH)))),
    })
}

async fn apply(
    database: &Database,
    connection: &mut PgConnection,
    writes: &[&Write],
    query: Statement,
) -> Result<Vec<Written>, sqlx::Error> {
    let mut applied = HashMap::with_capacity(writes.len());
    for row in query.fetch_all(&mut *connection).await? {
        applied.insert(row::id(&row, "id")?, row.try_get("cancel_requested")?);
    }
    let mut written: Vec<_> = writes
        .iter()
        .map(|write| applied_write(write, &applied))
        .collect();
    if written.iter().any(Option::is_none) {
        look_again(database, connection, writes, &mut written).await?;
    }
    written
        .into_iter()
        .map(|written| written.ok_or_else(|| unreadable("reply", "none")))
        .collect()
}

/// Whether the write left its instance to be claimed, now or later.
fn is_left(write: &Write, written: &Written) -> bool {
    match (write, written) {
        (Write::Accept(accept), Written::Accepted(Accepted::New)) => accept.owner.is_none(),
        (Write::Progress(progress), Written::Stored { .. }) => {
            progress.release.is_some() && progress.state.is_live()
        }
        _ => false,
    }
}

/// What became of a write that was applied.
fn applied_write(write: &Write, applied: &HashMap<SagaId, bool>) -> Option<Written> {
    let cancel_requested = *applied.get(&write.id())?;
    Some(match write {
        Write::Accept(_) => Written::Accepted(Accepted::New),
        _ => Written::Stored { cancel_requested },
    })
}

async fn look_again(
    database: &Database,
    connection: &mut PgConnection,
    writes: &[&Write],
    written: &mut [Option<Written>],
) -> Result<(), sqlx::Error> {
    let (mut ids, mut sagas, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for (write, _) in writes.iter().zip(&*written).filter(|(_, w)| w.is_none()) {
        ids.push(write.id().as_uuid());
        let (saga, key) = match write {
            Write::Accept(accept) => (
                Some(accept.definition.saga.clone()),
                accept.start_key.clone(),
            ),
            _ => (None, None),
        };
        sagas.push(saga);
        keys.push(key);
    }
    let rows = database
        .query(LOOK)
        .bind(ids)
        .bind(sagas)
        .bind(keys)
        .fetch_all(connection)
        .await?;
    let mut there: HashMap<SagaId, Vec<_>> = HashMap::new();
    for row in rows {
        let place = there.entry(row::id(&row, "write_id")?).or_default();
        place.push(row);
    }
    for (write, written) in writes.iter().zip(written) {
        if written.is_some() {
            continue;
        }
        let rows = there.remove(&write.id()).unwrap_or_default();
        *written = Some(match write {
            Write::Accept(accept) => {
                let mut existing = None;
                for row in &rows {
                    let id = row::id(row, "id")?;
                    if id == accept.id {
                        // By an earlier try of the same write.
                        existing = Some(Accepted::New);
                        break;
                    }
                    let input_digest = row.try_get("input_digest")?;
                    existing = Some(Accepted::Existing { id, input_digest });
                }
                // Removed since: the same write may be stored now.
                Written::Accepted(existing.ok_or(sqlx::Error::WorkerCrashed)?)
            }
            Write::Progress(progress) => {
                let row = rows.first();
                let is_stored = row.map_or(Ok::<_, sqlx::Error>(false), |row| {
                    let epoch = as_u64(row.try_get("epoch")?);
                    let owner: Option<Uuid> = row.try_get("owner")?;
                    let is_mine = owner.is_none_or(|owner| owner == progress.token.owner.as_uuid());
                    Ok(epoch > 0 && epoch == progress.token.epoch && is_mine)
                })?;
                match row {
                    Some(row) if is_stored => Written::Stored {
                        cancel_requested: row.try_get("cancel_requested")?,
                    },
                    _ => Written::Lost,
                }
            }
            _ => Written::Lost,
        });
    }
    Ok(())
}

pub(super) async fn operate(
    database: &Database,
    write: &OperatorWrite,
) -> Result<bool, StoreError> {
    let mut steps = Steps::default();
    for step in &write.steps {
        steps.push(write.id, step);
    }
    // The time is the last field, and the server's.
    let mut intervention = write.intervention.clone();
    intervention.at_ms = 0;
    let intervention = record(&intervention)?;
    let intervention = intervention.trim_end_matches("0}").to_owned();
    let failure = write.failure.as_ref().map(record);
    let query = database
        .query(OPERATE)
        .bind(write.id.as_uuid())
        .bind(as_i64(write.epoch))
        .bind(write.state.as_str())
        .bind(write.pivot_passed)
        .bind(failure.transpose()?)
        .bind(write.state.is_live())
        .bind(intervention);
    let query = steps.bind(query);
    let is_applied = database
        .call(&database.readers, async |connection| {
            let row = query.fetch_optional(&mut *connection).await?;
            Ok(row.is_some())
        })
        .await?;
    database.tell_if(is_applied && write.state.is_live());
    Ok(is_applied)
}
