//! Events that are appended in a transaction which somebody else ends.

use crate::sqlite::{
    Sqlite,
    events::{bind, bound_event},
    sql::{now, stored_payload},
};
use sagaz_core::{
    Event,
    store::{AppendsIn, LANES, StoreError, lane_of},
};
use sqlx::{Sqlite as Server, Transaction};

/// Parameters: the event, its lane. An event that was sent is known as long as it is in the archive.
const APPEND: &str = concat!(
    "INSERT INTO saga_outbox (lane, id, key, type, source, subject, time_ns, attributes, created_at, content_type, data)
    SELECT lane, id, key, type, source, subject, time_ns, attributes, ",
    now!(),
    ", content_type, data FROM ",
    bound_event!(),
    ", (SELECT ? AS lane) WHERE NOT EXISTS (SELECT 1 FROM saga_outbox_archive AS a WHERE a.id = e.id)
    ON CONFLICT (id) DO NOTHING"
);

/// The first event makes the transaction the file's only writer, until it ends.
impl<'c> AppendsIn<Transaction<'c, Server>> for Sqlite {
    async fn append_in(
        &self,
        tx: &mut Transaction<'c, Server>,
        event: &Event,
    ) -> Result<(), StoreError> {
        let Some(key) = event.ordering_key() else {
            return Err(StoreError::refusal(format!(
                "event {:?} has no key",
                event.event_id()
            )));
        };
        let append = bind(sqlx::query(APPEND), event)?.bind(lane_of(key, LANES));
        let appended = append.execute(&mut **tx).await;
        let appended = appended.map_err(|error| self.database.error(error))?;
        if appended.rows_affected() > 0 {
            let seq = appended.last_insert_rowid();
            self.database.news.hold_back(Some(seq));
        }
        Ok(())
    }
}
