//! Carries out what the state machine asks for: makes, polls and drops the futures of one instance.
//!
//! One driver for runs in process and for durable instances; a [`Host`] is the difference. It allocates nothing by itself:
//! a future is boxed by the generated code, once an attempt, and everything else has one place a step.
//! Invariant: of one step, at most one future is alive.

mod commits;
mod effects;
mod telling;
mod troubles;

pub(crate) use commits::{EndedAttempt, PreparedAttempt};
pub(crate) use troubles::{Troubles, panic_message, words};

use telling::{Scopes, kind_of};

use crate::{
    context::{Shared, StepContext},
    observe::{AttemptError, AttemptKind, End, Lifecycle},
    outcome::{FailureReason, Stuck},
    private::{AttemptEnd, RecoverEnd, RecoverFuture, Scene, StepFuture},
    saga::Saga,
    state::{Ended, Event, Machine, Record, Recovered, StepCell},
    step_error::StepError,
    store::InstanceState,
    transactor::AnyTransaction,
};
use futures_util::FutureExt;
use std::{
    future::poll_fn,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    thread,
    time::Duration,
};
use tokio::time::{Instant, Sleep, timeout};

/// Where an instance runs: what stores its records and may hold its attempts back.
pub(crate) trait Host<G: Saga> {
    /// Whether records are stored, and how long attempts took is asked.
    const DURABLE: bool;

    /// Whether an attempt may begin now.
    fn poll_admit(&mut self, step: usize, kind: Kind, cx: &mut Context<'_>) -> Poll<()>;

    /// An attempt ended or was dropped.
    fn attempt_over(&mut self, step: usize);

    /// Has to be stored.
    fn record(&mut self, record: Record);

    /// A wait begins. One that a former owner began lasts as long as is stored, and not as the policy says.
    fn wait(&mut self, step: usize, undo: bool, delay: Duration) -> Waits;

    /// The transaction of an attempt that was admitted and begins now.
    fn transaction(&mut self, _step: usize) -> Option<AnyTransaction> {
        None
    }

    /// An attempt completed in its transaction, and is to be committed together with its record. Until
    /// [`Happened::Committed`] or [`Happened::RolledBack`] it is in flight.
    fn commit(&mut self, _attempt: PreparedAttempt) {}

    /// These events are stored.
    fn published(&mut self, _events: Vec<crate::Event>) {}

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
    active: &'v [Place],
}

impl<G: Saga> View<'_, G> {
    /// Whether the step's attempt is held back and has not begun.
    pub(crate) fn is_held(&self, step: usize) -> bool {
        let held = |place: &Place| place.step() == step && matches!(place.task, Task::Held(_));
        self.active.iter().any(held)
    }
}

/// What happened outside.
pub(crate) enum Happened {
    Event(Event),
    /// These records are stored.
    Stored(Vec<Record>),
    /// The output of this step cannot be stored, for this reason.
    Refused(usize, String),
    /// An attempt is committed, and its record is stored with it.
    Committed(EndedAttempt),
    /// An attempt's transaction was rolled back, so it had no effect.
    RolledBack(EndedAttempt, StepError),
    /// Its output can never be stored, for this reason, so it was rolled back.
    OutputRefused(EndedAttempt, String),
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

/// A step that has something to do.
#[derive(Clone, Copy)]
struct Place {
    step: u16,
    task: Task,
}

impl Place {
    fn step(self) -> usize {
        usize::from(self.step)
    }
}

/// What there is to do for a step.
#[derive(Clone, Copy)]
enum Task {
    /// An attempt has not begun.
    Held(Kind),
    /// Its [`Work`] is under way.
    Begun,
    /// Its attempt has ended, and its transaction is being committed.
    Committing,
    /// Its attempt was dropped on demand; whether it had begun.
    Dropped { begun: bool },
}

/// What an attempt is one of.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Step,
    Undo { known: bool },
    Recover,
}

