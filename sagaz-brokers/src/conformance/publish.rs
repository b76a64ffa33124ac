//! What a broker is given arrives, as it was, or is told about.

use super::{Harness, fixture::*};
use crate::{Routes, Subscription};
use futures_util::future::join_all;
use sagaz_core::{
    Event, Payload,
    broker::{Broker, Subscriber},
};
use std::collections::BTreeMap;

/// Letters, signs that headers are made of, and what is none of ASCII.
const STRANGE: &str = "a b\"c\"%20'd';e=f,g:h\\i ÄÖ 日本 🦀 ";

/// Those that every event has, those that it may have, and its own.
pub async fn p11_every_attribute_of_an_event_arrives(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    let data = Payload {
        content_type: "application/vnd.acme.order+cbor; charset=\"x\"".to_owned(),
        bytes: vec![0, 1, 255],
    };
    let full = Event::raw(STRANGE.trim(), data)
        .key(STRANGE)
        .subject(STRANGE)
        .source("/shop/ä?x=1#y")
        .attribute("tenant", STRANGE)
        .attribute("empty", "")
        .attribute("abcdefghij0123456789", "x".repeat(512))
        .attribute("tracestate", "acme=t61rcWkgMzE,other=00f067aa0ba902b7")
        .trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let least = Event::new("t", &());
    for event in [full, least] {
        publish(&broker, std::slice::from_ref(&event)).await;
        let delivery = next_acked(&mut subscriber).await;
        let arrived = event_of(&delivery).clone().into_parts();
        assert_eq!(arrived, event.into_parts());
    }
}

/// None, each there is, and many.
pub async fn p11_bodies_of_any_bytes_arrive(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for bytes in [Vec::new(), all.clone(), all.repeat(400), b"\r\n\0".to_vec()] {
        let data = Payload {
            content_type: "application/octet-stream".to_owned(),
            bytes,
        };
        let event = Event::raw("order.placed", data).key("key");
        publish(&broker, std::slice::from_ref(&event)).await;
        let delivery = next_acked(&mut subscriber).await;
        // Compared without `assert_eq!`: a broken broker would print it all.
        assert!(
            event_of(&delivery).data().bytes == event.data().bytes,
            "the body is another one"
        );
    }
}

/// Whatever is published beside them.
pub async fn p11_events_of_a_key_arrive_in_their_order(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    let keys: Vec<_> = (0..10).map(|key| format!("key-{key}")).collect();
    for round in 0..20 {
        let batch: Vec<_> = keys.iter().map(|key| event(key, round)).collect();
        publish(&broker, &batch).await;
    }
    let mut arrived: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for _ in 0..200 {
        let delivery = next_acked(&mut subscriber).await;
        let key = event_of(&delivery).ordering_key().unwrap().to_owned();
        arrived.entry(key).or_default().push(number(&delivery));
    }
    assert_eq!(arrived.len(), 10);
    for (key, numbers) in arrived {
        assert!(
            numbers.is_sorted() && numbers.len() == 20,
            "{key}: {numbers:?}"
        );
    }
}

/// So that each event's result can be told.
pub async fn results_are_in_the_order_of_the_batch(harness: &impl Harness) {
    let topic = harness.topic().await;
    let routes = Routes::new().route("order.*", &topic).unwrap().strict();
    let broker = harness.broker(routes).await;
    let batch: Vec<_> = (0..20)
        .map(|number| {
            let event_type = if number % 3 == 0 {
                "lost"
            } else {
                "order.placed"
            };
            Event::new(event_type, &number).key(number)
        })
        .collect();
    let results = broker.publish(&batch).await;
    let taken: Vec<_> = results.iter().map(Result::is_ok).collect();
    let expected: Vec<_> = (0..20).map(|number| number % 3 != 0).collect();
    assert_eq!(taken, expected);
}

/// However many are on their way at once.
pub async fn a_large_batch_is_taken_whole(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    let batch: Vec<_> = (0..1_000)
        .map(|number| event(&format!("key-{number}"), number))
        .collect();
    publish(&broker, &batch).await;
    let mut arrived = numbers(&mut subscriber, 1_000).await;
    arrived.sort_unstable();
    assert!(arrived.into_iter().eq(0..1_000));
}

/// A relay with nothing to do may say so.
pub async fn an_empty_batch_is_no_error(harness: &impl Harness) {
    let (_, broker) = topic_and_broker(harness).await;
    assert!(broker.publish(&[]).await.is_empty());
}

/// An error is of its event alone.
pub async fn an_event_without_a_route_is_refused_and_its_neighbours_are_taken(
    harness: &impl Harness,
) {
    let topic = harness.topic().await;
    let routes = Routes::new()
        .route("order.placed", &topic)
        .unwrap()
        .strict();
    assert_neighbours_are_taken(harness, &topic, routes).await;
}

