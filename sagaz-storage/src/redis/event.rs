//! Events as they are stored: the data as it is, the attributes in a record of JSON, the key beside it for the scripts.

use super::{
    Store,
    request::{Request, bytes, text},
};
use crate::value::record;
use redis::Value;
use sagaz_core::{Event, EventId, EventParts, Payload, store::StoreError};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// All of an event but its key and its data.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    event_type: Cow<'a, str>,
    source: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    /// Seconds since the Unix epoch, and nanoseconds.
    time: (u64, u32),
    #[serde(default, skip_serializing_if = "no_attributes")]
    attributes: Cow<'a, BTreeMap<String, String>>,
}

fn no_attributes(attributes: &BTreeMap<String, String>) -> bool {
    attributes.is_empty()
}

impl<'a> Record<'a> {
    fn of(event: &'a Event) -> Self {
        let time = event.time().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: Cow::Borrowed(event.event_id().as_str()),
            event_type: Cow::Borrowed(event.event_type()),
            source: Cow::Borrowed(event.source_uri()),
            subject: event.subject_name().map(Cow::Borrowed),
            time: (time.as_secs(), time.subsec_nanos()),
            attributes: Cow::Borrowed(event.attributes()),
        }
    }

    /// `None` if there is no such time.
    fn time(&self) -> Option<SystemTime> {
        let (seconds, nanos) = self.time;
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        time.checked_add(Duration::from_nanos(nanos.into()))
    }
}

/// The arguments of `append` in the script, but for the sender.
pub(super) fn append<'a>(
    store: &Store,
    request: Request<'a>,
    event: &'a Event,
) -> Result<Request<'a>, StoreError> {
    let id = event.event_id().as_str();
    let Some(key) = event.ordering_key() else {
        return Err(StoreError::refusal(format!(
            "event {id} has no key; give it one, or publish it from a step"
        )));
    };
    let request = request.text(id).text(key);
    content(store, request, event)
}

/// The record, the content type and the data.
pub(super) fn content<'a>(
    store: &Store,
    request: Request<'a>,
    event: &'a Event,
) -> Result<Request<'a>, StoreError> {
    let data = event.data();
    store.check_size(format_args!("event {}", event.event_id()), data)?;
    Ok(request
        .owned(record(&Record::of(event))?)
        .text(&data.content_type)
        .bytes(&data.bytes))
}

/// An event from its key, record, content type and data.
pub(super) fn read(parts: [Value; 4]) -> Result<Event, StoreError> {
    let [key, stored, content_type, data] = parts;
    let stored = text(stored).unwrap_or_default();
    let foreign = || StoreError::fatal(format!("the stored event {stored:?} is not of this store"));
    let record: Record<'_> =
        serde_json::from_str(&stored).map_err(|error| foreign().caused_by(error))?;
    let time = record.time().ok_or_else(foreign)?;
    Ok(Event::from_parts(EventParts {
        id: EventId::from(record.id.into_owned()),
        event_type: record.event_type.into_owned(),
        source: record.source.into_owned(),
        subject: record.subject.map(Cow::into_owned),
        key: text(key),
        time,
        data: Payload {
            content_type: text(content_type).unwrap_or_default(),
            bytes: bytes(data).unwrap_or_default(),
        },
        attributes: record.attributes.into_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_an_event_of_a_time_that_there_is_not_is_an_error() {
        let stored = format!(
            r#"{{"id":"1","type":"paid","source":"/","time":[{},0]}}"#,
            u64::MAX
        );
        let parts = [
            Value::Nil,
            Value::BulkString(stored.into()),
            Value::Nil,
            Value::Nil,
        ];
        let error = read(parts).expect_err("no such time");
        assert!(error.to_string().contains("not of this store"), "{error}");
    }

    #[test]
    fn p11_an_event_is_read_as_it_was_stored() {
        let event = Event::new("paid", "x\u{0}y")
            .key("customer 1")
            .source("/shop")
            .subject("order")
            .attribute("tenant", "n\u{f6}rd");
        for event in [
            event,
            Event::raw(
                "",
                Payload {
                    content_type: String::new(),
                    bytes: vec![0, 255],
                },
            ),
        ] {
            let stored = record(&Record::of(&event)).expect("JSON");
            let as_value = |text: &str| Value::BulkString(text.as_bytes().to_vec());
            let read = read([
                event.ordering_key().map_or(Value::Nil, as_value),
                as_value(&stored),
                as_value(&event.data().content_type),
                Value::BulkString(event.data().bytes.clone()),
            ]);
            assert_eq!(read.expect("it is an event"), event);
        }
    }
}