/// What is under way for a step. An attempt that ends when it is first polled is never put here.
enum Work<'a> {
    Nothing,
    Step(StepFuture<'a>, Option<Instant>),
    Undo(StepFuture<'a>, Option<Instant>),
    Recover(RecoverFuture<'a>),
    Wait(Pin<Box<Sleep>>),
}

/// What came of a step's work.
enum Polled {
    Attempt {
        undo: bool,
        end: thread::Result<AttemptEnd>,
        began: Option<Instant>,
    },
    Recovery(thread::Result<RecoverEnd>),
    Due,
}

impl Work<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        let (undo, future, began) = match self {
            Work::Step(future, began) => (false, future, *began),
            Work::Undo(future, began) => (true, future, *began),
            Work::Recover(future) => return poll_caught(future, cx).map(Polled::Recovery),
            Work::Wait(sleep) => return sleep.as_mut().poll(cx).map(|()| Polled::Due),
            Work::Nothing => return Poll::Pending,
        };
        let end = ready!(poll_caught(future, cx));
        Poll::Ready(Polled::Attempt { undo, end, began })
    }
}

/// What a poll of the work gives.
enum Next {
    /// An attempt of a step completed. By itself, because it is what happens at every step.
    Completed(usize),
    Event(Event),
}

/// The futures of one instance.
struct Crew<'a, 'c, G: Saga, H> {
    saga: &'a G,
    stage: Stage<'a, G>,
    shared: &'a Shared,
    scopes: Scopes,
    /// Made when the first attempt does not end at once.
    work: &'c mut Option<G::PerStep<Work<'a>>>,
    /// The steps that have something to do: the first `busy` places.
    active: &'c mut [Place],
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
pub(crate) async fn drive<'a, G: Saga, H: Host<G>>(
    saga: &'a G,
    stage: Stage<'a, G>,
    shared: &'a Shared,
    machine: &mut Machine<G::PerStep<StepCell>>,
    cancel: Option<FailureReason>,
    troubles: &'a mut Troubles,
    host: &'a mut H,
) -> Leave {
    // Borrowed by the crew, and not its own: what is large stays where it is made.
    let mut work = None;
    let mut active = saga.per_step_copied(Place {
        step: 0,
        task: Task::Begun,
    });
    let mut crew = Crew {
        saga,
        stage,
        shared,
        scopes: Scopes::default(),
        work: &mut work,
        active: active.as_mut(),
        busy: 0,
        cursor: 0,
        grace: None,
        troubles,
        host,
    };
    crew.apply(machine, Event::Begin { cancel });
    while !machine.has_ended() {
        match poll_fn(|cx| crew.poll(machine, cx)).await {
            None => break,
            Some(Happened::Event(event)) => crew.apply(machine, event),
            Some(Happened::Stored(records)) => {
                for record in records {
                    crew.published(record);
                    crew.apply(machine, Event::Stored(record));
                }
            }
            Some(Happened::Refused(step, reason)) => {
                crew.troubles.set(step, StepError::unknown(reason));
                crew.shared.published.discard(step, false);
                crew.apply(machine, Event::Refused(step));
            }
            Some(Happened::Committed(attempt)) => crew.committed(machine, attempt),
            Some(Happened::OutputRefused(attempt, reason)) => {
                crew.output_refused(machine, attempt, reason);
            }
            Some(Happened::RolledBack(attempt, error)) => {
                crew.rolled_back(machine, attempt, error);
            }
            Some(Happened::Leave(leave)) => return leave,
        }
    }
    Leave::Ended(machine.state())
}

