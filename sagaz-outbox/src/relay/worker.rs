//! The worker of a relay: carries out what the state machine says.

use super::{Inner, attend, attend::Told};
use crate::{
    error::words,
    machine::{Batch, Flight, Machine, Outcome, Verdict},
};
use futures_util::FutureExt;
use sagaz_core::{
    Event,
    broker::{Broker, BrokerError},
    observe::{PublisherEvent, Scoping, Work},
    store::{Fetched, OutboxStore, StoreError},
};
use std::{collections::BTreeSet, future, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    select,
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender},
        watch,
    },
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

/// The least time between a look and the next one that news bring about.
const NEWS_GAP: Duration = Duration::from_millis(5);

/// How soon after something was found the store is looked at again, should nobody tell of more.
const GAP_MIN: Duration = Duration::from_millis(20);

/// How soon a call that failed is made again; each time it fails, twice as late.
const BACKOFF_MIN: Duration = Duration::from_millis(20);

/// The most calls of the broker at once.
const CALLS_MAX: usize = 64;

/// A call that has ended.
enum Done {
    Published {
        flights: Vec<Flight>,
        events: Vec<Event>,
        scopes: Vec<Scoping>,
        results: Vec<Result<(), BrokerError>>,
        took: Duration,
    },
    Read(Result<Fetched, StoreError>),
    Marked(Result<Vec<u16>, StoreError>),
}

/// Runs until it is told to stop, and has stopped.
pub(super) async fn run<S: OutboxStore, B: Broker>(
    relay: Arc<Inner<S, B>>,
    mut told: UnboundedReceiver<Told>,
    release: UnboundedSender<Vec<u16>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut worker = Worker::new(Arc::clone(&relay), release);
    let mut working = Working {
        relay: Arc::clone(&relay),
        has_stopped: false,
    };
    loop {
        worker.begin_calls();
        if worker.has_stopped() {
            break;
        }
        let wake = relay.origin + worker.wake();
        let hears_news = !worker.look && !worker.reads && worker.stop_by.is_none();
        let (news_from, stop_by) = (relay.origin + worker.looked_at + NEWS_GAP, worker.stop_by);
        select! {
            // In this order: a stop is heard however much there is to do, and calls that have ended before there is more to do.
            biased;
            () = stopped(&mut stop), if stop_by.is_none() => worker.stop(),
            Some(done) = worker.calls.join_next() => {
                worker.ended(done);
                while let Some(done) = worker.calls.try_join_next() {
                    worker.ended(done);
                }
            }
            Some(told) = told.recv() => worker.hear(told),
            () = news(&relay, news_from), if hears_news => worker.look = true,
            () = sleep_until(wake) => {}
        }
    }
    working.has_stopped = true;
    // Whatever is still under way counts as never made.
    worker.calls.shutdown().await;
    let left = timeout(relay.config.lease, relay.store.release(relay.id, None));
    if let Ok(Err(error)) = left.await {
        relay.store_failed("release", &error);
    }
}

/// Says, if it is dropped in the middle, that the worker has ended although nobody has stopped it.
struct Working<S, B> {
    relay: Arc<Inner<S, B>>,
    has_stopped: bool,
}

impl<S, B> Drop for Working<S, B> {
    fn drop(&mut self) {
        if !self.has_stopped {
            self.relay.standing.died();
        }
    }
}

/// Until the store tells of events, and the last look is a while ago.
async fn news<S: OutboxStore, B: Broker>(relay: &Inner<S, B>, not_before: Instant) {
    relay.store.outbox_news().await;
    sleep_until(not_before).await;
}

/// Until the relay is shut down; one that is dropped drops this, too.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        future::pending::<()>().await;
    }
}

struct Worker<S, B> {
    relay: Arc<Inner<S, B>>,
    machine: Machine,
    calls: JoinSet<Done>,
    publishing: usize,
    reads: bool,
    /// The lanes are to be read.
    look: bool,
    looked_at: Duration,
    look_again: Duration,
    gap: Duration,
    read_backoff: Backoff,
    mark_backoff: Backoff,
    /// Lanes that are being given up: what was told of them before is no longer so.
    releasing: BTreeSet<u16>,
    release: UnboundedSender<Vec<u16>>,
    /// It stops, at the latest then.
    stop_by: Option<Duration>,
}

/// When a call may be made that has failed.
#[derive(Default)]
struct Backoff {
    not_before: Duration,
    wait: Duration,
}

impl Backoff {
    fn failed(&mut self, now: Duration, max: Duration) {
        self.wait = (self.wait * 2).clamp(BACKOFF_MIN, max.max(BACKOFF_MIN));
        self.not_before = now + self.wait;
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }
}

