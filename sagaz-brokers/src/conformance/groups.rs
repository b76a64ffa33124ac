//! Who is given what.

use super::{Harness, fixture::*};
use crate::{Routes, Subscription};
use sagaz_core::broker::{Broker, Delivery};
use std::collections::BTreeMap;

/// So that services do not know of each other.
pub async fn every_group_is_given_every_event(harness: &impl Harness) {
    let (topic, broker) = topic_and_broker(harness).await;
    let mut one = subscribe(harness, "one", &topic).await;
    let mut other = subscribe(harness, "other", &topic).await;
    let all: Vec<_> = (0..20).collect();
    publish_each(&broker, "key", &all).await;
    assert_eq!(numbers(&mut one, 20).await, all);
    assert_eq!(numbers(&mut other, 20).await, all);
}

/// What the members of a group were given, after so much was published that both were given some.
async fn shared<H: Harness>(harness: &H) -> (u32, [Vec<Delivery>; 2]) {
    let (topic, broker) = topic_and_broker(harness).await;
    let subscription = || Subscription::new("group", [topic.as_str()]).unacked_max(4);
    let mut one = subscribe_as(harness, subscription()).await;
    let mut other = subscribe_as(harness, subscription()).await;
    let (mut published, mut given) = (0, [Vec::new(), Vec::new()]);
    let work = async {
        while given[0].is_empty() || given[1].is_empty() || received(&given) < published {
            if received(&given) == published {
                publish_round(&broker, &mut published).await;
            }
            // Only what may be cancelled is raced.
            let (index, delivery) = tokio::select! {
                delivery = next(&mut one) => (0, delivery),
                delivery = next(&mut other) => (1, delivery),
            };
            let member = if index == 0 { &mut one } else { &mut other };
            ack(member, &delivery).await;
            given[index].push(delivery);
        }
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("in vain: until both were given some, and all was given");
    (published, given)
}

/// How many different ones.
fn received(given: &[Vec<Delivery>; 2]) -> u32 {
    let mut numbers: Vec<_> = given.iter().flatten().map(number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    u32::try_from(numbers.len()).unwrap()
}

/// The next number of each of 16 keys.
async fn publish_round(broker: &impl Broker, published: &mut u32) {
    let batch: Vec<_> = (*published..*published + 16)
        .map(|number| event(&format!("key-{}", number % 16), number))
        .collect();
    publish(broker, &batch).await;
    *published += 16;
}

/// Each takes a part of the work.
pub async fn members_of_a_group_share_its_events(harness: &impl Harness) {
    let (published, [one, other]) = shared(harness).await;
    for given in [one, other] {
        let mut numbers: Vec<_> = given.iter().map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() < published as usize, "one was given all");
    }
}

/// What a member is given of a key, it is given in order. Across members only some brokers keep it.
pub async fn p11_members_of_a_group_keep_the_order_of_a_key(harness: &impl Harness) {
    let (_, given) = shared(harness).await;
    for given in given {
        let mut keys: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        // What comes again comes late.
        let firsts = given
            .iter()
            .filter(|delivery| delivery.redelivered.is_none_or(|times| times == 0));
        for delivery in firsts {
            let key = event_of(delivery).ordering_key().unwrap();
            keys.entry(key).or_default().push(number(delivery));
        }
        for (key, numbers) in keys {
            assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        }
    }
}

/// And is told which each is of.
pub async fn one_member_subscribes_to_several_topics(harness: &impl Harness) {
    let topics = [harness.topic().await, harness.topic().await];
    let routes = Routes::new()
        .route("order.placed", &topics[0])
        .unwrap()
        .route("order.paid", &topics[1])
        .unwrap();
    let broker = harness.broker(routes).await;
    let subscription = Subscription::new("group", topics.clone());
    let mut subscriber = subscribe_as(harness, subscription).await;
    let paid = sagaz_core::Event::new("order.paid", &2).key("paid");
    publish(&broker, &[event("placed", 1), paid]).await;
    let mut came = Vec::new();
    for _ in 0..2 {
        let delivery = next_acked(&mut subscriber).await;
        came.push((number(&delivery), delivery.from));
    }
    came.sort_unstable();
    let [placed, paid] = topics;
    assert_eq!(came, [(1, placed), (2, paid)]);
}
