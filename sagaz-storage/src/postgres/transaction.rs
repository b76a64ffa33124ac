//! Transactions that the store shares with steps and callers.
//!
//! Invariant: the order is the step's own SQL, the fenced write, the commit; so none of this store's locks is held while the
//! step's code runs, and what it waits for holds up no other instance.

use super::{Postgres, database::Database, error::store_error, read, write};
use sagaz_core::store::{CommitError, Progress, Settled, StoreError, Transacts, Write, Written};
use sqlx::{Postgres as Server, Row, Transaction, postgres::PgConnection};
use std::sync::Arc;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

/// Whatever the database's default is. The server ends a session that holds locks and has been silent for a minute: that of a
/// step which forgot its transaction, or of a machine that is gone and could not say so. The mark goes
/// with the transaction.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL idle_in_transaction_session_timeout = 60000; SET LOCAL saga.step = 'open'";

/// Whether it is still the transaction that was begun for the step: its code may have ended that by hand. From here on, what nobody
/// waits for any longer is given up by the server too, or whoever holds a key would in time have a session of each attempt wait for
/// it, and so all that steps have. Parameter: milliseconds.
const IS_OPEN: &str = "SELECT current_setting('saga.step', true) IS NOT DISTINCT FROM 'open',
    set_config('statement_timeout', $1, true)";

const HOLD: &str = "SELECT 1 FROM sagaz.saga_instance WHERE id = $1 FOR NO KEY UPDATE";

/// Steps and compensations write on connections of their own, [`Options::transactions_max`](super::Options::transactions_max)
/// at once, at READ COMMITTED. A transaction that is silent for a minute is ended by the server, and rolled back.
///
/// A caller of `start_in` brings a transaction of its own, on any connection to the same database.
impl<'c> Transacts<Transaction<'c, Server>> for Postgres {
    type Guard = OwnedSemaphorePermit;

    async fn begin(&self) -> Result<(Transaction<'c, Server>, OwnedSemaphorePermit), StoreError> {
        let database = &self.database;
        // Waited for as long as it takes: that others are at work is no failure of the database.
        let turn = Arc::clone(&database.turns).acquire_owned().await;
        let turn = turn.map_err(|_| store_error(sqlx::Error::PoolClosed))?;
        let begun = database.transactions.begin_with(BEGIN);
        Ok((in_time(database, begun).await?, turn))
    }

    async fn write_in(
        &self,
        tx: &mut Transaction<'c, Server>,
        write: &Write,
    ) -> Result<Written, StoreError> {
        let database = &self.database;
        match write {
            Write::Progress(_) => {
                let written = timeout(database.call_timeout, async {
                    is_open(database, tx, "step").await?;
                    write::write_in(database, tx, write).await
                });
                let written = written.await;
                written
                    .map_err(|_| silent(database))?
                    .map_err(|error| of_code(error, "step"))
            }
            // The caller's, which waits for another with the same start key.
            _ => write::write_in(database, tx, write).await,
        }
    }

    async fn commit(&self, tx: Transaction<'c, Server>) -> Result<(), CommitError> {
        commit(&self.database, tx, "step").await
    }

    async fn settle(&self, progress: &Progress) -> Result<Settled, StoreError> {
        let database = &self.database;
        let id = progress.id;
        let stored = database.call_in(&database.readers, Some("BEGIN"), async |connection| {
            // Waits for whoever holds the instance, and so for the end of the transaction that is in doubt.
            let hold = database.query(HOLD).bind(id.as_uuid());
            hold.execute(&mut *connection).await?;
            // In a statement of its own: it sees what was committed meanwhile.
            read::read_snapshot(database, &read::STORE, connection, id).await
        });
        Ok(Settled::judge(progress, stored.await?.as_ref()))
    }
}

/// Commits what a step or handler, `whose` it is, has written.
pub(super) async fn commit(
    database: &Database,
    tx: Transaction<'_, Server>,
    whose: &str,
) -> Result<(), CommitError> {
    match timeout(database.call_timeout, tx.commit()).await {
        Ok(Ok(())) => Ok(()),
        // The server has answered: a constraint that is checked at the end, say.
        Ok(Err(error)) if error.as_database_error().is_some() && !is_shutdown(&error) => {
            Err(CommitError::RolledBack(of_code(store_error(error), whose)))
        }
        Ok(Err(error)) => Err(CommitError::InDoubt(store_error(error))),
        Err(_) => Err(CommitError::InDoubt(StoreError::transient(
            "the database has not answered a commit",
        ))),
    }
}

pub(super) async fn is_open(
    database: &Database,
    tx: &mut PgConnection,
    whose: &str,
) -> Result<(), StoreError> {
    let patience = database.call_timeout.as_millis().max(1);
    let is_open = database.query(IS_OPEN).bind(patience.to_string());
    let is_open = is_open.fetch_one(tx).await;
    let is_open = is_open.and_then(|row| row.try_get(0));
    if is_open.map_err(|error| of_code(store_error(error), whose))? {
        return Ok(());
    }
    Err(StoreError::fatal(format!(
        "the {whose}'s transaction ended before the {whose} did, by its own `COMMIT` or `ROLLBACK`; leave the end to the engine",
    )))
}

/// Whether the server was going down: it may have committed before it said so.
fn is_shutdown(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("57") || code.starts_with("08"))
}

async fn in_time<T>(
    database: &Database,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match timeout(database.call_timeout, call).await {
        Ok(result) => result.map_err(store_error),
        Err(_) => Err(silent(database)),
    }
}

fn silent(database: &Database) -> StoreError {
    StoreError::transient(format!(
        "the database has not answered for {:?}",
        database.call_timeout
    ))
}

/// Why a transaction cannot be committed, in words that are about the step or handler, whose SQL was in it.
fn of_code(error: StoreError, whose: &str) -> StoreError {
    if error.is_transient() {
        return error;
    }
    let source = std::error::Error::source(&error);
    let source = source.and_then(|source| source.downcast_ref::<sqlx::Error>());
    let Some(database_error) = source.and_then(sqlx::Error::as_database_error) else {
        return error;
    };
    let message = match database_error.code().as_deref() {
        Some("25P02") => format!(
            "a statement in the {whose}'s transaction failed, and its error was not returned; return it, or roll back to a \
             savepoint"
        ),
        Some("25P03") => format!(
            "the {whose}'s transaction was silent for too long, and the server has ended it; do what takes long in a {whose} \
             without `tx`"
        ),
        _ => format!("the {whose}'s transaction cannot be committed: {database_error}"),
    };
    let of_code = if error.is_refusal() {
        StoreError::refusal(message)
    } else {
        StoreError::fatal(message)
    };
    of_code.caused_by(error)
}
