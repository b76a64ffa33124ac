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
//!
//! Events go with the rows of their steps, in the same statement ([`EVENTS`]), under the locks of their keys. Only batches with
//! events pay for that.

mod events;
mod held;
mod keys;
mod statements;

pub(super) use held::Held;
pub(super) use keys::Keys;

use self::{
    events::Events,
    held::held,
    keys::Locks,
    statements::{ACCEPT, BOTH, EVENTS, LOCK, LOOK, OPERATE, PROGRESS},
};
use super::{
    columns::{Accepts, Changes, Statement, Steps},
    database::Database,
    error::{is_lock_timeout, is_out_of_locks, store_error},
    row,
};
use crate::value::{as_i64, as_u64, record, unreadable};
use sagaz_core::{
    SagaId,
    store::{Accepted, OperatorWrite, StoreError, Write, Written},
};
use sqlx::{Row, postgres::PgConnection};
use std::collections::HashMap;
use uuid::Uuid;

/// As long as on connections that are set up for it.
const PATIENT: &str =
    "BEGIN; SET LOCAL lock_timeout = 1500; SET LOCAL idle_in_transaction_session_timeout = 60000";

/// For what is most likely held by somebody who does not let go.
const IMPATIENT: &str =
    "BEGIN; SET LOCAL lock_timeout = 20; SET LOCAL idle_in_transaction_session_timeout = 60000";

