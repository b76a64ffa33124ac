//! Errors of the client as errors of the contract.

use rdkafka::{
    ClientContext,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use sagaz_core::broker::BrokerError;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What the client said of its connections. A message that could not be sent only ends by a timeout; this tells why.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    /// Why brokers do not let it in. The client says it once, so it holds until something works.
    not_let_in: Option<String>,
    /// Why brokers cannot be reached, and when that was said.
    not_reached: Option<(Instant, String)>,
}

/// Connections are tried again at least as often as this, so what was said longer ago is no longer so.
const FRESH: Duration = Duration::from_secs(5);

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn said(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(Code::Authentication | Code::SSL) => {
                self.lock().not_let_in = Some(reason.to_owned());
            }
            Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve) => {
                self.lock().not_reached = Some((Instant::now(), reason.to_owned()));
            }
            _ => {}
        }
    }

    /// A broker has answered.
    pub(super) fn works(&self) {
        *self.lock() = Said::default();
    }

    /// Why no broker answers, if the client has said so.
    pub(super) fn trouble(&self) -> Option<BrokerError> {
        let said = self.lock();
        if let Some(reason) = &said.not_let_in {
            return Some(BrokerError::misused(format!(
                "Kafka does not let this client in: {reason}"
            )));
        }
        let (at, reason) = said.not_reached.as_ref()?;
        (at.elapsed() < FRESH).then(|| {
            BrokerError::unavailable(format!("no broker of Kafka can be reached: {reason}"))
        })
    }
}

/// Lets a client tell its watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(pub(super) Arc<Watch>);

impl ClientContext for Watched {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.said(&error, reason);
    }
}

impl ConsumerContext for Watched {}

/// Why an event was not published.
pub(super) fn of_publishing(
    error: KafkaError,
    topic: &str,
    timeout: Duration,
    watch: &Watch,
) -> BrokerError {
    let code = error.rdkafka_error_code();
    let refused = |words: String| BrokerError::refused(words);
    let told = match code {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            refused(format!(
                "there is no topic `{topic}`; create it, or connect with `declare`"
            ))
        }
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge) => {
            refused(format!(
                "it is too large for the topic `{topic}`; raise `message.max.bytes` here and there, or publish the data's address"
            ))
        }
        Some(Code::InvalidTopic) => refused(format!(
            "`{topic}` is no name of a topic; take letters, digits, `.`, `_` and `-`"
        )),
        Some(Code::InvalidRecord) => refused(format!(
            "the topic `{topic}` does not take it: a compacted topic takes events with a key only"
        )),
        Some(Code::TopicAuthorizationFailed) => {
            refused(format!("this user may not write to the topic `{topic}`"))
        }
        Some(
            Code::InvalidMessage
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat
            | Code::InvalidTimestamp,
        ) => refused(format!("the topic `{topic}` does not take it: {error}")),
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => {
            BrokerError::misused(format!("Kafka does not accept the credentials: {error}"))
        }
        Some(Code::ClusterAuthorizationFailed) => BrokerError::misused(
            "this user may not publish with an idempotent producer; give it `IDEMPOTENT_WRITE` on the cluster",
        ),
        Some(Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut) => watch
            .trouble()
            .unwrap_or_else(|| BrokerError::timed_out(timeout)),
        _ => BrokerError::unavailable(format!("Kafka takes no events now: {error}")),
    };
    told.caused_by(error)
}

/// Why something else was not answered.
pub(super) fn of_asking(error: KafkaError, what: &str, watch: &Watch) -> BrokerError {
    let trouble = watch.trouble().unwrap_or_else(|| {
        BrokerError::unavailable(format!("Kafka does not answer {what}: {error}"))
    });
    trouble.caused_by(error)
}
