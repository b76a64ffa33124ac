//! Events as statements take them and as rows give them back.

use super::records::Payloads;
use crate::value::{as_i64, from_json, record, unreadable};
use sagaz_core::{
    Event, EventParts, Payload,
    store::{LANES, StoreError, lane_of},
};
use serde::Serialize;
use sqlx::{
    Row, Sqlite,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The columns of [`event`], of a table or of what it is called.
macro_rules! event_columns {
    ($of:literal) => {
        concat!(
            $of,
            ".id, ",
            $of,
            ".key, ",
            $of,
            ".type, ",
            $of,
            ".source, ",
            $of,
            ".subject, ",
            $of,
            ".time_ns, ",
            $of,
            ".attributes, ",
            $of,
            ".content_type, ",
            $of,
            ".data"
        )
    };
}

/// An event that [`bind`] binds, as a row `e`.
macro_rules! bound_event {
    () => {
        concat!(
            "(SELECT id, key, type, source, subject, time_ns, attributes, content_type, ",
            stored_payload!(),
            " AS data FROM (SELECT ? AS id, ? AS key, ? AS type, ? AS source, ? AS subject, ? AS time_ns, ? AS attributes,
                ? AS content_type, ? AS payload)) AS e"
        )
    };
}

pub(super) use {bound_event, event_columns};

/// A row of the outbox, in a JSON array of them.
#[derive(Debug, Serialize)]
pub(super) struct Stored<'a> {
    lane: u16,
    id: &'a str,
    pub(super) key: Cow<'a, str>,
    #[serde(rename = "type")]
    event_type: &'a str,
    source: &'a str,
    subject: Option<&'a str>,
    time_ns: i64,
    attributes: &'a BTreeMap<String, String>,
    content_type: &'a str,
    at: usize,
    len: usize,
}

impl<'a> Stored<'a> {
    /// `or_key` is its key if it has none.
    pub(super) fn new(
        event: &'a Event,
        or_key: impl FnOnce() -> String,
        payloads: &mut Payloads,
    ) -> Result<Self, StoreError> {
        check(event)?;
        let key = event
            .ordering_key()
            .map_or_else(|| Cow::Owned(or_key()), Cow::Borrowed);
        let (at, len) = payloads.add(event.data());
        Ok(Self {
            lane: lane_of(&key, LANES),
            id: event.event_id().as_str(),
            event_type: event.event_type(),
            source: event.source_uri(),
            subject: event.subject_name(),
            time_ns: nanos(event.time()),
            attributes: event.attributes(),
            content_type: &event.data().content_type,
            at,
            len,
            key,
        })
    }
}

/// No text of a checked event has a NUL, at which SQLite's JSON ends a text.
fn check(event: &Event) -> Result<(), StoreError> {
    let texts = [
        event.event_id().as_str(),
        event.event_type(),
        event.source_uri(),
        event.subject_name().unwrap_or_default(),
        event.ordering_key().unwrap_or_default(),
        &event.data().content_type,
    ];
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(StoreError::refusal(format!(
            "event {:?} has a NUL character",
            event.event_id()
        )));
    }
    Ok(())
}

/// Binds the parameters of [`bound_event`].
pub(super) fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    event: &Event,
) -> Result<Query<'q, Sqlite, SqliteArguments>, StoreError> {
    check(event)?;
    Ok(query
        .bind(event.event_id().as_str().to_owned())
        .bind(event.ordering_key().map(str::to_owned))
        .bind(event.event_type().to_owned())
        .bind(event.source_uri().to_owned())
        .bind(event.subject_name().map(str::to_owned))
        .bind(nanos(event.time()))
        .bind(record(event.attributes())?)
        .bind(event.data().content_type.clone())
        .bind(event.data().bytes.clone()))
}

pub(super) fn event(row: &SqliteRow) -> Result<Event, sqlx::Error> {
    let id: String = row.try_get("id")?;
    let attributes = from_json("attributes of an event", row.try_get("attributes")?)?;
    Ok(Event::from_parts(EventParts {
        id: id.into(),
        event_type: row.try_get("type")?,
        source: row.try_get("source")?,
        subject: row.try_get("subject")?,
        key: row.try_get("key")?,
        time: from_nanos(row.try_get("time_ns")?),
        data: Payload {
            content_type: row.try_get("content_type")?,
            bytes: row.try_get("data")?,
        },
        attributes: attributes.unwrap_or_default(),
    }))
}

/// A number that is never negative and fits: a lane, say.
pub(super) fn number<T: TryFrom<i64>>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    T::try_from(number).map_err(|_| unreadable(column, number))
}

/// Times that are centuries away are brought nearer: an event's time is told to people, and compared with nothing.
fn nanos(time: SystemTime) -> i64 {
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    }
}

fn from_nanos(nanos: i64) -> SystemTime {
    let duration = Duration::from_nanos(nanos.unsigned_abs());
    let time = if nanos < 0 {
        UNIX_EPOCH.checked_sub(duration)
    } else {
        UNIX_EPOCH.checked_add(duration)
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// A place as a parameter.
pub(super) fn seq(seq: u64) -> i64 {
    as_i64(seq)
}