impl<S: OutboxStore, B: Broker> Worker<S, B> {
    fn new(relay: Arc<Inner<S, B>>, release: UnboundedSender<Vec<u16>>) -> Self {
        let config = &relay.config;
        Self {
            machine: Machine::new(relay.id, config.limits, config.rules),
            calls: JoinSet::new(),
            publishing: 0,
            reads: false,
            look: true,
            looked_at: Duration::ZERO,
            look_again: Duration::ZERO,
            gap: GAP_MIN,
            read_backoff: Backoff::default(),
            mark_backoff: Backoff::default(),
            releasing: BTreeSet::new(),
            release,
            stop_by: None,
            relay,
        }
    }

    fn begin_calls(&mut self) {
        let now = self.relay.now();
        if self.stop_by.is_none() {
            self.begin_read(now);
        }
        while self.publishing < CALLS_MAX {
            let batch = self.machine.publish(now);
            if batch.flights.is_empty() {
                break;
            }
            self.begin_publish(batch);
        }
        if now >= self.mark_backoff.not_before {
            let marks = self.machine.marks();
            if !marks.is_empty() {
                let relay = Arc::clone(&self.relay);
                self.calls.spawn(async move {
                    let call = || relay.store.mark(relay.id, &marks, relay.config.sent);
                    Done::Marked(shielded(call).await)
                });
            }
        }
        if self.stop_by.is_none() {
            let drained = self.machine.take_drained();
            if !drained.is_empty() {
                self.releasing.extend(&drained);
                // Its task ends with this one.
                let _ = self.release.send(drained);
            }
        }
    }

    fn begin_read(&mut self, now: Duration) {
        if self.reads || now < self.read_backoff.not_before {
            return;
        }
        self.look |= now >= self.look_again;
        let Some(fetch) = self.machine.read(now, self.look) else {
            return;
        };
        if !fetch.lanes.is_empty() {
            self.look = false;
            self.looked_at = now;
        }
        self.reads = true;
        let relay = Arc::clone(&self.relay);
        self.calls
            .spawn(async move { Done::Read(shielded(|| relay.store.fetch(&fetch)).await) });
    }

    fn begin_publish(&mut self, batch: Batch) {
        let Batch { flights, events } = batch;
        let relay = Arc::clone(&self.relay);
        let scopes = self.scopes(&events);
        self.publishing += 1;
        self.calls.spawn(async move {
            let began = relay.now();
            let call = async { relay.broker.publish(&events).await };
            let called = AssertUnwindSafe(call).catch_unwind();
            let results = called.await.unwrap_or_default();
            Done::Published {
                took: relay.now().saturating_sub(began),
                flights,
                events,
                scopes,
                results,
            }
        });
    }

    /// One for each event, or none at all.
    fn scopes(&self, events: &[Event]) -> Vec<Scoping> {
        let Some(observers) = &self.relay.observers else {
            return Vec::new();
        };
        let broker = self.relay.broker.system();
        let begin = |event| observers.begin(&Work::Publish { broker, event });
        events.iter().map(begin).collect()
    }

    fn ended(&mut self, done: Result<Done, JoinError>) {
        let now = self.relay.now();
        let poll = self.relay.config.poll;
        match done {
            Ok(Done::Published {
                flights,
                events,
                scopes,
                results,
                took,
            }) => {
                self.publishing -= 1;
                // A broker that panics has told nothing.
                let silence = || Err(BrokerError::timed_out(took));
                let results = results.into_iter().chain(std::iter::repeat_with(silence));
                let results: Vec<_> = results.take(flights.len()).collect();
                for (scope, result) in scopes.into_iter().zip(&results) {
                    scope.end_by(result, "published");
                }
                let told = flights.into_iter().zip(events).zip(results);
                // What is confirmed comes first: it tells that a failure is not one of all.
                let (sent, failed): (Vec<_>, Vec<_>) = told.partition(|(_, it)| it.is_ok());
                let away = failed.iter().filter_map(|(_, it)| it.as_ref().err());
                // Once, and not for each event.
                if let Some(error) = away.clone().find(|error| error.is_of_all()) {
                    self.relay.tell(&PublisherEvent::BrokerFailed { error });
                }
                for ((flight, event), result) in sent.into_iter().chain(failed) {
                    self.published(&flight, event, &result, took);
                }
            }
            Ok(Done::Read(Ok(fetched))) => {
                self.reads = false;
                self.read_backoff.succeeded();
                self.gap = if fetched.events.is_empty() {
                    (self.gap * 2).min(poll)
                } else {
                    GAP_MIN.min(poll)
                };
                // Jitter, so that relays that started together do not look together.
                self.look_again = now + self.gap.mul_f64(0.75 + fastrand::f64() / 2.0);
                self.look |= self.machine.was_read(fetched, now);
                let (events, unmarked) = self.machine.load();
                self.relay.standing.loaded(events, unmarked);
                self.relay.tell(&PublisherEvent::Load { events, unmarked });
            }
            Ok(Done::Read(Err(error))) => {
                self.reads = false;
                self.look = true;
                self.read_backoff.failed(now, poll);
                self.machine.read_failed();
                self.relay.store_failed("fetch", &error);
            }
            Ok(Done::Marked(Ok(lost))) => {
                self.mark_backoff.succeeded();
                self.machine.marked(&lost, now);
            }
            Ok(Done::Marked(Err(error))) => {
                self.mark_backoff.failed(now, poll);
                self.machine.marks_failed();
                self.relay.store_failed("mark", &error);
            }
            // Calls are shielded, and aborted only when nobody waits for them.
            Err(_) => {}
        }
    }

