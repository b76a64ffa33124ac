//! The Redis that `cargo xtask test` starts.

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
    let client = redis::Client::open(url()).expect("a URL");
    let connection = client.get_multiplexed_async_connection();
    connection.await.expect("a connection")
}
