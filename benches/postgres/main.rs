//! Durable instances on PostgreSQL against a floor in the same run.
//!
//! `SAGAZ_TEST_POSTGRES_URL=postgres://.. cargo bench --features postgres --bench postgres`; `cargo xtask services up` starts a
//! server and tells its URL. Rounds of all are interleaved; what is printed besides is
//! what the server's own statistics say of the rows and of the write-ahead log. With `-- full`: [`full`]; with `-- archive`:
//! [`archive`].

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod archive;
mod floor;
mod full;
#[path = "../support/measure.rs"]
mod measure;
#[path = "../support/order.rs"]
mod order;
#[path = "../support/server.rs"]
mod server;

use floor::Floor;
use measure::{figure::median, scaled, tell};
use order::{Order, rate};
use sagaz::{Engine, postgres::Postgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::{
    env,
    time::{Duration, Instant},
};

/// How many in flight, and the ratio that is wanted of the floor with group commit.
const IN_FLIGHT: [(u32, f64); 3] = [(1, 0.67), (64, 0.5), (256, 0.5)];

/// Connections of the floor that commits each write; a server lets in a hundred.
const SINGLES_MAX: u32 = 64;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// A new store in a schema of its own, which is dropped first.
async fn store(url: &str, schema: &str, writers: u32) -> Postgres {
    execute(url, format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await;
    Postgres::options(url)
        .expect("the URL is one of PostgreSQL")
        .schema(schema)
        .writers(writers)
        .connect()
        .await
        .expect("the store connects")
}

async fn execute(url: &str, sql: String) {
    let mut session = PgConnection::connect(url).await.expect("a session");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut session)
        .await
        .expect("it runs");
}

/// What the server has counted in a schema.
struct Statistics {
    inserts: i64,
    updates: i64,
    hot_updates: i64,
    /// The place in the write-ahead log.
    log: i64,
}

async fn statistics(session: &mut PgConnection, schema: &str) -> Statistics {
    let row = sqlx::query(
        "SELECT coalesce(sum(n_tup_ins), 0)::bigint, coalesce(sum(n_tup_upd), 0)::bigint,
            coalesce(sum(n_tup_hot_upd), 0)::bigint, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
        FROM pg_stat_user_tables WHERE schemaname = $1 AND relname IN ('saga_instance', 'saga_step')",
    )
    .bind(schema)
    .fetch_one(session)
    .await
    .expect("statistics");
    Statistics {
        inserts: row.get(0),
        updates: row.get(1),
        hot_updates: row.get(2),
        log: row.get(3),
    }
}

/// Once each session has told its counts, which it does some time after its transactions: when nothing was ever deleted,
/// there are as many rows as were inserted.
async fn settled_statistics(session: &mut PgConnection, schema: &str) -> Statistics {
    let count = format!(
        "SELECT (SELECT count(*) FROM {schema}.saga_instance) + (SELECT count(*) FROM {schema}.saga_step)"
    );
    let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count))
        .fetch_one(&mut *session)
        .await
        .expect("a count");
    let patience = Instant::now();
    loop {
        let statistics = statistics(session, schema).await;
        if statistics.inserts >= rows {
            return statistics;
        }
        assert!(
            patience.elapsed() < Duration::from_mins(1),
            "the server does not tell its counts"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs alone, and tells what it has written for each instance.
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
async fn account(url: &str, schema: &str, run: impl AsyncFn() -> (u32, Duration)) -> String {
    let mut session = PgConnection::connect(url).await.expect("a session");
    let before = settled_statistics(&mut session, schema).await;
    let (finished, _) = run().await;
    let log = statistics(&mut session, schema).await.log - before.log;
    let after = settled_statistics(&mut session, schema).await;
    let each = |count: i64| count as f64 / f64::from(finished);
    format!(
        "{:.2} rows inserted, {:.2} updated ({:.0} % of these without a new index entry), {:.0} bytes of log",
        each(after.inserts - before.inserts),
        each(after.updates - before.updates),
        100.0 * (after.hot_updates - before.hot_updates) as f64
            / (after.updates - before.updates) as f64,
        each(log)
    )
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Some(url) = server::url("SAGAZ_TEST_POSTGRES_URL") else {
        return;
    };
    if env::args().any(|argument| argument == "full") {
        full::compare(&url).await;
        return;
    }
    if env::args().any(|argument| argument == "archive") {
        archive::compare(&url).await;
        return;
    }
    let writers = setting("WRITERS", 2);
    let rounds = setting("ROUNDS", scaled(7, 1));
    let per_round = scaled(Duration::from_millis(1500), Duration::from_millis(100));
    let ours = store(&url, "sagaz_bench", writers).await;
    // The floors write into the same schema.
    let schema = "sagaz_bench_floor";
    store(&url, schema, 1).await.close().await;
    let floor = Floor::connect(&url, schema, writers, 512).await;
    let engine = Engine::builder(ours)
        .register(Order)
        .start()
        .await
        .expect("the engine starts");
    for (in_flight, wanted) in IN_FLIGHT {
        let singles = Floor::connect(&url, schema, in_flight.min(SINGLES_MAX), 1).await;
        let (mut grouped, mut single, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            grouped.push(rate(floor.run(in_flight, per_round).await));
            rates.push(rate(order::run(&engine, in_flight, per_round).await));
            single.push(rate(singles.run(in_flight, per_round).await));
        }
        tell(
            "postgres",
            ("three steps", Some(in_flight)),
            order::RATE,
            &rates,
            &[
                ("the same rows, group commit", &grouped, Some(wanted)),
                ("the same rows, four commits each", &single, None),
            ],
        );
    }
    let written = account(&url, schema, async || floor.run(256, per_round).await).await;
    println!("the floor writes for each instance: {written}");
    let schema = "sagaz_bench";
    let written = account(&url, schema, async || {
        order::run(&engine, 256, per_round).await
    })
    .await;
    println!("an instance is: {written}");
    engine.shutdown().await;
}