    fn published(
        &mut self,
        flight: &Flight,
        event: Event,
        result: &Result<(), BrokerError>,
        took: Duration,
    ) {
        let relay = &self.relay;
        let outcome = match result {
            Ok(()) => Outcome::Sent,
            Err(error) if error.is_of_all() => Outcome::Unavailable(words(error)),
            Err(error) if error.is_refusal() => Outcome::Refused(words(error)),
            Err(error) => Outcome::InDoubt(words(error)),
        };
        let watched = relay.observers.is_some();
        let about = watched.then(|| (event.event_type().to_owned(), event.time()));
        let chance = fastrand::f64();
        let verdict = self
            .machine
            .published(flight, event, outcome, chance, relay.now());
        let Some((event_type, made_at)) = about else {
            return;
        };
        let event_type = event_type.as_str();
        match (verdict, result) {
            (Verdict::Sent, _) => relay.tell(&PublisherEvent::Published {
                event_type,
                made_at,
                took,
            }),
            (Verdict::Retried { attempts, after }, Err(error)) => {
                relay.tell(&PublisherEvent::Retried {
                    event_type,
                    attempts,
                    error,
                    after,
                });
            }
            (Verdict::Dead { attempts }, Err(error)) => relay.tell(&PublisherEvent::Dead {
                event_type,
                attempts,
                error,
            }),
            _ => {}
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Attended {
                mut lanes,
                workers,
                until,
            } => {
                lanes.retain(|lane| !self.releasing.contains(&lane.index));
                let kept = self.machine.kept_lanes();
                self.machine.attended(&lanes, until);
                let share = attend::share(self.relay.store.lanes(), workers);
                let share = if self.stop_by.is_some() { 0 } else { share };
                self.machine.keep(usize::from(share));
                self.look |= self.machine.kept_lanes() > kept;
                let lanes = lanes.len();
                self.relay.standing.attended(lanes, workers, until);
                self.relay
                    .tell(&PublisherEvent::Attended { lanes, workers });
            }
            Told::Released(lanes) => {
                for lane in lanes {
                    self.releasing.remove(&lane);
                }
            }
        }
    }

    fn stop(&mut self) {
        self.stop_by = Some(self.relay.now() + self.relay.config.shutdown_grace);
        self.machine.keep(0);
    }

    fn has_stopped(&self) -> bool {
        self.stop_by
            .is_some_and(|by| self.machine.is_quiet() || self.relay.now() >= by)
    }

    /// When there is something to do, if nothing happens before.
    fn wake(&self) -> Duration {
        let now = self.relay.now();
        let read = if self.reads || self.stop_by.is_some() {
            None
        } else if self.look {
            Some(self.read_backoff.not_before).filter(|at| *at > now)
        } else {
            Some(self.look_again.max(self.read_backoff.not_before))
        };
        let due = self.machine.next_wake(now);
        let due = due.map(|at| at.max(self.read_backoff.not_before));
        let mark = Some(self.mark_backoff.not_before).filter(|at| *at > now);
        let at = [read, due, mark, self.stop_by].into_iter().flatten().min();
        at.unwrap_or(now + self.relay.config.lease)
    }
}

/// A call that panics has failed, also if it does so before there is a future.
pub(super) async fn shielded<T, F: Future<Output = Result<T, StoreError>>>(
    call: impl FnOnce() -> F,
) -> Result<T, StoreError> {
    let shielded = AssertUnwindSafe(async { call().await }).catch_unwind();
    shielded
        .await
        .unwrap_or_else(|_| Err(StoreError::transient("the store has panicked")))
}
