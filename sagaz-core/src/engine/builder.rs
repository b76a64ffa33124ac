//! The configuration of an engine.

use super::{
    AfterCommit, Engine, Inner, lease, lease::Lease, registry::Registry, retain, scanner, writer,
};
use crate::{
    error::Error,
    event::Event,
    id::EngineId,
    observe::{Observer, Observers, Probe},
    saga::RunsOn,
    store::{Defined, Retention, Sender, Store, StoreError},
};
use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep},
};

/// The limits of an engine.
pub(crate) struct Config {
    pub(super) in_flight_max: usize,
    pub(super) accepting_max: usize,
    pub(super) batch_max: usize,
    pub(super) payload_max: usize,
    pub(super) lease: Duration,
    pub(super) poll: Duration,
    pub(super) wake_up_after: Duration,
    pub(super) start_timeout: Duration,
    pub(super) shutdown_grace: Duration,
    pub(super) suspect_after: u32,
    pub(super) poison_after: u32,
    pub(super) retention: Option<(Duration, Retention)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_flight_max: 1_000,
            accepting_max: 1_000,
            batch_max: 512,
            payload_max: 1 << 20,
            lease: Duration::from_secs(15),
            poll: Duration::from_secs(1),
            wake_up_after: Duration::from_secs(10),
            start_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(10),
            suspect_after: 2,
            poison_after: 10,
            retention: None,
        }
    }
}

/// A hook whose panics do not reach the engine: the relay publishes what it forgets.
struct ShieldedHook(Arc<dyn AfterCommit>);

impl AfterCommit for ShieldedHook {
    fn sender(&self) -> Sender {
        self.0.sender()
    }

    fn committed(&self, events: Vec<Event>) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.committed(events)));
    }
}

/// Configures an [`Engine`]: [`Engine::builder`].
#[must_use]
pub struct EngineBuilder<S: Store> {
    store: S,
    config: Config,
    registry: Result<Registry<S>, Error>,
    observers: Vec<Arc<dyn Observer>>,
    after_commit: Option<Arc<dyn AfterCommit>>,
}

impl<S: Store> EngineBuilder<S> {
    pub(super) fn new(store: S) -> Self {
        Self {
            store,
            config: Config::default(),
            registry: Ok(Registry::new()),
            observers: Vec::new(),
            after_commit: None,
        }
    }

    /// A saga that this engine runs. Two of one name are an error of [`start`](Self::start).
    pub fn register<G: RunsOn<S>>(mut self, saga: G) -> Self {
        self.registry = self
            .registry
            .and_then(|mut registry| registry.add(saga).map(|()| registry));
        self
    }

    /// Is told what happens to this engine and its instances, beside other observers and that of the process. A panic in it
    /// is caught.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Publishes events as soon as they are stored, without waiting for the relay. A panic in it is caught.
    pub fn after_commit(mut self, hook: Arc<dyn AfterCommit>) -> Self {
        self.after_commit = Some(Arc::new(ShieldedHook(hook)));
        self
    }

    /// How many instances are in flight at once; more are stored and wait. Default 1,000. What is claimed while others are
    /// being started may exceed it for a moment.
    pub fn in_flight_max(mut self, instances: usize) -> Self {
        self.config.in_flight_max = instances.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How many writes go into one transaction at most. Default 512.
    pub fn batch_max(mut self, writes: usize) -> Self {
        self.config.batch_max = writes.max(1);
        self
    }

    /// The largest input, output or event, in bytes, as it is stored. Default 1 MiB.
    pub fn payload_max(mut self, bytes: usize) -> Self {
        self.config.payload_max = bytes;
        self
    }

    /// How long this engine's instances stay its own after its last sign of life. Default 15 s. Shorter: others take over
    /// sooner after a crash. Longer: a longer pause is survived without a takeover. A store may need more, and then gets it.
    pub fn lease(mut self, ttl: Duration) -> Self {
        self.config.lease = ttl;
        self
    }

    /// How often the store is asked for instances that are due or orphaned. Default 1 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.config.poll = interval.max(Duration::from_millis(1));
        self
    }

    /// A wait for the next attempt that is longer than this is stored as a wake-up; an instance that only waits so leaves
    /// memory. Default 10 s.
    pub fn wake_up_after(mut self, wait: Duration) -> Self {
        self.config.wake_up_after = wait;
        self
    }

