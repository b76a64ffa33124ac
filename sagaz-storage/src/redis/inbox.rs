//! What consumers have handled.
//!
//! Invariant: the record of an event, its dead letter and what a handler writes are in one partition, that of the event's key, so one
//! script judges the record and applies the writes. A handler itself is not kept from running beside another one.

use super::{
    Redis, Store, event, letters,
    request::{Request, elements, number, text},
    script::{BEGIN, GIVE_UP},
    server::Line,
    transaction::{self, Transaction},
};
use redis::Value;
use sagaz_core::{
    Event, EventId,
    store::{Begun, CommitError, Finished, InboxStore, StoreError},
};
use std::time::Duration;

impl InboxStore for Redis {
    type Tx = Transaction;

    async fn begin_handling(
        &self,
        consumer: &str,
        event: &Event,
    ) -> Result<Begun<Transaction>, StoreError> {
        let store = &self.store;
        let tag = &store.space.tags[store.space.of_event(event)];
        let begin = Request::script(&BEGIN, tag)
            .text(consumer)
            .text(event.event_id().as_str());
        let mut reply = elements(store.server.ask_one(Line::Reader, begin).await?).into_iter();
        let Some(now_ms) = reply.next().and_then(number) else {
            return Err(StoreError::fatal(
                "the server's reply to a consumer is not of this store",
            ));
        };
        if reply.next().is_some_and(|handled| handled != Value::Nil) {
            return Ok(Begun::Duplicate);
        }
        Ok(Begun::New(Transaction::handling(
            tag, consumer, event, now_ms,
        )))
    }

    async fn finish_handling(&self, tx: Transaction) -> Result<Finished, CommitError> {
        transaction::commit(&self.store, tx).await
    }

    async fn bury(
        &self,
        consumer: &str,
        event: &Event,
        attempts: u32,
        error: &str,
    ) -> Result<(), StoreError> {
        let store = &self.store;
        let id = event.event_id().as_str();
        let key = event.ordering_key();
        let tag = &store.space.tags[store.space.of_event(event)];
        let bury = Request::script(&GIVE_UP, tag)
            .text(consumer)
            .text(id)
            .owned(letters::name(id, Some(consumer)))
            .owned(store.next_try())
            .shown(attempts)
            .text(error)
            .flag(key.is_some())
            .text(key.unwrap_or_default());
        let bury = event::content(store, bury, event)?;
        store.server.ask_one(Line::Writer, bury).await.map(|_| ())
    }

    async fn retries(&self, consumer: &str, limit: u32) -> Result<Vec<Event>, StoreError> {
        retries(&self.store, consumer, limit).await
    }

    async fn is_handled(&self, consumer: &str, event: &EventId) -> Result<bool, StoreError> {
        let store = &self.store;
        // The key is not known, and so neither is the partition.
        let requests: Vec<_> = store
            .space
            .tags
            .iter()
            .map(|tag| {
                Request::script(&BEGIN, tag)
                    .text(consumer)
                    .text(event.as_str())
            })
            .collect();
        let replies = store.server.ask(Line::Reader, &requests).await?;
        Ok(replies.into_iter().any(|reply| {
            let handled = elements(reply).into_iter().nth(1);
            handled.is_some_and(|handled| handled != Value::Nil)
        }))
    }

    async fn prune_handled(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        super::admin::prune_handled(&self.store, age, limit).await
    }
}

/// Those that were given back first, of each partition.
async fn retries(store: &Store, consumer: &str, limit: u32) -> Result<Vec<Event>, StoreError> {
    let limit = limit as usize;
    if limit == 0 {
        return Ok(Vec::new());
    }
    let requests: Vec<_> = store
        .space
        .tags
        .iter()
        .map(|tag| {
            Request::command("ZRANGE", format!("{tag}:again:{consumer}"))
                .text("0")
                .shown(limit - 1)
        })
        .collect();
    let replies = store.server.ask(Line::Reader, &requests).await?;
    let names: Vec<(usize, String)> = replies
        .into_iter()
        .enumerate()
        .flat_map(|(partition, reply)| {
            let names = elements(reply).into_iter().filter_map(text);
            names.map(move |name| (partition, name))
        })
        .take(limit)
        .collect();
    let letters = letters::read(store, &names).await?;
    Ok(letters.into_iter().map(|letter| letter.event).collect())
}
