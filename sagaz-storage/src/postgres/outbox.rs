//! Events that wait to be published.
//!
//! Invariants: an event's place is decided as `event` says. A worker's word counts only while it holds the rows of its lanes, which
//! whoever takes them over locks as well. Nothing here walks over what was deleted, which an old snapshot may keep in the indexes
//! for long: lanes are read from a place on, and what may have been committed below it is looked up by its transaction.

mod dead;
mod fetch;
mod lanes;
mod mark;

use super::{
    Postgres,
    error::store_error,
    event::{KeyLock, Stored, key_lock},
};
use sagaz_core::{
    Event, EventId,
    store::{
        AppendsIn, Attendance, DeadDecision, DeadLetterFilter, DeadLetterPage, Fetch, Fetched,
        Mark, OutboxStats, OutboxStore, Place, SentEvents, StoreError, WorkerId,
    },
};
use sqlx::{Postgres as Server, Transaction};
use std::time::Duration;

/// Under the lock of the key. Parameters: the instance whose id the key is, the key, the lane, id, type, source, subject, time,
/// attributes, content type, text and bytes.
const APPEND: &str = concat!(
    "WITH held AS MATERIALIZED (
        SELECT i.id FROM sagaz.saga_instance AS i WHERE i.id = $1 FOR NO KEY UPDATE
    ), locked AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(",
    key_lock!("$2::text"),
    "), pg_current_xact_id() AS xid FROM (SELECT count(*) FROM held) AS h
    )
    INSERT INTO sagaz.outbox (lane, seq, xid, id, key, type, source, subject, time, attributes, content_type, data_text,
        data_bytes, stored_at)
    SELECT $3, nextval('sagaz.outbox_seq'), l.xid, $4, $2, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp()
    FROM locked AS l
    ON CONFLICT (id) DO NOTHING"
);

impl OutboxStore for Postgres {
    async fn attend(
        &self,
        worker: WorkerId,
        ttl: Duration,
        wanted: u16,
    ) -> Result<Attendance, StoreError> {
        lanes::attend(&self.database, worker, ttl, wanted).await
    }

    async fn release(&self, worker: WorkerId, lanes: Option<&[u16]>) -> Result<(), StoreError> {
        lanes::release(&self.database, worker, lanes).await
    }

    async fn fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError> {
        fetch::fetch(&self.database, fetch).await
    }

    async fn mark(
        &self,
        worker: WorkerId,
        marks: &[Mark],
        sent: SentEvents,
    ) -> Result<Vec<u16>, StoreError> {
        mark::mark(&self.database, worker, marks, sent).await
    }

    async fn heads(
        &self,
        sender: WorkerId,
        events: &[EventId],
    ) -> Result<Vec<(EventId, Place)>, StoreError> {
        mark::heads(&self.database, sender, events).await
    }

    async fn settle_heads(
        &self,
        sender: WorkerId,
        heads: &[(Place, bool)],
        sent: SentEvents,
    ) -> Result<(), StoreError> {
        mark::settle_heads(&self.database, sender, heads, sent).await
    }

    /// Counts no further than 100,000.
    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        dead::stats(&self.database).await
    }

    async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<DeadLetterPage, StoreError> {
        dead::list(&self.database, filter).await
    }

    async fn decide(&self, decision: &DeadDecision) -> Result<u64, StoreError> {
        dead::decide(&self.database, decision).await
    }

    async fn prune_sent(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        dead::prune_sent(&self.database, age, limit).await
    }

    async fn outbox_news(&self) {
        self.database.news.heard_events().await;
    }
}

/// In any transaction of the same database, on any connection. It holds the lock of the event's key to its end: others that
/// publish under this key wait for it, so append late, and under keys that are not everybody's. The key can be the id of an
/// instance: then that instance waits too.
impl<'c> AppendsIn<Transaction<'c, Server>> for Postgres {
    async fn append_in(
        &self,
        tx: &mut Transaction<'c, Server>,
        event: &Event,
    ) -> Result<(), StoreError> {
        let stored = Stored::of(event)?;
        let Some(key) = stored.key.clone() else {
            return Err(StoreError::refusal(
                "an event that is appended needs a key; give it one with `key`",
            ));
        };
        let lock = KeyLock::of(&key, None);
        let append = self
            .database
            .query(APPEND)
            .bind(lock.instance)
            .bind(key)
            .bind(stored.lane())
            .bind(stored.id)
            .bind(stored.event_type)
            .bind(stored.source)
            .bind(stored.subject)
            .bind(stored.time)
            .bind(stored.attributes)
            .bind(stored.content_type)
            .bind(stored.text)
            .bind(stored.bytes);
        append.execute(&mut **tx).await.map_err(store_error)?;
        self.database.news.expect_events();
        Ok(())
    }
}
