//! Durable instances on SQLite against a floor in the same run.
//!
//! `cargo bench --features sqlite --bench sqlite`. The floors: as many tasks, each of which makes four dependent writes of
//! the same rows (accept, and three steps) through a bare writer, with the same schema and the same settings of the database, and
//! nothing else; once with group commit, and once with a commit for each write. Rounds of all are interleaved.

#[path = "support/measure.rs"]
mod measure;
#[path = "support/order.rs"]
mod order;

use measure::{scaled, tell};
use order::{INPUT, Order};
use sagaz::{Engine, sqlite::Sqlite};
use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use std::{fmt::Write, path::Path, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// How many in flight, and what is wanted of the floor with group commit.
const IN_FLIGHT: [(u32, Option<f64>); 3] = [(1, None), (64, Some(0.5)), (256, None)];

/// One write of the floor.
struct Job {
    id: String,
    step: Option<(&'static str, String)>,
    reply: oneshot::Sender<()>,
}

/// A bare writer: whatever has queued up while the last batch was committed, up to so many, in one transaction.
async fn bare_writer(
    mut connection: SqliteConnection,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    batch_max: usize,
) {
    let mut batch = Vec::new();
    while jobs.recv_many(&mut batch, batch_max).await > 0 {
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

async fn floor_rate(path: &Path, in_flight: u32, batch_max: usize, per_round: Duration) -> f64 {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .statement_cache_capacity(2_000);
    let connection = SqliteConnection::connect_with(&options)
        .await
        .expect("the floor connects");
    let (jobs, queue) = mpsc::unbounded_channel();
    let writer = tokio::spawn(bare_writer(connection, queue, batch_max));
    let one = move |_| {
        let jobs = jobs.clone();
        async move {
            let id = sagaz::SagaId::new().to_string();
            for step in [None, Some("reserve"), Some("charge"), Some("confirm")] {
                let (reply, written) = oneshot::channel();
                let _ = jobs.send(Job {
                    id: id.clone(),
                    step: step.map(|step| (step, format!("\"{step} of {INPUT}\""))),
                    reply,
                });
                written.await.expect("it is written");
            }
        }
    };
    let rate = order::rate(order::repeat(in_flight, per_round, one).await);
    writer.await.expect("the writer ends");
    rate
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
    let per_round = scaled(Duration::from_millis(1500), Duration::from_millis(100));
    for (in_flight, wanted) in IN_FLIGHT {
        let (mut grouped, mut single, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..scaled(7, 1) {
            grouped.push(floor_rate(&bare, in_flight, 512, per_round).await);
            rates.push(order::rate(order::run(&engine, in_flight, per_round).await));
            single.push(floor_rate(&bare, in_flight, 1, per_round).await);
        }
        tell(
            "sqlite",
            ("three steps", Some(in_flight)),
            order::RATE,
            &rates,
            &[
                ("the same rows, group commit", &grouped, wanted),
                ("the same rows, four commits each", &single, None),
            ],
        );
    }
    engine.shutdown().await;
}
