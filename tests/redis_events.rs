//! Events on Redis, from the transactions that publish them to the handlers that count them: relays and consumers are killed on the
//! way, and every handler's writes are there once and in order.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../sagaz-storage/tests/support/redis_connection.rs"]
mod own;

use sagaz::{
    Engine, Event, StepContext, StepError,
    brokers::{
        Subscription,
        memory::{Fault, MemoryBroker},
    },
    outbox::{Consumer, Inbox, Optimistic, Outbox, Relay},
    prelude::*,
    redis::Redis,
    store::{OutboxStore, SentEvents},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::sleep,
};

const KEYS: u32 = 60;
const PER_KEY: u32 = 40;
const RELAYS: usize = 3;
const CONSUMERS: usize = 2;
const TOPIC: &str = "order.changed";

/// How long the lanes of a dead relay wait for another.
const LEASE: Duration = Duration::from_millis(600);

/// After this many kills relays and consumers may go on in peace: the test is bounded.
const KILLS_MAX: u32 = 30;

const PATIENCE: Duration = Duration::from_mins(2);

fn url() -> String {
    std::env::var("SAGAZ_TEST_REDIS_URL")
        .expect("`cargo xtask test` starts a server and sets SAGAZ_TEST_REDIS_URL")
}

/// A handle of its own, as another process would have.
async fn connect(prefix: &str) -> Redis {
    let options = Redis::options(&url()).unwrap().prefix(prefix);
    options.connect().await.unwrap()
}

/// Each key's events in transactions of a few, with a count of what was published.
async fn publish(store: Redis) {
    let outbox = Outbox::new(store.clone()).source("/test");
    let keys = (0..KEYS).map(async |key| {
        for first in (0..PER_KEY).step_by(4) {
            let mut tx = store.begin(&key.to_string());
            for number in first..first + 4 {
                let event = Event::new(TOPIC, &number).key(key);
                outbox.append(&mut tx, event).await.unwrap();
            }
            tx.hincr_by("published", key.to_string(), 4);
            store.commit(tx).await.unwrap();
        }
    });
    futures_util::future::join_all(keys).await;
}

async fn relay(prefix: &str, broker: &MemoryBroker) -> Relay {
    Relay::builder(connect(prefix).await, broker.clone())
        .lease(LEASE)
        .batch_max(16)
        .sent_events(SentEvents::Delete)
        .start()
        .await
        .unwrap()
}

/// Keys of one partition are in one place, so that each has a name of its own there.
fn seen_of(key: &str) -> String {
    format!("seen:{key}")
}

/// Whose handler puts the event behind those of its key.
async fn consume(prefix: &str, broker: &MemoryBroker) -> AbortHandle {
    let subscription = Subscription::new("model", [TOPIC]);
    let subscriber = broker.subscribe(subscription).unwrap();
    let inbox = Inbox::builder(connect(prefix).await, "model")
        .build()
        .unwrap();
    let consuming: JoinHandle<_> = tokio::spawn(async move {
        let handled = Consumer::new(subscriber).run(inbox, |event, tx| {
            Box::pin(async move {
                let number: u32 = event.decode()?;
                let key = event.ordering_key().ok_or("it has a key")?;
                tx.rpush(&seen_of(key), number.to_string());
                Ok(())
            })
        });
        handled.await.unwrap();
    });
    consuming.abort_handle()
}

/// Publishes one event a step, two in the second.
struct Publishing;

#[saga(name = "publishing", input = u32)]
impl Publishing {
    #[step(no_compensation)]
    async fn one(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        Ok(ctx.publish(Event::new(TOPIC, &1))?)
    }

    #[step(depends_on = ["one"], no_compensation)]
    async fn two(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        ctx.publish(Event::new(TOPIC, &2))?;
        Ok(ctx.publish(Event::new(TOPIC, &3))?)
    }

    #[step(depends_on = ["two"], no_compensation)]
    async fn three(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        Ok(ctx.publish(Event::new(TOPIC, &4))?)
    }
}

