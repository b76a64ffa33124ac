//! A store whose claims are applied at once and answered late, as over a slow network; and that always has news.

use sagaz::{
    EngineId, SagaId, System,
    store::{
        Backlog, CancelReply, Claim, Claimed, Defined, DefinitionKey, Filter, InstanceState,
        OperatorWrite, Page, Renewal, Retention, SagaStore, Snapshot, StoreError, Write, Written,
        memory::Memory,
    },
};
use std::time::Duration;

pub(crate) struct Late(pub(crate) Memory, pub(crate) Duration);

impl System for Late {
    fn system(&self) -> &'static str {
        self.0.system()
    }
}

impl SagaStore for Late {
    async fn write(&self, batch: &[Write]) -> Result<Vec<Written>, StoreError> {
        self.0.write(batch).await
    }

    async fn renew(&self, engine: EngineId, ttl: Duration) -> Result<Renewal, StoreError> {
        self.0.renew(engine, ttl).await
    }

    async fn retire(&self, engine: EngineId) -> Result<(), StoreError> {
        self.0.retire(engine).await
    }

    async fn define(&self, key: &DefinitionKey) -> Result<Defined, StoreError> {
        self.0.define(key).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let claimed = self.0.claim(claim).await;
        tokio::time::sleep(self.1).await;
        claimed
    }

    async fn load(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        self.0.load(id).await
    }

    async fn find(&self, saga: &str, start_key: &str) -> Result<Option<SagaId>, StoreError> {
        self.0.find(saga, start_key).await
    }

    async fn request_cancel(&self, id: SagaId) -> Result<CancelReply, StoreError> {
        self.0.request_cancel(id).await
    }

    async fn operate(&self, write: &OperatorWrite) -> Result<bool, StoreError> {
        self.0.operate(write).await
    }

    async fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        self.0.list(filter).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.0.backlog().await
    }

    async fn count(&self) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
        self.0.count().await
    }

    async fn prune(
        &self,
        age: Duration,
        limit: u32,
        retention: Retention,
    ) -> Result<u64, StoreError> {
        self.0.prune(age, limit, retention).await
    }
    async fn archived(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        self.0.archived(id).await
    }

    async fn news(&self) {}
}