impl<'a, G: Saga, H: Host<G>> Crew<'a, '_, G, H> {
    /// Until something happens that is not an attempt's or a wait's, or the instance has come to its end.
    fn poll(
        &mut self,
        machine: &mut Machine<G::PerStep<StepCell>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Happened>> {
        while let Poll::Ready(next) = self.poll_work(cx) {
            match next {
                Next::Completed(step) => {
                    machine.apply(Event::StepEnded(step, Ended::Completed), self);
                }
                Next::Event(event) => self.apply(machine, event),
            }
            if machine.has_ended() {
                return Poll::Ready(None);
            }
        }
        if let Some(grace) = &mut self.grace
            && grace.as_mut().poll(cx).is_ready()
        {
            self.grace = None;
            return Poll::Ready(Some(Happened::Event(Event::GraceOver)));
        }
        let begun = if H::DURABLE { self.begun() } else { 0 };
        let view = View {
            machine,
            troubles: self.troubles,
            shared: self.shared,
            saga: self.saga,
            slots: self.stage.slots,
            begun,
            active: &self.active[..self.busy],
        };
        self.host.poll(view, cx).map(Some)
    }

    /// Everything but what happens at every step, which has code of its own.
    #[inline(never)]
    fn apply(&mut self, machine: &mut Machine<G::PerStep<StepCell>>, event: Event) {
        machine.apply(event, self);
    }

    fn active(&self) -> &[Place] {
        &self.active[..self.busy]
    }

    fn begun(&self) -> usize {
        let begun = |place: &&Place| match place.task {
            Task::Begun => !matches!(self.work(place.step()), Work::Wait(_)),
            Task::Committing => true,
            Task::Held(_) | Task::Dropped { .. } => false,
        };
        self.active().iter().filter(begun).count()
    }

    /// The next event of an attempt or a wait.
    #[inline]
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut pending = 0;
        while pending < self.busy {
            if self.cursor >= self.busy {
                self.cursor = 0;
            }
            let place = self.active[self.cursor];
            let (step, begun) = (place.step(), matches!(place.task, Task::Begun));
            let next = match place.task {
                Task::Held(kind) => self.begin(step, kind, cx),
                Task::Begun | Task::Dropped { .. } => self.poll_begun(place, cx).map(Next::Event),
                Task::Committing => Poll::Pending,
            };
            if next.is_ready() {
                self.free(self.cursor);
                if begun {
                    self.clear(step);
                }
                return next;
            }
            self.cursor += 1;
            pending += 1;
        }
        Poll::Pending
    }

    /// The event of what has begun, or was dropped.
    fn poll_begun(&mut self, place: Place, cx: &mut Context<'_>) -> Poll<Event> {
        let step = place.step();
        if let Task::Dropped { begun } = place.task {
            self.host.attempt_over(step);
            if !begun {
                return Poll::Ready(Event::StepEnded(step, Ended::NotBegun));
            }
            self.tell_failed(
                step,
                AttemptKind::Step,
                AttemptError::Dropped,
                Duration::ZERO,
            );
            return Poll::Ready(Event::StepEnded(step, Ended::Dropped));
        }
        let scope = self.take_scope(step);
        let polled = self.within(step, scope, |crew| crew.work_mut(step).poll(cx));
        match ready!(polled) {
            Polled::Attempt { undo, end, began } => self.attempt_ended(step, undo, end, began),
            Polled::Recovery(end) => {
                self.host.attempt_over(step);
                Poll::Ready(Event::RecoverEnded(step, self.recovered(step, end)))
            }
            Polled::Due => Poll::Ready(Event::Due(step)),
        }
    }

    /// Begins an attempt, if the host admits it.
    #[inline]
    fn begin(&mut self, step: usize, kind: Kind, cx: &mut Context<'_>) -> Poll<Next> {
        ready!(self.host.poll_admit(step, kind, cx));
        match kind {
            Kind::Step => self.begin_step(step, cx),
            Kind::Undo { known } => self.begin_undo(step, known, cx).map(Next::Event),
            Kind::Recover => self.begin_recovery(step, cx).map(Next::Event),
        }
    }

    #[inline]
    fn begin_step(&mut self, step: usize, cx: &mut Context<'_>) -> Poll<Next> {
        let began = self.began();
        if H::DURABLE && self.shared.definition.steps[step].transactional {
            self.give_transaction(step);
        }
        let (saga, scene) = (self.saga, self.stage.scene(step, false));
        self.tell(|instance| Lifecycle::StepStarted {
            instance,
            step: self.name(step),
            attempt: scene.context.attempt(),
        });
        let scope = self.scope(step, AttemptKind::Step);
        let first = self.within(step, scope, |_| first_poll(|| saga.step(step, scene), cx));
        match first {
            First::Pending(future) => self.put_away(step, Work::Step(future, began)),
            First::Ended(Ok(AttemptEnd::Completed)) => {
                self.host.attempt_over(step);
                self.tell_completed(step, false, since(began));
                Poll::Ready(Next::Completed(step))
            }
            First::Ended(end) => self.attempt_ended(step, false, end, began).map(Next::Event),
        }
    }

    fn begin_undo(&mut self, step: usize, known: bool, cx: &mut Context<'_>) -> Poll<Event> {
        let began = self.began();
        let definition = &self.shared.definition.steps[step];
        if definition
            .compensation
            .is_some_and(|undo| undo.transactional)
        {
            self.give_transaction(step);
        }
        let (saga, scene) = (self.saga, self.stage.scene(step, known));
        self.tell(|instance| Lifecycle::CompensationStarted {
            instance,
            step: self.name(step),
            attempt: scene.context.attempt(),
        });
        let scope = self.scope(step, AttemptKind::Compensation);
        let undo = || saga.compensate(step, scene);
        let first = self.within(step, scope, |_| first_poll(undo, cx));
        match first {
            First::Pending(future) => self.put_away(step, Work::Undo(future, began)),
            First::Ended(end) => self.attempt_ended(step, true, end, began),
        }
    }

    fn begin_recovery(&mut self, step: usize, cx: &mut Context<'_>) -> Poll<Event> {
        self.tell(|instance| Lifecycle::RecoveryStarted {
            instance,
            step: self.name(step),
        });
        let error = self.troubles.of(step).cloned();
        let error = error.unwrap_or_else(|| Arc::new(StepError::unknown("no error is known")));
        let (saga, scene) = (self.saga, self.stage.scene(step, false));
        let limit = self.shared.definition.steps[step].timeout;
        let make = || {
            let recovery = saga.recover(step, scene, error);
            // A recovery has as long as an attempt of its step.
            match limit {
                None => recovery,
                Some(limit) => Box::pin(
                    timeout(limit, recovery).map(|end| end.unwrap_or(RecoverEnd::TimedOut)),
                ),
            }
        };
        let scope = self.scope(step, AttemptKind::Recovery);
        let first = self.within(step, scope, |_| first_poll(make, cx));
        match first {
            First::Pending(future) => self.put_away(step, Work::Recover(future)),
            First::Ended(end) => {
                self.host.attempt_over(step);
                Poll::Ready(Event::RecoverEnded(step, self.recovered(step, end)))
            }
        }
    }

    /// When an attempt began, if anybody asks how long it took.
    fn began(&self) -> Option<Instant> {
        (H::DURABLE || self.is_watched()).then(Instant::now)
    }

    /// The event of an attempt that has ended. One that completed in a transaction is in flight until that has ended, too.
    #[inline(never)]
    fn attempt_ended(
        &mut self,
        step: usize,
        undo: bool,
        end: thread::Result<AttemptEnd>,
        began: Option<Instant>,
    ) -> Poll<Event> {
        let ended = match end {
            Ok(AttemptEnd::Prepared(prepared)) => {
                if matches!(self.active[self.cursor].task, Task::Begun) {
                    self.clear(step);
                }
                self.active[self.cursor].task = Task::Committing;
                self.host.commit(PreparedAttempt {
                    step,
                    undo,
                    prepared,
                    took: since(began),
                });
                return Poll::Pending;
            }
            Ok(AttemptEnd::Completed) => {
                self.tell_completed(step, undo, since(began));
                Ended::Completed
            }
            Ok(AttemptEnd::Failed(error)) => self.failed(step, undo, &error, since(began)),
            Ok(AttemptEnd::Unpublished(error)) => {
                let failed = self.failed(step, undo, &error, since(began));
                // Whatever an error of the step says, this one came after its work.
                if undo { failed } else { Ended::Dropped }
            }
            Ok(AttemptEnd::TimedOut) => {
                let timeout = self.stage.contexts[step].timeout().unwrap_or_default();
                self.troubles.set(
                    step,
                    StepError::retryable(format!("timed out after {timeout:?}")),
                );
                self.tell_failed(step, kind_of(undo), AttemptError::TimedOut, since(began));
                Ended::Interrupted
            }
            Err(panic) => {
                let panic = panic_message(&*panic);
                self.troubles
                    .set(step, StepError::retryable(format!("panicked: {panic}")));
                self.tell_failed(step, kind_of(undo), AttemptError::Panicked, since(began));
                Ended::Interrupted
            }
        };
        self.host.attempt_over(step);
        Poll::Ready(event_of(step, undo, ended))
    }

    fn failed(&mut self, step: usize, undo: bool, error: &Arc<StepError>, took: Duration) -> Ended {
        let ended = Ended::Failed {
            again: error.again,
            clean: error.clean,
        };
        self.troubles.keep(step, Arc::clone(error));
        self.tell_failed(step, kind_of(undo), AttemptError::Error(error), took);
        ended
    }

    /// The events that were stored with this record.
    fn published(&mut self, record: Record) {
        if let Record::Step(step) = record {
            let events = self.shared.published.stored(usize::from(step));
            if !events.is_empty() {
                self.host.published(events);
            }
        }
    }

    fn recovered(&mut self, step: usize, end: thread::Result<RecoverEnd>) -> Recovered {
        if !matches!(end, Ok(RecoverEnd::Used)) {
            self.shared.published.discard(step, false);
        } else if !H::DURABLE {
            self.shared.published.hand_out(step, false);
        }
        let recovered = match end {
            Ok(RecoverEnd::RetryAfter(delay)) => Recovered::RetryAfter(delay),
            Ok(RecoverEnd::Used) => Recovered::Used,
            Ok(RecoverEnd::Stuck) => Recovered::Stuck,
            Ok(RecoverEnd::Unpublished(error)) => {
                let stuck = self.recovery_failed(step, AttemptError::Error(&error));
                self.troubles.keep(step, error);
                stuck
            }
            Ok(RecoverEnd::TimedOut) => {
                self.troubles.set(
                    step,
                    StepError::unknown("the recovery took longer than the timeout of its step"),
                );
                self.recovery_failed(step, AttemptError::TimedOut)
            }
            Err(panic) => {
                let panic = panic_message(&*panic);
                self.troubles.set(
                    step,
                    StepError::unknown(format!("the recovery panicked: {panic}")),
                );
                self.recovery_failed(step, AttemptError::Panicked)
            }
        };
        self.take_scope(step).end(&End::well(match recovered {
            Recovered::RetryAfter(_) => "retry",
            Recovered::Used => "completed",
            Recovered::Stuck => "stuck",
        }));
        recovered
    }

    fn name(&self, step: usize) -> &'static str {
        self.shared.definition.steps[step].name
    }

    /// Takes a place of the active list away.
    #[inline]
    fn free(&mut self, place: usize) {
        self.busy -= 1;
        let active = &mut *self.active;
        active[place] = active[self.busy];
    }

    /// Gives a step, which has none, something to do.
    #[inline]
    fn occupy(&mut self, step: usize, task: Task) {
        // A saga has at most `STEPS_MAX` steps.
        let step = u16::try_from(step).unwrap_or(u16::MAX);
        self.active[self.busy] = Place { step, task };
        self.busy += 1;
    }

    /// The attempt at the cursor has begun and not ended.
    fn put_away<T>(&mut self, step: usize, work: Work<'a>) -> Poll<T> {
        self.active[self.cursor].task = Task::Begun;
        *self.work_mut(step) = work;
        Poll::Pending
    }

    fn work(&self, step: usize) -> &Work<'a> {
        self.work
            .as_ref()
            .map_or(&Work::Nothing, |work| &work.as_ref()[step])
    }

    fn work_mut(&mut self, step: usize) -> &mut Work<'a> {
        let saga = self.saga;
        let work = self
            .work
            .get_or_insert_with(|| saga.per_step(|_| Work::Nothing));
        &mut work.as_mut()[step]
    }

    /// Drops what is under way.
    fn clear(&mut self, step: usize) {
        let work = mem::replace(self.work_mut(step), Work::Nothing);
        let scope = self.take_scope(step);
        self.within(step, scope, |_| discard(work));
    }

    fn place_of(&self, step: usize) -> Option<usize> {
        self.active().iter().position(|place| place.step() == step)
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

fn event_of(step: usize, undo: bool, ended: Ended) -> Event {
    if undo {
        Event::UndoEnded(step, ended)
    } else {
        Event::StepEnded(step, ended)
    }
}

/// Drops what an attempt was or gave. A panic of it changes nothing: it is over, and what comes of that is decided already.
fn discard<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

/// How long ago that was; nothing if nobody asked for the time then.
fn since(began: Option<Instant>) -> Duration {
    began.map_or(Duration::ZERO, |began| began.elapsed())
}

/// Where a future is after its first poll.
enum First<'a, T> {
    Pending(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
    Ended(thread::Result<T>),
}

/// Makes a future and polls it. A panic while it takes its inputs, which may be cloned, is one of the attempt.
#[inline]
fn first_poll<'a, T>(
    make: impl FnOnce() -> Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    cx: &mut Context<'_>,
) -> First<'a, T> {
    let first = catch_unwind(AssertUnwindSafe(|| {
        let mut future = make();
        match future.as_mut().poll(cx) {
            Poll::Pending => First::Pending(future),
            Poll::Ready(end) => First::Ended(Ok(end)),
        }
    }));
    first.unwrap_or_else(|panic| First::Ended(Err(panic)))
}

/// Polls, and catches a panic: one instance's panic is no other's.
#[inline]
fn poll_caught<T>(
    future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>,
    cx: &mut Context<'_>,
) -> Poll<thread::Result<T>> {
    match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(end)) => Poll::Ready(Ok(end)),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}
