//! The durable engine: runs registered sagas on a store.
//!
//! The parts: `instance` drives one instance, through `journal`, which talks to the store by way of `writer`; `lease` keeps
//! this engine's right to do so; `scanner` takes instances from the store; `operator` acts on stuck ones.
//!
//! Deliberately not here: SQL, brokers, metrics. An engine tells its [`Observers`] what happens.

mod builder;
mod handle;
mod instance;
mod journal;
mod lease;
mod operator;
mod probe;
mod registry;
mod scanner;
mod signals;
mod start;
mod transactions;
mod writer;

pub use builder::EngineBuilder;
pub use handle::Handle;
pub use operator::{Operator, Resolution};
pub use start::{Start, StartIn};

use crate::{
    error::Error,
    event::Event,
    id::{EngineId, SagaId},
    observe::{Lifecycle, Observers},
    saga::RunsOn,
    store::{
        CancelReply, Filter, InstanceState, Page, Retention, Sender, Snapshot, StepWrite, Store,
        StoreError, TransactionOf,
    },
};
use builder::Config;
use lease::Lease;
use registry::Registry;
use signals::Signals;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, futures::OwnedNotified, mpsc},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use writer::Job;

/// Runs sagas on a store, and finishes or unwinds every instance, whichever processes die on the way.
///
/// A clone is the same engine. It works until [`shutdown`](Self::shutdown) or until its runtime ends; what it then leaves
/// unfinished, any engine with the same registration goes on with.
///
/// ```ignore
/// let engine = Engine::builder(Sqlite::open("orders.db").await?).register(OrderProcessing { .. }).start().await?;
/// let handle = engine.start::<OrderProcessing>(order).key("order-17").await?;
/// match handle.outcome().await? {
///     Outcome::Completed(outputs) => ..,
///     Outcome::RolledBack(failure) => ..,
///     Outcome::Stuck(stuck) => ..,
/// }
/// ```
pub struct Engine<S: Store> {
    inner: Arc<Inner<S>>,
}

impl<S: Store> Clone for Engine<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S: Store> fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("id", &self.inner.id)
            .finish_non_exhaustive()
    }
}

/// Is given events as soon as the store has them, to publish them without waiting for the relay.
///
/// They are stored leased to its [`sender`](Self::sender), so that the relay leaves them alone meanwhile.
pub trait AfterCommit: Send + Sync + 'static {
    /// Who publishes, and for how long the relay leaves the events to it.
    fn sender(&self) -> Sender;

    /// These events are stored, in this order. Called on the engine's own tasks: return at once.
    fn committed(&self, events: Vec<Event>);
}

/// Why the store last did not do what it was asked.
struct Trouble {
    words: String,
    /// Whether it does not answer.
    is_away: bool,
}

/// What the parts of an engine share.
struct Inner<S: Store> {
    store: S,
    id: EngineId,
    config: Config,
    registry: Registry<S>,
    observers: Option<Observers>,
    after_commit: Option<Arc<dyn AfterCommit>>,
    lease: Lease,
    /// One queue for each writer.
    writers: Vec<mpsc::UnboundedSender<Job>>,
    /// Places for instances in flight.
    room: Arc<Semaphore>,
    /// Places for instances that wait to be accepted: bounds the writers' queues.
    accepting: Arc<Semaphore>,
    flights: Mutex<HashMap<SagaId, Arc<Signals>>>,
    /// How many flights there are of each saga.
    counts: BTreeMap<&'static str, AtomicUsize>,
    watchers: Mutex<HashMap<SagaId, Arc<Notify>>>,
    /// The last claim took all that there was room for: the store may hold more.
    backlog: AtomicBool,
    /// A suspect is in flight.
    suspect: AtomicBool,
    /// Other engines with a live lease.
    rivals: AtomicU32,
    stopping: AtomicBool,
    /// Nudges the scanner.
    scan: Notify,
    /// The last instance in flight has left, or a claim has ended.
    landed: Notify,
    /// Somebody looks for what was started in transactions of callers.
    expecting: AtomicBool,
    /// A claim is under way: what it takes is in flight before it ends.
    claiming: AtomicBool,
    /// Why the store last failed; cleared when it answers.
    trouble: Mutex<Option<Trouble>>,
    /// Tasks that never end while the engine works.
    core: Mutex<Vec<(&'static str, AbortHandle)>>,
    stopped: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is consistent after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Store> Inner<S> {
    fn tell(&self, event: &Lifecycle<'_>) {
        if let Some(observers) = &self.observers {
            observers.observe(event);
        }
    }

    /// Who publishes the events of a write as soon as it is committed.
    fn sender_of(&self, steps: &[StepWrite]) -> Option<Sender> {
        let hook = self.after_commit.as_ref()?;
        let has_events = steps.iter().any(|step| !step.events.is_empty());
        has_events.then(|| hook.sender())
    }

    /// Runs a task that ends with the engine.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.reap();
        lock(&self.tasks).spawn(task);
    }

    /// Runs one of the tasks that the engine is made of.
    fn spawn_core(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = lock(&self.tasks).spawn(task);
        lock(&self.core).push((name, handle));
    }

    /// Frees what is left of tasks that have ended.
    fn reap(&self) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
    }

