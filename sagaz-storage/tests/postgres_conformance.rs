//! The rules of every store, on PostgreSQL.
#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use sagaz_core::store::conformance::{
    Harness, inbox::InboxHarness, transactions::TransactionHarness,
};
use sagaz_storage::postgres::Postgres;
use sqlx::{Connection, PgConnection, PgTransaction};
use std::time::Duration;

/// A schema for each store, on a server for all.
struct OnServer {
    /// Its rows in the table of the application have this before their keys.
    name: String,
}

impl OnServer {
    fn new() -> Self {
        Self {
            name: support::postgres::schema(),
        }
    }
}

impl Harness for OnServer {
    type Store = Postgres;

    async fn open(&self) -> Postgres {
        support::postgres::store().await
    }

    async fn second(&self, store: &Postgres) -> Postgres {
        support::postgres::connect(store.schema()).await
    }

    fn lease_short(&self) -> Duration {
        Duration::from_millis(400)
    }
}

impl TransactionHarness for OnServer {
    type Tx = PgTransaction<'static>;

    async fn put(&self, tx: &mut PgTransaction<'static>, key: &str) {
        // One table for all tests: its rows tell them apart.
        let create = "CREATE TABLE IF NOT EXISTS application (key text)";
        let lock = "SELECT pg_advisory_xact_lock(4711)";
        sqlx::query(lock).execute(&mut **tx).await.unwrap();
        sqlx::query(create).execute(&mut **tx).await.unwrap();
        let insert =
            sqlx::query("INSERT INTO application VALUES ($1)").bind(format!("{}/{key}", self.name));
        insert.execute(&mut **tx).await.unwrap();
    }

    async fn has(&self, _: &Postgres, key: &str) -> bool {
        let mut connection = PgConnection::connect(&support::postgres::url())
            .await
            .unwrap();
        let found = sqlx::query("SELECT 1 FROM application WHERE key = $1")
            .bind(format!("{}/{key}", self.name));
        let found = found.fetch_optional(&mut connection).await;
        found.is_ok_and(|row| row.is_some())
    }
}

impl InboxHarness for OnServer {
    async fn put(&self, tx: &mut PgTransaction<'static>, key: &str) {
        TransactionHarness::put(self, tx, key).await;
    }

    async fn has(&self, store: &Postgres, key: &str) -> bool {
        TransactionHarness::has(self, store, key).await
    }
}

/// By this name they are left out where there is no server.
mod postgres {
    use super::OnServer;

    sagaz_core::store_conformance!(OnServer::new());
    sagaz_core::transaction_conformance!(OnServer::new());
    sagaz_core::outbox_conformance!(OnServer::new());
    sagaz_core::inbox_conformance!(OnServer::new());
}
