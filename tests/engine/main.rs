//! The durable engine on the memory store, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod attacked;
mod cancel;
mod contradictions;
mod crash;
mod faults;
mod last;
mod late;
mod lease;
mod limits;
mod observe;
mod operator;
mod panics;
mod poison;
mod publish;
mod shutdown;
mod sleep;
mod soak;
mod start;
mod transactions;
mod versions;

use sagaz::{
    Engine, EngineBuilder, Failure, Handle, Outcome, Recover, Saga, SagaId, StepContext, StepError,
    Stuck, compensate, recover, saga, step,
    store::{InstanceState, Snapshot, StepRow, memory::Memory},
};
use std::time::Duration;
use support::{Act, BOUND, SECOND, World};
use tokio::time::timeout;

/// After this long without a renewal, others take over.
const LEASE: Duration = Duration::from_secs(15);

/// `one`, `two`, `three` in a row; every outcome can be unknown, and `two` has three attempts.
struct Line(World);

#[saga(name = "line", input = u64)]
impl Line {
    #[step]
    async fn one(&self, ctx: &StepContext<'_>, input: u64) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| input + 1)
    }

    #[compensate("one", retry(attempts = 3, initial = "1s"))]
    async fn undo_one(&self, ctx: &StepContext<'_>, one: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, one.copied()).await
    }

    #[step(depends_on = ["one"], retry(attempts = 3, initial = "1s", jitter = 0))]
    async fn two(&self, ctx: &StepContext<'_>, one: &u64) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| one + 1)
    }

    #[compensate("two", retry(attempts = 3, initial = "1s"))]
    async fn undo_two(&self, ctx: &StepContext<'_>, two: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, two.copied()).await
    }

    #[step(depends_on = ["two"])]
    async fn three(&self, ctx: &StepContext<'_>, two: &u64) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| two + 1)
    }

    #[compensate("three")]
    async fn undo_three(
        &self,
        ctx: &StepContext<'_>,
        three: Option<&u64>,
    ) -> Result<(), StepError> {
        self.0.attempt(ctx, three.copied()).await
    }
}

/// `a`, then the pivot `p`, then `z`.
struct Pivotal(World);

#[saga(name = "pivotal", deadline = "1h")]
impl Pivotal {
    #[step(retry(attempts = 3, initial = "1s"))]
    async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("a")]
    async fn undo_a(&self, ctx: &StepContext<'_>, a: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, a.copied()).await
    }

    #[step(depends_on = ["a"], pivot, retry(attempts = 3, initial = "1s"))]
    async fn p(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 2)
    }

    #[step(depends_on = ["p"], retry(attempts = 2, initial = "1s"))]
    async fn z(&self, ctx: &StepContext<'_>, p: &u64) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| p + 1)
    }

    /// Planned as attempts of `recover`: a success is `Use`, a wait `RetryAfter`, and any error `Stuck`.
    #[recover("z")]
    async fn save_z(&self) -> Recover<u64> {
        match self.0.decide("recover").await {
            Ok(()) => Recover::Use(100),
            Err(error) if error.is_retryable() => Recover::RetryAfter(SECOND * 600),
            Err(_) => Recover::Stuck,
        }
    }
}

/// `sure` is undone with its output or not at all; `next` fails it.
struct Insisting(World);

#[saga(name = "insisting")]
impl Insisting {
    #[step(atomic)]
    async fn sure(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 7)
    }

    #[compensate("sure")]
    async fn undo_sure(&self, ctx: &StepContext<'_>, sure: &u64) -> Result<(), StepError> {
        self.0.attempt(ctx, Some(*sure)).await
    }

    #[step(atomic)]
    async fn other(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 8)
    }

    #[compensate("other")]
    async fn undo_other(&self, ctx: &StepContext<'_>, other: &u64) -> Result<(), StepError> {
        self.0.attempt(ctx, Some(*other)).await
    }
}

/// An engine that runs the sagas of this file in this world.
fn engine(store: &Memory, world: &World) -> EngineBuilder<Memory> {
    Engine::builder(store.clone())
        .lease(LEASE)
        .register(Line(world.clone()))
        .register(Pivotal(world.clone()))
        .register(Insisting(world.clone()))
}

async fn started(store: &Memory, world: &World) -> Engine<Memory> {
    engine(store, world).start().await.unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(BOUND, future).await.expect("it comes to an end")
}

async fn outcome<G: Saga>(handle: &Handle<G, Memory>) -> Outcome<G::Outputs> {
    within(handle.outcome()).await.unwrap()
}

async fn failure<G: Saga>(handle: &Handle<G, Memory>) -> Failure {
    match outcome(handle).await {
        Outcome::RolledBack(failure) => failure,
        Outcome::Stuck(stuck) => panic!("not rolled back: {stuck:?}"),
        Outcome::Completed(_) => panic!("not rolled back: completed"),
    }
}

async fn stuck<G: Saga>(handle: &Handle<G, Memory>) -> Stuck {
    match outcome(handle).await {
        Outcome::Stuck(stuck) => stuck,
        Outcome::RolledBack(failure) => panic!("not stuck: {failure:?}"),
        Outcome::Completed(_) => panic!("not stuck: completed"),
    }
}

async fn completed<G: Saga>(handle: &Handle<G, Memory>) -> G::Outputs {
    match outcome(handle).await {
        Outcome::Completed(outputs) => outputs,
        Outcome::RolledBack(failure) => panic!("not completed: {failure:?}"),
        Outcome::Stuck(stuck) => panic!("not completed: {stuck:?}"),
    }
}

async fn snapshot(store: &Memory, id: SagaId) -> Snapshot {
    use sagaz::store::SagaStore;
    store.load(id).await.unwrap().expect("it is stored")
}

async fn state(store: &Memory, id: SagaId) -> InstanceState {
    snapshot(store, id).await.summary.state
}

async fn row(store: &Memory, id: SagaId, step: &str) -> StepRow {
    let rows = snapshot(store, id).await.steps;
    rows.into_iter()
        .find(|row| row.name == step)
        .unwrap_or_else(|| panic!("no row of `{step}`"))
}

/// Waits until the condition holds, looking at it every tenth of a virtual second.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(
        timeout(BOUND, wait).await.is_ok(),
        "it never came to this: {what}"
    );
}

fn seconds(seconds: u32) -> Act {
    Act::Sleep(SECOND * seconds)
}

fn clean() -> StepError {
    StepError::retryable("refused").clean()
}

fn unclear() -> StepError {
    StepError::retryable("broken")
}

fn permanent() -> StepError {
    StepError::permanent("declined")
}
