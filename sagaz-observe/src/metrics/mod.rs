//! Metrics, through the `metrics` facade: to whichever recorder the program has installed.
//!
//! Invariant: a series is looked up once for each set of labels, and then only counted up; so what is told costs some atomic
//! operations. How things stand is read when it is asked for ([`sample`]).

mod labels;
mod meters;
mod registry;
mod sample;

pub use registry::{EVENT_TYPES_MAX, Kind, METRICS, Metric, Unit, document};
pub(crate) use sample::Sampler;

use ::metrics::{SharedString, Unit as RecorderUnit, with_recorder};
use labels::{EventTypes, OTHER};
use meters::{
    BrokerMeters, ConsumerMeters, EventMeters, LeaseMeters, Meters, PublisherMeters, SagaMeters,
    StepMeters, StoreMeters,
};
use sagaz_core::{
    broker::BrokerError,
    observe::{
        AttemptError, AttemptKind, ConsumerEvent, ConsumerIdentity, Instance, Lifecycle, Observer,
        PublisherEvent, PublisherIdentity, PublisherKind,
    },
    store::{Handled, InstanceState, StoreError},
};
use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

/// Tells the recorder of the `metrics` facade what the metrics are.
pub(crate) fn describe() {
    with_recorder(|recorder| {
        for metric in METRICS {
            let unit = match metric.unit {
                Unit::Seconds => RecorderUnit::Seconds,
                Unit::Count | Unit::Bool => RecorderUnit::Count,
            };
            let name = || metric.name.into();
            let help = SharedString::const_str(metric.help);
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name(), Some(unit), help),
                Kind::Gauge => recorder.describe_gauge(name(), Some(unit), help),
                Kind::Histogram => recorder.describe_histogram(name(), Some(unit), help),
            }
        }
    });
}

/// Whether there is a recorder. The facade's own, which keeps nothing, has no size; one of somebody's that has none either is told of
/// everything but runs in process, and of how things stand.
fn is_recorded() -> bool {
    with_recorder(|recorder| size_of_val(recorder) > 0)
}

/// Counts what it is told.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    sagas: Meters<&'static str, SagaMeters>,
    /// By saga, step, and whether it is undone.
    steps: Meters<(&'static str, &'static str, bool), StepMeters>,
    leases: OnceLock<LeaseMeters>,
    stores: Meters<&'static str, StoreMeters>,
    publishers: Meters<(PublisherKind, &'static str), PublisherMeters>,
    events: Meters<(String, PublisherKind), EventMeters>,
    brokers: Meters<&'static str, BrokerMeters>,
    /// By consumer and event type.
    consumers: Meters<(String, String), ConsumerMeters>,
    published_types: EventTypes,
    /// Apart, because they are others' choice.
    consumed_types: EventTypes,
}

impl Counting {
    fn saga(&self, instance: &Instance<'_>, count: impl FnOnce(&SagaMeters)) {
        self.sagas.with(&instance.saga, SagaMeters::new, count);
    }

    fn step(&self, instance: &Instance<'_>, step: &'static str, count: impl FnOnce(&StepMeters)) {
        let step = (instance.saga, step, false);
        self.steps.with(&step, StepMeters::new, count);
    }

    fn undo(&self, instance: &Instance<'_>, step: &'static str, count: impl FnOnce(&StepMeters)) {
        let step = (instance.saga, step, true);
        self.steps.with(&step, StepMeters::new, count);
    }

    fn attempt(
        &self,
        (saga, step): (&'static str, &'static str),
        kind: AttemptKind,
        error: Option<&AttemptError<'_>>,
        took: Duration,
    ) {
        if kind == AttemptKind::Recovery {
            // Recoveries are counted when they are asked.
            return;
        }
        let step = (saga, step, kind == AttemptKind::Compensation);
        self.steps.with(&step, StepMeters::new, |meters| {
            let outcome = match error {
                None => &meters.completed,
                Some(AttemptError::TimedOut) => &meters.timed_out,
                Some(AttemptError::Panicked) => &meters.panicked,
                Some(AttemptError::Dropped) => &meters.dropped,
                Some(AttemptError::Error(error)) if error.is_pending() => &meters.pending,
                Some(_) => &meters.failed,
            };
            outcome.increment(1);
            // Of one that was dropped nobody has asked the time.
            if !matches!(error, Some(AttemptError::Dropped)) {
                meters.duration.record(took);
            }
        });
    }

    fn lease(&self) -> &LeaseMeters {
        self.leases.get_or_init(LeaseMeters::new)
    }

