//! A user's saga, with a fault in front of each attempt and a note of how it ended.

use super::{Order, SimulatedStore, Simulation, within};
use crate::{
    fault::{Fault, Kind, Site},
    story::{Again, Attempt, Decision, End, ProcessNumber, What},
};
use sagaz_core::{
    CodecError, Definition, Event, RunsOn, Saga, StepContext, StepError,
    private::{
        AttemptEnd, OutputRequest, RecoverEnd, RecoverFuture, Scene, StepFuture, Transactor,
        discard_published, published_by,
    },
};
use std::{collections::BTreeSet, panic::resume_unwind, sync::Arc, thread, time::Duration};

/// Stands for the instance's id where a key is shown.
pub(crate) const INSTANCE: &str = "instance";

/// A saga in a simulated process.
pub(crate) struct Simulated<G> {
    inner: G,
    simulation: Simulation,
    process: ProcessNumber,
}

impl<G> Simulated<G> {
    pub(super) fn new(inner: G, simulation: Simulation, process: ProcessNumber) -> Self {
        Self {
            inner,
            simulation,
            process,
        }
    }
}

/// Notes how an attempt ended, also if it is dropped in the middle.
struct Note<'a> {
    simulation: &'a Simulation,
    process: ProcessNumber,
    attempt: Attempt,
    /// How many events are there of attempts before it: none, if each that failed was forgotten.
    before: usize,
    has_ended: bool,
}

impl Note<'_> {
    fn end(mut self, end: End) {
        self.has_ended = true;
        self.tell(end);
    }

    fn tell(&self, end: End) {
        let what = What::Ends(self.attempt.clone(), end);
        self.simulation.end_attempt(self.process, what);
    }
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            let end = if thread::panicking() {
                End::Panicked { injected: false }
            } else {
                End::Dropped
            };
            self.tell(end);
        }
    }
}

