//! The optimistic sender: publishes the events of this process right after their commit, from memory.
//!
//! Invariants: only an event that is the first of its key is published, so that none overtakes another; whatever is not surely
//! published is the relay's, at once or at the latest when the lease of the event ends; no more events are kept than configured.

use futures_util::{FutureExt, future::BoxFuture};
use sagaz_core::{
    AfterCommit, Event, EventId, Retry,
    broker::{Broker, BrokerError},
    observe::{
        Observer, Observers, OutboxProbe, Probe, PublisherEvent, PublisherIdentity, PublisherKind,
        RelayStanding, Scoping, Work,
    },
    store::{OutboxStats, OutboxStore, Place, Sender, SentEvents, StoreError, WorkerId},
};
use std::{
    collections::BTreeMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout, timeout_at},
};

/// Publishes events right after their commit, so that nobody waits for the relay's next look. The relay still runs, somewhere:
/// it publishes what this one could not.
///
/// ```no_run
/// # async fn example<B: sagaz_core::broker::Broker>(store: sagaz_core::store::memory::Memory, broker: B) -> Result<(), Box<dyn std::error::Error>> {
/// use sagaz_core::Engine;
/// use sagaz_outbox::Optimistic;
/// use std::sync::Arc;
///
/// let optimistic = Arc::new(Optimistic::builder(store.clone(), broker).start());
/// let engine = Engine::builder(store).after_commit(optimistic.clone()).start().await?;
/// // .. and when the program ends
/// engine.shutdown().await;
/// optimistic.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct Optimistic {
    sender: Sender,
    jobs: mpsc::UnboundedSender<Job>,
    /// Events that wait to be published, or left to the relay.
    queued: Arc<AtomicUsize>,
    queue_max: usize,
    shutdown_grace: Duration,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
    observers: Option<Observers>,
    identity: PublisherIdentity,
}

/// What to do with events that were committed.
enum Job {
    Publish(Vec<Event>, Instant),
    /// There is no room for them.
    Leave(Vec<EventId>),
}

/// Configures an [`Optimistic`] sender: [`Optimistic::builder`].
#[must_use]
pub struct OptimisticBuilder<S, B> {
    store: S,
    broker: B,
    lease: Duration,
    queue_max: usize,
    batch_max: usize,
    calls_max: usize,
    sent: SentEvents,
    shutdown_grace: Duration,
    observers: Vec<Arc<dyn Observer>>,
}

impl<S: OutboxStore, B: Broker> OptimisticBuilder<S, B> {
    /// How long the relay leaves an event to this sender. Should this process die, its events are as late. Default 5 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_millis(10));
        self
    }

    /// How many events wait to be published at most; what comes beyond is left to the relay. Default 1,000.
    pub fn queue_max(mut self, events: usize) -> Self {
        self.queue_max = events;
        self
    }

    /// How many events go to the broker in one call at most. Default 256.
    pub fn batch_max(mut self, events: usize) -> Self {
        self.batch_max = events.max(1);
        self
    }

    /// What becomes of events that were sent: as the relay's setting. Default: they are moved to the archive.
    pub fn sent_events(mut self, sent: SentEvents) -> Self {
        self.sent = sent;
        self
    }

    /// How long [`Optimistic::shutdown`] goes on publishing. Default 5 s.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// Is told what the sender does, beside other observers and that of the process.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Begins to work, on the runtime that this is called on.
    #[must_use]
    pub fn start(mut self) -> Optimistic {
        let sender = Sender {
            id: WorkerId::random(),
            lease: self.lease,
        };
        let (jobs, to_do) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let queued = Arc::new(AtomicUsize::new(0));
        let (queue_max, shutdown_grace) = (self.queue_max, self.shutdown_grace);
        let worker = Arc::new(Worker {
            sender,
            queued: Arc::clone(&queued),
            observers: Observers::with_default(std::mem::take(&mut self.observers)),
            settings: self,
        });
        if let Some(observers) = &worker.observers {
            observers.watch(&Probe::outbox(&worker));
        }
        Optimistic {
            sender,
            jobs,
            queued,
            queue_max,
            shutdown_grace,
            stop,
            observers: worker.observers.clone(),
            identity: worker.identity(),
            task: Mutex::new(Some(tokio::spawn(run(worker, to_do, stopped)))),
        }
    }
}

impl Optimistic {
    /// Configures a sender.
    pub fn builder<S: OutboxStore, B: Broker>(store: S, broker: B) -> OptimisticBuilder<S, B> {
        OptimisticBuilder {
            store,
            broker,
            lease: Duration::from_secs(5),
            queue_max: 1_000,
            batch_max: 256,
            calls_max: 8,
            sent: SentEvents::default(),
            shutdown_grace: Duration::from_secs(5),
            observers: Vec::new(),
        }
    }

