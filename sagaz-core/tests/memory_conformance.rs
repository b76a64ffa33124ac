//! The memory store keeps the rules of every store.

use sagaz_core::store::{conformance::Harness, memory::Memory};

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
