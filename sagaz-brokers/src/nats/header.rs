//! Events as messages of NATS.
//!
//! Values are percent-encoded as the HTTP binding of CloudEvents has it, as headers are of ASCII and end with the line.

use crate::{attributes, percent};
use async_nats::{HeaderMap, HeaderValue, Message, header::NATS_MESSAGE_ID};
use sagaz_core::{
    Event,
    broker::{BrokerError, Malformed},
};

const PREFIX: &str = "ce-";
const CONTENT_TYPE: &str = "content-type";

/// The event has been checked, so that its names are of letters and digits.
pub(super) fn of_event(event: &Event) -> Result<HeaderMap, BrokerError> {
    let mut headers = HeaderMap::new();
    for (name, value) in attributes::write(event, PREFIX) {
        headers.insert(name, encode(&value));
    }
    let content_type: HeaderValue = event.data().content_type.parse().map_err(|_| {
        BrokerError::refused("the content type of the event's data has a line end in it")
    })?;
    headers.insert(CONTENT_TYPE, content_type);
    // An id is one of its source alone, and a stream may be given events of many.
    let (source, id) = (event.source_uri(), event.event_id().as_str());
    headers.insert(
        NATS_MESSAGE_ID,
        format!("{} {}", encode(source), encode(id)),
    );
    Ok(headers)
}

pub(super) fn read(message: &Message) -> Result<Event, Malformed> {
    let mut content_type = None;
    let mut headers = Vec::new();
    let all = message.headers.iter().flat_map(HeaderMap::iter);
    for (name, values) in all {
        let Some(value) = values.last().map(HeaderValue::as_str) else {
            continue;
        };
        let name: &str = name.as_ref();
        if name.eq_ignore_ascii_case(CONTENT_TYPE) {
            content_type = Some(value.to_owned());
        } else {
            headers.push((name.to_owned(), decode(value)));
        }
    }
    attributes::read(headers, &[PREFIX], content_type, message.payload.to_vec())
}

fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for half in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(half), 16).unwrap_or_default();
                encoded.push(digit.to_ascii_uppercase());
            }
        }
    }
    encoded
}

/// What is not encoded, or not well, stays as it is.
fn decode(value: &str) -> String {
    percent::decode(value).unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_are_of_printable_ascii() {
        for value in [
            "",
            " a ",
            "100%",
            "%41",
            "\"ä\"",
            "日本 🦀",
            "a\r\nb: c",
            "%zz%",
        ] {
            let encoded = encode(value);
            assert!(
                encoded.bytes().all(|byte| byte.is_ascii_graphic()),
                "{encoded}"
            );
            assert_eq!(decode(&encoded), value);
        }
    }

    #[test]
    fn what_others_did_not_encode_stays_as_it_is() {
        for value in ["plain", "100%", "%4", "%zz", "ä", "%FF"] {
            assert_eq!(decode(value), value);
        }
    }
}
