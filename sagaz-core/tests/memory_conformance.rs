//! The memory store keeps the rules of every store.

use sagaz_core::store::{
    conformance::{Harness, inbox::InboxHarness, transactions::TransactionHarness},
    memory::{Memory, MemoryTransaction},
};

struct InMemory;

impl Harness for InMemory {
    type Store = Memory;

    async fn open(&self) -> Memory {
        Memory::new()
    }

    async fn second(&self, store: &Memory) -> Memory {
        store.clone()
    }
}

sagaz_core::store_conformance!(InMemory);

impl TransactionHarness for InMemory {
    type Tx = MemoryTransaction;

    async fn put(&self, tx: &mut MemoryTransaction, key: &str) {
        tx.set(key, "1");
    }

    async fn has(&self, store: &Memory, key: &str) -> bool {
        store.value(key).is_some()
    }

    fn settlement_waits(&self) -> bool {
        false
    }
}

sagaz_core::transaction_conformance!(InMemory);

sagaz_core::outbox_conformance!(InMemory);

impl InboxHarness for InMemory {
    async fn put(&self, tx: &mut MemoryTransaction, key: &str) {
        tx.set(key, "1");
    }

    async fn has(&self, store: &Memory, key: &str) -> bool {
        store.value(key).is_some()
    }
}

sagaz_core::inbox_conformance!(InMemory);
