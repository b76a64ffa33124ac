//! Everything that the audit looks at, read from the store once nothing disturbs it.

use crate::{
    audit::{Instance, Output, StoredStep},
    ledger::millis,
    order::{Kind, Order, Step},
    place::AnyError,
    sagas::{Receipt, Written},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use sagaz::{
    Filter, Snapshot,
    store::{DeadLetterFilter, OutboxStore, SagaStore, Store},
};

/// All instances, with their steps.
pub(crate) async fn instances<S: Store>(store: &S) -> Result<Vec<Instance>, AnyError> {
    let mut instances = Vec::new();
    for saga in [Kind::Order, Kind::Entry] {
        let mut filter = Filter::all().saga(saga.name()).limit(1_000);
        loop {
            let page = SagaStore::list(store, &filter).await?;
            let snapshots: Vec<_> = stream::iter(page.instances)
                .map(async |summary| SagaStore::load(store, summary.id).await)
                .buffer_unordered(4)
                .try_collect()
                .await?;
            for snapshot in snapshots.into_iter().flatten() {
                instances.push(instance(&snapshot)?);
            }
            match page.next {
                Some(next) => filter = filter.after(next),
                None => break,
            }
        }
    }
    Ok(instances)
}

fn instance(snapshot: &Snapshot) -> Result<Instance, AnyError> {
    let order: Order = serde_json::from_slice(&snapshot.input.bytes)?;
    let steps = snapshot.steps.iter().map(|row| {
        let step = Step::parse(&row.name).ok_or_else(|| format!("a step `{}`", row.name))?;
        let output = match &row.output {
            None => None,
            Some(output) if step.is_transactional() => {
                let written: Written = serde_json::from_slice(&output.bytes)?;
                Some(Output {
                    serial: written.serial,
                    row: Some(written.row),
                })
            }
            Some(output) => {
                let receipt: Receipt = serde_json::from_slice(&output.bytes)?;
                Some(Output {
                    serial: receipt.serial,
                    row: None,
                })
            }
        };
        Ok(StoredStep {
            step,
            state: row.state,
            output,
        })
    });
    let summary = &snapshot.summary;
    Ok(Instance {
        id: summary.id,
        start_key: summary.start_key.clone(),
        order,
        saga: summary.definition.saga.clone(),
        state: summary.state,
        updated_ms: millis(summary.updated_at),
        owners: summary.epoch,
        steps: steps.collect::<Result<_, AnyError>>()?,
    })
}

/// Dead letters in words, and how many events wait to be published.
pub(crate) async fn left<S: OutboxStore>(store: &S) -> Result<(Vec<String>, u64), AnyError> {
    let filter = DeadLetterFilter {
        limit: 1_000,
        ..DeadLetterFilter::default()
    };
    let letters = store.dead_letters(&filter).await?.letters;
    let dead = letters.iter().map(|letter| {
        let (kind, event) = (letter.event.event_type(), letter.event.event_id());
        let consumer = letter.consumer.as_deref().unwrap_or("no broker took it");
        format!("{kind} {event} ({consumer}): {}", letter.error)
    });
    let stats = store.outbox_stats().await?;
    Ok((dead.collect(), stats.pending))
}
