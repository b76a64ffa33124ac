//! The tables, and which files are refused.
//!
//! Invariant: migrations only go forward, each is applied once, all missing ones in one transaction; and nothing is
//! changed in a file that is refused. Versions are in our own `saga_meta`: `user_version`, `application_id` and
//! `_sqlx_migrations` belong to the application whose file it may be.

use super::OpenError;
use sqlx::{Row, SqliteConnection};
use std::path::Path;

/// The migrations in order: the first brings the tables to schema 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_instances.sql"),
    include_str!("../../migrations/sqlite/0002_trace.sql"),
];

/// The schema that this code makes, and reads.
const CODE: u32 = 2;

/// The oldest code that the schema of this code still serves.
const OLDEST_CODE: u32 = 1;

const _: () = assert!(MIGRATIONS.len() == CODE as usize && OLDEST_CODE <= CODE);

const OURS: &str = "SELECT name, coalesce(sql, '') FROM sqlite_schema
    WHERE type IN ('table', 'view') AND lower(name)
        IN ('saga_meta', 'saga_engine', 'saga_definition', 'saga_instance', 'saga_step',
            'saga_archive', 'saga_archive_step', 'saga_outbox', 'saga_outbox_lane', 'saga_outbox_worker',
            'saga_outbox_archive', 'saga_dead_letter', 'saga_inbox')
    ORDER BY name";

const VERSIONS: &str = "SELECT max(CASE key WHEN 'schema_version' THEN value END),
    max(CASE key WHEN 'oldest_code' THEN value END) FROM saga_meta";

const SET_VERSIONS: &str =
    "INSERT INTO saga_meta (key, value) VALUES ('schema_version', ?), ('oldest_code', ?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// Refuses a file that is not for this code. Only reads.
pub(super) async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let database = |error| OpenError::new(path, error);
    let encoding: String = sqlx::query_scalar("PRAGMA encoding")
        .fetch_one(&mut *connection)
        .await
        .map_err(database)?;
    if encoding != "UTF-8" {
        return Err(OpenError::Encoding {
            path: path.to_owned(),
            encoding,
        });
    }
    stored_schema(connection, path).await.map(|_| ())
}

/// Applies the migrations that the file lacks.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), OpenError> {
    if stored_schema(connection, path).await? >= CODE {
        return Ok(());
    }
    let database = |error| OpenError::new(path, error);
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await
        .map_err(database)?;
    let applied = apply(connection, path).await;
    let end = if applied.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = sqlx::query(end).execute(connection).await.map_err(database);
    applied.and(ended.map(|_| ()))
}

async fn apply(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    // Looked up again under the lock: another process may have been here.
    let stored = stored_schema(connection, path).await?;
    if stored >= CODE {
        return Ok(());
    }
    let database = |error| OpenError::new(path, error);
    for migration in MIGRATIONS.iter().skip(stored as usize) {
        sqlx::raw_sql(*migration)
            .execute(&mut *connection)
            .await
            .map_err(database)?;
    }
    let set = sqlx::query(SET_VERSIONS)
        .bind(CODE.to_string())
        .bind(OLDEST_CODE.to_string());
    set.execute(connection).await.map_err(database)?;
    Ok(())
}

/// The schema in the file, 0 if there is none of ours.
async fn stored_schema(connection: &mut SqliteConnection, path: &Path) -> Result<u32, OpenError> {
    let database = |error| OpenError::new(path, error);
    let ours = sqlx::query(OURS)
        .fetch_all(&mut *connection)
        .await
        .map_err(database)?;
    let tables = ours
        .iter()
        .map(|row| row.try_get::<String, _>(0))
        .collect::<Result<Vec<_>, _>>()
        .map_err(database)?;
    let Some(first) = tables.first() else {
        return Ok(0);
    };
    let foreign = |table: &str| OpenError::ForeignTable {
        path: path.to_owned(),
        table: table.to_owned(),
    };
    if !tables.iter().any(|table| table == "saga_meta") {
        return Err(foreign(first));
    }
    // A table of that name with other columns is somebody else's.
    let versions: Option<(Option<String>, Option<String>)> =
        match sqlx::query_as(VERSIONS).fetch_optional(connection).await {
            Ok(versions) => versions,
            Err(error) if is_foreign(&error) => return Err(foreign("saga_meta")),
            Err(error) => return Err(database(error)),
        };
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u32>().ok());
    let (schema, oldest_code) = versions
        .map(|(schema, oldest)| (number(schema), number(oldest)))
        .unwrap_or_default();
    let (Some(schema @ 1..), Some(oldest_code)) = (schema, oldest_code) else {
        return Err(foreign("saga_meta"));
    };
    if oldest_code > CODE {
        return Err(OpenError::NewerSchema {
            path: path.to_owned(),
            schema,
            oldest_code,
            code: CODE,
        });
    }
    Ok(schema)
}

/// No such column, or a value of another type.
fn is_foreign(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.message().contains("no such column"),
        sqlx::Error::ColumnDecode { .. } => true,
        _ => false,
    }
}
