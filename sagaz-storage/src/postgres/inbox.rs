//! What consumers have handled.
//!
//! Invariant: the record of an event is the first write of its handler's transaction, so another handling of it by the same
//! consumer waits there, until this one has ended: then it is a duplicate, or its turn.

use super::{
    Postgres,
    database::Database,
    error::store_error,
    event::{self, Stored, event_columns},
    transaction,
};
use crate::value::{millis, without_nul};
use sagaz_core::{
    Event, EventId,
    store::{Begun, CommitError, Finished, InboxStore, StoreError},
};
use sqlx::{PgTransaction, Row};
use std::time::Duration;

/// What an operator gave back is no longer given back when it is handled. Parameters: the consumer, the event.
const RECORD: &str = "WITH recorded AS (
        INSERT INTO sagaz.consumer_inbox (consumer, event_id, handled_at) VALUES ($1, $2, clock_timestamp())
        ON CONFLICT DO NOTHING RETURNING event_id
    ), answered AS (
        UPDATE sagaz.dead_letter AS d SET is_given_back = false
        WHERE d.id = $2 AND d.consumer = $1 AND d.is_given_back AND EXISTS (SELECT 1 FROM recorded)
    )
    SELECT count(*) FROM recorded";

/// Nothing of an event that is handled: somebody else was faster. Parameters: the consumer, the event's id, key, type, source, subject, time, attributes, content type, text and bytes; attempts,
/// error.
const BURY: &str = "WITH recorded AS (
        INSERT INTO sagaz.consumer_inbox (consumer, event_id, handled_at) VALUES ($1, $2, clock_timestamp())
        ON CONFLICT DO NOTHING RETURNING event_id
    )
    INSERT INTO sagaz.dead_letter AS d (id, consumer, key, type, source, subject, time, attributes, content_type, data_text,
        data_bytes, attempts, error, state, died_at)
    SELECT r.event_id, $1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'open', clock_timestamp() FROM recorded AS r
    ON CONFLICT (id, consumer) DO UPDATE SET attempts = excluded.attempts, error = excluded.error, state = 'open',
        is_given_back = false, died_at = excluded.died_at, decided_at = NULL";

/// Parameters: the consumer, how many.
const RETRIES: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM sagaz.dead_letter AS o WHERE o.is_given_back AND o.consumer = $1 ORDER BY o.consumer, o.id LIMIT $2"
);

const IS_HANDLED: &str =
    "SELECT EXISTS (SELECT 1 FROM sagaz.consumer_inbox WHERE consumer = $1 AND event_id = $2)";

/// Parameters: the age, the limit.
const PRUNE: &str = "WITH old AS MATERIALIZED (
        SELECT c.ctid FROM sagaz.consumer_inbox AS c
        WHERE c.handled_at <= statement_timestamp() - $1 * interval '1 millisecond'
        ORDER BY c.handled_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM sagaz.consumer_inbox AS c WHERE c.ctid = ANY(ARRAY(SELECT old.ctid FROM old))";

/// Handlers write on connections of their own, as many as [steps](super::Options::transactions_max) have.
impl InboxStore for Postgres {
    type Tx = PgTransaction<'static>;

    async fn begin_handling(
        &self,
        consumer: &str,
        event: &Event,
    ) -> Result<Begun<PgTransaction<'static>>, StoreError> {
        check_consumer(consumer)?;
        let database = &self.database;
        let mut tx = begin(database).await?;
        let record = database
            .query(RECORD)
            .bind(consumer.to_owned())
            .bind(event.event_id().as_str().to_owned());
        let recorded = record.fetch_one(&mut *tx).await;
        let recorded: i64 = recorded
            .and_then(|row| row.try_get(0))
            .map_err(store_error)?;
        if recorded > 0 {
            return Ok(Begun::New(tx));
        }
        tx.rollback().await.map_err(store_error)?;
        Ok(Begun::Duplicate)
    }

    async fn finish_handling(
        &self,
        mut tx: PgTransaction<'static>,
    ) -> Result<Finished, CommitError> {
        let is_open = transaction::is_open(&self.database, &mut tx, "handler");
        is_open.await.map_err(CommitError::RolledBack)?;
        transaction::commit(&self.database, tx, "handler").await?;
        Ok(Finished::Handled)
    }

    async fn bury(
        &self,
        consumer: &str,
        event: &Event,
        attempts: u32,
        error: &str,
    ) -> Result<(), StoreError> {
        check_consumer(consumer)?;
        let stored = Stored::of(event)?;
        let bury = self
            .database
            .query(BURY)
            .bind(consumer.to_owned())
            .bind(stored.id)
            .bind(stored.key)
            .bind(stored.event_type)
            .bind(stored.source)
            .bind(stored.subject)
            .bind(stored.time)
            .bind(stored.attributes)
            .bind(stored.content_type)
            .bind(stored.text)
            .bind(stored.bytes)
            .bind(i64::from(attempts))
            .bind(without_nul(error).into_owned());
        self.database
            .call(&self.database.readers, async |connection| {
                bury.execute(connection).await.map(|_| ())
            })
            .await
    }

    async fn retries(&self, consumer: &str, limit: u32) -> Result<Vec<Event>, StoreError> {
        let retries = self.database.query(RETRIES).bind(consumer.to_owned());
        let retries = retries.bind(i64::from(limit));
        self.database
            .call(&self.database.readers, async |connection| {
                let rows = retries.fetch_all(connection).await?;
                rows.iter().map(event::read).collect()
            })
            .await
    }

    async fn is_handled(&self, consumer: &str, event: &EventId) -> Result<bool, StoreError> {
        let is_handled = self
            .database
            .query(IS_HANDLED)
            .bind(consumer.to_owned())
            .bind(event.as_str().to_owned());
        self.database
            .call(&self.database.readers, async |connection| {
                is_handled.fetch_one(connection).await?.try_get(0)
            })
            .await
    }

    async fn prune_handled(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        let prune = self.database.query(PRUNE).bind(millis(age));
        let prune = prune.bind(i64::from(limit));
        self.database
            .call(&self.database.readers, async |connection| {
                prune
                    .execute(connection)
                    .await
                    .map(|done| done.rows_affected())
            })
            .await
    }
}

/// In the table of dead letters, an empty name stands for the outbox.
fn check_consumer(consumer: &str) -> Result<(), StoreError> {
    if consumer.is_empty() {
        return Err(StoreError::refusal(
            "a consumer needs a name, by which it is remembered what it has handled",
        ));
    }
    Ok(())
}

/// Waited for as long as it takes, where others are at work; the pool gives up, and is asked again.
async fn begin(database: &Database) -> Result<PgTransaction<'static>, StoreError> {
    let pool = &database.handlers;
    loop {
        match pool.begin_with(transaction::BEGIN).await {
            Err(sqlx::Error::PoolTimedOut)
                if pool.size() >= database.handler_count && pool.num_idle() == 0 => {}
            begun => return begun.map_err(store_error),
        }
    }
}
