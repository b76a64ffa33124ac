//! The Redis that `cargo xtask test` starts.

#[path = "../../../sagaz-storage/tests/support/redis_connection.rs"]
mod own;

use redis::aio::MultiplexedConnection;
use std::env;

/// The server's URL. `cargo xtask test` sets it.
const URL: &str = "SAGAZ_TEST_REDIS_URL";

pub(crate) fn url() -> String {
    env::var(URL).unwrap_or_else(|_| {
        panic!("{URL} names no server; `cargo xtask test` starts one, or set it to the URL of one of yours")
    })
}

/// A connection that is not the library's.
pub(crate) async fn connection() -> MultiplexedConnection {
    own::connection(&url()).await
}
