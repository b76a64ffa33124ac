//! The saga whose rows are written by others, and its services: a ledger of what was called for which instance.

use sagaz::{
    Lifecycle, Observer, Recover, SagaId, StepContext, StepError, compensate, recover, saga, step,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Each behind those that it depends on.
pub(crate) const STEPS: [&str; 5] = ["reserve", "check", "charge", "book", "confirm"];

/// Those that are undone.
pub(crate) const COMPENSATED: [&str; 2] = ["reserve", "charge"];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    number: u32,
}

impl Order {
    pub(crate) const GOOD: Self = Self { number: 7 };
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reservation {
    id: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payment {
    cents: u32,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Succeed,
    Retryable,
    Clean,
    Permanent,
    Unknown,
    Pending,
    Panic,
    Slow,
}

impl Act {
    pub(crate) const ALL: [Self; 8] = [
        Self::Succeed,
        Self::Retryable,
        Self::Clean,
        Self::Permanent,
        Self::Unknown,
        Self::Pending,
        Self::Panic,
        Self::Slow,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Succeed => "succeed",
            Self::Retryable => "retryable",
            Self::Clean => "clean",
            Self::Permanent => "permanent",
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Panic => "panic",
            Self::Slow => "slow",
        }
    }
}

/// How the first attempts end; the others succeed. Undos are named `-charge`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan(BTreeMap<String, (Act, u8)>);

impl Plan {
    pub(crate) fn act(&mut self, of: &str, act: Act, times: u8) {
        self.0.insert(of.to_owned(), (act, times));
    }
}

/// What the services know.
#[derive(Clone, Debug)]
pub(crate) struct World(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    plan: Plan,
    /// The instance that the plan is for.
    victim: Option<SagaId>,
    calls: Vec<(SagaId, &'static str, bool)>,
    /// Mistakes of ours that the engine caught.
    panics: Vec<String>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        Self(Arc::new(Mutex::new(State {
            plan,
            victim: None,
            calls: Vec::new(),
            panics: Vec::new(),
        })))
    }

    pub(crate) fn is_for(&self, victim: SagaId) {
        self.with(|state| state.victim = Some(victim));
    }

    pub(crate) fn shop(&self) -> Shop {
        Shop(self.clone())
    }

    pub(crate) fn patient(&self) -> Patient {
        Patient(self.clone())
    }

    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(self.clone())
    }

    /// Names of the steps that were called, in order.
    pub(crate) fn actions(&self, id: SagaId) -> Vec<&'static str> {
        self.calls(id, false)
    }

    pub(crate) fn undos(&self, id: SagaId) -> Vec<&'static str> {
        self.calls(id, true)
    }

    fn calls(&self, id: SagaId, undo: bool) -> Vec<&'static str> {
        self.with(|state| {
            let calls = state
                .calls
                .iter()
                .filter(|call| (call.0, call.2) == (id, undo));
            calls.map(|call| call.1).collect()
        })
    }

    /// It was not disturbed: each of its steps has run once, and nothing was undone.
    pub(crate) fn check_neighbour(&self, id: SagaId) {
        let mut actions = self.actions(id);
        actions.sort_unstable();
        let mut all = STEPS;
        all.sort_unstable();
        assert_eq!(actions, all, "each step of a neighbour has run once");
        assert!(self.undos(id).is_empty());
    }

    /// Whatever depends on a step was undone before it.
    pub(crate) fn check_order_of_undos(&self, id: SagaId) {
        let undos = self.undos(id);
        for (step, dependents) in [
            ("reserve", &["charge", "check", "book"][..]),
            ("charge", &["book"][..]),
        ] {
            let first = undos.iter().position(|undo| *undo == step);
            let last = undos.iter().rposition(|undo| dependents.contains(undo));
            assert!(
                first.is_none() || last.is_none() || last < first,
                "{undos:?}"
            );
        }
    }

    /// No task of an engine has panicked.
    pub(crate) fn check_quiet(&self) {
        self.with(|state| assert!(state.panics.is_empty(), "{:?}", state.panics));
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn call(
        &self,
        ctx: &StepContext<'_>,
        step: &'static str,
        undo: bool,
    ) -> Result<(), StepError> {
        let act = self.with(|state| {
            state.calls.push((ctx.saga_id(), step, undo));
            if state.victim != Some(ctx.saga_id()) {
                return Act::Succeed;
            }
            let name = if undo {
                format!("-{step}")
            } else {
                step.to_owned()
            };
            match state.plan.0.get_mut(&name) {
                Some((act, left)) if *left > 0 => {
                    *left -= 1;
                    *act
                }
                _ => Act::Succeed,
            }
        });
        let words = "as it was planned";
        match act {
            Act::Succeed => Ok(()),
            Act::Retryable => Err(StepError::retryable(words)),
            Act::Clean => Err(StepError::retryable(words).clean()),
            Act::Permanent => Err(StepError::permanent(words)),
            Act::Unknown => Err(StepError::unknown(words)),
            Act::Pending => Err(StepError::pending(Duration::from_mins(5))),
            // No hook is told.
            Act::Panic => resume_unwind(Box::new(words)),
            Act::Slow => {
                tokio::time::sleep(Duration::from_mins(2)).await;
                Ok(())
            }
        }
    }
}

