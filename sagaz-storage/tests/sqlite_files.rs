//! Which files are taken, and what a refused one looks like afterwards: as before.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use sagaz_core::{
    SagaId,
    store::{Retention, SagaStore, StoreError},
};
use sagaz_storage::sqlite::{OpenError, Sqlite};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    (directory, path)
}

async fn connection(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap()
}

async fn run(path: &Path, sql: &'static str) {
    let mut connection = connection(path).await;
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn ask(path: &Path, sql: &'static str) -> String {
    let mut connection = connection(path).await;
    let answer = sqlx::query_scalar(sql)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    answer
}

/// Opens it in vain, and finds it byte for byte as it was.
async fn refusal(path: &Path) -> OpenError {
    let before = fs::read(path).unwrap();
    let error = Sqlite::open(path).await.unwrap_err();
    assert_eq!(
        fs::read(path).unwrap(),
        before,
        "a refused file was changed"
    );
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    let mut companions = fs::read_dir(path.parent().unwrap()).unwrap();
    assert!(
        companions.all(|file| file.unwrap().path() == *path),
        "a refused file has companions"
    );
    error
}

#[tokio::test]
async fn a_missing_file_is_created() {
    let (_directory, path) = place();
    let store = Sqlite::open(&path).await.unwrap();
    assert!(store.count().await.unwrap().is_empty());
    assert_eq!(ask(&path, "PRAGMA journal_mode").await, "wal");
    assert_eq!(
        ask(
            &path,
            "SELECT group_concat(key || '=' || value) FROM saga_meta"
        )
        .await,
        "oldest_code=1,schema_version=2"
    );
}

/// Also later: what has it open since before is of the first schema still.
#[tokio::test]
async fn what_code_of_the_first_schema_writes_is_read() {
    const ROW: &str = "INSERT INTO saga_instance (id, saga, version, fingerprint, state, epoch, input_digest, created_at, updated_at,
            content_type, input)
        VALUES (?, 'shop', 1, 'graph', 'completed', 1, '', 1, 1, 'application/json', '{}')";
    let (_directory, path) = place();
    run(
        &path,
        include_str!("../migrations/sqlite/0001_instances.sql"),
    )
    .await;
    run(
        &path,
        "INSERT INTO saga_meta VALUES ('schema_version', '1'), ('oldest_code', '1')",
    )
    .await;
    let mut old = connection(&path).await;
    let (before, later) = (SagaId::new(), SagaId::new());
    let row = sqlx::query(ROW).bind(before.to_string());
    row.execute(&mut old).await.unwrap();
    let store = Sqlite::open(&path).await.unwrap();
    let row = sqlx::query(ROW).bind(later.to_string());
    row.execute(&mut old).await.unwrap();
    for id in [before, later] {
        let snapshot = store.load(id).await.unwrap().unwrap();
        assert_eq!(snapshot.input.bytes, b"{}");
        assert_eq!(snapshot.trace, None);
    }
    let moved = store.prune(Duration::ZERO, 10, Retention::Archive).await;
    assert_eq!(moved.unwrap(), 2);
    for id in [before, later] {
        let snapshot = store.archived(id).await.unwrap().unwrap();
        assert_eq!(snapshot.input.bytes, b"{}");
        assert_eq!(snapshot.trace, None);
    }
}

#[tokio::test]
async fn a_missing_file_is_not_created_against_the_users_will() {
    let (_directory, path) = place();
    let error = Sqlite::options(&path)
        .create(false)
        .open()
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_missing_directory_is_named_and_not_created() {
    let (directory, _) = place();
    let path = directory.path().join("missing/app.db");
    let error = Sqlite::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::NoDirectory { .. }), "{error}");
    assert!(
        error.to_string().contains("its directory does not exist"),
        "{error}"
    );
    assert!(!path.parent().unwrap().exists());
}

