//! Durable instances on SQLite against a floor in the same run.
//!
//! `cargo bench --features sqlite --bench sqlite`. The floor: as many tasks, each of which makes four dependent writes of
//! the same rows (accept, and three steps) through a bare group-commit writer, with the same schema and the same settings
//! of the database, and nothing else. Rounds of both are interleaved; medians and their ratio are printed.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "support/order.rs"]
mod order;

use order::{INPUT, Order};
use sagaz::{Engine, sqlite::Sqlite};
use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use std::{
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

const ROUNDS: usize = 7;
const PER_ROUND: Duration = Duration::from_millis(1500);
const IN_FLIGHT: [usize; 3] = [1, 64, 256];

/// One write of the floor.
struct Job {
    id: String,
    step: Option<(&'static str, String)>,
    reply: oneshot::Sender<()>,
}

/// A bare group-commit writer: whatever has queued up while the last batch was committed, in one transaction.
async fn bare_writer(mut connection: SqliteConnection, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut batch = Vec::new();
    while jobs.recv_many(&mut batch, 512).await > 0 {
        let accepts: Vec<_> = batch.iter().filter(|job| job.step.is_none()).collect();
        let steps: Vec<_> = batch.iter().filter(|job| job.step.is_some()).collect();
        let mut sql = String::from("BEGIN IMMEDIATE;");
        let now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
        let rows = |count: usize, row: &str| vec![row; count].join(",");
        if !accepts.is_empty() {
            let row = format!(
                "(?,'order',1,'f','pending',0,'me',1,0,0,NULL,NULL,NULL,'',NULL,NULL,NULL,{now},{now},'application/json',?,NULL)"
            );
            let _ = write!(
                sql,
                "INSERT INTO saga_instance VALUES {};",
                rows(accepts.len(), &row)
            );
        }
        if !steps.is_empty() {
            let row = format!(
                "(?,?,'compensatable','completed',1,0,0,NULL,NULL,{now},'application/json',?)"
            );
            let _ = write!(
                sql,
                "INSERT INTO saga_step VALUES {};",
                rows(steps.len(), &row)
            );
            let _ = write!(
                sql,
                "UPDATE saga_instance SET state = 'executing', updated_at = {now} WHERE id IN ({});",
                rows(steps.len(), "?")
            );
        }
        sql.push_str("COMMIT");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for job in &accepts {
            query = query.bind(&job.id).bind(INPUT);
        }
        for job in &steps {
            let (name, output) = job.step.as_ref().expect("it is a step");
            query = query.bind(&job.id).bind(*name).bind(output);
        }
        for job in &steps {
            query = query.bind(&job.id);
        }
        query
            .execute(&mut connection)
            .await
            .expect("the floor writes");
        for job in batch.drain(..) {
            let _ = job.reply.send(());
        }
    }
}

async fn floor_rate(path: &Path, in_flight: usize) -> f64 {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .statement_cache_capacity(2_000);
    let connection = SqliteConnection::connect_with(&options)
        .await
        .expect("the floor connects");
    let (jobs, queue) = mpsc::unbounded_channel();
    let writer = tokio::spawn(bare_writer(connection, queue));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let jobs = jobs.clone();
        tasks.spawn(async move {
            let write = async |id: &str, step| {
                let (reply, written) = oneshot::channel();
                let _ = jobs.send(Job {
                    id: id.to_owned(),
                    step,
                    reply,
                });
                written.await.expect("it is written");
            };
            let mut finished = 0;
            while began.elapsed() < PER_ROUND {
                let id = sagaz::SagaId::new().to_string();
                write(&id, None).await;
                for step in ["reserve", "charge", "confirm"] {
                    write(&id, Some((step, format!("\"{step} of {INPUT}\"")))).await;
                }
                finished += 1;
            }
            finished
        });
    }
    let finished: u32 = tasks.join_all().await.into_iter().sum();
    let rate = f64::from(finished) / began.elapsed().as_secs_f64();
    drop(jobs);
    writer.await.expect("the writer ends");
    rate
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (ours, bare) = (
        folder.path().join("engine.db"),
        folder.path().join("floor.db"),
    );
    let store = Sqlite::open(&ours).await.expect("the store opens");
    // The floor writes into the same schema.
    drop(Sqlite::open(&bare).await.expect("the store opens"));
    let engine = Engine::builder(store)
        .register(Order)
        .start()
        .await
        .expect("the engine starts");
    println!(
        "{:>9} {:>16} {:>16} {:>7}",
        "in flight", "floor /s", "sagaz /s", "ratio"
    );
    for in_flight in IN_FLIGHT {
        let (mut floors, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floors.push(floor_rate(&bare, in_flight).await);
            rates.push(order::rate(order::run(&engine, in_flight, PER_ROUND).await));
        }
        let ratio = median(
            rates
                .iter()
                .zip(&floors)
                .map(|(rate, floor)| rate / floor)
                .collect(),
        );
        println!(
            "{in_flight:>9} {:>16.0} {:>16.0} {ratio:>7.2}",
            median(floors),
            median(rates)
        );
    }
    println!("wanted at 64 in flight: a ratio of at least 0.5");
    engine.shutdown().await;
}
