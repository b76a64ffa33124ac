//! The relay: publishes what is in an outbox.
//!
//! Invariant: what is decided is the [state machine](crate::machine)'s; here are the calls, the clock and chance.

mod attend;
mod builder;
mod probe;
mod retain;
mod worker;

pub use builder::RelayBuilder;

use crate::machine::{Limits, Rules};
use probe::Standing;
use sagaz_core::{
    broker::Broker,
    observe::{Observers, PublisherEvent, PublisherIdentity, PublisherKind},
    store::{OutboxStore, SentEvents, StoreError, WorkerId},
};
use std::{fmt, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::Instant,
};

/// Publishes the events of a store's outbox on a broker, those of a key in the order in which they were committed.
///
/// Any number of relays, in one process or in many, share the keys of an outbox; when one dies, the others take its share over as
/// soon as its lease ends. Dropped, a relay stops in the middle, as if its process had died: [`shutdown`](Self::shutdown) gives
/// its share to the others at once.
///
/// ```no_run
/// # async fn example<S: sagaz_core::store::OutboxStore, B: sagaz_core::broker::Broker>(store: S, broker: B) -> Result<(), Box<dyn std::error::Error>> {
/// use sagaz_outbox::Relay;
///
/// let relay = Relay::builder(store, broker).start().await?;
/// // .. as long as the program runs
/// relay.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropped, it stops"]
pub struct Relay {
    id: WorkerId,
    stop: watch::Sender<bool>,
    worker: Option<JoinHandle<()>>,
    /// Tasks that end with it.
    others: JoinSet<()>,
}

impl Relay {
    /// Configures a relay.
    pub fn builder<S: OutboxStore, B: Broker>(store: S, broker: B) -> RelayBuilder<S, B> {
        RelayBuilder::new(store, broker)
    }

    /// The name of this relay in the store.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Stops: nothing new is published, the broker is given the configured grace to confirm what it has, that is stored, and the
    /// relay's share is given up.
    pub async fn shutdown(mut self) {
        // The worker has the other end as long as it runs.
        let _ = self.stop.send(true);
        if let Some(worker) = self.worker.take() {
            // It has panicked, if not ended.
            let _ = worker.await;
        }
        self.others.shutdown().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.abort();
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The settings of a relay.
#[derive(Clone, Copy, Debug)]
struct Config {
    limits: Limits,
    rules: Rules,
    lease: Duration,
    poll: Duration,
    sent: SentEvents,
    retention: Option<Duration>,
    start_timeout: Duration,
    shutdown_grace: Duration,
}

/// What the tasks of a relay share.
struct Inner<S, B> {
    store: S,
    broker: B,
    id: WorkerId,
    config: Config,
    observers: Option<Observers>,
    standing: Standing,
    /// From here the relay counts its time.
    origin: Instant,
}

impl<S, B> Inner<S, B> {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

impl<S: OutboxStore, B: Broker> Inner<S, B> {
    fn tell(&self, event: &PublisherEvent<'_>) {
        if let Some(observers) = &self.observers {
            let (store, broker) = (self.store.system(), self.broker.system());
            let identity = PublisherIdentity::new(PublisherKind::Relay, store, broker);
            observers.publisher(&identity, event);
        }
    }

    fn store_failed(&self, call: &'static str, error: &StoreError) {
        self.tell(&PublisherEvent::StoreFailed { call, error });
    }
}
