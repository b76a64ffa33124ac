//! Stores on servers of a test's own.

#[path = "../servers/mod.rs"]
mod own;

pub(crate) use own::*;

#[cfg(feature = "redis")]
use crate::places::Prefix;
use crate::places::{Place, Schema};

/// A server with a place for a store.
pub(crate) trait Places: Server {
    type Place: Place;

    fn place(&self) -> Self::Place;
}

impl Places for PostgresServer {
    type Place = Schema;

    fn place(&self) -> Schema {
        Schema {
            url: self.url(),
            name: "sagaz".to_owned(),
        }
    }
}

#[cfg(feature = "redis")]
impl Places for RedisServer {
    type Place = Prefix;

    fn place(&self) -> Prefix {
        Prefix {
            url: self.url(),
            name: "sagaz".to_owned(),
        }
    }
}
