//! Sagas for each kind of step: a pivot and what is after it, transactional steps, undos that insist on an output, a last step that
//! nothing takes back, some that give trouble by themselves, events.

use super::{act, undo};
use sagaz::{
    Event, Recover, StepContext, StepError, compensate, recover, saga, step,
    store::memory::MemoryTransaction,
    testing::{Ledger, TakenBack},
};
use std::time::Duration;
use tokio::time::sleep;

/// Two steps side by side, the pivot, and two after it, one with a recovery.
macro_rules! pivotal {
    ($saga:ident, $name:literal, $($strategy:tt)*) => {
        /// See its module.
        #[derive(Debug)]
        pub(crate) struct $saga(pub Ledger);

        #[saga(name = $name, input = u64, deadline = "12h", $($strategy)*)]
        impl $saga {
            #[step]
            async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("a")]
            async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step]
            async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("b", retry(attempts = 2, initial = "1s"))]
            async fn undo_b(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a", "b"], pivot, retry(attempts = 3, initial = "1s"))]
            async fn p(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[step(depends_on = ["p"], retry(forever, initial = "1s"))]
            async fn y(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[step(depends_on = ["p"], retry(attempts = 2, initial = "1s"))]
            async fn z(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[recover("z")]
            async fn save_z(&self, ctx: &StepContext<'_>) -> Recover<u64> {
                match act(&self.0, ctx).await {
                    Ok(done) => Recover::Use(done),
                    Err(_) => Recover::Stuck,
                }
            }
        }
    };
}

/// Under which name the transactional step counts how often it was done.
pub(crate) const DONE: &str = "done";

/// A step outside, a transactional one with a transactional undo beside one outside, and another outside that publishes.
macro_rules! transactional {
    ($saga:ident, $name:literal, $($strategy:tt)*) => {
        /// See its module.
        #[derive(Debug)]
        pub(crate) struct $saga(pub Ledger);

        #[saga(name = $name, input = u64, $($strategy)*)]
        impl $saga {
            #[step]
            async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
                ctx.publish(Event::new("a.done", &1))?;
                Ok(act(&self.0, ctx).await?)
            }

            #[compensate("a")]
            async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                ctx.publish(Event::new("a.undone", &1))?;
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["a"], retry(attempts = 2, initial = "1s"))]
            async fn t(&self, ctx: &StepContext<'_>, tx: &mut MemoryTransaction) -> Result<u64, StepError> {
                let done = tx.get(DONE).map_or(0, |value| value[0]);
                tokio::task::yield_now().await;
                tx.set(DONE, [done + 1]);
                ctx.publish(Event::new("t.done", &1))?;
                Ok(1)
            }

            #[compensate("t")]
            async fn undo_t(
                &self,
                ctx: &StepContext<'_>,
                t: &u64,
                tx: &mut MemoryTransaction,
            ) -> Result<(), StepError> {
                let done = tx.get(DONE).map_or(0, |value| u64::from(value[0]));
                let left = u8::try_from(done - t).map_err(StepError::permanent)?;
                tx.set(DONE, [left]);
                ctx.publish(Event::new("t.undone", &1))
                    .map_err(StepError::permanent)
            }

            #[step(depends_on = ["a"])]
            async fn s(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
                act(&self.0, ctx).await
            }

            #[compensate("s")]
            async fn undo_s(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }

            #[step(depends_on = ["t", "s"], retry(attempts = 2, initial = "1s"))]
            async fn z(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
                ctx.publish(Event::new("z.done", &1))?;
                Ok(act(&self.0, ctx).await?)
            }

            #[compensate("z")]
            async fn undo_z(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                undo(&self.0, ctx).await
            }
        }
    };
}

in_every_strategy! {
    pivotal: PivotalFast "pivotal-fast", PivotalGrace "pivotal-grace", PivotalBounded "pivotal-bounded", PivotalAll "pivotal-all";
    transactional: TransactionalFast "transactional-fast", TransactionalGrace "transactional-grace", TransactionalBounded "transactional-bounded", TransactionalAll "transactional-all";
}

/// Steps that answer in one piece, whose undos insist on what they gave; two side by side, so that one is in flight when the other
/// fails.
#[derive(Debug)]
pub(crate) struct Insisting(pub Ledger);

