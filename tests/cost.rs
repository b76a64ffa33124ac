//! What a run allocates, and what a waiting instance holds. No time is measured here.

#[path = "../benches/support/waiting.rs"]
mod waiting;

use allocation_counter::measure;
use sagaz::{Engine, Memory, Outcome, Saga, StepContext, compensate, saga, step};
use tokio::runtime::Builder;
use waiting::{in_engine, runtime};

const COUNT: u32 = 10_000;

type PlainResult<T = ()> = Result<T, std::convert::Infallible>;

struct Order;

#[saga]
impl Order {
    #[step(no_compensation)]
    async fn first(&self) -> PlainResult<u64> {
        Ok(1)
    }
    #[step(no_compensation, depends_on = [first])]
    async fn left(&self, ctx: &StepContext<'_>, first: &u64) -> PlainResult<u64> {
        Ok(first + u64::from(ctx.attempt()))
    }
    #[step(no_compensation, depends_on = [first])]
    async fn right(&self, first: u64) -> PlainResult<u64> {
        Ok(first)
    }
    #[step(no_compensation, depends_on = [left, right])]
    async fn last(&self, left: &u64, right: &u64) -> PlainResult<u64> {
        Ok(left + right)
    }
}

#[test]
fn a_run_in_process_allocates_once_an_attempt() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let run = || {
        runtime.block_on(async {
            let Outcome::Completed(outputs) = Order.run(()).await else {
                panic!("it completes")
            };
            assert_eq!(outputs.last, 3);
        });
    };
    let nothing = measure(|| runtime.block_on(async {}));
    run();
    let allocations = measure(run).count_total - nothing.count_total;
    assert!(allocations <= 4, "{allocations} allocations for 4 attempts");
}

struct Failing;

#[saga]
impl Failing {
    #[step(atomic)]
    async fn reserve(&self) -> PlainResult<u64> {
        Ok(1)
    }
    #[compensate(reserve)]
    async fn release(&self, reserve: &u64) -> PlainResult {
        assert_eq!(*reserve, 1);
        Ok(())
    }
    #[step(atomic, depends_on = [reserve])]
    async fn charge(&self) -> Result<(), std::fmt::Error> {
        Err(std::fmt::Error)
    }
}

#[test]
fn unwinding_allocates_once_an_attempt_and_for_the_words_of_the_error() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let run = || assert!(runtime.block_on(Failing.run(())).is_rolled_back());
    run();
    let allocations = measure(run).count_total;
    // Three attempts; the boxed error, its place, the failure's step and message.
    assert!(
        allocations <= 3 + 6,
        "{allocations} allocations for 3 attempts"
    );
}

#[test]
fn p12_an_instance_that_waits_inside_a_step_holds_less_than_two_kibibytes() {
    let each = in_engine(COUNT, false);
    assert!((1.0..2_048.0).contains(&each), "{each} bytes each");
}

#[test]
fn p12_an_instance_that_waits_for_a_stored_wake_up_holds_nothing() {
    let each = in_engine(COUNT, true);
    // What the engine's tables have grown by, for all of them together.
    assert!(each < 64.0, "{each} bytes each");
}

#[test]
fn p12_a_finished_instance_leaves_memory() {
    let runtime = runtime();
    runtime.block_on(async {
        let engine = Engine::builder(Memory::new())
            .register(Order)
            .start()
            .await
            .unwrap();
        for _ in 0..100 {
            let handle = engine.start::<Order>(()).await.unwrap();
            assert!(handle.outcome().await.unwrap().is_completed());
            assert_eq!(engine.in_flight(), 0);
        }
        engine.shutdown().await;
    });
}
