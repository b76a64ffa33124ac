//! A store, a broker, and consumers that add numbers up.

use sagaz_brokers::{
    Subscription,
    memory::{MemoryBroker, MemorySubscriber},
};
use sagaz_core::{
    Event, Retry,
    broker::Broker,
    store::{
        Transacts,
        memory::{Memory, MemoryTransaction},
    },
};
use sagaz_outbox::{Consumer, HandlerError, Inbox};
use std::time::Duration;
use tokio::time::{sleep, timeout};

pub(crate) const TOPIC: &str = "order.changed";

pub(crate) struct Fixture {
    pub(crate) store: Memory,
    pub(crate) broker: MemoryBroker,
}

pub(crate) fn event(key: &str, number: u32) -> Event {
    Event::new(TOPIC, &number).key(key).source("/shop")
}

/// Appends the event's number to what is under its key.
pub(crate) fn note(tx: &mut MemoryTransaction, event: &Event) -> Result<(), HandlerError> {
    let key = event.ordering_key().unwrap_or_default();
    let mut numbers = tx.get(key).unwrap_or_default();
    numbers.extend(event.decode::<u32>()?.to_be_bytes());
    tx.set(key, numbers);
    Ok(())
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            store: Memory::new(),
            broker: MemoryBroker::new(),
        }
    }

    pub(crate) fn inbox(&self) -> Inbox<Memory> {
        let retry = Retry {
            attempts: Some(3),
            ..Retry::BACKOFF
        };
        let inbox = Inbox::builder(self.store.clone(), "read-model");
        inbox.retry(retry).build().unwrap()
    }

    pub(crate) fn consumer(&self) -> Consumer<MemorySubscriber> {
        let subscription = Subscription::new("read-model", [TOPIC]);
        Consumer::new(self.broker.subscribe(subscription).unwrap())
    }

    pub(crate) async fn publish(&self, event: &Event) {
        let results = self.broker.publish(std::slice::from_ref(event)).await;
        assert!(results.iter().all(Result::is_ok));
    }

    /// What was noted under a key.
    pub(crate) async fn noted(&self, key: &str) -> Vec<u32> {
        let (tx, _guard) = self.store.begin().await.unwrap();
        let bytes = tx.get(key).unwrap_or_default();
        let numbers = bytes.chunks(4).map(|it| it.try_into().unwrap());
        numbers.map(u32::from_be_bytes).collect()
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looked = timeout(Duration::from_hours(1), async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(looked.await.is_ok(), "never: {what}");
}
