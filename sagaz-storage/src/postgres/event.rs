//! Events as rows, both ways, and the locks of their keys.
//!
//! Invariant: a place is handed out under the lock of its key, which lasts to the commit, and to a transaction that has its
//! number: so within a key the order of places is that of commits, and a transaction that holds a place is among those that a
//! later snapshot knows to be open.
//!
//! The lock of a key is an advisory one, of its name with the schema's before it. The key of an instance's own events is most often its
//! id: then the row of the instance, which its write holds anyway, is the lock. So whoever publishes under the id of another
//! instance takes both.

use super::row;
use crate::value::without_nul;
use sagaz_core::{
    Event, EventId, EventParts, Payload, SagaId,
    store::{LANES, StoreError, lane_of},
};
use sqlx::{Row, postgres::PgRow};
use std::{
    collections::BTreeMap,
    str::FromStr,
    time::{Duration, SystemTime},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// The columns of [`read`], of the row `o`.
macro_rules! event_columns {
    () => {
        "o.id, o.key, o.type, o.source, o.subject, o.time, o.attributes, o.content_type, o.data_text AS text,
        o.data_bytes AS bytes"
    };
}

/// The lock of the key.
macro_rules! key_lock {
    ($key:literal) => {
        concat!("hashtextextended('sagaz.' || ", $key, ", 0)")
    };
}

pub(super) use {event_columns, key_lock};

/// An event as it is stored.
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) key: Option<String>,
    pub(super) event_type: String,
    pub(super) source: String,
    pub(super) subject: Option<String>,
    pub(super) time: Option<String>,
    pub(super) attributes: String,
    pub(super) content_type: String,
    pub(super) text: Option<String>,
    pub(super) bytes: Option<Vec<u8>>,
}

impl Stored {
    pub(super) fn of(event: &Event) -> Result<Self, StoreError> {
        let data = event.data();
        let (text, bytes) = row::columns(data);
        Ok(Self {
            id: event.event_id().as_str().to_owned(),
            key: event.ordering_key().map(clean),
            event_type: clean(event.event_type()),
            source: clean(event.source_uri()),
            subject: event.subject_name().map(clean),
            // An event of another year than it has, which no broker takes, is stored without its time.
            time: event.time_rfc3339(),
            attributes: clean(&crate::value::record(event.attributes())?),
            content_type: clean(&data.content_type),
            text: text.map(str::to_owned),
            bytes: bytes.map(<[u8]>::to_vec),
        })
    }

    /// For the outbox, where it has a key.
    pub(super) fn lane(&self) -> i32 {
        lane(self.key.as_deref().unwrap_or_default())
    }
}

/// The lane of a key.
pub(super) fn lane(key: &str) -> i32 {
    lane_of(key, LANES).into()
}

/// What others made may hold what no text of PostgreSQL's does.
fn clean(text: &str) -> String {
    without_nul(text).into_owned()
}

/// The lock of a key: its name, unless it is the id of the instance that publishes, and the instance whose id it is otherwise.
pub(super) struct KeyLock {
    pub(super) name: Option<String>,
    pub(super) instance: Option<Uuid>,
}

impl KeyLock {
    pub(super) fn of(key: &str, publisher: Option<SagaId>) -> Self {
        let id = SagaId::from_str(key)
            .ok()
            .filter(|id| id.to_string() == key);
        if id.is_some() && id == publisher {
            return Self {
                name: None,
                instance: None,
            };
        }
        Self {
            name: Some(key.to_owned()),
            instance: id.map(|id| id.as_uuid()),
        }
    }
}

/// The event of a row with the [columns](event_columns).
pub(super) fn read(row: &PgRow) -> Result<Event, sqlx::Error> {
    let text: Option<String> = row.try_get("text")?;
    let bytes = match text {
        Some(text) => text.into_bytes(),
        None => row
            .try_get::<Option<Vec<u8>>, _>("bytes")?
            .unwrap_or_default(),
    };
    let time: Option<String> = row.try_get("time")?;
    let time = time.and_then(|time| OffsetDateTime::parse(&time, &Rfc3339).ok());
    let attributes: String = row.try_get("attributes")?;
    Ok(Event::from_parts(EventParts {
        id: EventId::from(row.try_get::<String, _>("id")?),
        event_type: row.try_get("type")?,
        source: row.try_get("source")?,
        subject: row.try_get("subject")?,
        key: row.try_get("key")?,
        time: time.map_or(SystemTime::UNIX_EPOCH, SystemTime::from),
        data: Payload {
            content_type: row.try_get("content_type")?,
            bytes,
        },
        // Only somebody else's hand can have made them unreadable: the event is delivered without, and holds up no other.
        attributes: serde_json::from_str::<BTreeMap<_, _>>(&attributes).unwrap_or_default(),
    }))
}

/// The rest of a wait, if there is one.
pub(super) fn wait(row: &PgRow, column: &str) -> Result<Option<Duration>, sqlx::Error> {
    let left = row::time_left(row, column)?;
    Ok(left.filter(|left| !left.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_time_that_cannot_be_written_is_stored_without_it() {
        let stored = |time| {
            let parts = Event::new("order.placed", &1).source("/shop").into_parts();
            let event = Event::from_parts(EventParts { time, ..parts });
            Stored::of(&event).unwrap().time
        };
        let seconds = Duration::from_secs;
        let last = SystemTime::UNIX_EPOCH + seconds(253_402_300_799);
        assert_eq!(stored(last).as_deref(), Some("9999-12-31T23:59:59Z"));
        let first = SystemTime::UNIX_EPOCH - seconds(62_167_219_200);
        assert_eq!(stored(first).as_deref(), Some("0000-01-01T00:00:00Z"));
        // Years of five digits, and what no calendar of the crate `time` has.
        for far in [
            last + seconds(1),
            first - seconds(1),
            SystemTime::UNIX_EPOCH + seconds(1 << 60),
            SystemTime::UNIX_EPOCH - seconds(1 << 60),
        ] {
            assert_eq!(stored(far), None);
        }
    }
}
