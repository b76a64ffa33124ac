//! One instance in flight: from its acceptance or its claim to its end.
//!
//! Invariant: an instance that this engine owns has a task here that drives it, until it has ended or is given up. A bug
//! that makes the task panic is answered by going on from what is stored, as after a takeover.

use super::{
    Inner,
    journal::{Inherited, Journal},
    lease::NOT_SURE,
    registry::Registration,
    signals::Signals,
    writer::{Job, Reply},
};
use crate::{
    codec::{Codec, CodecError},
    context::{Shared, StepContext},
    driver::{Leave, Stage, Troubles, drive, panic_message, stuck},
    error::Error,
    id::{EngineId, SagaId, Token},
    observe::{Lifecycle, Observers, Trace},
    outcome::{FailureReason, Outcome, Stuck, StuckReason},
    published::Destination,
    saga::{RunsOn, Saga},
    state::{Cause, Machine, StepCell, Stored},
    step_error::StepError,
    store::{
        Accept, Accepted, InstanceState, Progress, Snapshot, StepState, Store, Summary, Write,
        Written,
    },
};
use futures_util::FutureExt;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, sleep},
};

/// Everything that a driver needs of an instance. Always boxed: a future that passes it on by value would keep room for
/// each place that it passes through, in every waiting instance.
struct Loaded<G: Saga> {
    id: SagaId,
    token: Token,
    input: G::Input,
    slots: G::Slots,
    shared: Shared,
    machine: Machine<G::PerStep<StepCell>>,
    troubles: Troubles,
    waits: Vec<Inherited>,
    deadline: Option<Duration>,
    cancel: bool,
    /// The count of the lease's lapses at which the instance was surely ours.
    sure_at: u64,
}

