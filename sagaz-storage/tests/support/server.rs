//! The PostgreSQL server that `cargo xtask test` starts, and names on it.

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
