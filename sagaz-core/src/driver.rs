//! Carries out what the state machine asks for: makes, polls and drops the futures of one instance.
//!
//! One driver for runs in process and for durable instances; a [`Host`] is the difference. It allocates nothing by itself:
//! a future is boxed by the generated code, once an attempt, and everything else has one place a step.
//! Invariant: of one step, at most one future is alive.

use crate::{
    context::{Shared, StepContext},
    observe::{AttemptError, Instance, Lifecycle, Observer},
    outcome::{Failure, FailureReason, Stuck},
    private::{AttemptEnd, RecoverEnd, RecoverFuture, Scene, StepFuture},
    saga::Saga,
    state::{Cause, Effect, Ended, Event, Machine, Record, Recovered, Sink, StepCell},
    step_error::StepError,
    store::InstanceState,
};
use futures_util::FutureExt;
use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Where an instance runs: what stores its records and may hold its attempts back.
pub(crate) trait Host<G: Saga> {
    /// Whether records are stored, and how long attempts took is asked.
    const DURABLE: bool;

    /// Whether an attempt may begin now.
    fn poll_admit(&mut self, step: usize, undo: bool, cx: &mut Context<'_>) -> Poll<()>;

    /// An attempt ended or was dropped.
    fn attempt_over(&mut self, step: usize);

    /// Has to be stored.
    fn record(&mut self, record: Record);

    /// A wait begins. One that a former owner began lasts as long as is stored, and not as the policy says.
    fn wait(&mut self, step: usize, undo: bool, delay: Duration) -> Waits;

    /// Something happened outside.
    fn poll(&mut self, view: View<'_, G>, cx: &mut Context<'_>) -> Poll<Happened>;
}

/// How long a step waits, and since whose time.
pub(crate) struct Waits {
    pub(crate) delay: Duration,
    pub(crate) inherited: bool,
}

/// What a host sees of an instance.
pub(crate) struct View<'v, G: Saga> {
    pub(crate) machine: &'v Machine<G::PerStep<StepCell>>,
    pub(crate) troubles: &'v Troubles,
    pub(crate) shared: &'v Shared,
    pub(crate) saga: &'v G,
    pub(crate) slots: &'v G::Slots,
    /// Attempts that have begun and not ended.
    pub(crate) begun: usize,
    work: &'v [Work<'v>],
}

impl<G: Saga> View<'_, G> {
    /// Whether the step's attempt is held back and has not begun.
    pub(crate) fn is_held(&self, step: usize) -> bool {
        matches!(self.work[step], Work::Held(_))
    }
}

/// What happened outside.
pub(crate) enum Happened {
    Event(Event),
    /// These records are stored.
    Stored(Vec<Record>),
    /// The output of this step cannot be stored, for this reason.
    Refused(usize, String),
    /// Leave the instance as it is: it is another engine's, or given up.
    Leave(Leave),
}

/// Why a driver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// The instance has come to its end.
    Ended(InstanceState),
    /// It was given up in good order.
    Released,
    /// It is another engine's.
    Lost,
}

