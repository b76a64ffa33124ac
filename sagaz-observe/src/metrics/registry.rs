//! The registry: every metric of sagaz, with its unit, its labels and what it means.
//!
//! Invariant: nothing is recorded that is not listed here, and everything that is listed is recorded; `docs/metrics.md`, the
//! dashboards and the alerts in `deploy/` name no other metric. (tests of this crate and of the facade)
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, and `_total` for what only grows. Labels have few
//! values: names of sagas and steps are in the code, words are listed here, and of event types, which others may send, no more
//! than [`EVENT_TYPES_MAX`] each way are told apart.

use std::fmt::{self, Write};

/// How many event types a process tells apart, of those published and of those consumed each; those that come after are `other`.
pub const EVENT_TYPES_MAX: usize = 200;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values in buckets: `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl Kind {
    /// The word for it in Prometheus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric's values are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
    /// Yes (1) or no (0).
    Bool,
}

impl Unit {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Bool => "0 or 1",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// What it is of; the heading of its section in the documentation.
    pub group: &'static str,
    /// Its name in Prometheus.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What its values are in.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
    /// Of a histogram: the upper bounds of its buckets.
    pub buckets: &'static [f64],
}

/// From a quarter of a millisecond to a minute.
const CALL: &[f64] = &[
    0.000_25, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];
/// From a tenth of a millisecond to an hour: a step may be a computation, or a courier's answer.
const ATTEMPT: &[f64] = &[
    0.000_1, 0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0,
];
/// From a millisecond to a week: instances may wait for days.
const LIFE: &[f64] = &[
    0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0, 604_800.0,
];
const WRITES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

macro_rules! registry {
    ($(
        $group:literal {
            $($constant:ident: $kind:ident($($buckets:ident)?) $unit:ident $name:literal [$($label:literal),*] $help:literal;)*
        }
    )*) => {
        $($(
            pub(crate) const $constant: Metric = Metric {
                group: $group,
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &[$($label),*],
                help: $help,
                buckets: registry!(@buckets $($buckets)?),
            };
        )*)*
        /// Every metric, in the order of the documentation.
        pub const METRICS: &[Metric] = &[$($($constant),*),*];
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

registry! {
    "Instances" {
        ACCEPTED: Counter() Count "sagaz_instances_accepted_total" ["saga"]
            "Instances that `start` stored by this process. Those of `start_in` are the caller's to commit, and are in `sagaz_instances_claimed_total` when they are claimed.";
        FINISHED: Counter() Count "sagaz_instances_finished_total" ["saga", "outcome"]
            "Instances that this process brought to their end, runs in process included: `completed` or `rolled_back`. A rollback is the saga at work, and no fault by itself.";
        STUCK: Counter() Count "sagaz_instances_stuck_total" ["saga", "reason"]
            "Instances that came to need an operator, by the reason; runs in process included.";
        DURATION: Histogram(LIFE) Seconds "sagaz_instance_duration_seconds" ["saga", "outcome"]
            "From the acceptance of an instance to its end, waits and other processes included.";
        IN_FLIGHT: Gauge() Count "sagaz_instances_in_flight" ["saga"]
            "Instances that this process is working on.";
        IN_FLIGHT_MAX: Gauge() Count "sagaz_instances_in_flight_max" []
            "How many instances this process works on at most.";
        UNFINISHED: Gauge() Count "sagaz_instances_unfinished" ["store", "saga", "state"]
            "Instances in the store that have not ended: `pending`, `executing`, `compensating`, `stuck`. Every process on a store tells the same: take the maximum.";
        OLDEST: Gauge() Seconds "sagaz_instances_oldest_age_seconds" ["store", "saga", "state"]
            "The age of the oldest instance in the store that has not ended. Every process on a store tells the same: take the maximum.";
        CANCEL_REFUSED: Counter() Count "sagaz_instances_cancel_refused_total" ["saga", "cause"]
            "Requests to cancel (`request`) and deadlines (`deadline`) that came after the pivot, and changed nothing.";
    }
    "Steps and compensations" {
        ATTEMPTS: Counter() Count "sagaz_step_attempts_total" ["saga", "step", "kind", "outcome"]
            "Attempts that ended, of steps (`kind=\"step\"`) and of their compensations (`kind=\"compensation\"`): `completed`, `failed`, `pending` (the work is under way elsewhere), `timed_out`, `panicked` or `dropped`.";
        ATTEMPT_DURATION: Histogram(ATTEMPT) Seconds "sagaz_step_attempt_duration_seconds" ["saga", "step", "kind"]
            "How long attempts ran.";
        RETRIES: Counter() Count "sagaz_step_retries_total" ["saga", "step", "kind"]
            "Waits for another attempt that began.";
        STEPS: Counter() Count "sagaz_steps_total" ["saga", "step", "outcome"]
            "Steps that are over: `completed`, `failed` (surely without an effect), `unknown` (it may have had its effect).";
        COMPENSATIONS: Counter() Count "sagaz_compensations_total" ["saga", "step", "outcome"]
            "Compensations that are over: `compensated`, or `failed` for good, which makes the instance stuck.";
        RECOVERIES: Counter() Count "sagaz_step_recoveries_total" ["saga", "step"]
            "Times that the recovery of a step after the pivot was asked.";
        OUTPUTS_REFUSED: Counter() Count "sagaz_step_outputs_refused_total" ["saga", "step"]
            "Outputs that could not be stored: too large, or not to be serialized.";
    }
    "Engines and leases" {
        ENGINES: Gauge() Count "sagaz_engines" []
            "Engines of this process that are running.";
        CLAIMED: Counter() Count "sagaz_instances_claimed_total" ["saga", "kind"]
            "Instances that this process took from the store: because they were `due` (new ones too), `taken_over` from an engine that died, or as a `suspect`, which may be killing its processes and is in neither of the others.";
        RELEASED: Counter() Count "sagaz_instances_released_total" ["saga"]
            "Instances that were given up in good order: to wait for a wake-up, or for a shutdown.";
        LOST: Counter() Count "sagaz_instances_lost_total" ["saga"]
            "Instances that another engine had taken, so that work on them here was dropped.";
        RENEWALS: Counter() Count "sagaz_lease_renewals_total" ["outcome"]
            "Renewals of this process's leases: `renewed`, `lapsed` (too late, others may have taken over), `failed` (the store did not answer).";
        LEASE_REMAINING: Gauge() Seconds "sagaz_lease_remaining_seconds" []
            "How long attempts may still begin without another renewal; of several engines the least.";
    }
    "Stores" {
        STORE_UP: Gauge() Bool "sagaz_store_up" ["store"]
            "Whether the store answered the last call of this process's engine, what consumers asked it a moment ago, and how the outbox of a relay or an optimistic sender stands: that may take long. Of two stores of one kind, the one that does not.";
        BATCH_DURATION: Histogram(CALL) Seconds "sagaz_store_batch_duration_seconds" ["store"]
            "From the first try of a batch of writes until the store had it, repeated tries included.";
        BATCH_WRITES: Histogram(WRITES) Count "sagaz_store_batch_writes" ["store"]
            "How many writes a batch had: more when more instances are at work.";
        CONFLICTS: Counter() Count "sagaz_store_conflicts_total" ["store", "kind"]
            "Writes that the store did not apply: `lost` to another owner, or `busy` because somebody else holds the row.";
        STORE_ERRORS: Counter() Count "sagaz_store_errors_total" ["store", "kind"]
            "Calls of the store that failed: `transient` ones are made again, `refused` is a row that is unacceptable for good, `fatal` a store that cannot be used. Of a consumer all are `transient`.";
    }
    "Outbox" {
        PENDING: Gauge() Count "sagaz_outbox_pending" ["store"]
            "Events that wait to be published. Every relay and optimistic sender on a store tells the same: take the maximum.";
        PENDING_AGE: Gauge() Seconds "sagaz_outbox_oldest_age_seconds" ["store"]
            "How long the oldest of them has waited.";
        DEAD: Gauge() Count "sagaz_outbox_dead_letters" ["store"]
            "Dead letters that nobody has decided on: events that no broker took or no consumer on this store could handle.";
        PUBLISHED: Counter() Count "sagaz_outbox_published_total" ["event_type", "sender"]
            "Events that the broker has confirmed, published by the `relay` or, right after their commit, by the `optimistic` sender.";
        PUBLISH_FAILURES: Counter() Count "sagaz_outbox_publish_failures_total" ["event_type", "sender"]
            "Attempts to publish an event that the broker refused or did not confirm.";
        DIED: Counter() Count "sagaz_outbox_dead_letters_total" ["event_type"]
            "Events that no broker took, and that became dead letters. Those that consumers gave up are in `sagaz_inbox_events_total`, as `dead`.";
        PUBLISH_DURATION: Histogram(CALL) Seconds "sagaz_outbox_publish_duration_seconds" ["broker"]
            "How long the broker took to confirm.";
        PUBLISH_DELAY: Histogram(LIFE) Seconds "sagaz_outbox_delay_seconds" ["sender"]
            "From the making of an event to the broker's confirmation, by the clocks of the two processes.";
        OPTIMISTIC: Counter() Count "sagaz_outbox_optimistic_total" ["result"]
            "Events that were given to the optimistic sender: published (`hit`), or left to the relay (`miss`).";
        RELAY_LANES: Gauge() Count "sagaz_relay_lanes" []
            "Lanes that this process's relays own.";
        RELAY_WORKERS: Gauge() Count "sagaz_relay_workers" []
            "Relays that share the lanes, those of other processes included.";
        RELAY_EVENTS: Gauge() Count "sagaz_relay_events" ["state"]
            "Events in the memory of this process's relays: `waiting` to be published or confirmed, or `unmarked`, which are published and not yet stored as sent.";
    }
    "Inbox and consumers" {
        INBOX_EVENTS: Counter() Count "sagaz_inbox_events_total" ["consumer", "event_type", "outcome"]
            "Deliveries that are over: `handled`, `duplicate` (handled before), `dead` (given up), `skipped` (of no type that is consumed), `refused` (cannot even be kept here), `malformed` (no event). Of what is skipped only types that were consumed before are told apart.";
        INBOX_FAILURES: Counter() Count "sagaz_inbox_failures_total" ["consumer", "event_type"]
            "Attempts to handle an event that failed.";
        INBOX_DURATION: Histogram(ATTEMPT) Seconds "sagaz_inbox_duration_seconds" ["consumer"]
            "How long it took to handle an event, its retries included.";
    }
    "Brokers" {
        BROKER_UP: Gauge() Bool "sagaz_broker_up" ["broker"]
            "Whether the broker can be reached, takes events from relays and senders, and gives them to consumers.";
        BROKER_ERRORS: Counter() Count "sagaz_broker_errors_total" ["broker", "kind"]
            "What brokers did not do: `unavailable`, `refused` an event, `in_doubt` (not confirmed in time), `misused` (only another configuration helps).";
    }
    "Process" {
        BUILD_INFO: Gauge() Count "sagaz_build_info" ["version"]
            "1, with the version of sagaz.";
    }
}

