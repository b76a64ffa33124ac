//! What only reads, beside the writer.

use super::{
    connection::Database,
    row::{self, snapshot_columns, step_columns, summary_columns},
    sql::now,
};
use crate::value::{as_u64, millis, states, to_json};
use sagaz_core::{
    SagaId,
    store::{Backlog, Cursor, Filter, InstanceState, Page, Snapshot, StoreError},
};
use sqlx::{Row, SqliteConnection};

/// Where an instance and its steps are.
struct Place {
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
                " AS i WHERE i.id = ?"
            ),
            steps: concat!(
                "SELECT ",
                step_columns!(),
                " FROM ",
                $steps,
                " AS s WHERE s.instance_id = ?"
            ),
        }
    };
}

const STORE: Place = place!("saga_instance", "saga_step");

const ARCHIVE: Place = place!("saga_archive", "saga_archive_step");

const FIND: &str = "SELECT id FROM saga_instance WHERE saga = ? AND start_key = ?";

/// Each pair of a saga and a state is read newest first from the index, to the length of a page; so no filter reads
/// much more than it returns. Without an age even a time that is none is let in: a blob is behind every number and text. Parameters: saga
/// or NULL, saga or NULL, states, place or NULL, age or NULL, length, length.
const LIST: &str = concat!(
    "WITH RECURSIVE
        name(saga) AS (
            SELECT coalesce(?, (SELECT min(saga) FROM saga_instance))
            UNION ALL
            SELECT (SELECT min(i.saga) FROM saga_instance AS i WHERE i.saga > name.saga)
            FROM name WHERE name.saga IS NOT NULL AND ? IS NULL
        ),
        wanted(state, before, created_until) AS MATERIALIZED (
            SELECT value, coalesce(?, '~'), coalesce(",
    now!(),
    " - ?, x'ff') FROM json_each(?)
        )
    SELECT ",
    summary_columns!(),
    " FROM name CROSS JOIN wanted CROSS JOIN saga_instance AS i ON i.rowid IN (
        SELECT d.rowid FROM saga_instance AS d
        WHERE d.saga = name.saga AND d.state = wanted.state AND d.id < wanted.before
            AND d.created_at <= wanted.created_until
        ORDER BY d.id DESC LIMIT ?)
    ORDER BY i.id DESC LIMIT ?"
);

const COUNT: &str = "SELECT saga, state, count(*) FROM saga_instance GROUP BY saga, state";

/// Each pair of a saga and a state is a part of the index; what has ended is passed over.
const BACKLOG: &str = concat!(
    "WITH RECURSIVE
        name(saga) AS (
            SELECT min(saga) FROM saga_instance
            UNION ALL
            SELECT (SELECT min(i.saga) FROM saga_instance AS i WHERE i.saga > name.saga)
            FROM name WHERE name.saga IS NOT NULL
        ),
        unfinished(state) AS (VALUES ('pending'), ('executing'), ('compensating'), ('stuck'))
    SELECT name.saga, unfinished.state, count(*) AS instances, ",
    now!(),
    " - min(i.created_at) AS oldest_ms
    FROM name CROSS JOIN unfinished CROSS JOIN saga_instance AS i INDEXED BY saga_instance_listing
        ON i.saga = name.saga AND i.state = unfinished.state
    GROUP BY name.saga, unfinished.state"
);

pub(super) async fn load(database: &Database, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
    read_snapshot(database, &STORE, &id.to_string())
        .await
        .map_err(|error| database.error(error))
}

pub(super) async fn archived(
    database: &Database,
    id: SagaId,
) -> Result<Option<Snapshot>, StoreError> {
    read_snapshot(database, &ARCHIVE, &id.to_string())
        .await
        .map_err(|error| database.error(error))
}

async fn read_snapshot(
    database: &Database,
    place: &Place,
    id: &str,
) -> Result<Option<Snapshot>, sqlx::Error> {
    // One transaction, so that the instance and its steps are of one moment.
    let mut transaction = database.readers.begin().await?;
    let snapshot = snapshot_in(&mut transaction, place, id).await?;
    transaction.commit().await?;
    Ok(snapshot)
}