/// The longest wait: a hundred years.
const DELAY_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// What there is to do for one step.
enum Work<'a> {
    Nothing,
    /// An attempt that has not begun.
    Held(Kind),
    Step(StepFuture<'a>, Option<Instant>),
    Undo(StepFuture<'a>, Option<Instant>),
    Recover(RecoverFuture<'a>),
    Wait(Pin<Box<Sleep>>),
    /// Dropped on demand; whether it had begun.
    Dropped {
        begun: bool,
    },
}

#[derive(Clone, Copy)]
enum Kind {
    Step,
    Undo { known: bool },
    Recover,
}

/// The last error of each step that had one, for messages and recoveries. Empty on the path without failures.
#[derive(Default)]
pub(crate) struct Troubles(Vec<(u16, Arc<StepError>)>);

impl Troubles {
    pub(crate) fn of(&self, step: usize) -> Option<&Arc<StepError>> {
        self.0
            .iter()
            .find(|(at, _)| usize::from(*at) == step)
            .map(|(_, error)| error)
    }

    pub(crate) fn set(&mut self, step: usize, error: StepError) -> Arc<StepError> {
        let error = Arc::new(error);
        match self.0.iter_mut().find(|(at, _)| usize::from(*at) == step) {
            Some((_, last)) => *last = Arc::clone(&error),
            None => self
                .0
                .push((u16::try_from(step).unwrap_or(u16::MAX), Arc::clone(&error))),
        }
        error
    }

    /// The words of a step's last error.
    pub(crate) fn message(&self, step: usize) -> String {
        self.of(step)
            .map_or_else(String::new, |error| clipped(&error.to_string()))
    }
}

/// Messages are bounded: an error may carry a whole response.
pub(crate) fn clipped(message: &str) -> String {
    const CHARS_MAX: usize = 2_000;
    match message.char_indices().nth(CHARS_MAX) {
        None => message.to_owned(),
        Some((at, _)) => format!("{} ..", &message[..at]),
    }
}

/// The futures of one instance.
struct Crew<'a, G: Saga, H> {
    saga: &'a G,
    stage: Stage<'a, G>,
    shared: &'a Shared,
    observer: Option<&'a dyn Observer>,
    work: G::PerStep<Work<'a>>,
    /// The steps that have work: the first `busy` places.
    active: G::PerStep<u16>,
    busy: usize,
    /// Where the next look at the work begins, so that a busy step does not starve another.
    cursor: usize,
    grace: Option<Pin<Box<Sleep>>>,
    troubles: &'a mut Troubles,
    host: &'a mut H,
}

/// What attempts borrow.
pub(crate) struct Stage<'a, G: Saga> {
    pub(crate) input: &'a G::Input,
    pub(crate) slots: &'a G::Slots,
    pub(crate) contexts: &'a [StepContext<'a>],
}

impl<'a, G: Saga> Stage<'a, G> {
    fn scene(&self, step: usize, known: bool) -> Scene<'a, G> {
        Scene {
            input: self.input,
            slots: self.slots,
            context: &self.contexts[step],
            known,
        }
    }
}

/// Runs an instance until it ends or is left.
#[expect(
    clippy::too_many_arguments,
    reason = "each is borrowed for another time"
)]
pub(crate) async fn drive<'a, G: Saga, H: Host<G>>(
    saga: &'a G,
    stage: Stage<'a, G>,
    shared: &'a Shared,
    observer: Option<&'a dyn Observer>,
    machine: &mut Machine<G::PerStep<StepCell>>,
    cancel: Option<FailureReason>,
    troubles: &'a mut Troubles,
    host: &'a mut H,
) -> Leave {
    let mut crew = Crew {
        saga,
        stage,
        shared,
        observer,
        work: saga.per_step(|_| Work::Nothing),
        active: saga.per_step(|_| 0),
        busy: 0,
        cursor: 0,
        grace: None,
        troubles,
        host,
    };
    machine.apply(Event::Begin { cancel }, &mut crew);
    while !machine.has_ended() {
        match poll_fn(|cx| crew.poll(machine, cx)).await {
            Happened::Event(event) => machine.apply(event, &mut crew),
            Happened::Stored(records) => {
                for record in records {
                    machine.apply(Event::Stored(record), &mut crew);
                }
            }
            Happened::Refused(step, reason) => {
                crew.troubles.set(step, StepError::unknown(reason));
                machine.apply(Event::Refused(step), &mut crew);
            }
            Happened::Leave(leave) => return leave,
        }
    }
    Leave::Ended(machine.state())
}

