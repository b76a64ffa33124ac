//! What only a server shows: restarts, cut connections, members that come and go, settings, and servers that cannot be used.
#![cfg(feature = "kafka")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/load.rs"]
mod load;
#[path = "support/own_kafka.rs"]
mod own;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/kafka.rs"]
mod support;
#[path = "support/until.rs"]
mod until;

use sagaz_brokers::{
    Options, Routes, Subscription,
    kafka::{KafkaBroker, KafkaSubscriber},
};
use std::time::Duration;

const TOPIC: &str = "orders";

fn options() -> Options {
    Options::new()
        .declare(true)
        .routes(Routes::all_to(TOPIC).unwrap())
        .connect_timeout(Duration::from_secs(30))
        .confirm_timeout(Duration::from_secs(10))
}

fn subscription() -> Subscription {
    Subscription::new("billing", [TOPIC]).redeliver_after(Duration::from_secs(10))
}

async fn both(url: &str) -> (KafkaBroker, KafkaSubscriber) {
    let subscriber = KafkaSubscriber::connect(url, &options(), subscription()).await;
    let broker = KafkaBroker::connect(url, &options()).await;
    (broker.unwrap(), subscriber.unwrap())
}

/// By this name they are left out where no server can be started.
mod own_kafka {
    use super::{
        both, load, options,
        own::{OwnKafka, free_port},
        proxy::Proxy,
        subscription, support,
        until::{is_unavailable, until},
    };
    use sagaz_brokers::{
        Options,
        kafka::{KafkaBroker, KafkaSubscriber},
    };
    use sagaz_core::broker::Broker;
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_confirmed_is_lost_when_the_server_is_killed_under_load() {
        let port = free_port();
        let mut server = OwnKafka::start(port, port).await;
        let url = format!("kafka://127.0.0.1:{port}");
        support::make_topics(&url, &["orders", "orders.dead"], 4).await;
        let (broker, mut subscriber) = both(&url).await;
        let audit = load::audited(
            &broker,
            &mut subscriber,
            200,
            true,
            async |mut confirmed| {
                for rounds in [20, 100] {
                    load::rounds(&mut confirmed, rounds).await;
                    server.kill();
                    server.run().await;
                }
            },
        )
        .await;
        eprintln!("killed twice: {audit}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_confirmed_is_lost_when_connections_are_cut_half_way() {
        let port = free_port();
        let proxy = Proxy::start(format!("127.0.0.1:{port}")).await;
        let _server = OwnKafka::start(port, proxy.port).await;
        let url = format!("kafka://127.0.0.1:{}", proxy.port);
        support::make_topics(&url, &["orders", "orders.dead"], 4).await;
        let (broker, mut subscriber) = both(&url).await;
        let audit = load::audited(
            &broker,
            &mut subscriber,
            400,
            true,
            async |mut confirmed| {
                for rounds in (50..400).step_by(50) {
                    load::rounds(&mut confirmed, rounds).await;
                    proxy.cut_once().await;
                }
            },
        )
        .await;
        eprintln!("cut seven times: {audit}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_unreachable_server_is_told_from_one_that_does_not_confirm() {
        let port = free_port();
        let proxy = Proxy::start(format!("127.0.0.1:{port}")).await;
        let _server = OwnKafka::start(port, proxy.port).await;
        let url = format!("kafka://127.0.0.1:{}", proxy.port);
        let options = options().confirm_timeout(Duration::from_secs(3));
        let broker = KafkaBroker::connect(&url, &options).await.unwrap();
        let event = sagaz_core::Event::new("order.placed", &1).key(1);
        let publish = async || broker.publish(std::slice::from_ref(&event)).await.remove(0);
        until(&publish, Result::is_ok).await;
        proxy.cut();
        until(&publish, is_unavailable).await;
        assert!(broker.health().await.unwrap_err().is_unavailable());
        let impatient = options.connect_timeout(Duration::from_secs(2));
        let connected = KafkaBroker::connect(&url, &impatient).await;
        assert!(connected.unwrap_err().is_unavailable());
        proxy.heal();
        until(&publish, Result::is_ok).await;
        broker.health().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn wrong_credentials_are_told_as_that() {
        let port = free_port();
        let _server = OwnKafka::start_with_password(port).await;
        let address = format!("127.0.0.1:{port}");
        let patient = || options().connect_timeout(Duration::from_secs(10));
        for url in [
            format!("kafka://app:wrong-word@{address}"),
            format!("kafka://nobody:secret@{address}"),
        ] {
            let error = KafkaBroker::connect(&url, &patient()).await.unwrap_err();
            assert!(error.is_misuse(), "{error:?}");
            assert!(!format!("{error:?}").contains("wrong-word"), "{error:?}");
            let refused = KafkaSubscriber::connect(&url, &patient(), subscription()).await;
            let error = refused.unwrap_err();
            assert!(error.is_misuse(), "{error:?}");
        }
        let right = format!("kafka://app:secret@{address}");
        KafkaBroker::connect(&right, &patient()).await.unwrap();
        let url = format!("kafka://{address}");
        let options: Options = patient().credentials("app", "secret");
        let broker = KafkaBroker::connect(&url, &options).await.unwrap();
        broker.health().await.unwrap();
    }
}

/// By this name they are left out where there is no server.
mod kafka {
    use super::support;
    use rdkafka::admin::{NewTopic, TopicReplication};
    use sagaz_brokers::{
        Options, Routes, Subscription,
        kafka::{KafkaBroker, KafkaSubscriber},
    };
    use sagaz_core::{
        Event,
        broker::{Broker, Delivery, Nack, Subscriber},
    };
    use std::{collections::BTreeSet, time::Duration};

    /// A name that no other test has.
    fn unique(word: &str) -> String {
        format!("{word}-{:016x}", fastrand::u64(..))
    }

    async fn broker(topic: &str) -> KafkaBroker {
        let options = Options::new().routes(Routes::all_to(topic).unwrap());
        KafkaBroker::connect(&support::url(), &options)
            .await
            .unwrap()
    }

    async fn join(subscription: &Subscription) -> KafkaSubscriber {
        KafkaSubscriber::connect(&support::url(), &Options::new(), subscription.clone())
            .await
            .unwrap()
    }

    fn number(delivery: &Delivery) -> u32 {
        delivery.event.as_ref().unwrap().decode().unwrap()
    }

    #[tokio::test]
    async fn a_compacted_topic_refuses_an_event_without_a_key_and_takes_its_neighbours() {
        let topic = unique("compacted");
        let compacted = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
        let compacted = compacted.set("cleanup.policy", "compact");
        support::make(&support::url(), vec![compacted]).await;
        let broker = broker(&topic).await;
        let event = || Event::new("order.placed", &1);
        let batches = [[event().key("a")], [event()], [event().key("b")]];
        let mut results = Vec::new();
        for batch in &batches {
            results.extend(broker.publish(batch).await);
        }
        let refused = results[1].as_ref().unwrap_err();
        assert!(refused.is_refusal(), "{refused:?}");
        assert!(refused.to_string().contains("key"), "{refused}");
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        // One message of a batch that the broker does not take keeps it from taking any.
        let keys = (0..20).map(|key| event().key(key));
        let batch: Vec<_> = keys.chain([event()]).collect();
        let results = broker.publish(&batch).await;
        let (refused, taken) = results.split_last().unwrap();
        assert!(refused.as_ref().unwrap_err().is_refusal(), "{refused:?}");
        assert!(taken.iter().all(Result::is_ok), "{taken:?}");
    }

    #[tokio::test]
    async fn a_missing_topic_is_told_when_it_is_subscribed_to() {
        let topic = unique("missing");
        let subscription = Subscription::new("billing", [topic.as_str()]);
        let url = support::url();
        let error = KafkaSubscriber::connect(&url, &Options::new(), subscription.clone())
            .await
            .unwrap_err();
        assert!(
            error.is_misuse() && error.to_string().contains(&topic),
            "{error}"
        );
        let declare = Options::new().declare(true);
        KafkaSubscriber::connect(&url, &declare, subscription)
            .await
            .unwrap();
        let publish = declare.routes(Routes::all_to(unique("missing")).unwrap());
        let broker = KafkaBroker::connect(&url, &publish).await.unwrap();
        let results = broker.publish(&[Event::new("order.placed", &1)]).await;
        assert!(results[0].is_ok(), "{results:?}");
        let routes = format!("wanted={}, *=no topic", unique("missing"));
        let publish = publish.routes(routes.parse().unwrap());
        let broker = KafkaBroker::connect(&url, &publish).await.unwrap();
        let batch = ["wanted", "not", "wanted"].map(|it| Event::new(it, &1));
        let results = broker.publish(&batch).await;
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        assert!(results[1].as_ref().unwrap_err().is_refusal(), "{results:?}");
    }

    /// Partitions go to those who come, and come back from those who go. What a member had in hand then can no longer be settled by
    /// it, and comes to the other.
    #[tokio::test(flavor = "multi_thread")]
    async fn members_that_come_and_go_lose_nothing() {
        let topic = unique("shared");
        support::make_topics(&support::url(), &[&topic], 4).await;
        let subscription = Subscription::new(unique("group"), [topic.as_str()])
            .redeliver_after(Duration::from_secs(10));
        let broker = broker(&topic).await;
        let publish = async |numbers: std::ops::Range<u32>| {
            let batch: Vec<_> = numbers
                .map(|number| Event::new("order.placed", &number).key(number))
                .collect();
            for result in broker.publish(&batch).await {
                result.unwrap();
            }
        };
        let mut seen = BTreeSet::new();
        let mut first = join(&subscription).await;
        publish(0..40).await;
        // In hand of the first, from all partitions.
        let mut in_hand = Vec::new();
        while in_hand.len() < 40 {
            in_hand.push(first.receive().await.unwrap());
        }
        let mut second = join(&subscription).await;
        // Until a partition has gone over: the first has to ask for messages to hear of it.
        let stolen = tokio::select! {
            delivery = second.receive() => delivery.unwrap(),
            delivery = first.receive() => panic!("nothing more was published: {delivery:?}"),
        };
        assert!(number(&stolen) < 40);
        let mut lost = BTreeSet::new();
        for delivery in &in_hand {
            match first.ack(delivery.receipt).await {
                Ok(()) => seen.insert(number(delivery)),
                Err(error) => {
                    assert!(error.is_unavailable(), "{error:?}");
                    lost.insert(number(delivery))
                }
            };
        }
        assert!(lost.contains(&number(&stolen)), "{lost:?}");
        assert!(
            !seen.is_empty(),
            "the first keeps what it does not have to give"
        );
        seen.insert(number(&stolen));
        second.ack(stolen.receipt).await.unwrap();
        drop(first);
        publish(40..80).await;
        let mut repeated = 0;
        while seen.len() < 80 {
            let delivery = second.receive().await.unwrap();
            second.ack(delivery.receipt).await.unwrap();
            repeated += u32::from(!seen.insert(number(&delivery)));
        }
        assert_eq!(repeated, 0, "what was acknowledged is not delivered again");
    }

    /// As a group that is stuck would be.
    #[tokio::test]
    async fn a_message_without_a_topic_for_its_dead_letter_is_put_back() {
        let topic = unique("orders");
        support::make_topics(&support::url(), &[&topic], 1).await;
        let subscription = Subscription::new(unique("group"), [topic.as_str()]);
        let mut subscriber = join(&subscription).await;
        let broker = broker(&topic).await;
        let event = Event::new("order.placed", &7).key("key");
        broker.publish(&[event]).await.remove(0).unwrap();
        let delivery = subscriber.receive().await.unwrap();
        let error = subscriber.nack(delivery.receipt, Nack::DeadLetter).await;
        assert!(error.unwrap_err().is_refusal());
        let again = subscriber.receive().await.unwrap();
        assert_eq!((number(&again), again.redelivered), (7, Some(1)));
    }
}
