//! An operator's way on for instances that are stuck.
//!
//! Invariants: only a stuck instance is acted on, by compare-and-set on its epoch, which grows, so that no former owner
//! writes any more; who did what and why is stored with it; what may have had an effect is never forgotten on the way.

use super::Engine;
use crate::{
    codec::{Codec, CodecError, Json, Payload},
    definition::{Definition, StepKind},
    error::Error,
    id::SagaId,
    outcome::{Failure, FailureReason, Stuck, StuckReason},
    store::{
        InstanceState, Intervention, OperatorWrite, Snapshot, StepRow, StepState, StepWrite, Store,
    },
};
use serde::Serialize;

/// Acts on stuck instances: [`Engine::operator`].
#[derive(Debug)]
#[must_use]
pub struct Operator<'e, S: Store> {
    engine: &'e Engine<S>,
    who: String,
    why: String,
}

/// What an operator knows of a step.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Resolution {
    /// It happened, and this is its output.
    Completed(Payload),
    /// It did not happen.
    NoEffect,
    /// It is undone.
    Compensated,
}

impl Resolution {
    /// It happened, and this is its output, as JSON.
    pub fn completed(output: &impl Serialize) -> Result<Self, CodecError> {
        let bytes = Json::encode(output)?;
        Ok(Self::Completed(Payload {
            content_type: Json::CONTENT_TYPE.to_owned(),
            bytes,
        }))
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Completed(_) => "Completed",
            Self::NoEffect => "NoEffect",
            Self::Compensated => "Compensated",
        }
    }
}

impl<'e, S: Store> Operator<'e, S> {
    pub(super) fn new(engine: &'e Engine<S>, who: String, why: String) -> Self {
        Self { engine, who, why }
    }

    /// Tries a step, or its compensation, again, with all its retries.
    pub async fn retry(&self, id: SagaId, step: impl Into<&str>) -> Result<(), Error> {
        let step = step.into();
        self.act(id, step, &format!("retry({step})"), retried).await
    }

    /// Says what became of a step whose outcome the saga cannot know, or whose compensation gave up.
    pub async fn resolve(
        &self,
        id: SagaId,
        step: impl Into<&str>,
        resolution: Resolution,
    ) -> Result<(), Error> {
        let step = step.into();
        let action = format!("resolve({step}, {})", resolution.word());
        let registry = &self.engine.inner.registry;
        self.act(id, step, &action, |case| {
            if let Resolution::Completed(output) = &resolution {
                let (bytes, max) = (output.bytes.len(), self.engine.inner.config.payload_max);
                if bytes > max {
                    return Err(Error::invalid(format!(
                        "this output has {bytes} bytes, and the limit is {max}"
                    )));
                }
                let registered = registry.by_name(case.definition.name);
                let checked = registered.map_or(Ok(()), |registered| {
                    registered.check_output(case.step, output)
                });
                checked.map_err(|error| {
                    Error::undecodable(format!("this cannot be the output of step `{step}`"), error)
                })?;
            }
            resolved(case, &resolution)
        })
        .await
    }

    async fn act(
        &self,
        id: SagaId,
        step: &str,
        action: &str,
        decide: impl Fn(&Case<'_>) -> Result<Decision, Error>,
    ) -> Result<(), Error> {
        let inner = &self.engine.inner;
        let snapshot = inner
            .store
            .load(id)
            .await?
            .ok_or_else(|| Error::not_found(id))?;
        let summary = &snapshot.summary;
        let Some(stuck) = summary
            .stuck
            .as_ref()
            .filter(|_| summary.state == InstanceState::Stuck)
        else {
            return Err(Error::invalid(format!(
                "instance {id} is {}, and operators act only on stuck ones",
                summary.state
            )));
        };
        let saga = &summary.definition.saga;
        let registered = inner.registry.by_name(saga).ok_or_else(|| {
            Error::invalid(format!(
                "instance {id} is one of saga `{saga}`, which is not registered with this engine"
            ))
        })?;
        let definition = registered.definition();
        let at = definition.index_of(step).ok_or_else(|| {
            let names: Vec<_> = definition.steps.iter().map(|step| step.name).collect();
            Error::invalid(format!(
                "saga `{saga}` has no step `{step}`; its steps are {}",
                names.join(", ")
            ))
        })?;
        let decision = decide(&Case {
            definition,
            snapshot: &snapshot,
            stuck,
            step: at,
        })?;
        let write = OperatorWrite {
            id,
            epoch: summary.epoch,
            state: decision.state,
            pivot_passed: decision.pivot_passed,
            failure: decision.failure,
            steps: decision.steps,
            intervention: Intervention {
                action: action.to_owned(),
                who: self.who.clone(),
                why: self.why.clone(),
                at_ms: 0,
            },
        };
        if !inner.store.operate(&write).await? {
            return Err(Error::conflict(format!(
                "instance {id} changed meanwhile: look at it again"
            )));
        }
        inner.scan.notify_one();
        Ok(())
    }
}

/// A stuck instance, and the step that an operator speaks of.
struct Case<'c> {
    definition: &'static Definition,
    snapshot: &'c Snapshot,
    stuck: &'c Stuck,
    step: usize,
}

