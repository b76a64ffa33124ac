//! Whether the books balance: what the store says of the instances, beside what the ledger says of the world.

use crate::{
    ledger::Ledger,
    worker::{Buy, Purchase, Receipt, STEPS, purchases},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use sagaz::{Filter, InstanceState, Saga, Snapshot, StepState, store::Store};
use std::collections::BTreeMap;

/// Every purchase has one instance, which ended; the effects in force are those of the completed ones, once each; no step ran
/// again after its output was stored.
pub(crate) async fn audit<S: Store>(store: &S, ledger: &Ledger, count: u32) {
    let last_calls = ledger.last_calls().await;
    let (mut completed, mut rolled_back) = (Vec::new(), 0);
    for instance in instances::<Buy>(store).await {
        let purchase: Purchase = serde_json::from_slice(&instance.input.bytes).unwrap();
        match instance.summary.state {
            InstanceState::Completed => completed.push(purchase.number),
            InstanceState::RolledBack => rolled_back += 1,
            state => panic!("instance {} is {state}", instance.summary.id),
        }
        check_steps(&instance, &last_calls);
    }
    completed.sort_unstable();
    assert_eq!(
        completed.len() + rolled_back,
        count as usize,
        "one instance a start key"
    );
    assert!(
        completed.len() > count as usize / 2 && rolled_back > count as usize / 20,
        "{} completed, {rolled_back} rolled back",
        completed.len()
    );
    for step in STEPS {
        let in_force = ledger.in_force(step).await;
        let in_force: Vec<u32> = in_force.into_iter().map(|(number, _)| number).collect();
        assert_eq!(
            in_force, completed,
            "the effects of `{step}` are those of the completed purchases, once each"
        );
    }
    let captured = ledger.in_force("charge").await;
    let captured: i64 = captured.into_iter().map(|(_, cents)| cents).sum();
    let owed = purchases(count).filter(|it| completed.binary_search(&it.number).is_ok());
    let owed: i64 = owed.map(|it| it.cents).sum();
    assert_eq!(captured, owed, "to the cent");
    assert_eq!(
        ledger.called_out_of_order().await,
        [],
        "P2: a step was called after one that had needed its stored output"
    );
}

fn check_steps(instance: &Snapshot, last_calls: &BTreeMap<String, i64>) {
    let id = instance.summary.id;
    if instance.summary.state == InstanceState::Completed {
        let stored = instance.steps.iter().filter(|row| row.output.is_some());
        let mut stored: Vec<&str> = stored.map(|row| row.name.as_str()).collect();
        stored.sort_unstable();
        let mut all = STEPS;
        all.sort_unstable();
        assert_eq!(stored, all, "P2: an output of {id} was stored, and is gone");
    }
    for row in &instance.steps {
        let is_known = STEPS.contains(&row.name.as_str());
        let Some(output) = row.output.as_ref().filter(|_| is_known) else {
            continue;
        };
        let receipt: Receipt = serde_json::from_slice(&output.bytes).unwrap();
        let last = last_calls[&format!("{id}/{}", row.name)];
        assert_eq!(
            receipt.serial, last,
            "P2: step {} of {id} ran again after it was stored",
            row.name
        );
        assert!(
            [StepState::Completed, StepState::Compensated].contains(&row.state),
            "step {} of {id} is {}",
            row.name,
            row.state
        );
    }
}

/// All of them, with their steps.
pub(crate) async fn instances<G: Saga>(store: &impl Store) -> Vec<Snapshot> {
    let mut filter = Filter::all().saga(G::DEFINITION.name).limit(1_000);
    let mut instances = Vec::new();
    loop {
        let page = store.list(&filter).await.unwrap();
        let snapshots = stream::iter(page.instances)
            .map(async |summary| store.load(summary.id).await)
            .buffer_unordered(4)
            .try_collect::<Vec<_>>();
        instances.extend(snapshots.await.unwrap().into_iter().flatten());
        match page.next {
            Some(next) => filter = filter.after(next),
            None => return instances,
        }
    }
}
