//! A saga of three steps that do nothing, for the benchmarks of every store.

use crate::measure::Unit;
use sagaz::{Engine, compensate, saga, step, store::Store};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

type NoResult<T = ()> = Result<T, std::convert::Infallible>;

/// An input, and the output of a step.
#[derive(Serialize, Deserialize)]
pub(crate) struct Text(String);

pub(crate) struct Order;

#[saga(name = "order", input = Text)]
impl Order {
    #[step(atomic)]
    async fn reserve(&self, input: &Text) -> NoResult<Text> {
        Ok(Text(format!("reservation of {}", input.0)))
    }
    #[compensate(reserve)]
    async fn release(&self) -> NoResult {
        Ok(())
    }
    #[step(atomic, depends_on = [reserve])]
    async fn charge(&self, reserve: &Text) -> NoResult<Text> {
        Ok(Text(format!("payment for {}", reserve.0)))
    }
    #[compensate(charge)]
    async fn refund(&self) -> NoResult {
        Ok(())
    }
    #[step(atomic, no_compensation, depends_on = [charge])]
    async fn confirm(&self, charge: &Text) -> NoResult<Text> {
        Ok(Text(format!("confirmation of {}", charge.0)))
    }
}

pub(crate) const INPUT: &str =
    "order 4711 of customer 17: two compact discs, to be sent to the usual address";

/// So many tasks, each of which makes one instance after the other while the time lasts: how many were made, and how long that took.
/// `one` is told which task asks.
pub(crate) async fn repeat<F, O>(in_flight: u32, at_least: Duration, one: F) -> (u32, Duration)
where
    F: Fn(u32) -> O + Clone + Send + Sync + 'static,
    O: Future<Output = ()> + Send,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..in_flight {
        let one = one.clone();
        tasks.spawn(async move {
            let mut finished = 0;
            while began.elapsed() < at_least {
                one(task).await;
                finished += 1;
            }
            finished
        });
    }
    let finished = tasks.join_all().await.into_iter().sum();
    (finished, began.elapsed())
}

/// Instances that an engine finishes.
pub(crate) async fn run<S: Store>(
    engine: &Engine<S>,
    in_flight: u32,
    at_least: Duration,
) -> (u32, Duration) {
    let engine = engine.clone();
    let one = move |_| {
        let engine = engine.clone();
        async move {
            let handle = engine
                .start::<Order>(Text(INPUT.to_owned()))
                .await
                .expect("it starts");
            assert!(handle.outcome().await.expect("it ends").is_completed());
        }
    };
    repeat(in_flight, at_least, one).await
}

pub(crate) const RATE: Unit = Unit {
    name: "instances/s",
    more_is_better: true,
};

/// Instances a second.
pub(crate) fn rate((finished, took): (u32, Duration)) -> f64 {
    f64::from(finished) / took.as_secs_f64()
}
