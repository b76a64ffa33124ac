//! A saga whose instances wait, and what an engine's memory holds for each: benchmarked in `waiting`, bounded in `tests/cost.rs`.

#[path = "nowhere.rs"]
mod nowhere;

use nowhere::Nowhere;
use sagaz::{Engine, StepContext, StepError, compensate, saga, step};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::sleep,
};

const HOUR: Duration = Duration::from_hours(1);

type PlainResult<T = ()> = Result<T, std::convert::Infallible>;

/// Waits inside its second step, or asks to be asked again in an hour.
pub(crate) struct Waiting {
    pub(crate) arrived: Arc<AtomicU32>,
    pub(crate) asleep: bool,
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
            return Err(StepError::pending(HOUR));
        }
        sleep(HOUR).await;
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

/// One thread, so that nothing is allocated beside what is counted.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Bytes that the allocator has given out for something and not got back, for each of so many.
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
pub(crate) fn held(count: u32, making: impl FnOnce()) -> f64 {
    allocation_counter::measure(making).bytes_current as f64 / f64::from(count)
}

/// Bytes that an engine holds for each of so many that wait: in memory, or `asleep`, as a row.
///
/// # Panics
///
/// If they do not wait where they are meant to.
pub(crate) fn in_engine(count: u32, asleep: bool) -> f64 {
    let runtime = runtime();
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
            .in_flight_max(2 * count as usize)
            .poll_interval(Duration::from_millis(20))
            .start()
            .await
            .expect("the engine starts");
        // Whatever is made on first use.
        let _ = engine.start::<Waiting>(0).await.expect("it starts");
        engine
    });
    let each = held(count, || {
        runtime.block_on(async {
            let mut starts = JoinSet::new();
            for number in 0..u64::from(count) {
                let engine = engine.clone();
                starts.spawn(async move { engine.start::<Waiting>(number).await.map(drop) });
            }
            while let Some(started) = starts.join_next().await {
                started.expect("no panic").expect("it starts");
            }
            while arrived.load(Ordering::SeqCst) <= count || (asleep && engine.in_flight() > 0) {
                sleep(Duration::from_millis(5)).await;
            }
            // What is left of tasks that have ended is swept before the engine looks at the store.
            let seen = claims.load(Ordering::SeqCst);
            while claims.load(Ordering::SeqCst) < seen + 2 {
                sleep(Duration::from_millis(5)).await;
            }
        });
    });
    let in_memory = if asleep { 0 } else { count as usize + 1 };
    assert_eq!(engine.in_flight(), in_memory, "so many are in flight");
    runtime.block_on(async { engine.abort() });
    each
}