    fn store(&self, store: &'static str, count: impl FnOnce(&StoreMeters)) {
        self.stores.with(&store, StoreMeters::new, count);
    }

    fn store_failed(&self, store: &'static str, error: &StoreError) {
        self.store(store, |meters| {
            let kind = if error.is_transient() {
                &meters.transient
            } else if error.is_refusal() {
                &meters.refused
            } else {
                &meters.fatal
            };
            kind.increment(1);
        });
    }

    fn broker_failed(&self, broker: &'static str, error: &BrokerError) {
        self.brokers.with(&broker, BrokerMeters::new, |meters| {
            let kind = if error.is_unavailable() {
                &meters.unavailable
            } else if error.is_refusal() {
                &meters.refused
            } else if error.is_misuse() {
                &meters.misused
            } else {
                &meters.in_doubt
            };
            kind.increment(1);
        });
    }

    fn publisher(&self, publisher: &PublisherIdentity, count: impl FnOnce(&PublisherMeters)) {
        let of = (publisher.kind, publisher.broker);
        self.publishers.with(&of, PublisherMeters::new, count);
        // Those of the broker are there before it fails.
        self.brokers
            .with(&publisher.broker, BrokerMeters::new, |_| {});
    }

    fn event(&self, kind: PublisherKind, event_type: &str, count: impl FnOnce(&EventMeters)) {
        let of = (self.published_types.bounded(event_type), kind);
        self.events.with(&of, EventMeters::new, count);
    }

    fn delivery(&self, consumer: &str, event_type: &str, count: impl FnOnce(&ConsumerMeters)) {
        let of = (consumer.to_owned(), self.consumed_types.bounded(event_type));
        self.consumers.with(&of, ConsumerMeters::new, count);
    }
}

impl Observer for Counting {
    fn is_enabled(&self) -> bool {
        is_recorded()
    }

