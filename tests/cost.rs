//! What a run allocates, and what a waiting instance holds. No time is measured here.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says what it saw"
)]

use allocation_counter::measure;
use sagaz::{
    Engine, EngineId, Memory, Outcome, Saga, SagaId, StepContext, StepError, System, compensate,
    saga, step,
    store::{
        Accepted, Backlog, CancelReply, Claim, Claimed, Defined, DefinitionKey, Filter,
        InstanceState, OperatorWrite, Page, Renewal, Retention, SagaStore, Snapshot, StoreError,
        Write, Written,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Builder, task::JoinSet, time::sleep};

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

/// Waits inside its second step, or asks to be asked again in an hour.
struct Waiting {
    arrived: Arc<AtomicU32>,
    asleep: bool,
}

#[saga(input = u64)]
impl Waiting {
    #[step(atomic, no_compensation)]
    async fn first(&self, input: &u64) -> PlainResult<u64> {
        Ok(*input)
    }
    #[step(atomic, depends_on = [first])]
    async fn second(&self, ctx: &StepContext<'_>, first: &u64) -> Result<u64, StepError> {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        if self.asleep {
            return Err(StepError::pending(Duration::from_hours(1)));
        }
        sleep(Duration::from_hours(1)).await;
        Ok(first + u64::from(ctx.attempt()))
    }
    #[compensate(second)]
    async fn undo(&self) -> PlainResult {
        Ok(())
    }
    #[step(atomic, no_compensation, depends_on = [second])]
    async fn third(&self, second: &u64) -> PlainResult<u64> {
        Ok(*second)
    }
}

/// Says that everything is stored, and keeps nothing: what is measured is the engine's own.
#[derive(Default)]
struct Nowhere {
    claims: Arc<AtomicU32>,
}

impl System for Nowhere {
    fn system(&self) -> &'static str {
        "nowhere"
    }
}

impl SagaStore for Nowhere {
    async fn write(&self, batch: &[Write]) -> Result<Vec<Written>, StoreError> {
        let written = |write: &Write| match write {
            Write::Accept(_) => Written::Accepted(Accepted::New),
            _ => Written::Stored {
                cancel_requested: false,
            },
        };
        Ok(batch.iter().map(written).collect())
    }

    async fn renew(&self, _: EngineId, _: Duration) -> Result<Renewal, StoreError> {
        Ok(Renewal::default())
    }

    async fn retire(&self, _: EngineId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn define(&self, _: &DefinitionKey) -> Result<Defined, StoreError> {
        Ok(Defined::Stored)
    }

    async fn claim(&self, _: &Claim) -> Result<Claimed, StoreError> {
        self.claims.fetch_add(1, Ordering::SeqCst);
        Ok(Claimed::default())
    }

    async fn load(&self, _: SagaId) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }

    async fn find(&self, _: &str, _: &str) -> Result<Option<SagaId>, StoreError> {
        Ok(None)
    }

    async fn request_cancel(&self, _: SagaId) -> Result<CancelReply, StoreError> {
        Ok(CancelReply::NotFound)
    }

    async fn operate(&self, _: &OperatorWrite) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &Filter) -> Result<Page, StoreError> {
        Ok(Page::default())
    }

    async fn count(&self) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
        Ok(Vec::new())
    }

    async fn archived(&self, _: SagaId) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }
    async fn prune(&self, _: Duration, _: u32, _: Retention) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// Bytes that an engine holds for each of many instances.
fn bytes_each(asleep: bool) -> i64 {
    const COUNT: u32 = 10_000;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (arrived, claims) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let engine = runtime.block_on(async {
        let saga = Waiting {
            arrived: Arc::clone(&arrived),
            asleep,
        };
        let store = Nowhere {
            claims: Arc::clone(&claims),
        };
        let engine = Engine::builder(store)
            .register(saga)
            .in_flight_max(20_000)
            .poll_interval(Duration::from_millis(20))
            .start()
            .await
            .unwrap();
        // Whatever is made on first use.
        let _ = engine.start::<Waiting>(0).await.unwrap();
        engine
    });
    let held = measure(|| {
        runtime.block_on(async {
            let mut starts = JoinSet::new();
            for number in 0..u64::from(COUNT) {
                let engine = engine.clone();
                starts.spawn(async move { engine.start::<Waiting>(number).await.map(drop) });
            }
            while let Some(started) = starts.join_next().await {
                started.unwrap().unwrap();
            }
            while arrived.load(Ordering::SeqCst) <= COUNT || (asleep && engine.in_flight() > 0) {
                sleep(Duration::from_millis(5)).await;
            }
            // What is left of tasks that have ended is swept before the engine looks at the store.
            let seen = claims.load(Ordering::SeqCst);
            while claims.load(Ordering::SeqCst) < seen + 2 {
                sleep(Duration::from_millis(5)).await;
            }
        });
    });
    if !asleep {
        assert!(
            engine.in_flight() > COUNT as usize,
            "they are all in flight"
        );
    }
    let each = held.bytes_current / i64::from(COUNT);
    println!("asleep: {asleep}, {each} bytes each");
    runtime.block_on(async { engine.abort() });
    each
}

#[test]
fn p12_an_instance_that_waits_inside_a_step_holds_less_than_two_kibibytes() {
    let each = bytes_each(false);
    assert!((1..2_048).contains(&each), "{each} bytes each");
}

#[test]
fn p12_an_instance_that_waits_for_a_stored_wake_up_holds_nothing() {
    let each = bytes_each(true);
    // What the engine's tables have grown by, for all of them together.
    assert!(each < 64, "{each} bytes each");
}

#[test]
fn p12_a_finished_instance_leaves_memory() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
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
