//! The rules of every broker, on a Kafka.
#![cfg(all(feature = "conformance", feature = "kafka"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/kafka.rs"]
mod support;

use rdkafka::producer::{FutureProducer, FutureRecord};
use sagaz_brokers::{
    Options, Routes, Subscription,
    conformance::{Harness, unique},
    kafka::{KafkaBroker, KafkaSubscriber},
};
use sagaz_core::broker::BrokerError;
use std::time::Duration;

struct OnKafka {
    url: String,
}

impl OnKafka {
    fn new() -> Self {
        Self {
            url: support::url(),
        }
    }

    fn options() -> Options {
        let patience = Duration::from_secs(30);
        Options::new()
            .confirm_timeout(patience)
            .connect_timeout(patience)
    }
}

impl Harness for OnKafka {
    type Broker = KafkaBroker;
    type Subscriber = KafkaSubscriber;

    async fn topic(&self) -> String {
        let topic = unique("topic");
        let dead = format!("{topic}.dead");
        support::make_topics(&self.url, &[&topic, &dead], 4).await;
        topic
    }

    fn missing_topic(&self) -> Option<String> {
        Some(unique("missing"))
    }

    async fn broker(&self, routes: Routes) -> KafkaBroker {
        KafkaBroker::connect(&self.url, &Self::options().routes(routes))
            .await
            .unwrap()
    }

    /// Groups of Kafka are not of topics, so each test has its own.
    async fn subscribe(
        &self,
        mut subscription: Subscription,
    ) -> Result<KafkaSubscriber, BrokerError> {
        if let (false, Some(topic)) = (subscription.group.is_empty(), subscription.topics.first()) {
            subscription.group = format!("{}-of-{topic}", subscription.group);
        }
        KafkaSubscriber::connect(&self.url, &Self::options(), subscription).await
    }

    async fn publish_malformed(&self, topic: &str, body: &[u8]) {
        let producer: FutureProducer = support::config(&self.url).create().unwrap();
        let message = FutureRecord::<[u8], [u8]>::to(topic).payload(body);
        producer
            .send(message, Duration::from_secs(30))
            .await
            .unwrap();
    }

    fn counts_deliveries(&self) -> bool {
        false
    }
}

/// By this name they are left out where there is no server.
mod kafka {
    mod broker {
        use crate::OnKafka;

        sagaz_brokers::broker_conformance!(OnKafka::new());
    }

    mod subscriber {
        use crate::OnKafka;

        sagaz_brokers::subscriber_conformance!(OnKafka::new());
    }
}
