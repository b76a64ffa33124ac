//! A store that says that everything is stored, and keeps nothing: what is measured is the engine's own.

use sagaz::{
    EngineId, SagaId, System,
    store::{
        Accepted, Backlog, CancelReply, Claim, Claimed, Defined, DefinitionKey, Filter,
        InstanceState, OperatorWrite, Page, Renewal, Retention, SagaStore, Snapshot, StoreError,
        Write, Written,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// See above.
#[derive(Default)]
pub(crate) struct Nowhere {
    /// How often the engine has looked for instances.
    pub(crate) claims: Arc<AtomicU32>,
}

impl System for Nowhere {
    fn system(&self) -> &'static str {
        "nowhere"
    }
}

impl SagaStore for Nowhere {
    async fn write(&self, batch: &[Write]) -> Result<Vec<Written>, StoreError> {
        let written = |write: &Write| match write {
            Write::Accept(_) => Written::Accepted(Accepted::New),
            _ => Written::Stored {
                cancel_requested: false,
            },
        };
        Ok(batch.iter().map(written).collect())
    }

    async fn renew(&self, _: EngineId, _: Duration) -> Result<Renewal, StoreError> {
        Ok(Renewal::default())
    }

    async fn retire(&self, _: EngineId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn define(&self, _: &DefinitionKey) -> Result<Defined, StoreError> {
        Ok(Defined::Stored)
    }

    async fn claim(&self, _: &Claim) -> Result<Claimed, StoreError> {
        self.claims.fetch_add(1, Ordering::SeqCst);
        Ok(Claimed::default())
    }

    async fn load(&self, _: SagaId) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }

    async fn find(&self, _: &str, _: &str) -> Result<Option<SagaId>, StoreError> {
        Ok(None)
    }

    async fn request_cancel(&self, _: SagaId) -> Result<CancelReply, StoreError> {
        Ok(CancelReply::NotFound)
    }

    async fn operate(&self, _: &OperatorWrite) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &Filter) -> Result<Page, StoreError> {
        Ok(Page::default())
    }

    async fn count(&self) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
        Ok(Vec::new())
    }

    async fn archived(&self, _: SagaId) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }

    async fn prune(&self, _: Duration, _: u32, _: Retention) -> Result<u64, StoreError> {
        Ok(0)
    }
}
