//! Events that a consumer handles through its inbox, against the same rows written by hand, each event's in a transaction.
//!
//! `cargo bench --features sqlite,postgres,redis,outbox --bench inbox`, with `SAGAZ_TEST_POSTGRES_URL` and `SAGAZ_TEST_REDIS_URL` for
//! these stores. The broker is in memory and has all events before the consumer starts. The handler writes one row. The floor writes
//! the record of the event and that row, on as many connections as handlers have, and looks at nothing: no order of keys, no
//! duplicates, no acknowledgements.

#[path = "support/measure.rs"]
mod measure;
#[path = "../sagaz-storage/tests/support/redis_connection.rs"]
mod own;
#[path = "support/redis_keys.rs"]
mod redis_keys;
#[path = "support/server.rs"]
mod server;

use measure::{Unit, scaled, tell};
use redis::Script;
use sagaz::{
    Event, SagaId,
    broker::Broker,
    brokers::{Routes, Subscription, memory::MemoryBroker},
    outbox::{Consumer, Handling, Inbox},
    postgres::Postgres,
    redis::Redis,
    sqlite::Sqlite,
    store::InboxStore,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const KEYS: u32 = 500;
const TOPIC: &str = "events";
const CONSUMER: &str = "effects";

/// Of handlers on PostgreSQL, by default.
const CONNECTIONS: usize = 8;

/// Handlers at once, by default.
const KEYS_MAX: usize = 64;

fn events(count: u32) -> Vec<Event> {
    let event = |number: u32| {
        Event::new("thing.happened", &number)
            .source("/bench")
            .key(number % KEYS)
    };
    (0..count).map(event).collect()
}

fn per_second(count: u32, began: Instant) -> f64 {
    f64::from(count) / began.elapsed().as_secs_f64()
}

/// Events a second, from the first that is delivered to the last that is recorded.
async fn handled<S: InboxStore, F>(store: S, count: u32, handler: F) -> f64
where
    F: for<'a> Fn(&'a Event, &'a mut S::Tx) -> Handling<'a> + Send + Sync + 'static,
{
    let broker = MemoryBroker::builder()
        .routes(Routes::all_to(TOPIC).expect("it names a topic"))
        .capacity(10_000_000)
        .build();
    broker.create_topic(TOPIC);
    let subscriber = broker.subscribe(Subscription::new(CONSUMER, [TOPIC]));
    let consumer = Consumer::new(subscriber.expect("the broker subscribes"));
    for result in broker.publish(&events(count)).await {
        result.expect("the broker takes it");
    }
    let inbox = Inbox::builder(store, CONSUMER).build().expect("an inbox");
    let (counts, stop) = (inbox.clone(), consumer.stop_handle());
    let began = Instant::now();
    let running = tokio::spawn(consumer.run(inbox, handler));
    while counts.counts().handled < u64::from(count) {
        assert!(!running.is_finished(), "the consumer runs");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = per_second(count, began);
    stop.stop();
    running.await.expect("no panic").expect("it was well");
    rate
}

fn report(store: &str, rates: &[f64], (floor, floors): (&str, &[f64]), wanted: Option<f64>) {
    tell(
        "inbox",
        (store, None),
        Unit {
            name: "events/s",
            more_is_better: true,
        },
        rates,
        &[(floor, floors, wanted)],
    );
}

fn rounds() -> u32 {
    scaled(5, 1)
}

async fn on_sqlite(count: u32) {
    const EFFECT: &str = "INSERT INTO effect (event_id, number) VALUES (?, ?)";
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (mut rates, mut floors) = (Vec::new(), Vec::new());
    for round in 0..rounds() {
        let path = folder.path().join(format!("inbox-{round}.db"));
        let store = Sqlite::open(&path).await.expect("it opens");
        let url = format!("sqlite://{}", path.display());
        let mut session = SqliteConnection::connect(&url).await.expect("it opens");
        let create = "CREATE TABLE effect (event_id TEXT NOT NULL, number INTEGER NOT NULL);
            PRAGMA synchronous = FULL";
        let created = sqlx::raw_sql(create).execute(&mut session);
        created.await.expect("it is created");
        let began = Instant::now();
        for number in 0..count {
            let id = SagaId::new().to_string();
            let mut tx = session
                .begin_with("BEGIN IMMEDIATE")
                .await
                .expect("it begins");
            sqlx::query(
                "INSERT INTO saga_inbox (consumer, event_id, handled_at) VALUES ('floor', ?, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
            )
            .bind(&id)
            .execute(&mut *tx)
            .await
            .expect("it is recorded");
            let effect = sqlx::query(EFFECT).bind(&id).bind(number);
            effect.execute(&mut *tx).await.expect("it is written");
            tx.commit().await.expect("it commits");
        }
        floors.push(per_second(count, began));
        let rate = handled(store.clone(), count, |event, tx| {
            Box::pin(async move {
                let number: u32 = event.decode()?;
                let effect = sqlx::query(EFFECT).bind(event.event_id().to_string());
                effect.bind(number).execute(&mut **tx).await?;
                Ok(())
            })
        });
        rates.push(rate.await);
        store.close().await;
    }
    let floor = ("the same rows, one transaction each", &floors[..]);
    report("sqlite", &rates, floor, None);
}

async fn on_postgres(url: &str, count: u32) {
    const SCHEMA: &str = "sagaz_bench_inbox";
    const DROP: &str = "DROP SCHEMA IF EXISTS sagaz_bench_inbox CASCADE";
    let mut session = PgConnection::connect(url).await.expect("a session");
    let dropped = sqlx::raw_sql(DROP).execute(&mut session);
    dropped.await.expect("it is dropped");
    let options = Postgres::options(url).expect("a URL of PostgreSQL");
    let store = options.schema(SCHEMA).connect().await;
    let store = store.expect("the store connects");
    let create =
        format!("CREATE TABLE {SCHEMA}.effect (event_id text NOT NULL, number integer NOT NULL)");
    let created = sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut session);
    created.await.expect("it is created");
    let effect = format!("INSERT INTO {SCHEMA}.effect (event_id, number) VALUES ($1, $2)");
    let record = format!(
        "INSERT INTO {SCHEMA}.consumer_inbox (consumer, event_id, handled_at) VALUES ('floor', $1, clock_timestamp())"
    );
    let (mut rates, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        floors.push(postgres_floor(url, &record, &effect, count).await);
        let effect = effect.clone();
        let rate = handled(store.clone(), count, move |event, tx| {
            let effect = effect.clone();
            Box::pin(async move {
                let number: i32 = event.decode()?;
                let effect = sqlx::query(AssertSqlSafe(effect));
                let effect = effect.bind(event.event_id().to_string()).bind(number);
                effect.execute(&mut **tx).await?;
                Ok(())
            })
        });
        rates.push(rate.await);
    }
    store.close().await;
    let dropped = sqlx::raw_sql(DROP).execute(&mut session);
    dropped.await.expect("it is dropped");
    let floor = ("the same rows, one transaction each", &floors[..]);
    report("postgres", &rates, floor, Some(0.5));
}

async fn postgres_floor(url: &str, record: &str, effect: &str, count: u32) -> f64 {
    let mut sessions = Vec::new();
    for _ in 0..CONNECTIONS {
        sessions.push(PgConnection::connect(url).await.expect("a session"));
    }
    let (mut tasks, next) = (JoinSet::new(), Arc::new(AtomicU32::new(0)));
    let began = Instant::now();
    for mut session in sessions {
        let (record, effect) = (record.to_owned(), effect.to_owned());
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= count {
                    return;
                }
                let id = SagaId::new().to_string();
                let mut tx = session.begin().await.expect("it begins");
                let record = sqlx::query(AssertSqlSafe(record.clone())).bind(&id);
                record.execute(&mut *tx).await.expect("it is recorded");
                let effect = sqlx::query(AssertSqlSafe(effect.clone())).bind(&id);
                let effect = effect.bind(number.cast_signed());
                effect.execute(&mut *tx).await.expect("it is written");
                tx.commit().await.expect("it commits");
            }
        });
    }
    tasks.join_all().await;
    per_second(count, began)
}

