//! What SQLite's errors mean to the engine.
//!
//! Invariant: only an error after which the same call can never succeed is anything but transient, because the engine
//! gives nothing up on a transient one. A row that is refused for good is a refusal, so that its step can be dealt with.

use crate::value::{decoding, is_decoding};
use sagaz_core::store::StoreError;
use std::path::{Path, PathBuf};

/// Why a file cannot be a store. The file is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file's directory is missing; only the file itself is created.
    #[error("cannot open the database {}: its directory does not exist", path.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// There is a directory in its place.
    #[error("cannot open the database {}: it is a directory", path.display())]
    IsDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// There is no such file, and it was not to be created.
    #[error("cannot open the database {}: there is no such file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refuses: a missing permission, say.
    #[error("cannot open the database {}: the operating system refuses", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: std::io::Error,
    },
    /// The file or its directory cannot be written.
    #[error("cannot write the database {}: the file or its directory is read-only", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: sqlx::Error,
    },
    /// The file is none of SQLite's, or is encrypted.
    #[error("{} is no SQLite database (or an encrypted one); name another file", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// Newer code changed the tables so that this code no longer reads them.
    #[error(
        "the saga tables in {} have schema {schema}, which needs code of schema {oldest_code} or newer; this is {code}: \
         deploy a newer version",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema in the file.
        schema: u32,
        /// The oldest code that it serves.
        oldest_code: u32,
        /// The schema of this code.
        code: u32,
    },
    /// The database has a table of one of our names that this store did not make.
    #[error(
        "the database {} has its own `{table}`, which is not of this store; use another file for the sagas",
        path.display()
    )]
    ForeignTable {
        /// The file.
        path: PathBuf,
        /// The table or view.
        table: String,
    },
    /// The database's text is not UTF-8.
    #[error("the database {} stores text as {encoding}; the sagas need UTF-8: use another file for them", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The encoding.
        encoding: String,
    },
    /// The file cannot be switched to WAL mode: it is on a network file system, say.
    #[error("the database {} stays in journal mode `{mode}`; the store needs `wal`, on a local file system", path.display())]
    NotWal {
        /// The file.
        path: PathBuf,
        /// Its journal mode.
        mode: String,
    },
    /// SQLite would answer before a write is on the disk.
    #[error("the database {} is at `PRAGMA synchronous` = {synchronous}; the store needs 2 (FULL)", path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// The setting that SQLite answered.
        synchronous: i64,
    },
    /// Another process held a lock of the file for too long.
    #[error("cannot open the database {}: another process holds its lock", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: sqlx::Error,
    },
    /// Anything else that SQLite says.
    #[error("cannot open the database {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: sqlx::Error,
    },
}

impl OpenError {
    /// Whether the file may be opened later as it is.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }

    pub(super) fn new(path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match result_code(&source) {
            Some(code::BUSY | code::LOCKED) => Self::Busy { path, source },
            Some(code::NOTADB) => Self::NotADatabase { path },
            Some(code::READONLY) => Self::ReadOnly { path, source },
            _ => Self::Database { path, source },
        }
    }
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        // A file that was open before and cannot be reached for now may come back: a full table of open files, say.
        let may_come_back = matches!(&error, OpenError::Busy { .. } | OpenError::Refused { .. })
            || matches!(&error, OpenError::Database { source, .. } if !is_lasting(source));
        let message = error.to_string();
        if may_come_back {
            Self::transient(message)
        } else {
            Self::fatal(message)
        }
        .caused_by(error)
    }
}

/// SQLite's primary result codes, as far as they are told apart.
mod code {
    pub(super) const ERROR: i32 = 1;
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const TOOBIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const MISMATCH: i32 = 20;
    pub(super) const MISUSE: i32 = 21;
    pub(super) const AUTH: i32 = 23;
    pub(super) const NOTADB: i32 = 26;
}

/// The primary result code, if it is SQLite that failed.
fn result_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether somebody else holds the lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(result_code(error), Some(code::BUSY | code::LOCKED))
}

fn is_lasting(error: &sqlx::Error) -> bool {
    use code::{AUTH, CORRUPT, ERROR, MISUSE, NOTADB, PERM, READONLY};
    match error {
        sqlx::Error::Database(_) => matches!(
            result_code(error),
            Some(ERROR | PERM | READONLY | CORRUPT | MISUSE | AUTH | NOTADB)
        ),
        // The connection, the pool or the operating system: a new connection may do.
        sqlx::Error::Io(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed => false,
        _ => true,
    }
}

/// The error of a call on the open file.
pub(super) fn store_error(path: &Path, error: sqlx::Error) -> StoreError {
    let file = path.display();
    let store_error = match result_code(&error) {
        Some(code::BUSY | code::LOCKED) => StoreError::transient(format!(
            "the database file {file} is busy: another process holds its write lock"
        )),
        Some(code::FULL) => {
            StoreError::transient(format!("the disk of the database file {file} is full"))
        }
        Some(code::IOERR) => StoreError::transient(format!(
            "the disk failed to read or write the database file {file}"
        )),
        Some(code::CANTOPEN) => {
            StoreError::transient(format!("the database file {file} cannot be opened"))
        }
        Some(code::TOOBIG) => {
            StoreError::refusal(format!("a value is too large for the database file {file}"))
        }
        Some(code::CONSTRAINT | code::MISMATCH) => {
            StoreError::refusal(format!("the database file {file} cannot hold a value"))
        }
        Some(code::CORRUPT | code::NOTADB) => {
            StoreError::fatal(format!("the database file {file} is damaged"))
        }
        Some(code::READONLY) => StoreError::fatal(format!("the database file {file} is read-only")),
        None if is_decoding(&error) => StoreError::fatal(format!(
            "the database file {file} holds a value that cannot be read: {}",
            decoding(&error)
        )),
        _ if is_lasting(&error) => {
            StoreError::fatal(format!("the database file {file} cannot be used"))
        }
        _ => StoreError::transient(format!("the database file {file} does not answer")),
    };
    store_error.caused_by(error)
}