/// An instance in flight. Always boxed, for the same reason.
struct Flight<G: Saga, S: Store> {
    engine: Arc<Inner<S>>,
    registration: Arc<Registration<G>>,
    signals: Arc<Signals>,
    loaded: Box<Loaded<G>>,
    /// Gets the outcome, if somebody waits for it.
    outcome: Option<oneshot::Sender<Outcome<G::Outputs>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl<G: Saga, S: Store> Flight<G, S> {
    fn driver_panicked(&self) {
        self.engine.tell(&Lifecycle::DriverPanicked {
            instance: self.loaded.shared.instance(),
        });
    }
}

fn machine<G: Saga>(saga: &G) -> Machine<G::PerStep<StepCell>> {
    let definition = saga.definition();
    Machine::new(definition, true, saga.per_step_copied(StepCell::BLANK))
}

/// What a new instance is accepted with.
pub(crate) struct Application<G: Saga> {
    pub(crate) accept: Accept,
    pub(crate) input: G::Input,
    /// Told when it is stored, or why not.
    pub(crate) accepted: oneshot::Sender<Result<Accepted, Error>>,
    /// Gets the outcome, if somebody waits for it.
    pub(crate) outcome: oneshot::Sender<Outcome<G::Outputs>>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    pub(crate) trace: Option<Trace>,
    /// A place among those that wait to be accepted.
    pub(crate) accepting: OwnedSemaphorePermit,
    /// The count of the lease's lapses before it is stored.
    pub(crate) sure_at: u64,
}

/// Stores a new instance and, if it is owned, drives it: one task, so that a caller that stops waiting for the reply leaves
/// no instance behind that is owned and not driven.
pub(crate) fn accept<G: RunsOn<S>, S: Store>(
    engine: &Arc<Inner<S>>,
    registration: Arc<Registration<G>>,
    application: Box<Application<G>>,
) {
    let inner = Arc::clone(engine);
    let id = application.accept.id;
    // In flight before it is stored, so that a shutdown waits for it.
    let flight = application
        .accept
        .owner
        .map(|owner| (owner, inner.enter(registration.name(), id)));
    engine.spawn(async move {
        // Boxed, so that a waiting instance keeps no room for it.
        if let Some(flight) = Box::pin(admit(inner, registration, application, flight)).await {
            fly(flight).await;
        }
    });
}

/// Stores a new instance; if it is stored and owned, it flies.
async fn admit<G: RunsOn<S>, S: Store>(
    engine: Arc<Inner<S>>,
    registration: Arc<Registration<G>>,
    application: Box<Application<G>>,
    flight: Option<(EngineId, Arc<Signals>)>,
) -> Option<Box<Flight<G, S>>> {
    let Application {
        accept,
        input,
        trace,
        accepted,
        outcome,
        permit,
        accepting,
        sure_at,
    } = *application;
    let (id, deadline) = (accept.id, accept.deadline);
    let reply = store_accept(&engine, accept).await;
    // Held until the store has answered, whoever still waits for it: it bounds the writer's queue.
    drop(accepting);
    let is_new = matches!(reply, Ok(Accepted::New));
    if is_new {
        engine.tell(&Lifecycle::Accepted {
            instance: registration.instance(id, trace.as_ref()),
        });
    }
    let _ = accepted.send(reply);
    let (owner, signals) = match flight {
        Some(flight) if is_new => flight,
        Some((_, signals)) => {
            engine.leave(registration.name(), id, &signals, permit);
            return None;
        }
        None => {
            drop(permit);
            if is_new {
                engine.scan.notify_one();
            }
            return None;
        }
    };
    let loaded = Box::new(Loaded {
        id,
        token: Token { owner, epoch: 1 },
        input,
        slots: registration.saga.slots(),
        shared: Shared::with_id(registration.saga.definition(), id).watched(
            engine.observers.clone(),
            trace,
            Instant::now(),
        ),
        machine: machine(&*registration.saga),
        troubles: Troubles::default(),
        waits: Vec::new(),
        deadline,
        cancel: false,
        sure_at,
    });
    Some(Box::new(Flight {
        engine,
        registration,
        signals,
        loaded,
        outcome: Some(outcome),
        permit,
    }))
}

async fn store_accept<S: Store>(engine: &Inner<S>, accept: Accept) -> Result<Accepted, Error> {
    let id = accept.id;
    let (reply, receiver) = oneshot::channel();
    engine.send(
        id,
        Job {
            write: Write::Accept(accept),
            reply,
        },
    );
    match receiver.await {
        Ok(Reply::Written(Written::Accepted(accepted))) => Ok(accepted),
        Ok(Reply::Refused(reason)) => Err(Error::invalid(format!(
            "the store refuses the instance: {reason}"
        ))),
        Ok(Reply::Written(_) | Reply::RolledBack(_)) | Err(_) => Err(Error::shutting_down()),
    }
}

/// Goes on with an instance that was claimed.
pub(crate) fn launch<G: RunsOn<S>, S: Store>(
    engine: Arc<Inner<S>>,
    registration: Arc<Registration<G>>,
    mut snapshot: Snapshot,
    sure_at: u64,
    permit: Option<OwnedSemaphorePermit>,
) {
    let inner = Arc::clone(&engine);
    let id = snapshot.summary.id;
    // Also of one that was postponed after the death of its owner, and is nobody's orphan now.
    snapshot.taken_over |= snapshot.summary.takeovers > 0;
    let signals = inner.enter(registration.name(), id);
    if snapshot.suspect {
        signals.suspect();
    }
    match load(&registration, &snapshot, sure_at, engine.observers.clone()) {
        Ok(loaded) => {
            let flight = Flight {
                engine,
                registration,
                signals,
                loaded,
                outcome: None,
                permit,
            };
            inner.spawn(fly(Box::new(flight)));
        }
        Err(stuck) => {
            inner.spawn(async move {
                stick(&engine, &registration, &snapshot, stuck).await;
                engine.leave(registration.name(), id, &signals, permit);
            });
        }
    }
}

/// Decodes what is stored.
fn load<G: Saga>(
    registration: &Registration<G>,
    snapshot: &Snapshot,
    sure_at: u64,
    observers: Option<Observers>,
) -> Result<Box<Loaded<G>>, Stuck> {
    let saga = &*registration.saga;
    let definition = saga.definition();
    let summary = &snapshot.summary;
    let input = decode_input::<G>(snapshot).map_err(|message| undecodable(None, message))?;
    check_agreement(snapshot)?;
    let slots = saga.slots();
    let mut waits = Vec::new();
    let mut troubles = Troubles::default();
    let mut stored = Vec::with_capacity(snapshot.steps.len());
    for row in &snapshot.steps {
        let Some(step) = definition.index_of(&row.name) else {
            let message = format!(
                "step `{}` is stored, and this version of the saga has none of that name",
                row.name
            );
            return Err(undecodable(Some(&row.name), message));
        };
        if let Some(output) = &row.output {
            decode_output(saga, &slots, step, output)
                .map_err(|message| undecodable(Some(&row.name), message))?;
        }
        if let Some(wake) = row.wake {
            waits.push(Inherited {
                step: u16::try_from(step).unwrap_or(u16::MAX),
                undo: row.state == StepState::Compensating,
                left: wake,
            });
        }
        if let Some(error) = &row.error {
            troubles.set(step, StepError::unknown(error.as_str()));
        }
        stored.push(Stored {
            step,
            state: row.state,
            attempts: row.attempts,
            undo_attempts: row.undo_attempts,
            recoveries: row.recoveries,
            output: row.output.is_some(),
            waits: row.wake.is_some(),
        });
    }
    let trace = snapshot.read_trace();
    let shared = Shared::with_id(definition, summary.id);
    let shared = shared.watched(observers, trace, accepted_at(summary));
    let cause = summary.failure.as_ref().map(|failure| Cause {
        step: failure
            .step
            .as_deref()
            .and_then(|step| definition.index_of(step))
            .and_then(|step| u16::try_from(step).ok()),
        reason: failure.reason,
    });
    if let Some(failure) = &summary.failure {
        let _ = shared.failure.set(failure.clone());
    }
    let mut machine = machine(saga);
    machine.restore(
        summary.state,
        cause,
        summary.pivot_passed,
        stored.into_iter(),
        snapshot.taken_over,
        snapshot.adopted,
    );
    let token = snapshot
        .token()
        .ok_or_else(|| undecodable(None, "the instance has no owner".into()))?;
    let (deadline, cancel) = (snapshot.deadline, snapshot.cancel_requested);
    Ok(Box::new(Loaded {
        id: summary.id,
        token,
        input,
        slots,
        shared,
        machine,
        troubles,
        waits,
        deadline,
        cancel,
        sure_at,
    }))
}

/// By the clock of this process: as far as it agrees with the store's.
#[expect(
    clippy::disallowed_methods,
    reason = "how old an instance is is told to people, and decides nothing"
)]
fn accepted_at(summary: &Summary) -> Instant {
    let age = SystemTime::now().duration_since(summary.created_at);
    let now = Instant::now();
    now.checked_sub(age.unwrap_or_default()).unwrap_or(now)
}

