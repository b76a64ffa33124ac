//! What the memory broker is for: bounds, faults that a test plans, and the order of a key within a group.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use futures_util::FutureExt;
use sagaz_brokers::{
    Options, Routes, Subscription, connect,
    memory::{Fault, MemoryBroker, MemorySubscriber},
    subscribe,
};
use sagaz_core::{
    Event,
    broker::{Broker, BrokerError, Subscriber},
};
use std::{collections::BTreeMap, time::Duration};

fn event(key: &str, number: u32) -> Event {
    Event::new("order.placed", &number).source("/shop").key(key)
}

async fn publish_one(broker: &MemoryBroker, event: Event) -> Result<(), BrokerError> {
    broker.publish(&[event]).await.remove(0)
}

fn stored(broker: &MemoryBroker) -> Vec<u32> {
    let events = broker.events("order.placed");
    events.iter().map(|event| event.decode().unwrap()).collect()
}

fn subscriber(broker: &MemoryBroker) -> MemorySubscriber {
    broker
        .subscribe(Subscription::new("group", ["order.placed"]))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn p12_a_full_topic_holds_its_publishers_up_and_then_refuses_for_now() {
    let broker = MemoryBroker::builder()
        .capacity(2)
        .full_wait(Duration::from_secs(10))
        .build();
    let mut subscriber = subscriber(&broker);
    for number in 0..2 {
        publish_one(&broker, event("k", number)).await.unwrap();
    }
    let error = publish_one(&broker, event("k", 2)).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");

    let mut waiting = std::pin::pin!(publish_one(&broker, event("k", 3)));
    assert!(waiting.as_mut().now_or_never().is_none());
    let delivery = subscriber.receive().await.unwrap();
    assert!(waiting.as_mut().now_or_never().is_none());
    subscriber.ack(delivery.receipt).await.unwrap();
    waiting.await.unwrap();
    assert_eq!(stored(&broker), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_decides_whether_an_event_is_taken_and_what_is_heard_of_it() {
    let broker = MemoryBroker::new();
    let faults = [
        Fault::Unavailable,
        Fault::Refuse,
        Fault::TimeOutBefore,
        Fault::TimeOutAfter,
        Fault::Delay(Duration::from_secs(5)),
    ];
    for (nth, fault) in (2..).zip(faults) {
        broker.faults().plan(nth, fault);
    }
    let batch: Vec<_> = (0..7)
        .map(|number| event(&number.to_string(), number))
        .collect();
    let results = broker.publish(&batch).await;
    let heard: Vec<_> = results
        .iter()
        .map(|result| match result {
            Ok(()) => "ok",
            Err(error) if error.is_unavailable() => "unavailable",
            Err(error) if error.is_refusal() => "refused",
            Err(_) => "in doubt",
        })
        .collect();
    assert_eq!(
        heard,
        [
            "ok",
            "unavailable",
            "refused",
            "in doubt",
            "in doubt",
            "ok",
            "ok"
        ]
    );
    let mut taken = stored(&broker);
    assert_eq!(taken.pop(), Some(5), "the delayed one came last");
    assert_eq!(taken, [0, 4, 6]);
    assert_eq!((broker.faults().count(), broker.faults().fired()), (7, 5));
}

#[tokio::test]
async fn while_it_is_down_nothing_is_taken_given_or_acknowledged() {
    let broker = MemoryBroker::new();
    let mut subscriber = subscriber(&broker);
    publish_one(&broker, event("k", 1)).await.unwrap();
    let delivery = subscriber.receive().await.unwrap();
    broker.faults().set_down(true);
    assert!(
        publish_one(&broker, event("k", 2))
            .await
            .unwrap_err()
            .is_unavailable()
    );
    assert!(broker.health().await.unwrap_err().is_unavailable());
    assert!(subscriber.receive().await.unwrap_err().is_unavailable());
    assert!(
        subscriber
            .ack(delivery.receipt)
            .await
            .unwrap_err()
            .is_unavailable()
    );
    broker.faults().clear();
    let again = subscriber.receive().await.unwrap();
    assert_eq!(again.redelivered, Some(1));
    subscriber.ack(again.receipt).await.unwrap();
    assert!(stored(&broker).is_empty());
}

/// Members come, go and die with messages in their hands; what is acknowledged of a key is in order, and nothing is missing.
#[tokio::test]
async fn p11_a_group_keeps_the_order_of_a_key_however_its_members_change() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let broker = MemoryBroker::new();
    let keys: Vec<_> = (0..20).map(|key| format!("key-{key}")).collect();
    for number in 0..30 {
        let batch: Vec<_> = keys.iter().map(|key| event(key, number)).collect();
        for result in broker.publish(&batch).await {
            result.unwrap();
        }
    }
    let mut handled: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut members = vec![subscriber(&broker)];
    let mut left = 600;
    while left > 0 {
        match random.u8(..20) {
            0 if members.len() < 4 => members.push(subscriber(&broker)),
            1 if members.len() > 1 => drop(members.swap_remove(random.usize(..members.len()))),
            _ => {
                let member = random.usize(..members.len());
                let received = members[member].receive().now_or_never();
                let Some(Ok(delivery)) = received else {
                    // Its partitions are empty, or others hold messages of them: somebody has to go.
                    if members.len() > 1 {
                        members.swap_remove(random.usize(..members.len()));
                    }
                    continue;
                };
                if random.u8(..10) == 0 {
                    // It dies with this one, and whatever else it holds.
                    members.swap_remove(member);
                    members.push(subscriber(&broker));
                    continue;
                }
                let event = delivery.event.unwrap();
                let key = event.ordering_key().unwrap().to_owned();
                handled
                    .entry(key)
                    .or_default()
                    .push(event.decode().unwrap());
                members[member].ack(delivery.receipt).await.unwrap();
                left -= 1;
            }
        }
    }
    assert_eq!(handled.len(), 20);
    for (key, numbers) in handled {
        assert!(numbers.iter().copied().eq(0..30), "{key}: {numbers:?}");
    }
    assert!(stored(&broker).is_empty(), "all are acknowledged");
}

#[tokio::test]
async fn a_name_is_one_broker_for_the_whole_process() {
    let routes = Routes::all_to("orders").unwrap();
    let broker = Options::new()
        .routes(routes)
        .connect("memory://a-name")
        .await
        .unwrap();
    let other = connect("memory://another-name").await.unwrap();
    for broker in [&broker, &other] {
        broker.publish(&[event("k", 1)]).await.remove(0).unwrap();
    }
    let subscription = || Subscription::new("group", ["orders"]);
    let mut subscriber = subscribe("memory://a-name", subscription()).await.unwrap();
    assert_eq!(subscriber.receive().await.unwrap().from, "orders");
    let mut elsewhere = subscribe("memory://another-name", subscription())
        .await
        .unwrap();
    assert!(elsewhere.receive().now_or_never().is_none());
}
