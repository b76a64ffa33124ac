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
        let begun = database.transactions.begin_with("BEGIN IMMEDIATE").await;
        Ok((begun.map_err(|error| database.error(error))?, turn))
    }

    async fn write_in(
        &self,
        tx: &mut Transaction<'c, Server>,
        write: &Write,
    ) -> Result<Written, StoreError> {
        write::write_in(&self.database, tx, write).await
    }

    async fn commit(&self, tx: Transaction<'c, Server>) -> Result<(), CommitError> {
        let committed = tx.commit().await;
        committed.map_err(|error| match self.database.error(error) {
            // What the transaction itself wrote: a foreign key, say.
            error if error.is_refusal() => CommitError::RolledBack(error),
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
