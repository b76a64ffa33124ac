//! Who is told what a consumer does, and what they can ask it.

use super::Consumer;
use crate::error::Error;
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

/// How long a failure counts if nothing comes after it: longer than what fails is left alone. A broker that has nothing to give and
/// one that is back look the same.
const TROUBLE: Duration = Duration::from_secs(10);

/// A consumer that runs, as its observers see it.
pub(super) struct Watched {
    standing: Arc<Standing>,
    observers: Option<Observers>,
}

#[derive(Debug)]
struct Standing {
    consumer: String,
    broker: &'static str,
    store: Option<&'static str>,
    of_broker: Trouble,
    of_store: Trouble,
}

/// What failed last, and when.
#[derive(Debug, Default)]
struct Trouble(Mutex<Option<(Instant, String)>>);

impl Trouble {
    fn lock(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, words: String) {
        *self.lock() = Some((Instant::now(), words));
    }

    fn recent(&self) -> Option<String> {
        let trouble = self.lock();
        let recent = trouble.as_ref().filter(|(at, _)| at.elapsed() < TROUBLE);
        recent.map(|(_, words)| words.clone())
    }
}

impl Watched {
    /// `store`: that of its inbox.
    pub(super) fn new<U: Subscriber>(
        consumer: &Consumer<U>,
        name: String,
        store: Option<&'static str>,
    ) -> Self {
        let standing = Arc::new(Standing {
            consumer: name,
            broker: consumer.subscriber.system(),
            store,
            of_broker: Trouble::default(),
            of_store: Trouble::default(),
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

    pub(super) fn tell(&self, event: &ConsumerEvent<'_>) {
        match event {
            ConsumerEvent::StoreFailed { error } => self.standing.of_store.note(error.to_string()),
            ConsumerEvent::Handled { .. } => drop(self.standing.of_store.lock().take()),
            _ => {}
        }
        if let Some(observers) = &self.observers {
            let Standing {
                consumer,
                broker,
                store,
                ..
            } = &*self.standing;
            let identity = ConsumerIdentity::new(consumer, Some(broker), *store);
            observers.consumer(&identity, event);
        }
    }

    /// An event is being handled.
    pub(super) fn begin(&self, event: &Event) -> Scoping {
        let handling = Work::Handle {
            broker: Some(self.standing.broker),
            consumer: &self.standing.consumer,
            event,
        };
        Scoping::begin(self.observers.as_ref(), &handling)
    }

    pub(super) fn broker_failed(&self, error: &BrokerError) {
        self.standing.of_broker.note(error.to_string());
        self.tell(&ConsumerEvent::BrokerFailed { error });
    }

    pub(super) fn broker_answered(&self) {
        self.standing.of_broker.lock().take();
    }

    /// It has ended, by an error.
    pub(super) fn ended(&self, error: &Error) {
        self.tell(&ConsumerEvent::Ended { error });
        if let Some(observers) = &self.observers {
            observers.watch(&Probe::Ended {
                consumer: self.standing.consumer.clone(),
                why: error.to_string(),
            });
        }
    }
}

impl ConsumerProbe for Standing {
    fn consumer(&self) -> String {
        self.consumer.clone()
    }

    fn broker(&self) -> &'static str {
        self.broker
    }

    fn store(&self) -> Option<&'static str> {
        self.store
    }

    fn broker_trouble(&self) -> Option<String> {
        self.of_broker.recent()
    }

    fn store_trouble(&self) -> Option<String> {
        self.of_store.recent()
    }
}
