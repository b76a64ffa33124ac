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
        let audit = load::audited(&broker, &mut subscriber, 200, async |mut confirmed| {
            for rounds in [20, 100] {
                load::rounds(&mut confirmed, rounds).await;
                server.kill();
                server.run().await;
            }
        })
        .await;
        eprintln!("killed twice: {audit:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_confirmed_is_lost_when_connections_are_cut_half_way() {
        let port = free_port();
        let proxy = Proxy::start(format!("127.0.0.1:{port}")).await;
        let _server = OwnKafka::start(port, proxy.port).await;
        let url = format!("kafka://127.0.0.1:{}", proxy.port);
        support::make_topics(&url, &["orders", "orders.dead"], 4).await;
        let (broker, mut subscriber) = both(&url).await;
        let audit = load::audited(&broker, &mut subscriber, 400, async |mut confirmed| {
            for rounds in (50..400).step_by(50) {
                load::rounds(&mut confirmed, rounds).await;
                proxy.cut_once().await;
            }
        })
        .await;
        eprintln!("cut seven times: {audit:?}");
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
        publish().await.unwrap();
        proxy.cut();
        let error = publish().await.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        assert!(broker.health().await.unwrap_err().is_unavailable());
        let connected =
            KafkaBroker::connect(&url, &options.connect_timeout(Duration::from_secs(2)));
        assert!(connected.await.unwrap_err().is_unavailable());
        proxy.heal();
        publish().await.unwrap();
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
            assert!(refused.unwrap_err().is_misuse());
        }
        let right = format!("kafka://app:secret@{address}");
        KafkaBroker::connect(&right, &patient()).await.unwrap();
        let url = format!("kafka://{address}");
        let options: Options = patient().credentials("app", "secret");
        let broker = KafkaBroker::connect(&url, &options).await.unwrap();
        broker.health().await.unwrap();
    }
}