/// What becomes of a stuck instance.
struct Decision {
    state: InstanceState,
    pivot_passed: bool,
    failure: Option<Failure>,
    steps: Vec<StepWrite>,
}

impl Case<'_> {
    fn name(&self) -> &'static str {
        self.definition.steps[self.step].name
    }

    fn kind(&self) -> StepKind {
        self.definition.steps[self.step].kind
    }

    fn stored(&self) -> Option<&StepRow> {
        stored(self.definition, self.snapshot, self.step)
    }

    fn state(&self) -> StepState {
        self.stored().map_or(StepState::Pending, |row| row.state)
    }

    fn is_undone(&self) -> bool {
        self.snapshot.summary.failure.is_some()
    }

    /// Whether a step that goes forward may be what the instance waits for.
    fn is_ready(&self) -> bool {
        ready_steps(self.definition, self.snapshot).any(|step| step == self.step)
    }

    /// The step that decides, if it may have happened.
    fn decisive_in_doubt(&self) -> Option<usize> {
        self.definition.decisive().filter(|&step| {
            stored(self.definition, self.snapshot, step)
                .is_some_and(|row| row.state == StepState::Unknown)
        })
    }

    fn row(&self, state: StepState) -> StepWrite {
        row(self.definition, self.snapshot, self.step, state)
    }

    /// Whether its processes died in the middle, so that every step that was ready may have run.
    fn is_interrupted(&self) -> bool {
        self.stuck.reason == StuckReason::Poison && !self.is_undone()
    }

    /// Whether the instance is stuck because this step, or its input, could not be read.
    fn is_unreadable(&self) -> bool {
        self.stuck.reason == StuckReason::Undecodable
            && self
                .stuck
                .step
                .as_deref()
                .is_none_or(|step| step == self.name())
    }

    fn go_on(&self, mut steps: Vec<StepWrite>) -> Decision {
        if self.is_interrupted() {
            steps.extend(self.others_in_doubt());
        }
        let state = if self.is_undone() {
            InstanceState::Compensating
        } else {
            InstanceState::Executing
        };
        let pivot_passed = self.snapshot.summary.pivot_passed;
        Decision {
            state,
            pivot_passed,
            failure: None,
            steps,
        }
    }

    /// The other steps that go forward next, as steps that may have run. One that has failed did not, unless the processes died meanwhile.
    fn others_in_doubt(&self) -> impl Iterator<Item = StepWrite> {
        let surely_failed = |step| {
            let row = stored(self.definition, self.snapshot, step);
            !self.is_interrupted() && row.is_some_and(|row| row.state == StepState::Failed)
        };
        ready_steps(self.definition, self.snapshot)
            .filter(move |&step| {
                step != self.step
                    && !self.definition.steps[step].transactional
                    && !surely_failed(step)
            })
            .map(|step| row(self.definition, self.snapshot, step, StepState::Unknown))
    }

    fn refusal(&self, what: &str, instead: &str) -> Error {
        let (step, state) = (self.name(), self.state());
        Error::invalid(format!(
            "{what} step `{step}`, which is {state}: {instead} (the instance is stuck: {})",
            self.stuck
        ))
    }
}

fn retried(case: &Case<'_>) -> Result<Decision, Error> {
    let fresh = |state| StepWrite {
        attempts: 0,
        undo_attempts: 0,
        recoveries: 0,
        ..case.row(state)
    };
    let known = case.stored().is_some_and(|row| row.output.is_some());
    match (case.is_undone(), case.state()) {
        (false, StepState::Unknown) if case.is_ready() => {
            Ok(case.go_on(vec![fresh(StepState::Unknown)]))
        }
        (false, StepState::Pending | StepState::Failed) if case.is_ready() => {
            let may_have_run =
                case.is_interrupted() && !case.definition.steps[case.step].transactional;
            let state = if may_have_run {
                StepState::Unknown
            } else {
                StepState::Pending
            };
            Ok(case.go_on(vec![fresh(state)]))
        }
        (true, StepState::CompensationFailed | StepState::Compensating) if known => {
            Ok(case.go_on(vec![fresh(StepState::Completed)]))
        }
        (
            true,
            StepState::CompensationFailed
            | StepState::Compensating
            | StepState::Unknown
            | StepState::Running,
        ) => Ok(case.go_on(vec![fresh(StepState::Unknown)])),
        (true, StepState::Completed) => Ok(case.go_on(vec![fresh(StepState::Completed)])),
        // No engine stores that.
        (
            false,
            StepState::Running
            | StepState::Compensating
            | StepState::Compensated
            | StepState::CompensationFailed
            | StepState::Resolved,
        ) if case.is_unreadable() => Ok(case.go_on(vec![fresh(StepState::Unknown)])),
        // What is stored stays as it is: it is the code that has changed.
        _ if case.is_unreadable() => Ok(case.go_on(Vec::new())),
        _ => Err(case.refusal(
            "cannot retry",
            "name the step that the instance is stuck at",
        )),
    }
}

