//! Schemas on the server that `cargo xtask test` starts.

pub(crate) use super::server::{schema, url};

use sagaz_storage::postgres::Postgres;

/// A new store in a schema of its own.
pub(crate) async fn store() -> Postgres {
    connect(&schema()).await
}

pub(crate) async fn connect(schema: &str) -> Postgres {
    Postgres::options(&url())
        .expect("the URL is one of PostgreSQL")
        .schema(schema)
        .writers(1)
        .readers(3)
        .connect()
        .await
        .expect("a store")
}
