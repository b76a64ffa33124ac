//! Publishes to Kafka.

use super::{
    config::Config,
    message,
    producer::{Producer, Record},
    topics,
};
use crate::Options;
use sagaz_core::{
    Event,
    broker::{Broker, BrokerError},
};
use std::{
    collections::{BTreeMap, HashSet},
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

    /// Makes the topics that are not known to be there. What went wrong, by topic.
    async fn declare(&self, topics: &[&str]) -> BTreeMap<String, BrokerError> {
        let mut wrong = BTreeMap::new();
        for topic in topics {
            let is_known = self.declared().contains(*topic);
            if is_known || wrong.contains_key(*topic) {
                continue;
            }
            match topics::make(&self.config, &[topic]).await {
                Ok(()) => {
                    let mut declared = self.declared();
                    if declared.len() >= DECLARED_MAX {
                        declared.clear();
                    }
                    declared.insert((*topic).to_owned());
                }
                Err(error) => {
                    wrong.insert((*topic).to_owned(), error);
                }
            }
        }
        wrong
    }

    fn declared(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker for KafkaBroker {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        let routes: Vec<_> = batch
            .iter()
            .map(|event| self.options.routes.find(event.event_type()))
            .collect();
        let topics: Vec<&str> = routes.iter().flatten().map(|route| &*route.topic).collect();
        let wrong = if self.options.declare {
            self.declare(&topics).await
        } else {
            BTreeMap::new()
        };
        let mut results = Vec::with_capacity(batch.len());
        let (mut records, mut places) = (Vec::new(), Vec::new());
        for (at, (event, route)) in batch.iter().zip(&routes).enumerate() {
            let topic = route.as_ref().map(|route| &*route.topic);
            let error = topic.ok().and_then(|topic| wrong.get(topic));
            results.push(error.map(|error| Err(BrokerError::unavailable(error.to_string()))));
            // That there is no route is taken from its place below, where it is no longer borrowed.
            let (Ok(topic), None) = (topic, error) else {
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
