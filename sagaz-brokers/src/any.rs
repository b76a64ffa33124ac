//! A broker by its URL.

use crate::{
    Options, Subscription,
    memory::{MemoryBroker, MemorySubscriber},
};
use sagaz_core::{
    Event, System,
    broker::{Broker, BrokerError, Delivery, Nack, Receipt, Subscriber},
};

/// Any of the brokers that are compiled in.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyBroker {
    /// `memory://`
    Memory(MemoryBroker),
    /// `kafka://`
    #[cfg(feature = "kafka")]
    Kafka(Box<crate::kafka::KafkaBroker>),
    /// `amqp://`, `amqps://`
    #[cfg(feature = "rabbitmq")]
    RabbitMq(Box<crate::rabbitmq::RabbitMqBroker>),
    /// `nats://`, `tls://`
    #[cfg(feature = "nats")]
    Nats(Box<crate::nats::NatsBroker>),
    /// `redis://`, `rediss://`
    #[cfg(feature = "redis")]
    Redis(Box<crate::redis::RedisBroker>),
}

/// A subscriber of any of the brokers that are compiled in.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnySubscriber {
    /// `memory://`
    Memory(MemorySubscriber),
    /// `kafka://`
    #[cfg(feature = "kafka")]
    Kafka(Box<crate::kafka::KafkaSubscriber>),
    /// `amqp://`, `amqps://`
    #[cfg(feature = "rabbitmq")]
    RabbitMq(Box<crate::rabbitmq::RabbitMqSubscriber>),
    /// `nats://`, `tls://`
    #[cfg(feature = "nats")]
    Nats(Box<crate::nats::NatsSubscriber>),
    /// `redis://`, `rediss://`
    #[cfg(feature = "redis")]
    Redis(Box<crate::redis::RedisSubscriber>),
}

/// The schemes of URLs, with the features of their brokers.
const SCHEMES: [(&str, Option<&str>); 8] = [
    ("memory", None),
    ("kafka", Some("kafka")),
    ("amqp", Some("rabbitmq")),
    ("amqps", Some("rabbitmq")),
    ("nats", Some("nats")),
    ("tls", Some("nats")),
    ("redis", Some("redis")),
    ("rediss", Some("redis")),
];

/// Connects to the broker of a URL, with the default [`Options`].
///
/// | scheme | broker | feature |
/// |---|---|---|
/// | `memory` | in this process: [`MemoryBroker`] | |
/// | `kafka` | Kafka | `kafka` |
/// | `amqp`, `amqps` | RabbitMQ | `rabbitmq` |
/// | `nats`, `tls` | NATS JetStream | `nats` |
/// | `redis`, `rediss` | Redis streams | `redis` |
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use sagaz_core::broker::Broker;
///
/// let broker = sagaz_brokers::connect("memory://orders").await?;
/// broker.health().await?;
/// # Ok::<(), sagaz_core::broker::BrokerError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn connect(url: &str) -> Result<AnyBroker, BrokerError> {
    Options::new().connect(url).await
}

/// Subscribes at the broker of a URL, with the default [`Options`].
pub async fn subscribe(
    url: &str,
    subscription: Subscription,
) -> Result<AnySubscriber, BrokerError> {
    Options::new().subscribe(url, subscription).await
}

