//! Errors of the client as errors of the contract.

use crate::encryption;
use lapin::{Error, ErrorKind};
use sagaz_core::broker::BrokerError;
use std::time::Duration;

/// What went wrong, for each of the events that it concerns.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    Unavailable(String, Option<Error>),
    Refused(String, Option<Error>),
    Misused(String, Option<Error>),
    TimedOut(Duration),
}

impl Trouble {
    /// The connection, or all channels of it, cannot be used any more.
    pub(super) fn lost(error: Error) -> Self {
        Self::Unavailable(
            format!("the connection to RabbitMQ is lost: {error}"),
            Some(error),
        )
    }

    /// A connection was not made.
    pub(super) fn of_connecting(error: Error, user: &str, host: &str) -> Self {
        match reply_code(&error) {
            Some(ACCESS_REFUSED) => Self::Misused(
                format!("RabbitMQ at {host} does not accept the user `{user}` with this password"),
                Some(error),
            ),
            Some(NOT_ALLOWED) => Self::Misused(
                format!(
                    "RabbitMQ at {host} refuses the connection: {}",
                    words(&error)
                ),
                Some(error),
            ),
            _ => match encryption::trouble(&error, &format!("RabbitMQ at {host}")) {
                Some(trouble) => Self::Misused(trouble.to_string(), Some(error)),
                None => Self::Unavailable(
                    format!("RabbitMQ at {host} cannot be reached: {error}"),
                    Some(error),
                ),
            },
        }
    }
}

impl From<Trouble> for BrokerError {
    fn from(trouble: Trouble) -> Self {
        let (error, cause) = match trouble {
            Trouble::Unavailable(message, cause) => (Self::unavailable(message), cause),
            Trouble::Refused(message, cause) => (Self::refused(message), cause),
            Trouble::Misused(message, cause) => (Self::misused(message), cause),
            Trouble::TimedOut(after) => (Self::timed_out(after), None),
        };
        match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}

pub(super) const ACCESS_REFUSED: u16 = 403;
pub(super) const NOT_FOUND: u16 = 404;
const NOT_ALLOWED: u16 = 530;

/// The number that the server gave for closing a channel or the connection.
pub(super) fn reply_code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// What the server said.
pub(super) fn words(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        _ => error.to_string(),
    }
}
