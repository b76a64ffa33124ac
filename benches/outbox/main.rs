//! The relay from PostgreSQL to brokers against floors in the same run.
//!
//! `SAGAZ_TEST_POSTGRES_URL=postgres://.. cargo bench --features postgres,outbox --bench outbox`, with `kafka`, `rabbitmq`,
//! `nats` or `redis` among the features and `SAGAZ_TEST_KAFKA_URL`, `SAGAZ_TEST_RABBITMQ_URL`, `SAGAZ_TEST_NATS_URL` or
//! `SAGAZ_TEST_REDIS_URL` for these brokers; `cargo xtask services up` starts servers and tells their URLs.
//!
//! - The *raw claim* is what the table allows: one connection deletes the same rows in batches, `FOR UPDATE SKIP LOCKED`, and
//!   looks at nothing. No order of keys, no broker, no lease.
//! - The *raw publish* is what the broker allows: the same events, as many unconfirmed as there are keys.
//!
//! Every round fills the table anew, and looks whether the broker has the events of each key in their order. Then [`latency`]; with
//! `-- latency` or `-- idle`, that alone, or what a relay asks of a server while there is nothing to do.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod latency;
#[path = "../support/measure.rs"]
mod measure;
#[path = "../support/server.rs"]
mod server;
mod table;

use measure::{Unit, scaled, tell};
use sagaz::{
    Event, System,
    broker::{Broker, BrokerError},
    brokers::{Options, Routes},
    outbox::Relay,
    store::SentEvents,
};
use std::{
    collections::HashMap,
    env,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use table::Table;

const KEYS: u32 = 500;

const EVENTS: Unit = Unit {
    name: "events/s",
    more_is_better: true,
};

fn rounds() -> u32 {
    setting("ROUNDS", scaled(5, 1))
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// A broker that also looks at the order of the events that it takes.
struct Watched<B> {
    broker: B,
    seen: Arc<Seen>,
}

/// The last number that was taken of each key, and how many were taken.
#[derive(Default)]
struct Seen {
    last: Mutex<HashMap<String, u32>>,
    inversions: Mutex<u32>,
    count: Mutex<u32>,
    changed: tokio::sync::Notify,
}

impl Seen {
    fn take(&self, event: &Event) {
        let key = event.ordering_key().unwrap_or_default().to_owned();
        let number = table::number(event);
        let mut last = self.last.lock().expect("no panic");
        // A repetition is none; what is first delivered after a later one is.
        if let Some(last) = last.get(&key)
            && number > *last + 1
            && *last != 0
        {
            *self.inversions.lock().expect("no panic") += 1;
        }
        let entry = last.entry(key).or_default();
        *entry = number.max(*entry);
        drop(last);
        *self.count.lock().expect("no panic") += 1;
    }

    async fn wait(&self, count: u32) {
        loop {
            let changed = self.changed.notified();
            if *self.count.lock().expect("no panic") >= count {
                return;
            }
            changed.await;
        }
    }
}

impl<B: Broker> System for Watched<B> {
    fn system(&self) -> &'static str {
        self.broker.system()
    }
}

impl<B: Broker> Broker for Watched<B> {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        let results = self.broker.publish(batch).await;
        for (event, result) in batch.iter().zip(&results) {
            if result.is_ok() {
                self.seen.take(event);
            }
        }
        self.seen.changed.notify_waiters();
        results
    }

    async fn health(&self) -> Result<(), BrokerError> {
        self.broker.health().await
    }
}

/// Events a second through a relay, from a full table to an empty one.
async fn relayed<B: Broker>(table: &Table, broker: B, events: u32) -> f64 {
    table.fill(events, KEYS).await;
    let seen = Arc::new(Seen::default());
    let watched = Watched {
        broker,
        seen: Arc::clone(&seen),
    };
    let began = Instant::now();
    let relay = Relay::builder(table.store().await, watched)
        .sent_events(SentEvents::Delete)
        .retention(None)
        .start()
        .await
        .expect("the relay starts");
    seen.wait(events).await;
    table.wait_empty().await;
    let took = began.elapsed();
    relay.shutdown().await;
    assert_eq!(
        *seen.inversions.lock().expect("no panic"),
        0,
        "in the order of each key"
    );
    f64::from(events) / took.as_secs_f64()
}