/// Whether the rows say what an engine says: what contradicts itself would be run as something that nobody meant.
fn check_agreement(snapshot: &Snapshot) -> Result<(), Stuck> {
    let summary = &snapshot.summary;
    let is_undone = summary.failure.is_some();
    if is_undone != (summary.state == InstanceState::Compensating) {
        let why = if is_undone { "a" } else { "no" };
        let message = format!(
            "the instance is stored as {}, with {why} reason to undo it",
            summary.state
        );
        return Err(undecodable(None, message));
    }
    for row in &snapshot.steps {
        let what = match row.state {
            StepState::Completed if row.output.is_none() => "without an output",
            StepState::Running
            | StepState::Compensating
            | StepState::Compensated
            | StepState::CompensationFailed
            | StepState::Resolved
                if !is_undone =>
            {
                "in an instance that is not undone"
            }
            _ => continue,
        };
        let message = format!("step `{}` is stored as {}, {what}", row.name, row.state);
        return Err(undecodable(Some(&row.name), message));
    }
    Ok(())
}

fn undecodable(step: Option<&str>, message: String) -> Stuck {
    Stuck {
        step: step.map(str::to_owned),
        reason: StuckReason::Undecodable,
        message,
    }
}

fn decode_input<G: Saga>(snapshot: &Snapshot) -> Result<G::Input, String> {
    let what = format_args!("the input (`{}`)", std::any::type_name::<G::Input>()).to_string();
    check_content_type::<G>(&what, &snapshot.input.content_type)?;
    caught(|| G::Codec::decode(&snapshot.input.bytes))
        .map_err(|error| format!("{what} cannot be read: {error}"))
}