    /// To the writer of this instance.
    fn send(&self, id: SagaId, job: Job) {
        let writer =
            usize::try_from(id.as_uuid().as_u128() % self.writers.len() as u128).unwrap_or(0);
        // A writer ends with its engine; then the reply never comes, and its channel says so.
        let _ = self.writers[writer].send(job);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn has_rivals(&self) -> bool {
        self.rivals.load(Ordering::Relaxed) > 0
    }

    fn set_rivals(&self, rivals: u32) {
        self.rivals.store(rivals, Ordering::Relaxed);
    }

    fn store_failed(&self, error: &StoreError) {
        *lock(&self.trouble) = Some(Trouble {
            words: error.to_string(),
            is_away: true,
        });
        self.tell(&Lifecycle::StoreUnavailable {
            engine: self.id,
            store: self.store.system(),
            error,
        });
    }

    /// Somebody else holds a row: the store is there.
    fn row_is_held(&self, id: SagaId) {
        let words = format!("somebody else holds the row of instance {id} in an open transaction");
        *lock(&self.trouble) = Some(Trouble {
            words,
            is_away: false,
        });
    }

    fn store_answered(&self) {
        *lock(&self.trouble) = None;
    }

    /// An instance is in flight from now on. If it is already, then by a claim that this engine has lost meanwhile, without
    /// having noticed: that flight ends.
    fn enter(&self, saga: &'static str, id: SagaId) -> Arc<Signals> {
        let signals = Arc::new(Signals::default());
        self.count(saga, 1);
        let former = lock(&self.flights).insert(id, Arc::clone(&signals));
        if let Some(former) = former {
            former.stop_now();
        }
        if self.is_stopping() {
            signals.stop();
        }
        signals
    }

    /// The place for a suspect is free: this one has stored a step, only waits, or has left.
    fn free_suspect(&self, signals: &Signals) {
        if signals.was_suspect() {
            self.suspect.store(false, Ordering::Release);
            self.scan.notify_one();
        }
    }

    fn count(&self, saga: &str, flights: isize) {
        if let Some(count) = self.counts.get(saga) {
            count.fetch_add(flights.cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// An instance is no longer in flight.
    fn leave(
        &self,
        saga: &'static str,
        id: SagaId,
        signals: &Arc<Signals>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        self.count(saga, -1);
        let is_last = {
            let mut flights = lock(&self.flights);
            // Another flight of it may have begun since.
            if flights
                .get(&id)
                .is_some_and(|current| Arc::ptr_eq(current, signals))
            {
                flights.remove(&id);
            }
            flights.is_empty()
        };
        drop(permit);
        self.free_suspect(signals);
        self.announce(id);
        if is_last {
            self.landed.notify_waiters();
        }
        // With a backlog, some places together are worth a claim.
        if self.backlog.load(Ordering::Relaxed)
            && self.room.available_permits() >= self.config.in_flight_max.div_ceil(4)
        {
            self.scan.notify_one();
        }
    }

    fn is_in_flight(&self, id: SagaId) -> bool {
        lock(&self.flights).contains_key(&id)
    }

    /// Comes when this instance leaves the next time.
    fn watch(&self, id: SagaId) -> OwnedNotified {
        // Under the lock, so that no announcement falls in between.
        Arc::clone(lock(&self.watchers).entry(id).or_default()).notified_owned()
    }

    /// Somebody no longer wants to know.
    fn unwatch(&self, id: SagaId) {
        let mut watchers = lock(&self.watchers);
        if watchers
            .get(&id)
            .is_some_and(|watcher| Arc::strong_count(watcher) == 1)
        {
            watchers.remove(&id);
        }
    }

    fn announce(&self, id: SagaId) {
        if let Some(watcher) = lock(&self.watchers).remove(&id) {
            watcher.notify_waiters();
        }
    }

    fn signal_cancel(&self, id: SagaId) {
        if let Some(signals) = lock(&self.flights).get(&id) {
            signals.cancel();
        }
    }

    /// A cancel was requested just before its instance was given up, and would sleep with it: repeated, it wakes it.
    fn request_cancel_again(self: &Arc<Self>, id: SagaId) {
        let inner = Arc::clone(self);
        self.spawn(async move {
            while let Err(error) = inner.store.request_cancel(id).await {
                inner.store_failed(&error);
                sleep(Duration::from_secs(1)).await;
            }
            inner.scan.notify_one();
        });
    }

    /// An instance was written in a transaction that somebody else will commit, most often soon: it is looked for a few
    /// times. After that, as everything, by polling.
    fn expect_soon(self: &Arc<Self>) {
        const LOOKS_MS: [u64; 4] = [3, 15, 75, 300];
        if self.expecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(self);
        self.spawn(async move {
            for (nth, wait) in LOOKS_MS.into_iter().enumerate() {
                if nth == 1 {
                    // Those that are written from now on are looked for anew.
                    inner.expecting.store(false, Ordering::Release);
                }
                sleep(Duration::from_millis(wait)).await;
                inner.scan.notify_one();
            }
        });
    }

    fn wake_all(&self) {
        for signals in lock(&self.flights).values() {
            signals.wake();
        }
    }

    fn signal_all(&self, signal: impl Fn(&Signals)) {
        for signals in lock(&self.flights).values() {
            signal(signals);
        }
    }

    async fn all_landed(&self) {
        loop {
            let landed = self.landed.notified();
            if lock(&self.flights).is_empty() && !self.claiming.load(Ordering::Acquire) {
                return;
            }
            landed.await;
        }
    }
}

impl<S: Store> Engine<S> {
    /// Begins the configuration of an engine on this store.
    pub fn builder(store: S) -> EngineBuilder<S> {
        EngineBuilder::new(store)
    }

    /// This engine's id: new with each start.
    #[must_use]
    pub fn id(&self) -> EngineId {
        self.inner.id
    }

    /// The store that it runs on.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.inner.store
    }

    /// Starts an instance: await the result, after adding a start key with [`Start::key`].
    ///
    /// When it returns `Ok`, the instance is stored, and will be finished or unwound as long as some engine runs.
    pub fn start<G: RunsOn<S>>(&self, input: G::Input) -> Start<'_, G, S> {
        Start::new(self, input)
    }

    /// Starts an instance in a transaction of the caller's, in the store's own database: it exists if and only if that is
    /// committed, and begins then, in whichever engine has room. Await the result, after adding a start key with
    /// [`StartIn::key`].
    ///
    /// ```ignore
    /// let mut tx = pool.begin().await?;
    /// sqlx::query("INSERT INTO orders ..").execute(&mut *tx).await?;
    /// let handle = engine.start_in::<OrderProcessing>(&mut tx, order).await?;
    /// tx.commit().await?;
    /// let outcome = handle.outcome().await?;
    /// ```
    ///
    /// A start with a key that another transaction has just used waits until that one has ended.
    pub fn start_in<'e, G: RunsOn<S>>(
        &'e self,
        tx: &'e mut impl TransactionOf<S>,
        input: G::Input,
    ) -> StartIn<'e, G, impl TransactionOf<S>, S> {
        StartIn::new(self, tx, input)
    }

