//! Outbox and inbox in one SQLite file, whose writers take turns: relays that die, a broker that fails, a consumer that writes beside
//! them, and an application that appends on connections of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sagaz::{
    Event, Retry,
    broker::Subscriber,
    brokers::{
        Subscription,
        memory::{Fault, MemoryBroker},
    },
    outbox::{Handled, Inbox, Outbox, Relay},
    sqlite::Sqlite,
    store::{OutboxStore, Transacts},
};
use sqlx::{Executor, SqlitePool, SqliteTransaction, sqlite::SqliteConnectOptions};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

const TOPIC: &str = "order.changed";
const KEYS: u32 = 40;
const ROUNDS: u32 = 15;
const PATIENCE: Duration = Duration::from_mins(3);

/// The application's own connections, and its table.
async fn application(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(20));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let create = "CREATE TABLE read_model (customer TEXT NOT NULL, number INTEGER NOT NULL)";
    pool.execute(create).await.unwrap();
    pool
}

/// Each with a handle of its own, as if it were another process.
async fn relay(path: &Path, broker: &MemoryBroker) -> Relay {
    let store = Sqlite::open(path).await.unwrap();
    let retry = Retry {
        attempts: None,
        initial: Duration::from_millis(5),
        max: Duration::from_millis(50),
        ..Retry::BACKOFF
    };
    let relay = Relay::builder(store, broker.clone());
    let relay = relay.lease(Duration::from_secs(2)).retry(retry);
    relay.start().await.unwrap()
}

fn misbehave(broker: &MemoryBroker) {
    let mut chance = fastrand::Rng::with_seed(5);
    broker.faults().on_event(move |_| match chance.u32(0..100) {
        0..2 => Some(Fault::TimeOutBefore),
        2..4 => Some(Fault::TimeOutAfter),
        4 => Some(Fault::Refuse),
        5..50 => Some(Fault::Delay(Duration::from_millis(chance.u64(0..10)))),
        _ => None,
    });
}

/// An event of each key, every other one in a transaction that the store does not end.
async fn append_round(store: &Sqlite, pool: &SqlitePool, number: u32) {
    let outbox = Outbox::new(store.clone());
    for key in 0..KEYS {
        let event = Event::new(TOPIC, &number).key(key);
        if key % 2 == 0 {
            let (mut tx, _turn) = store.begin().await.unwrap();
            outbox.append(&mut tx, event).await.unwrap();
            store.commit(tx).await.unwrap();
        } else {
            let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
            outbox.append(&mut tx, event).await.unwrap();
            tx.commit().await.unwrap();
        }
    }
}

/// What the consumer's handler writes.
async fn apply(tx: &mut SqliteTransaction<'_>, event: &Event) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO read_model (customer, number) VALUES (?, ?)");
    let insert = insert
        .bind(event.ordering_key().unwrap())
        .bind(event.decode::<u32>().unwrap());
    insert.execute(&mut **tx).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_events_of_a_file_are_delivered_in_order_and_handled_once_while_relays_die() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    // It takes turns with relays and a consumer that know nothing of its turn.
    let store = Sqlite::options(&path).busy_timeout(Duration::from_secs(20));
    let store = store.open().await.unwrap();
    let pool = application(&path).await;
    let broker = MemoryBroker::new();
    misbehave(&broker);
    let subscription = Subscription::new("read-model", [TOPIC]);
    let mut subscriber = broker.subscribe(subscription).unwrap();

    let consumer = Sqlite::open(&path).await.unwrap();
    let consuming = async {
        let inbox = Inbox::builder(consumer, "read-model").build().unwrap();
        let (mut done, mut duplicates) = (0, 0);
        let mut first = BTreeMap::<_, Vec<u32>>::new();
        while done < KEYS * ROUNDS {
            let delivery = subscriber.receive().await.unwrap();
            let event = delivery.event.unwrap();
            let handled = inbox.handle(&event, async |tx: &mut SqliteTransaction<'static>| {
                Ok(apply(tx, &event).await?)
            });
            match handled.await.unwrap() {
                Handled::Done => {
                    let key = event.ordering_key().unwrap().to_owned();
                    first.entry(key).or_default().push(event.decode().unwrap());
                    done += 1;
                }
                Handled::Duplicate => duplicates += 1,
                other => panic!("{other:?}"),
            }
            subscriber.ack(delivery.receipt).await.unwrap();
        }
        (first, duplicates)
    };

    let mut relays = Vec::new();
    for _ in 0..3 {
        relays.push(relay(&path, &broker).await);
    }
    let (began, mut deaths) = (Instant::now(), 0);
    let producing = async {
        for number in 0..ROUNDS {
            append_round(&store, &pool, number).await;
            let one = fastrand::usize(..relays.len());
            if number % 3 == 0 {
                drop(relays.swap_remove(one));
                deaths += 1;
            } else if number % 3 == 1 {
                relays.swap_remove(one).shutdown().await;
            } else {
                continue;
            }
            relays.push(relay(&path, &broker).await);
        }
    };
    let both = timeout(PATIENCE, async { tokio::join!(consuming, producing) });
    let ((first, duplicates), ()) = both.await.expect("all of them come");
    let is_empty = async || {
        while store.outbox_stats().await.unwrap().pending > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, is_empty()).await.expect("none is left");
    for relay in relays {
        relay.shutdown().await;
    }

    assert_eq!(first.len(), KEYS as usize);
    let in_order: Vec<u32> = (0..ROUNDS).collect();
    for (key, numbers) in first {
        assert_eq!(numbers, in_order, "key {key}");
    }
    let sql = "SELECT count(*), count(DISTINCT customer || '/' || number) FROM read_model";
    let rows: (u32, u32) = sqlx::query_as(sql).fetch_one(&pool).await.unwrap();
    assert_eq!(rows, (KEYS * ROUNDS, KEYS * ROUNDS));
    eprintln!(
        "{} events, {duplicates} of them again, {deaths} deaths, in {:?}",
        KEYS * ROUNDS,
        began.elapsed()
    );
}
