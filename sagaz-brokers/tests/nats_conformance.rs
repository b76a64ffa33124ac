//! The rules of every broker, on a NATS.
#![cfg(all(feature = "conformance", feature = "nats"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/nats.rs"]
mod support;

use proxy::Proxy;
use sagaz_brokers::{
    Options, Routes, Subscription,
    conformance::{Harness, unique},
    nats::{NatsBroker, NatsSubscriber},
};
use sagaz_core::broker::BrokerError;
use std::time::Duration;

/// All clients of a test connect through a network of its own.
struct OnNats {
    proxy: Proxy,
    url: String,
}

impl OnNats {
    async fn new() -> Self {
        let (url, address) = (support::url(), address());
        let proxy = Proxy::start(address.clone()).await;
        let url = url.replace(&address, &format!("127.0.0.1:{}", proxy.port));
        Self { proxy, url }
    }

    fn options() -> Options {
        Options::new().connect_timeout(Duration::from_secs(30))
    }
}

/// The server's host and port.
fn address() -> String {
    let url = support::url();
    let authority = url.split("://").nth(1).expect("a URL");
    let address = authority.rsplit('@').next();
    address.expect("a URL with a host").to_owned()
}

impl Harness for OnNats {
    type Broker = NatsBroker;
    type Subscriber = NatsSubscriber;

    /// Both topics are in one stream, so that a dead letter is not taken for a repeated event.
    async fn topic(&self) -> String {
        let topic = unique("topic");
        support::stream(&topic, &[&topic, &format!("{topic}.dead")]).await;
        topic
    }

    fn missing_topic(&self) -> Option<String> {
        Some(unique("missing"))
    }

    async fn broker(&self, routes: Routes) -> NatsBroker {
        NatsBroker::connect(&self.url, &Self::options().routes(routes))
            .await
            .unwrap()
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<NatsSubscriber, BrokerError> {
        NatsSubscriber::connect(&self.url, &Self::options(), subscription).await
    }

    async fn publish_malformed(&self, topic: &str, body: &[u8]) {
        let context = support::context().await;
        let published = context.publish(topic.to_owned(), body.to_vec().into());
        published.await.unwrap().await.unwrap();
    }

    fn removes_duplicates(&self) -> bool {
        true
    }

    fn redeliver_after(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn cut(&self) -> bool {
        self.proxy.cut();
        true
    }

    async fn heal(&self) {
        self.proxy.heal();
    }
}

/// By this name they are left out where there is no server.
mod nats {
    mod broker {
        use crate::OnNats;

        sagaz_brokers::broker_conformance!(OnNats::new().await);
    }

    mod subscriber {
        use crate::OnNats;

        sagaz_brokers::subscriber_conformance!(OnNats::new().await);
    }
}