impl<G: Saga> Simulated<G> {
    fn scene(scene: Scene<'_, Self>) -> Scene<'_, G> {
        Scene {
            input: scene.input,
            slots: scene.slots,
            context: scene.context,
            known: scene.known,
        }
    }

    fn body<'a>(&'a self, step: usize, kind: Kind, scene: Scene<'a, G>) -> StepFuture<'a> {
        match kind {
            Kind::Undo => self.inner.compensate(step, scene),
            _ => self.inner.step(step, scene),
        }
    }

    fn has_timeout(&self, step: usize, kind: Kind) -> bool {
        let step = &self.inner.definition().steps[step];
        match (kind, step.compensation) {
            (Kind::Undo, Some(undo)) => undo.timeout.is_some(),
            _ => step.timeout.is_some(),
        }
    }

    fn begin<'a>(
        &'a self,
        step: usize,
        kind: Kind,
        context: &StepContext<'_>,
        known: bool,
    ) -> Note<'a> {
        let attempt = Attempt {
            step,
            name: context.step(),
            kind,
            number: context.attempt(),
            key: shown(context),
            known,
        };
        self.simulation
            .begin_attempt(self.process, What::Begins(attempt.clone()));
        Note {
            simulation: &self.simulation,
            process: self.process,
            attempt,
            before: published_by(context).len(),
            has_ended: false,
        }
    }

    /// What goes wrong with this attempt.
    fn fault(&self, step: usize, attempt: &Attempt) -> Option<Fault> {
        let (simulation, kind) = (&self.simulation, attempt.kind);
        if let Some(lasting) = simulation.lasting(step, kind) {
            return Some(lasting);
        }
        let site = || Site::Attempt {
            step: attempt.name,
            kind,
            attempt: attempt.number,
        };
        let touched = simulation.touched(step, kind);
        let definition = &self.inner.definition().steps[step];
        let fault = simulation.visit(self.process, site, || {
            Fault::of_attempt(definition, kind, touched)
        })?;
        if let Fault::Busy(times) | Fault::NoAnswer(times) | Fault::Lost(times) = fault {
            simulation.go_on(step, kind, fault, times);
        }
        Some(fault)
    }

    async fn attempt<'a>(&'a self, step: usize, kind: Kind, scene: Scene<'a, G>) -> AttemptEnd {
        let simulation = &self.simulation;
        let context = scene.context;
        let note = self.begin(step, kind, context, scene.known);
        let fault = self.fault(step, &note.attempt);
        match fault {
            Some(Fault::Dies) => return simulation.die(self.process).await,
            Some(Fault::ShutsDown) => simulation.order(Order::ShutDown(self.process)),
            Some(Fault::Cancelled) => simulation.order(Order::Cancel),
            // Under way already: to another attempt the service cannot say any more that none has had an effect.
            Some(Fault::LosesLease) => {
                simulation.touch(step, kind);
                simulation.lose_lease(self.process).await;
            }
            Some(Fault::ArrivesLate) => {
                simulation.touch(step, kind);
                simulation.come_late(self.process).await;
            }
            Some(Fault::LosesLeaseAndFails) => {
                simulation.lose_lease(self.process).await;
                return turned_away(note, StepError::retryable("busy (injected)").clean());
            }
            Some(Fault::Refused) => {
                return turned_away(note, StepError::permanent("refused (injected)"));
            }
            Some(Fault::Busy(_)) => {
                return turned_away(note, StepError::retryable("busy (injected)").clean());
            }
            Some(Fault::Lost(_)) => {
                let has_timeout = self.has_timeout(step, kind);
                return unanswered(note, has_timeout, "the request was lost (injected)");
            }
            _ => {}
        }
        if matches!(fault, Some(Fault::ShutsDown | Fault::Cancelled)) {
            // It happens while the attempt runs.
            tokio::task::yield_now().await;
        }
        simulation.touch(step, kind);
        let unheard = fault.is_some_and(Fault::hides_the_answer);
        let elsewhere = unheard.then(|| self.copied(step, kind, &scene)).flatten();
        let place = Scene {
            slots: elsewhere.as_ref().unwrap_or(scene.slots),
            ..scene
        };
        let end = within(self.process, self.body(step, kind, place)).await;
        match fault {
            Some(Fault::Repeated) if matches!(end, AttemptEnd::Completed) => {
                discard_published(context);
                let again = within(self.process, self.body(step, kind, scene)).await;
                self.noted(note, context, again)
            }
            // What fails by itself needs no fault.
            Some(Fault::NoAnswer(_)) if matches!(end, AttemptEnd::Completed) => {
                let has_timeout = self.has_timeout(step, kind);
                unanswered(note, has_timeout, "the answer was lost (injected)")
            }
            Some(Fault::StillWorking) if matches!(end, AttemptEnd::Completed) => {
                turned_away(note, StepError::pending(Duration::from_secs(1)))
            }
            Some(Fault::Panics) => {
                note.end(End::Panicked { injected: true });
                drop(end);
                // Without the hook, which would print it as if it were the user's.
                resume_unwind(Box::new("injected panic"))
            }
            _ => self.noted(note, context, end),
        }
    }

    /// Other places for outputs, with those in them that a step or its compensation may ask for: so that an answer that nobody hears is
    /// kept nowhere. `None` if an output cannot be read as it was written.
    fn copied(&self, step: usize, kind: Kind, scene: &Scene<'_, G>) -> Option<G::Slots> {
        let slots = self.inner.slots();
        let definition = self.inner.definition();
        let (mut wanted, mut next) = (BTreeSet::new(), vec![step]);
        while let Some(step) = next.pop() {
            let earlier = definition.steps[step].depends_on.iter();
            let new = earlier.map(|&it| usize::from(it));
            next.extend(new.filter(|&it| wanted.insert(it)));
        }
        if kind == Kind::Undo && scene.known {
            wanted.insert(step);
        }
        for step in wanted {
            let bytes = self.inner.encode(scene.slots, step).ok()?;
            self.inner.decode(&slots, step, &bytes).ok()?;
        }
        Some(slots)
    }

    fn noted(&self, note: Note<'_>, context: &StepContext<'_>, end: AttemptEnd) -> AttemptEnd {
        let before = note.before;
        let events = || {
            let events = published_by(context);
            let number = |event: &Event| self.simulation.number(event.event_id());
            events.iter().skip(before).map(number).collect()
        };
        note.end(match &end {
            AttemptEnd::Completed => End::Completed { events: events() },
            AttemptEnd::Prepared(_) => End::Prepared { events: events() },
            AttemptEnd::Failed(error) => failed(error, false),
            AttemptEnd::Unpublished(error) => End::Failed {
                words: error.to_string(),
                clean: false,
                again: Again::Yes,
                injected: false,
            },
            AttemptEnd::TimedOut => End::TimedOut { injected: false },
        });
        end
    }
}

/// The key without the instance's id, which is the same in all of a run. One that has no id in it is shown as it is: it would be that of
/// other instances, too.
fn shown(context: &StepContext<'_>) -> String {
    let id = context.saga_id().to_string();
    context.idempotency_key().replace(&id, INSTANCE)
}

