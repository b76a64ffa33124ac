//! What only Redis has: trimming, names of members, keys that are no streams; and servers that are killed and cut off.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/load.rs"]
mod load;
#[path = "support/own_server.rs"]
mod own;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/redis.rs"]
mod support;
#[path = "support/tls.rs"]
mod tls;

use ::redis::cmd;
use sagaz_brokers::{
    Options, Routes, Subscription,
    redis::{RedisBroker, RedisSubscriber},
};
use sagaz_core::{
    Event,
    broker::{Broker, Delivery, Nack, Subscriber},
};
use std::time::Duration;

fn unique(word: &str) -> String {
    format!("{word}-{}-{:016x}", std::process::id(), fastrand::u64(..))
}

fn event(number: u32) -> Event {
    Event::new("order.placed", &number)
        .source("/shop")
        .key("key")
}

async fn broker(topic: &str) -> RedisBroker {
    let options = Options::new()
        .routes(Routes::all_to(topic).unwrap())
        .declare(true);
    RedisBroker::connect(&support::url(), &options)
        .await
        .unwrap()
}

async fn subscriber(subscription: Subscription) -> RedisSubscriber {
    let options = Options::new().declare(true);
    RedisSubscriber::connect(&support::url(), &options, subscription)
        .await
        .unwrap()
}

async fn publish(broker: &RedisBroker, numbers: std::ops::Range<u32>) {
    for number in numbers {
        broker.publish(&[event(number)]).await.remove(0).unwrap();
    }
}

fn number(delivery: &Delivery) -> u32 {
    delivery.event.as_ref().unwrap().decode().unwrap()
}

async fn length(topic: &str) -> u64 {
    let mut connection = support::connection().await;
    let mut command = cmd("XLEN");
    command.arg(topic);
    command.query_async(&mut connection).await.unwrap()
}

/// By this name they are left out where there is no server.
mod redis {
    use super::*;

    #[tokio::test]
    async fn p8_trimming_removes_only_what_every_group_has_acknowledged() {
        let topic = unique("topic");
        let broker = broker(&topic).await;
        publish(&broker, 0..10).await;
        assert_eq!(
            broker.trim(&topic, 0).await.unwrap(),
            0,
            "there is no group"
        );

        let subscription = |group: &str| Subscription::new(group, [topic.as_str()]);
        let mut fast = subscriber(subscription("fast")).await;
        let mut slow = subscriber(subscription("slow")).await;
        assert_eq!(
            broker.trim(&topic, 0).await.unwrap(),
            0,
            "nothing is delivered"
        );
        for _ in 0..10 {
            let delivery = fast.receive().await.unwrap();
            fast.ack(delivery.receipt).await.unwrap();
        }
        let mut deliveries = Vec::new();
        for _ in 0..8 {
            deliveries.push(slow.receive().await.unwrap());
        }
        for acked in [0, 1, 2, 3, 6] {
            slow.ack(deliveries[acked].receipt).await.unwrap();
        }
        assert_eq!(broker.trim(&topic, 9).await.unwrap(), 1);
        assert_eq!(broker.trim(&topic, 0).await.unwrap(), 3);
        assert_eq!(length(&topic).await, 6, "from the fifth on");
        drop(slow);
        let mut again = subscriber(subscription("slow")).await;
        let mut left = Vec::new();
        for _ in 0..5 {
            let delivery = again.receive().await.unwrap();
            left.push(number(&delivery));
            again.ack(delivery.receipt).await.unwrap();
        }
        left.sort_unstable();
        assert_eq!(left, [4, 5, 7, 8, 9]);
    }

