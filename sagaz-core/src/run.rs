//! Runs in this process: nothing is stored, nothing is serialized, outputs stay in memory.

use crate::{
    context::{Shared, StepContext},
    driver::{Happened, Host, Kind, Stage, Troubles, View, Waits, drive, stuck},
    observe::{Lifecycle, Observer, Observers},
    outcome::{FailureReason, Outcome},
    published::{Destination, Outlet},
    saga::Saga,
    state::{Event, Machine, Record, StepCell},
    store::InstanceState,
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

/// No store: every attempt may begin, and what is recorded counts as stored. Only the deadline comes from outside.
struct InMemory {
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<G: Saga> Host<G> for InMemory {
    const DURABLE: bool = false;

    fn poll_admit(&mut self, _step: usize, _kind: Kind, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn attempt_over(&mut self, _step: usize) {}

    fn record(&mut self, _record: Record) {}

    fn wait(&mut self, _step: usize, _undo: bool, delay: Duration) -> Waits {
        Waits {
            delay,
            inherited: false,
        }
    }

    fn poll(&mut self, _view: View<'_, G>, cx: &mut Context<'_>) -> Poll<Happened> {
        if let Some(deadline) = &mut self.deadline {
            ready!(deadline.as_mut().poll(cx));
            self.deadline = None;
            return Poll::Ready(Happened::Event(Event::Cancel(
                FailureReason::DeadlineExceeded,
            )));
        }
        Poll::Pending
    }
}

pub(crate) async fn run<G: Saga>(saga: G, input: G::Input) -> Outcome<G::Outputs> {
    let observers = Observers::enabled_default();
    run_in_process(&saga, &input, observers, Destination::Nowhere).await
}

pub(crate) async fn run_observed<G: Saga>(
    saga: G,
    input: G::Input,
    observer: Arc<dyn Observer>,
) -> Outcome<G::Outputs> {
    let observers = Observers::with_default(vec![observer]);
    run_in_process(&saga, &input, observers, Destination::Nowhere).await
}

pub(crate) async fn run_publishing<G: Saga>(
    saga: G,
    input: G::Input,
    outlet: Outlet,
) -> Outcome<G::Outputs> {
    let observers = Observers::enabled_default();
    run_in_process(&saga, &input, observers, Destination::Outlet(outlet)).await
}

async fn run_in_process<G: Saga>(
    saga: &G,
    input: &G::Input,
    observers: Option<Observers>,
    destination: Destination,
) -> Outcome<G::Outputs> {
    let definition = saga.definition();
    let mut shared = Shared::new(definition).publishing(destination);
    if observers.is_some() {
        // Nobody asks for the time if nobody is told.
        shared = shared.watched(observers, None, Instant::now());
    }
    let slots = saga.slots();
    let mut machine = Machine::new(definition, false, saga.per_step_copied(StepCell::BLANK));
    let mut troubles = Troubles::default();
    {
        let contexts = saga.per_step(|step| StepContext::new(&shared, step));
        let stage = Stage {
            input,
            slots: &slots,
            contexts: contexts.as_ref(),
        };
        let mut host = InMemory {
            deadline: definition
                .deadline
                .map(|deadline| Box::pin(sleep(deadline))),
        };
        drive(
            saga,
            stage,
            &shared,
            &mut machine,
            None,
            &mut troubles,
            &mut host,
        )
        .await;
    }
    let finished = |state| {
        if let Some(observers) = shared.observers() {
            observers.observe(&Lifecycle::Finished {
                instance: shared.instance(),
                state,
                age: shared.age(),
            });
        }
    };
    match machine.state() {
        InstanceState::Completed => {
            finished(InstanceState::Completed);
            let outputs =
                G::outputs(slots).expect("every step of a completed instance has its output");
            Outcome::Completed(outputs)
        }
        InstanceState::RolledBack => {
            finished(InstanceState::RolledBack);
            let failure = shared
                .failure
                .into_inner()
                .expect("an instance is undone for a reason");
            Outcome::RolledBack(failure)
        }
        _ => {
            let stuck = stuck::<G>(&machine, &troubles, &shared);
            if let Some(observers) = shared.observers() {
                observers.observe(&Lifecycle::Stuck {
                    instance: shared.instance(),
                    stuck: &stuck,
                });
            }
            Outcome::Stuck(stuck)
        }
    }
}
