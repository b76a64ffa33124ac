//! The rules of every broker, on a RabbitMQ.
#![cfg(all(feature = "conformance", feature = "rabbitmq"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/rabbitmq.rs"]
mod support;

use lapin::{BasicProperties, options::BasicPublishOptions};
use proxy::Proxy;
use sagaz_brokers::{
    Options, Routes, Subscription,
    conformance::{Harness, unique},
    rabbitmq::{RabbitMqBroker, RabbitMqSubscriber},
};
use sagaz_core::broker::BrokerError;
use std::time::Duration;

/// All clients of a test connect through a network of its own.
struct OnRabbitMq {
    proxy: Proxy,
    url: String,
}

impl OnRabbitMq {
    async fn new() -> Self {
        let (url, address) = (support::url(), support::address());
        let proxy = Proxy::start(address.clone()).await;
        let url = url.replace(&address, &format!("127.0.0.1:{}", proxy.port));
        Self { proxy, url }
    }

    fn options() -> Options {
        let patience = Duration::from_secs(30);
        Options::new()
            .confirm_timeout(patience)
            .connect_timeout(patience)
    }
}

impl Harness for OnRabbitMq {
    type Broker = RabbitMqBroker;
    type Subscriber = RabbitMqSubscriber;

    /// A routing key at an exchange that is always there, with a queue, for without one nothing is taken.
    async fn topic(&self) -> String {
        let key = unique("topic");
        support::take_everything("amq.topic", &key).await;
        format!("amq.topic/{key}")
    }

    fn missing_topic(&self) -> Option<String> {
        Some(format!("{}/key", unique("missing")))
    }

    async fn broker(&self, routes: Routes) -> RabbitMqBroker {
        RabbitMqBroker::connect(&self.url, &Self::options().routes(routes))
            .await
            .unwrap()
    }

    async fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Result<RabbitMqSubscriber, BrokerError> {
        let options = Self::options().declare(true);
        RabbitMqSubscriber::connect(&self.url, &options, subscription).await
    }

    async fn publish_malformed(&self, topic: &str, body: &[u8]) {
        let (exchange, key) = topic.split_once('/').unwrap();
        let channel = support::connection().await.create_channel().await.unwrap();
        let published = channel.basic_publish(
            exchange.into(),
            key.into(),
            BasicPublishOptions::default(),
            body,
            BasicProperties::default(),
        );
        published.await.unwrap();
        channel.close(200, "done".into()).await.unwrap();
    }

    /// A group's queue begins when it is made.
    fn keeps_for_new_groups(&self) -> bool {
        false
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
mod rabbitmq {
    mod broker {
        use crate::OnRabbitMq;

        sagaz_brokers::broker_conformance!(OnRabbitMq::new().await);
    }

    mod subscriber {
        use crate::OnRabbitMq;

        sagaz_brokers::subscriber_conformance!(OnRabbitMq::new().await);
    }
}
