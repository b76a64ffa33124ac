//! The rules of every broker, on memory.
#![cfg(feature = "conformance")]

use sagaz_brokers::{
    Routes, Subscription,
    conformance::{Harness, unique},
    memory::{MemoryBroker, MemorySubscriber},
};
use sagaz_core::broker::BrokerError;

/// A broker that makes no topics by itself.
struct InMemory(MemoryBroker);

impl InMemory {
    fn new() -> Self {
        Self(MemoryBroker::builder().makes_topics(false).build())
    }
}

impl Harness for InMemory {
    type Broker = MemoryBroker;
    type Subscriber = MemorySubscriber;

    async fn topic(&self) -> String {
        let topic = unique("topic");
        self.0.create_topic(&topic);
        self.0.create_topic(&format!("{topic}.dead"));
        topic
    }

    fn missing_topic(&self) -> Option<String> {
        Some(unique("missing"))
    }

    async fn broker(&self, routes: Routes) -> MemoryBroker {
        self.0.with_routes(routes)
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<MemorySubscriber, BrokerError> {
        self.0.subscribe(subscription)
    }

    async fn publish_malformed(&self, topic: &str, body: &[u8]) {
        self.0.publish_malformed(topic, body);
    }

    async fn cut(&self) -> bool {
        self.0.faults().set_down(true);
        true
    }

    async fn heal(&self) {
        self.0.faults().set_down(false);
    }
}

mod broker {
    use super::InMemory;

    sagaz_brokers::broker_conformance!(InMemory::new());
}

mod subscriber {
    use super::InMemory;

    sagaz_brokers::subscriber_conformance!(InMemory::new());
}
