//! The rules of every store, on SQLite.
#![cfg(feature = "sqlite")]

use sagaz_core::store::conformance::Harness;
use sagaz_storage::sqlite::Sqlite;
use tempfile::TempDir;

struct InFile {
    directory: TempDir,
}

impl InFile {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory for the test") }
    }
}

impl Harness for InFile {
    type Store = Sqlite;

    async fn open(&self) -> Sqlite {
        Sqlite::open(self.directory.path().join("sagas.db")).await.expect("a new store")
    }

    async fn second(&self, store: &Sqlite) -> Sqlite {
        Sqlite::open(store.path()).await.expect("the same store")
    }
}

sagaz_core::store_conformance!(InFile::new());
