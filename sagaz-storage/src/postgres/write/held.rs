//! Rows that somebody else holds: which they are, and which they were.

use super::super::{database::Database, row};
use sagaz_core::{
    SagaId,
    store::{StoreError, Write, Written},
};
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// The most held instances that are remembered.
const HELD_MAX: usize = 10_000;

/// Those of the instances that somebody else holds, or a step of them.
const HELD: &str = "WITH free AS MATERIALIZED (
        SELECT id FROM sagaz.saga_instance WHERE id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED
    ), free_step AS MATERIALIZED (
        SELECT instance_id, name FROM sagaz.saga_step WHERE instance_id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED
    )
    SELECT i.id FROM sagaz.saga_instance AS i WHERE i.id = ANY($1) AND (i.id IN (SELECT id FROM free)) IS NOT TRUE
    UNION
    SELECT s.instance_id FROM sagaz.saga_step AS s
    WHERE s.instance_id = ANY($1) AND ((s.instance_id, s.name) IN (SELECT instance_id, name FROM free_step)) IS NOT TRUE";

/// Instances whose rows somebody else held when they were last written.
#[derive(Debug, Default)]
pub(in super::super) struct Held(Mutex<HashSet<SagaId>>);

impl Held {
    pub(super) fn has_one_of(&self, writes: &[Write]) -> bool {
        let held = self.ids();
        !held.is_empty() && writes.iter().any(|write| held.contains(&write.id()))
    }

    pub(super) fn update(&self, writes: &[Write], written: &[Written]) {
        let mut ids = self.ids();
        // One that is never written again is forgotten some day: it costs a look and nothing else.
        if ids.len() > HELD_MAX {
            ids.clear();
        }
        for (write, written) in writes.iter().zip(written) {
            if *written == Written::Busy {
                ids.insert(write.id());
            } else {
                ids.remove(&write.id());
            }
        }
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<SagaId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn held(
    database: &Database,
    writes: &[Write],
) -> Result<HashSet<SagaId>, StoreError> {
    let ids: Vec<Uuid> = writes
        .iter()
        .filter(|write| matches!(write, Write::Progress(_)))
        .map(|write| write.id().as_uuid())
        .collect();
    let query = database.query(HELD).bind(ids);
    database
        .call(&database.writers, async |connection| {
            let rows = query.fetch_all(connection).await?;
            rows.iter().map(|row| row::id(row, "id")).collect()
        })
        .await
}