/// Events a second that the broker confirms, each key one at a time.
async fn published<B: Broker>(broker: &B, events: &[Event]) -> f64 {
    let began = Instant::now();
    let per_round = usize::try_from(KEYS).expect("it is small");
    for batch in events.chunks(per_round) {
        for result in broker.publish(batch).await {
            result.expect("the broker takes it");
        }
    }
    f64::from(u32::try_from(events.len()).expect("it is small")) / began.elapsed().as_secs_f64()
}

/// The URL and the name of each broker that there is a server of.
fn servers() -> Vec<(&'static str, String)> {
    let all = [
        (
            "rabbitmq",
            "SAGAZ_TEST_RABBITMQ_URL",
            cfg!(feature = "rabbitmq"),
        ),
        ("kafka", "SAGAZ_TEST_KAFKA_URL", cfg!(feature = "kafka")),
        ("nats", "SAGAZ_TEST_NATS_URL", cfg!(feature = "nats")),
        ("redis", "SAGAZ_TEST_REDIS_URL", cfg!(feature = "redis")),
    ];
    let there = all.into_iter().filter(|(.., compiled)| *compiled);
    there
        .filter_map(|(name, variable, _)| Some((name, server::url(variable)?)))
        .collect()
}

/// A topic of its own, on any broker.
fn options(topic: &str) -> Options {
    let routes = Routes::all_to(topic).expect("it names a topic");
    Options::new().declare(true).routes(routes)
}

async fn rates(table: &Table) {
    let events = setting("EVENTS", scaled(20_000, 1_000));
    let (mut floors, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        table.fill(events, KEYS).await;
        floors.push(table.delete_all(1_000).await);
        let memory = sagaz::brokers::memory::MemoryBroker::builder()
            .capacity(10_000_000)
            .build();
        rates.push(relayed(table, memory, events).await);
    }
    report(
        "to memory",
        &rates,
        &[("the raw claim", &floors, Some(0.4))],
    );
    for (name, url) in servers() {
        let (mut claims, mut publishes, mut mins, mut rates) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let events = setting("EVENTS", scaled(10_000, 1_000));
        let sample = table::events(events, KEYS);
        for _ in 0..rounds() {
            let topic = format!("bench-{}", fastrand::u64(..));
            let broker = options(&topic)
                .connect(&url)
                .await
                .expect("the broker connects");
            // The first takes what every producer and topic takes once.
            published(&broker, &sample[..500]).await;
            let raw = published(&broker, &sample).await;
            table.fill(events, KEYS).await;
            let claim = table.delete_all(1_000).await;
            publishes.push(raw);
            claims.push(claim);
            mins.push(raw.min(claim));
            rates.push(relayed(table, broker, events).await);
        }
        report(
            &format!("to {name}"),
            &rates,
            &[
                ("the slower of these", &mins, Some(0.5)),
                ("the raw claim", &claims, None),
                ("the raw publish", &publishes, None),
            ],
        );
    }
}

fn report(name: &str, rates: &[f64], floors: &[(&str, &[f64], Option<f64>)]) {
    tell("relay", (name, None), EVENTS, rates, floors);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Some(url) = server::url("SAGAZ_TEST_POSTGRES_URL") else {
        return;
    };
    let table = Table::create(&url).await;
    if env::args().any(|argument| argument == "latency") {
        latency::compare(&table).await;
    } else if env::args().any(|argument| argument == "idle") {
        table
            .count_idle(Duration::from_secs(setting("SECONDS", 30)))
            .await;
    } else {
        rates(&table).await;
        latency::compare(&table).await;
    }
}
