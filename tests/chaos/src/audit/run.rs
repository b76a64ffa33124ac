//! Whether the run shows anything: that there were orders, events, takeovers and faults, and that workers ended as they were told.

use super::{Case, Finding, Wrong};
use crate::ledger::What;
use sagaz::InstanceState;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_workers(case, &mut findings);
    check_load(case, &mut findings);
    check_faults(case, &mut findings);
    findings
}

fn check_workers(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for words in &case.evidence.died {
        findings.push(Finding::of_all(Wrong::WorkerDied, words));
    }
    for words in &case.evidence.ended_badly {
        findings.push(Finding::of_all(Wrong::WorkerEndedBadly, words));
    }
}

fn check_load(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let evidence = case.evidence;
    let mut instances = evidence.instances.iter();
    if !instances.any(|it| it.state == InstanceState::Completed) {
        let words = "no instance completed, so nothing was shown";
        findings.push(Finding::of_all(Wrong::NothingCompleted, words));
    }
    if evidence.deliveries.is_empty() {
        let words = "no event came, so nothing was shown";
        findings.push(Finding::of_all(Wrong::NothingPublished, words));
    }
    let mut lines = evidence.lines.iter();
    if !lines.any(|line| line.what == What::Claimed { taken_over: true }) {
        let words = "no instance was taken over, so nothing was shown";
        findings.push(Finding::of_all(Wrong::NothingTakenOver, words));
    }
}

fn check_faults(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let evidence = case.evidence;
    if evidence.carried_out.is_empty() {
        let words = "no fault took place, so nothing was shown";
        findings.push(Finding::of_all(Wrong::NothingDisturbed, words));
    }
    for kind in evidence.planned.difference(&evidence.carried_out) {
        let words = format!("`{kind}` was planned, and never took place");
        findings.push(Finding::of_all(Wrong::FaultMissed, words));
    }
}
