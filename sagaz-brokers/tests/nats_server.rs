//! What only NATS has: streams that take subjects, and subjects with wildcards; and servers that are killed and cut off.
#![cfg(feature = "nats")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/load.rs"]
mod load;
#[path = "support/own_server.rs"]
mod own;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/nats.rs"]
mod support;
#[path = "support/tls.rs"]
mod tls;

use sagaz_brokers::{
    Options, Routes, Subscription,
    nats::{NatsBroker, NatsSubscriber},
};
use sagaz_core::{
    Event,
    broker::{Broker, Delivery, Nack, Subscriber},
};
use std::time::Duration;

fn unique(word: &str) -> String {
    format!("{word}-{}-{:016x}", std::process::id(), fastrand::u64(..))
}

fn event(event_type: &str, number: u32) -> Event {
    Event::new(event_type, &number).source("/shop").key(number)
}

fn number(delivery: &Delivery) -> u32 {
    delivery.event.as_ref().unwrap().decode().unwrap()
}

/// By this name they are left out where there is no server.
mod nats {
    use super::*;

    #[tokio::test]
    async fn a_subscription_with_a_wildcard_is_given_every_subject_that_fits() {
        let word = unique("shop");
        let (pattern, all_dead) = (format!("{word}.*"), format!("{word}.*.dead"));
        support::stream(&word, &[&pattern, &all_dead]).await;
        let routes = Routes::all_to(format!("{word}.{{type}}")).unwrap();
        let url = support::url();
        let broker = NatsBroker::connect(&url, &Options::new().routes(routes))
            .await
            .unwrap();
        let subscription = Subscription::new("group", [pattern.as_str()]);
        let mut subscriber = NatsSubscriber::connect(&url, &Options::new(), subscription)
            .await
            .unwrap();
        let results = broker
            .publish(&[event("placed", 1), event("paid", 2)])
            .await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let mut came = Vec::new();
        for _ in 0..2 {
            let delivery = subscriber.receive().await.unwrap();
            came.push((number(&delivery), delivery.from));
        }
        came.sort_unstable();
        assert_eq!(
            came,
            [(1, format!("{word}.placed")), (2, format!("{word}.paid"))]
        );
    }

    #[tokio::test]
    async fn streams_that_are_missing_are_made_if_that_is_asked_for() {
        let (placed, paid) = (unique("placed"), unique("paid"));
        let options = Options::new().declare(true);
        let url = support::url();
        let routes = Routes::all_to(&placed).unwrap();
        let routes = routes.route("paid", &paid).unwrap();
        let broker = NatsBroker::connect(&url, &options.clone().routes(routes))
            .await
            .unwrap();
        let subscription = Subscription::new("group", [paid.as_str()]);
        let mut subscriber = NatsSubscriber::connect(&url, &options, subscription)
            .await
            .unwrap();
        let results = broker
            .publish(&[event("placed", 1), event("paid", 2)])
            .await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(number(&subscriber.receive().await.unwrap()), 2);
        let dead = support::context().await;
        dead.stream_by_subject(format!("{paid}.dead"))
            .await
            .expect("a place for dead letters was made too");
    }

