//! What a worker's engine and relay tell of themselves, told to the world: what became of instances one by one, and the rest in counts.

use crate::{ledger::What, world::World};
use sagaz::{
    InstanceState, Lifecycle, Observer,
    observe::{PublisherEvent, PublisherIdentity},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// What was counted and not told yet is lost with its process.
const INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Watch {
    world: World,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Watch {
    pub(crate) fn start(world: World) -> Arc<Self> {
        let watch = Arc::new(Self {
            world,
            counts: Mutex::default(),
        });
        let telling = Arc::clone(&watch);
        tokio::spawn(async move {
            loop {
                sleep(INTERVAL).await;
                let counts = std::mem::take(&mut *telling.counts());
                if !counts.is_empty() {
                    telling.world.count(counts);
                }
            }
        });
        watch
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, what: &str) {
        *self.counts().entry(what.to_owned()).or_default() += 1;
    }
}

impl Observer for Watch {
    fn observe(&self, event: &Lifecycle<'_>) {
        match event {
            Lifecycle::Claimed {
                instance,
                taken_over,
                suspect,
            } => {
                let taken_over = *taken_over;
                self.world.note(instance.id, What::Claimed { taken_over });
                if *suspect {
                    self.count("claims as a suspect");
                }
            }
            Lifecycle::LeaseLost { instance } => self.world.note(instance.id, What::Lost),
            Lifecycle::Finished {
                instance, state, ..
            } => {
                let completed = *state == InstanceState::Completed;
                self.world.note(instance.id, What::Finished { completed });
            }
            Lifecycle::Stuck { instance, stuck } => {
                let why = stuck.to_string();
                self.world.note(instance.id, What::Stuck { why });
            }
            Lifecycle::StepRetried { .. } => self.count("steps tried again"),
            Lifecycle::CompensationRetried { .. } => self.count("compensations tried again"),
            Lifecycle::AttemptFailed { error, .. } => {
                self.count(&format!("attempts that {}", past(error.as_str())));
            }
            Lifecycle::WriteConflict { lost: true, .. } => self.count("writes that were fenced"),
            Lifecycle::WriteConflict { .. } => self.count("writes that met a held row"),
            Lifecycle::StoreUnavailable { .. } => self.count("calls that the store failed"),
            Lifecycle::LeaseRenewed { lapsed: true, .. } => self.count("leases that had lapsed"),
            Lifecycle::DriverPanicked { instance } => {
                self.world
                    .tell(format!("the driver of {} panicked", instance.id));
            }
            _ => {}
        }
    }

    fn publisher(&self, _: &PublisherIdentity, event: &PublisherEvent<'_>) {
        match event {
            PublisherEvent::Retried { .. } => self.count("publishes tried again"),
            PublisherEvent::BrokerFailed { .. } => self.count("calls that the broker failed"),
            PublisherEvent::Dead {
                event_type, error, ..
            } => self
                .world
                .tell(format!("an event `{event_type}` is a dead letter: {error}")),
            _ => {}
        }
    }
}

fn past(word: &str) -> String {
    match word {
        "pending" => "found the work still under way".to_owned(),
        "timed_out" => "timed out".to_owned(),
        "dropped" => "were dropped".to_owned(),
        other => other.to_owned(),
    }
}
