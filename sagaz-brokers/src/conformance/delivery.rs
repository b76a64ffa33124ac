//! How messages come to a subscriber.

use super::{Harness, fixture::*};
use crate::{Start, Subscription};
use futures_util::FutureExt;
use sagaz_core::broker::Subscriber;
use std::time::Duration;

/// With its body, and it holds up nobody.
pub async fn a_message_that_is_no_event_is_delivered_as_malformed(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    harness.publish_malformed(&topic, b"hello").await;
    publish(&broker, &[event("key", 1)]).await;
    let mut bodies = Vec::new();
    let mut events = Vec::new();
    for _ in 0..2 {
        match next_acked(&mut subscriber).await.event {
            Ok(event) => events.push(event.decode::<u32>().unwrap()),
            Err(malformed) => {
                assert!(!malformed.reason.is_empty());
                bodies.push(malformed.body);
            }
        }
    }
    assert_eq!((bodies, events), (vec![b"hello".to_vec()], vec![1]));
}

/// In the words of the subscription.
pub async fn a_delivery_tells_its_topic(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    publish(&broker, &[event("key", 1)]).await;
    assert_eq!(next_acked(&mut subscriber).await.from, topic);
}

/// Whenever it is.
pub async fn a_receive_that_is_cancelled_loses_nothing(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    let mut arrived = Vec::new();
    for number in 0..40_u32 {
        publish(&broker, &[event("key", number)]).await;
        // At once, and after a while that is not the same each time.
        for patience_us in [0, 50 * u64::from(number)] {
            let patience = Duration::from_micros(patience_us);
            let received = tokio::time::timeout(patience, subscriber.receive()).await;
            if let Ok(delivery) = received {
                let delivery = delivery.unwrap();
                arrived.push(self::number(&delivery));
                ack(&mut subscriber, &delivery).await;
            }
        }
    }
    let rest = 40 - arrived.len();
    arrived.extend(numbers(&mut subscriber, rest).await);
    assert!(arrived.iter().copied().eq(0..40), "{arrived:?}");
}

/// Until one of them is acknowledged.
pub async fn p12_no_more_are_delivered_than_may_be_unacknowledged(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let subscription = Subscription::new("bounded", [topic.as_str()]).unacked_max(2);
    let mut bounded = subscribe_as(harness, subscription).await;
    let mut other = subscribe(harness, "other", &topic).await;
    publish_each(&broker, "key", &[1, 2, 3]).await;
    let first = next(&mut bounded).await;
    let second = next(&mut bounded).await;
    assert_eq!((number(&first), number(&second)), (1, 2));
    // The broker has given all of them to others.
    assert_eq!(numbers(&mut other, 3).await, [1, 2, 3]);
    for _ in 0..20 {
        let third = bounded.receive().now_or_never();
        assert!(third.is_none(), "{third:?}");
        pause().await;
    }
    ack(&mut bounded, &first).await;
    assert_eq!(number(&next_acked(&mut bounded).await), 3);
}

/// As the subscription says.
pub async fn a_group_begins_with_the_oldest_or_the_next_event(harness: &impl Harness) {
    if !harness.keeps_for_new_groups() {
        return;
    }
    let (topic, broker) = topic_and_broker(harness).await;
    publish(&broker, &[event("key", 1)]).await;
    let mut oldest = subscribe(harness, "oldest", &topic).await;
    assert_eq!(number(&next_acked(&mut oldest).await), 1);
    let subscription = Subscription::new("next", [topic.as_str()]).start(Start::Next);
    let mut subscriber = subscribe_as(harness, subscription).await;
    let mut first = std::pin::pin!(next(&mut subscriber));
    let mut number_next = 2;
    let delivery = loop {
        publish(&broker, &[event("key", number_next)]).await;
        number_next += 1;
        tokio::select! {
            delivery = &mut first => break delivery,
            // It may take a group a while to know where it begins.
            () = pause() => {}
        }
    };
    assert_ne!(number(&delivery), 1);
}

/// It would wait for ever, and nobody would know why.
pub async fn a_subscription_to_nothing_is_refused(harness: &impl Harness) {
    let topic = harness.topic().await;
    for subscription in [
        Subscription::new("", [topic.as_str()]),
        Subscription::new("group", [""; 0]),
        Subscription::new("group", [""]),
    ] {
        let error = harness.subscribe(subscription).await.err();
        assert!(error.expect("it cannot be").is_misuse());
    }
}
