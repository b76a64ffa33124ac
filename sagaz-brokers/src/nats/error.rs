//! Errors of the client, in words that say what to do.

use async_nats::jetstream::{
    self,
    context::{CreateStreamError, CreateStreamErrorKind, PublishError, PublishErrorKind},
};
use sagaz_core::broker::BrokerError;
use std::{error::Error, time::Duration};

pub(super) fn publish_error(error: PublishError, subject: &str, after: Duration) -> BrokerError {
    match error.kind() {
        PublishErrorKind::StreamNotFound => BrokerError::refused(format!(
            "no stream takes the subject `{subject}`; make one, or let it be made with the option `declare`"
        )),
        PublishErrorKind::MaxPayloadExceeded => BrokerError::refused(
            "the event is larger than the NATS server takes; raise its `max_payload`, or publish the address of the data",
        ),
        // It may have got there.
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => BrokerError::timed_out(after),
        PublishErrorKind::MaxAckPending => {
            BrokerError::unavailable("too many events are on their way to the NATS server")
        }
        _ => {
            let of_stream = error
                .source()
                .and_then(|source| source.downcast_ref::<jetstream::Error>());
            match of_stream.map(jetstream::Error::code) {
                Some(400) => BrokerError::refused(format!(
                    "the stream of the subject `{subject}` does not take the event"
                )),
                Some(_) => BrokerError::unavailable(format!(
                    "the stream of the subject `{subject}` takes nothing now; it may be full"
                )),
                None => BrokerError::unavailable("the NATS server cannot be published to"),
            }
        }
    }
    .caused_by(error)
}

pub(super) fn declare_error(error: CreateStreamError, subject: &str) -> BrokerError {
    match error.kind() {
        CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable => {
            BrokerError::unavailable("the NATS server's JetStream does not answer")
        }
        _ => BrokerError::misused(format!(
            "no stream can be made for the subject `{subject}`; make one by hand"
        )),
    }
    .caused_by(error)
}
