//! Events as messages.

use crate::attributes;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use sagaz_core::{Event, broker::Malformed};

/// As the specification's Kafka binding has it.
const PREFIX: &str = "ce_";

const CONTENT_TYPE: &str = "content-type";

pub(super) fn headers(event: &Event) -> OwnedHeaders {
    let content_type = (CONTENT_TYPE.to_owned(), event.data().content_type.clone());
    attributes::write(event, PREFIX)
        .chain([content_type])
        .fold(OwnedHeaders::new(), |headers, (name, value)| {
            with(headers, &name, &value)
        })
}

/// The headers that a message came with, and where it came from.
pub(super) fn headers_of_dead(message: &OwnedMessage) -> OwnedHeaders {
    let headers = message.headers().cloned().unwrap_or_default();
    let from = [
        ("sagaz-topic", message.topic().to_owned()),
        ("sagaz-partition", message.partition().to_string()),
        ("sagaz-offset", message.offset().to_string()),
    ];
    from.into_iter().fold(headers, |headers, (name, value)| {
        with(headers, name, &value)
    })
}

fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header {
        key,
        value: Some(value),
    })
}

pub(super) fn event(message: &OwnedMessage) -> Result<Event, Malformed> {
    let (mut attributes, mut content_type) = (Vec::new(), None);
    for header in message.headers().iter().flat_map(|headers| headers.iter()) {
        let value = header.value.and_then(|value| str::from_utf8(value).ok());
        let Some(value) = value.map(str::to_owned) else {
            continue;
        };
        if header.key.eq_ignore_ascii_case(CONTENT_TYPE) {
            content_type = Some(value);
        } else {
            attributes.push((header.key.to_owned(), value));
        }
    }
    let body = message.payload().unwrap_or_default().to_vec();
    let event = attributes::read(attributes, &[PREFIX], content_type, body)?;
    // Others map the key of a message to no attribute.
    let key = message.key().and_then(|key| str::from_utf8(key).ok());
    Ok(match key {
        Some(key) if event.ordering_key().is_none() => event.key(key),
        _ => event,
    })
}