    /// How long [`Engine::start`], and the start of the engine itself, wait for a busy store. Default 30 s.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.config.start_timeout = timeout;
        self
    }

    /// How long [`Engine::shutdown`] lets running attempts end. Default 10 s.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.config.shutdown_grace = grace;
        self
    }

    /// After how many takeovers *while it runs as a suspect* an instance is stuck as poison. Default 10.
    ///
    /// An instance is a suspect when it was taken over twice without a step being stored in between; an engine runs one
    /// suspect at a time, with a growing delay.
    pub fn poison_after(mut self, takeovers: u32) -> Self {
        self.config.poison_after = takeovers.max(1);
        self
    }

    /// Removes instances this long after they completed or rolled back. Default: never.
    pub fn retention(mut self, age: Duration) -> Self {
        self.config.retention = Some((age, Retention::Delete));
        self
    }

    /// Moves instances to the archive this long after they completed or rolled back: [`Engine::archive`]. Default: never.
    /// Of this and [`retention`](Self::retention), the last that is set counts.
    pub fn archive_after(mut self, age: Duration) -> Self {
        self.config.retention = Some((age, Retention::Archive));
        self
    }

    /// Registers the definitions in the store, takes a lease and begins to work.
    pub async fn start(self) -> Result<Engine<S>, Error> {
        let Self {
            store,
            mut config,
            registry,
            observers,
            after_commit,
        } = self;
        let registry = registry?;
        let observers = Observers::with_default(observers);
        // Whoever asks meanwhile is told that it is not ready.
        let _starting = observers.as_ref().map(|it| it.starting("engine"));
        let start_timeout = config.start_timeout;
        for runnable in registry.runnable() {
            let key = &runnable.key;
            if let Defined::Conflict {
                fingerprint,
                unfinished,
            } = patiently(start_timeout, async || store.define(key).await).await?
            {
                return Err(Error::conflict(format!(
                    "version {} of saga `{}` has another graph in the store (fingerprint {fingerprint}, here {}), and \
                     {unfinished} of its instances are unfinished: give this graph a new version with \
                     `#[saga(version = {}, accepts = [{}])]`",
                    key.version,
                    key.saga,
                    key.fingerprint,
                    key.version + 1,
                    key.version,
                )));
            }
        }
        config.lease = config.lease.max(store.lease_min());
        let (writers, queues): (Vec<_>, Vec<_>) = (0..store.writers().max(1))
            .map(|_| mpsc::unbounded_channel())
            .unzip();
        let inner = Arc::new(Inner {
            store,
            id: EngineId::random(),
            lease: Lease::new(config.lease),
            room: Arc::new(Semaphore::new(config.in_flight_max)),
            accepting: Arc::new(Semaphore::new(config.accepting_max)),
            config,
            counts: registry
                .names()
                .map(|saga| (saga, AtomicUsize::new(0)))
                .collect(),
            registry,
            observers,
            after_commit,
            writers,
            flights: Mutex::new(HashMap::new()),
            watchers: Mutex::new(HashMap::new()),
            backlog: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            rivals: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
            scan: Notify::new(),
            landed: Notify::new(),
            expecting: AtomicBool::new(false),
            claiming: AtomicBool::new(false),
            trouble: Mutex::new(None),
            core: Mutex::new(Vec::new()),
            stopped: AtomicBool::new(false),
            tasks: Mutex::new(JoinSet::new()),
        });
        patiently(start_timeout, async || lease::renew(&inner).await).await?;
        for queue in queues {
            inner.spawn_core("writer", writer::run(Arc::clone(&inner), queue));
        }
        inner.spawn_core("lease", lease::keep(Arc::clone(&inner)));
        inner.spawn_core("scanner", scanner::run(Arc::clone(&inner)));
        if let Some(observers) = &inner.observers {
            observers.watch(&Probe::engine(&inner));
        }
        let engine = Engine { inner };
        if let Some((age, retention)) = engine.inner.config.retention {
            engine.inner.spawn(retain(engine.clone(), age, retention));
        }
        Ok(engine)
    }
}

/// Tries again while the store is busy, as a write does, but not for ever.
async fn patiently<T>(
    patience: Duration,
    mut call: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let until = Instant::now() + patience;
    loop {
        match call().await {
            Err(error) if error.is_transient() && Instant::now() < until => {
                sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
}

impl<S: Store> fmt::Debug for EngineBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder").finish_non_exhaustive()
    }
}
