//! Whether the books balance: the effects in force are those of the completed instances, once each, to the cent; and what transactional
//! steps wrote is there exactly once.

use super::{Case, Finding, Instance, Wrong};
use crate::{
    ledger::Booking,
    order::{Kind, Step},
};
use sagaz::{InstanceState, SagaId, StepState};
use std::collections::{BTreeMap, HashSet};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for instance in &case.evidence.instances {
        if instance.order.saga == Kind::Order {
            check_instance(case, instance, &mut findings);
        }
    }
    check_totals(case, &mut findings);
    check_entries(case, &mut findings);
    findings
}

fn check_instance(case: &Case<'_>, instance: &Instance, findings: &mut Vec<Finding>) {
    let completed = instance.state == InstanceState::Completed;
    for step in instance.order.saga.steps() {
        let effects = case.effects(instance.id, *step);
        let in_force = effects.iter().any(|effect| !effect.undone);
        if in_force != completed {
            let (wrong, is) = if in_force {
                (Wrong::EffectLeft, "is")
            } else {
                (Wrong::EffectLost, "is not")
            };
            let words = format!(
                "the effect of `{step}` {is} in force, and it is {}",
                instance.state
            );
            findings.push(Finding::of(wrong, instance.id, words));
        }
        if effects.len() > 1 {
            let words = format!("`{step}` had its effect {} times", effects.len());
            findings.push(Finding::of(Wrong::EffectTwice, instance.id, words));
        }
        let (cents, pieces) = (instance.order.cents, instance.order.pieces);
        for effect in effects {
            if (effect.cents, effect.pieces) != (cents, pieces) {
                let words = format!("`{step}` booked {effect:?} for {:?}", instance.order);
                findings.push(Finding::of(Wrong::AmountDiffers, instance.id, words));
            }
        }
    }
}

/// What a step's participant has, in all: money, goods, shipments.
fn check_totals(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let known: HashSet<SagaId> = case.evidence.instances.iter().map(|it| it.id).collect();
    let owed = case
        .evidence
        .instances
        .iter()
        .filter(|it| it.order.saga == Kind::Order && it.state == InstanceState::Completed);
    let owed = owed.fold((0, 0_i64, 0_u64), |(count, cents, pieces), it| {
        let order = &it.order;
        (
            count + 1,
            cents + order.cents,
            pieces + u64::from(order.pieces),
        )
    });
    for step in Kind::Order.steps() {
        let booked = case.evidence.books.values();
        let booked = booked.filter(|booking| booking.step == *step && !booking.undone);
        let booked = booked.fold((0, 0_i64, 0_u64), |(count, cents, pieces), it| {
            (count + 1, cents + it.cents, pieces + u64::from(it.pieces))
        });
        if booked != owed {
            let words = format!(
                "`{step}`: in force are {booked:?} (effects, cents, pieces), and the completed orders are {owed:?}"
            );
            findings.push(Finding::of_all(Wrong::TotalDiffers, words));
        }
    }
    for Booking { id, step, .. } in case.evidence.books.values() {
        if !known.contains(id) {
            let words = format!("`{step}` was done for it, and there is no such instance");
            findings.push(Finding::of(Wrong::EffectForNobody, *id, words));
        }
    }
}

fn check_entries(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some(entries) = &case.evidence.entries else {
        return;
    };
    let mut of_instances: BTreeMap<SagaId, Vec<(String, i64)>> = BTreeMap::new();
    for entry in entries {
        let rows = of_instances.entry(entry.id).or_default();
        rows.push((entry.what.clone(), entry.row));
    }
    let instances = case.evidence.instances.iter();
    for instance in instances.filter(|it| it.order.saga == Kind::Entry) {
        let rows = of_instances.remove(&instance.id).unwrap_or_default();
        if !are_as_stored(instance, &rows) {
            let words = format!(
                "it is {}, with the steps {:?}, and its transactions wrote {rows:?}",
                instance.state, instance.steps
            );
            findings.push(Finding::of(Wrong::RowsDiffer, instance.id, words));
        }
    }
    for (id, rows) in of_instances {
        let words = format!("its transactions wrote {rows:?}, and there is no such entry");
        findings.push(Finding::of(Wrong::RowsForNobody, id, words));
    }
}

/// Whether the rows are those of the outputs that are stored, in the order of the steps; and behind them, of what is rolled back, a
/// reversal of each, in the opposite order.
fn are_as_stored(instance: &Instance, rows: &[(String, i64)]) -> bool {
    let stored: Vec<(Step, i64)> = instance
        .order
        .saga
        .steps()
        .iter()
        .filter_map(|step| Some((*step, instance.output(*step)?.row?)))
        .collect();
    let is_undone = |step: Step| {
        let mut rows = instance.steps.iter().filter(|row| row.step == step);
        instance.state == InstanceState::RolledBack
            || rows.any(|row| row.state == StepState::Compensated)
    };
    let undone = stored.iter().rev().filter(|(step, _)| is_undone(*step));
    let expected = stored
        .iter()
        .map(|(step, row)| (step.to_string(), Some(*row)));
    // The row of a reversal is in no output.
    let expected = expected.chain(undone.map(|(step, _)| (format!("{step}.undone"), None)));
    let expected: Vec<(String, Option<i64>)> = expected.collect();
    expected.len() == rows.len()
        && expected
            .iter()
            .zip(rows)
            .all(|((step, stored), (what, row))| {
                step == what && stored.is_none_or(|stored| stored == *row)
            })
}
