//! Who is told what a consumer does, and what they can ask it.

use super::Consumer;
use sagaz_core::{
    Event,
    broker::{BrokerError, Subscriber},
    observe::{ConsumerEvent, ConsumerIdentity, ConsumerProbe, Observers, Probe, Scoping, Work},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A consumer that runs, as its observers see it.
pub(super) struct Watched {
    standing: Arc<Standing>,
    observers: Option<Observers>,
}

#[derive(Debug)]
struct Standing {
    consumer: String,
    broker: &'static str,
    trouble: Mutex<Option<(Instant, String)>>,
}

/// How long a failure of the broker counts if nothing comes after it: longer than it is left alone. A broker that has nothing to
/// give and one that is back look the same.
const TROUBLE: Duration = Duration::from_secs(10);

impl Watched {
    pub(super) fn new<U: Subscriber>(consumer: &Consumer<U>, name: String) -> Self {
        let standing = Arc::new(Standing {
            consumer: name,
            broker: consumer.subscriber.system(),
            trouble: Mutex::new(None),
        });
        let observers = Observers::with_default(consumer.observers.clone());
        if let Some(observers) = &observers {
            observers.watch(&Probe::consumer(&standing));
        }
        Self {
            standing,
            observers,
        }
    }

    pub(super) fn observers(&self) -> Option<&Observers> {
        self.observers.as_ref()
    }

    pub(super) fn tell(&self, event: &ConsumerEvent<'_>) {
        if let Some(observers) = &self.observers {
            let Standing {
                consumer, broker, ..
            } = &*self.standing;
            observers.consumer(&ConsumerIdentity::new(consumer, Some(broker)), event);
        }
    }

    /// An event is being handled.
    pub(super) fn begin(&self, event: &Event) -> Scoping {
        let Some(observers) = &self.observers else {
            return Scoping::default();
        };
        observers.begin(&Work::Handle {
            broker: Some(self.standing.broker),
            consumer: &self.standing.consumer,
            event,
        })
    }

    pub(super) fn broker_failed(&self, error: &BrokerError) {
        *self.standing.trouble() = Some((Instant::now(), error.to_string()));
        self.tell(&ConsumerEvent::BrokerFailed { error });
    }

    pub(super) fn broker_answered(&self) {
        self.standing.trouble().take();
    }
}

impl Standing {
    fn trouble(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerProbe for Standing {
    fn consumer(&self) -> String {
        self.consumer.clone()
    }

    fn broker(&self) -> &'static str {
        self.broker
    }

    fn broker_trouble(&self) -> Option<String> {
        let trouble = self.trouble().clone();
        let recent = trouble.filter(|(at, _)| at.elapsed() < TROUBLE);
        recent.map(|(_, words)| words)
    }
}
