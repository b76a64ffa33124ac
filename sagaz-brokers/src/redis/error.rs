//! Errors of the client and the server, in words that say what to do.

use crate::encryption;
use ::redis::{ErrorKind, RedisError, ServerErrorKind};
use sagaz_core::broker::BrokerError;
use std::time::Duration;

/// Whether the connection, or what is under way on it, cannot be used any more.
pub(super) fn is_lost(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || matches!(error.kind(), ErrorKind::Io)
}

/// Whether the user, the password or a right is what is wrong.
fn is_denied(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm)
    ) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}

pub(super) fn is_of_code(error: &RedisError, code: &str) -> bool {
    error.code() == Some(code)
}

pub(super) fn connect_error(error: RedisError, server: &str) -> BrokerError {
    if is_denied(&error) {
        BrokerError::misused(format!(
            "the Redis server {server} refuses the user or the password; correct them in the URL or the options"
        ))
    } else if let Some(trouble) = encryption::trouble(&error, &format!("the Redis server {server}"))
    {
        trouble
    } else {
        BrokerError::unavailable(format!(
            "the Redis server {server} cannot be reached; is it running, and is the address right?"
        ))
    }
    .caused_by(error)
}

/// Of one event.
pub(super) fn publish_error(error: RedisError, stream: &str, after: Duration) -> BrokerError {
    if error.is_timeout() {
        return BrokerError::timed_out(after).caused_by(error);
    }
    match error.code() {
        Some("WRONGTYPE") => BrokerError::refused(format!(
            "the key `{stream}` is no stream; route the event to another one"
        ))
        .caused_by(error),
        Some("NOPERM") => BrokerError::refused(format!(
            "the user may not add to the stream `{stream}`; it needs `+xadd` on that key"
        ))
        .caused_by(error),
        _ => call_error(error),
    }
}

/// Of anything else.
pub(super) fn call_error(error: RedisError) -> BrokerError {
    if is_lost(&error) {
        BrokerError::unavailable("the connection to the Redis server is lost, or it did not answer")
    } else if is_denied(&error) {
        BrokerError::misused(
            "the user of the Redis server lacks a right; it needs `+@stream +@scripting +@transaction +ping` on the keys of the topics",
        )
    } else if is_of_code(&error, "OOM") {
        BrokerError::unavailable(
            "the Redis server has no memory left; raise its `maxmemory`, or trim the streams",
        )
    } else if is_of_code(&error, "WRONGTYPE") {
        BrokerError::misused("a key that is to be a stream is none; choose another topic")
    } else {
        BrokerError::unavailable("the Redis server does not do it now; it may be loading, or fail over")
    }
    .caused_by(error)
}