    /// The instance that was started with this key.
    pub async fn find<G: RunsOn<S>>(&self, start_key: &str) -> Result<Option<Handle<G, S>>, Error> {
        let registration = self.inner.registry.get::<G>()?;
        let id = self
            .inner
            .store
            .find(&registration.key.saga, start_key)
            .await?;
        Ok(id.map(|id| Handle::new(self.clone(), id, None)))
    }

    /// A handle of an instance whose id is known.
    pub async fn handle<G: RunsOn<S>>(&self, id: SagaId) -> Result<Handle<G, S>, Error> {
        let registration = self.inner.registry.get::<G>()?;
        let snapshot = self
            .inner
            .store
            .load(id)
            .await?
            .ok_or_else(|| Error::not_found(id))?;
        let (stored, asked) = (&snapshot.summary.definition.saga, &registration.key.saga);
        if stored != asked {
            return Err(Error::invalid(format!(
                "instance {id} is one of `{stored}`, not of `{asked}`"
            )));
        }
        Ok(Handle::new(self.clone(), id, None))
    }

    /// Asks to cancel an instance. Before its pivot it is undone, after it the request is refused; a pivot that may have
    /// had its effect decides first, and so does a last step that nothing takes back. [`Handle::outcome`] tells what came of it.
    pub async fn cancel(&self, id: SagaId) -> Result<CancelReply, Error> {
        let reply = self.inner.store.request_cancel(id).await?;
        if reply == CancelReply::Requested {
            self.inner.signal_cancel(id);
            self.inner.scan.notify_one();
        }
        Ok(reply)
    }

