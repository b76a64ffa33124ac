//! Stores that the chaos runs on: how workers open one, what their consumer writes in it, and what is read of it at the end.

mod postgres;
mod redis;
mod sqlite;

pub(crate) use postgres::Schema;
pub(crate) use redis::Prefix;
pub(crate) use sqlite::File;

use crate::{order::Order, sagas::Shop, world::World};
use sagaz::{
    Engine, EngineBuilder, Event, SagaId,
    outbox::HandlerError,
    store::{InboxStore, OutboxStore, Store},
};
use std::error::Error;

pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// The name of the consumer whose writes are audited.
pub(crate) const CONSUMER: &str = "books";

/// What a consumer wrote for an event: its id, and the event's serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consumed {
    pub(crate) event: String,
    pub(crate) serial: u64,
}

/// A row that a transactional step wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: SagaId,
    pub(crate) row: i64,
    pub(crate) what: String,
}

/// A place that holds a store.
pub(crate) trait Place: Clone + Send + Sync + 'static {
    type Store: Store + OutboxStore + InboxStore + Clone;

    /// Opens it, if it can be reached now.
    fn open(&self) -> impl Future<Output = Result<Self::Store, AnyError>> + Send;

    /// Makes what is there beside the store's own tables: by default nothing.
    fn prepare(&self) -> impl Future<Output = Result<(), AnyError>> + Send {
        async {
            drop(self.open().await?);
            Ok(())
        }
    }

    /// The sagas that run here: by default those that need no transactions.
    fn register(
        &self,
        engine: EngineBuilder<Self::Store>,
        world: &World,
    ) -> EngineBuilder<Self::Store> {
        let world = world.clone();
        engine.register(Shop { world })
    }

    /// Starts an entry, where there are any; elsewhere nobody orders one.
    fn start_entry(
        &self,
        engine: &Engine<Self::Store>,
        order: Order,
    ) -> impl Future<Output = Result<SagaId, sagaz::Error>> + Send {
        async move {
            let start = engine.start::<Shop>(order).key(order.start_key());
            Ok(start.await?.id())
        }
    }

    /// What the consumer writes for an event.
    fn consume(
        &self,
        event: &Event,
        tx: &mut <Self::Store as InboxStore>::Tx,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// All that the consumer wrote.
    fn consumed(&self) -> impl Future<Output = Result<Vec<Consumed>, AnyError>> + Send;

    /// All that transactional steps wrote; `None` where there are none, as by default.
    fn entries(&self) -> impl Future<Output = Result<Option<Vec<Entry>>, AnyError>> + Send {
        async { Ok(None) }
    }
}
