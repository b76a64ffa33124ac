//! Transactions that the store shares with steps and callers.
//!
//! Invariant: a step's transaction holds the process's turn to write until it has ended, so that everything else waits for it in
//! order, and not in a race for SQLite's lock. It is immediate: one that began by reading could not always go on to write.

use super::{Sqlite, read, write};
use sagaz_core::store::{
    CommitError, Progress, Settled, Snapshot, StoreError, Transacts, Write, Written,
};
use sqlx::{Connection, Sqlite as Server, SqliteConnection, Transaction};
use std::{fmt, time::Duration};
use tokio::sync::OwnedMutexGuard;

/// How long a step may keep everybody else waiting, unless it says.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whatever ends the transaction ends the savepoint: a statement with `OR ROLLBACK`, a full disk, the step's own `COMMIT`.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE; SAVEPOINT sagaz_step";

/// The process's turn to write.
pub struct Turn {
    _turn: OwnedMutexGuard<Option<SqliteConnection>>,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

/// A step, or a caller of `start_in`, holds the only lock for writing as long as the transaction is open: every other write
/// of this and of other processes waits for it. So an attempt has 5 s, if it does not name a timeout of its own.
impl<'c> Transacts<Transaction<'c, Server>> for Sqlite {
    type Guard = Turn;

    async fn begin(&self) -> Result<(Transaction<'c, Server>, Turn), StoreError> {
        let database = &self.database;
        let turn = Turn {
            _turn: database.hold_turn().await,
        };
        let begun = database.transactions.begin_with(BEGIN).await;
        Ok((begun.map_err(|error| database.error(error))?, turn))
    }

    async fn write_in(
        &self,
        tx: &mut Transaction<'c, Server>,
        write: &Write,
    ) -> Result<Written, StoreError> {
        let written = write::write_in(&self.database, tx, write).await;
        match write {
            Write::Progress(_) => written.map_err(of_step),
            _ => written,
        }
    }

    async fn commit(&self, tx: Transaction<'c, Server>) -> Result<(), CommitError> {
        let committed = tx.commit().await;
        self.database.news.let_go();
        committed.map_err(|error| match self.database.error(error) {
            // What the transaction itself wrote: a foreign key, say.
            error if error.is_refusal() => CommitError::RolledBack(of_step(error)),
            error => CommitError::InDoubt(error),
        })
    }

    async fn settle(&self, progress: &Progress) -> Result<Settled, StoreError> {
        let mut turn = self.database.turn().await?;
        let snapshot = settled(&mut turn.connection, progress).await;
        let snapshot = turn.end(snapshot).await?;
        Ok(Settled::judge(progress, snapshot.as_ref()))
    }

    fn excludes_writes(&self) -> bool {
        true
    }

    fn transaction_timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }
}

/// Why a step's transaction cannot be committed, in words that are about the step, whose SQL was in it.
fn of_step(error: StoreError) -> StoreError {
    let source = std::error::Error::source(&error);
    let source = source.and_then(|source| source.downcast_ref::<sqlx::Error>());
    let Some(database_error) = source.and_then(sqlx::Error::as_database_error) else {
        return error;
    };
    let words = database_error.message();
    let message = if words.contains("no such savepoint: sagaz_step") {
        "the step's transaction ended before the step did, by its own `COMMIT` or `ROLLBACK`, or by a statement that failed; \
         return the error of a statement, and leave the end to the engine"
            .to_owned()
    } else if error.is_refusal() {
        format!("the step's transaction cannot be committed: {words}")
    } else {
        return error;
    };
    // What is refused is not the record, so the step may be tried again.
    let of_step = if error.is_refusal() {
        StoreError::refusal(message)
    } else {
        StoreError::fatal(message)
    };
    of_step.caused_by(error)
}

/// Waits for the lock, and so for the end of the transaction that is in doubt.
async fn settled(
    connection: &mut SqliteConnection,
    progress: &Progress,
) -> Result<Option<Snapshot>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let snapshot = read::stored_in(&mut transaction, &progress.id.to_string()).await?;
    transaction.commit().await?;
    Ok(snapshot)
}
