//! Graphs of every shape, each with every strategy. What they do is as little as can be undone: an entry in a ledger.

use super::{act, undo};
use sagaz::{
    StepContext, StepError, compensate, saga, step,
    testing::{Ledger, TakenBack},
};

/// `a`, `b`, `c` in a row: one that is tried again, one that can time out, one that answers in one piece.
macro_rules! chain {
    ($saga:ident, $name:literal, $($strategy:tt)*) => {
        /// See its module.
        #[derive(Debug)]
        pub(crate) struct $saga(pub Ledger);

        #[saga(name = $name, input = u64, $($strategy)*)]
        impl $saga {
            #[step(retry(attempts = 3, initial = "1s"))]
            async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("a")]
            async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"], timeout = "30s")]
            async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("b", retry(attempts = 2, initial = "1s"))]
            async fn undo_b(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["b"], atomic)]
            async fn c(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("c")]
            async fn undo_c(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }
        }
    };
}

/// `a`, then `b` and `c` side by side, then `d`.
macro_rules! diamond {
    ($saga:ident, $name:literal, $($strategy:tt)*) => {
        /// See its module.
        #[derive(Debug)]
        pub(crate) struct $saga(pub Ledger);

        #[saga(name = $name, input = u64, $($strategy)*)]
        impl $saga {
            #[step]
            async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("a")]
            async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"], retry(attempts = 2, initial = "1s"))]
            async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("b")]
            async fn undo_b(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"])]
            async fn c(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("c")]
            async fn undo_c(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["b", "c"])]
            async fn d(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("d")]
            async fn undo_d(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }
        }
    };
}

/// `a`, then four side by side, without an end that joins them; the undo of `d` waits for that of `b`.
macro_rules! wide {
    ($saga:ident, $name:literal, $($strategy:tt)*) => {
        /// See its module.
        #[derive(Debug)]
        pub(crate) struct $saga(pub Ledger);

        #[saga(name = $name, input = u64, $($strategy)*)]
        impl $saga {
            #[step]
            async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("a")]
            async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"])]
            async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("b")]
            async fn undo_b(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"])]
            async fn c(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("c")]
            async fn undo_c(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"])]
            async fn d(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("d", after = ["b"])]
            async fn undo_d(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"])]
            async fn e(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("e")]
            async fn undo_e(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }
        }
    };
}

/// A diamond in a diamond: `a`, then `b` and `f`; `c` and `d` after `b`; `e` joins those, and `g` everything.
macro_rules! nested {
    ($saga:ident, $name:literal, $($strategy:tt)*) => {
        /// See its module.
        #[derive(Debug)]
        pub(crate) struct $saga(pub Ledger);

        #[saga(name = $name, input = u64, $($strategy)*)]
        impl $saga {
            #[step]
            async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("a")]
            async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"])]
            async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("b")]
            async fn undo_b(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["b"])]
            async fn c(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("c")]
            async fn undo_c(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["b"])]
            async fn d(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("d")]
            async fn undo_d(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["c", "d"])]
            async fn e(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("e")]
            async fn undo_e(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"])]
            async fn f(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("f")]
            async fn undo_f(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["e", "f"])]
            async fn g(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("g")]
            async fn undo_g(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }
        }
    };
}

in_every_strategy! {
    chain: ChainFast "chain-fast", ChainGrace "chain-grace", ChainBounded "chain-bounded", ChainAll "chain-all";
    diamond: DiamondFast "diamond-fast", DiamondGrace "diamond-grace", DiamondBounded "diamond-bounded", DiamondAll "diamond-all";
    wide: WideFast "wide-fast", WideGrace "wide-grace", WideBounded "wide-bounded", WideAll "wide-all";
    nested: NestedFast "nested-fast", NestedGrace "nested-grace", NestedBounded "nested-bounded", NestedAll "nested-all";
}
