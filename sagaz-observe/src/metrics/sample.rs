//! How engines, relays and brokers stand, as gauges.
//!
//! Invariant: a gauge that was set is set again at each sample. If nothing tells of it any more, because its engine was shut down, it
//! is 0 where it is of this process, and not a number where it is of a store or a broker: nobody knows then.

use super::{meters, registry, registry::Metric};
use crate::watched::Watched;
use metrics::Gauge;
use sagaz_core::{
    observe::{EngineProbe, OutboxProbe},
    store::{Backlog, InstanceState, OutboxStats},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// How long a store or a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sets gauges.
#[derive(Debug)]
pub(crate) struct Sampler {
    watched: Arc<Watched>,
    gauges: Mutex<BTreeMap<Series, (Gauge, Rule)>>,
}

type Series = (&'static str, Vec<String>);

/// How a gauge is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// To what is known without asking anybody.
    Known,
    /// To what was asked for.
    Asked,
}

impl Rule {
    /// What it is when nothing tells of it.
    const fn vacant(self) -> f64 {
        match self {
            Self::Known => 0.0,
            Self::Asked => f64::NAN,
        }
    }
}

/// The gauges of one sample.
struct Sample {
    rule: Rule,
    values: BTreeMap<Series, (Metric, f64)>,
    /// Metrics that could not be asked for: what was set of them stays.
    kept: BTreeSet<&'static str>,
}

impl Sample {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            values: BTreeMap::new(),
            kept: BTreeSet::new(),
        }
    }

    /// Joins a value with what is there of the same series.
    fn put(&mut self, metric: Metric, labels: &[&str], value: f64, join: fn(f64, f64) -> f64) {
        let series = (
            metric.name,
            labels.iter().map(|&label| label.to_owned()).collect(),
        );
        let before = self.values.get(&series).map(|(_, before)| *before);
        let value = before.map_or(value, |before| join(before, value));
        self.values.insert(series, (metric, value));
    }

    /// What cannot be asked for now stays as it was: a store that is down says nothing of how much waits in it.
    fn keep(&mut self, metrics: &[Metric]) {
        self.kept.extend(metrics.iter().map(|metric| metric.name));
    }
}

fn sum(one: f64, other: f64) -> f64 {
    one + other
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a floating-point number"
)]
fn number(count: u64) -> f64 {
    count as f64
}