/// The same where only the broker knows.
pub async fn an_event_to_a_missing_topic_is_refused_and_its_neighbours_are_taken(
    harness: &impl Harness,
) {
    let Some(missing) = harness.missing_topic() else {
        return;
    };
    let topic = harness.topic().await;
    let routes = all_to(&topic).route("lost", missing).unwrap();
    assert_neighbours_are_taken(harness, &topic, routes).await;
}

async fn assert_neighbours_are_taken(harness: &impl Harness, topic: &str, routes: Routes) {
    let broker = harness.broker(routes).await;
    let mut subscriber = subscribe(harness, "group", topic).await;
    let lost = |key: &str| Event::new("lost", &0).key(key);
    let batch = [
        lost("a"),
        event("b", 1),
        lost("c"),
        event("d", 2),
        event("e", 3),
    ];
    for _ in 0..2 {
        let results = broker.publish(&batch).await;
        for at in [0, 2] {
            assert_refused(&results[at]);
        }
        for at in [1, 3, 4] {
            assert!(results[at].is_ok(), "{results:?}");
        }
    }
    let expected: &[u32] = if harness.removes_duplicates() {
        &[1, 2, 3]
    } else {
        &[1, 1, 2, 2, 3, 3]
    };
    let mut arrived = numbers(&mut subscriber, expected.len()).await;
    arrived.sort_unstable();
    assert_eq!(arrived, expected);
}

/// A relay that was not told of a success publishes again.
pub async fn a_repeated_event_is_there_once_where_the_broker_says_so(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    let repeated = event("key", 1);
    for event in [&repeated, &repeated, &event("key", 2)] {
        publish(&broker, std::slice::from_ref(event)).await;
    }
    let expected: &[u32] = if harness.removes_duplicates() {
        &[1, 2]
    } else {
        &[1, 1, 2]
    };
    assert_eq!(numbers(&mut subscriber, expected.len()).await, expected);
}

/// As the relays of several processes are.
pub async fn publishers_side_by_side_do_not_disturb_each_other(harness: &impl Harness) {
    let topic = harness.topic().await;
    let mut subscriber = subscribe(harness, "group", &topic).await;
    let all: Vec<_> = (0..50).collect();
    let publishers = (0..4).map(async |publisher| {
        let broker = harness.broker(all_to(&topic)).await;
        publish_each(&broker, &format!("key-{publisher}"), &all).await;
    });
    join_all(publishers).await;
    let mut arrived: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for _ in 0..200 {
        let delivery = next_acked(&mut subscriber).await;
        let key = event_of(&delivery).ordering_key().unwrap().to_owned();
        arrived.entry(key).or_default().push(number(&delivery));
    }
    assert!(arrived.values().all(|numbers| *numbers == all));
}

/// And takes events then.
pub async fn a_healthy_broker_says_so(harness: &impl Harness) {
    let (_, broker) = topic_and_broker(harness).await;
    broker.health().await.unwrap();
    publish(&broker, &[event("key", 1)]).await;
}

/// It is no refusal, which nobody would repeat.
pub async fn p12_an_unreachable_broker_is_told_in_bounded_time(harness: &impl Harness) {
    let (_, broker) = topic_and_broker(harness).await;
    publish(&broker, &[event("key", 1)]).await;
    if !harness.cut().await {
        return;
    }
    let batch = [event("a", 1), event("b", 2)];
    let results = tokio::time::timeout(PATIENCE, broker.publish(&batch)).await;
    for result in results.expect("in bounded time") {
        let error = result.expect_err("nobody can have taken it");
        assert!(!error.is_refusal() && !error.is_misuse(), "{error:?}");
    }
    let health = tokio::time::timeout(PATIENCE, broker.health()).await;
    let error = health.expect("in bounded time").unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    harness.heal().await;
}

/// By the same broker, without anybody's doing.
pub async fn after_it_was_unreachable_events_are_taken_again(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let subscription = Subscription::new("group", [topic.as_str()]);
    let mut subscriber = subscribe_as(harness, subscription).await;
    publish(&broker, &[event("key", 1)]).await;
    assert_eq!(numbers(&mut subscriber, 1).await, [1]);
    if !harness.cut().await {
        return;
    }
    let wanted = event("key", 2);
    let results = broker.publish(std::slice::from_ref(&wanted)).await;
    assert!(results[0].is_err());
    harness.heal().await;
    until("the event is taken", async || {
        let results = broker.publish(std::slice::from_ref(&wanted)).await;
        results[0].is_ok().then_some(())
    })
    .await;
    until("it is delivered", async || {
        let delivery = next(&mut subscriber).await;
        // The subscriber may not know yet that its connection was lost. And the first may come again, as its own
        // acknowledgement may have been lost.
        let _ = subscriber.ack(delivery.receipt).await;
        (number(&delivery) == 2).then_some(())
    })
    .await;
    broker.health().await.unwrap();
}
