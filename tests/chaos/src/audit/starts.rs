//! What was accepted, and how it ended: P1, P3 and P10.

use super::{Case, Finding, Wrong};
use crate::ledger::What;
use sagaz::{InstanceState, SagaId};
use std::collections::{BTreeMap, HashMap};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_start_once(case, &mut findings);
    check_ends(case, &mut findings);
    check_keys(case, &mut findings);
    findings
}

/// Every order was acknowledged in the end, always with the same instance, and there is no other instance of it.
fn check_start_once(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let evidence = case.evidence;
    let mut of_orders: BTreeMap<u32, Vec<SagaId>> = BTreeMap::new();
    for instance in &evidence.instances {
        let number = instance.order.number;
        of_orders.entry(number).or_default().push(instance.id);
        if evidence.orders.get(&number) != Some(&instance.order) {
            let words = format!("its input is none of the orders: {:?}", instance.order);
            findings.push(Finding::of(Wrong::StrangeInput, instance.id, words));
        }
        if instance.start_key != Some(instance.order.start_key())
            || instance.saga != instance.order.saga.name()
        {
            let (saga, key) = (&instance.saga, &instance.start_key);
            let words = format!("order {number} is under the key {key:?} of the saga `{saga}`");
            findings.push(Finding::of(Wrong::StrangeStartKey, instance.id, words));
        }
    }
    for number in evidence.orders.keys() {
        let instances = of_orders.get(number).map_or(&[][..], Vec::as_slice);
        let accepted = evidence.accepted.get(number).map_or(&[][..], Vec::as_slice);
        if accepted.is_empty() {
            let words = format!("order {number} was never accepted");
            findings.push(Finding::of_all(Wrong::NeverAccepted, words));
        }
        for id in accepted {
            if !instances.contains(id) {
                let words = format!("order {number} was accepted as it, and it is not there");
                findings.push(Finding::of(Wrong::AcceptedAndGone, *id, words));
            }
        }
        if let [first, others @ ..] = instances
            && !others.is_empty()
        {
            let words = format!(
                "order {number} has {} more instances: {others:?}",
                others.len()
            );
            findings.push(Finding::of(Wrong::TwoInstances, *first, words));
        }
    }
}

fn check_ends(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for instance in &case.evidence.instances {
        if !matches!(
            instance.state,
            InstanceState::Completed | InstanceState::RolledBack
        ) {
            let words = format!(
                "order {} is {} at the end",
                instance.order.number, instance.state
            );
            findings.push(Finding::of(Wrong::NotEnded, instance.id, words));
        }
    }
    let states: HashMap<SagaId, InstanceState> = case
        .evidence
        .instances
        .iter()
        .map(|instance| (instance.id, instance.state))
        .collect();
    for (id, course) in &case.courses {
        if !states.contains_key(id) {
            let words = format!(
                "the ledger has {} lines of it, the store nothing",
                course.lines.len()
            );
            findings.push(Finding::of(Wrong::NotStored, *id, words));
        }
        for line in &course.lines {
            if let What::Finished { completed } = line.what {
                let expected = if completed {
                    InstanceState::Completed
                } else {
                    InstanceState::RolledBack
                };
                if let Some(state) = states.get(id)
                    && *state != expected
                {
                    let words =
                        format!("a worker told that it is {expected}, and the store says {state}");
                    findings.push(Finding::of(Wrong::OtherEnd, *id, words));
                }
            }
        }
    }
}

fn check_keys(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for (id, key) in &case.evidence.strange_keys {
        let words = format!("the idempotency key `{key}` changed, or is that of something else");
        findings.push(Finding::of(Wrong::StrangeKey, *id, words));
    }
}
