//! The sagas whose runs are looked at, each of a graph that `model/Graphs.tla` has under the same name.

use crate::world::Services;
use sagaz::{RunsOn, Saga, StepContext, StepError, compensate, saga, step, store::memory::Memory};

/// A saga of this test.
pub(crate) trait Chosen: Saga<Input = ()> + RunsOn<Memory> {
    const GRAPH: &'static str;
    const ON_FAILURE: &'static str;

    fn new(services: Services) -> Self;
}

/// The same graph under several strategies.
macro_rules! diamond {
    ($name:ident, $saga:literal, $strategy:literal, $word:literal) => {
        pub(crate) struct $name(Services);

        impl Chosen for $name {
            const GRAPH: &'static str = "diamond";
            const ON_FAILURE: &'static str = $word;

            fn new(services: Services) -> Self {
                Self(services)
            }
        }

        #[saga(name = $saga, input = (), on_failure = $strategy)]
        impl $name {
            #[step(timeout = "20s", retry(attempts = 3, initial = "1s"))]
            async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
                self.0.act(ctx).await
            }

            #[compensate("a", timeout = "20s", retry(attempts = 5, initial = "1s"))]
            async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                self.0.undo(ctx).await
            }

            #[step(depends_on = ["a"], timeout = "20s", retry(attempts = 2, initial = "5s"))]
            async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
                self.0.act(ctx).await
            }

            #[compensate("b", retry(attempts = 5, initial = "5s"))]
            async fn undo_b(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                self.0.undo(ctx).await
            }

            #[step(depends_on = ["a"], timeout = "20s")]
            async fn c(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
                self.0.act(ctx).await
            }

            #[compensate("c")]
            async fn undo_c(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                self.0.undo(ctx).await
            }

            #[step(depends_on = ["b", "c"], timeout = "20s", retry(attempts = 3, initial = "1s"))]
            async fn d(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
                self.0.act(ctx).await
            }

            #[compensate("d")]
            async fn undo_d(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                self.0.undo(ctx).await
            }
        }
    };
}

diamond!(Diamond, "diamond", "grace", "grace");
diamond!(FailFast, "fail-fast", "fail_fast", "fail_fast");
diamond!(WaitAll, "wait-all", "wait_all", "wait_all");

/// `a`, then the pivot `p`, then `z`.
pub(crate) struct Pivotal(Services);

impl Chosen for Pivotal {
    const GRAPH: &'static str = "pivotal";
    const ON_FAILURE: &'static str = "grace";

    fn new(services: Services) -> Self {
        Self(services)
    }
}

#[saga(name = "pivotal", input = ())]
impl Pivotal {
    #[step(timeout = "20s", retry(attempts = 3, initial = "1s"))]
    async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.act(ctx).await
    }

    #[compensate("a", timeout = "20s", retry(attempts = 5, initial = "1s"))]
    async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.undo(ctx).await
    }

    #[step(depends_on = ["a"], pivot, timeout = "20s", retry(attempts = 3, initial = "5s"))]
    async fn p(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.act(ctx).await
    }

    #[step(depends_on = ["p"], timeout = "20s", retry(attempts = 4, initial = "1s"))]
    async fn z(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.act(ctx).await
    }
}