impl<G: Saga, H: Host<G>> Crew<'_, G, H> {
    #[inline]
    fn poll(
        &mut self,
        machine: &mut Machine<G::PerStep<StepCell>>,
        cx: &mut Context<'_>,
    ) -> Poll<Happened> {
        if let Poll::Ready(event) = self.poll_work(cx) {
            return Poll::Ready(Happened::Event(event));
        }
        if let Some(grace) = &mut self.grace
            && grace.as_mut().poll(cx).is_ready()
        {
            self.grace = None;
            return Poll::Ready(Happened::Event(Event::GraceOver));
        }
        let begun = if H::DURABLE { self.begun() } else { 0 };
        let view = View {
            machine,
            troubles: self.troubles,
            shared: self.shared,
            saga: self.saga,
            slots: self.stage.slots,
            begun,
            work: self.work.as_ref(),
        };
        self.host.poll(view, cx)
    }

    fn begun(&self) -> usize {
        let active = &self.active.as_ref()[..self.busy];
        let begun = |step: &&u16| {
            matches!(
                self.work.as_ref()[usize::from(**step)],
                Work::Step(..) | Work::Undo(..) | Work::Recover(_)
            )
        };
        active.iter().filter(begun).count()
    }

    /// The next event of an attempt or a wait.
    #[inline]
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut pending = 0;
        while pending < self.busy {
            if self.cursor >= self.busy {
                self.cursor = 0;
            }
            let step = usize::from(self.active.as_ref()[self.cursor]);
            match self.poll_step(step, cx) {
                Poll::Pending => {
                    self.cursor += 1;
                    pending += 1;
                }
                Poll::Ready(event) => {
                    self.free(self.cursor);
                    return Poll::Ready(event);
                }
            }
        }
        Poll::Pending
    }

    #[inline]
    fn poll_step(&mut self, step: usize, cx: &mut Context<'_>) -> Poll<Event> {
        if let Work::Held(kind) = self.work.as_ref()[step] {
            ready!(
                self.host
                    .poll_admit(step, matches!(kind, Kind::Undo { .. }), cx)
            );
            self.start(step, kind);
        }
        let event = match &mut self.work.as_mut()[step] {
            Work::Step(future, began) => {
                let (end, began) = (ready!(poll_caught(future, cx)), *began);
                Event::StepEnded(step, self.attempt_ended(step, false, end, began))
            }
            Work::Undo(future, began) => {
                let (end, began) = (ready!(poll_caught(future, cx)), *began);
                Event::UndoEnded(step, self.attempt_ended(step, true, end, began))
            }
            Work::Recover(future) => {
                let end = ready!(poll_caught(future, cx));
                self.host.attempt_over(step);
                Event::RecoverEnded(step, self.recovered(step, end))
            }
            Work::Wait(sleep) => {
                ready!(sleep.as_mut().poll(cx));
                Event::Due(step)
            }
            Work::Dropped { begun: true } => {
                self.host.attempt_over(step);
                self.tell_failed(step, false, AttemptError::Dropped, Duration::ZERO);
                Event::StepEnded(step, Ended::Dropped)
            }
            Work::Dropped { begun: false } => {
                self.host.attempt_over(step);
                Event::StepEnded(step, Ended::NotBegun)
            }
            Work::Nothing | Work::Held(_) => return Poll::Pending,
        };
        Poll::Ready(event)
    }

    /// Makes the future of an attempt.
    #[inline]
    fn start(&mut self, step: usize, kind: Kind) {
        let began = (H::DURABLE || self.observer.is_some()).then(Instant::now);
        let (saga, context) = (self.saga, &self.stage.contexts[step]);
        self.work.as_mut()[step] = match kind {
            Kind::Step => {
                let attempt = context.attempt();
                self.tell(|instance| Lifecycle::StepStarted {
                    instance,
                    step: self.name(step),
                    attempt,
                });
                let scene = self.stage.scene(step, false);
                Work::Step(made(|| saga.step(step, scene)), began)
            }
            Kind::Undo { known } => {
                let attempt = context.attempt();
                self.tell(|instance| Lifecycle::CompensationStarted {
                    instance,
                    step: self.name(step),
                    attempt,
                });
                let scene = self.stage.scene(step, known);
                Work::Undo(made(|| saga.compensate(step, scene)), began)
            }
            Kind::Recover => {
                self.tell(|instance| Lifecycle::RecoveryStarted {
                    instance,
                    step: self.name(step),
                });
                let error = self.troubles.of(step).cloned();
                let error =
                    error.unwrap_or_else(|| Arc::new(StepError::unknown("no error is known")));
                let scene = self.stage.scene(step, false);
                let recovery = made(|| saga.recover(step, scene, error));
                // A recovery has as long as an attempt of its step.
                Work::Recover(match self.shared.definition.steps[step].timeout {
                    None => recovery,
                    Some(limit) => Box::pin(
                        timeout(limit, recovery).map(|end| end.unwrap_or(RecoverEnd::TimedOut)),
                    ),
                })
            }
        };
    }

    fn attempt_ended(
        &mut self,
        step: usize,
        undo: bool,
        end: Result<AttemptEnd, String>,
        began: Option<Instant>,
    ) -> Ended {
        self.host.attempt_over(step);
        let took = began.map_or(Duration::ZERO, |began| began.elapsed());
        let context = &self.stage.contexts[step];
        match end {
            Ok(AttemptEnd::Completed) => {
                self.tell(|instance| {
                    let (step, attempt) = (self.name(step), context.attempt());
                    Lifecycle::AttemptCompleted {
                        instance,
                        step,
                        attempt,
                        compensation: undo,
                        took,
                    }
                });
                Ended::Completed
            }
            Ok(AttemptEnd::Failed(error)) => {
                let ended = Ended::Failed {
                    again: error.again,
                    clean: error.clean,
                };
                let error = self.troubles.set(step, error);
                self.tell_failed(step, undo, AttemptError::Error(&error), took);
                ended
            }
            Ok(AttemptEnd::TimedOut) => {
                let timeout = context.timeout().unwrap_or_default();
                self.troubles.set(
                    step,
                    StepError::retryable(format!("timed out after {timeout:?}")),
                );
                self.tell_failed(step, undo, AttemptError::TimedOut, took);
                Ended::Interrupted
            }
            Err(panic) => {
                self.troubles
                    .set(step, StepError::retryable(format!("panicked: {panic}")));
                self.tell_failed(step, undo, AttemptError::Panicked, took);
                Ended::Interrupted
            }
        }
    }

    fn recovered(&mut self, step: usize, end: Result<RecoverEnd, String>) -> Recovered {
        match end {
            Ok(RecoverEnd::RetryAfter(delay)) => Recovered::RetryAfter(delay),
            Ok(RecoverEnd::Used) => Recovered::Used,
            Ok(RecoverEnd::Stuck) => Recovered::Stuck,
            Ok(RecoverEnd::TimedOut) => {
                self.troubles.set(
                    step,
                    StepError::unknown("the recovery took longer than the timeout of its step"),
                );
                self.tell_failed(step, false, AttemptError::TimedOut, Duration::ZERO);
                Recovered::Stuck
            }
            Err(panic) => {
                self.troubles.set(
                    step,
                    StepError::unknown(format!("the recovery panicked: {panic}")),
                );
                self.tell_failed(step, false, AttemptError::Panicked, Duration::ZERO);
                Recovered::Stuck
            }
        }
    }

    fn name(&self, step: usize) -> &'static str {
        self.shared.definition.steps[step].name
    }

    #[inline]
    fn tell<'e>(&self, event: impl FnOnce(Instance) -> Lifecycle<'e>) {
        if let Some(observer) = self.observer {
            observer.observe(&event(self.shared.instance()));
        }
    }

    fn tell_failed(
        &self,
        step: usize,
        compensation: bool,
        error: AttemptError<'_>,
        took: Duration,
    ) {
        let attempt = self.stage.contexts[step].attempt();
        let step = self.name(step);
        self.tell(|instance| Lifecycle::AttemptFailed {
            instance,
            step,
            attempt,
            compensation,
            error,
            took,
        });
    }

    /// Takes a place of the active list away.
    #[inline]
    fn free(&mut self, place: usize) {
        let active = self.active.as_mut();
        let step = usize::from(active[place]);
        self.busy -= 1;
        active[place] = active[self.busy];
        self.work.as_mut()[step] = Work::Nothing;
    }
}