    #[expect(clippy::too_many_lines, reason = "a table: one case, one meter")]
    fn observe(&self, event: &Lifecycle<'_>) {
        match *event {
            Lifecycle::Accepted { instance } => self.saga(&instance, |it| it.accepted.increment(1)),
            Lifecycle::Claimed {
                instance,
                taken_over,
                suspect,
            } => self.saga(&instance, |it| {
                let claimed = match (suspect, taken_over) {
                    (true, _) => &it.claimed_suspect,
                    (false, true) => &it.taken_over,
                    (false, false) => &it.claimed_due,
                };
                claimed.increment(1);
            }),
            Lifecycle::AttemptCompleted {
                instance,
                step,
                kind,
                took,
                ..
            } => {
                self.attempt((instance.saga, step), kind, None, took);
            }
            Lifecycle::AttemptFailed {
                instance,
                step,
                kind,
                error,
                took,
                ..
            } => {
                self.attempt((instance.saga, step), kind, Some(&error), took);
            }
            Lifecycle::StepCompleted { instance, step, .. } => {
                self.step(&instance, step, |it| it.over.increment(1));
            }
            Lifecycle::StepFailed {
                instance,
                step,
                unknown,
            } => self.step(&instance, step, |it| {
                let over = if unknown {
                    &it.over_unknown
                } else {
                    &it.over_failed
                };
                over.increment(1);
            }),
            Lifecycle::StepRetried { instance, step, .. } => {
                self.step(&instance, step, |it| it.retries.increment(1));
            }
            Lifecycle::Compensated { instance, step, .. } => {
                self.undo(&instance, step, |it| it.over.increment(1));
            }
            Lifecycle::CompensationRetried { instance, step, .. } => {
                self.undo(&instance, step, |it| it.retries.increment(1));
            }
            Lifecycle::CompensationFailed { instance, step } => {
                self.undo(&instance, step, |it| it.over_failed.increment(1));
            }
            Lifecycle::RecoveryStarted { instance, step } => {
                self.step(&instance, step, |it| it.recoveries.increment(1));
            }
            Lifecycle::OutputRefused { instance, step, .. } => {
                self.step(&instance, step, |it| it.outputs_refused.increment(1));
            }
            Lifecycle::Finished {
                instance,
                state,
                age,
            } => self.saga(&instance, |it| {
                let (finished, duration) = if state == InstanceState::Completed {
                    (&it.completed, &it.completed_after)
                } else {
                    (&it.rolled_back, &it.rolled_back_after)
                };
                finished.increment(1);
                duration.record(age);
            }),
            Lifecycle::Stuck { instance, stuck } => {
                self.saga(&instance, |_| {
                    meters::stuck(instance.saga, stuck.reason).increment(1);
                });
            }
            Lifecycle::CancelRefused { instance, deadline } => self.saga(&instance, |it| {
                let refused = if deadline {
                    &it.deadline_refused
                } else {
                    &it.cancel_refused
                };
                refused.increment(1);
            }),
            Lifecycle::Released { instance } => self.saga(&instance, |it| it.released.increment(1)),
            Lifecycle::LeaseLost { instance } => self.saga(&instance, |it| it.lost.increment(1)),
            Lifecycle::BatchStored {
                store,
                writes,
                took,
                ..
            } => self.store(store, |it| {
                it.batch_duration.record(took);
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a batch has some hundred writes"
                )]
                it.batch_writes.record(writes as f64);
            }),
            Lifecycle::WriteConflict { store, lost, .. } => self.store(store, |it| {
                let conflicts = if lost { &it.lost } else { &it.busy };
                conflicts.increment(1);
            }),
            Lifecycle::StoreUnavailable { store, error, .. } => self.store_failed(store, error),
            Lifecycle::LeaseRenewed { lapsed: true, .. } => self.lease().lapsed.increment(1),
            Lifecycle::LeaseRenewed { .. } => self.lease().renewed.increment(1),
            Lifecycle::LeaseNotRenewed { .. } => self.lease().failed.increment(1),
            _ => {}
        }
    }

    fn publisher(&self, publisher: &PublisherIdentity, event: &PublisherEvent<'_>) {
        let kind = publisher.kind;
        match *event {
            PublisherEvent::Published {
                event_type,
                made_at,
                took,
            } => {
                self.event(kind, event_type, |it| it.published.increment(1));
                self.publisher(publisher, |it| {
                    it.duration.record(took);
                    it.delay.record(since(made_at));
                    if let Some(hits) = &it.hits {
                        hits.increment(1);
                    }
                });
            }
            PublisherEvent::Retried {
                event_type, error, ..
            } => {
                self.event(kind, event_type, |it| it.failures.increment(1));
                self.broker_failed(publisher.broker, error);
            }
            PublisherEvent::Dead {
                event_type, error, ..
            } => {
                self.event(kind, event_type, |it| {
                    it.failures.increment(1);
                    it.died.increment(1);
                });
                self.broker_failed(publisher.broker, error);
            }
            PublisherEvent::Left { events } => self.publisher(publisher, |it| {
                if let Some(misses) = &it.misses {
                    misses.increment(events as u64);
                }
            }),
            PublisherEvent::BrokerFailed { error } => self.broker_failed(publisher.broker, error),
            PublisherEvent::StoreFailed { error, .. } => self.store_failed(publisher.store, error),
            _ => {}
        }
    }

    fn consumer(&self, consumer: &ConsumerIdentity<'_>, event: &ConsumerEvent<'_>) {
        let name = consumer.consumer;
        match *event {
            ConsumerEvent::Handled {
                event_type,
                handled,
                took,
            } => {
                self.delivery(name, event_type, |it| {
                    let over = match handled {
                        Handled::Done => &it.handled,
                        Handled::Dead => &it.dead,
                        _ => &it.duplicate,
                    };
                    over.increment(1);
                    it.duration.record(took);
                });
            }
            ConsumerEvent::Failed { event_type, .. } => {
                self.delivery(name, event_type, |it| it.failures.increment(1));
            }
            // Types that nobody consumes take none of the places.
            ConsumerEvent::Skipped { event_type } => {
                let event_type = self.consumed_types.known(event_type);
                let of = (name.to_owned(), event_type);
                self.consumers
                    .with(&of, ConsumerMeters::new, |it| it.skipped.increment(1));
            }
            ConsumerEvent::Refused { event_type, .. } => {
                self.delivery(name, event_type, |it| it.refused.increment(1));
            }
            ConsumerEvent::Malformed { .. } => {
                let of = (name.to_owned(), OTHER.to_owned());
                self.consumers
                    .with(&of, ConsumerMeters::new, |it| it.malformed.increment(1));
            }
            ConsumerEvent::StoreFailed { .. } => {
                self.store(consumer.store.unwrap_or(OTHER), |it| {
                    it.transient.increment(1);
                });
            }
            ConsumerEvent::BrokerFailed { error } => {
                self.broker_failed(consumer.broker.unwrap_or(OTHER), error);
            }
            _ => {}
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long ago something was is told to people, and decides nothing"
)]
fn since(moment: SystemTime) -> Duration {
    SystemTime::now().duration_since(moment).unwrap_or_default()
}
