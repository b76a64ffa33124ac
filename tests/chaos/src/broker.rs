//! Where events go, and who subscribes.

use crate::{place::AnyError, sagas::Told};
use sagaz::{
    Event,
    broker::Broker,
    brokers::{AnyBroker, AnySubscriber, Options, Routes, Subscription},
};
use std::time::Duration;

/// The type of an event of no saga, behind which nothing comes that was published before.
pub(crate) const MARK: &str = "mark";

/// On RabbitMQ an exchange, so that each group has a queue of its own.
fn topic(url: &str) -> &'static str {
    if url.starts_with("amqp") {
        "chaos/all"
    } else {
        "chaos"
    }
}

fn options(url: &str) -> Result<Options, AnyError> {
    let routes = Routes::all_to(topic(url))?;
    Ok(Options::new().declare(true).routes(routes))
}

pub(crate) async fn connect(url: &str) -> Result<AnyBroker, AnyError> {
    Ok(options(url)?.connect(url).await?)
}

pub(crate) async fn subscribe(url: &str, group: &str) -> Result<AnySubscriber, AnyError> {
    let subscription = Subscription::new(group, [topic(url)])
        .unacked_max(128)
        // Whoever was killed with messages in hand has not worn them out.
        .deliveries_max(None)
        .redeliver_after(Duration::from_secs(10));
    Ok(options(url)?.subscribe(url, subscription).await?)
}

/// Publishes a mark behind all that has been published; its id.
pub(crate) async fn mark(url: &str) -> Result<String, AnyError> {
    let event = Event::new(MARK, &Told { serial: 0 });
    let broker = connect(url).await?;
    for published in broker.publish(std::slice::from_ref(&event)).await {
        published?;
    }
    Ok(event.event_id().to_string())
}
