//! Schemas on the server that `cargo xtask test` starts.

use sagaz_storage::postgres::Postgres;
use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The server's URL. `cargo xtask test` sets it.
const URL: &str = "SAGAZ_TEST_POSTGRES_URL";

pub(crate) fn url() -> String {
    env::var(URL).unwrap_or_else(|_| {
        panic!("{URL} names no server; `cargo xtask test` starts one, or set it to the URL of one of yours")
    })
}

/// A new store in a schema of its own.
pub(crate) async fn store() -> Postgres {
    connect(&schema()).await
}

/// A name that no other test has.
pub(crate) fn schema() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!(
        "sagaz_{}_{}_{}",
        std::process::id(),
        now.as_nanos(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
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