impl Observer for World {
    fn observe(&self, event: &Lifecycle<'_>) {
        if matches!(event, Lifecycle::DriverPanicked { .. }) {
            self.with(|state| state.panics.push(format!("{event:?}")));
        }
    }
}

/// The same saga with another strategy.
macro_rules! shop {
    ($Shop:ident $name:literal $strategy:ident) => {
        #[derive(Clone, Debug)]
        pub(crate) struct $Shop(World);

        #[saga(name = $name, input = Order, version = 2, accepts = [1], on_failure = $strategy)]
        impl $Shop {
            #[step(atomic)]
            async fn reserve(
                &self,
                ctx: &StepContext<'_>,
                order: &Order,
            ) -> Result<Reservation, StepError> {
                self.0.call(ctx, "reserve", false).await?;
                Ok(Reservation {
                    id: order.number.into(),
                })
            }

            #[compensate("reserve", retry(attempts = 3, initial = "1s"))]
            async fn release(
                &self,
                ctx: &StepContext<'_>,
                reserve: &Reservation,
            ) -> Result<(), StepError> {
                let _ = reserve.id;
                self.0.call(ctx, "reserve", true).await
            }

            #[step(depends_on = ["reserve"], no_compensation)]
            async fn check(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                self.0.call(ctx, "check", false).await
            }

            #[step(depends_on = ["reserve"], timeout = "30s", retry(attempts = 3, initial = "1s"))]
            async fn charge(
                &self,
                ctx: &StepContext<'_>,
                reserve: &Reservation,
            ) -> Result<Payment, StepError> {
                self.0.call(ctx, "charge", false).await?;
                Ok(Payment {
                    cents: u32::try_from(reserve.id).unwrap_or(1),
                })
            }

            #[compensate("charge", retry(attempts = 3, initial = "1m"))]
            async fn refund(
                &self,
                ctx: &StepContext<'_>,
                charge: Option<&Payment>,
            ) -> Result<(), StepError> {
                let _ = charge.map(|charge| charge.cents);
                self.0.call(ctx, "charge", true).await
            }

            #[step(depends_on = ["charge", "check"], pivot, retry(attempts = 3, initial = "1s"))]
            async fn book(
                &self,
                ctx: &StepContext<'_>,
                charge: &Payment,
            ) -> Result<String, StepError> {
                self.0.call(ctx, "book", false).await?;
                Ok(format!("paid {}", charge.cents))
            }

            #[step(depends_on = ["book"], retry(attempts = 2, initial = "1m"))]
            async fn confirm(&self, ctx: &StepContext<'_>, book: &String) -> Result<(), StepError> {
                let _ = book.len();
                self.0.call(ctx, "confirm", false).await
            }

            #[recover("confirm")]
            async fn confirm_later(&self, ctx: &StepContext<'_>) -> Recover<()> {
                let _ = ctx;
                Recover::RetryAfter(Duration::from_mins(10))
            }
        }
    };
}

shop!(Shop "shop" grace);
shop!(Patient "patient" wait_all);
