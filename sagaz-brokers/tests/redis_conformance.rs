//! The rules of every broker, on a Redis.
#![cfg(all(feature = "conformance", feature = "redis"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/redis.rs"]
mod support;

use ::redis::cmd;
use proxy::Proxy;
use sagaz_brokers::{
    Options, Routes, Subscription,
    conformance::{Harness, unique},
    redis::{RedisBroker, RedisSubscriber},
};
use sagaz_core::broker::BrokerError;
use std::time::Duration;

/// All clients of a test connect through a network of its own.
struct OnRedis {
    proxy: Proxy,
    url: String,
}

impl OnRedis {
    async fn new() -> Self {
        let (url, address) = (support::url(), address());
        let proxy = Proxy::start(address.clone()).await;
        let url = url.replace(&address, &format!("127.0.0.1:{}", proxy.port));
        Self { proxy, url }
    }

    fn options() -> Options {
        let patience = Duration::from_secs(30);
        Options::new()
            .connect_timeout(patience)
            .confirm_timeout(patience)
    }
}

/// The server's host and port.
fn address() -> String {
    let url = support::url();
    let authority = url
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let address = authority.and_then(|authority| authority.rsplit('@').next());
    address.expect("a URL with a host").to_owned()
}

impl Harness for OnRedis {
    type Broker = RedisBroker;
    type Subscriber = RedisSubscriber;

    async fn topic(&self) -> String {
        let topic = unique("topic");
        let mut connection = support::connection().await;
        for stream in [topic.clone(), format!("{topic}.dead")] {
            // A stream is there when a group of it is.
            let mut command = cmd("XGROUP");
            command.arg("CREATE").arg(&stream).arg("nobody").arg("0");
            command.arg("MKSTREAM");
            command.exec_async(&mut connection).await.unwrap();
        }
        topic
    }

    fn missing_topic(&self) -> Option<String> {
        Some(unique("missing"))
    }

    async fn broker(&self, routes: Routes) -> RedisBroker {
        RedisBroker::connect(&self.url, &Self::options().routes(routes))
            .await
            .unwrap()
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<RedisSubscriber, BrokerError> {
        RedisSubscriber::connect(&self.url, &Self::options(), subscription).await
    }

    async fn publish_malformed(&self, topic: &str, body: &[u8]) {
        let mut command = cmd("XADD");
        command.arg(topic).arg("*").arg("data").arg(body);
        let mut connection = support::connection().await;
        command.exec_async(&mut connection).await.unwrap();
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
mod redis {
    mod broker {
        use crate::OnRedis;

        sagaz_brokers::broker_conformance!(OnRedis::new().await);
    }

    mod subscriber {
        use crate::OnRedis;

        sagaz_brokers::subscriber_conformance!(OnRedis::new().await);
    }
}