/// By this name they are left out where there is no server.
mod redis {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p11_order_is_kept_between_the_optimistic_sender_and_the_relay() {
        const INSTANCES: u32 = 100;
        let prefix = format!("events-{:016x}", fastrand::u64(..));
        let store = connect(&prefix).await;
        let broker = MemoryBroker::new();
        broker.faults().on_event(|_| match fastrand::u32(..20) {
            0 => Some(Fault::TimeOutBefore),
            1 => Some(Fault::TimeOutAfter),
            2..10 => Some(Fault::Delay(Duration::from_millis(fastrand::u64(..20)))),
            _ => None,
        });
        let optimistic = Arc::new(Optimistic::builder(store.clone(), broker.clone()).start());
        let engine = Engine::builder(store.clone())
            .after_commit(optimistic.clone())
            .register(Publishing)
            .start()
            .await
            .unwrap();
        let relay = relay(&prefix, &broker).await;
        let mut handles = Vec::new();
        for input in 0..INSTANCES {
            handles.push(engine.start::<Publishing>(input).await.unwrap());
        }
        for handle in handles {
            let outcome = handle.outcome().await.unwrap();
            assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
        }
        let began = Instant::now();
        while store.outbox_stats().await.unwrap().pending > 0 {
            assert!(
                began.elapsed() < PATIENCE,
                "{:?}",
                store.outbox_stats().await
            );
            sleep(Duration::from_millis(5)).await;
        }
        let mut published: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for event in broker.events(TOPIC) {
            let of_key = published
                .entry(event.ordering_key().unwrap().to_owned())
                .or_default();
            let number = event.decode().unwrap();
            if !of_key.contains(&number) {
                of_key.push(number);
            }
        }
        assert_eq!(published.len(), INSTANCES as usize);
        for (key, numbers) in published {
            assert_eq!(numbers, [1, 2, 3, 4], "P11: key {key}");
        }
        engine.shutdown().await;
        optimistic.shutdown().await;
        relay.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p11_relays_and_consumers_are_killed_and_what_handlers_write_is_there_once_in_order() {
        let prefix = format!("events-{:016x}", fastrand::u64(..));
        let store = connect(&prefix).await;
        let broker = MemoryBroker::builder().capacity(1_000_000).build();
        broker.create_topic(TOPIC);
        broker.faults().on_event(|_| match fastrand::u32(..60) {
            0 => Some(Fault::Unavailable),
            1 => Some(Fault::TimeOutBefore),
            2 => Some(Fault::TimeOutAfter),
            _ => Some(Fault::Delay(Duration::from_micros(fastrand::u64(..3_000)))),
        });
        let publishing = tokio::spawn(publish(store.clone()));
        let (mut relays, mut consumers) = (Vec::new(), Vec::new());
        for _ in 0..RELAYS {
            relays.push(relay(&prefix, &broker).await);
        }
        for _ in 0..CONSUMERS {
            consumers.push(consume(&prefix, &broker).await);
        }
        let (began, mut kills) = (Instant::now(), 0);
        let wanted = (KEYS * PER_KEY) as usize;
        loop {
            let count = seen(&store).await.iter().map(Vec::len).sum::<usize>();
            if count >= wanted && store.outbox_stats().await.unwrap().pending == 0 {
                break;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{count} of {wanted} events, {:?}",
                store.outbox_stats().await
            );
            if kills < KILLS_MAX {
                kills += 1;
                if fastrand::bool() {
                    // Dropped, it gives nothing up.
                    let one = fastrand::usize(..RELAYS);
                    relays[one] = relay(&prefix, &broker).await;
                } else {
                    let one = fastrand::usize(..CONSUMERS);
                    consumers[one].abort();
                    consumers[one] = consume(&prefix, &broker).await;
                }
            }
            sleep(Duration::from_millis(fastrand::u64(20..200))).await;
        }
        publishing.await.unwrap();
        let tries = broker.faults().count();
        eprintln!(
            "{tries} tries to publish {wanted} events, {kills} kills in {:?}",
            began.elapsed()
        );
        // Whatever is still to be delivered again is.
        for relay in relays {
            relay.shutdown().await;
        }
        for consumer in consumers {
            consumer.abort();
        }
        let stats = store.outbox_stats().await.unwrap();
        assert_eq!((stats.pending, stats.dead), (0, 0));
        for (key, seen) in seen(&store).await.into_iter().enumerate() {
            assert_eq!(seen, (0..PER_KEY).collect::<Vec<_>>(), "P11: key {key}");
        }
    }

    /// What the handlers have put down, for each key.
    async fn seen(store: &Redis) -> Vec<Vec<u32>> {
        let mut connection = own::connection(&url()).await;
        let mut ask = ::redis::pipe();
        for key in 0..KEYS {
            let key = key.to_string();
            let name = store.data_key(&key, &seen_of(&key));
            ask.cmd("LRANGE").arg(name).arg(0).arg(-1);
        }
        ask.query_async(&mut connection).await.unwrap()
    }
}
