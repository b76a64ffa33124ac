//! What an in-process run costs, against hand-written code measured in the same run.
//!
//! `cargo bench --bench in_process`. Each shape is run in two ways, each with a floor of its kind. `run` is in the task of the caller,
//! as are the same steps awaited one after the other, with nothing around them. `run_detached` is a task of its own, as are the same
//! steps with as many `tokio::spawn`s as make them cancel-safe or parallel, one a run, and eight more for eight steps side by
//! side. The measurements are interleaved, round by round. With a word as argument, only the shapes that contain it, for a profiler.

#[path = "support/measure.rs"]
mod measure;
#[path = "support/shapes.rs"]
mod shapes;

use measure::{Unit, scaled, tell};
use sagaz::{InProcess, RunsOn, Saga};
use shapes::{Diamond, Failing, Hundred, PlainResult, Three};
use std::{hint::black_box, time::Instant};
use tokio::runtime::Runtime;

/// A step.
#[expect(clippy::unused_async, reason = "what a step is by hand")]
async fn step(value: u64) -> PlainResult<u64> {
    Ok(black_box(value))
}

async fn three() -> PlainResult<u64> {
    Ok(step(1).await? + step(2).await? + step(3).await?)
}

async fn hundred() -> PlainResult<u64> {
    let mut sum = 0;
    for value in 0..100 {
        sum += step(value).await?;
    }
    Ok(sum)
}

/// The third step fails, and the two before it are undone.
async fn failing() -> Result<u64, std::fmt::Error> {
    #[expect(clippy::unused_async, reason = "what a step is by hand")]
    async fn fails() -> Result<u64, std::fmt::Error> {
        black_box(Err(std::fmt::Error))
    }
    let (Ok(a), Ok(b)) = (step(1).await, step(2).await);
    match fails().await {
        Ok(c) => Ok(a + b + c),
        Err(error) => {
            let _ = (step(b).await, step(a).await);
            Err(error)
        }
    }
}

async fn diamond() -> PlainResult<u64> {
    let first = step(1).await?;
    let (f0, f1, f2, f3, (f4, f5, f6, f7)) = tokio::join!(
        step(first),
        step(first + 1),
        step(first + 2),
        step(first + 3),
        async {
            tokio::join!(
                step(first + 4),
                step(first + 5),
                step(first + 6),
                step(first + 7)
            )
        }
    );
    step(f0? + f1? + f2? + f3? + f4? + f5? + f6? + f7?).await
}

async fn spawned_diamond() -> PlainResult<u64> {
    let first = step(1).await?;
    let tasks: [_; 8] = std::array::from_fn(|nth| tokio::spawn(step(first + nth as u64)));
    let mut sum = 0;
    for task in tasks {
        let Ok(Ok(value)) = task.await else {
            return Ok(0);
        };
        sum += value;
    }
    step(sum).await
}

/// Nanoseconds for one: of many measurements, each shorter than what the system gives a thread at once, the least, for all that
/// disturbs makes it longer.
#[expect(clippy::cast_precision_loss, reason = "a rounded figure")]
fn time<T>(runtime: &Runtime, count: u32, mut one: impl AsyncFnMut() -> T) -> f64 {
    runtime.block_on(async {
        let mut least = f64::INFINITY;
        for _ in 0..scaled(50, 2) {
            let began = Instant::now();
            for _ in 0..count {
                black_box(one().await);
            }
            least = least.min(began.elapsed().as_nanos() as f64 / f64::from(count));
        }
        least
    })
}

/// In the task of the caller.
fn runs<G: Saga<Input = ()> + RunsOn<InProcess>>(
    runtime: &Runtime,
    count: u32,
    make: fn() -> G,
) -> f64 {
    time(runtime, count, async || make().run(()).await)
}

/// In a task of its own.
fn detached<G: Saga<Input = ()> + RunsOn<InProcess>>(
    runtime: &Runtime,
    count: u32,
    make: fn() -> G,
) -> f64 {
    time(runtime, count, async || make().run_detached(()).await)
}

/// Four ways of the same work, in nanoseconds.
struct Shape<'a> {
    name: &'static str,
    run: &'a dyn Fn() -> f64,
    by_hand: &'a dyn Fn() -> f64,
    detached: &'a dyn Fn() -> f64,
    spawned: &'a dyn Fn() -> f64,
    /// Of what is detached.
    wanted: Option<f64>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let runtime = &runtime;
    let (many, some, few) = scaled((500, 200, 30), (200, 100, 20));
    let shapes = [
        Shape {
            name: "3 steps",
            run: &|| runs(runtime, many, || Three),
            by_hand: &|| time(runtime, many, async || three().await),
            detached: &|| detached(runtime, many, || Three),
            spawned: &|| time(runtime, many, async || tokio::spawn(three()).await),
            // The saga itself adds no more than a spawned task costs.
            wanted: Some(2.0),
        },
        Shape {
            name: "third of 3 fails, 2 undone",
            run: &|| runs(runtime, many, || Failing),
            by_hand: &|| time(runtime, many, async || failing().await),
            detached: &|| detached(runtime, many, || Failing),
            spawned: &|| time(runtime, many, async || tokio::spawn(failing()).await),
            wanted: None,
        },
        Shape {
            name: "1 -> 8 -> 1",
            run: &|| runs(runtime, some, || Diamond),
            by_hand: &|| time(runtime, some, async || diamond().await),
            detached: &|| detached(runtime, some, || Diamond),
            spawned: &|| {
                time(runtime, some, async || {
                    tokio::spawn(spawned_diamond()).await
                })
            },
            wanted: Some(1.0),
        },
        Shape {
            name: "chain of 100",
            run: &|| runs(runtime, few, || Hundred),
            by_hand: &|| time(runtime, few, async || hundred().await),
            detached: &|| detached(runtime, few, || Hundred),
            spawned: &|| time(runtime, few, async || tokio::spawn(hundred()).await),
            wanted: None,
        },
    ];
    let word = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let shapes: Vec<_> = shapes
        .into_iter()
        .filter(|shape| word.as_ref().is_none_or(|word| shape.name.contains(word)))
        .collect();
    let mut times = vec![[const { Vec::new() }; 4]; shapes.len()];
    // The first round warms up.
    for round in 0..=scaled(31, 1) {
        for (times, shape) in times.iter_mut().zip(&shapes) {
            let ways = [shape.run, shape.by_hand, shape.detached, shape.spawned];
            let measured = ways.map(|way| way());
            if round > 0 {
                for (times, time) in times.iter_mut().zip(measured) {
                    times.push(time);
                }
            }
        }
    }
    let unit = Unit {
        name: "ns a run",
        more_is_better: false,
    };
    let told =
        |case: &str, times: &[f64], floor| tell("in-process", (case, None), unit, times, &[floor]);
    for ([run, by_hand, ..], shape) in times.iter().zip(&shapes) {
        told(shape.name, run, ("by hand", by_hand, None));
    }
    for ([.., detached, spawned], shape) in times.iter().zip(&shapes) {
        let case = format!("{}, detached", shape.name);
        told(&case, detached, ("by hand, spawned", spawned, shape.wanted));
    }
}
