//! Stores on the server that `cargo xtask test` starts, a prefix for each.

use sagaz_storage::redis::{Options, Redis};
use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The server's URL. `cargo xtask test` sets it.
const URL: &str = "SAGAZ_TEST_REDIS_URL";

pub(crate) fn url() -> String {
    env::var(URL).unwrap_or_else(|_| {
        panic!("{URL} names no server; `cargo xtask test` starts one, or set it to the URL of one of yours")
    })
}

/// A new store under a prefix of its own.
pub(crate) async fn store() -> Redis {
    connect(&prefix()).await
}

/// A prefix that no other test has.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!(
        "sagaz-{}-{}-{}",
        std::process::id(),
        now.as_nanos(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

pub(crate) fn options(prefix: &str) -> Options {
    Redis::options(&url())
        .expect("the URL is one of Redis")
        .prefix(prefix)
}

pub(crate) async fn connect(prefix: &str) -> Redis {
    options(prefix).connect().await.expect("a store")
}
