//! The settings of a relay.

use super::{Config, Inner, Relay, attend, probe::Standing, retain, worker};
use crate::{
    error::Error,
    machine::{Limits, OnDead, Rules},
};
use sagaz_core::{
    Retry,
    broker::Broker,
    observe::{Observer, Observers, Probe},
    store::{OutboxStore, SentEvents, WorkerId},
};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

/// Configures a [`Relay`]: [`Relay::builder`].
#[must_use]
pub struct RelayBuilder<S, B> {
    store: S,
    broker: B,
    config: Config,
    observers: Vec<Arc<dyn Observer>>,
}

impl<S: OutboxStore, B: Broker> RelayBuilder<S, B> {
    pub(super) fn new(store: S, broker: B) -> Self {
        let limits = Limits {
            events_max: 10_000,
            bytes_max: 64 << 20,
            key_events_max: 64,
            in_flight_max: 1_024,
            batch_max: 256,
            unmarked_max: 4_096,
            marks_max: 1_024,
            behind_max: 50_000,
            read_max: 1_000,
        };
        let patient = Retry {
            attempts: None,
            ..Retry::BACKOFF
        };
        let rules = Rules {
            retry: Retry {
                attempts: Some(10),
                ..Retry::BACKOFF
            },
            on_dead: OnDead::default(),
            pause: Retry {
                max: Duration::from_secs(5),
                ..patient
            },
            glance: Retry {
                // Longer than a sender takes that publishes at once.
                initial: Duration::from_millis(50),
                jitter: 0.0,
                ..patient
            },
        };
        let config = Config {
            limits,
            rules,
            lease: Duration::from_secs(15),
            poll: Duration::from_secs(2),
            sent: SentEvents::default(),
            retention: Some(Duration::from_hours(7 * 24)),
            start_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(10),
        };
        Self {
            store,
            broker,
            config,
            observers: Vec::new(),
        }
    }

    /// Is told what the relay does, beside other observers and that of the process.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// How long this relay's share stays its own after its last sign of life; at least 100 ms. Default 15 s. A call of the broker
    /// that takes longer than a fifth of it may end when another relay has taken over, and then an event may be delivered twice.
    pub fn lease(mut self, ttl: Duration) -> Self {
        self.config.lease = ttl.max(Duration::from_millis(100));
        self
    }

    /// How often the store is asked for events that nobody has told of. Default 2 s: with the renewals less than one call
    /// a second.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.config.poll = interval.max(Duration::from_millis(1));
        self
    }

    /// How many events the broker has and has not confirmed at most. Default 1,024.
    pub fn in_flight_max(mut self, events: usize) -> Self {
        self.config.limits.in_flight_max = events.max(1);
        self
    }

    /// How many events go to the broker in one call at most, each of another key. Default 256.
    pub fn batch_max(mut self, events: usize) -> Self {
        self.config.limits.batch_max = events.max(1);
        self
    }

    /// How many events are in memory at most. Default 10,000.
    pub fn events_max(mut self, events: usize) -> Self {
        self.config.limits.events_max = events.max(1);
        self
    }

    /// How many bytes the events in memory have at most; a read may exceed it for a moment. Default 64 MiB.
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.config.limits.bytes_max = bytes.max(1);
        self
    }

    /// How often an event is attempted, and when. Default: 10 times, with waits from 200 ms to 30 s. A broker that cannot be
    /// reached counts for no event.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.config.rules.retry = retry;
        self
    }

    /// What becomes of a key whose event is given up. Default: its later events go on.
    pub fn on_dead(mut self, on_dead: OnDead) -> Self {
        self.config.rules.on_dead = on_dead;
        self
    }

    /// What becomes of events that were sent. Default: they are moved to the archive.
    pub fn sent_events(mut self, sent: SentEvents) -> Self {
        self.config.sent = sent;
        self
    }

    /// How long sent events stay in the archive, and dead letters that were decided on; `None` is for ever. Default 7 days.
    pub fn retention(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.config.retention = age.into();
        self
    }

    /// How long [`start`](Self::start) waits for a busy store. Default 30 s.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.config.start_timeout = timeout;
        self
    }

    /// How long [`Relay::shutdown`] waits for the broker to confirm what it has, and for the store to be told. Default 10 s.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.config.shutdown_grace = grace;
        self
    }

    /// Takes a lease and begins to work.
    pub async fn start(self) -> Result<Relay, Error> {
        let observers = Observers::with_default(self.observers);
        // Whoever asks meanwhile is told that it is not ready.
        let _starting = observers.as_ref().map(|it| it.starting("relay"));
        let relay = Arc::new(Inner {
            store: self.store,
            broker: self.broker,
            id: WorkerId::random(),
            config: self.config,
            observers,
            standing: Standing::default(),
            origin: Instant::now(),
        });
        let patience = Instant::now() + relay.config.start_timeout;
        while let Err(error) = attend::attend(&relay, 0).await {
            if !error.is_transient() || Instant::now() >= patience {
                return Err(error.into());
            }
            sleep(Duration::from_millis(50)).await;
        }
        if let Some(observers) = &relay.observers {
            observers.watch(&Probe::outbox(&relay));
        }
        let (stop, stopped) = watch::channel(false);
        let (told, to_hear) = mpsc::unbounded_channel();
        let (release, to_release) = mpsc::unbounded_channel();
        let mut others = JoinSet::new();
        others.spawn(attend::keep(Arc::clone(&relay), told, to_release));
        if let Some(age) = relay.config.retention {
            others.spawn(retain::run(Arc::clone(&relay), age));
        }
        let id = relay.id;
        let worker = tokio::spawn(worker::run(relay, to_hear, release, stopped));
        Ok(Relay {
            id,
            stop,
            worker: Some(worker),
            others,
        })
    }
}

impl<S, B> fmt::Debug for RelayBuilder<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
