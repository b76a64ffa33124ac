//! A Redis server, on which the keys of this example begin with a word of its own.

use crate::{files, run::SAGA};
use sagaz::{
    redis::{ConnectError, Redis},
    store::{Retention, SagaStore},
};
use std::{error::Error, path::Path, str::FromStr, time::Duration};

const PREFIX: &str = "cdnow_orders";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    url: String,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let _ = Redis::options(url).map_err(|error| super::in_full(&error))?;
        Ok(Self {
            url: url.to_owned(),
        })
    }
}

impl Server {
    /// The store; empty, and without its books, if they are named.
    pub(crate) async fn open(&self, fresh: Option<&Path>) -> Result<Redis, Box<dyn Error>> {
        let store = self.connect().await?;
        if let Some(books) = fresh {
            empty(&store, books).await?;
        }
        if !store.durability().is_durable() {
            eprintln!(
                "note: this server may forget what it has acknowledged: {}",
                store.durability()
            );
        }
        Ok(store)
    }

    async fn connect(&self) -> Result<Redis, ConnectError> {
        Redis::options(&self.url)?.prefix(PREFIX).connect().await
    }

    /// A name for files that belong to this server.
    pub(crate) fn file_stem(&self) -> String {
        let (_, rest) = self.url.split_once("://").unwrap_or_default();
        let address = rest.rsplit('@').next().unwrap_or(rest);
        let address = address.split('?').next().unwrap_or(address);
        super::file_name(&format!("redis-{}", address.trim_end_matches('/')))
    }
}

/// Removes the sagas as retention does, a batch at a time: those that have ended. Any other may be at work in another process.
async fn empty(store: &Redis, books: &Path) -> Result<(), Box<dyn Error>> {
    let refuse = |why: &str| {
        format!(
            "what is stored under `{PREFIX}` is not deleted: {why}, or delete the keys that begin with `{{{PREFIX}:` by hand"
        )
    };
    for (saga, state, _) in store.count().await? {
        if saga != SAGA {
            return Err(refuse("it holds sagas of another program; use another server").into());
        }
        if !state.is_final() {
            return Err(refuse(
                "some sagas have not ended; run this without --fresh until they have",
            )
            .into());
        }
    }
    files::delete_database(books)?;
    while store.prune(Duration::ZERO, 500, Retention::Delete).await? > 0 {}
    Ok(())
}