    #[tokio::test]
    async fn a_subscription_without_a_stream_or_a_place_for_its_dead_is_told() {
        let topic = unique("topic");
        support::stream(&topic, &[&topic]).await;
        let missing = unique("missing");
        let url = support::url();
        let of = |topic: &str| Subscription::new("group", [topic]);
        for (subscription, words) in [
            (
                of(&missing).without_dead_letters(),
                "no stream takes the subject",
            ),
            (of(&topic), "no stream takes the dead letters"),
            (of(&format!("{topic}.>")), "come back"),
            (of(&topic).dead_letters(&topic), "come back"),
        ] {
            let subscribed = NatsSubscriber::connect(&url, &Options::new(), subscription).await;
            let error = subscribed.unwrap_err();
            assert!(
                error.is_misuse() && error.to_string().contains(words),
                "{error}"
            );
        }
        let subscription = of(&topic).without_dead_letters();
        NatsSubscriber::connect(&url, &Options::new(), subscription)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn an_event_that_is_too_large_or_has_no_subject_is_refused_alone() {
        let topic = unique("topic");
        support::stream(&topic, &[&topic]).await;
        let routes = Routes::all_to(&topic).unwrap();
        let routes = routes.route("lost", "no subject").unwrap();
        let broker = NatsBroker::connect(&support::url(), &Options::new().routes(routes))
            .await
            .unwrap();
        let large = Event::new("placed", &"x".repeat(2 << 20)).key("large");
        let results = broker
            .publish(&[large, event("lost", 1), event("placed", 2)])
            .await;
        for (result, words) in results.iter().zip(["max_payload", "no subject"]) {
            let error = result.as_ref().unwrap_err();
            assert!(
                error.is_refusal() && error.to_string().contains(words),
                "{error}"
            );
        }
        assert!(results[2].is_ok());
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_connection_is_told() {
        for url in ["nats://", "nats://:secret@:4222", "nats://host:port"] {
            let error = NatsBroker::connect(url, &Options::new()).await.unwrap_err();
            assert!(error.is_misuse(), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let error = NatsBroker::connect("nats://127.0.0.1:1", &Options::new())
            .await
            .unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }

    #[tokio::test]
    async fn a_dead_letter_that_has_no_place_comes_again_and_holds_up_no_other() {
        let topic = unique("topic");
        let dead = format!("{topic}.dead");
        let (stream, of_dead) = (unique("stream"), unique("dead"));
        support::stream(&stream, &[&topic]).await;
        support::stream(&of_dead, &[&dead]).await;
        let url = support::url();
        let routes = Routes::all_to(&topic).unwrap();
        let broker = NatsBroker::connect(&url, &Options::new().routes(routes))
            .await
            .unwrap();
        for of_key in [0, 1] {
            let results = broker.publish(&[event("placed", of_key)]).await;
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        }
        let subscription = Subscription::new("group", [topic.as_str()])
            .unacked_max(1)
            .deliveries_max(3)
            .redeliver_after(Duration::from_millis(500));
        let mut subscriber = NatsSubscriber::connect(&url, &Options::new(), subscription)
            .await
            .unwrap();
        let context = support::context().await;
        context.delete_stream(&of_dead).await.unwrap();
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
        let came = tokio::time::timeout(Duration::from_secs(20), both).await;
        came.unwrap();
        assert!(buried > 0);
        support::stream(&of_dead, &[&dead]).await;
        let is_there = async {
            loop {
                let received = subscriber.receive();
                let received = tokio::time::timeout(Duration::from_millis(300), received).await;
                if let Ok(Ok(delivery)) = received {
                    let _ = subscriber.nack(delivery.receipt, Nack::DeadLetter).await;
                }
                let mut stream = context.get_stream(&of_dead).await.unwrap();
                if stream.info().await.unwrap().state.messages > 0 {
                    return;
                }
            }
        };
        let is_there = tokio::time::timeout(Duration::from_secs(20), is_there).await;
        is_there.unwrap();
    }

    #[tokio::test]
    async fn events_of_two_sources_may_have_the_same_id() {
        let topic = unique("topic");
        support::stream(&topic, &[&topic, &format!("{topic}.dead")]).await;
        let url = support::url();
        let routes = Routes::all_to(&topic).unwrap();
        let broker = NatsBroker::connect(&url, &Options::new().routes(routes))
            .await
            .unwrap();
        for source in ["/shop", "/warehouse", "/shop"] {
            let event = event("placed", 1).id("17").source(source);
            let results = broker.publish(&[event]).await;
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        }
        let subscription = Subscription::new("group", [topic.as_str()]);
        let mut subscriber = NatsSubscriber::connect(&url, &Options::new(), subscription)
            .await
            .unwrap();
        for source in ["/shop", "/warehouse"] {
            let received = tokio::time::timeout(Duration::from_secs(5), subscriber.receive());
            let event = received.await.unwrap().unwrap().event.unwrap();
            assert_eq!(event.source_uri(), source);
        }
        let more = tokio::time::timeout(Duration::from_millis(500), subscriber.receive()).await;
        assert!(more.is_err(), "a repetition is dropped");
    }
}

/// By this name they are left out where no server can be started.
mod own_nats {
    use super::{load, own::OwnServer, proxy::Proxy, tls};
    use sagaz_brokers::{
        Options, Routes, Subscription,
        nats::{NatsBroker, NatsSubscriber},
    };
    use std::{env, path::PathBuf, time::Duration};

    /// Where `cargo xtask test` has put it, or where it was installed.
    fn program() -> PathBuf {
        let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(home);
        cache
            .map(|cache| cache.join("sagaz/nats/bin/nats-server"))
            .filter(|path| path.exists())
            .unwrap_or_else(|| PathBuf::from("nats-server"))
    }

    async fn start() -> OwnServer {
        let arguments = ["-a", "127.0.0.1", "-js", "-sd", "data"];
        OwnServer::start(program(), "-p", &arguments).await
    }

    async fn both(port: u16) -> (NatsBroker, NatsSubscriber) {
        let url = format!("nats://127.0.0.1:{port}");
        let options = Options::new()
            .declare(true)
            .routes(Routes::all_to("orders").unwrap())
            .confirm_timeout(Duration::from_secs(3));
        let subscription =
            Subscription::new("billing", ["orders"]).redeliver_after(Duration::from_secs(3));
        let subscriber = NatsSubscriber::connect(&url, &options, subscription).await;
        let broker = NatsBroker::connect(&url, &options).await;
        (broker.unwrap(), subscriber.unwrap())
    }

    /// What was on its way to the subscriber comes again behind what followed, so that order is not looked at.
    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_confirmed_is_lost_when_the_server_is_killed_under_load() {
        let mut server = start().await;
        let (broker, mut subscriber) = both(server.port).await;
        let audit = load::audited(
            &broker,
            &mut subscriber,
            400,
            false,
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
            false,
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
        let arguments = "-a 127.0.0.1 -js -sd data --tlsverify --tlscacert ca.pem --tlscert server.pem --tlskey server.key";
        let arguments: Vec<_> = arguments.split(' ').collect();
        let server = OwnServer::start_with(program(), "-p", &arguments, |folder| {
            certificates.write_to(folder);
        });
        let server = server.await;
        let url = format!("tls://127.0.0.1:{}", server.port);
        tls::check(&url, "orders", &certificates).await;
    }
}