fn yes(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

impl Sampler {
    pub(crate) fn new(watched: Arc<Watched>) -> Self {
        Self {
            watched,
            gauges: Mutex::default(),
        }
    }

    /// Samples for ever.
    pub(crate) async fn run(&self, interval: Duration) {
        loop {
            // Nobody is asked for what nobody keeps.
            if super::is_recorded() {
                self.known();
                self.asked().await;
            }
            sleep(interval).await;
        }
    }

    /// Sets what is known without asking anybody.
    pub(crate) fn known(&self) {
        let live = self.watched.live();
        let mut sample = Sample::new(Rule::Known);
        sample.put(
            registry::BUILD_INFO,
            &[env!("CARGO_PKG_VERSION")],
            1.0,
            f64::max,
        );
        for engine in live.engines.iter().filter(|it| !it.is_stopping()) {
            sample.put(registry::ENGINES, &[], 1.0, sum);
            sample.put(
                registry::IN_FLIGHT_MAX,
                &[],
                number(engine.in_flight_max() as u64),
                sum,
            );
            let remaining = engine.lease_remaining().as_secs_f64();
            sample.put(registry::LEASE_REMAINING, &[], remaining, f64::min);
            for (saga, instances) in engine.in_flight() {
                sample.put(registry::IN_FLIGHT, &[saga], number(instances as u64), sum);
            }
        }
        for relay in live.outboxes.iter().filter_map(|it| it.relay()) {
            sample.put(registry::RELAY_LANES, &[], number(relay.lanes as u64), sum);
            sample.put(
                registry::RELAY_WORKERS,
                &[],
                f64::from(relay.workers),
                f64::max,
            );
            sample.put(
                registry::RELAY_EVENTS,
                &["waiting"],
                number(relay.events as u64),
                sum,
            );
            sample.put(
                registry::RELAY_EVENTS,
                &["unmarked"],
                number(relay.unmarked as u64),
                sum,
            );
        }
        self.set(sample);
    }

    /// Asks stores and brokers, and sets what they tell.
    pub(crate) async fn asked(&self) {
        let live = self.watched.live();
        let mut sample = Sample::new(Rule::Asked);
        for engine in live.engines.iter().filter(|it| !it.is_stopping()) {
            let store = engine.store();
            let backlog = timeout(PATIENCE, engine.backlog()).await;
            let backlog = backlog.ok().and_then(Result::ok);
            // A store that counts for long is not away for that.
            let is_up = engine.store_trouble().is_none();
            sample.put(registry::STORE_UP, &[store], yes(is_up), f64::min);
            match backlog {
                Some(backlog) => put_backlog(&mut sample, &**engine, &backlog),
                None => sample.keep(&[registry::UNFINISHED, registry::OLDEST]),
            }
        }
        for outbox in &live.outboxes {
            let stats = timeout(PATIENCE, outbox.outbox()).await;
            // One that counts for long is not away for that.
            let is_up = yes(!matches!(stats, Ok(Err(_))));
            sample.put(registry::STORE_UP, &[outbox.store()], is_up, f64::min);
            let stats = stats.ok().and_then(Result::ok);
            match stats {
                Some(stats) => put_outbox(&mut sample, &**outbox, &stats),
                None => sample.keep(&[registry::PENDING, registry::PENDING_AGE, registry::DEAD]),
            }
            let health = timeout(PATIENCE, outbox.broker_health()).await;
            let is_up = matches!(health, Ok(Ok(())));
            sample.put(
                registry::BROKER_UP,
                &[outbox.broker()],
                yes(is_up),
                f64::min,
            );
        }
        for consumer in &live.consumers {
            let is_up = yes(consumer.broker_trouble().is_none());
            sample.put(registry::BROKER_UP, &[consumer.broker()], is_up, f64::min);
            if let Some(store) = consumer.store() {
                let is_up = yes(consumer.store_trouble().is_none());
                sample.put(registry::STORE_UP, &[store], is_up, f64::min);
            }
        }
        self.set(sample);
    }

    fn set(&self, sample: Sample) {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        for (series, (gauge, rule)) in &*gauges {
            let is_told = sample.values.contains_key(series) || sample.kept.contains(series.0);
            if *rule == sample.rule && !is_told {
                gauge.set(rule.vacant());
            }
        }
        for (series, (metric, value)) in sample.values {
            let (gauge, _) = gauges.entry(series).or_insert_with_key(|(_, values)| {
                let labels = metric
                    .labels
                    .iter()
                    .copied()
                    .zip(values.iter().map(String::as_str));
                let labels: Vec<_> = labels.collect();
                (meters::gauge(&metric, &labels), sample.rule)
            });
            gauge.set(value);
        }
    }
}

fn put_backlog(sample: &mut Sample, engine: &dyn EngineProbe, backlog: &[Backlog]) {
    let unfinished = InstanceState::ALL
        .into_iter()
        .filter(|state| !state.is_final());
    let store = engine.store();
    for (saga, _) in engine.in_flight() {
        for state in unfinished.clone() {
            let labels = [store, saga, state.as_str()];
            sample.put(registry::UNFINISHED, &labels, 0.0, f64::max);
            sample.put(registry::OLDEST, &labels, 0.0, f64::max);
        }
    }
    for of in backlog {
        let labels = [store, of.saga.as_str(), of.state.as_str()];
        sample.put(
            registry::UNFINISHED,
            &labels,
            number(of.instances),
            f64::max,
        );
        sample.put(registry::OLDEST, &labels, of.oldest.as_secs_f64(), f64::max);
    }
}

fn put_outbox(sample: &mut Sample, outbox: &dyn OutboxProbe, stats: &OutboxStats) {
    let store = [outbox.store()];
    let (pending, dead) = (number(stats.pending), number(stats.dead));
    let oldest = stats.oldest.unwrap_or_default().as_secs_f64();
    sample.put(registry::PENDING, &store, pending, f64::max);
    sample.put(registry::PENDING_AGE, &store, oldest, f64::max);
    sample.put(registry::DEAD, &store, dead, f64::max);
}
