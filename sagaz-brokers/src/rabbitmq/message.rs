//! Events as messages.

use crate::attributes;
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};
use sagaz_core::{
    Event,
    broker::{BrokerError, Malformed},
};

/// As the specification's AMQP binding has it.
const PREFIX: &str = "cloudEvents:";

/// The binding allows both, for JMS has no colons in names.
const PREFIXES: [&str; 2] = [PREFIX, "cloudEvents_"];

const PERSISTENT: u8 = 2;

pub(super) fn properties(event: &Event) -> Result<BasicProperties, BrokerError> {
    let mut headers = FieldTable::default();
    for (name, value) in attributes::write(event, PREFIX) {
        headers.insert(short("header", name)?, AMQPValue::LongString(value.into()));
    }
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(short("content type", event.data().content_type.as_str())?)
        .with_headers(headers);
    // For people who look at queues; the header has it in any length.
    Ok(match ShortString::try_new(event.event_id().as_str()) {
        Ok(id) => properties.with_message_id(id),
        Err(_) => properties,
    })
}

/// A text of at most 255 bytes, which is what the protocol has room for.
pub(super) fn short(what: &str, text: impl Into<String>) -> Result<ShortString, BrokerError> {
    ShortString::try_new(text).map_err(|error| {
        BrokerError::refused(format!(
            "its {what} is longer than the 255 bytes that AMQP has room for"
        ))
        .caused_by(error)
    })
}

/// The id of the event that a message is of, which we wrote.
pub(super) fn id(properties: &BasicProperties) -> Option<String> {
    let headers = properties.headers().as_ref()?;
    text(headers.inner().get("cloudEvents:id")?)
}

pub(super) fn event(delivery: &Delivery) -> Result<Event, Malformed> {
    let properties = &delivery.properties;
    let headers = properties.headers().iter().flat_map(FieldTable::inner);
    let headers = headers.filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
    let content_type = properties.content_type().as_ref().map(ToString::to_string);
    attributes::read(headers, &PREFIXES, content_type, delivery.data.clone())
}

fn text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok()?,
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        other => number(other)?.to_string(),
    })
}

fn number(value: &AMQPValue) -> Option<i64> {
    Some(match *value {
        AMQPValue::ShortShortInt(number) => number.into(),
        AMQPValue::ShortShortUInt(number) => number.into(),
        AMQPValue::ShortInt(number) => number.into(),
        AMQPValue::ShortUInt(number) => number.into(),
        AMQPValue::LongInt(number) => number.into(),
        AMQPValue::LongUInt(number) => number.into(),
        AMQPValue::LongLongInt(number) => number,
        _ => return None,
    })
}

/// How often the message was delivered before. Quorum queues count it; others tell only whether it was.
pub(super) fn delivered_before(delivery: &Delivery) -> u32 {
    let headers = delivery.properties.headers().as_ref();
    let count = headers.and_then(|headers| number(headers.inner().get("x-delivery-count")?));
    count
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(0)
        .max(delivery.redelivered.into())
}
