//! The inbox in SQLite.
//!
//! Invariant: the transaction of a handler has the process's only turn to write, from its record, which it begins with, to its
//! end; so one event is handled by one handler at a time, and a handler waits for no write of others.

use super::{
    Sqlite,
    connection::Database,
    events::{bind, bound_event, event, event_columns},
    records::json,
    sql::{now, reopen, stored_payload},
    transaction::BEGIN,
};
use crate::value::{as_u64, millis, unreadable, without_nul};
use sagaz_core::{
    Event, EventId,
    store::{Begun, CommitError, Finished, InboxStore, StoreError},
};
use sqlx::{Row, Sqlite as Server, SqliteConnection, SqlitePool, Transaction};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// Parameters: the consumer, the event.
const RECORD: &str = concat!(
    "INSERT INTO saga_inbox (consumer, event_id, handled_at) VALUES (?, ?, ",
    now!(),
    ") ON CONFLICT (consumer, event_id) DO NOTHING"
);

/// Nothing of an event that is handled: somebody else was faster. Parameters: the consumer, the event's id, the
/// consumer, attempts, error, the event.
const BURY: &str = concat!(
    "BEGIN IMMEDIATE;",
    "INSERT INTO saga_inbox (consumer, event_id, handled_at) VALUES (?, ?, ",
    now!(),
    ") ON CONFLICT (consumer, event_id) DO NOTHING;
    INSERT INTO saga_dead_letter (consumer, attempts, error, id, key, type, source, subject, time_ns, attributes, content_type,
        data, blocks, state, died_at)
    SELECT consumer, attempts, error, ",
    event_columns!("e"),
    ", 0, 'open', ",
    now!(),
    " FROM (SELECT ? AS consumer, ? AS attempts, ? AS error), ",
    bound_event!(),
    " WHERE changes() > 0 ",
    reopen!(),
    ";
    COMMIT"
);

/// Parameters: the consumer, the limit.
const RETRIES: &str = concat!(
    "SELECT ",
    event_columns!("d"),
    " FROM saga_dead_letter AS d WHERE d.consumer = ? AND d.is_given_back
        AND NOT EXISTS (SELECT 1 FROM saga_inbox AS i WHERE i.consumer = d.consumer AND i.event_id = d.id)
    ORDER BY d.id LIMIT ?"
);

const IS_HANDLED: &str =
    "SELECT EXISTS (SELECT 1 FROM saga_inbox WHERE consumer = ? AND event_id = ?)";

const OLD: &str = concat!(
    "SELECT consumer, event_id FROM saga_inbox WHERE handled_at <= ",
    now!(),
    " - ? ORDER BY handled_at LIMIT ?"
);

/// Without its record, an event that was given back would be given back again. Parameters: the records, twice, and the age.
const PRUNE: &str = concat!(
    "BEGIN IMMEDIATE;
    UPDATE saga_dead_letter AS d SET is_given_back = 0 WHERE d.is_given_back
        AND (d.consumer, d.id) IN (SELECT value->>0, value->>1 FROM json_each(?))
        AND EXISTS (SELECT 1 FROM saga_inbox AS i WHERE i.consumer = d.consumer AND i.event_id = d.id);
    DELETE FROM saga_inbox WHERE (consumer, event_id) IN (SELECT value->>0, value->>1 FROM json_each(?)) AND handled_at <= ",
    now!(),
    " - ?;
    SELECT changes();
    COMMIT"
);

/// A handler keeps everybody from writing until it has ended: it is to be short, and to wait for no write of the same file but
/// its own, of an engine's `start` or of anything else that it does not do in its transaction.
impl InboxStore for Sqlite {
    type Tx = Transaction<'static, Server>;

    async fn begin_handling(
        &self,
        consumer: &str,
        event: &Event,
    ) -> Result<Begun<Self::Tx>, StoreError> {
        let database = &self.database;
        let turn = database.hold_turn().await;
        let begun = begin(database, consumer, event.event_id()).await;
        let begun = begun.map_err(|error| database.error(error))?;
        if matches!(begun, Begun::New(_)) {
            tokio::spawn(end_with_transaction(database.transactions.clone(), turn));
        }
        Ok(begun)
    }

