//! The rules of every store, on PostgreSQL.
#![cfg(feature = "postgres")]

mod support;

use sagaz_core::store::conformance::Harness;
use sagaz_storage::postgres::Postgres;
use std::time::Duration;

/// A schema for each store, on a server for all.
struct OnServer;

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

/// By this name they are left out where there is no server.
mod postgres {
    use super::OnServer;

    sagaz_core::store_conformance!(OnServer);
}