impl Options {
    /// Connects to the broker of a URL: [`connect()`] lists the schemes.
    #[cfg_attr(
        not(any(
            feature = "kafka",
            feature = "rabbitmq",
            feature = "nats",
            feature = "redis"
        )),
        expect(clippy::unused_async, reason = "memory alone needs no waiting")
    )]
    pub async fn connect(&self, url: &str) -> Result<AnyBroker, BrokerError> {
        match scheme(url) {
            "memory" => MemoryBroker::connect(url, self).map(AnyBroker::Memory),
            #[cfg(feature = "kafka")]
            "kafka" => crate::kafka::KafkaBroker::connect(url, self)
                .await
                .map(|broker| AnyBroker::Kafka(Box::new(broker))),
            #[cfg(feature = "rabbitmq")]
            "amqp" | "amqps" => crate::rabbitmq::RabbitMqBroker::connect(url, self)
                .await
                .map(|broker| AnyBroker::RabbitMq(Box::new(broker))),
            #[cfg(feature = "nats")]
            "nats" | "tls" => crate::nats::NatsBroker::connect(url, self)
                .await
                .map(|broker| AnyBroker::Nats(Box::new(broker))),
            #[cfg(feature = "redis")]
            "redis" | "rediss" => crate::redis::RedisBroker::connect(url, self)
                .await
                .map(|broker| AnyBroker::Redis(Box::new(broker))),
            other => Err(unusable(other)),
        }
    }

    /// Subscribes at the broker of a URL: [`connect()`] lists the schemes.
    #[cfg_attr(
        not(any(
            feature = "kafka",
            feature = "rabbitmq",
            feature = "nats",
            feature = "redis"
        )),
        expect(clippy::unused_async, reason = "memory alone needs no waiting")
    )]
    pub async fn subscribe(
        &self,
        url: &str,
        subscription: Subscription,
    ) -> Result<AnySubscriber, BrokerError> {
        match scheme(url) {
            "memory" => MemoryBroker::connect(url, self)?
                .subscribe(subscription)
                .map(AnySubscriber::Memory),
            #[cfg(feature = "kafka")]
            "kafka" => crate::kafka::KafkaSubscriber::connect(url, self, subscription)
                .await
                .map(|subscriber| AnySubscriber::Kafka(Box::new(subscriber))),
            #[cfg(feature = "rabbitmq")]
            "amqp" | "amqps" => {
                crate::rabbitmq::RabbitMqSubscriber::connect(url, self, subscription)
                    .await
                    .map(|subscriber| AnySubscriber::RabbitMq(Box::new(subscriber)))
            }
            #[cfg(feature = "nats")]
            "nats" | "tls" => crate::nats::NatsSubscriber::connect(url, self, subscription)
                .await
                .map(|subscriber| AnySubscriber::Nats(Box::new(subscriber))),
            #[cfg(feature = "redis")]
            "redis" | "rediss" => crate::redis::RedisSubscriber::connect(url, self, subscription)
                .await
                .map(|subscriber| AnySubscriber::Redis(Box::new(subscriber))),
            other => Err(unusable(other)),
        }
    }
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

/// Names the scheme and not the URL, which may have a password in it; where there is no scheme, not even what is in its place.
fn unusable(scheme: &str) -> BrokerError {
    let is_of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let scheme = if scheme.bytes().all(is_of_scheme) {
        scheme
    } else {
        ".."
    };
    let known = SCHEMES.iter().find(|(known, _)| *known == scheme);
    let words = if let Some((_, Some(feature))) = known {
        format!("brokers of `{scheme}://` are not compiled in; enable the feature `{feature}`")
    } else {
        let schemes = SCHEMES.map(|(scheme, _)| scheme).join(", ");
        format!(
            "`{scheme}` is no scheme of a broker's URL; write one of {schemes}, with `://` behind it"
        )
    };
    BrokerError::misused(words)
}

/// The same call on whichever it is.
macro_rules! each {
    ($any:expr, $Any:ident, $it:ident => $call:expr) => {
        match $any {
            $Any::Memory($it) => $call,
            #[cfg(feature = "kafka")]
            $Any::Kafka($it) => $call,
            #[cfg(feature = "rabbitmq")]
            $Any::RabbitMq($it) => $call,
            #[cfg(feature = "nats")]
            $Any::Nats($it) => $call,
            #[cfg(feature = "redis")]
            $Any::Redis($it) => $call,
        }
    };
}

impl System for AnyBroker {
    fn system(&self) -> &'static str {
        each!(self, AnyBroker, broker => broker.system())
    }
}

impl System for AnySubscriber {
    fn system(&self) -> &'static str {
        each!(self, AnySubscriber, subscriber => subscriber.system())
    }
}

impl Broker for AnyBroker {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        each!(self, AnyBroker, broker => broker.publish(batch).await)
    }

    async fn health(&self) -> Result<(), BrokerError> {
        each!(self, AnyBroker, broker => broker.health().await)
    }
}

impl Subscriber for AnySubscriber {
    async fn receive(&mut self) -> Result<Delivery, BrokerError> {
        each!(self, AnySubscriber, subscriber => subscriber.receive().await)
    }

    async fn ack(&mut self, receipt: Receipt) -> Result<(), BrokerError> {
        each!(self, AnySubscriber, subscriber => subscriber.ack(receipt).await)
    }

    async fn nack(&mut self, receipt: Receipt, what: Nack) -> Result<(), BrokerError> {
        each!(self, AnySubscriber, subscriber => subscriber.nack(receipt, what).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_scheme_is_told_with_those_that_are_known() {
        for url in [
            "redsi://app:secret@host",
            "host:6379",
            "",
            "://",
            "app:secret@host://",
        ] {
            let error = connect(url).await.unwrap_err();
            assert!(error.is_misuse());
            let words = error.to_string();
            assert!(words.contains("memory, kafka, amqp"), "{words}");
            assert!(!words.contains("secret"), "{words}");
            let subscription = Subscription::new("group", ["topic"]);
            assert!(subscribe(url, subscription).await.unwrap_err().is_misuse());
        }
    }

    #[test]
    fn a_broker_that_is_not_compiled_in_is_told_with_its_feature() {
        let words = unusable("amqps").to_string();
        assert!(words.contains("`rabbitmq`"), "{words}");
    }
}
