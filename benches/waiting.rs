//! What an instance that waits holds of memory, against a future that waits in a task.
//!
//! `cargo bench --bench waiting`. Bytes are counted by the allocator, not by the system, while 10,000 wait, in the engine alone: its
//! store keeps nothing. An instance waits inside its second step of three, with what it was given and what its first step gave;
//! as long as a wait is shorter than `wake_up_after` it does so in memory, and else as a row. The floor is written by hand: a boxed
//! future with the same two values and the same timer, spawned.

#[path = "support/measure.rs"]
mod measure;
#[path = "support/waiting.rs"]
mod waiting;

use measure::{Unit, scaled, tell};
use sagaz::Saga;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;
use waiting::{Waiting, held, in_engine, runtime};

const COUNT: u32 = 10_000;

/// Waits until so many wait where they are to.
async fn all_arrive(arrived: &AtomicU32) {
    while arrived.load(Ordering::SeqCst) < COUNT {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Bytes that a run in process holds for each.
fn in_process() -> f64 {
    let runtime = runtime();
    let arrived = Arc::new(AtomicU32::new(0));
    let mut runs = Vec::with_capacity(COUNT as usize);
    let each = held(COUNT, || {
        runtime.block_on(async {
            for number in 0..u64::from(COUNT) {
                let saga = Waiting {
                    arrived: Arc::clone(&arrived),
                    asleep: false,
                };
                runs.push(tokio::spawn(async move {
                    saga.run(number).await.is_completed()
                }));
            }
            all_arrive(&arrived).await;
        });
    });
    drop(runtime);
    each
}

/// Bytes of a boxed future and its task.
fn by_hand() -> f64 {
    fn waits(input: u64, arrived: Arc<AtomicU32>) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        Box::pin(async move {
            let first = input;
            arrived.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_hours(1)).await;
            first + input
        })
    }
    let runtime = runtime();
    let arrived = Arc::new(AtomicU32::new(0));
    let mut tasks = Vec::with_capacity(COUNT as usize);
    let each = held(COUNT, || {
        runtime.block_on(async {
            for number in 0..u64::from(COUNT) {
                tasks.push(tokio::spawn(waits(number, Arc::clone(&arrived))));
            }
            all_arrive(&arrived).await;
        });
    });
    drop(runtime);
    each
}

fn main() {
    let (mut hand, mut process, mut memory, mut row) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scaled(3, 1) {
        hand.push(by_hand());
        process.push(in_process());
        memory.push(in_engine(COUNT, false));
        row.push(in_engine(COUNT, true));
    }
    for (case, values) in [
        ("in process", process),
        ("in an engine, in memory", memory),
        ("in an engine, as a row", row),
    ] {
        tell(
            "waiting",
            (case, Some(COUNT)),
            Unit {
                name: "bytes each",
                more_is_better: false,
            },
            &values,
            &[("a boxed future in a task", &hand, None)],
        );
    }
}
