//! The broker as one simulated process sees it: it keeps what it takes in the story.

use super::{Order, Simulation};
use crate::{
    fault::{Fault, Site},
    story::{ProcessNumber, What},
};
use sagaz_core::{
    Event, System,
    broker::{Broker, BrokerError},
};
use std::time::Duration;

/// How long an answer is waited for that never comes.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct SimulatedBroker {
    simulation: Simulation,
    process: ProcessNumber,
}

impl SimulatedBroker {
    pub(super) fn new(simulation: &Simulation, process: ProcessNumber) -> Self {
        Self {
            simulation: simulation.clone(),
            process,
        }
    }

    fn take(&self, event: &Event) {
        let what = What::Published {
            event: self.simulation.number(event.event_id()),
            event_type: event.event_type().to_owned(),
            key: event.ordering_key().unwrap_or_default().to_owned(),
        };
        self.simulation.tell(self.process, what);
    }

    async fn publish_one(&self, event: &Event) -> Result<(), BrokerError> {
        let (simulation, process) = (&self.simulation, self.process);
        simulation.alive(process).await;
        let site = || Site::Publish(event.event_type().to_owned());
        let faults = || Fault::of_call(&[Fault::Rejected, Fault::Cancelled]);
        match simulation.visit(process, site, faults) {
            Some(Fault::DiesBefore) => simulation.die(process).await,
            Some(Fault::DiesAfter) => {
                self.take(event);
                simulation.die(process).await
            }
            Some(Fault::Fails) => Err(BrokerError::unavailable(
                "the broker cannot be reached (injected)",
            )),
            Some(Fault::Rejected) => Err(BrokerError::refused("no such topic (injected)")),
            Some(Fault::ReplyLost) => {
                self.take(event);
                tokio::time::sleep(PATIENCE).await;
                Err(BrokerError::timed_out(PATIENCE))
            }
            fault => {
                if fault == Some(Fault::Cancelled) {
                    simulation.order(Order::Cancel);
                }
                self.take(event);
                Ok(())
            }
        }
    }
}

impl System for SimulatedBroker {
    fn system(&self) -> &'static str {
        "memory"
    }
}

impl Broker for SimulatedBroker {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        let mut results = Vec::with_capacity(batch.len());
        for event in batch {
            results.push(self.publish_one(event).await);
        }
        results
    }

    async fn health(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}
