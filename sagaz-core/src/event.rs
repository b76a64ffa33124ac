//! Events: what others are told of, and the attributes that travel with it.
//!
//! The attributes are those of CloudEvents 1.0 (<https://github.com/cloudevents/spec>), its extensions for partitioning
//! (`partitionkey`) and for distributed tracing (`traceparent`, `tracestate`) among them. A broker carries each attribute in a
//! header of its own, with its own prefix, and the data as the body: the specification's *binary mode*.

use crate::{
    codec::{Codec, CodecError, Json, Payload},
    id::SagaId,
    observe::TraceContext,
    step_error::{IntoStepError, StepError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// Names one event, everywhere and for ever: consumers recognise a repeated delivery by it. A UUID v7 where this library makes
/// it; others' events may have any name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    /// A new id, later than every id that this process made before.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for EventId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<String> for EventId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl From<&str> for EventId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest id, type, source, subject and key of an event, and value of an attribute, in bytes.
pub const EVENT_TEXT_MAX: usize = 512;

/// The most attributes beside those that every event has.
pub const EVENT_ATTRIBUTES_MAX: usize = 32;

/// The name of the attribute that tells which instance published an event.
pub const SAGA_ATTRIBUTE: &str = "sagaid";

/// The name of the attribute that tells which step of it did.
pub const STEP_ATTRIBUTE: &str = "sagastep";

/// Something that happened, for others to know.
///
/// ```
/// use sagaz_core::Event;
/// # #[derive(serde::Serialize)] struct Reservation { order: u64 }
/// # let reservation = Reservation { order: 7 };
/// let event = Event::new("inventory.reserved", &reservation).key("order-7");
/// assert_eq!(event.data().bytes, br#"{"order":7}"#);
/// ```
///
/// What is wrong with one is told when it is published: [`check`](Self::check).
#[derive(Clone, PartialEq)]
#[must_use = "an event is told to nobody until it is published"]
#[expect(clippy::struct_field_names, reason = "`type` is a keyword")]
pub struct Event {
    pub(crate) id: EventId,
    pub(crate) event_type: String,
    pub(crate) source: String,
    pub(crate) subject: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) time: SystemTime,
    pub(crate) data: Payload,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Why it cannot be published, if that is known already.
    wrong: Option<String>,
}

/// An event of which nothing is left to choose: what stores keep and brokers carry.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "CloudEvents has no more attributes than these"
)]
pub struct EventParts {
    /// CloudEvents `id`.
    pub id: EventId,
    /// CloudEvents `type`.
    pub event_type: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `subject`.
    pub subject: Option<String>,
    /// CloudEvents `partitionkey`: events of one key are delivered in order.
    pub key: Option<String>,
    /// CloudEvents `time`.
    pub time: SystemTime,
    /// The data, with its `datacontenttype`.
    pub data: Payload,
    /// All other attributes.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// An event of this type, such as `inventory.reserved`, with data in JSON. Its id and time are new.
    pub fn new<T: Serialize + ?Sized>(event_type: impl Into<String>, data: &T) -> Self {
        let encoded = serde_json::to_vec(data).map_err(CodecError::new);
        Self::encoded(event_type, Json::CONTENT_TYPE, encoded)
    }

    /// The same with another codec than JSON.
    pub fn with_codec<C: Codec, T: Serialize>(event_type: impl Into<String>, data: &T) -> Self {
        Self::encoded(event_type, C::CONTENT_TYPE, C::encode(data))
    }

    /// An event whose data is bytes of a media type.
    pub fn raw(event_type: impl Into<String>, data: Payload) -> Self {
        Self::from_parts(EventParts {
            id: EventId::new(),
            event_type: event_type.into(),
            source: String::new(),
            subject: None,
            key: None,
            time: now(),
            data,
            attributes: BTreeMap::new(),
        })
    }

    fn encoded(
        event_type: impl Into<String>,
        content_type: &str,
        encoded: Result<Vec<u8>, CodecError>,
    ) -> Self {
        let wrong = encoded
            .as_ref()
            .err()
            .map(|error| format!("its data cannot be serialized: {error}"));
        let data = Payload {
            content_type: content_type.to_owned(),
            bytes: encoded.unwrap_or_default(),
        };
        Self {
            wrong,
            ..Self::raw(event_type, data)
        }
    }

