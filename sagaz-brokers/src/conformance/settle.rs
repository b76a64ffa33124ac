//! What becomes of a message that was delivered.

use super::{Harness, fixture::*};
use crate::Subscription;
use sagaz_core::broker::{Nack, Subscriber};

/// A subscription whose messages come again soon after their consumer is gone.
fn impatient(harness: &impl Harness, topic: &str) -> Subscription {
    Subscription::new("group", [topic]).redeliver_after(harness.redeliver_after())
}

/// Is given the dead letters, which do not die again.
async fn undertaker<H: Harness>(harness: &H, dead_topic: &str) -> H::Subscriber {
    let subscription = Subscription::new("undertaker", [dead_topic]);
    subscribe_as(harness, subscription.without_dead_letters()).await
}

/// Whoever dropped it, and for whatever reason.
pub async fn what_was_not_acknowledged_is_delivered_again(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let subscription = impatient(harness, &topic);
    let mut first = subscribe_as(harness, subscription.clone()).await;
    publish(&broker, &[event("key", 1)]).await;
    assert_eq!(number(&next(&mut first).await), 1);
    drop(first);
    let mut second = subscribe_as(harness, subscription).await;
    let again = next_acked(&mut second).await;
    assert_eq!(number(&again), 1);
    if harness.counts_deliveries() {
        assert!(again.redelivered >= Some(1), "{again:?}");
    }
}

/// By whichever member of the group comes next.
pub async fn what_was_acknowledged_is_not_delivered_again(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let subscription = impatient(harness, &topic);
    let mut first = subscribe_as(harness, subscription.clone()).await;
    publish_each(&broker, "key", &[1, 2]).await;
    assert_eq!(number(&next_acked(&mut first).await), 1);
    assert_eq!(number(&next(&mut first).await), 2);
    drop(first);
    let mut second = subscribe_as(harness, subscription).await;
    assert_eq!(number(&next_acked(&mut second).await), 2);
}

/// Handlers do not take the same time.
pub async fn acknowledgements_may_come_in_any_order(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let subscription = impatient(harness, &topic);
    let mut first = subscribe_as(harness, subscription.clone()).await;
    publish_each(&broker, "key", &[1, 2, 3]).await;
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(next(&mut first).await);
    }
    for at in [2, 0] {
        ack(&mut first, &deliveries[at]).await;
    }
    drop(first);
    let mut second = subscribe_as(harness, subscription).await;
    assert_eq!(number(&next_acked(&mut second).await), 2);
}

/// To the same subscriber, if there is no other.
pub async fn what_is_put_back_is_delivered_again(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    publish_each(&broker, "key", &[1, 2]).await;
    for round in 0..3 {
        let delivery = until("the first comes", async || {
            let delivery = next(&mut subscriber).await;
            if number(&delivery) == 1 {
                return Some(delivery);
            }
            ack(&mut subscriber, &delivery).await;
            None
        })
        .await;
        if harness.counts_deliveries() && round > 0 {
            assert!(delivery.redelivered >= Some(1), "{delivery:?}");
        }
        let put_back = subscriber.nack(delivery.receipt, Nack::Requeue);
        put_back.await.unwrap();
    }
}

/// Whole, and the next message takes its place.
pub async fn a_dead_letter_is_not_delivered_again_and_is_in_its_topic(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let subscription = impatient(harness, &topic);
    let dead_topic = subscription.dead_topic(&topic).unwrap();
    let mut undertaker = undertaker(harness, &dead_topic).await;
    let mut subscriber = subscribe_as(harness, subscription.clone()).await;
    let dying = event("key", 1)
        .subject("an order")
        .attribute("tenant", "north");
    publish(&broker, std::slice::from_ref(&dying)).await;
    publish_each(&broker, "key", &[2, 3]).await;
    let delivery = next(&mut subscriber).await;
    assert_eq!(number(&delivery), 1);
    let buried = subscriber.nack(delivery.receipt, Nack::DeadLetter);
    buried.await.unwrap();
    assert_eq!(number(&next_acked(&mut subscriber).await), 2);
    drop(subscriber);
    let mut successor = subscribe_as(harness, subscription).await;
    assert_eq!(number(&next_acked(&mut successor).await), 3);
    let dead = next_acked(&mut undertaker).await;
    assert_eq!(event_of(&dead), &dying);
}

/// An operator wants to see it.
pub async fn p8_a_malformed_dead_letter_keeps_its_body(harness: &impl Harness) {
    let topic = harness.topic().await;
    let subscription = impatient(harness, &topic);
    let dead_topic = subscription.dead_topic(&topic).unwrap();
    let mut undertaker = undertaker(harness, &dead_topic).await;
    let mut subscriber = subscribe_as(harness, subscription).await;
    harness.publish_malformed(&topic, b"hello").await;
    let delivery = next(&mut subscriber).await;
    let buried = subscriber.nack(delivery.receipt, Nack::DeadLetter);
    buried.await.unwrap();
    let dead = next_acked(&mut undertaker).await;
    assert_eq!(dead.event.unwrap_err().body, b"hello");
}

/// Nobody may live long enough to say so.
pub async fn p8_what_was_delivered_too_often_becomes_a_dead_letter(harness: &impl Harness) {
    if !harness.counts_deliveries() {
        return;
    }
    let (topic, broker) = topic_and_broker(harness).await;
    let subscription = impatient(harness, &topic).deliveries_max(2);
    let dead_topic = subscription.dead_topic(&topic).unwrap();
    let mut undertaker = undertaker(harness, &dead_topic).await;
    // There before it is published: some brokers keep nothing for groups that come later.
    let mut killed = subscribe_as(harness, subscription.clone()).await;
    publish(&broker, &[event("key", 1)]).await;
    assert_eq!(number(&next(&mut killed).await), 1);
    drop(killed);
    let mut killed = subscribe_as(harness, subscription.clone()).await;
    assert_eq!(number(&next(&mut killed).await), 1);
    drop(killed);
    let mut subscriber = subscribe_as(harness, subscription).await;
    publish(&broker, &[event("key", 2)]).await;
    assert_eq!(number(&next_acked(&mut subscriber).await), 2);
    // It takes somebody who looks for messages to find the dead one.
    let mut looking = std::pin::pin!(next(&mut subscriber));
    let dead = tokio::select! {
        dead = next_acked(&mut undertaker) => dead,
        delivery = &mut looking => panic!("{delivery:?}"),
    };
    assert_eq!(number(&dead), 1);
}

/// A consumer may not know whether it has.
pub async fn acknowledging_twice_is_harmless(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    for number in 0..3 {
        publish(&broker, &[event("key", number)]).await;
        let delivery = next_acked(&mut subscriber).await;
        assert_eq!(self::number(&delivery), number);
        // Whether it is an error is the broker's choice.
        let _ = subscriber.ack(delivery.receipt).await;
    }
}
