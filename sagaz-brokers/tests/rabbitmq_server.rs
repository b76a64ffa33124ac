//! What only a server shows: restarts, cut connections, orders of operators, settings, and servers that cannot be used.
#![cfg(feature = "rabbitmq")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/load.rs"]
mod load;
#[path = "support/own_rabbitmq.rs"]
mod own;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/rabbitmq.rs"]
mod support;
#[path = "support/tls.rs"]
mod tls;

use sagaz_brokers::{
    Options, Routes, Subscription,
    rabbitmq::{RabbitMqBroker, RabbitMqSubscriber},
};
use std::time::Duration;

const TOPIC: &str = "orders/placed";

/// Both make what is missing.
fn options() -> Options {
    Options::new()
        .declare(true)
        .routes(Routes::all_to(TOPIC).unwrap())
        .confirm_timeout(Duration::from_secs(20))
}

async fn both(url: &str) -> (RabbitMqBroker, RabbitMqSubscriber) {
    let subscription = Subscription::new("billing", [TOPIC]);
    let subscriber = RabbitMqSubscriber::connect(url, &options(), subscription).await;
    let broker = RabbitMqBroker::connect(url, &options()).await;
    (broker.unwrap(), subscriber.unwrap())
}

/// By this name they are left out where no server can be started.
mod own_rabbitmq {
    use super::{
        both, load,
        own::{OwnRabbitMq, ports::free_port},
        proxy::Proxy,
        tls,
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_confirmed_is_lost_when_the_server_is_killed_under_load() {
        let mut server = OwnRabbitMq::start().await;
        let url = format!("{}?queue_type=classic", server.url());
        let (broker, mut subscriber) = both(&url).await;
        server.until_declared().await;
        let audit = load::audited(
            &broker,
            &mut subscriber,
            100,
            true,
            async |mut confirmed| {
                for rounds in [20, 60] {
                    load::rounds(&mut confirmed, rounds).await;
                    server.kill();
                    server.run().await;
                }
            },
        )
        .await;
        assert!(audit.disturbed > 0, "{audit:?}");
        eprintln!("killed twice: {audit}");
    }

    /// Not killed: a quorum queue of RabbitMQ 3.10 that is killed may never find a leader again, whoever its clients are.
    #[tokio::test(flavor = "multi_thread")]
    async fn quorum_queues_lose_nothing_confirmed_when_their_server_is_restarted() {
        let server = OwnRabbitMq::start().await;
        let proxy = Proxy::start(format!("127.0.0.1:{}", server.port)).await;
        let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", proxy.port);
        let (broker, mut subscriber) = both(&url).await;
        let audit = load::audited(
            &broker,
            &mut subscriber,
            100,
            true,
            async |mut confirmed| {
                for rounds in [20, 60] {
                    load::rounds(&mut confirmed, rounds).await;
                    proxy.cut();
                    server.restart().await;
                    server.until_led("billing.orders/placed").await;
                    proxy.heal();
                }
            },
        )
        .await;
        assert!(audit.disturbed > 0, "{audit:?}");
        eprintln!("restarted twice, with quorum queues: {audit}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_an_operator_closed_are_made_again() {
        let server = OwnRabbitMq::start().await;
        let (broker, mut subscriber) = both(&server.url()).await;
        let audit = load::audited(
            &broker,
            &mut subscriber,
            400,
            true,
            async |mut confirmed| {
                for rounds in [20, 100, 200] {
                    load::rounds(&mut confirmed, rounds).await;
                    server.ctl(&["close_all_connections", "maintenance"]).await;
                }
            },
        )
        .await;
        eprintln!("closed three times: {audit}");
    }

    #[tokio::test]
    async fn both_ends_of_an_encrypted_connection_show_their_certificates() {
        let certificates = tls::Certificates::new();
        let port = free_port();
        let _server = OwnRabbitMq::start_with(|folder| {
            certificates.write_to(folder);
            let folder = folder.display();
            format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {folder}/ca.pem\n\
                 ssl_options.certfile = {folder}/server.pem\nssl_options.keyfile = {folder}/server.key\n\
                 ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
            )
        })
        .await;
        let url = format!("amqps://guest:guest@127.0.0.1:{port}/%2f");
        // It listens there after it listens where it is waited for.
        let began = std::time::Instant::now();
        while let Err(error) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            assert!(began.elapsed().as_secs() < 60, "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        tls::check(&url, "orders/placed", &certificates).await;
    }
}

/// By this name they are left out where there is no server.
mod rabbitmq {
    use super::{load, options, proxy::Proxy, support};
    use futures_util::FutureExt as _;
    use lapin::{
        options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
        types::{AMQPValue, FieldTable},
    };
    use sagaz_brokers::{
        Options, Routes, Subscription,
        rabbitmq::{RabbitMqBroker, RabbitMqSubscriber},
    };
    use sagaz_core::{
        Event,
        broker::{Broker, Subscriber},
    };
    use std::time::Duration;

    /// A name that no other test has.
    fn unique(word: &str) -> String {
        format!("{word}-{:016x}", fastrand::u64(..))
    }

    async fn broker(routes: &str) -> RabbitMqBroker {
        let options = Options::new().routes(routes.parse().unwrap());
        RabbitMqBroker::connect(&support::url(), &options)
            .await
            .unwrap()
    }

    /// A proxy before the server, and the URL of the way through it.
    async fn proxied() -> (Proxy, String) {
        let address = support::address();
        let proxy = Proxy::start(address.clone()).await;
        let url = support::url().replace(&address, &format!("127.0.0.1:{}", proxy.port));
        (proxy, url)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_confirmed_is_lost_when_connections_are_cut_half_way() {
        let (proxy, url) = proxied().await;
        let topic = format!("amq.topic/{}", unique("orders"));
        let options = options().routes(Routes::all_to(&topic).unwrap());
        let subscription = Subscription::new("billing", [topic]);
        let mut subscriber = RabbitMqSubscriber::connect(&url, &options, subscription)
            .await
            .unwrap();
        let broker = RabbitMqBroker::connect(&url, &options).await.unwrap();
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

    /// It may have it.
    #[tokio::test]
    async fn a_server_that_does_not_confirm_in_time_leaves_it_open() {
        let (proxy, url) = proxied().await;
        let key = unique("held");
        support::take_everything("amq.topic", &key).await;
        let options = Options::new()
            .routes(Routes::all_to(format!("amq.topic/{key}")).unwrap())
            .confirm_timeout(Duration::from_secs(5));
        let broker = RabbitMqBroker::connect(&url, &options).await.unwrap();
        let event = Event::new("order.placed", &1);
        let publish = async || broker.publish(std::slice::from_ref(&event)).await.remove(0);
        publish().await.unwrap();
        proxy.hold();
        let error = publish().await.unwrap_err();
        let is_open = !error.is_refusal() && !error.is_unavailable() && !error.is_misuse();
        assert!(is_open, "{error:?}");
        assert!(broker.health().await.unwrap_err().is_unavailable());
        proxy.heal();
        publish().await.unwrap();
        broker.health().await.unwrap();
    }

    /// The client hands them out with whichever confirmation comes next.
    #[tokio::test]
    async fn exactly_the_events_that_came_back_are_refused() {
        let key = unique("wanted");
        support::take_everything("amq.topic", &key).await;
        let broker = broker(&format!("wanted=amq.topic/{key}, *=amq.topic/{key}.no")).await;
        for round in 0..5 {
            let is_wanted = |number: u32| !(number + round).is_multiple_of(7);
            let batch: Vec<_> = (0..300)
                .map(|number| {
                    let event_type = if is_wanted(number) { "wanted" } else { "not" };
                    Event::new(event_type, &number)
                })
                .collect();
            let results = broker.publish(&batch).await;
            for (number, result) in (0..).zip(results) {
                assert_eq!(result.is_ok(), is_wanted(number), "{number}: {result:?}");
            }
        }
    }

    /// The broker closes the channel of all of them.
    #[tokio::test]
    async fn exactly_the_events_for_a_missing_exchange_are_refused() {
        let key = unique("wanted");
        support::take_everything("amq.topic", &key).await;
        let missing = unique("missing");
        let broker = broker(&format!("wanted=amq.topic/{key}, *={missing}/key")).await;
        for round in 0..5 {
            let is_wanted = |number: u32| !(number + round).is_multiple_of(7);
            let batch: Vec<_> = (0..100)
                .map(|number| {
                    let event_type = if is_wanted(number) { "wanted" } else { "not" };
                    Event::new(event_type, &number)
                })
                .collect();
            let results = broker.publish(&batch).await;
            for (number, result) in (0..).zip(results) {
                match result {
                    Ok(()) => assert!(is_wanted(number), "{number}"),
                    Err(error) => {
                        assert!(
                            error.is_refusal() && !is_wanted(number),
                            "{number}: {error:?}"
                        );
                        assert!(error.to_string().contains(&missing), "{error}");
                    }
                }
            }
        }
    }

    /// It takes them when there is room again.
    #[tokio::test]
    async fn a_full_queue_takes_nothing_now() {
        let key = unique("full");
        let connection = support::connection().await;
        let channel = connection.create_channel().await.unwrap();
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
        arguments.insert(
            "x-overflow".into(),
            AMQPValue::LongString("reject-publish".into()),
        );
        arguments.insert("x-expires".into(), AMQPValue::LongInt(600_000));
        channel
            .queue_declare(
                key.as_str().into(),
                QueueDeclareOptions::default(),
                arguments,
            )
            .await
            .unwrap();
        let broker = broker(&format!("*={key}")).await;
        let events: Vec<_> = (0..3).map(|number| Event::new("t", &number)).collect();
        let results = broker.publish(&events).await;
        assert!(results[0].is_ok());
        for result in &results[1..] {
            let error = result.as_ref().unwrap_err();
            assert!(error.is_unavailable(), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_the_protocol_has_no_room_for_is_refused_and_its_neighbours_are_taken() {
        let key = unique("wanted");
        support::take_everything("amq.topic", &key).await;
        let routes = format!("wanted=amq.topic/{key}, *={}/{{type}}", "x".repeat(256));
        let broker = broker(&routes).await;
        let wanted = || Event::new("wanted", &1);
        let data = sagaz_core::Payload {
            content_type: "x".repeat(256),
            bytes: Vec::new(),
        };
        let batch = [
            wanted(),
            Event::new("not", &1),
            Event::raw("wanted", data),
            wanted().id("x".repeat(512)),
        ];
        let results = broker.publish(&batch).await;
        let taken: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(taken, [true, false, false, true], "{results:?}");
        for at in [1, 2] {
            assert!(results[at].as_ref().unwrap_err().is_refusal());
        }
    }

    /// The broker keeps names that begin with `amq.` to itself.
    #[tokio::test]
    async fn a_topic_that_cannot_be_made_is_a_refusal_of_its_events() {
        let queue = unique("orders");
        let options = Options::new()
            .declare(true)
            .routes(format!("wanted={queue}, *=amq.mine/key").parse().unwrap());
        let broker = RabbitMqBroker::connect(&support::url(), &options)
            .await
            .unwrap();
        let batch = ["wanted", "not", "wanted"].map(|it| Event::new(it, &1));
        let results = broker.publish(&batch).await;
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        assert!(results[1].as_ref().unwrap_err().is_refusal(), "{results:?}");
    }

    #[tokio::test]
    async fn a_consumer_whose_queue_was_deleted_makes_it_again() {
        let topic = format!("amq.topic/{}", unique("orders"));
        let options = options().routes(Routes::all_to(&topic).unwrap());
        let subscription = Subscription::new("billing", [topic.as_str()]);
        let mut subscriber = RabbitMqSubscriber::connect(&support::url(), &options, subscription)
            .await
            .unwrap();
        let channel = support::connection().await.create_channel().await.unwrap();
        let queue = format!("billing.{topic}");
        channel
            .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
            .await
            .unwrap();
        let broker = RabbitMqBroker::connect(&support::url(), &options)
            .await
            .unwrap();
        let publish = async {
            let event = Event::new("order.placed", &7);
            while broker
                .publish(std::slice::from_ref(&event))
                .await
                .remove(0)
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (delivery, ()) = tokio::join!(subscriber.receive(), publish);
        let event = delivery.unwrap().event.unwrap();
        assert_eq!(event.decode::<u32>().unwrap(), 7);
    }

    /// Each would miss what another is given.
    #[tokio::test]
    async fn p11_groups_share_a_queue_only_where_that_is_said() {
        let queue = unique("orders");
        let subscribe = async |topic: &str, group: &str| {
            let subscription = Subscription::new(group, [topic]);
            RabbitMqSubscriber::connect(&support::url(), &options(), subscription).await
        };
        let error = subscribe(&queue, "billing").await.unwrap_err();
        assert!(error.is_misuse(), "{error}");
        assert!(
            error.to_string().contains(&format!("`/{queue}`")),
            "{error}"
        );
        let shared = format!("/{queue}");
        let mut billing = subscribe(&shared, "billing").await.unwrap();
        let _shipping = subscribe(&shared, "shipping").await.unwrap();
        let routes = options().routes(Routes::all_to(&queue).unwrap());
        let broker = RabbitMqBroker::connect(&support::url(), &routes)
            .await
            .unwrap();
        let events = [1, 2].map(|n| Event::new("order.placed", &n));
        for result in broker.publish(&events).await {
            result.unwrap();
        }
        // Two consumers in turn: one of the two is this one's.
        assert!(billing.receive().await.unwrap().event.is_ok());
    }

    /// Who looks after the queues does so without us.
    #[tokio::test]
    async fn without_declare_a_missing_queue_is_told_by_its_name() {
        let topic = format!("amq.topic/{}", unique("orders"));
        let subscription = Subscription::new("billing", [topic.as_str()]);
        let options = Options::new();
        let url = support::url();
        let error = RabbitMqSubscriber::connect(&url, &options, subscription.clone())
            .await
            .unwrap_err();
        let queue = format!("billing.{topic}");
        assert!(
            error.is_misuse() && error.to_string().contains(&queue),
            "{error}"
        );
        let channel = support::connection().await.create_channel().await.unwrap();
        let made = channel.queue_declare(
            queue.as_str().into(),
            QueueDeclareOptions::durable(),
            FieldTable::default(),
        );
        made.await.unwrap();
        let (exchange, key) = topic.split_once('/').unwrap();
        channel
            .queue_bind(
                queue.as_str().into(),
                exchange.into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        let mut subscriber = RabbitMqSubscriber::connect(&url, &options, subscription)
            .await
            .unwrap();
        let broker = broker(&format!("*={topic}")).await;
        let event = Event::new("order.placed", &7);
        broker
            .publish(std::slice::from_ref(&event))
            .await
            .remove(0)
            .unwrap();
        assert_eq!(subscriber.receive().await.unwrap().event, Ok(event));
        assert!(subscriber.receive().now_or_never().is_none());
    }

    #[tokio::test]
    async fn nonsense_is_told_as_that_and_without_the_password() {
        let address = support::address();
        for url in [
            "amqp://guest:wrong-word@{}/%2f",
            "amqp://nobody:wrong-word@{}/%2f",
            "amqp://guest:guest@{}/wrong-word",
            "http://guest:wrong-word@{}/",
            "amqp://guest:wrong-word@{}x/",
        ] {
            let url = url.replace("{}", &address);
            let error = RabbitMqBroker::connect(&url, &Options::new())
                .await
                .unwrap_err();
            assert!(error.is_misuse(), "{url}: {error:?}");
            let is_vhost = url.ends_with("wrong-word");
            assert!(
                is_vhost || !format!("{error:?}").contains("wrong-word"),
                "{error:?}"
            );
        }
        let nobody = "amqp://127.0.0.1:1/";
        let error = RabbitMqBroker::connect(nobody, &Options::new())
            .await
            .unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        let credentials = Options::new().credentials("guest", "guest");
        let url = format!("amqp://nobody:no-word@{address}/%2f");
        RabbitMqBroker::connect(&url, &credentials).await.unwrap();
    }
}