    #[tokio::test]
    async fn a_member_with_a_name_is_first_given_what_a_former_one_left() {
        let topic = unique("topic");
        let broker = broker(&topic).await;
        publish(&broker, 0..2).await;
        let subscription = Subscription::new("group", [topic.as_str()])
            .consumer("a-member")
            .redeliver_after(Duration::from_hours(1));
        let mut killed = subscriber(subscription.clone()).await;
        for expected in 0..2 {
            assert_eq!(number(&killed.receive().await.unwrap()), expected);
        }
        // A process that is killed gives nothing back.
        std::mem::forget(killed);
        publish(&broker, 2..3).await;
        let mut successor = subscriber(subscription).await;
        for (expected, before) in [(0, 1), (1, 1), (2, 0)] {
            let delivery = successor.receive().await.unwrap();
            assert_eq!(number(&delivery), expected);
            assert_eq!(delivery.redelivered, Some(before));
            successor.ack(delivery.receipt).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_a_killed_member_left_is_taken_over_after_a_while() {
        let topic = unique("topic");
        let broker = broker(&topic).await;
        publish(&broker, 0..2).await;
        let subscription = Subscription::new("group", [topic.as_str()])
            .redeliver_after(Duration::from_millis(400));
        let mut killed = subscriber(subscription.clone()).await;
        for _ in 0..2 {
            killed.receive().await.unwrap();
        }
        std::mem::forget(killed);
        let mut heir = subscriber(subscription).await;
        for expected in 0..2 {
            let delivery = heir.receive().await.unwrap();
            assert_eq!(
                (number(&delivery), delivery.redelivered),
                (expected, Some(1))
            );
            heir.ack(delivery.receipt).await.unwrap();
        }
    }

    #[tokio::test]
    async fn p8_a_dead_letter_that_has_no_place_is_not_settled() {
        let topic = unique("topic");
        let broker = broker(&topic).await;
        let subscription = Subscription::new("group", [topic.as_str()])
            .redeliver_after(Duration::from_millis(200));
        let mut subscriber = subscriber(subscription).await;
        let mut connection = support::connection().await;
        let dead = format!("{topic}.dead");
        let mut command = cmd("SET");
        command.arg(&dead).arg("no stream");
        command.exec_async(&mut connection).await.unwrap();
        publish(&broker, 0..1).await;
        let receipt = subscriber.receive().await.unwrap().receipt;
        let error = subscriber
            .nack(receipt, Nack::DeadLetter)
            .await
            .unwrap_err();
        assert!(error.is_misuse(), "{error}");
        let mut command = cmd("DEL");
        command.arg(&dead);
        command.exec_async(&mut connection).await.unwrap();
        let receipt = subscriber.receive().await.unwrap().receipt;
        subscriber.nack(receipt, Nack::DeadLetter).await.unwrap();
        assert_eq!(length(&dead).await, 1);
    }

    #[tokio::test]
    async fn an_event_for_a_key_that_is_no_stream_is_refused_alone() {
        let (topic, other) = (unique("topic"), unique("text"));
        let mut connection = support::connection().await;
        let mut command = cmd("SET");
        command.arg(&other).arg("no stream");
        command.exec_async(&mut connection).await.unwrap();
        let routes = Routes::all_to(&topic).unwrap().route("lost", &other);
        let options = Options::new().routes(routes.unwrap()).declare(true);
        let broker = RedisBroker::connect(&support::url(), &options)
            .await
            .unwrap();
        let lost = Event::new("lost", &0).source("/shop").key("other");
        let results = broker.publish(&[lost, event(1)]).await;
        assert!(results[0].as_ref().unwrap_err().is_refusal());
        assert!(results[1].is_ok());
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_connection_is_told() {
        let url = support::url();
        let wrong_user = Options::new().credentials("nobody", "wrong");
        let error = RedisBroker::connect(&url, &wrong_user).await.unwrap_err();
        assert!(error.is_misuse(), "{error}");
        assert!(error.to_string().contains("refuses the user"), "{error}");
        for url in ["redis://", "redis://host:port", "redis://:secret@host:x"] {
            let error = RedisBroker::connect(url, &Options::new())
                .await
                .unwrap_err();
            assert!(error.is_misuse(), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let error = RedisBroker::connect("redis://127.0.0.1:1", &Options::new())
            .await
            .unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        let missing = unique("missing");
        let subscription = Subscription::new("group", [missing.as_str()]);
        let subscribed = RedisSubscriber::connect(&url, &Options::new(), subscription).await;
        let error = subscribed.unwrap_err();
        assert!(
            error.is_misuse() && error.to_string().contains(&missing),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_dead_letter_that_has_no_place_comes_again_and_holds_up_no_other() {
        let topic = unique("topic");
        let broker = broker(&topic).await;
        publish(&broker, 0..2).await;
        let subscription = Subscription::new("group", [topic.as_str()])
            .unacked_max(1)
            .deliveries_max(3)
            .redeliver_after(Duration::from_millis(200));
        let mut subscriber = subscriber(subscription).await;
        let mut connection = support::connection().await;
        let mut command = cmd("SET");
        command.arg(format!("{topic}.dead")).arg("no stream");
        let _: () = command.query_async(&mut connection).await.unwrap();
        let mut buried = 0;
        let both = async {
            loop {
                let Ok(delivery) = subscriber.receive().await else {
                    continue;
                };
                if number(&delivery) == 1 {
                    return subscriber.ack(delivery.receipt).await.unwrap();
                }
                let nacked = subscriber.nack(delivery.receipt, Nack::DeadLetter).await;
                assert!(nacked.is_err());
                buried += 1;
            }
        };
        let came = tokio::time::timeout(Duration::from_secs(10), both).await;
        came.unwrap();
        assert!(buried > 0);
        let mut command = cmd("DEL");
        command.arg(format!("{topic}.dead"));
        let _: () = command.query_async(&mut connection).await.unwrap();
        let dead = async {
            while length(&format!("{topic}.dead")).await == 0 {
                let received = subscriber.receive();
                let received = tokio::time::timeout(Duration::from_millis(300), received).await;
                if let Ok(Ok(delivery)) = received {
                    let _ = subscriber.nack(delivery.receipt, Nack::DeadLetter).await;
                }
            }
        };
        let dead = tokio::time::timeout(Duration::from_secs(10), dead).await;
        dead.unwrap();
    }
}

/// By this name they are left out where no server can be started.
mod own_server {
    use super::{load, own::OwnServer, proxy::Proxy, tls};
    use sagaz_brokers::{
        Options, Routes, Subscription,
        redis::{RedisBroker, RedisSubscriber},
    };
    use std::{path::PathBuf, time::Duration};

    async fn start() -> OwnServer {
        let arguments = "--bind 127.0.0.1 --save --appendonly yes --appendfsync always";
        let mut arguments: Vec<_> = arguments.split(' ').collect();
        arguments.insert(3, "");
        OwnServer::start(PathBuf::from("redis-server"), "--port", &arguments).await
    }

    async fn both(port: u16) -> (RedisBroker, RedisSubscriber) {
        let url = format!("redis://127.0.0.1:{port}");
        let options = Options::new()
            .declare(true)
            .routes(Routes::all_to("orders").unwrap())
            .confirm_timeout(Duration::from_secs(3));
        let subscription = Subscription::new("billing", ["orders"]);
        let subscriber = RedisSubscriber::connect(&url, &options, subscription).await;
        let broker = RedisBroker::connect(&url, &options).await;
        (broker.unwrap(), subscriber.unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_confirmed_is_lost_when_the_server_is_killed_under_load() {
        let mut server = start().await;
        let (broker, mut subscriber) = both(server.port).await;
        let audit = load::audited(
            &broker,
            &mut subscriber,
            400,
            true,
            async |mut confirmed| {
                for rounds in [50, 150, 250] {
                    load::rounds(&mut confirmed, rounds).await;
                    server.kill();
                    server.run().await;
                }
            },
        )
        .await;
        assert!(audit.disturbed > 0, "it was killed at a quiet moment");
        eprintln!("killed three times: {audit}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_confirmed_is_lost_when_connections_are_cut_half_way() {
        let server = start().await;
        let proxy = Proxy::start(format!("127.0.0.1:{}", server.port)).await;
        let (broker, mut subscriber) = both(proxy.port).await;
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

    #[tokio::test]
    async fn both_ends_of_an_encrypted_connection_show_their_certificates() {
        let certificates = tls::Certificates::new();
        let arguments = "--bind 127.0.0.1 --port 0 --tls-ca-cert-file ca.pem --tls-cert-file server.pem --tls-key-file server.key";
        let arguments: Vec<_> = arguments.split(' ').collect();
        let program = PathBuf::from("redis-server");
        let server = OwnServer::start_with(program, "--tls-port", &arguments, |folder| {
            certificates.write_to(folder);
        });
        let server = server.await;
        let url = format!("rediss://127.0.0.1:{}", server.port);
        tls::check(&url, "orders", &certificates).await;
    }
}
