//! Durable instances on the memory store against a floor in the same run: what the engine itself costs.
//!
//! `cargo bench --bench memory`. The floor: as many tasks, each of which makes four dependent writes of the same rows (accept, and
//! three steps), serialized, through one task that puts them into maps. Rounds of both are interleaved, on new stores each.

#[path = "support/measure.rs"]
mod measure;
#[path = "support/order.rs"]
mod order;

use measure::{scaled, tell};
use order::{INPUT, Order};
use sagaz::{Engine, Memory, SagaId};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::{mpsc, oneshot};

const IN_FLIGHT: [u32; 3] = [1, 64, 256];

/// One write.
struct Job {
    id: SagaId,
    step: Option<&'static str>,
    bytes: Vec<u8>,
    reply: oneshot::Sender<()>,
}

/// Whatever has queued up, into the maps; then everybody is told.
async fn bare_writer(mut jobs: mpsc::UnboundedReceiver<Job>) {
    let (mut instances, mut steps) = (BTreeMap::new(), BTreeMap::new());
    let (mut batch, mut replies) = (Vec::new(), Vec::new());
    while jobs.recv_many(&mut batch, 512).await > 0 {
        for job in batch.drain(..) {
            match job.step {
                None => drop(instances.insert(job.id, (job.bytes, "pending"))),
                Some(step) => {
                    steps.insert((job.id, step.to_owned()), job.bytes);
                    if let Some((_, state)) = instances.get_mut(&job.id) {
                        *state = if step == "confirm" {
                            "completed"
                        } else {
                            "executing"
                        };
                    }
                }
            }
            replies.push(job.reply);
        }
        for reply in replies.drain(..) {
            let _ = reply.send(());
        }
    }
}

async fn floor_rate(in_flight: u32, per_round: Duration) -> f64 {
    let (jobs, queue) = mpsc::unbounded_channel();
    tokio::spawn(bare_writer(queue));
    let one = move |_| {
        let jobs = jobs.clone();
        async move {
            let id = SagaId::new();
            for step in [None, Some("reserve"), Some("charge"), Some("confirm")] {
                let value = format!("{} of {INPUT}", step.unwrap_or_default());
                let (reply, written) = oneshot::channel();
                let _ = jobs.send(Job {
                    id,
                    step,
                    bytes: serde_json::to_vec(&value).expect("text is JSON"),
                    reply,
                });
                written.await.expect("it is written");
            }
        }
    };
    order::rate(order::repeat(in_flight, per_round, one).await)
}

async fn rate(in_flight: u32, per_round: Duration) -> f64 {
    // Each round anew: what is finished stays in the store.
    let engine = Engine::builder(Memory::new())
        .register(Order)
        .start()
        .await
        .expect("the engine starts");
    let rate = order::rate(order::run(&engine, in_flight, per_round).await);
    engine.shutdown().await;
    rate
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let per_round = scaled(Duration::from_secs(1), Duration::from_millis(100));
    for in_flight in IN_FLIGHT {
        let (mut floors, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..scaled(7, 1) {
            floors.push(floor_rate(in_flight, per_round).await);
            rates.push(rate(in_flight, per_round).await);
        }
        tell(
            "memory",
            ("three steps", Some(in_flight)),
            order::RATE,
            &rates,
            &[("one writer of the same rows", &floors, None)],
        );
    }
}
