//! What the state machine asks for, one effect at a time.

use super::{Crew, Host, Kind, Task, Waits, Work};
use crate::{
    observe::Lifecycle,
    outcome::{Failure, FailureReason},
    saga::Saga,
    state::{Cause, Effect, Sink},
};
use std::time::Duration;
use tokio::time::sleep;

/// The longest wait: a hundred years.
const DELAY_MAX: Duration = Duration::from_hours(100 * 365 * 24);

impl<G: Saga, H: Host<G>> Sink for Crew<'_, '_, G, H> {
    #[expect(
        clippy::inline_always,
        reason = "each caller names one effect: what happens at every step becomes its code, the rest a call"
    )]
    #[inline(always)]
    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Attempt { step, attempt } => {
                self.stage.contexts[step].begin(false, attempt);
                self.occupy(step, Task::Held(Kind::Step));
            }
            Effect::StepStored { .. } if !self.is_watched() => {}
            Effect::Record(record) => self.host.record(record),
            effect => self.carry_out(effect),
        }
    }
}

impl<G: Saga, H: Host<G>> Crew<'_, '_, G, H> {
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
                self.occupy(step, Task::Held(Kind::Undo { known }));
            }
            Effect::Recover { step } => self.occupy(step, Task::Held(Kind::Recover)),
            Effect::Wait {
                step,
                attempt,
                undo,
                after,
            } => self.wait(step, attempt, undo, after),
            Effect::Unwait { step } => {
                if let Some(place) = self.place_of(step) {
                    self.free(place);
                    self.clear(step);
                }
            }
            Effect::Drop { step, only_held } => {
                let Some(place) = self.place_of(step) else {
                    return;
                };
                let task = &mut self.active[place].task;
                match task {
                    Task::Held(_) => *task = Task::Dropped { begun: false },
                    Task::Begun if !only_held => {
                        *task = Task::Dropped { begun: true };
                        self.clear(step);
                    }
                    Task::Begun | Task::Committing | Task::Dropped { .. } => {}
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
        self.occupy(step, Task::Begun);
        *self.work_mut(step) = Work::Wait(Box::pin(sleep(delay)));
    }
}