fn failed(error: &StepError, injected: bool) -> End {
    End::Failed {
        words: error.to_string(),
        clean: error.is_clean(),
        again: if error.is_pending() {
            Again::StillWorking
        } else if error.is_retryable() {
            Again::Yes
        } else {
            Again::No
        },
        injected,
    }
}

fn turned_away(note: Note<'_>, error: StepError) -> AttemptEnd {
    note.end(failed(&error, true));
    AttemptEnd::Failed(Arc::new(error))
}

fn unanswered(note: Note<'_>, has_timeout: bool, words: &'static str) -> AttemptEnd {
    if has_timeout {
        note.end(End::TimedOut { injected: true });
        return AttemptEnd::TimedOut;
    }
    let error = StepError::retryable(words);
    note.end(failed(&error, true));
    AttemptEnd::Failed(Arc::new(error))
}

impl<G: Saga> Saga for Simulated<G> {
    type Input = G::Input;
    type Outputs = G::Outputs;
    type Step = G::Step;
    type Codec = G::Codec;
    type Slots = G::Slots;
    type PerStep<T: Send> = G::PerStep<T>;

    const DEFINITION: &'static Definition = G::DEFINITION;

    fn definition(&self) -> &'static Definition {
        self.inner.definition()
    }

    fn slots(&self) -> Self::Slots {
        self.inner.slots()
    }

    fn per_step<T: Send>(&self, make: impl FnMut(usize) -> T) -> Self::PerStep<T> {
        self.inner.per_step(make)
    }

    fn per_step_copied<T: Copy + Send>(&self, value: T) -> Self::PerStep<T> {
        self.inner.per_step_copied(value)
    }

    fn step<'a>(&'a self, step: usize, scene: Scene<'a, Self>) -> StepFuture<'a> {
        Box::pin(self.attempt(step, Kind::Action, Self::scene(scene)))
    }

    fn compensate<'a>(&'a self, step: usize, scene: Scene<'a, Self>) -> StepFuture<'a> {
        Box::pin(self.attempt(step, Kind::Undo, Self::scene(scene)))
    }

    fn recover<'a>(
        &'a self,
        step: usize,
        scene: Scene<'a, Self>,
        error: Arc<StepError>,
    ) -> RecoverFuture<'a> {
        Box::pin(async move {
            let scene = Self::scene(scene);
            let note = self.begin(step, Kind::Recovery, scene.context, false);
            let fault = self.fault(step, &note.attempt);
            match fault {
                Some(Fault::Dies) => return self.simulation.die(self.process).await,
                Some(Fault::ShutsDown) => self.simulation.order(Order::ShutDown(self.process)),
                Some(Fault::Cancelled) => self.simulation.order(Order::Cancel),
                // It may do the step's work in another way, under the same key, and is under way.
                Some(Fault::LosesLease) => {
                    self.simulation.touch(step, Kind::Action);
                    self.simulation.lose_lease(self.process).await;
                }
                _ => {}
            }
            if matches!(fault, Some(Fault::ShutsDown | Fault::Cancelled)) {
                tokio::task::yield_now().await;
            }
            self.simulation.touch(step, Kind::Action);
            let recovery = self.inner.recover(step, scene, error);
            let end = within(self.process, recovery).await;
            if fault == Some(Fault::Panics) {
                note.end(End::Panicked { injected: true });
                resume_unwind(Box::new("injected panic"))
            }
            note.end(End::Recovered(match &end {
                RecoverEnd::RetryAfter(_) => Decision::RetryLater,
                RecoverEnd::Used => Decision::UseThisOutput,
                RecoverEnd::Stuck | RecoverEnd::Unpublished(_) => Decision::Stuck,
                RecoverEnd::TimedOut => Decision::None,
            }));
            end
        })
    }

    fn output(
        &self,
        slots: &Self::Slots,
        step: usize,
        request: OutputRequest<'_>,
    ) -> Result<(), CodecError> {
        self.inner.output(slots, step, request)
    }

    fn outputs(slots: Self::Slots) -> Option<Self::Outputs> {
        G::outputs(slots)
    }
}

impl<G: RunsOn<SimulatedStore>> RunsOn<SimulatedStore> for Simulated<G> {
    fn transactor() -> Option<&'static dyn Transactor<SimulatedStore>> {
        G::transactor()
    }
}