    /// The event that these parts are of.
    pub fn from_parts(parts: EventParts) -> Self {
        Self {
            id: parts.id,
            event_type: parts.event_type,
            source: parts.source,
            subject: parts.subject,
            key: parts.key,
            time: parts.time,
            data: parts.data,
            attributes: parts.attributes,
            wrong: None,
        }
    }

    /// Its parts.
    #[must_use]
    pub fn into_parts(self) -> EventParts {
        EventParts {
            id: self.id,
            event_type: self.event_type,
            source: self.source,
            subject: self.subject,
            key: self.key,
            time: self.time,
            data: self.data,
            attributes: self.attributes,
        }
    }

    /// Events of one key are first delivered in the order in which they were committed, whatever their type. By default it is
    /// the instance's id.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that a number need not be borrowed"
    )]
    pub fn key(mut self, key: impl ToString) -> Self {
        self.key = Some(key.to_string());
        self
    }

    /// What it is about, within its source: CloudEvents `subject`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Where it happened, as a URI or the path of one: CloudEvents `source`. By default the saga.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// Another name than a new one: for an event that is published again by somebody who lost count.
    pub fn id(mut self, id: impl Into<EventId>) -> Self {
        self.id = id.into();
        self
    }

    /// An attribute of your own: its name is of lower-case letters and digits, as CloudEvents has it.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// The W3C trace context that it belongs to, as the `traceparent` header has it.
    pub fn trace(self, traceparent: impl Into<String>) -> Self {
        self.attribute("traceparent", traceparent)
    }

    /// Its id.
    #[must_use]
    pub fn event_id(&self) -> &EventId {
        &self.id
    }

    /// Its type.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Where it happened.
    #[must_use]
    pub fn source_uri(&self) -> &str {
        &self.source
    }

    /// What it is about.
    #[must_use]
    pub fn subject_name(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Its key, if one was chosen.
    #[must_use]
    pub fn ordering_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// When it was made, by the clock of whoever made it.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// The same as RFC 3339 writes it; `None` outside of the years 0 to 9999, which is all that it has. No message has such a time.
    #[must_use]
    pub fn time_rfc3339(&self) -> Option<String> {
        let nanos = |it: Duration| i128::try_from(it.as_nanos()).ok();
        let since = match self.time.duration_since(UNIX_EPOCH) {
            Ok(since) => nanos(since)?,
            Err(before) => -nanos(before.duration())?,
        };
        let time = OffsetDateTime::from_unix_timestamp_nanos(since).ok()?;
        time.format(&Rfc3339).ok()
    }

    /// Its data as it is stored and sent.
    #[must_use]
    pub fn data(&self) -> &Payload {
        &self.data
    }

    /// Its other attributes.
    #[must_use]
    pub fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }

    /// The instance that published it.
    #[must_use]
    pub fn saga_id(&self) -> Option<SagaId> {
        SagaId::from_str(self.attributes.get(SAGA_ATTRIBUTE)?).ok()
    }

    /// Its data, read as JSON.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        Json::decode(&self.data.bytes)
    }

    /// Its data, read with another codec.
    pub fn decode_with<C: Codec, T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        C::decode(&self.data.bytes)
    }

    /// About how many bytes it takes to store and to send.
    #[must_use]
    pub fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let attributes = self
            .attributes
            .iter()
            .map(|(name, value)| name.len() + value.len());
        self.data.bytes.len()
            + self.data.content_type.len()
            + self.id.0.len()
            + self.event_type.len()
            + self.source.len()
            + text(&self.subject)
            + text(&self.key)
            + attributes.sum::<usize>()
    }

    /// Whether it can be stored, and sent by any broker: what is wrong with it, if something is.
    pub fn check(&self, size_max: usize) -> Result<(), PublishError> {
        let wrong = |words: String| Err(PublishError::of(self, words));
        if let Some(words) = &self.wrong {
            return wrong(words.clone());
        }
        if self.size() > size_max {
            return wrong(format!(
                "it has {} bytes, and the limit is {size_max}: store the data elsewhere and publish its address, or raise `payload_max`",
                self.size()
            ));
        }
        let required = [("id", self.id.as_str()), ("type", &self.event_type)];
        let texts = [
            ("source", Some(self.source.as_str())),
            ("subject", self.subject.as_deref()),
            ("key", self.key.as_deref()),
            ("content type", Some(&self.data.content_type)),
        ];
        for (name, value) in required {
            if value.is_empty() {
                return wrong(format!("its {name} is empty"));
            }
        }
        if self.key.as_deref() == Some("") {
            return wrong("its key is empty: leave the key out, or give one".to_owned());
        }
        let texts = texts
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let attributes = self
            .attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in required.into_iter().chain(texts).chain(attributes) {
            if value.len() > EVENT_TEXT_MAX {
                return wrong(format!(
                    "its {name} has {} bytes, and the limit is {EVENT_TEXT_MAX}",
                    value.len()
                ));
            }
            if value.chars().any(char::is_control) {
                return wrong(format!("its {name} has a control character in it"));
            }
        }
        if self.time_rfc3339().is_none() {
            return wrong("its time is not of the years 0 to 9999".to_owned());
        }
        if self.attributes.len() > EVENT_ATTRIBUTES_MAX {
            return wrong(format!(
                "it has {} attributes, and the limit is {EVENT_ATTRIBUTES_MAX}",
                self.attributes.len()
            ));
        }
        for name in self.attributes.keys() {
            let is_named_well = (1..=20).contains(&name.len())
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            if !is_named_well || RESERVED.contains(&name.as_str()) {
                return wrong(format!(
                    "`{name}` cannot name an attribute: take 1 to 20 lower-case letters and digits, and none of CloudEvents' own names"
                ));
            }
        }
        Ok(())
    }

    /// The attributes by their CloudEvents names, without the content type, which brokers have a place for.
    pub fn headers(&self) -> impl Iterator<Item = (&str, String)> {
        let own = [
            ("specversion", Some("1.0".to_owned())),
            ("id", Some(self.id.0.clone())),
            ("type", Some(self.event_type.clone())),
            ("source", Some(self.source.clone())),
            ("time", self.time_rfc3339()),
            ("subject", self.subject.clone()),
            ("partitionkey", self.key.clone()),
        ];
        let own = own
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        own.chain(
            self.attributes
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone())),
        )
    }

    /// The event of a message with these attributes, by their CloudEvents names, which are read without regard to case. A part
    /// that is required and missing is named in the error.
    pub fn from_headers(
        headers: impl IntoIterator<Item = (String, String)>,
        data: Payload,
    ) -> Result<Self, String> {
        let mut attributes: BTreeMap<String, String> = headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let mut required = |name: &str| {
            attributes
                .remove(name)
                .ok_or_else(|| format!("it has no CloudEvents attribute `{name}`"))
        };
        let (version, id) = (required("specversion")?, required("id")?);
        let (event_type, source) = (required("type")?, required("source")?);
        if !version.starts_with("1.") {
            return Err(format!(
                "it is of CloudEvents {version}, and 1.0 is read here"
            ));
        }
        let time = attributes.remove("time");
        let time = time.and_then(|time| OffsetDateTime::parse(&time, &Rfc3339).ok());
        Ok(Self::from_parts(EventParts {
            id: EventId(id),
            event_type,
            source,
            subject: attributes.remove("subject"),
            key: attributes.remove("partitionkey"),
            time: time.map_or_else(now, SystemTime::from),
            data,
            attributes,
        }))
    }

    /// Says to which trace it belongs, if that is known and its author did not say it, as far as that leaves an event which can
    /// be published with this limit.
    pub fn in_trace(self, trace: Option<TraceContext>, size_max: usize) -> Self {
        match trace {
            Some(trace) => trace.give_to(self, size_max),
            None => self,
        }
    }

    /// Says where it comes from, where its author did not.
    pub(crate) fn of_step(mut self, saga: &str, id: SagaId, step: &str) -> Self {
        if self.source.is_empty() {
            self.source = format!("/sagas/{saga}");
        }
        self.key.get_or_insert_with(|| id.to_string());
        self.attributes
            .insert(SAGA_ATTRIBUTE.to_owned(), id.to_string());
        self.attributes
            .insert(STEP_ATTRIBUTE.to_owned(), step.to_owned());
        self
    }
}

