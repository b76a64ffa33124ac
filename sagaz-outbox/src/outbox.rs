//! The outbox, as an application has it.

use crate::{dead::DeadLetters, error::Error};
use sagaz_core::{
    Event,
    observe::Observers,
    store::{AppendsIn, OutboxStats, OutboxStore},
};
use std::fmt;

/// Where an event comes from if nobody says so.
const SOURCE: &str = "/outbox";

/// Appends events to a store's outbox, in any transaction of the store's, and looks after those that could not be delivered.
///
/// ```
/// use sagaz_core::{Event, store::{OutboxStore, Transacts, memory::Memory}};
/// use sagaz_outbox::Outbox;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let store = Memory::new();
/// let outbox = Outbox::new(store.clone()).source("/shop");
///
/// let (mut tx, _guard) = store.begin().await?;
/// // .. the application's own writes, and then
/// outbox.append(&mut tx, Event::new("order.placed", &17).key("order-17")).await?;
/// assert!(store.commit(tx).await.is_ok());
///
/// assert_eq!(outbox.stats().await?.pending, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Outbox<S> {
    store: S,
    source: String,
    payload_max: usize,
}

impl<S: OutboxStore> Outbox<S> {
    /// The outbox of this store.
    pub fn new(store: S) -> Self {
        Self {
            store,
            source: SOURCE.to_owned(),
            payload_max: 1 << 20,
        }
    }

    /// Where events come from that do not say so: a URI, or the path of one. Default `/outbox`.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// The largest event, in bytes. Default 1 MiB.
    pub fn payload_max(mut self, bytes: usize) -> Self {
        self.payload_max = bytes;
        self
    }

    /// Appends an event: it is published if and only if the transaction is committed.
    ///
    /// Until the transaction has ended, no other one appends an event of the same key: so the order of a key is the order of
    /// commits. Whoever holds transactions open long chooses keys that are not hot. An event without a key has one to itself, or
    /// that of its saga. One without a `traceparent` has that of the code that runs, if the process keeps traces.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid`] if the event cannot be published; nothing is appended then. After an error of the store the
    /// transaction can only be rolled back.
    pub async fn append<Tx>(&self, tx: &mut Tx, event: Event) -> Result<(), Error>
    where
        S: AppendsIn<Tx>,
    {
        let event = self.completed(event);
        event.check(self.payload_max)?;
        let event = event.in_trace(Observers::current_trace(), self.payload_max);
        self.store.append_in(tx, &event).await?;
        Ok(())
    }

    fn completed(&self, event: Event) -> Event {
        let event = if event.source_uri().is_empty() {
            event.source(&self.source)
        } else {
            event
        };
        if event.ordering_key().is_some() {
            return event;
        }
        let saga = event.saga_id().map(|id| id.to_string());
        let key = saga.unwrap_or_else(|| event.event_id().to_string());
        event.key(key)
    }

    /// The events that could not be delivered, or not be handled.
    pub fn dead_letters(&self) -> DeadLetters<'_, S> {
        DeadLetters::new(&self.store)
    }

    /// How the outbox stands.
    pub async fn stats(&self) -> Result<OutboxStats, Error> {
        Ok(self.store.outbox_stats().await?)
    }
}

impl<S> fmt::Debug for Outbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