/// What the store holds of an instance, in a transaction that somebody else ends.
pub(super) async fn stored_in(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Snapshot>, sqlx::Error> {
    snapshot_in(connection, &STORE, id).await
}

async fn snapshot_in(
    connection: &mut SqliteConnection,
    place: &Place,
    id: &str,
) -> Result<Option<Snapshot>, sqlx::Error> {
    let instance = sqlx::query(place.instance)
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(instance) = instance else {
        return Ok(None);
    };
    let mut snapshot = row::snapshot(&instance)?;
    let steps = sqlx::query(place.steps)
        .bind(id)
        .fetch_all(connection)
        .await?;
    snapshot.steps = steps.iter().map(row::step).collect::<Result<_, _>>()?;
    Ok(Some(snapshot))
}

pub(super) async fn find(
    database: &Database,
    saga: &str,
    start_key: &str,
) -> Result<Option<SagaId>, StoreError> {
    let found = sqlx::query(FIND)
        .bind(saga)
        .bind(start_key)
        .fetch_optional(&database.readers)
        .await;
    let id = found.and_then(|row| row.map(|row| row::id(&row, "id")).transpose());
    id.map_err(|error| database.error(error))
}

pub(super) async fn list(database: &Database, filter: &Filter) -> Result<Page, StoreError> {
    read_page(database, filter)
        .await
        .map_err(|error| database.error(error))
}

async fn read_page(database: &Database, filter: &Filter) -> Result<Page, sqlx::Error> {
    let length = filter.page_len() + 1;
    let rows = sqlx::query(LIST)
        .bind(&filter.saga)
        .bind(&filter.saga)
        .bind(filter.after.map(|Cursor(id)| id.to_string()))
        .bind(filter.older_than.map(millis))
        .bind(to_json(&states(filter))?)
        .bind(length)
        .bind(length)
        .fetch_all(&database.readers)
        .await?;
    let instances = rows.iter().map(row::summary).collect::<Result<_, _>>()?;
    Ok(Page::of(filter, instances))
}

pub(super) async fn count(
    database: &Database,
) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
    let counted = sqlx::query(COUNT)
        .fetch_all(&database.readers)
        .await
        .and_then(|rows| {
            rows.iter()
                .map(|row| {
                    Ok((
                        row.try_get(0)?,
                        row::state(row, "state")?,
                        as_u64(row.try_get(2)?),
                    ))
                })
                .collect::<Result<Vec<_>, sqlx::Error>>()
        });
    let mut counts = counted.map_err(|error| database.error(error))?;
    counts.sort_unstable();
    Ok(counts)
}

pub(super) async fn backlog(database: &Database) -> Result<Vec<Backlog>, StoreError> {
    let backlog = sqlx::query(BACKLOG)
        .fetch_all(&database.readers)
        .await
        .and_then(|rows| {
            rows.iter()
                .map(|row| {
                    Ok(Backlog {
                        saga: row.try_get("saga")?,
                        state: row::state(row, "state")?,
                        instances: as_u64(row.try_get("instances")?),
                        oldest: row::time_left(row, "oldest_ms")?.unwrap_or_default(),
                    })
                })
                .collect::<Result<Vec<_>, sqlx::Error>>()
        });
    backlog.map_err(|error| database.error(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Sqlite;
    use sqlx::AssertSqlSafe;

    /// However much has ended: of a saga and a state that are asked for, and from the index alone.
    #[tokio::test]
    async fn the_backlog_reads_nothing_of_what_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path().join("sagas.db"))
            .await
            .unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {BACKLOG}"));
        let rows = sqlx::query(explain).fetch_all(&store.database.readers);
        let rows = rows.await.unwrap();
        let plan: Vec<&str> = rows.iter().map(|row| row.get("detail")).collect();
        let by_saga = "SEARCH i USING COVERING INDEX saga_instance_listing (saga>?)";
        let by_state = "SEARCH i USING COVERING INDEX saga_instance_listing (saga=? AND state=?)";
        assert!(
            plan.contains(&by_saga) && plan.contains(&by_state),
            "{plan:?}"
        );
        let scans =
            |line: &&str| line.starts_with("SCAN i") || line.starts_with("SCAN saga_instance");
        assert!(!plan.iter().any(scans), "{plan:?}");
    }
}
