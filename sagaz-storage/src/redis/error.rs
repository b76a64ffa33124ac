//! Errors, in words that say what to do.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use sagaz_core::store::StoreError;

/// Why a server is not used as a store. Nothing on it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none of a Redis server.
    #[error(
        "the URL cannot be read; write it as `redis://user:password@host:6379/0`, as `rediss://..` for TLS, or as \
         `redis+cluster://host:6379,host:6380` for a cluster"
    )]
    Url {
        /// What is wrong with it.
        source: RedisError,
    },
    /// The prefix would disturb the slots.
    #[error(
        "`{prefix}` cannot be before the keys of the sagas; use letters, digits, `_`, `-`, `.`, `:` and `/`, at most 64 of them"
    )]
    Prefix {
        /// The prefix.
        prefix: String,
    },
    /// Too few or too many partitions.
    #[error("{partitions} partitions cannot be had; ask for 1 to 1024")]
    Partitions {
        /// How many were asked for.
        partitions: u16,
    },
    /// Nothing answers at that address.
    #[error("cannot reach the server {server}; is it running, and is the address right?")]
    Unreachable {
        /// Host and port.
        server: String,
        /// Why not.
        source: RedisError,
    },
    /// The user or the password is wrong, or missing.
    #[error("the server {server} refuses the user or the password; correct them in the URL")]
    Refused {
        /// Host and port.
        server: String,
        /// The server's words.
        source: RedisError,
    },
    /// The user may not do what the store needs.
    #[error(
        "the user of {server} lacks a right: it needs the keys `{{{prefix}:*` with `+@read +@write +@scripting +time +info +role`"
    )]
    Privilege {
        /// Host and port.
        server: String,
        /// The prefix of the keys.
        prefix: String,
        /// The server's words.
        source: RedisError,
    },
    /// The server is a replica.
    #[error("the server {server} is a replica; connect to its primary, {primary}")]
    Replica {
        /// Host and port.
        server: String,
        /// Where its primary is, as the replica says.
        primary: String,
    },
    /// The server is a node of a cluster, and the URL is one of a single server.
    #[error("the server {server} is a node of a cluster; write the URL as `redis+cluster://..`")]
    IsCluster {
        /// Host and port.
        server: String,
    },
    /// The URL is one of a cluster, and the server is a single one.
    #[error("the server {server} is no cluster; write the URL as `redis://..`")]
    NoCluster {
        /// Host and port.
        server: String,
        /// The server's words.
        source: RedisError,
    },
    /// The server lacks commands that the store needs.
    #[error("the server {server} is of version {version}, and the store needs {needed} or newer")]
    OldServer {
        /// Host and port.
        server: String,
        /// Its version.
        version: String,
        /// The oldest that serves.
        needed: &'static str,
    },
    /// What is stored was made by newer code that this code cannot work beside.
    #[error(
        "what is stored under `{prefix}` is of schema {schema}, which serves code from {oldest_code} on; this code is {code}: \
         update it"
    )]
    NewerSchema {
        /// The prefix of the keys.
        prefix: String,
        /// The schema that is there.
        schema: u32,
        /// The oldest code that it serves.
        oldest_code: u32,
        /// The schema of this code.
        code: u32,
    },
    /// The store was made with another number of partitions.
    #[error(
        "the store under `{prefix}` has {stored} partitions, for good, and {asked} are asked for; ask for {stored}, or use \
         another prefix"
    )]
    OtherPartitions {
        /// The prefix of the keys.
        prefix: String,
        /// How many it has.
        stored: String,
        /// How many are asked for.
        asked: u16,
    },
    /// Somebody else has a key of one of our names there.
    #[error(
        "the key `{key}` is there and is not of this store (it is a {kind}); use another prefix for the sagas"
    )]
    ForeignKey {
        /// The key.
        key: String,
        /// What it is.
        kind: String,
    },
    /// The settings do not back the promises, and they are required to.
    #[error("{report}")]
    NotDurable {
        /// What is missing.
        report: super::Durability,
    },
    /// Anything else that goes wrong.
    #[error("cannot use the server {server}")]
    Server {
        /// Host and port.
        server: String,
        /// What is said.
        source: RedisError,
    },
}

impl ConnectError {
    pub(super) fn new(server: &str, prefix: &str, source: RedisError) -> Self {
        let server = server.to_owned();
        match class(&source) {
            Class::Lost => Self::Unreachable { server, source },
            Class::Refused => Self::Refused { server, source },
            Class::Privilege => Self::Privilege {
                server,
                prefix: prefix.to_owned(),
                source,
            },
            _ => Self::Server { server, source },
        }
    }

    /// Whether the same may succeed later: a server that is not there yet, or is loading its data.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Server { source, .. } => matches!(class(source), Class::Lost | Class::Busy),
            _ => false,
        }
    }
}

/// What an error is about.
enum Class {
    /// The connection, or the reply.
    Lost,
    /// The server cannot do it now: it loads, fails over, is full, moves a slot.
    Busy,
    Refused,
    Privilege,
    /// A key is of another kind than this store makes it.
    Foreign,
    Other,
}

fn class(error: &RedisError) -> Class {
    match error.kind() {
        ErrorKind::AuthenticationFailed => return Class::Refused,
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => return Class::Lost,
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::NoPerm => return Class::Privilege,
            ServerErrorKind::BusyLoading
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::NoScript
            | ServerErrorKind::ExecAbort => return Class::Busy,
            _ => {}
        },
        _ => {}
    }
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        return Class::Lost;
    }
    match error.code() {
        Some("OOM" | "BUSY" | "MISCONF" | "NOREPLICAS" | "UNKILLABLE" | "LOADING" | "READONLY") => {
            Class::Busy
        }
        Some("NOAUTH" | "WRONGPASS") => Class::Refused,
        Some("NOPERM") => Class::Privilege,
        Some("WRONGTYPE") => Class::Foreign,
        _ => Class::Other,
    }
}

/// Whether the connection, or what is under way on it, cannot be used any more.
pub(super) fn is_lost(error: &RedisError) -> bool {
    matches!(class(error), Class::Lost)
}

/// The error of a call.
pub(super) fn call_error(error: RedisError) -> StoreError {
    let store_error = match class(&error) {
        Class::Lost => StoreError::transient("the server cannot be reached, or did not answer"),
        Class::Busy if error.code() == Some("OOM") => {
            StoreError::transient("the server has no memory left; raise its `maxmemory`")
        }
        Class::Busy => StoreError::transient("the server is busy, or fails over"),
        Class::Refused => StoreError::fatal("the server refuses the user or the password"),
        Class::Privilege => StoreError::fatal("the server's user lacks a right"),
        Class::Foreign => {
            StoreError::fatal("a key of the sagas is of another kind than the store makes it")
        }
        Class::Other => StoreError::fatal("the server cannot be used"),
    };
    store_error.caused_by(error)
}
