//! A store, a broker, and what was published.

use sagaz_brokers::{Subscription, memory::MemoryBroker};
use sagaz_core::{
    Event,
    broker::Subscriber,
    store::{OutboxStore, Transacts, memory::Memory},
};
use sagaz_outbox::{Outbox, Relay, RelayBuilder};
use std::time::Duration;
use tokio::time::{sleep, timeout};

pub(crate) const TOPIC: &str = "order.changed";

pub(crate) struct Fixture {
    pub(crate) store: Memory,
    pub(crate) broker: MemoryBroker,
    pub(crate) outbox: Outbox<Memory>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let store = Memory::new();
        Self {
            outbox: Outbox::new(store.clone()),
            broker: MemoryBroker::new(),
            store,
        }
    }

    pub(crate) fn relay(&self) -> RelayBuilder<Memory, MemoryBroker> {
        Relay::builder(self.store.clone(), self.broker.clone())
    }

    /// Appends an event with this number in a transaction of its own.
    pub(crate) async fn append(&self, key: &str, number: u32) {
        let (mut tx, _guard) = self.store.begin().await.unwrap();
        let event = Event::new(TOPIC, &number).key(key);
        self.outbox.append(&mut tx, event).await.unwrap();
        self.store.commit(tx).await.unwrap();
    }

    /// What was published so far: keys and numbers.
    pub(crate) fn published(&self) -> Vec<(String, u32)> {
        let events = self.broker.events(TOPIC).into_iter();
        events
            .map(|event| {
                let key = event.ordering_key().unwrap().to_owned();
                (key, event.decode().unwrap())
            })
            .collect()
    }

    pub(crate) fn published_of(&self, key: &str) -> Vec<u32> {
        let all = self.published().into_iter();
        all.filter(|(of, _)| of == key)
            .map(|(_, number)| number)
            .collect()
    }

    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let looked = timeout(Duration::from_hours(1), async {
            while !holds().await {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let looked = looked.await;
        let stats = self.outbox.stats().await;
        assert!(looked.is_ok(), "never: {what}; {stats:?}");
    }

    /// Until nothing waits to be published.
    pub(crate) async fn until_empty(&self) {
        let is_empty = async || self.store.outbox_stats().await.unwrap().pending == 0;
        self.until("the outbox is empty", is_empty).await;
    }

    pub(crate) async fn first_delivery(&self) -> Event {
        let subscription = Subscription::new("test", [TOPIC]);
        let mut subscriber = self.broker.subscribe(subscription).unwrap();
        let delivery = subscriber.receive().await.unwrap();
        delivery.event.unwrap()
    }
}
