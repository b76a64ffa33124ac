//! The events that the rules publish, and the ways in which they look at what comes.
//!
//! Invariant: whatever here waits, waits for a condition, and panics when it has not come about in [`PATIENCE`].

use super::Harness;
use crate::{Routes, Subscription};
use sagaz_core::{
    Event,
    broker::{Broker, BrokerError, Delivery, Subscriber},
};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// Longer than any machine needs, however busy.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// A name that no other test has, of letters, digits and `-`.
#[must_use]
pub fn unique(word: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!(
        "{word}-{}-{:012x}-{}",
        std::process::id(),
        fastrand::u64(..1 << 48),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// An event of this key with this number as its data.
pub(super) fn event(key: &str, number: u32) -> Event {
    Event::new("order.placed", &number).source("/shop").key(key)
}

/// Routes of everything to one topic.
pub(super) fn all_to(topic: &str) -> Routes {
    Routes::all_to(topic).unwrap()
}

/// A topic of its own, and a broker that sends everything there.
pub(super) async fn topic_and_broker<H: Harness>(harness: &H) -> (String, H::Broker) {
    let topic = harness.topic().await;
    let broker = harness.broker(all_to(&topic)).await;
    (topic, broker)
}

pub(super) async fn subscribe<H: Harness>(harness: &H, group: &str, topic: &str) -> H::Subscriber {
    subscribe_as(harness, Subscription::new(group, [topic])).await
}

pub(super) async fn subscribe_as<H: Harness>(
    harness: &H,
    subscription: Subscription,
) -> H::Subscriber {
    harness.subscribe(subscription).await.unwrap()
}

/// Publishes, and panics unless all were taken.
pub(super) async fn publish(broker: &impl Broker, batch: &[Event]) {
    let results = broker.publish(batch).await;
    assert_eq!(results.len(), batch.len());
    for result in results {
        result.unwrap();
    }
}

/// Publishes the numbers one after the other, so that their order is certain.
pub(super) async fn publish_each(broker: &impl Broker, key: &str, numbers: &[u32]) {
    for number in numbers {
        publish(broker, &[event(key, *number)]).await;
    }
}

/// The next message; a subscriber that has lost its connection is asked again.
pub(super) async fn next(subscriber: &mut impl Subscriber) -> Delivery {
    let received = tokio::time::timeout(PATIENCE, async {
        loop {
            match subscriber.receive().await {
                Ok(delivery) => return delivery,
                Err(error) if error.is_unavailable() => pause().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    received.await.expect("in vain: until a message comes")
}

/// The next message, which is acknowledged.
pub(super) async fn next_acked(subscriber: &mut impl Subscriber) -> Delivery {
    let delivery = next(subscriber).await;
    ack(subscriber, &delivery).await;
    delivery
}

pub(super) async fn ack(subscriber: &mut impl Subscriber, delivery: &Delivery) {
    subscriber.ack(delivery.receipt).await.unwrap();
}

/// The number in an event.
#[track_caller]
pub(super) fn number(delivery: &Delivery) -> u32 {
    event_of(delivery).decode().unwrap()
}

#[track_caller]
pub(super) fn event_of(delivery: &Delivery) -> &Event {
    delivery.event.as_ref().expect("an event")
}

/// The next so many messages, acknowledged; their numbers.
pub(super) async fn numbers(subscriber: &mut impl Subscriber, count: usize) -> Vec<u32> {
    let mut numbers = Vec::with_capacity(count);
    while numbers.len() < count {
        numbers.push(number(&next_acked(subscriber).await));
    }
    numbers
}

pub(super) async fn until<T>(condition: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looked = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            pause().await;
        }
    });
    looked
        .await
        .unwrap_or_else(|_| panic!("in vain: until {condition}"))
}

pub(super) async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

#[track_caller]
pub(super) fn assert_refused(result: &Result<(), BrokerError>) {
    let error = result.as_ref().expect_err("it cannot be taken");
    assert!(error.is_refusal(), "{error:?}");
}
