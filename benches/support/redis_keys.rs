//! What a benchmark leaves on a Redis server.

use redis::aio::MultiplexedConnection;

/// Removes all keys of a store with this prefix.
pub(crate) async fn unlink(connection: &mut MultiplexedConnection, prefix: &str) {
    let found: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{{{prefix}:*"))
        .query_async(connection)
        .await
        .expect("the keys");
    for keys in found.chunks(1_000) {
        let mut unlink = redis::cmd("UNLINK");
        let gone = unlink.arg(keys).query_async::<i64>(connection);
        gone.await.expect("they go");
    }
}
