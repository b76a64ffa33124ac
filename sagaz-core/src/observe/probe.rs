//! How engines, relays and consumers stand, when they are asked.

use crate::{
    broker::BrokerError,
    id::EngineId,
    store::{Backlog, OutboxStats, StoreError},
};
use futures_util::future::BoxFuture;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// Something that can be asked how it stands, for as long as it lives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Probe {
    /// An engine, until it is shut down.
    Engine(Weak<dyn EngineProbe>),
    /// A relay or an optimistic sender, until it is shut down.
    Outbox(Weak<dyn OutboxProbe>),
    /// A consumer that runs.
    Consumer(Weak<dyn ConsumerProbe>),
    /// Something of this kind is starting, for as long as this lives: it waits for its store, say.
    Starting(&'static str, Weak<()>),
    /// This consumer has ended by an error, which nobody may have looked at.
    Ended {
        /// Which.
        consumer: String,
        /// Why.
        why: String,
    },
}

/// How an engine stands. Only [`backlog`](Self::backlog) asks the store; the rest is known.
pub trait EngineProbe: Send + Sync + std::fmt::Debug {
    /// The engine.
    fn id(&self) -> EngineId;

    /// What its store is.
    fn store(&self) -> &'static str;

    /// How many instances of each of its sagas are in flight; those of which none is are told with 0.
    fn in_flight(&self) -> Vec<(&'static str, usize)>;

    /// How many may be at once.
    fn in_flight_max(&self) -> usize;

    /// How long its attempts may begin without another renewal of its lease.
    fn lease_remaining(&self) -> Duration;

    /// How long ago the task that keeps the lease last began or ended a call. A task that works is never silent for longer than
    /// [`silence_max`](Self::silence_max), however the store does.
    fn silence(&self) -> Duration;

    /// The longest silence that is in order.
    fn silence_max(&self) -> Duration;

    /// A task that it is made of and that has ended, although the engine works: it has panicked.
    fn ended_task(&self) -> Option<&'static str>;

    /// Whether it is shutting down, or has stopped.
    fn is_stopping(&self) -> bool;

    /// Whether it has stopped.
    fn is_stopped(&self) -> bool;

    /// Why the store did not answer its last call.
    fn store_trouble(&self) -> Option<String>;

    /// What waits in its store.
    fn backlog(&self) -> BoxFuture<'_, Result<Vec<Backlog>, StoreError>>;
}

/// How an outbox stands, and the relay or the optimistic sender that publishes what is in it.
pub trait OutboxProbe: Send + Sync + std::fmt::Debug {
    /// What its store is.
    fn store(&self) -> &'static str;

    /// What its broker is.
    fn broker(&self) -> &'static str;

    /// How the relay stands; `None` of an optimistic sender.
    fn relay(&self) -> Option<RelayStanding>;

    /// How the outbox stands. The store is asked.
    fn outbox(&self) -> BoxFuture<'_, Result<OutboxStats, StoreError>>;

    /// Whether the broker can be reached. It is asked.
    fn broker_health(&self) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// How a relay stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "whoever makes one knows all of it"
)]
pub struct RelayStanding {
    /// How many lanes it owns.
    pub lanes: usize,
    /// How many relays share all lanes, as it was last told.
    pub workers: u32,
    /// How long its lease on lanes is still good.
    pub lease_remaining: Duration,
    /// Whether its worker has ended although nobody has stopped it: it has panicked.
    pub is_dead: bool,
    /// Events in memory that wait or are not confirmed.
    pub events: usize,
    /// Events that are published and not yet stored as sent.
    pub unmarked: usize,
}

/// How a consumer stands.
pub trait ConsumerProbe: Send + Sync + std::fmt::Debug {
    /// The consumer.
    fn consumer(&self) -> String;

    /// What its broker is.
    fn broker(&self) -> &'static str;

    /// What its store is; `None` if it has none of its own.
    fn store(&self) -> Option<&'static str>;

    /// Why the store did not do what it was asked, if it failed a moment ago and nothing has succeeded since.
    fn store_trouble(&self) -> Option<String>;

    /// Why the broker gave nothing, if it failed a moment ago and has given nothing since.
    fn broker_trouble(&self) -> Option<String>;
}

impl Probe {
    /// Of an engine.
    pub fn engine(engine: &Arc<impl EngineProbe + 'static>) -> Self {
        let engine: Weak<dyn EngineProbe> = Arc::downgrade(engine) as _;
        Self::Engine(engine)
    }

    /// Of a relay or an optimistic sender.
    pub fn outbox(outbox: &Arc<impl OutboxProbe + 'static>) -> Self {
        let outbox: Weak<dyn OutboxProbe> = Arc::downgrade(outbox) as _;
        Self::Outbox(outbox)
    }

    /// Of a consumer.
    pub fn consumer(consumer: &Arc<impl ConsumerProbe + 'static>) -> Self {
        let consumer: Weak<dyn ConsumerProbe> = Arc::downgrade(consumer) as _;
        Self::Consumer(consumer)
    }
}
