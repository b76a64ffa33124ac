//! The tables, and which servers and schemas are refused.
//!
//! Invariant: migrations only go forward, all missing ones in one transaction under a lock, and each is safe while engines
//! of the release before are running. Versions are in our own `saga_meta`.

use super::{ConnectError, database::Database};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

/// The migrations in order: the first brings the tables to schema 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/postgres/0001_instances.sql"),
    include_str!("../../migrations/postgres/0002_outbox.sql"),
    include_str!("../../migrations/postgres/0003_trace.sql"),
];

/// The schema that this code makes, and reads.
const CODE: u32 = 3;

/// The oldest code that the schema of this code still serves.
const OLDEST_CODE: u32 = 1;

const _: () = assert!(MIGRATIONS.len() == CODE as usize && OLDEST_CODE <= CODE);

/// Any number that nobody else has reason to take: "sagaz" in ASCII.
const LOCK: i64 = 0x73_6167_617a;

const OURS: &str = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = $1
    AND table_name IN ('saga_meta', 'saga_engine', 'saga_definition', 'saga_instance', 'saga_step', 'saga_archive',
        'saga_archive_step', 'outbox', 'outbox_worker', 'outbox_lane', 'outbox_archive', 'dead_letter', 'consumer_inbox')
    ORDER BY 1";

/// A privilege on one of our tables that the user has not.
const LACKING: &str = "SELECT privilege || ' on ' || c.oid::regclass
    FROM pg_class AS c CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
    WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind = 'r' AND c.relname
        IN ('saga_engine', 'saga_definition', 'saga_instance', 'saga_step', 'saga_archive', 'saga_archive_step', 'outbox',
            'outbox_worker', 'outbox_lane', 'outbox_archive', 'dead_letter', 'consumer_inbox')
        AND NOT has_table_privilege(c.oid, privilege)
    UNION ALL SELECT 'USAGE on ' || c.oid::regclass FROM pg_class AS c
    WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind = 'S'
        AND c.relname = 'outbox_seq' AND NOT has_sequence_privilege(c.oid, 'USAGE')
    ORDER BY 1 LIMIT 1";

const VERSIONS: &str = "SELECT max(CASE key WHEN 'schema_version' THEN value END),
    max(CASE key WHEN 'oldest_code' THEN value END) FROM sagaz.saga_meta";

const SET_VERSIONS: &str =
    "INSERT INTO sagaz.saga_meta (key, value) VALUES ('schema_version', $1), ('oldest_code', $2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// A name that needs no thought wherever it is written.
pub(super) fn check_name(schema: &str) -> Result<(), ConnectError> {
    let mut letters = schema.chars();
    let begins = letters
        .next()
        .is_some_and(|letter| letter.is_ascii_lowercase() || letter == '_');
    let goes_on = letters
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if begins && goes_on && schema.len() <= 63 && !schema.starts_with("pg_") {
        Ok(())
    } else {
        Err(ConnectError::SchemaName {
            schema: schema.to_owned(),
        })
    }
}

/// Refuses a server that cannot be written to, and brings the tables up to date.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    database: &Database,
) -> Result<(), ConnectError> {
    // All in one transaction, because a pooler gives each to another session.
    let mut transaction = connection.begin().await?;
    let read_only: String = sqlx::query_scalar("SHOW transaction_read_only")
        .persistent(false)
        .fetch_one(&mut *transaction)
        .await?;
    if read_only == "on" {
        return Err(ConnectError::ReadOnly {
            server: String::new(),
        });
    }
    if stored_schema(&mut transaction, database).await? >= CODE {
        check_privileges(&mut transaction, database).await?;
        transaction.commit().await?;
        return Ok(());
    }
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .persistent(false)
        .bind(LOCK)
        .execute(&mut *transaction)
        .await?;
    // Looked up again under the lock: another process may have been here.
    let stored = stored_schema(&mut transaction, database).await?;
    if stored < CODE {
        let create = format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", database.schema);
        sqlx::query(AssertSqlSafe(create))
            .persistent(false)
            .execute(&mut *transaction)
            .await?;
        for migration in MIGRATIONS.iter().skip(stored as usize) {
            sqlx::raw_sql(database.sql(migration))
                .execute(&mut *transaction)
                .await?;
        }
        database
            .query(SET_VERSIONS)
            .bind(CODE.to_string())
            .bind(OLDEST_CODE.to_string())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Somebody else may have made the tables.
async fn check_privileges(
    connection: &mut PgConnection,
    database: &Database,
) -> Result<(), ConnectError> {
    let lacking: Option<String> = sqlx::query_scalar(LACKING)
        .persistent(false)
        .bind(&database.schema)
        .fetch_optional(connection)
        .await?;
    match lacking {
        None => Ok(()),
        Some(lacking) => Err(ConnectError::Lacking {
            server: String::new(),
            lacking,
        }),
    }
}

/// The schema that is there, 0 if there is none of ours.
async fn stored_schema(
    connection: &mut PgConnection,
    database: &Database,
) -> Result<u32, ConnectError> {
    let tables: Vec<String> = sqlx::query_scalar(OURS)
        .persistent(false)
        .bind(&database.schema)
        .fetch_all(&mut *connection)
        .await?;
    let Some(first) = tables.first() else {
        return Ok(0);
    };
    let foreign = |table: &str| ConnectError::ForeignTable {
        schema: database.schema.clone(),
        table: table.to_owned(),
    };
    if !tables.iter().any(|table| table == "saga_meta") {
        return Err(foreign(first));
    }
    let row = database.query(VERSIONS).fetch_one(connection).await?;
    let number = |at: usize| -> Option<u32> {
        let text: Option<String> = row.try_get(at).ok()?;
        text?.parse().ok()
    };
    let (Some(schema @ 1..), Some(oldest_code)) = (number(0), number(1)) else {
        return Err(foreign("saga_meta"));
    };
    if oldest_code > CODE {
        return Err(ConnectError::NewerSchema {
            schema,
            oldest_code,
            code: CODE,
        });
    }
    Ok(schema)
}