#[tokio::test]
async fn a_directory_is_refused() {
    let (directory, _) = place();
    let error = Sqlite::open(directory.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::IsDirectory { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let (_directory, path) = place();
    for content in [
        "x",
        "Dear diary, today I will be overwritten by a database, unless somebody looks first.",
    ] {
        fs::write(&path, content).unwrap();
        let error = refusal(&path).await;
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_database() {
    let (_directory, path) = place();
    fs::write(&path, "").unwrap();
    Sqlite::open(&path).await.unwrap();
}

#[tokio::test]
async fn the_applications_own_database_is_shared() {
    let (_directory, path) = place();
    run(
        &path,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT); INSERT INTO orders VALUES (1, 'mine');
        PRAGMA user_version = 7; PRAGMA application_id = 99;",
    )
    .await;
    Sqlite::open(&path).await.unwrap().close().await;
    assert_eq!(ask(&path, "SELECT note FROM orders").await, "mine");
    assert_eq!(
        ask(&path, "SELECT user_version || '' FROM pragma_user_version").await,
        "7"
    );
    assert_eq!(
        ask(
            &path,
            "SELECT application_id || '' FROM pragma_application_id"
        )
        .await,
        "99"
    );
}

#[tokio::test]
async fn a_newer_schema_that_no_longer_serves_this_code_is_refused() {
    let (_directory, path) = place();
    Sqlite::open(&path).await.unwrap().close().await;
    run(
        &path,
        "UPDATE saga_meta SET value = 9 WHERE key = 'schema_version'; UPDATE saga_meta SET value = 8 WHERE key = 'oldest_code';
        PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .await;
    let error = refusal(&path).await;
    assert!(
        matches!(
            error,
            OpenError::NewerSchema {
                schema: 9,
                oldest_code: 8,
                code: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_schema_that_still_serves_this_code_is_taken_as_it_is() {
    let (_directory, path) = place();
    Sqlite::open(&path).await.unwrap().close().await;
    run(
        &path,
        "UPDATE saga_meta SET value = 9 WHERE key = 'schema_version'",
    )
    .await;
    Sqlite::open(&path).await.unwrap().close().await;
    assert_eq!(
        ask(
            &path,
            "SELECT value FROM saga_meta WHERE key = 'schema_version'"
        )
        .await,
        "9"
    );
}

#[tokio::test]
async fn tables_of_our_names_that_are_not_ours_are_refused() {
    for (sql, named) in [
        ("CREATE TABLE saga_step (id)", "saga_step"),
        (
            "CREATE VIEW SAGA_INSTANCE AS SELECT 1 AS id",
            "SAGA_INSTANCE",
        ),
        ("CREATE TABLE saga_meta (id)", "saga_meta"),
        (
            "CREATE TABLE saga_meta (key, value); INSERT INTO saga_meta VALUES ('schema_version', 'draft')",
            "saga_meta",
        ),
        (
            "CREATE TABLE saga_meta (key, value); INSERT INTO saga_meta VALUES ('schema_version', x'00')",
            "saga_meta",
        ),
    ] {
        let (_directory, path) = place();
        run(&path, sql).await;
        let error = refusal(&path).await;
        assert!(
            matches!(&error, OpenError::ForeignTable { table, .. } if table == named),
            "{sql}: {error}"
        );
    }
}

#[tokio::test]
async fn a_database_whose_text_is_not_utf_8_is_refused() {
    let (_directory, path) = place();
    run(
        &path,
        "PRAGMA encoding = 'UTF-16le'; CREATE TABLE orders (id)",
    )
    .await;
    let error = refusal(&path).await;
    assert!(
        matches!(&error, OpenError::Encoding { encoding, .. } if encoding == "UTF-16le"),
        "{error}"
    );
}

#[tokio::test]
async fn a_read_only_file_is_refused() {
    let (_directory, path) = place();
    run(&path, "CREATE TABLE orders (id)").await;
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    if fs::OpenOptions::new().append(true).open(&path).is_ok() {
        return; // The superuser writes whatever the permissions say.
    }
    let error = refusal(&path).await;
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn a_locked_file_is_refused_for_now() {
    let (_directory, path) = place();
    run(&path, "CREATE TABLE orders (id)").await;
    let mut other = connection(&path).await;
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let error = Sqlite::options(&path)
        .busy_timeout(Duration::from_millis(10))
        .open()
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(StoreError::from(error).is_transient());
}
