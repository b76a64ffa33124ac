//! The order of each key, whatever happens to the workers.

use crate::{
    place::Place,
    worker::{POISONED, spawn},
};
use sagaz::{
    Event,
    broker::Subscriber,
    postgres::Postgres,
    store::{AppendsIn, DeadLetterFilter, DeadState, OutboxStore, Transacts},
};
use sqlx::PgTransaction;
use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};
use tokio::time::timeout;

const WORKERS: usize = 4;
const KEYS: u32 = 500;
const PER_KEY: u32 = 100;

/// After this many kills the workers may go on in peace: the test is bounded.
const KILLS_MAX: u32 = 25;

const PATIENCE: Duration = Duration::from_mins(8);

/// One test a broker; by their names they are left out where there is no server.
macro_rules! on {
    ($($name:ident: $variable:literal, $feature:literal;)+) => {
        $(
            #[cfg(feature = $feature)]
            mod $name {
                use super::*;

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn p11_workers_are_killed_and_no_key_is_out_of_order() {
                    if let Some(place) = Place::on($variable) {
                        no_key_is_out_of_order(place).await;
                    }
                }
            }
        )+
    };
}

on! {
    kafka: "SAGAZ_TEST_KAFKA_URL", "kafka";
    rabbitmq: "SAGAZ_TEST_RABBITMQ_URL", "rabbitmq";
    nats: "SAGAZ_TEST_NATS_URL", "nats";
    redis: "SAGAZ_TEST_REDIS_URL", "redis";
}

/// All events, each key's in one transaction.
async fn append_all(store: &Postgres) {
    let keys: Vec<_> = (0..KEYS).collect();
    let appends = keys.chunks(125).map(async |keys| {
        for key in keys {
            let (mut tx, guard): (PgTransaction<'static>, _) = store.begin().await.unwrap();
            for number in 0..PER_KEY {
                let event = Event::new("order.changed", &number)
                    .source("/test")
                    .key(key);
                store.append_in(&mut tx, &event).await.unwrap();
            }
            store.commit(tx).await.unwrap();
            drop(guard);
        }
    });
    futures_util::future::join_all(appends).await;
}

/// What a consumer has seen.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    /// The numbers of each key, by their first deliveries.
    keys: BTreeMap<String, Vec<u32>>,
    duplicates: u32,
}

impl Seen {
    fn take(&mut self, event: &Event) {
        if !self.ids.insert(event.event_id().to_string()) {
            self.duplicates += 1;
            return;
        }
        let key = event.ordering_key().unwrap().to_owned();
        self.keys
            .entry(key)
            .or_default()
            .push(event.decode().unwrap());
    }
}

async fn no_key_is_out_of_order(place: Place) {
    let store = place.store().await;
    // The topic is there before anybody publishes or subscribes.
    drop(place.broker().await);
    append_all(&store).await;
    let mut subscriber = place.subscribe("audit").await;
    let mut workers: Vec<_> = (0..WORKERS).map(|_| spawn(&place)).collect();
    let began = Instant::now();
    let mut kill_at = Instant::now() + Duration::from_secs(1);
    let (mut seen, mut kills) = (Seen::default(), 0);
    let wanted = (KEYS - 1) * PER_KEY;
    let mut is_complete = false;
    while !is_complete {
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {wanted} events, {} dead letters",
            seen.ids.len(),
            dead(&store).await
        );
        let received = timeout(Duration::from_millis(200), subscriber.receive()).await;
        if let Ok(Err(error)) = &received {
            // It may come late on a busy machine, and is asked again.
            assert!(error.is_unavailable(), "{error:?}");
        } else if let Ok(Ok(delivery)) = received {
            seen.take(delivery.event.as_ref().unwrap());
            // What is not acknowledged comes once more.
            if let Err(error) = subscriber.ack(delivery.receipt).await {
                assert!(error.is_unavailable(), "{error:?}");
            }
        } else if seen.ids.len() >= wanted as usize {
            is_complete = dead(&store).await == PER_KEY as usize;
        }
        if kills < KILLS_MAX && Instant::now() >= kill_at {
            let one = fastrand::usize(..WORKERS);
            workers[one].kill().await.unwrap();
            workers[one] = spawn(&place);
            kills += 1;
            kill_at = Instant::now() + Duration::from_millis(fastrand::u64(100..700));
        }
    }
    eprintln!(
        "{} events, {} of them more than once, {kills} kills in {:?}",
        seen.ids.len(),
        seen.duplicates,
        began.elapsed()
    );
    for mut worker in workers {
        drop(worker.stdin.take());
        let status = timeout(PATIENCE, worker.wait()).await.unwrap().unwrap();
        assert!(status.success(), "a worker failed");
    }
    assert!(
        !seen.keys.contains_key(&POISONED.to_string()),
        "nobody took the poisoned key"
    );
    for (key, numbers) in &seen.keys {
        assert_eq!(*numbers, (0..PER_KEY).collect::<Vec<_>>(), "P11: key {key}");
    }
    assert_eq!(seen.keys.len(), KEYS as usize - 1);
    let stats = store.outbox_stats().await.unwrap();
    assert_eq!((stats.pending, stats.dead), (0, PER_KEY.into()));
}

/// How many events of the poisoned key are dead letters; of no other key there are any.
async fn dead(store: &Postgres) -> usize {
    let filter = DeadLetterFilter {
        state: Some(DeadState::Open),
        limit: 1_000,
        ..DeadLetterFilter::default()
    };
    let letters = store.dead_letters(&filter).await.unwrap().letters;
    let poisoned = POISONED.to_string();
    for letter in &letters {
        let key = letter.event.ordering_key();
        assert_eq!(
            key,
            Some(poisoned.as_str()),
            "{} attempts: {}",
            letter.attempts,
            letter.error
        );
    }
    letters.len()
}