#[saga(name = "insisting", input = u64)]
impl Insisting {
    #[step(atomic, retry(attempts = 2, initial = "1s"))]
    async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        act(&self.0, ctx).await
    }

    #[compensate("a")]
    async fn undo_a(&self, ctx: &StepContext<'_>, a: &u64) -> Result<(), StepError> {
        assert_eq!(*a, 1);
        undo(&self.0, ctx).await
    }

    #[step(atomic)]
    async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        act(&self.0, ctx).await
    }

    #[compensate("b")]
    async fn undo_b(&self, ctx: &StepContext<'_>, b: &u64) -> Result<(), StepError> {
        assert_eq!(*b, 1);
        undo(&self.0, ctx).await
    }

    #[step(depends_on = ["a", "b"])]
    async fn c(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        act(&self.0, ctx).await
    }

    #[compensate("c")]
    async fn undo_c(&self, ctx: &StepContext<'_>, c: Option<&u64>) -> Result<(), StepError> {
        assert!(c.is_none_or(|c| *c == 1));
        undo(&self.0, ctx).await
    }
}

/// The last step answers in one piece, and so it needs no compensation.
#[derive(Debug)]
pub(crate) struct Exempt(pub Ledger);

#[saga(name = "exempt", input = u64)]
impl Exempt {
    #[step]
    async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        act(&self.0, ctx).await
    }

    #[compensate("a")]
    async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        undo(&self.0, ctx).await
    }

    #[step(depends_on = ["a"], atomic, retry(attempts = 2, initial = "1s"))]
    async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        act(&self.0, ctx).await
    }
}

/// Of two steps side by side, one always fails when the other has just completed.
#[derive(Debug)]
pub(crate) struct Doomed(pub Ledger);

#[saga(name = "doomed", input = u64)]
impl Doomed {
    #[step]
    async fn works(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        act(&self.0, ctx).await
    }

    #[compensate("works")]
    async fn undo_works(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        undo(&self.0, ctx).await
    }

    #[step(no_compensation)]
    async fn fails(&self) -> Result<u64, StepError> {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        Err(StepError::permanent("there is no such thing"))
    }
}

/// Steps that give trouble by themselves: a pivot that is still working when it is asked first, and fails the next time; one after it
/// that never works, and is done by hand.
#[derive(Debug)]
pub(crate) struct Moody(pub Ledger);

impl Moody {
    /// How often the pivot was asked.
    const ASKED: &str = "asked";
}

#[saga(name = "moody", input = u64)]
impl Moody {
    #[step(retry(attempts = 2, initial = "1s"))]
    async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        act(&self.0, ctx).await
    }

    #[compensate("a")]
    async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        undo(&self.0, ctx).await
    }

    #[step(depends_on = ["a"], pivot, retry(attempts = 3, initial = "1s"))]
    async fn p(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        let key = ctx.action_key();
        self.0.effect(Self::ASKED, "p", &key, 1).await;
        match self.0.balance(Self::ASKED) {
            1 => Err(StepError::pending(Duration::from_secs(5))),
            2 => Err(StepError::retryable("busy").clean()),
            _ => Ok(act(&self.0, ctx).await?),
        }
    }

    #[step(depends_on = ["p"], retry(attempts = 2, initial = "1s"))]
    async fn z(&self, _ctx: &StepContext<'_>) -> Result<u64, StepError> {
        Err(StepError::permanent("it never works"))
    }

    #[recover("z")]
    async fn by_hand(&self, ctx: &StepContext<'_>) -> Recover<u64> {
        match act(&self.0, ctx).await {
            Ok(done) => Recover::Use(done),
            Err(_) => Recover::Stuck,
        }
    }
}

/// A slow step whose undo insists, one after it, and beside both one that is always declined, in the end.
#[derive(Debug)]
pub(crate) struct Declined(pub Ledger);

#[saga(name = "declined", input = u64, on_failure = "wait_all")]
impl Declined {
    #[step(atomic)]
    async fn slow(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        sleep(Duration::from_secs(3)).await;
        act(&self.0, ctx).await
    }

    #[compensate("slow")]
    async fn undo_slow(&self, ctx: &StepContext<'_>, slow: &u64) -> Result<(), StepError> {
        assert_eq!(*slow, 1);
        undo(&self.0, ctx).await
    }

    #[step(depends_on = ["slow"])]
    async fn after(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        act(&self.0, ctx).await
    }

    #[compensate("after")]
    async fn undo_after(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        undo(&self.0, ctx).await
    }

    #[step]
    async fn asks(&self) -> Result<u64, StepError> {
        sleep(Duration::from_secs(2)).await;
        Err(StepError::permanent("declined"))
    }

    #[compensate("asks")]
    async fn undo_asks(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        undo(&self.0, ctx).await
    }
}