fn resolved(case: &Case<'_>, resolution: &Resolution) -> Result<Decision, Error> {
    let doubtful = matches!(
        case.state(),
        StepState::Unknown
            | StepState::Running
            | StepState::CompensationFailed
            | StepState::Compensating
    );
    match resolution {
        Resolution::Completed(output) if !case.is_undone() && case.is_ready() => {
            let row = StepWrite {
                output: Some(output.clone()),
                ..case.row(StepState::Completed)
            };
            let mut decision = case.go_on(vec![row]);
            decision.pivot_passed |= case.kind() == StepKind::Pivot;
            Ok(decision)
        }
        // What is stored cannot be read, or is missing, and this can be read.
        Resolution::Completed(output)
            if case.is_unreadable()
                && case.stored().is_some_and(|row| {
                    row.output.is_some() || row.state == StepState::Completed
                }) =>
        {
            let row = StepWrite {
                output: Some(output.clone()),
                ..case.row(case.state())
            };
            Ok(case.go_on(vec![row]))
        }
        Resolution::Completed(output) if case.is_undone() && doubtful => {
            let row = StepWrite {
                output: Some(output.clone()),
                undo_attempts: 0,
                ..case.row(StepState::Completed)
            };
            Ok(case.go_on(vec![row]))
        }
        Resolution::NoEffect if !case.is_undone() && case.kind() != StepKind::Retriable => {
            match case.decisive_in_doubt() {
                Some(step) if step != case.step => Err(case.refusal(
                    "`NoEffect` undoes the instance, so it cannot be said of",
                    &format!(
                        "`{}` may have happened, and has to be resolved first",
                        case.definition.steps[step].name
                    ),
                )),
                None if !case.is_ready() => Err(not_stuck_at(case)),
                _ => Ok(unwound(case)),
            }
        }
        Resolution::NoEffect if case.is_undone() && doubtful => {
            Ok(case.go_on(vec![case.row(StepState::Failed)]))
        }
        Resolution::Compensated if case.is_undone() && doubtful => {
            Ok(case.go_on(vec![case.row(StepState::Resolved)]))
        }
        Resolution::NoEffect if case.kind() == StepKind::Retriable => Err(case.refusal(
            "`NoEffect` says nothing of",
            "from the pivot on nothing is undone, so retry it instead",
        )),
        _ => Err(not_stuck_at(case)),
    }
}

fn not_stuck_at(case: &Case<'_>) -> Error {
    case.refusal(
        "cannot resolve",
        "name the step that the instance is stuck at",
    )
}

/// The step had no effect, so the instance is undone. Whatever else may have run is stored as unknown.
fn unwound(case: &Case<'_>) -> Decision {
    let steps = std::iter::once(case.row(StepState::Failed))
        .chain(case.others_in_doubt())
        .collect();
    let failure = Failure {
        step: Some(case.name().to_owned()),
        reason: FailureReason::Failed,
        message: "an operator said that it had no effect".to_owned(),
    };
    Decision {
        state: InstanceState::Compensating,
        pivot_passed: false,
        failure: Some(failure),
        steps,
    }
}

fn stored<'s>(definition: &Definition, snapshot: &'s Snapshot, step: usize) -> Option<&'s StepRow> {
    let name = definition.steps[step].name;
    snapshot.steps.iter().find(|row| row.name == name)
}

/// Steps that go forward next: not completed, and all their dependencies are.
pub(super) fn ready_steps(
    definition: &'static Definition,
    snapshot: &Snapshot,
) -> impl Iterator<Item = usize> {
    let is_completed = |step: usize| {
        stored(definition, snapshot, step).is_some_and(|row| row.state == StepState::Completed)
    };
    (0..definition.steps.len()).filter(move |&step| {
        !is_completed(step)
            && definition.steps[step]
                .depends_on
                .iter()
                .all(|&on| is_completed(usize::from(on)))
    })
}

/// The row of a step as it is stored, in another state and without a wait.
pub(super) fn row(
    definition: &'static Definition,
    snapshot: &Snapshot,
    step: usize,
    state: StepState,
) -> StepWrite {
    let stored = stored(definition, snapshot, step);
    StepWrite {
        name: definition.steps[step].name.to_owned(),
        kind: definition.steps[step].kind,
        state,
        attempts: stored.map_or(0, |row| row.attempts),
        undo_attempts: stored.map_or(0, |row| row.undo_attempts),
        recoveries: stored.map_or(0, |row| row.recoveries),
        output: None,
        error: stored.and_then(|row| row.error.clone()),
        wake: None,
        events: Vec::new(),
    }
}
