//! The outbox in SQLite: the calls of its contract.
//!
//! Invariant: there is one writer at a time, so the order of places is the order of commits for all keys, nothing below a place
//! that was seen becomes visible later, and whether an event is the first of its key is known for good when it is stored.

mod append;
mod fetch;
mod lanes;
mod letters;
mod mark;

use super::Sqlite;
use sagaz_core::{
    EventId,
    store::{
        Attendance, DeadDecision, DeadLetterFilter, DeadLetterPage, Fetch, Fetched, Mark,
        OutboxStats, OutboxStore, Place, SentEvents, StoreError, WorkerId,
    },
};
use std::time::Duration;

impl OutboxStore for Sqlite {
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

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        fetch::stats(&self.database).await
    }

    async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<DeadLetterPage, StoreError> {
        letters::list(&self.database, filter).await
    }

    async fn decide(&self, decision: &DeadDecision) -> Result<u64, StoreError> {
        letters::decide(&self.database, decision).await
    }

    async fn prune_sent(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        letters::prune(&self.database, age, limit).await
    }

    /// Told within the process: of what other processes write, polling tells.
    async fn outbox_news(&self) {
        let database = &self.database;
        self.seen.next(&database.news, &database.readers).await;
    }
}
