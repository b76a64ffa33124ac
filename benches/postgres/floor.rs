//! The floor: the same rows, and nothing else.
//!
//! As many tasks, each of which makes four dependent writes (accept, and three steps, of which the last also completes the
//! instance) through bare writers, with the same schema: with group commit and the same number of connections; or with a commit for
//! each write, and a connection for each task.

use crate::order::{self, INPUT};
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

const STEPS: [&str; 3] = ["reserve", "charge", "confirm"];

/// One write.
struct Job {
    id: Uuid,
    step: Option<usize>,
    reply: oneshot::Sender<()>,
}

/// A writer without a fence: whatever has queued up while the last batch was committed, up to so many, in one statement.
async fn write(
    mut connection: PgConnection,
    statement: Arc<str>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    batch_max: usize,
) {
    let owner = Uuid::from_u128(1);
    let mut batch = Vec::new();
    while jobs.recv_many(&mut batch, batch_max).await > 0 {
        let (mut accepts, mut inputs) = (Vec::new(), Vec::new());
        let (mut ids, mut names, mut outputs, mut states, mut owners) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for job in &batch {
            let Some(step) = job.step else {
                accepts.push(job.id);
                inputs.push(INPUT);
                continue;
            };
            let is_last = step + 1 == STEPS.len();
            ids.push(job.id);
            names.push(STEPS[step]);
            outputs.push(format!("\"{} of {INPUT}\"", STEPS[step]));
            states.push(if is_last { "completed" } else { "executing" });
            owners.push((!is_last).then_some(owner));
        }
        sqlx::query(AssertSqlSafe(statement.to_string()))
            .bind(accepts)
            .bind(inputs)
            .bind(ids)
            .bind(names)
            .bind(outputs)
            .bind(states)
            .bind(owners)
            .execute(&mut connection)
            .await
            .expect("the floor writes");
        for job in batch.drain(..) {
            let _ = job.reply.send(());
        }
    }
}

fn statement(schema: &str) -> Arc<str> {
    format!(
        "WITH accepted AS (
            INSERT INTO {schema}.saga_instance (id, saga, version, fingerprint, state, owner, epoch, input_digest, created_at,
                updated_at, content_type, input_text)
            SELECT a.id, 'order', 1, 'f', 'pending', '{}', 1, '', clock_timestamp(), clock_timestamp(), 'application/json', a.text
            FROM unnest($1::uuid[], $2::text[]) AS a(id, text)
        ), v AS MATERIALIZED (
            SELECT * FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[]) AS v(id, name, output, state, owner)
        ), stored AS (
            INSERT INTO {schema}.saga_step (instance_id, name, kind, state, attempts, undo_attempts, recoveries, updated_at,
                content_type, output_text)
            SELECT v.id, v.name, 'compensatable', 'completed', 1, 0, 0, clock_timestamp(), 'application/json', v.output FROM v
        )
        UPDATE {schema}.saga_instance AS i SET state = v.state, owner = v.owner, updated_at = clock_timestamp(),
            ended_at = CASE WHEN v.owner IS NULL THEN clock_timestamp() END
        FROM v WHERE i.id = v.id",
        Uuid::from_u128(1)
    )
    .into()
}

/// The bare writers of a schema.
pub(crate) struct Floor {
    writers: Vec<mpsc::UnboundedSender<Job>>,
}

impl Floor {
    pub(crate) async fn connect(url: &str, schema: &str, writers: u32, batch_max: usize) -> Self {
        let statement = statement(schema);
        // Planned once, through the indexes: without that the floor reads the whole table for each batch while it grows.
        let options: PgConnectOptions = url.parse().expect("the URL is one of PostgreSQL");
        let options = options.options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
        ]);
        let mut queues = Vec::new();
        for _ in 0..writers {
            let connection = PgConnection::connect_with(&options)
                .await
                .expect("the floor connects");
            let (jobs, queue) = mpsc::unbounded_channel();
            let statement = Arc::clone(&statement);
            tokio::spawn(write(connection, statement, queue, batch_max));
            queues.push(jobs);
        }
        Self { writers: queues }
    }

    /// How many instances were written, and how long that took.
    pub(crate) async fn run(&self, in_flight: u32, at_least: Duration) -> (u32, Duration) {
        let writers = self.writers.clone();
        let one = move |_| {
            let id = sagaz::SagaId::new().as_uuid();
            let nth = usize::try_from(id.as_u128() % writers.len() as u128);
            let writer = writers[nth.expect("it is small")].clone();
            async move {
                for step in [None, Some(0), Some(1), Some(2)] {
                    let (reply, written) = oneshot::channel();
                    let _ = writer.send(Job { id, step, reply });
                    written.await.expect("it is written");
                }
            }
        };
        order::repeat(in_flight, at_least, one).await
    }
}