/// The registry as a page.
#[must_use]
pub fn document() -> String {
    let mut page = String::from(HEAD);
    let mut group = "";
    for metric in METRICS {
        if metric.group != group {
            group = metric.group;
            let _ = write!(page, "\n## {group}\n\n{TABLE}");
        }
        let _ = writeln!(page, "{}", Row(metric));
    }
    page
}

const HEAD: &str = "# Metrics

Every metric of sagaz. This page is made from the registry in `sagaz-observe/src/metrics/registry.rs`
(`UPDATE_EXPECT=1 cargo test --all-features --test observe deploy`); do not edit it.

A histogram has the series `_bucket`, `_sum` and `_count`, and may miss a sample that is taken at the moment of a scrape:
the buffer of its exporter loses it. Counters miss nothing. The counters of a saga, a step, an event type and so on appear together,
with 0, when the first of them counts: a saga, step or event type that nothing has happened to has none. What is asked of a store
or a broker is `NaN` in a process in which nothing tells of it any more; what is the process's own is 0 then.

Labels have few values: sagas, steps and consumers are named in the code, and of event types no more than 200 of those published
and 200 of those consumed are told apart in a process; those that come after are `other`.
";

const TABLE: &str = "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n";

struct Row<'m>(&'m Metric);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metric {
            name,
            kind,
            unit,
            labels,
            help,
            ..
        } = self.0;
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, unit, labels) = (kind.as_str(), unit.as_str(), labels.join(", "));
        write!(f, "| `{name}` | {kind} | {unit} | {labels} | {help} |")
    }
}
