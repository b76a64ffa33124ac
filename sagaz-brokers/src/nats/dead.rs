//! Dead letters: a message that is published again, to where they go, and is not delivered any more.

use super::{connect, error::publish_error, subject};
use crate::Subscription;
use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{
        Context, Message,
        message::{AckKind, PublishMessage},
    },
};
use sagaz_core::broker::BrokerError;
use std::time::Duration;

/// What a dead letter is, to those that subscribe to its topic: why it is there can be seen from where it came.
const ORIGIN: &str = "sagaz-dead-of";

/// The message goes to the topic of the dead, and is settled then.
pub(super) async fn bury(
    context: &Context,
    subscription: &Subscription,
    message: &Message,
    timeout: Duration,
) -> Result<(), BrokerError> {
    if let Some(dead) = subscription.dead_topic(&message.subject) {
        subject::check(&dead)?;
        let letter = PublishMessage::build()
            .payload(message.payload.clone())
            .headers(headers(subscription, message));
        let sent = async { context.send_publish(dead.clone(), letter).await?.await };
        match tokio::time::timeout(timeout, sent).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(publish_error(error, &dead, timeout)),
            Err(_) => return Err(BrokerError::timed_out(timeout)),
        }
    }
    message.ack_with(AckKind::Term).await.map_err(|error| {
        BrokerError::unavailable("the NATS server was not told of the dead letter").caused_by(error)
    })
}

/// Those of the message, with another id: its own may be in the stream already, if that has both topics. What was buried and not
/// settled is buried once more, under the same id.
fn headers(subscription: &Subscription, message: &Message) -> HeaderMap {
    let mut headers = message.headers.clone().unwrap_or_default();
    if let Ok(info) = message.info() {
        let group = subject::name(&subscription.group);
        let origin = format!("{group}/{}/{}", info.stream, info.stream_sequence);
        headers.insert(NATS_MESSAGE_ID, origin.as_str());
        headers.insert(ORIGIN, origin.as_str());
    }
    headers
}

/// Whether there is a place for the dead letters of each topic, from which they do not come back.
pub(super) async fn check(
    context: &Context,
    subscription: &Subscription,
    declares: bool,
) -> Result<(), BrokerError> {
    for topic in &subscription.topics {
        let Some(dead) = subscription.dead_topic(topic) else {
            continue;
        };
        let one_of_them = dead.replace(['*', '>'], "any");
        if subject::matches(topic, &one_of_them) {
            return Err(BrokerError::misused(format!(
                "the dead letters of `{topic}` would go to `{dead}` and come back; set `dead_letters` to another subject"
            )));
        }
        connect::stream_of(context, &one_of_them, declares)
            .await
            .map_err(|error| {
                if error.is_unavailable() {
                    return error;
                }
                BrokerError::misused(format!(
                    "no stream takes the dead letters of `{topic}`, at `{dead}`; make one, let it be made with the option `declare`, \
                     or subscribe with `without_dead_letters`"
                ))
            })?;
    }
    Ok(())
}