/// What an attribute cannot be named.
const RESERVED: [&str; 10] = [
    "specversion",
    "id",
    "type",
    "source",
    "time",
    "subject",
    "partitionkey",
    "datacontenttype",
    "dataschema",
    "data",
];

#[expect(
    clippy::disallowed_methods,
    reason = "it is told to people and compared with nothing"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

impl fmt::Debug for Event {
    /// Shows the size of the data and never the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("type", &self.event_type)
            .field("key", &self.key)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// An event that cannot be published.
///
/// Returned from a step with `?`, it leaves the outcome unknown, as the step may have done its work by then, and is not tried
/// again: the same event would be as wrong.
#[derive(Debug)]
pub struct PublishError(String);

impl PublishError {
    pub(crate) fn of(event: &Event, words: impl fmt::Display) -> Self {
        let event_type: String = event.event_type.chars().take(64).collect();
        Self(format!("event `{event_type}` cannot be published: {words}"))
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PublishError {}

impl IntoStepError for PublishError {
    fn into_step_error(self) -> StepError {
        StepError::unknown(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::new("order.placed", &[1, 2, 3])
            .key(42)
            .source("/shop")
            .subject("order 42")
            .attribute("tenant", "north")
            .trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    }

    #[test]
    fn p11_an_event_is_the_same_after_its_headers_were_written_and_read() {
        let event = event();
        let headers: Vec<_> = event
            .headers()
            .map(|(name, value)| (name.to_uppercase(), value))
            .collect();
        let read = Event::from_headers(headers, event.data.clone());
        assert_eq!(read, Ok(event));
    }

    #[test]
    fn a_message_without_a_required_attribute_is_told_by_its_name() {
        let headers = event()
            .headers()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Vec<_>>();
        for missing in ["specversion", "id", "type", "source"] {
            let rest = headers.iter().filter(|(name, _)| name != missing).cloned();
            let error = Event::from_headers(rest, event().data).expect_err("it is required");
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn an_event_of_a_time_that_cannot_be_written_is_refused_and_makes_nothing_panic() {
        let at = |seconds: i64, nanos| {
            let moved = Duration::new(seconds.unsigned_abs(), nanos);
            let time = if seconds < 0 {
                UNIX_EPOCH - moved
            } else {
                UNIX_EPOCH + moved
            };
            let parts = Event::new("order.placed", &1).source("/shop").into_parts();
            Event::from_parts(EventParts { time, ..parts })
        };
        for (seconds, nanos) in [(-62_167_219_200, 0), (253_402_300_799, 999_999_999)] {
            let event = at(seconds, nanos);
            event.check(1_000).unwrap();
            let headers = event.headers().map(|(name, it)| (name.to_owned(), it));
            let read = Event::from_headers(headers.collect::<Vec<_>>(), event.data().clone());
            assert_eq!(read, Ok(event));
        }
        for (seconds, nanos) in [(-62_167_219_200, 1), (253_402_300_800, 0), (1 << 60, 0)] {
            let event = at(seconds, nanos);
            let error = event.check(1_000).unwrap_err();
            assert!(error.to_string().contains("years 0 to 9999"), "{error}");
            assert!(event.headers().all(|(name, _)| name != "time"));
        }
    }

    #[test]
    fn what_is_wrong_with_an_event_is_told_when_it_is_checked() {
        let wrong = [
            (Event::new("", &1), "type is empty"),
            (Event::new("t", &1).key(""), "key is empty"),
            (Event::new("t", &1).key("k".repeat(513)), "513 bytes"),
            (Event::new("t", &1).key("a\nb"), "control character"),
            (Event::new("t", &1).attribute("Tenant", "x"), "`Tenant`"),
            (Event::new("t", &1).attribute("time", "x"), "`time`"),
            (Event::new("t", &"x".repeat(2_000)), "limit is 1000"),
            (
                Event::new("t", &std::collections::HashMap::from([((1, 2), 3)])),
                "serialized",
            ),
        ];
        for (event, words) in wrong {
            let error = event.check(1_000).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        event().check(1_000).expect("nothing is wrong with it");
    }
}
