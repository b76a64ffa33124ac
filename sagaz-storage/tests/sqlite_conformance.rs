//! The rules of every store, on a file.
#![cfg(feature = "sqlite")]

use sagaz_core::store::conformance::Harness;
use sagaz_storage::sqlite::Sqlite;
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
