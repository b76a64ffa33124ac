//! Errors, in words that say what to do.

use crate::value::{decoding, is_decoding};
use sagaz_core::store::StoreError;

/// Why a database is not used as a store. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none of a PostgreSQL database.
    #[error(
        "the database URL cannot be read; write it as `postgres://user:password@host:5432/database`"
    )]
    Url {
        /// What is wrong with it.
        source: sqlx::Error,
    },
    /// The schema's name needs quotes or is reserved.
    #[error(
        "`{schema}` cannot be the schema of the sagas; use lower case letters, digits and `_`, and not `pg_` before them"
    )]
    SchemaName {
        /// The name.
        schema: String,
    },
    /// Nothing answers at that address.
    #[error("cannot reach the database {server}; is it running, and is the address right?")]
    Unreachable {
        /// Host, port and database.
        server: String,
        /// Why not.
        source: sqlx::Error,
    },
    /// The server took too long.
    #[error("the database {server} does not answer")]
    Silent {
        /// Host, port and database.
        server: String,
    },
    /// The user or the password is wrong.
    #[error("the database {server} refuses the user or the password")]
    Refused {
        /// Host, port and database.
        server: String,
        /// The server's words.
        source: sqlx::Error,
    },
    /// There is no such database.
    #[error("there is no database at {server}; create it, or correct the URL")]
    NoDatabase {
        /// Host, port and database.
        server: String,
        /// The server's words.
        source: sqlx::Error,
    },
    /// The user may not do what the store needs.
    #[error(
        "the user of {server} lacks a privilege: it needs CREATE on the database, or a schema of its own, and to read and write \
         the tables in it"
    )]
    Privilege {
        /// Host, port and database.
        server: String,
        /// The server's words.
        source: sqlx::Error,
    },
    /// The tables are there, and the user may not use them.
    #[error("the user of {server} lacks a privilege: grant it {lacking}")]
    Lacking {
        /// Host, port and database.
        server: String,
        /// The privilege, and on what.
        lacking: String,
    },
    /// Something between here and the server takes no settings of a session.
    #[error(
        "{server} refuses the settings of a session, as a pooler in transaction mode does; connect with `prepared(false)`"
    )]
    Pooled {
        /// Host, port and database.
        server: String,
        /// What is said.
        source: sqlx::Error,
    },
    /// A replica, or a database that is set to be read only.
    #[error("the database {server} is read-only; connect to the primary")]
    ReadOnly {
        /// Host, port and database.
        server: String,
    },
    /// The tables were made by newer code that this code cannot work beside.
    #[error(
        "the tables are of schema {schema}, which serves code from {oldest_code} on; this code is {code}: update it"
    )]
    NewerSchema {
        /// The schema that is there.
        schema: u32,
        /// The oldest code that it serves.
        oldest_code: u32,
        /// The schema of this code.
        code: u32,
    },
    /// Somebody else has a table of one of our names there.
    #[error(
        "the schema `{schema}` has its own `{table}`, which is not of this store; use another schema for the sagas"
    )]
    ForeignTable {
        /// The schema.
        schema: String,
        /// The table.
        table: String,
    },
    /// Anything else that goes wrong.
    #[error("cannot connect to the database {server}")]
    Database {
        /// Host, port and database.
        server: String,
        /// What is said.
        source: sqlx::Error,
    },
}

impl From<sqlx::Error> for ConnectError {
    fn from(source: sqlx::Error) -> Self {
        Self::new("", source)
    }
}

impl ConnectError {
    pub(super) fn new(server: &str, source: sqlx::Error) -> Self {
        let server = server.to_owned();
        match code(&source).as_deref() {
            Some(code) if code.starts_with("28") => Self::Refused { server, source },
            Some("3D000") => Self::NoDatabase { server, source },
            Some("42501") => Self::Privilege { server, source },
            Some("25006") => Self::ReadOnly { server },
            Some("08P01") if source.to_string().contains("startup parameter") => {
                Self::Pooled { server, source }
            }
            None if matches!(source, sqlx::Error::Io(_)) => Self::Unreachable { server, source },
            _ => Self::Database { server, source },
        }
    }

    /// With the server's name, where it is not known yet.
    pub(super) fn at(mut self, name: &str) -> Self {
        match &mut self {
            Self::Unreachable { server, .. }
            | Self::Silent { server }
            | Self::Refused { server, .. }
            | Self::NoDatabase { server, .. }
            | Self::Privilege { server, .. }
            | Self::Lacking { server, .. }
            | Self::Pooled { server, .. }
            | Self::ReadOnly { server }
            | Self::Database { server, .. } => name.clone_into(server),
            _ => {}
        }
        self
    }

    /// Whether the same may succeed later: a server that is not there yet.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Database { source, .. } => is_transient(source),
            _ => false,
        }
    }
}

/// The `SQLSTATE`, if it is the server that failed.
fn code(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    Some(code.into_owned())
}

/// Whether the server failed with one of these codes, or of these classes.
fn is_of(error: &sqlx::Error, classes: &[&str]) -> bool {
    code(error).is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
}

/// Whether the same call may succeed later. By classes of [`SQLSTATE`](https://www.postgresql.org/docs/current/errcodes-appendix.html):
/// connections (08), what a failover leaves read-only (25006), transactions that were rolled back for others (40), resources
/// (53), locks (55), and a server that shuts down or starts (57).
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => is_of(error, &["08", "25006", "40", "53", "55", "57"]),
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolTimedOut => true,
        _ => false,
    }
}

/// Whether the connection is gone, and with it most likely its neighbours.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => is_of(error, &["08", "57P"]),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        _ => false,
    }
}

/// Whether it waited too long for a lock that somebody else holds.
pub(super) fn is_lock_timeout(error: &StoreError) -> bool {
    has_code(error, "55P03")
}

/// Whether the server has no room for so many locks.
pub(super) fn is_out_of_locks(error: &StoreError) -> bool {
    has_code(error, "53200")
}

fn has_code(error: &StoreError, code: &str) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref())
        .is_some_and(|source| is_of(source, &[code]))
}

/// The error of a call.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    let is_of = |classes: &[&str]| is_of(&error, classes);
    let store_error = if is_transient(&error) {
        StoreError::transient("the database is busy or cannot be reached")
    } else if is_of(&["22", "23", "54"]) {
        StoreError::refusal("the database cannot hold a value")
    } else if is_of(&["42501"]) {
        StoreError::fatal("the database's user lacks a privilege on the tables of the sagas")
    } else if is_of(&["28", "3D"]) {
        StoreError::fatal("the database refuses the user")
    } else if is_of(&["26000", "42P05"]) {
        StoreError::fatal(
            "prepared statements are mixed up, as by a pooler in transaction mode; connect with `prepared(false)`",
        )
    } else if is_of(&["42P01", "3F000"]) {
        StoreError::fatal("the tables of the sagas are gone")
    } else if is_decoding(&error) {
        StoreError::fatal(format!(
            "the database holds a value that cannot be read: {}",
            decoding(&error)
        ))
    } else {
        StoreError::fatal("the database cannot be used")
    };
    store_error.caused_by(error)
}