pub(super) fn decode_output<G: Saga>(
    saga: &G,
    slots: &G::Slots,
    step: usize,
    output: &crate::Payload,
) -> Result<(), String> {
    let what = format!(
        "the output of step `{}` (`{}`)",
        saga.definition().steps[step].name,
        saga.output_type(slots, step)
    );
    check_content_type::<G>(&what, &output.content_type)?;
    caught(|| saga.decode(slots, step, &output.bytes))
        .map_err(|error| format!("{what} cannot be read: {error}"))
}

/// A panic in how a value is written or read says that it cannot be.
pub(crate) fn caught<T>(convert: impl FnOnce() -> Result<T, CodecError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(convert)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("it panicked: {}", panic_message(&*panic))),
    }
}

fn check_content_type<G: Saga>(what: &str, stored: &str) -> Result<(), String> {
    let own = G::Codec::CONTENT_TYPE;
    if stored == own {
        Ok(())
    } else {
        Err(format!(
            "{what} is stored as {stored}, and this saga's codec reads {own}"
        ))
    }
}

/// The outputs of a completed instance, from the store.
pub(crate) fn decode_outputs<G: Saga>(saga: &G, snapshot: &Snapshot) -> Result<G::Outputs, Error> {
    let slots = saga.slots();
    for row in &snapshot.steps {
        if let (Some(step), Some(output)) = (saga.definition().index_of(&row.name), &row.output) {
            decode_output(saga, &slots, step, output)
                .map_err(|message| Error::undecodable(message.clone(), CodecError::new(message)))?;
        }
    }
    G::outputs(slots)
        .ok_or_else(|| Error::invalid("the instance completed under another version of its saga"))
}

/// Stores that an instance needs an operator, because it cannot even be read.
async fn stick<G: Saga, S: Store>(
    engine: &Inner<S>,
    registration: &Registration<G>,
    snapshot: &Snapshot,
    stuck: Stuck,
) {
    let Some(token) = snapshot.token() else {
        return;
    };
    let (id, pivot_passed) = (snapshot.summary.id, snapshot.summary.pivot_passed);
    let progress = Progress {
        id,
        token,
        state: InstanceState::Stuck,
        pivot_passed,
        failure: None,
        stuck: Some(stuck.clone()),
        release: None,
        sender: None,
        steps: interrupted_rows(registration.saga.definition(), snapshot),
    };
    let (reply, receiver) = oneshot::channel();
    engine.send(
        id,
        Job {
            write: Write::Progress(progress),
            reply,
        },
    );
    if let Ok(Reply::Written(Written::Stored { .. })) = receiver.await {
        let trace = snapshot.read_trace();
        engine.tell(&Lifecycle::Stuck {
            instance: registration.instance(id, trace.as_ref()),
            stuck: &stuck,
        });
    }
}

/// Steps that may have run under an owner that died: that has to be stored before the instance is nobody's.
fn interrupted_rows(
    definition: &'static crate::Definition,
    snapshot: &Snapshot,
) -> Vec<crate::store::StepWrite> {
    if !snapshot.taken_over || snapshot.summary.failure.is_some() {
        return Vec::new();
    }
    super::operator::ready_steps(definition, snapshot)
        .filter(|&step| snapshot.adopted || !definition.steps[step].transactional)
        .map(|step| super::operator::row(definition, snapshot, step, StepState::Unknown))
        .collect()
}

/// Drives an instance until it has ended or is left, and then frees its place.
async fn fly<G: RunsOn<S>, S: Store>(mut flight: Box<Flight<G, S>>) {
    let (id, mut token) = (flight.loaded.id, flight.loaded.token);
    let mut backoff = Duration::from_millis(100);
    let mut leave = AssertUnwindSafe(drive_loaded(&mut flight))
        .catch_unwind()
        .await;
    loop {
        match leave {
            Ok(leave) => return land(*flight, leave),
            Err(panic) => {
                flight.driver_panicked();
                drop(panic);
                // Longer each time: its steps run again after each.
                sleep(backoff).await;
                backoff = (backoff * 2).min(Duration::from_mins(1));
                let reloaded =
                    Box::pin(reload(&flight.engine, &flight.registration, id, token)).await;
                let Some(again) = reloaded else {
                    let Flight {
                        engine,
                        registration,
                        signals,
                        permit,
                        ..
                    } = *flight;
                    return engine.leave(registration.name(), id, &signals, permit);
                };
                token = again.token;
                flight.loaded = again;
                leave = Box::pin(AssertUnwindSafe(drive_loaded(&mut flight)).catch_unwind()).await;
            }
        }
    }
}

