//! What was published, and what a consumer made of it: P11.

use super::{Case, Delivery, Finding, Instance, Wrong, expected_events};
use crate::{ledger::What, order::Step};
use sagaz::SagaId;
use std::collections::{BTreeMap, HashMap, HashSet};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = HashSet::new();
    let firsts: Vec<&Delivery> = case
        .evidence
        .deliveries
        .iter()
        .filter(|delivery| seen.insert(&delivery.event))
        .collect();
    check_committed(case, &firsts, &mut findings);
    check_order(case, &firsts, &mut findings);
    check_consumed(case, &firsts, &mut findings);
    check_left(case, &mut findings);
    findings
}

/// One event for each output that is stored, of the attempt that made it, and one for each undo; and no others.
fn check_committed(case: &Case<'_>, firsts: &[&Delivery], findings: &mut Vec<Finding>) {
    let mut told: BTreeMap<(SagaId, Step, bool), Vec<&Delivery>> = BTreeMap::new();
    for delivery in firsts {
        let place = (delivery.id, delivery.step, delivery.undo);
        told.entry(place).or_default().push(delivery);
    }
    let instances: HashMap<SagaId, &Instance> = case
        .evidence
        .instances
        .iter()
        .map(|instance| (instance.id, instance))
        .collect();
    for place @ (id, step, undo) in expected_events(case.evidence) {
        let what = if undo { "undone" } else { "done" };
        let deliveries = told.remove(&place).unwrap_or_default();
        let [delivery] = deliveries[..] else {
            let words = format!(
                "`{step}.{what}` was published as {} events",
                deliveries.len()
            );
            findings.push(Finding::of(Wrong::NotOneEvent, id, words));
            continue;
        };
        let is_of_call = if undo {
            case.course(id).lines.iter().any(|line| {
                line.serial == delivery.serial
                    && matches!(line.what, What::UndoCalled { step: of, .. } if of == step)
            })
        } else {
            let output = instances.get(&id).and_then(|it| it.output(step));
            output.is_some_and(|output| output.serial == delivery.serial)
        };
        if !is_of_call {
            let words = format!(
                "`{step}.{what}` tells of call {}, which is not the attempt that is stored",
                delivery.serial
            );
            findings.push(Finding::of(Wrong::EventOfAnotherAttempt, id, words));
        }
    }
    for ((id, step, undo), deliveries) in told {
        let what = if undo { "undone" } else { "done" };
        let words = format!(
            "`{step}.{what}` was published {} times, and that is not stored",
            deliveries.len()
        );
        findings.push(Finding::of(Wrong::EventOfNothing, id, words));
    }
    for words in &case.evidence.malformed {
        findings.push(Finding::of_all(
            Wrong::Malformed,
            format!("a message is no event: {words}"),
        ));
    }
}

/// The first deliveries of a key are in the order of commits, as far as the ledger proves it: what was committed before the attempt of
/// another event began comes before that.
fn check_order(case: &Case<'_>, firsts: &[&Delivery], findings: &mut Vec<Finding>) {
    let mut keys: BTreeMap<(&str, Option<SagaId>), Vec<&Delivery>> = BTreeMap::new();
    for delivery in firsts {
        let instance = (!case.evidence.ordered_across_instances).then_some(delivery.id);
        let place = (delivery.key.as_str(), instance);
        keys.entry(place).or_default().push(delivery);
    }
    for ((key, _), deliveries) in keys {
        // What comes later in the key, and is known to have been committed first.
        let mut earliest: Option<(u64, &Delivery)> = None;
        for delivery in deliveries.into_iter().rev() {
            if let Some((committed, late)) = earliest
                && committed <= delivery.serial
            {
                let words = format!(
                    "key `{key}`: `{}` of {} was committed by {committed}, and came after `{}`, whose attempt began at {}",
                    late.step, late.id, delivery.step, delivery.serial
                );
                findings.push(Finding::of(Wrong::OutOfOrder, delivery.id, words));
            }
            if let Some(committed) = committed_by(case, delivery)
                && earliest.is_none_or(|(earliest, _)| committed < earliest)
            {
                earliest = Some((committed, delivery));
            }
        }
    }
}

/// The serial of a line that was written only after this event was committed.
fn committed_by(case: &Case<'_>, delivery: &Delivery) -> Option<u64> {
    let course = case.course(delivery.id);
    if delivery.undo {
        let before = delivery.step.dependencies().iter();
        return before.filter_map(|it| course.first_undo_call(*it)).min();
    }
    let dependents = Step::ALL.into_iter();
    let dependents = dependents.filter(|it| it.dependencies().contains(&delivery.step));
    let calls = dependents.filter_map(|it| course.first_call(it));
    calls.chain(course.first_undo_call(delivery.step)).min()
}

/// The consumer wrote something for each event, once.
fn check_consumed(case: &Case<'_>, firsts: &[&Delivery], findings: &mut Vec<Finding>) {
    let mut consumed: HashMap<&str, Vec<u64>> = HashMap::new();
    for one in &case.evidence.consumed {
        consumed.entry(&one.event).or_default().push(one.serial);
    }
    for delivery in firsts {
        let wrote = consumed.remove(delivery.event.as_str()).unwrap_or_default();
        if wrote != [delivery.serial] {
            let words = format!(
                "for event {} (`{}`, call {}) the consumer wrote {wrote:?}",
                delivery.event, delivery.step, delivery.serial
            );
            findings.push(Finding::of(Wrong::NotConsumedOnce, delivery.id, words));
        }
    }
    for (event, wrote) in consumed {
        let words =
            format!("for event {event}, which nobody else got, the consumer wrote {wrote:?}");
        findings.push(Finding::of_all(Wrong::ConsumedUnknown, words));
    }
}

fn check_left(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for words in &case.evidence.dead {
        findings.push(Finding::of_all(
            Wrong::DeadLetter,
            format!("a dead letter: {words}"),
        ));
    }
    let pending = case.evidence.pending;
    if pending > 0 {
        let words = format!("{pending} events wait to be published at the end");
        findings.push(Finding::of_all(Wrong::LeftInOutbox, words));
    }
    for words in &case.evidence.undrained {
        findings.push(Finding::of_all(Wrong::NotDrained, words));
    }
}