pub(super) async fn write(
    database: &Database,
    writes: &[Write],
) -> Result<Vec<Written>, StoreError> {
    if !database.held.has_one_of(writes) {
        let all: Vec<&Write> = writes.iter().collect();
        match write_rows(database, &all, None).await {
            Err(error) if is_lock_timeout(&error) => {}
            Err(error) => return Err(error),
            Ok(mut written) => {
                write_busy(database, &all, &mut written).await?;
                return Ok(written);
            }
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

/// Those whose keys others hold, once more, and waiting: most often another engine has a batch under way, which is over in a moment.
async fn write_busy(
    database: &Database,
    writes: &[&Write],
    written: &mut [Written],
) -> Result<(), StoreError> {
    let places: Vec<_> = (0..writes.len())
        .filter(|at| written[*at] == Written::Busy)
        .collect();
    let busy: Vec<_> = places.iter().map(|at| writes[*at]).collect();
    let (count, keys) = database.keys.fitting(&busy);
    let busy = &busy[..count];
    if busy.is_empty() {
        return Ok(());
    }
    let _turn = database.keys.turn(keys).await;
    let mut locks = Locks::default();
    for write in busy {
        if let Write::Progress(progress) = write {
            let more = Locks::of(progress).unwrap_or_default();
            locks.instances.extend(more.instances);
            locks.keys.extend(more.keys);
        }
    }
    let query = statement(database, busy)?;
    let again = database.call_in(&database.writers, Some(IMPATIENT), async |connection| {
        let lock = database.query(LOCK).bind(locks.instances).bind(locks.keys);
        lock.execute(&mut *connection).await?;
        apply(database, connection, busy, query).await
    });
    match again.await {
        Ok(again) => {
            tell(database, busy, &again);
            for (at, again) in places.into_iter().zip(again) {
                written[at] = again;
            }
            Ok(())
        }
        // One of them is held for longer, and they come again.
        Err(error) if is_lock_timeout(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Those with a start key or with events each by itself: the key, or the name of an event, may be in somebody's open transaction,
/// and only the wait for it tells.
async fn write_apart(
    database: &Database,
    writes: Vec<&Write>,
) -> Result<HashMap<SagaId, Written>, StoreError> {
    let has_key = |write: &&Write| match write {
        Write::Accept(accept) => accept.start_key.is_some(),
        Write::Progress(progress) => Locks::of(progress).is_some(),
        _ => false,
    };
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

async fn write_rows(
    database: &Database,
    writes: &[&Write],
    begin: Option<&'static str>,
) -> Result<Vec<Written>, StoreError> {
    let mut written = Vec::with_capacity(writes.len());
    let mut rest = writes;
    while !rest.is_empty() {
        let (count, keys) = database.keys.fitting(rest);
        let (some, others) = rest.split_at(count);
        let _turn = database.keys.turn(keys).await;
        match write_some(database, some, begin).await {
            Ok(some) => written.extend(some),
            Err(error) => {
                if is_out_of_locks(&error) {
                    database.keys.halve();
                }
                return Err(error);
            }
        }
        rest = others;
    }
    Ok(written)
}

/// In one statement.
async fn write_some(
    database: &Database,
    writes: &[&Write],
    begin: Option<&'static str>,
) -> Result<Vec<Written>, StoreError> {
    let query = statement(database, writes)?;
    let apply =
        async |connection: &mut PgConnection| apply(database, connection, writes, query).await;
    // A session behind a pooler knows no timeout for locks but this one.
    let begin = begin.or((!database.prepared).then_some(PATIENT));
    let written = match begin {
        None => database.call(&database.writers, apply).await?,
        begin => database.call_in(&database.writers, begin, apply).await?,
    };
    tell(database, writes, &written);
    Ok(written)
}

/// Tells others what was left to them.
fn tell(database: &Database, writes: &[&Write], written: &[Written]) {
    let mut pairs = writes.iter().zip(written);
    let is_left = pairs
        .clone()
        .any(|(write, written)| is_left(write, written));
    database.tell_if(is_left);
    if pairs.any(|(write, written)| has_published(write, written)) {
        database.news.tell_events();
    }
}

/// In a transaction that somebody else ends.
pub(super) async fn write_in(
    database: &Database,
    connection: &mut PgConnection,
    write: &Write,
) -> Result<Written, StoreError> {
    if let Write::Progress(progress) = write
        && let Some(Locks { instances, keys }) = Locks::of(progress)
    {
        let lock = database.query(LOCK).bind(instances).bind(keys);
        lock.execute(&mut *connection).await.map_err(store_error)?;
    }
    let writes = &[write];
    let query = statement(database, writes)?;
    let written = apply(database, connection, writes, query).await;
    let written = written
        .and_then(|written| written.into_iter().next().ok_or(sqlx::Error::RowNotFound))
        .map_err(store_error)?;
    if has_published(write, &written) {
        database.news.expect_events();
    }
    Ok(written)
}

fn statement(database: &Database, writes: &[&Write]) -> Result<Statement, StoreError> {
    let mut accepts = Accepts::default();
    let mut changes = Changes::default();
    let mut steps = Steps::default();
    let mut events = Events::default();
    for write in writes {
        match write {
            Write::Accept(accept) => accepts.push(accept),
            Write::Progress(progress) => {
                changes.push(progress, database.tries.next())?;
                for step in &progress.steps {
                    steps.push(progress.id, step);
                    events.push(progress, step)?;
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
    if !events.is_empty() {
        let query = accepts.bind(database.query(EVENTS));
        return Ok(events.bind(steps.bind(changes.bind(query))));
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

/// Whether the write left events to the relay.
fn has_published(write: &Write, written: &Written) -> bool {
    let (Write::Progress(progress), Written::Stored { .. }) = (write, written) else {
        return false;
    };
    progress.sender.is_none() && progress.steps.iter().any(|step| !step.events.is_empty())
}

/// What became of a write that was applied, or whose events found a key of theirs held.
fn applied_write(write: &Write, applied: &HashMap<SagaId, Option<bool>>) -> Option<Written> {
    let cancel_requested = *applied.get(&write.id())?;
    Some(match (write, cancel_requested) {
        (Write::Accept(_), _) => Written::Accepted(Accepted::New),
        (_, Some(cancel_requested)) => Written::Stored { cancel_requested },
        (_, None) => Written::Busy,
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
