//! A world in which attempts have effects, and in which a test says what each attempt comes to.

use sagaz::{
    AttemptError, Failure, Lifecycle, Observer, SagaId, StepContext, StepError, compensate,
    observe::AttemptKind, saga, step,
};
use std::{
    collections::{BTreeMap, VecDeque},
    future,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// Longer than anything that a test waits for takes, in virtual time.
pub(crate) const BOUND: Duration = Duration::from_hours(4);

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A part of what an attempt does. An attempt does one after another up to the first that ends it, and then has its effect.
pub(crate) enum Act {
    /// Takes this long.
    Sleep(Duration),
    /// Does something else.
    Call(Box<dyn FnOnce() + Send>),
    /// Ends: has its effect.
    Done,
    /// Ends with this error.
    Fail(StepError),
    /// Ends with a panic.
    Panic,
    /// Never ends.
    Hang,
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The step, or `undo` and the step.
    pub(crate) what: String,
    pub(crate) attempt: u32,
    pub(crate) key: String,
    pub(crate) id: SagaId,
    /// What a compensation was told of the output.
    pub(crate) known: Option<u64>,
    /// Why the instance is undone.
    pub(crate) failure: Option<Failure>,
    /// Since the world began.
    pub(crate) at: Duration,
}

/// A clone is the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    began: Instant,
    entries: Mutex<Vec<Entry>>,
    effects: Mutex<Vec<(SagaId, String)>>,
    plans: Mutex<BTreeMap<String, VecDeque<Act>>>,
    changes: watch::Sender<u64>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            entries: Mutex::default(),
            effects: Mutex::default(),
            plans: Mutex::default(),
            changes: watch::Sender::new(0),
        }))
    }

    /// What the next attempts of `what` do. Without a plan they have their effect at once.
    pub(crate) fn plan(&self, what: &str, acts: impl IntoIterator<Item = Act>) {
        self.0
            .plans
            .lock()
            .unwrap()
            .entry(what.to_owned())
            .or_default()
            .extend(acts);
    }

    /// The next attempts of `what` end with these errors.
    pub(crate) fn fail(&self, what: &str, errors: impl IntoIterator<Item = StepError>) {
        self.plan(what, errors.into_iter().map(Act::Fail));
    }

    /// An attempt; `known` is what a compensation is told of the output.
    pub(crate) async fn attempt(
        &self,
        ctx: &StepContext<'_>,
        known: Option<u64>,
    ) -> Result<(), StepError> {
        let what = format!(
            "{}{}",
            if ctx.is_compensation() { "undo " } else { "" },
            ctx.step()
        );
        self.0.entries.lock().unwrap().push(Entry {
            what: what.clone(),
            attempt: ctx.attempt(),
            key: ctx.idempotency_key(),
            id: ctx.saga_id(),
            known,
            failure: ctx.failure().cloned(),
            at: self.now(),
        });
        self.0.changes.send_modify(|changes| *changes += 1);
        self.decide(&what).await?;
        self.0.effects.lock().unwrap().push((ctx.saga_id(), what));
        self.0.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Does what is planned next for `what`, and has no effect.
    pub(crate) async fn decide(&self, what: &str) -> Result<(), StepError> {
        loop {
            let act = self
                .0
                .plans
                .lock()
                .unwrap()
                .get_mut(what)
                .and_then(VecDeque::pop_front);
            match act {
                Some(Act::Sleep(time)) => sleep(time).await,
                Some(Act::Call(call)) => call(),
                Some(Act::Fail(error)) => return Err(error),
                Some(Act::Panic) => panic!("{what} panics"),
                Some(Act::Hang) => future::pending().await,
                Some(Act::Done) | None => return Ok(()),
            }
        }
    }

    /// The time since the world began.
    pub(crate) fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Every attempt that began, in that order.
    pub(crate) fn began(&self) -> Vec<String> {
        self.0
            .entries
            .lock()
            .unwrap()
            .iter()
            .map(|entry| entry.what.clone())
            .collect()
    }

    /// Every effect, in that order.
    pub(crate) fn effects(&self) -> Vec<String> {
        self.0
            .effects
            .lock()
            .unwrap()
            .iter()
            .map(|(_, what)| what.clone())
            .collect()
    }

    /// Every effect of one instance, in that order.
    pub(crate) fn effects_of(&self, id: SagaId) -> Vec<String> {
        self.0
            .effects
            .lock()
            .unwrap()
            .iter()
            .filter(|(of, _)| *of == id)
            .map(|(_, what)| what.clone())
            .collect()
    }

    /// The attempts of `what`.
    pub(crate) fn entries(&self, what: &str) -> Vec<Entry> {
        self.0
            .entries
            .lock()
            .unwrap()
            .iter()
            .filter(|entry| entry.what == what)
            .cloned()
            .collect()
    }

    /// Waits until so many attempts of `what` have begun.
    pub(crate) async fn wait_began(&self, what: &str, times: usize) {
        let mut changes = self.0.changes.subscribe();
        let wait = changes.wait_for(|_| self.entries(what).len() >= times);
        assert!(
            timeout(BOUND, wait).await.is_ok(),
            "`{what}` did not begin {times} times: {:?}",
            self.began()
        );
    }
}