    /// Everything that is stored of an instance.
    pub async fn inspect(&self, id: SagaId) -> Result<Option<Snapshot>, Error> {
        Ok(self.inner.store.load(id).await?)
    }

    /// Instances, newest first.
    pub async fn list(&self, filter: Filter) -> Result<Page, Error> {
        Ok(self.inner.store.list(&filter).await?)
    }

    /// How many instances of each saga are in each state.
    pub async fn count(&self) -> Result<Vec<(String, InstanceState, u64)>, Error> {
        Ok(self.inner.store.count().await?)
    }

    /// Removes instances that completed or rolled back longer ago than `age`, and returns how many.
    pub async fn prune(&self, age: Duration) -> Result<u64, Error> {
        self.remove(age, Retention::Delete).await
    }

    /// Moves instances that completed or rolled back longer ago than `age` to the store's archive, and returns how many. They
    /// are no longer listed, counted or found, and their start keys are free again; [`archived`](Self::archived) still shows
    /// them, and the store's documentation says how people query the archive.
    pub async fn archive(&self, age: Duration) -> Result<u64, Error> {
        self.remove(age, Retention::Archive).await
    }

    /// Everything that is stored of an instance in the archive.
    pub async fn archived(&self, id: SagaId) -> Result<Option<Snapshot>, Error> {
        Ok(self.inner.store.archived(id).await?)
    }

    async fn remove(&self, age: Duration, retention: Retention) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            let batch = self.inner.store.prune(age, PRUNE_BATCH, retention).await?;
            removed += batch;
            if batch < u64::from(PRUNE_BATCH) {
                return Ok(removed);
            }
        }
    }

    /// Acts on stuck instances, in the name of `who` and for the reason `why`: both are stored.
    pub fn operator(&self, who: impl Into<String>, why: impl Into<String>) -> Operator<'_, S> {
        Operator::new(self, who.into(), why.into())
    }

    /// How many instances this engine has in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        lock(&self.inner.flights).len()
    }

    /// Stops in good order: takes nothing new, lets running attempts end within the grace period of the builder, gives
    /// every instance up, and ends the lease, so that others go on at once.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.stopping.store(true, Ordering::Release);
        inner.signal_all(Signals::stop);
        inner.scan.notify_one();
        if timeout(inner.config.shutdown_grace, inner.all_landed())
            .await
            .is_err()
        {
            inner.signal_all(Signals::stop_now);
            // A store that does not answer is not waited for: the lease will end by itself.
            let _ = timeout(inner.config.shutdown_grace, inner.all_landed()).await;
        }
        self.abort();
        let _ = timeout(inner.config.shutdown_grace, inner.store.retire(inner.id)).await;
    }

    /// Stops at once, in the middle of everything, as a crash does. For tests of what a crash leaves behind.
    pub fn abort(&self) {
        let inner = &self.inner;
        inner.stopping.store(true, Ordering::Release);
        inner.stopped.store(true, Ordering::Release);
        lock(&inner.tasks).abort_all();
        // Whoever waits for an outcome looks for it in the store from now on.
        lock(&inner.flights).clear();
        for watcher in std::mem::take(&mut *lock(&inner.watchers)).into_values() {
            watcher.notify_waiters();
        }
    }
}

const PRUNE_BATCH: u32 = 500;

async fn retain<S: Store>(engine: Engine<S>, age: Duration, retention: Retention) {
    let interval = (age / 10).clamp(Duration::from_secs(1), Duration::from_mins(5));
    loop {
        sleep(interval.mul_f64(0.5 + fastrand::f64())).await;
        // The next round tries again.
        let _ = engine.remove(age, retention).await;
    }
}
