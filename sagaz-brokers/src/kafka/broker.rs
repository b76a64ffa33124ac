//! Publishes to Kafka.

use super::{
    config::Config,
    message,
    producer::{Producer, Record},
    topics,
};
use crate::{Options, attributes};
use rdkafka::error::RDKafkaErrorCode as Code;
use sagaz_core::{
    Event, System,
    broker::{Broker, BrokerError},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::{Mutex, PoisonError},
};

/// Topics that are known to have been made. Their names may come from types of events, of which there is no end.
const DECLARED_MAX: usize = 4096;

/// Publishes to Kafka. The [module](super) says how.
pub struct KafkaBroker {
    config: Config,
    options: Options,
    producer: Producer,
    declared: Mutex<HashSet<String>>,
}

impl KafkaBroker {
    /// Connects to the Kafka of a URL: `kafka://host:port,host:port`.
    pub async fn connect(url: &str, options: &Options) -> Result<Self, BrokerError> {
        let config = Config::parse(url, options)?;
        let broker = Self {
            producer: Producer::new(&config)?,
            config,
            options: options.clone(),
            declared: Mutex::default(),
        };
        broker.producer.ask(options.connect_timeout).await?;
        Ok(broker)
    }

    /// Makes the topics that are not known to be there.
    async fn declare(&self, topics: impl Iterator<Item = &str>) -> Undeclared {
        let unknown: BTreeSet<&str> = {
            let declared = self.declared();
            topics.filter(|topic| !declared.contains(*topic)).collect()
        };
        if unknown.is_empty() {
            return Undeclared::These(BTreeMap::new());
        }
        match topics::make(&self.config, &unknown).await {
            Err(error) => Undeclared::All(error.to_string()),
            Ok(wrong) => {
                let made = unknown.iter().filter(|topic| !wrong.contains_key(**topic));
                let mut declared = self.declared();
                if declared.len() >= DECLARED_MAX {
                    declared.clear();
                }
                declared.extend(made.map(|&topic| topic.to_owned()));
                Undeclared::These(wrong)
            }
        }
    }

    fn declared(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Topics that are not there, and could not be made.
enum Undeclared {
    /// Nobody was there to make them.
    All(String),
    These(BTreeMap<String, Code>),
}

impl Undeclared {
    fn error(&self, topic: &str) -> Option<BrokerError> {
        match self {
            Self::All(why) => Some(BrokerError::unavailable(why.as_str())),
            Self::These(wrong) => wrong.get(topic).map(|code| {
                let words = format!("the topic `{topic}` cannot be made: {code}");
                match code {
                    Code::InvalidTopic
                    | Code::PolicyViolation
                    | Code::TopicAuthorizationFailed
                    | Code::ClusterAuthorizationFailed => BrokerError::refused(words),
                    _ => BrokerError::unavailable(words),
                }
            }),
        }
    }
}

impl System for KafkaBroker {
    fn system(&self) -> &'static str {
        "kafka"
    }
}

impl Broker for KafkaBroker {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        let routes: Vec<_> = batch
            .iter()
            .map(|event| {
                attributes::check(event)?;
                self.options.routes.find(event.event_type())
            })
            .collect();
        let undeclared = if self.options.declare {
            let topics = routes.iter().flatten().map(|route| &*route.topic);
            self.declare(topics).await
        } else {
            Undeclared::These(BTreeMap::new())
        };
        let mut results = Vec::with_capacity(batch.len());
        let (mut records, mut places) = (Vec::new(), Vec::new());
        for (at, (event, route)) in batch.iter().zip(&routes).enumerate() {
            let topic = route.as_ref().map(|route| &*route.topic);
            let error = topic.ok().and_then(|topic| undeclared.error(topic));
            let is_sent = topic.is_ok() && error.is_none();
            results.push(error.map(Err));
            // That there is none, or that the event is no event, is taken from its place below, where it is no longer borrowed.
            let (Ok(topic), true) = (topic, is_sent) else {
                continue;
            };
            places.push(at);
            records.push(Record {
                topic,
                key: event.ordering_key().map(str::as_bytes),
                payload: &event.data().bytes,
                headers: message::headers(event),
            });
        }
        let sent = self.producer.send(records).await;
        for (at, result) in places.into_iter().zip(sent) {
            results[at] = Some(result);
        }
        let results = results.into_iter().zip(routes);
        results
            .map(|(result, route)| match (result, route) {
                (Some(result), _) => result,
                (None, Err(refused)) => Err(refused),
                (None, Ok(_)) => Err(BrokerError::timed_out(self.options.confirm_timeout)),
            })
            .collect()
    }

    async fn health(&self) -> Result<(), BrokerError> {
        self.producer.ask(self.options.confirm_timeout).await
    }
}

impl fmt::Debug for KafkaBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBroker")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