impl<'a, G: Saga, H: Host<G>> Crew<'a, G, H> {
    /// Gives a step, which has none, something to do.
    #[inline]
    fn occupy(&mut self, step: usize, work: Work<'a>) {
        self.work.as_mut()[step] = work;
        self.active.as_mut()[self.busy] = u16::try_from(step).unwrap_or(u16::MAX);
        self.busy += 1;
    }

    fn fail(&mut self, cause: Cause) {
        let message = match (cause.reason, cause.step) {
            (FailureReason::Cancelled, _) => "the instance was cancelled".to_owned(),
            (FailureReason::DeadlineExceeded, _) => {
                "the deadline passed before the pivot".to_owned()
            }
            (_, Some(step)) => self.troubles.message(usize::from(step)),
            (_, None) => String::new(),
        };
        let step = cause
            .step
            .map(|step| self.name(usize::from(step)).to_owned());
        let failure = self.shared.failure.get_or_init(|| Failure {
            step,
            reason: cause.reason,
            message,
        });
        self.tell(|instance| Lifecycle::Compensating { instance, failure });
    }

    fn wait(&mut self, step: usize, attempt: u32, undo: bool, after: Option<Duration>) {
        let definition = &self.shared.definition.steps[step];
        let policy = if undo {
            definition.compensation.map(|undo| undo.retry)
        } else {
            Some(definition.retry)
        };
        let asked = after.or_else(|| policy.map(|policy| policy.delay(attempt, fastrand::f64())));
        // A wait that no clock can express is as good as one that nobody lives to see the end of.
        let asked = asked.unwrap_or_default().min(DELAY_MAX);
        let Waits { delay, inherited } = self.host.wait(step, undo, asked);
        let step_name = definition.name;
        // What a former owner began, it has told.
        if !inherited {
            self.tell(|instance| {
                if undo {
                    Lifecycle::CompensationRetried {
                        instance,
                        step: step_name,
                        attempt,
                        delay,
                    }
                } else {
                    Lifecycle::StepRetried {
                        instance,
                        step: step_name,
                        attempt,
                        delay,
                    }
                }
            });
        }
        self.occupy(step, Work::Wait(Box::pin(sleep(delay))));
    }
}