    /// Publishes what waits, within the configured grace, and stops. Call it when the engine is shut down: what is committed
    /// later waits for the relay until its lease ends.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let take = || {
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.take()
        };
        let task = take();
        if let Some(mut task) = task
            && timeout(self.shutdown_grace, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

impl AfterCommit for Optimistic {
    fn sender(&self) -> Sender {
        self.sender
    }

    fn committed(&self, events: Vec<Event>) {
        let queued = self.queued.fetch_add(events.len(), Ordering::Relaxed) + events.len();
        let job = if queued <= self.queue_max {
            Job::Publish(events, Instant::now())
        } else if queued <= self.queue_max.saturating_mul(4).saturating_add(1_000) {
            Job::Leave(events.iter().map(|it| it.event_id().clone()).collect())
        } else {
            // Too many even for that: the relay has them when their lease ends.
            return self.dropped(events.len());
        };
        let count = job.len();
        if self.jobs.send(job).is_err() {
            // It has been shut down, and nobody is there to take it.
            self.dropped(count);
        }
    }
}

impl Optimistic {
    /// These are the relay's when their lease ends.
    fn dropped(&self, events: usize) {
        self.queued.fetch_sub(events, Ordering::Relaxed);
        if let Some(observers) = &self.observers {
            observers.publisher(&self.identity, &PublisherEvent::Left { events });
        }
    }
}

impl Job {
    fn len(&self) -> usize {
        match self {
            Self::Publish(events, _) => events.len(),
            Self::Leave(ids) => ids.len(),
        }
    }
}

impl Drop for Optimistic {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

impl fmt::Debug for Optimistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Optimistic")
            .field("sender", &self.sender)
            .field("queued", &self.queued)
            .finish_non_exhaustive()
    }
}

impl<S, B> fmt::Debug for OptimisticBuilder<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptimisticBuilder")
            .field("lease", &self.lease)
            .field("queue_max", &self.queue_max)
            .finish_non_exhaustive()
    }
}

/// Places in the queue, which are free again when this is dropped.
struct Room(Arc<AtomicUsize>, usize);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

struct Worker<S, B> {
    sender: Sender,
    queued: Arc<AtomicUsize>,
    observers: Option<Observers>,
    settings: OptimisticBuilder<S, B>,
}

impl<S: OutboxStore, B: Broker> OutboxProbe for Worker<S, B> {
    fn store(&self) -> &'static str {
        self.settings.store.system()
    }

    fn broker(&self) -> &'static str {
        self.settings.broker.system()
    }

    fn relay(&self) -> Option<RelayStanding> {
        None
    }

    fn outbox(&self) -> BoxFuture<'_, Result<OutboxStats, StoreError>> {
        Box::pin(self.settings.store.outbox_stats())
    }

    fn broker_health(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(self.settings.broker.health())
    }
}

impl<S, B> fmt::Debug for Worker<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}

async fn run<S: OutboxStore, B: Broker>(
    worker: Arc<Worker<S, B>>,
    mut to_do: mpsc::UnboundedReceiver<Job>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut calls = JoinSet::new();
    while let Some(first) = next(&mut to_do, &mut stopped).await {
        let (batch, leave) = worker.gather(first, &mut to_do);
        // Two batches never hold heads of one key: the second one's is not the first of its key.
        while calls.len() >= worker.settings.calls_max {
            let _ = calls.join_next().await;
        }
        while calls.try_join_next().is_some() {}
        calls.spawn(Arc::clone(&worker).carry_out(batch, leave));
    }
    while calls.join_next().await.is_some() {}
}

/// The next job; `None` when it is stopped and nothing waits.
async fn next(
    to_do: &mut mpsc::UnboundedReceiver<Job>,
    stopped: &mut watch::Receiver<bool>,
) -> Option<Job> {
    tokio::select! {
        // Jobs first: what waits when it is stopped is still published.
        biased;
        job = to_do.recv() => job,
        _ = stopped.wait_for(|stop| *stop) => None,
    }
}

/// Events to publish, and when the first of them was committed.
type Batch = (Vec<Event>, Instant);

impl<S: OutboxStore, B: Broker> Worker<S, B> {
    /// What goes with the first job: what has queued up.
    fn gather(
        &self,
        first: Job,
        to_do: &mut mpsc::UnboundedReceiver<Job>,
    ) -> (Batch, Vec<EventId>) {
        let (mut events, mut leave, mut since) = (Vec::new(), Vec::new(), Instant::now());
        let mut job = Some(first);
        while let Some(next) = job {
            match next {
                Job::Publish(more, at) => {
                    since = since.min(at);
                    events.extend(more);
                }
                Job::Leave(ids) => leave.extend(ids),
            }
            if events.len() + leave.len() >= self.settings.batch_max {
                break;
            }
            job = to_do.try_recv().ok();
        }
        ((events, since), leave)
    }

