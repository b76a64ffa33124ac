//! What only reads.

use super::{
    database::Database,
    row::{self, ms, ms_left, snapshot_columns, step_columns, summary_columns},
};
use crate::value::{as_u64, millis, states};
use sagaz_core::{
    SagaId,
    store::{Backlog, Cursor, Filter, InstanceState, Page, Snapshot, StoreError},
};
use sqlx::{Row, postgres::PgConnection};

/// Where an instance and its steps are.
pub(super) struct Place {
    instance: &'static str,
    steps: &'static str,
}

macro_rules! place {
    ($instances:literal, $steps:literal) => {
        Place {
            instance: concat!(
                "SELECT ",
                snapshot_columns!(),
                " FROM ",
                $instances,
                " AS i WHERE i.id = $1"
            ),
            steps: concat!(
                "SELECT ",
                step_columns!(),
                " FROM ",
                $steps,
                " AS s WHERE s.instance_id = $1"
            ),
        }
    };
}

pub(super) const STORE: Place = place!("sagaz.saga_instance", "sagaz.saga_step");

const ARCHIVE: Place = place!("sagaz.saga_archive", "sagaz.saga_archive_step");

const FIND: &str = "SELECT id FROM sagaz.saga_instance WHERE saga = $1 AND start_key = $2";

/// Newest first, from the primary key. Parameters: saga, states, place, age, length.
const LIST: &str = concat!(
    "SELECT ",
    summary_columns!(),
    " FROM sagaz.saga_instance AS i
    WHERE ($1::text IS NULL OR i.saga = $1) AND i.state = ANY($2) AND ($3::uuid IS NULL OR i.id < $3)
        AND ($4::bigint IS NULL OR i.created_at <= statement_timestamp() - $4 * interval '1 millisecond')
    ORDER BY i.id DESC LIMIT $5"
);

/// The same of states that are no end: from the index of what is not finished, which is little among much.
const LIST_UNFINISHED: &str = concat!(
    "WITH found AS MATERIALIZED (
        SELECT i.id FROM sagaz.saga_instance AS i
        WHERE i.ended_at IS NULL AND ($1::text IS NULL OR i.saga = $1) AND i.state = ANY($2) AND ($3::uuid IS NULL OR i.id < $3)
            AND ($4::bigint IS NULL OR i.created_at <= statement_timestamp() - $4 * interval '1 millisecond')
    ), page AS MATERIALIZED (
        SELECT id FROM found ORDER BY id DESC LIMIT $5
    )
    SELECT ",
    summary_columns!(),
    " FROM page JOIN sagaz.saga_instance AS i ON i.id = page.id ORDER BY i.id DESC"
);

const COUNT: &str = "SELECT saga, state, count(*) FROM sagaz.saga_instance GROUP BY saga, state";

/// From the index of what is not finished.
const BACKLOG: &str = "SELECT i.saga, i.state, count(*) AS instances,
        (extract(epoch FROM clock_timestamp() - min(i.created_at)) * 1000)::bigint AS oldest_ms
    FROM sagaz.saga_instance AS i WHERE i.ended_at IS NULL GROUP BY i.saga, i.state";

/// Entry by entry: that also marks the entries of what has ended since, so that nobody looks them up again before the next vacuum. To
/// make a bitmap of them would not.
const BEGIN_BACKLOG: &str = "BEGIN READ ONLY; SET LOCAL enable_bitmapscan = off";

pub(super) async fn load(database: &Database, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
    snapshot(database, &STORE, id).await
}

pub(super) async fn archived(
    database: &Database,
    id: SagaId,
) -> Result<Option<Snapshot>, StoreError> {
    snapshot(database, &ARCHIVE, id).await
}

async fn snapshot(
    database: &Database,
    place: &Place,
    id: SagaId,
) -> Result<Option<Snapshot>, StoreError> {
    // The instance and its steps are of one moment.
    let begin = Some("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    database
        .call_in(&database.readers, begin, async |connection| {
            read_snapshot(database, place, connection, id).await
        })
        .await
}

pub(super) async fn read_snapshot(
    database: &Database,
    place: &Place,
    connection: &mut PgConnection,
    id: SagaId,
) -> Result<Option<Snapshot>, sqlx::Error> {
    let instance = database
        .query(place.instance)
        .bind(id.as_uuid())
        .fetch_optional(&mut *connection)
        .await?;
    let steps = database
        .query(place.steps)
        .bind(id.as_uuid())
        .fetch_all(connection)
        .await?;
    let Some(instance) = instance else {
        return Ok(None);
    };
    let mut snapshot = row::snapshot(&instance)?;
    snapshot.steps = steps.iter().map(row::step).collect::<Result<_, _>>()?;
    Ok(Some(snapshot))
}

pub(super) async fn find(
    database: &Database,
    saga: &str,
    start_key: &str,
) -> Result<Option<SagaId>, StoreError> {
    if start_key.contains('\0') {
        // No text of PostgreSQL's has one, so no instance was started with it.
        return Ok(None);
    }
    let query = database
        .query(FIND)
        .bind(saga.to_owned())
        .bind(start_key.to_owned());
    database
        .call(&database.readers, async |connection| {
            let row = query.fetch_optional(connection).await?;
            row.map(|row| row::id(&row, "id")).transpose()
        })
        .await
}

pub(super) async fn list(database: &Database, filter: &Filter) -> Result<Page, StoreError> {
    let is_unfinished =
        !filter.states.is_empty() && !filter.states.iter().any(|state| state.is_final());
    let statement = if is_unfinished { LIST_UNFINISHED } else { LIST };
    let query = database
        .query(statement)
        .bind(filter.saga.clone())
        .bind(states(filter))
        .bind(filter.after.map(|Cursor(id)| id.as_uuid()))
        .bind(filter.older_than.map(millis))
        .bind(i64::from(filter.page_len()) + 1);
    database
        .call(&database.readers, async |connection| {
            let rows = query.fetch_all(connection).await?;
            let instances = rows.iter().map(row::summary).collect::<Result<_, _>>()?;
            Ok(Page::of(filter, instances))
        })
        .await
}

pub(super) async fn count(
    database: &Database,
) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
    let begin = Some("BEGIN READ ONLY");
    let mut counts = database
        .call_in(&database.readers, begin, async |connection| {
            // The one statement that reads a whole table: better not through an index, row by row.
            sqlx::query("SET LOCAL enable_seqscan = on")
                .persistent(false)
                .execute(&mut *connection)
                .await?;
            let count = database.query(COUNT).persistent(false);
            let rows = count.fetch_all(connection).await?;
            rows.iter()
                .map(|row| {
                    Ok((
                        row.try_get(0)?,
                        row::state(row, "state")?,
                        as_u64(row.try_get(2)?),
                    ))
                })
                .collect::<Result<Vec<_>, sqlx::Error>>()
        })
        .await?;
    counts.sort_unstable();
    Ok(counts)
}

pub(super) async fn backlog(database: &Database) -> Result<Vec<Backlog>, StoreError> {
    database
        .call_in(&database.readers, Some(BEGIN_BACKLOG), async |connection| {
            let rows = database.query(BACKLOG).fetch_all(connection).await?;
            rows.iter()
                .map(|row| {
                    Ok(Backlog {
                        saga: row.try_get("saga")?,
                        state: row::state(row, "state")?,
                        instances: as_u64(row.try_get("instances")?),
                        oldest: row::time_left(row, "oldest_ms")?.unwrap_or_default(),
                    })
                })
                .collect()
        })
        .await
}