/// Writes down what an observer is told of instances; not of engines.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    pub(crate) fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, event: &str) -> bool {
        self.events().iter().any(|seen| seen == event)
    }
}

fn undo(kind: AttemptKind) -> &'static str {
    match kind {
        AttemptKind::Compensation => "undo ",
        _ => "",
    }
}

impl Observer for Recorder {
    fn observe(&self, event: &Lifecycle<'_>) {
        let text = match event {
            Lifecycle::Accepted { .. } => "accepted".to_owned(),
            Lifecycle::Claimed {
                taken_over,
                suspect,
                ..
            } => {
                format!(
                    "claimed{}{}",
                    if *taken_over { " over" } else { "" },
                    if *suspect { " as a suspect" } else { "" }
                )
            }
            Lifecycle::StepStarted { step, attempt, .. } => format!("{step} #{attempt} started"),
            Lifecycle::AttemptCompleted {
                step,
                attempt,
                kind,
                ..
            } => {
                format!("{}{step} #{attempt} ended", undo(*kind))
            }
            Lifecycle::StepCompleted { step, attempt, .. } => format!("{step} #{attempt} stored"),
            Lifecycle::AttemptFailed {
                step,
                attempt,
                kind,
                error,
                ..
            } => {
                let undo = undo(*kind);
                let how = match error {
                    AttemptError::Error(_) => "failed",
                    AttemptError::TimedOut => "timed out",
                    AttemptError::Panicked => "panicked",
                    AttemptError::Dropped => "dropped",
                    _ => "?",
                };
                format!("{undo}{step} #{attempt} {how}")
            }
            Lifecycle::StepRetried { step, attempt, .. } => {
                format!("{step} waits after #{attempt}")
            }
            Lifecycle::StepFailed { step, unknown, .. } => {
                format!("{step} {}", if *unknown { "unknown" } else { "failed" })
            }
            Lifecycle::Compensating { .. } => "compensating".to_owned(),
            Lifecycle::CompensationStarted { step, attempt, .. } => {
                format!("undo {step} #{attempt} started")
            }
            Lifecycle::Compensated { step, attempt, .. } => {
                format!("undo {step} #{attempt} stored")
            }
            Lifecycle::CompensationRetried { step, attempt, .. } => {
                format!("undo {step} waits after #{attempt}")
            }
            Lifecycle::CompensationFailed { step, .. } => format!("undo {step} gave up"),
            Lifecycle::RecoveryStarted { step, .. } => format!("recovery of {step} started"),
            Lifecycle::Finished { state, .. } => state.to_string(),
            Lifecycle::Stuck { stuck, .. } => format!("stuck: {:?}", stuck.reason),
            Lifecycle::CancelRefused { deadline, .. } => {
                format!("{} refused", if *deadline { "deadline" } else { "cancel" })
            }
            Lifecycle::Released { .. } => "released".to_owned(),
            Lifecycle::LeaseLost { .. } => "lost".to_owned(),
            Lifecycle::OutputRefused { step, .. } => format!("output of {step} refused"),
            _ => return,
        };
        self.0.lock().unwrap().push(text);
    }
}

/// `a`, then `b` and `c`, then `d`. Every outcome can be unknown; `a` and the undo of `a` have three attempts.
pub(crate) struct Diamond(pub(crate) World);

#[saga(name = "diamond", input = u64)]
impl Diamond {
    #[step(retry(attempts = 3, initial = "1s", jitter = 0))]
    async fn a(&self, ctx: &StepContext<'_>, input: u64) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| input + 1)
    }

    #[compensate("a", retry(attempts = 3, initial = "1s", jitter = 0))]
    async fn undo_a(&self, ctx: &StepContext<'_>, a: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, a.copied()).await
    }

    #[step(depends_on = ["a"])]
    async fn b(&self, ctx: &StepContext<'_>, a: &u64) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| a * 10)
    }

    #[compensate("b")]
    async fn undo_b(&self, ctx: &StepContext<'_>, b: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, b.copied()).await
    }

    #[step(depends_on = ["a"])]
    async fn c(&self, ctx: &StepContext<'_>, a: u64) -> Result<String, StepError> {
        self.0
            .attempt(ctx, None)
            .await
            .map(|()| format!("c of {a}"))
    }

    #[compensate("c")]
    async fn undo_c(&self, ctx: &StepContext<'_>, c: Option<&String>) -> Result<(), StepError> {
        self.0.attempt(ctx, c.map(|c| c.len() as u64)).await
    }

    #[step(depends_on = ["b", "c"])]
    async fn d(&self, ctx: &StepContext<'_>, b: &u64, c: &String) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| b + c.len() as u64)
    }

    #[compensate("d")]
    async fn undo_d(&self, ctx: &StepContext<'_>, d: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, d.copied()).await
    }
}