    async fn carry_out(self: Arc<Self>, (events, since): Batch, leave: Vec<EventId>) {
        let count = events.len() + leave.len();
        // Later the relay may publish them as well.
        let until = since + self.sender.lease / 5 * 4;
        let _room = Room(Arc::clone(&self.queued), count);
        // Counted as they are told, for the time may be over before the store is told.
        let published = AtomicUsize::new(0);
        let _ = timeout_at(until, self.publish(events, leave, until, &published)).await;
        let left = count - published.into_inner();
        if left > 0 {
            self.tell(&PublisherEvent::Left { events: left });
        }
    }

    async fn publish(
        &self,
        events: Vec<Event>,
        leave: Vec<EventId>,
        until: Instant,
        published: &AtomicUsize,
    ) {
        let store = &self.settings.store;
        let ids = events.iter().map(|it| it.event_id().clone());
        let ids: Vec<EventId> = ids.chain(leave).collect();
        let heads = match store.heads(self.sender.id, &ids).await {
            Ok(heads) => heads,
            // The relay has them when their lease ends.
            Err(error) => return self.store_failed("heads", &error),
        };
        let mut heads: BTreeMap<EventId, Place> = heads.into_iter().collect();
        let (events, places): (Vec<Event>, Vec<Place>) = events
            .into_iter()
            .filter_map(|event| heads.remove(event.event_id()).map(|place| (event, place)))
            .unzip();
        let mut settled: Vec<(Place, bool)> = heads.into_values().map(|it| (it, false)).collect();
        if !events.is_empty() {
            let results = self.call_broker(&events, until).await;
            let sent = results.iter().filter(|is_sent| **is_sent).count();
            published.fetch_add(sent, Ordering::Relaxed);
            settled.extend(places.into_iter().zip(results));
        }
        self.settle(&settled).await;
    }

    /// Whether the broker surely has each event.
    async fn call_broker(&self, events: &[Event], until: Instant) -> Vec<bool> {
        let began = Instant::now();
        let broker = self.settings.broker.system();
        let observers = self.observers.as_ref();
        let scope_of = |event| Scoping::begin(observers, &Work::Publish { broker, event });
        let scopes: Vec<Scoping> = events.iter().map(scope_of).collect();
        // Time is left to tell the store.
        let by = until - self.sender.lease / 5;
        let call = async { self.settings.broker.publish(events).await };
        let called = AssertUnwindSafe(call).catch_unwind();
        let results = timeout_at(by, called).await.map(Result::unwrap_or_default);
        let results = results.unwrap_or_default();
        let took = began.elapsed();
        let silence = || Err(BrokerError::timed_out(took));
        let results = results.into_iter().chain(std::iter::repeat_with(silence));
        let told = events.iter().zip(scopes).zip(results);
        // A broker that is away is told of once, and not for each event.
        let mut is_told = false;
        let told = told.map(|((event, scope), result)| {
            scope.end_by(&result, "published");
            let is_away = result.as_ref().err().is_some_and(BrokerError::is_of_all);
            if !(is_away && is_told) {
                self.tell_result(event, &result, took);
            }
            is_told |= is_away;
            result.is_ok()
        });
        told.collect()
    }

    fn tell_result(&self, event: &Event, result: &Result<(), BrokerError>, took: Duration) {
        let event_type = event.event_type();
        self.tell(&match result {
            Ok(()) => PublisherEvent::Published {
                event_type,
                made_at: event.time(),
                took,
            },
            Err(error) if error.is_of_all() => PublisherEvent::BrokerFailed { error },
            Err(error) => PublisherEvent::Retried {
                event_type,
                attempts: 0,
                error,
                after: Duration::ZERO,
            },
        });
    }

    fn tell(&self, event: &PublisherEvent<'_>) {
        if let Some(observers) = &self.observers {
            observers.publisher(&self.identity(), event);
        }
    }

    fn identity(&self) -> PublisherIdentity {
        let (store, broker) = (self.settings.store.system(), self.settings.broker.system());
        PublisherIdentity::new(PublisherKind::Optimistic, store, broker)
    }

    /// Tells the store, for as long as that is of use: what it is not told is published again.
    async fn settle(&self, heads: &[(Place, bool)]) {
        if heads.is_empty() {
            return;
        }
        let settings = &self.settings;
        for attempt in 1.. {
            let call = settings
                .store
                .settle_heads(self.sender.id, heads, settings.sent);
            let Err(error) = call.await else { return };
            self.store_failed("settle_heads", &error);
            if !error.is_transient() {
                return;
            }
            sleep(Retry::BACKOFF.delay(attempt, fastrand::f64()) / 10).await;
        }
    }

    fn store_failed(&self, call: &'static str, error: &StoreError) {
        self.tell(&PublisherEvent::StoreFailed { call, error });
    }
}
