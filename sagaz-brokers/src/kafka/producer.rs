//! A producer, and what takes its place when it cannot go on.

use super::{
    background::Background,
    config::{Config, unusable},
    error::{Watched, of_asking, of_publishing},
};
use futures_util::future::join_all;
use rdkafka::{
    error::RDKafkaErrorCode as Code,
    message::OwnedHeaders,
    producer::{FutureProducer, FutureRecord, Producer as _},
};
use sagaz_core::broker::BrokerError;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How much longer than it allows itself the client is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// What a broker has against one of the messages that came together, and tells of all.
const OF_ALL: [Code; 6] = [
    Code::MessageSizeTooLarge,
    Code::MessageBatchTooLarge,
    Code::InvalidMessage,
    Code::InvalidRecord,
    Code::InvalidTimestamp,
    Code::PolicyViolation,
];

struct Client {
    producer: Background<FutureProducer<Watched>>,
    watched: Watched,
}

pub(super) struct Producer {
    config: Config,
    client: Mutex<Arc<Client>>,
}

/// A message to be sent.
pub(super) struct Record<'r> {
    pub(super) topic: &'r str,
    pub(super) key: Option<&'r [u8]>,
    pub(super) payload: &'r [u8],
    pub(super) headers: OwnedHeaders,
}

impl Producer {
    pub(super) fn new(config: &Config) -> Result<Self, BrokerError> {
        Ok(Self {
            config: config.clone(),
            client: Mutex::new(Arc::new(client(config)?)),
        })
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends messages one behind the other, and then waits for all confirmations. The client puts them together, and a broker takes
    /// all that came together or nothing; so what it did not take is sent again, each message by itself.
    pub(super) async fn send(&self, records: Vec<Record<'_>>) -> Vec<Result<(), BrokerError>> {
        let deadline = Instant::now() + self.config.confirm_timeout;
        let mut sent = join_all(records.iter().map(|record| self.send_one(record))).await;
        if records.len() > 1 {
            for (record, result) in records.iter().zip(&mut sent) {
                let is_of_all = matches!(result, Err((_, Some(code))) if OF_ALL.contains(code));
                if is_of_all && Instant::now() < deadline {
                    *result = self.send_one(record).await;
                }
            }
        }
        let results = sent.into_iter();
        results
            .map(|result| result.map_err(|(error, _)| error))
            .collect()
    }

    /// The error with the client's own code for it.
    async fn send_one(&self, record: &Record<'_>) -> Result<(), (BrokerError, Option<Code>)> {
        let timeout = self.config.confirm_timeout;
        let client = self.client();
        let topic = record.topic;
        let message = FutureRecord {
            topic,
            partition: None,
            payload: Some(record.payload),
            key: record.key,
            timestamp: None,
            headers: Some(record.headers.clone()),
        };
        let confirmed = client.producer.send(message, timeout);
        match tokio::time::timeout(timeout + GRACE, confirmed).await {
            Ok(Ok(_)) => {
                client.watched.0.works();
                Ok(())
            }
            Ok(Err((error, _))) => {
                let code = error.rdkafka_error_code();
                if code == Some(Code::Fatal) {
                    self.replace(&client);
                }
                let error = of_publishing(error, topic, timeout, &client.watched.0);
                Err((error, code))
            }
            Err(_) => Err((BrokerError::timed_out(timeout), None)),
        }
    }

    /// An idempotent producer that has lost count of what the broker has gives up for good.
    fn replace(&self, failed: &Arc<Client>) {
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, failed)
            && let Ok(made) = client(&self.config)
        {
            *current = Arc::new(made);
        }
    }

    /// Whether a broker answers.
    pub(super) async fn ask(&self, timeout: Duration) -> Result<(), BrokerError> {
        let client = self.client();
        let asked = tokio::task::spawn_blocking(move || {
            let answer = client.producer.client().fetch_metadata(None, timeout);
            answer
                .map(|_| client.watched.0.works())
                .map_err(|error| of_asking(error, "a request for metadata", &client.watched.0))
        });
        asked.await.unwrap_or_else(|error| {
            Err(BrokerError::unavailable("the question was not asked").caused_by(error))
        })
    }
}

fn client(config: &Config) -> Result<Client, BrokerError> {
    let watched = Watched::default();
    let producer = config.of_producer().create_with_context(watched.clone());
    Ok(Client {
        producer: Background::new(producer.map_err(unusable)?),
        watched,
    })
}
