//! The engines, outboxes and consumers of this process.

use sagaz_core::observe::{ConsumerProbe, EngineProbe, Observer, OutboxProbe, Probe};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Remembers what can be asked how it stands, for as long as it lives.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<Probes>);

#[derive(Debug, Default)]
struct Probes {
    engines: Vec<Weak<dyn EngineProbe>>,
    outboxes: Vec<Weak<dyn OutboxProbe>>,
    consumers: Vec<Weak<dyn ConsumerProbe>>,
}

/// Those that live now.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) engines: Vec<Arc<dyn EngineProbe>>,
    pub(crate) outboxes: Vec<Arc<dyn OutboxProbe>>,
    pub(crate) consumers: Vec<Arc<dyn ConsumerProbe>>,
}

fn live<T: ?Sized>(probes: &mut Vec<Weak<T>>) -> Vec<Arc<T>> {
    probes.retain(|probe| probe.strong_count() > 0);
    probes.iter().filter_map(Weak::upgrade).collect()
}

impl Watched {
    pub(crate) fn live(&self) -> Live {
        let mut probes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Live {
            engines: live(&mut probes.engines),
            outboxes: live(&mut probes.outboxes),
            consumers: live(&mut probes.consumers),
        }
    }
}

impl Observer for Watched {
    fn is_enabled(&self) -> bool {
        // Runs in process are nothing to ask.
        false
    }

    fn watch(&self, probe: Probe) {
        let mut probes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match probe {
            Probe::Engine(engine) => probes.engines.push(engine),
            Probe::Outbox(outbox) => probes.outboxes.push(outbox),
            Probe::Consumer(consumer) => probes.consumers.push(consumer),
            _ => {}
        }
    }
}
