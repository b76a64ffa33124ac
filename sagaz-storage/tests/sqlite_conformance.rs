//! The rules of every store, on a file.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sagaz_core::store::conformance::{
    Harness, inbox::InboxHarness, transactions::TransactionHarness,
};
use sagaz_storage::sqlite::Sqlite;
use sqlx::{Connection, SqliteConnection, SqliteTransaction};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

struct InFile {
    directory: TempDir,
    opened: AtomicUsize,
}

impl InFile {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory for the test"),
            opened: AtomicUsize::new(0),
        }
    }
}

impl Harness for InFile {
    type Store = Sqlite;

    async fn open(&self) -> Sqlite {
        let name = format!("sagas-{}.db", self.opened.fetch_add(1, Ordering::Relaxed));
        Sqlite::open(self.directory.path().join(name))
            .await
            .expect("a new store")
    }

    async fn second(&self, store: &Sqlite) -> Sqlite {
        Sqlite::open(store.path()).await.expect("the same store")
    }
}

sagaz_core::store_conformance!(InFile::new());

impl TransactionHarness for InFile {
    type Tx = SqliteTransaction<'static>;

    async fn put(&self, tx: &mut SqliteTransaction<'static>, key: &str) {
        let create = "CREATE TABLE IF NOT EXISTS application (key TEXT PRIMARY KEY)";
        sqlx::query(create).execute(&mut **tx).await.unwrap();
        let insert = sqlx::query("INSERT INTO application VALUES (?)").bind(key);
        insert.execute(&mut **tx).await.unwrap();
    }

    async fn has(&self, store: &Sqlite, key: &str) -> bool {
        let url = format!("sqlite:{}", store.path().display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let found = sqlx::query("SELECT 1 FROM application WHERE key = ?").bind(key);
        // Without the table there is no row.
        let found = found.fetch_optional(&mut connection).await;
        found.is_ok_and(|row| row.is_some())
    }
}

sagaz_core::transaction_conformance!(InFile::new());

sagaz_core::outbox_conformance!(InFile::new());

impl InboxHarness for InFile {
    async fn put(&self, tx: &mut SqliteTransaction<'static>, key: &str) {
        TransactionHarness::put(self, tx, key).await;
    }

    async fn has(&self, store: &Sqlite, key: &str) -> bool {
        TransactionHarness::has(self, store, key).await
    }
}

sagaz_core::inbox_conformance!(InFile::new());
