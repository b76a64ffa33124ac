//! Events as entries of a stream, and replies of the server that have entries in them.

use crate::attributes;
use ::redis::{Cmd, Value};
use sagaz_core::{Event, broker::Malformed};

const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";
const DATA: &str = "data";

/// An entry that a group was given.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) topic: String,
    pub(super) id: String,
    /// Names and values.
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) delivered_before: u32,
}

/// Adds the fields of an event to a command.
pub(super) fn write(command: &mut Cmd, event: &Event) {
    for (name, value) in attributes::write(event, PREFIX) {
        command.arg(name).arg(value);
    }
    command
        .arg(CONTENT_TYPE)
        .arg(&event.data().content_type)
        .arg(DATA)
        .arg(&event.data().bytes);
}

pub(super) fn read(entry: &Entry) -> Result<Event, Malformed> {
    let (mut headers, mut content_type, mut body) = (Vec::new(), None, None);
    for (name, value) in &entry.fields {
        let text = || String::from_utf8_lossy(value).into_owned();
        match std::str::from_utf8(name) {
            Ok(DATA) => body = Some(value.clone()),
            Ok(CONTENT_TYPE) => content_type = Some(text()),
            Ok(name) => headers.push((name.to_owned(), text())),
            Err(_) => {}
        }
    }
    // An entry of others may have one field, under a name of its own.
    let body = body.unwrap_or_else(|| match entry.fields.as_slice() {
        [(_, value)] => value.clone(),
        _ => Vec::new(),
    });
    attributes::read(headers, &[PREFIX], content_type, body)
}

/// The elements of a list, or the names and values of a map one after the other.
pub(super) fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) | Value::Set(elements) => elements,
        Value::Map(pairs) => pairs
            .into_iter()
            .flat_map(|(name, value)| [name, value])
            .collect(),
        _ => Vec::new(),
    }
}

pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        _ => None,
    }
}

pub(super) fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

/// The entries of a list of ids and fields. One whose fields are gone was removed from the stream.
pub(super) fn entries(topic: &str, list: Value) -> Vec<Entry> {
    let entry = |value| {
        let mut parts = elements(value).into_iter();
        let id = text(parts.next()?)?;
        let mut fields = elements(parts.next()?).into_iter();
        let mut pairs = Vec::new();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            pairs.push((bytes(name)?, bytes(value)?));
        }
        Some(Entry {
            topic: topic.to_owned(),
            id,
            fields: pairs,
            delivered_before: 0,
        })
    };
    elements(list).into_iter().filter_map(entry).collect()
}

/// The entries of a reply to XREADGROUP.
pub(super) fn of_streams(reply: Value) -> Vec<Entry> {
    let streams: Vec<(Value, Value)> = match reply {
        Value::Map(streams) => streams,
        list => elements(list)
            .into_iter()
            .filter_map(|stream| {
                let mut parts = elements(stream).into_iter();
                Some((parts.next()?, parts.next()?))
            })
            .collect(),
    };
    streams
        .into_iter()
        .filter_map(|(topic, list)| Some(entries(&text(topic)?, list)))
        .flatten()
        .collect()
}
