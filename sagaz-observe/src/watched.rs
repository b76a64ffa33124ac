//! The engines, relays and consumers of this process.

use sagaz_core::observe::{ConsumerProbe, EngineProbe, Observer, OutboxProbe, Probe};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Remembers what can be asked how it stands, for as long as it lives.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<Probes>);

#[derive(Debug, Default)]
struct Probes {
    engines: Vec<Weak<dyn EngineProbe>>,
    outboxes: Vec<Weak<dyn OutboxProbe>>,
    consumers: Vec<Weak<dyn ConsumerProbe>>,
    /// What is starting, and its kind.
    starting: Vec<(&'static str, Weak<()>)>,
    /// Consumers that have ended by an error, and why: until one of that name runs again.
    ended: BTreeMap<String, String>,
}

/// Those that live now.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) engines: Vec<Arc<dyn EngineProbe>>,
    pub(crate) outboxes: Vec<Arc<dyn OutboxProbe>>,
    pub(crate) consumers: Vec<Arc<dyn ConsumerProbe>>,
    pub(crate) starting: Vec<&'static str>,
    pub(crate) ended: BTreeMap<String, String>,
}

fn live<T: ?Sized>(probes: &[Weak<T>]) -> Vec<Arc<T>> {
    probes.iter().filter_map(Weak::upgrade).collect()
}

impl Probes {
    /// Forgets what lives no more.
    fn prune(&mut self) {
        self.engines.retain(|it| it.strong_count() > 0);
        self.outboxes.retain(|it| it.strong_count() > 0);
        self.consumers.retain(|it| it.strong_count() > 0);
        self.starting.retain(|(_, it)| it.strong_count() > 0);
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Probes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn live(&self) -> Live {
        let mut probes = self.lock();
        probes.prune();
        Live {
            engines: live(&probes.engines),
            outboxes: live(&probes.outboxes),
            consumers: live(&probes.consumers),
            starting: probes.starting.iter().map(|(kind, _)| *kind).collect(),
            ended: probes.ended.clone(),
        }
    }
}

impl Observer for Watched {
    fn is_enabled(&self) -> bool {
        // Runs in process are nothing to ask.
        false
    }

    fn watch(&self, probe: Probe) {
        let mut probes = self.lock();
        probes.prune();
        match probe {
            Probe::Engine(engine) => probes.engines.push(engine),
            Probe::Outbox(outbox) => probes.outboxes.push(outbox),
            Probe::Consumer(consumer) => {
                let name = consumer.upgrade().map(|it| it.consumer());
                name.map(|name| probes.ended.remove(&name));
                probes.consumers.push(consumer);
            }
            Probe::Starting(kind, token) => probes.starting.push((kind, token)),
            Probe::Ended { consumer, why } => drop(probes.ended.insert(consumer, why)),
            _ => {}
        }
    }
}
