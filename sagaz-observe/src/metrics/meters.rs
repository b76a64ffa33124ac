//! Series that were looked up: those of a saga, a step, a store, and so on, together.

use super::registry::{self, Metric};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, with_recorder};
use sagaz_core::{
    StuckReason,
    observe::{AttemptKind, PublisherKind},
};
use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{PoisonError, RwLock},
};

/// The series of everything of one kind, made when it is first told of.
pub(super) struct Meters<K, M>(RwLock<HashMap<K, M>>);

impl<K: Hash + Eq + Clone, M> Meters<K, M> {
    pub(super) fn with(&self, key: &K, make: impl FnOnce(&K) -> M, count: impl FnOnce(&M)) {
        if let Some(meters) = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
        {
            return count(meters);
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        count(all.entry(key.clone()).or_insert_with(|| make(key)));
    }
}

impl<K, M> Default for Meters<K, M> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K, M> fmt::Debug for Meters<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

const METADATA: Metadata<'static> = Metadata::new("sagaz", Level::INFO, None);

fn key(metric: &Metric, labels: &[(&'static str, &str)]) -> Key {
    // In whatever order the registry has them, so that a series is one.
    let value = |name| {
        labels
            .iter()
            .find(|(label, _)| *label == name)
            .map(|(_, value)| *value)
    };
    let labels = metric
        .labels
        .iter()
        .filter_map(|name| Some((*name, value(*name)?)));
    let labels: Vec<Label> = labels
        .map(|(name, value)| Label::new(name, value.to_owned()))
        .collect();
    Key::from_parts(metric.name, labels)
}

pub(super) fn counter(metric: &Metric, labels: &[(&'static str, &str)]) -> Counter {
    with_recorder(|recorder| recorder.register_counter(&key(metric, labels), &METADATA))
}

pub(super) fn gauge(metric: &Metric, labels: &[(&'static str, &str)]) -> Gauge {
    with_recorder(|recorder| recorder.register_gauge(&key(metric, labels), &METADATA))
}

fn histogram(metric: &Metric, labels: &[(&'static str, &str)]) -> Histogram {
    with_recorder(|recorder| recorder.register_histogram(&key(metric, labels), &METADATA))
}

pub(super) struct SagaMeters {
    pub(super) accepted: Counter,
    pub(super) completed: Counter,
    pub(super) completed_after: Histogram,
    pub(super) rolled_back: Counter,
    pub(super) rolled_back_after: Histogram,
    pub(super) claimed_due: Counter,
    pub(super) taken_over: Counter,
    pub(super) claimed_suspect: Counter,
    pub(super) released: Counter,
    pub(super) lost: Counter,
    pub(super) cancel_refused: Counter,
    pub(super) deadline_refused: Counter,
}

impl SagaMeters {
    pub(super) fn new(saga: &&'static str) -> Self {
        let of = |metric| counter(metric, &[("saga", saga)]);
        let finished =
            |outcome| counter(&registry::FINISHED, &[("saga", saga), ("outcome", outcome)]);
        let after =
            |outcome| histogram(&registry::DURATION, &[("saga", saga), ("outcome", outcome)]);
        let claimed = |kind| counter(&registry::CLAIMED, &[("saga", saga), ("kind", kind)]);
        let refused = |cause| {
            counter(
                &registry::CANCEL_REFUSED,
                &[("saga", saga), ("cause", cause)],
            )
        };
        for reason in StuckReason::ALL {
            stuck(saga, reason).increment(0);
        }
        Self {
            accepted: of(&registry::ACCEPTED),
            completed: finished("completed"),
            completed_after: after("completed"),
            rolled_back: finished("rolled_back"),
            rolled_back_after: after("rolled_back"),
            claimed_due: claimed("due"),
            taken_over: claimed("taken_over"),
            claimed_suspect: claimed("suspect"),
            released: of(&registry::RELEASED),
            lost: of(&registry::LOST),
            cancel_refused: refused("request"),
            deadline_refused: refused("deadline"),
        }
    }
}

pub(super) fn stuck(saga: &'static str, reason: StuckReason) -> Counter {
    counter(
        &registry::STUCK,
        &[("saga", saga), ("reason", reason.as_str())],
    )
}

/// Of attempts of a step, or of attempts to undo it.
pub(super) struct StepMeters {
    pub(super) completed: Counter,
    pub(super) failed: Counter,
    pub(super) pending: Counter,
    pub(super) timed_out: Counter,
    pub(super) panicked: Counter,
    pub(super) dropped: Counter,
    pub(super) duration: Histogram,
    pub(super) retries: Counter,
    /// The step completed, or is compensated.
    pub(super) over: Counter,
    pub(super) over_failed: Counter,
    pub(super) over_unknown: Counter,
    pub(super) recoveries: Counter,
    pub(super) outputs_refused: Counter,
}

impl StepMeters {
    pub(super) fn new((saga, step, compensation): &(&'static str, &'static str, bool)) -> Self {
        let kind = if *compensation {
            AttemptKind::Compensation
        } else {
            AttemptKind::Step
        };
        let of_step = [("saga", *saga), ("step", *step)];
        let of_kind = [("saga", *saga), ("step", *step), ("kind", kind.as_str())];
        let with_outcome = |labels: &[_], outcome| [labels, &[("outcome", outcome)]].concat();
        let ended = |outcome| counter(&registry::ATTEMPTS, &with_outcome(&of_kind, outcome));
        let over = |outcome| {
            let metric = if *compensation {
                &registry::COMPENSATIONS
            } else {
                &registry::STEPS
            };
            counter(metric, &with_outcome(&of_step, outcome))
        };
        let of_steps_alone = |count: &dyn Fn() -> Counter| {
            if *compensation {
                Counter::noop()
            } else {
                count()
            }
        };
        Self {
            completed: ended("completed"),
            failed: ended("failed"),
            pending: ended("pending"),
            timed_out: ended("timed_out"),
            panicked: ended("panicked"),
            dropped: ended("dropped"),
            duration: histogram(&registry::ATTEMPT_DURATION, &of_kind),
            retries: counter(&registry::RETRIES, &of_kind),
            over: over(if *compensation {
                "compensated"
            } else {
                "completed"
            }),
            over_failed: over("failed"),
            over_unknown: of_steps_alone(&|| over("unknown")),
            recoveries: of_steps_alone(&|| counter(&registry::RECOVERIES, &of_step)),
            outputs_refused: of_steps_alone(&|| counter(&registry::OUTPUTS_REFUSED, &of_step)),
        }
    }
}

pub(super) struct StoreMeters {
    pub(super) batch_duration: Histogram,
    pub(super) batch_writes: Histogram,
    pub(super) lost: Counter,
    pub(super) busy: Counter,
    pub(super) transient: Counter,
    pub(super) refused: Counter,
    pub(super) fatal: Counter,
}

impl StoreMeters {
    pub(super) fn new(store: &&'static str) -> Self {
        let conflicts = |kind| counter(&registry::CONFLICTS, &[("store", store), ("kind", kind)]);
        let errors = |kind| counter(&registry::STORE_ERRORS, &[("store", store), ("kind", kind)]);
        Self {
            batch_duration: histogram(&registry::BATCH_DURATION, &[("store", store)]),
            batch_writes: histogram(&registry::BATCH_WRITES, &[("store", store)]),
            lost: conflicts("lost"),
            busy: conflicts("busy"),
            transient: errors("transient"),
            refused: errors("refused"),
            fatal: errors("fatal"),
        }
    }
}

/// Of a relay or an optimistic sender.
pub(super) struct PublisherMeters {
    pub(super) duration: Histogram,
    pub(super) delay: Histogram,
    /// Of an optimistic sender.
    pub(super) hits: Option<Counter>,
    pub(super) misses: Option<Counter>,
}

impl PublisherMeters {
    pub(super) fn new((kind, broker): &(PublisherKind, &'static str)) -> Self {
        let result = |result| {
            let is_optimistic = *kind == PublisherKind::Optimistic;
            is_optimistic.then(|| counter(&registry::OPTIMISTIC, &[("result", result)]))
        };
        Self {
            duration: histogram(&registry::PUBLISH_DURATION, &[("broker", broker)]),
            delay: histogram(&registry::PUBLISH_DELAY, &[("sender", kind.as_str())]),
            hits: result("hit"),
            misses: result("miss"),
        }
    }
}

/// Of the events of a type that are published.
pub(super) struct EventMeters {
    pub(super) published: Counter,
    pub(super) failures: Counter,
    pub(super) died: Counter,
}

impl EventMeters {
    pub(super) fn new((event_type, kind): &(String, PublisherKind)) -> Self {
        let labels = [
            ("event_type", event_type.as_str()),
            ("sender", kind.as_str()),
        ];
        Self {
            published: counter(&registry::PUBLISHED, &labels),
            failures: counter(&registry::PUBLISH_FAILURES, &labels),
            died: counter(&registry::DIED, &labels[..1]),
        }
    }
}

pub(super) struct BrokerMeters {
    pub(super) unavailable: Counter,
    pub(super) refused: Counter,
    pub(super) in_doubt: Counter,
    pub(super) misused: Counter,
}

impl BrokerMeters {
    pub(super) fn new(broker: &&'static str) -> Self {
        let errors = |kind| {
            counter(
                &registry::BROKER_ERRORS,
                &[("broker", broker), ("kind", kind)],
            )
        };
        Self {
            unavailable: errors("unavailable"),
            refused: errors("refused"),
            in_doubt: errors("in_doubt"),
            misused: errors("misused"),
        }
    }
}

/// Of the events of a type that a consumer gets.
pub(super) struct ConsumerMeters {
    pub(super) handled: Counter,
    pub(super) duplicate: Counter,
    pub(super) dead: Counter,
    pub(super) skipped: Counter,
    pub(super) refused: Counter,
    pub(super) malformed: Counter,
    pub(super) failures: Counter,
    pub(super) duration: Histogram,
}

impl ConsumerMeters {
    pub(super) fn new((consumer, event_type): &(String, String)) -> Self {
        let labels = [
            ("consumer", consumer.as_str()),
            ("event_type", event_type.as_str()),
        ];
        let over = |outcome| {
            counter(
                &registry::INBOX_EVENTS,
                &[&labels[..], &[("outcome", outcome)]].concat(),
            )
        };
        Self {
            handled: over("handled"),
            duplicate: over("duplicate"),
            dead: over("dead"),
            skipped: over("skipped"),
            refused: over("refused"),
            malformed: over("malformed"),
            failures: counter(&registry::INBOX_FAILURES, &labels),
            duration: histogram(&registry::INBOX_DURATION, &labels[..1]),
        }
    }
}

/// Of the leases of all engines.
#[derive(Debug)]
pub(super) struct LeaseMeters {
    pub(super) renewed: Counter,
    pub(super) lapsed: Counter,
    pub(super) failed: Counter,
}

impl LeaseMeters {
    pub(super) fn new() -> Self {
        let renewals = |outcome| counter(&registry::RENEWALS, &[("outcome", outcome)]);
        Self {
            renewed: renewals("renewed"),
            lapsed: renewals("lapsed"),
            failed: renewals("failed"),
        }
    }
}
