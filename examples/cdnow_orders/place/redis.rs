//! A Redis server, on which the keys of this example begin with a word of its own.

use crate::{files, run::SAGA};
use sagaz::{
    redis::{ConnectError, Redis},
    store::{Fate, Fetch, Mark, OutboxStore, Retention, SagaStore, SentEvents, WorkerId},
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
    discard_events(store).await
}

/// Nobody is told of orders that are gone. What a relay has in hand at this moment it may still publish.
async fn discard_events(store: &Redis) -> Result<(), Box<dyn Error>> {
    let worker = WorkerId::random();
    let lease = Duration::from_mins(1);
    let lanes = store.attend(worker, lease, store.lanes()).await?.lanes;
    loop {
        // What was read is deleted, so it is always read from the beginning.
        let fetched = store
            .fetch(&Fetch {
                worker,
                lanes: lanes.iter().map(|lane| (*lane, 0)).collect(),
                unsettled: Vec::new(),
                keys: Vec::new(),
                limit: 1_000,
            })
            .await?;
        if fetched.events.is_empty() {
            store.release(worker, None).await?;
            return Ok(());
        }
        let lane_of = |index| lanes.iter().find(|lane| lane.index == index).copied();
        let marks = fetched.events.iter().filter_map(|event| {
            Some(Mark {
                lane: lane_of(event.place.lane)?,
                seq: event.place.seq,
                fate: Fate::Sent,
            })
        });
        let marks: Vec<_> = marks.collect();
        store.mark(worker, &marks, SentEvents::Delete).await?;
    }
}