async fn reload<G: Saga, S: Store>(
    engine: &Inner<S>,
    registration: &Registration<G>,
    id: SagaId,
    token: Token,
) -> Option<Box<Loaded<G>>> {
    let mut snapshot = loop {
        match engine.store.load(id).await {
            Ok(snapshot) => break snapshot?,
            Err(error) => engine.store_failed(&error),
        }
        sleep(Duration::from_millis(200)).await;
    };
    if snapshot.token() != Some(token) {
        return None;
    }
    snapshot.taken_over = true;
    match load(registration, &snapshot, NOT_SURE, engine.observers.clone()) {
        Ok(loaded) => Some(loaded),
        Err(stuck) => {
            stick(engine, registration, &snapshot, stuck).await;
            None
        }
    }
}

async fn drive_loaded<G: RunsOn<S>, S: Store>(flight: &mut Flight<G, S>) -> Leave {
    let Flight {
        engine,
        registration,
        signals,
        loaded,
        ..
    } = flight;
    let Loaded {
        id,
        token,
        input,
        slots,
        shared,
        machine,
        troubles,
        waits,
        deadline,
        cancel,
        sure_at,
    } = &mut **loaded;
    let saga = &*registration.saga;
    shared.transaction_timeout =
        G::transactor().and_then(|transactor| transactor.timeout(&engine.store));
    shared.published.destination = Destination::Store {
        size_max: engine.config.payload_max,
    };
    let shared = &*shared;
    let contexts = saga.per_step(|step| StepContext::new(shared, step));
    let stage = Stage {
        input,
        slots,
        contexts: contexts.as_ref(),
    };
    // A deadline that has passed cancels before anything begins.
    let overdue = *deadline == Some(Duration::ZERO);
    let mut journal = Journal::new(
        Arc::clone(engine),
        Arc::clone(registration),
        Arc::clone(signals),
        *id,
        *token,
        deadline.filter(|left| !left.is_zero()),
        std::mem::take(waits),
        *cancel,
        *sure_at,
    );
    let cancel = cancel.then_some(FailureReason::Cancelled);
    let cancel = cancel.or(overdue.then_some(FailureReason::DeadlineExceeded));
    drive(saga, stage, shared, machine, cancel, troubles, &mut journal).await
}

/// Frees the place of an instance, and tells its outcome if it came to one here.
fn land<G: RunsOn<S>, S: Store>(flight: Flight<G, S>, leave: Leave) {
    let Flight {
        engine,
        registration,
        signals,
        loaded,
        outcome,
        permit,
    } = flight;
    let Loaded {
        id,
        slots,
        shared,
        machine,
        troubles,
        ..
    } = *loaded;
    let (trace, age) = (shared.trace().cloned(), shared.age());
    let instance = registration.instance(id, trace.as_ref());
    let ended = match leave {
        Leave::Ended(InstanceState::Completed) => {
            engine.tell(&Lifecycle::Finished {
                instance,
                state: InstanceState::Completed,
                age,
            });
            G::outputs(slots).map(Outcome::Completed)
        }
        Leave::Ended(InstanceState::RolledBack) => {
            engine.tell(&Lifecycle::Finished {
                instance,
                state: InstanceState::RolledBack,
                age,
            });
            shared.failure.into_inner().map(Outcome::RolledBack)
        }
        Leave::Ended(_) => {
            let stuck = stuck::<G>(&machine, &troubles, &shared);
            engine.tell(&Lifecycle::Stuck {
                instance,
                stuck: &stuck,
            });
            Some(Outcome::Stuck(stuck))
        }
        Leave::Released => {
            engine.tell(&Lifecycle::Released { instance });
            None
        }
        Leave::Lost => {
            engine.tell(&Lifecycle::LeaseLost { instance });
            None
        }
    };
    // Left first, so that whoever hears of the outcome finds the place free.
    engine.leave(registration.name(), id, &signals, permit);
    if let (Some(outcome), Some(ended)) = (outcome, ended) {
        let _ = outcome.send(ended);
    }
}