impl<G: Saga, H: Host<G>> Sink for Crew<'_, G, H> {
    /// What happens at every step is inlined where it is said; the rest is a call.
    #[inline]
    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Attempt { step, attempt } => {
                self.stage.contexts[step].begin(false, attempt);
                self.occupy(step, Work::Held(Kind::Step));
            }
            Effect::StepStored { .. } if self.observer.is_none() => {}
            Effect::Record(record) => self.host.record(record),
            effect => self.carry_out(effect),
        }
    }
}

impl<G: Saga, H: Host<G>> Crew<'_, G, H> {
    #[inline(never)]
    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Attempt { .. } | Effect::Record(_) | Effect::Ended(_) => {}
            Effect::Undo {
                step,
                attempt,
                known,
            } => {
                self.stage.contexts[step].begin(true, attempt);
                self.occupy(step, Work::Held(Kind::Undo { known }));
            }
            Effect::Recover { step } => self.occupy(step, Work::Held(Kind::Recover)),
            Effect::Wait {
                step,
                attempt,
                undo,
                after,
            } => self.wait(step, attempt, undo, after),
            Effect::Unwait { step } => {
                let active = &self.active.as_ref()[..self.busy];
                if let Some(place) = active.iter().position(|&at| usize::from(at) == step) {
                    self.free(place);
                }
            }
            Effect::Drop { step, only_held } => {
                let work = &mut self.work.as_mut()[step];
                let begun = !matches!(work, Work::Held(_));
                if !(begun && only_held) {
                    *work = Work::Dropped { begun };
                }
            }
            Effect::Failing(cause) => self.fail(cause),
            Effect::Grace(bound) => self.grace = Some(Box::pin(sleep(bound))),
            Effect::StepFailed { step, unknown } => {
                let step = self.name(step);
                self.tell(|instance| Lifecycle::StepFailed {
                    instance,
                    step,
                    unknown,
                });
            }
            Effect::StepStored { step, attempt } => {
                self.tell(|instance| Lifecycle::StepCompleted {
                    instance,
                    step: self.name(step),
                    attempt,
                });
            }
            Effect::UndoStored { step, attempt } => {
                let step = self.name(step);
                self.tell(|instance| Lifecycle::Compensated {
                    instance,
                    step,
                    attempt,
                });
            }
            Effect::UndoFailed { step } => {
                let step = self.name(step);
                self.tell(|instance| Lifecycle::CompensationFailed { instance, step });
            }
            Effect::CancelRefused(reason) => {
                let deadline = reason == FailureReason::DeadlineExceeded;
                self.tell(|instance| Lifecycle::CancelRefused { instance, deadline });
            }
        }
    }
}

/// Why an instance that is stuck is stuck, in words.
pub(crate) fn stuck<G: Saga>(
    machine: &Machine<G::PerStep<StepCell>>,
    troubles: &Troubles,
    shared: &Shared,
) -> Stuck {
    let (step, reason) = machine.stuck();
    Stuck {
        step: step.map(|step| shared.definition.steps[step].name.to_owned()),
        reason,
        message: step.map_or_else(String::new, |step| troubles.message(step)),
    }
}

/// The future of an attempt. A panic while it takes its inputs, which may be cloned, is one of the attempt.
fn made<'a, T>(
    make: impl FnOnce() -> Pin<Box<dyn Future<Output = T> + Send + 'a>>,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    catch_unwind(AssertUnwindSafe(make))
        .unwrap_or_else(|panic| Box::pin(async { resume_unwind(panic) }))
}

/// Polls, and turns a panic into its message: one instance's panic is no other's.
#[inline]
fn poll_caught<T>(
    future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, String>> {
    match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(end)) => Poll::Ready(Ok(end)),
        Err(panic) => Poll::Ready(Err(panic_message(&*panic))),
    }
}

/// The words of a panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    clipped(text.unwrap_or("no message"))
}
