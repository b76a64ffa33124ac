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
    /// A relay, until it is shut down.
    Relay(Weak<dyn RelayProbe>),
    /// A consumer that runs.
    Consumer(Weak<dyn ConsumerProbe>),
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

    /// Whether it is shutting down, or has stopped.
    fn is_stopping(&self) -> bool;

    /// Why the store did not answer its last call.
    fn store_trouble(&self) -> Option<String>;

    /// What waits in its store.
    fn backlog(&self) -> BoxFuture<'_, Result<Vec<Backlog>, StoreError>>;
}

/// How a relay stands.
pub trait RelayProbe: Send + Sync + std::fmt::Debug {
    /// What its store is.
    fn store(&self) -> &'static str;

    /// What its broker is.
    fn broker(&self) -> &'static str;

    /// How many lanes it owns, and how many relays share all of them, as it was last told.
    fn lanes(&self) -> (usize, u32);

    /// Events in memory: those that wait or are not confirmed, and those that are not yet stored as sent.
    fn load(&self) -> (usize, usize);

    /// How long its lease on lanes is still good.
    fn lease_remaining(&self) -> Duration;

    /// How the outbox of its store stands.
    fn outbox(&self) -> BoxFuture<'_, Result<OutboxStats, StoreError>>;

    /// Whether its broker can be reached.
    fn broker_health(&self) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// How a consumer stands.
pub trait ConsumerProbe: Send + Sync + std::fmt::Debug {
    /// The consumer.
    fn consumer(&self) -> String;

    /// What its broker is.
    fn broker(&self) -> &'static str;

    /// Why the broker last gave nothing, until it does.
    fn broker_trouble(&self) -> Option<String>;
}

impl Probe {
    /// Of an engine.
    pub fn engine(engine: &Arc<impl EngineProbe + 'static>) -> Self {
        let engine: Weak<dyn EngineProbe> = Arc::downgrade(engine) as _;
        Self::Engine(engine)
    }

    /// Of a relay.
    pub fn relay(relay: &Arc<impl RelayProbe + 'static>) -> Self {
        let relay: Weak<dyn RelayProbe> = Arc::downgrade(relay) as _;
        Self::Relay(relay)
    }

    /// Of a consumer.
    pub fn consumer(consumer: &Arc<impl ConsumerProbe + 'static>) -> Self {
        let consumer: Weak<dyn ConsumerProbe> = Arc::downgrade(consumer) as _;
        Self::Consumer(consumer)
    }
}
