//! Consumers that are killed while they handle events: what they write for each is there once.

use crate::{place::Place, worker::spawn_as};
use sagaz::{
    Event,
    broker::Broker,
    outbox::{Consumer, Inbox},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const CONSUMERS: usize = 3;
const EVENTS: u32 = 6_000;
const KEYS: u32 = 200;

/// After this many kills the consumers may finish in peace: the test is bounded.
const KILLS_MAX: u32 = 30;

const PATIENCE: Duration = Duration::from_mins(4);

/// What the environment calls this kind of worker.
pub(crate) const CONSUMER: &str = "SAGAZ_RELAY_CONSUMER";

macro_rules! on {
    ($($name:ident: $variable:literal, $feature:literal;)+) => {
        $(
            #[cfg(feature = $feature)]
            mod $name {
                use super::*;

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn p11_consumers_are_killed_and_each_effect_is_there_once() {
                    if let Some(place) = Place::on($variable) {
                        each_effect_is_there_once(place).await;
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

/// Not a test of its own: the body of a consumer process. It ends when its standard input does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Ok(place) = std::env::var(CONSUMER) else {
        return;
    };
    let place: Place = serde_json::from_str(&place).unwrap();
    let inbox = Inbox::builder(place.store().await, "effects");
    let inbox = inbox.build().unwrap();
    let consumer = Consumer::new(place.subscribe("effects").await);
    let stop = consumer.stop_handle();
    let insert = format!(
        "INSERT INTO {}.effect (event_id, number) VALUES ($1, $2)",
        place.schema
    );
    let running = tokio::spawn(consumer.run(inbox, move |event, tx| {
        let insert = insert.clone();
        Box::pin(async move {
            let number: i32 = event.decode()?;
            sqlx::query(AssertSqlSafe(insert))
                .bind(event.event_id().to_string())
                .bind(number)
                .execute(&mut **tx)
                .await?;
            // So that many a process is killed between this write and its commit.
            sleep(Duration::from_millis(fastrand::u64(0..10))).await;
            Ok(())
        })
    }));
    let mut byte = [0];
    let mut input = tokio::io::stdin();
    // Nothing is ever written: it ends with the test.
    let _ = tokio::io::AsyncReadExt::read(&mut input, &mut byte).await;
    stop.stop();
    running.await.unwrap().unwrap();
}

async fn each_effect_is_there_once(place: Place) {
    // The schema is there, and the group before the events.
    place.store().await.close().await;
    let broker = place.broker().await;
    drop(place.subscribe("effects").await);
    let mut connection = PgConnection::connect(&place.postgres).await.unwrap();
    let create = format!(
        "CREATE TABLE {}.effect (event_id text NOT NULL, number integer NOT NULL)",
        place.schema
    );
    sqlx::raw_sql(AssertSqlSafe(create))
        .execute(&mut connection)
        .await
        .unwrap();

    let start = || spawn_as(CONSUMER, "consumers::worker", &place);
    let mut consumers: Vec<_> = (0..CONSUMERS).map(|_| start()).collect();
    let event = |number: u32| {
        Event::new("thing.happened", &number)
            .source("/test")
            .key(number % KEYS)
    };
    let events: Vec<_> = (0..EVENTS).map(event).collect();
    let publishing = async {
        for batch in events.chunks(KEYS as usize) {
            for result in broker.publish(batch).await {
                result.unwrap();
            }
            // Some come more than once, as after a lost answer.
            for result in broker.publish(&batch[..7]).await {
                result.unwrap();
            }
        }
    };
    publishing.await;
    let began = Instant::now();
    let mut kills = 0;
    loop {
        let count = format!(
            "SELECT count(DISTINCT event_id) FROM {}.effect",
            place.schema
        );
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        if count == i64::from(EVENTS) {
            break;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{count} of {EVENTS} events were handled"
        );
        sleep(Duration::from_millis(fastrand::u64(100..600))).await;
        if kills < KILLS_MAX {
            let one = fastrand::usize(..CONSUMERS);
            consumers[one].kill().await.unwrap();
            consumers[one] = start();
            kills += 1;
        }
    }
    eprintln!(
        "{EVENTS} events were handled in {:?}, with {kills} kills",
        began.elapsed()
    );
    for mut consumer in consumers {
        drop(consumer.stdin.take());
        assert!(
            consumer.wait().await.unwrap().success(),
            "a consumer failed"
        );
    }
    let all = format!("SELECT event_id, number FROM {}.effect", place.schema);
    let rows: Vec<(String, i32)> = sqlx::query_as(AssertSqlSafe(all))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut effects: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (id, number) in rows {
        effects.entry(id).or_default().push(number);
    }
    for (number, event) in (0..).zip(&events) {
        let effect = effects.remove(event.event_id().as_str());
        assert_eq!(
            effect,
            Some(vec![number]),
            "P11: event {}",
            event.event_id()
        );
    }
    assert!(effects.is_empty());
}