async fn on_redis(url: &str, count: u32) {
    let prefix = format!("bench-inbox-{}", SagaId::new());
    let options = Redis::options(url).expect("a URL of Redis");
    let store = options.prefix(&prefix).connect().await;
    let store = store.expect("the store connects");
    let mut connection = own::connection(url).await;
    let (mut rates, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        floors.push(redis_floor(&connection, &prefix, count).await);
        let rate = handled(store.clone(), count, |event, tx| {
            Box::pin(async move {
                let number: u32 = event.decode()?;
                tx.rpush("effects", number.to_string());
                Ok(())
            })
        });
        rates.push(rate.await);
    }
    redis_keys::unlink(&mut connection, &prefix).await;
    let floor = ("the same rows, one script each, pipelined", &floors[..]);
    report("redis", &rates, floor, None);
}

async fn redis_floor(
    connection: &redis::aio::MultiplexedConnection,
    prefix: &str,
    count: u32,
) -> f64 {
    let script = Arc::new(Script::new(
        "local t = redis.call('TIME')
        redis.call('ZADD', KEYS[1] .. ':handled', t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
        redis.call('RPUSH', KEYS[1] .. ':floor', ARGV[2])
        return 1",
    ));
    let (mut tasks, next) = (JoinSet::new(), Arc::new(AtomicU32::new(0)));
    let began = Instant::now();
    for _ in 0..KEYS_MAX {
        let (script, next) = (Arc::clone(&script), Arc::clone(&next));
        let (mut connection, prefix) = (connection.clone(), prefix.to_owned());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= count {
                    return;
                }
                let mut write = script.key(format!("{{{prefix}:{}}}", number % 64));
                let write = write.arg(SagaId::new().to_string()).arg(number);
                let written = write.invoke_async::<i64>(&mut connection);
                written.await.expect("it is written");
            }
        });
    }
    tasks.join_all().await;
    per_second(count, began)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    on_sqlite(scaled(2_000, 100)).await;
    if let Some(url) = server::url("SAGAZ_TEST_POSTGRES_URL") {
        on_postgres(&url, scaled(5_000, 200)).await;
    }
    if let Some(url) = server::url("SAGAZ_TEST_REDIS_URL") {
        on_redis(&url, scaled(20_000, 500)).await;
    }
}