    async fn finish_handling(&self, mut tx: Self::Tx) -> Result<Finished, CommitError> {
        release(&mut tx).await.map_err(|error| {
            let words = "the handler's transaction ended before the handler did, by its own `COMMIT` or `ROLLBACK`, or by a \
                         statement that failed; return the error of a statement, and leave the end to the inbox";
            CommitError::RolledBack(StoreError::fatal(words).caused_by(error))
        })?;
        let committed = tx.commit().await;
        self.database.news.let_go();
        match committed.map_err(|error| self.database.error(error)) {
            Ok(()) => Ok(Finished::Handled),
            // What the handler wrote: a foreign key, say.
            Err(error) if error.is_refusal() => Err(CommitError::RolledBack(error)),
            Err(error) => Err(CommitError::InDoubt(error)),
        }
    }

    async fn bury(
        &self,
        consumer: &str,
        event: &Event,
        attempts: u32,
        error: &str,
    ) -> Result<(), StoreError> {
        if consumer.is_empty() {
            return Err(StoreError::refusal("a consumer has no name"));
        }
        let query = sqlx::query(BURY)
            .bind(consumer.to_owned())
            .bind(event.event_id().as_str().to_owned())
            .bind(consumer.to_owned())
            .bind(attempts)
            .bind(without_nul(error).into_owned());
        let query = bind(query, event)?;
        let mut turn = self.database.turn().await?;
        let result = query.execute(&mut turn.connection).await;
        turn.end(result.map(|_| ())).await
    }

    async fn retries(&self, consumer: &str, limit: u32) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(RETRIES)
            .bind(consumer)
            .bind(limit)
            .fetch_all(&self.database.readers)
            .await;
        rows.and_then(|rows| rows.iter().map(event).collect())
            .map_err(|error| self.database.error(error))
    }

    async fn is_handled(&self, consumer: &str, event: &EventId) -> Result<bool, StoreError> {
        sqlx::query_scalar(IS_HANDLED)
            .bind(consumer)
            .bind(event.as_str())
            .fetch_one(&self.database.readers)
            .await
            .map_err(|error| self.database.error(error))
    }

    async fn prune_handled(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        // Found without the lock: mostly there is nothing to remove.
        let old = sqlx::query_as(OLD)
            .bind(millis(age))
            .bind(limit)
            .fetch_all(&self.database.readers)
            .await;
        let old: Vec<(String, String)> = old.map_err(|error| self.database.error(error))?;
        if old.is_empty() {
            return Ok(0);
        }
        let records = json(&old)?;
        let mut turn = self.database.turn().await?;
        let result = sqlx::query(PRUNE)
            .bind(records.clone())
            .bind(records)
            .bind(millis(age))
            .fetch_all(&mut turn.connection)
            .await;
        let removed = result.and_then(|rows| {
            let removed = rows.first();
            let removed = removed.ok_or_else(|| unreadable("number of removed records", "none"))?;
            removed.try_get(0).map(as_u64)
        });
        turn.end(removed).await
    }
}

async fn begin(
    database: &Database,
    consumer: &str,
    event: &EventId,
) -> Result<Begun<Transaction<'static, Server>>, sqlx::Error> {
    let mut tx = database.transactions.begin_with(BEGIN).await?;
    let record = sqlx::query(RECORD).bind(consumer).bind(event.as_str());
    if record.execute(&mut *tx).await?.rows_affected() == 0 {
        tx.rollback().await?;
        return Ok(Begun::Duplicate);
    }
    Ok(Begun::New(tx))
}

/// Keeps the turn until the pool lends its only connection again: then the transaction has surely ended, however it did.
async fn end_with_transaction(
    transactions: SqlitePool,
    turn: OwnedMutexGuard<Option<SqliteConnection>>,
) {
    while let Err(sqlx::Error::PoolTimedOut) = transactions.acquire().await {}
    drop(turn);
}

/// The transaction has a savepoint from its begin on, which ends with it.
async fn release(tx: &mut Transaction<'static, Server>) -> Result<(), sqlx::Error> {
    sqlx::query("RELEASE sagaz_step").execute(&mut **tx).await?;
    Ok(())
}
