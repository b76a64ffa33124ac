//! Group commit: the writes of all instances go to the store in batches.
//!
//! A batch is whatever has queued up while the one before it was being committed, so an idle engine adds no latency.
//! Invariants: a write is offered until the store answers for it, whatever the store's errors; a row that the store refuses
//! for good is found by splitting the batch, and fails alone. No two writes of an instance are in a batch: one of the engine's
//! that lost the instance may still wait when it has it again.

use super::Inner;
use crate::{
    event::Event,
    observe::{Lifecycle, Scoping, Work},
    store::{StepWrite, Store, StoreError, Write, Written},
};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

/// The most payload bytes that go into one batch, unless a single write has more.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// About how long a write waits whose row somebody else holds.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// A write that waits for its batch.
pub(crate) struct Job {
    pub(crate) write: Write,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// The store's answer to one write.
#[derive(Debug)]
pub(crate) enum Reply {
    Written(Written),
    /// Unacceptable for good.
    Refused(String),
    /// The transaction that it was in was rolled back.
    RolledBack(StoreError),
}

/// Runs until every sender is gone.
pub(crate) async fn run<S: Store>(engine: Arc<Inner<S>>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut queue = VecDeque::new();
    let mut received = Vec::new();
    loop {
        if queue.is_empty() && jobs.recv_many(&mut received, engine.config.batch_max).await == 0 {
            return;
        }
        while received.len() < engine.config.batch_max
            && let Ok(job) = jobs.try_recv()
        {
            received.push(job);
        }
        queue.extend(received.drain(..));
        commit(&engine, take_batch(&mut queue, engine.config.batch_max)).await;
        if engine.has_rivals() {
            sleep(engine.store.gap()).await;
        }
    }
}

fn take_batch(queue: &mut VecDeque<Job>, writes_max: usize) -> Vec<Job> {
    let mut bytes = 0;
    let length = queue.len().min(writes_max);
    let mut batch = Vec::with_capacity(length);
    // A write that is alone needs no look at others.
    let mut ids = HashSet::with_capacity(if length > 1 { length } else { 0 });
    while let Some(job) = queue.front() {
        bytes += size(&job.write);
        if batch.len() == writes_max
            || (bytes > BATCH_BYTES_MAX && !batch.is_empty())
            || (length > 1 && !ids.insert(job.write.id()))
        {
            break;
        }
        batch.extend(queue.pop_front());
    }
    batch
}

fn size(write: &Write) -> usize {
    match write {
        Write::Accept(accept) => accept.input.bytes.len(),
        Write::Progress(progress) => {
            let size = |step: &StepWrite| {
                let output = step.output.as_ref().map_or(0, |output| output.bytes.len());
                output + step.events.iter().map(Event::size).sum::<usize>()
            };
            progress.steps.iter().map(size).sum()
        }
    }
}

async fn commit<S: Store>(engine: &Arc<Inner<S>>, batch: Vec<Job>) {
    // Batches that are still to be written: a refused one is split in two.
    let mut stack = vec![batch];
    while let Some(mut batch) = stack.pop() {
        let began = Instant::now();
        let (writes, replies): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|job| (job.write, job.reply)).unzip();
        match offer(engine, &writes).await {
            Ok(written) => {
                engine.tell(&Lifecycle::BatchStored {
                    engine: engine.id,
                    store: engine.store.system(),
                    writes: writes.len(),
                    took: began.elapsed(),
                });
                for ((write, reply), written) in writes.into_iter().zip(replies).zip(written) {
                    if let Written::Busy | Written::Lost = written {
                        engine.tell(&Lifecycle::WriteConflict {
                            engine: engine.id,
                            store: engine.store.system(),
                            lost: written == Written::Lost,
                        });
                    }
                    if written == Written::Busy {
                        again_later(engine, Job { write, reply });
                    } else {
                        // Nobody waits for the reply of an instance that was dropped.
                        let _ = reply.send(Reply::Written(written));
                    }
                }
            }
            Err(reason) if writes.len() == 1 => {
                for reply in replies {
                    let _ = reply.send(Reply::Refused(reason.clone()));
                }
            }
            Err(_) => {
                let mut jobs: Vec<_> = writes
                    .into_iter()
                    .zip(replies)
                    .map(|(write, reply)| Job { write, reply })
                    .collect();
                let second = jobs.split_off(jobs.len() / 2);
                stack.push(second);
                stack.push(jobs);
            }
        }
    }
}

/// Queues a write once more, after a while. It is the only one of its instance, so it is overtaken by none that it precedes.
fn again_later<S: Store>(engine: &Arc<Inner<S>>, job: Job) {
    let id = job.write.id();
    engine.row_is_held(id);
    let inner = Arc::clone(engine);
    engine.spawn(async move {
        sleep(BUSY_PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        inner.send(id, job);
    });
}

impl<S: Store> Inner<S> {
    fn scope_of_write(&self, writes: usize) -> Scoping {
        let store = self.store.system();
        Scoping::begin(self.observers.as_ref(), &Work::Write { store, writes })
    }
}

/// Offers a batch until the store takes it, or refuses one of its rows for good.
async fn offer<S: Store>(engine: &Inner<S>, writes: &[Write]) -> Result<Vec<Written>, String> {
    let mut backoff = Duration::from_millis(5);
    loop {
        let scope = engine.scope_of_write(writes.len());
        let result = scope.around(engine.store.write(writes)).await;
        scope.end_by(&result, "stored");
        match result {
            Ok(written) => {
                engine.store_answered();
                return Ok(written);
            }
            Err(error) if error.is_refusal() => return Err(error.to_string()),
            Err(error) => engine.store_failed(&error),
        }
        sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        backoff = (backoff * 2).min(Duration::from_secs(1));
    }
}
