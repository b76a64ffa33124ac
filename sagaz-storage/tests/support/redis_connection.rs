//! A connection to Redis that is not the library's. Whoever needs one includes this file.

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use std::time::Duration;

/// By default the client gives an answer up after half a second, which a busy machine takes now and then.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

pub(crate) async fn connection(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL of Redis");
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(PATIENCE)
        .set_response_timeout(PATIENCE);
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    connection.await.expect("a connection")
}
