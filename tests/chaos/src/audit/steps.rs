//! How each instance went: P2, P4 and P6.

use super::{Case, Course, Finding, Instance, Wrong};
use crate::order::Step;
use sagaz::{InstanceState, StepState};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for instance in &case.evidence.instances {
        let course = case.course(instance.id);
        check_outputs(instance, course, &mut findings);
        check_inputs(instance, course, &mut findings);
        check_final(case, instance, course, &mut findings);
        check_unwinding(instance, course, &mut findings);
        check_pivot(case, instance, course, &mut findings);
    }
    findings
}

/// What is stored came from a call, and a completed instance has all of it.
fn check_outputs(instance: &Instance, course: &Course<'_>, findings: &mut Vec<Finding>) {
    for row in &instance.steps {
        let Some(output) = row.output else {
            continue;
        };
        let step = row.step;
        if !course.calls(step).any(|line| line.serial == output.serial) {
            let words = format!(
                "the output of `{step}` is of call {}, which is none of it",
                output.serial
            );
            findings.push(Finding::of(Wrong::OutputOfNoCall, instance.id, words));
        }
        if !matches!(row.state, StepState::Completed | StepState::Compensated) {
            let words = format!("`{step}` has an output, and is {}", row.state);
            findings.push(Finding::of(Wrong::OutputOfNoEnd, instance.id, words));
        }
    }
    if instance.state != InstanceState::Completed {
        return;
    }
    for step in instance.order.saga.steps() {
        if instance.output(*step).is_none() {
            let words = format!("it is completed, and has no output of `{step}`");
            findings.push(Finding::of(Wrong::NoOutput, instance.id, words));
        }
    }
}

/// A step begins only when the outputs of all its dependencies are stored: so after the calls that made these outputs, and after their
/// effects. The moment of the storing itself is not in the ledger.
fn check_inputs(instance: &Instance, course: &Course<'_>, findings: &mut Vec<Finding>) {
    for step in instance.order.saga.steps() {
        let Some(began) = course.first_call(*step) else {
            continue;
        };
        for before in step.dependencies() {
            let made = instance.output(*before).map(|output| output.serial);
            let done = if before.has_effect_in_ledger() {
                course.first_done(*before)
            } else {
                made
            };
            if made.is_none_or(|made| made > began) || done.is_none_or(|done| done > began) {
                let words = format!(
                    "`{step}` began at {began}, and `{before}`, which it needs, was done at {done:?} and stored with call {made:?}"
                );
                findings.push(Finding::of(Wrong::BeganEarly, instance.id, words));
            }
        }
    }
}

/// A step is not called when its output is stored, as is proved by a call of a step that needs it; nor when unwinding has begun. A
/// process that was stopped between its decision and the call may do so when it goes on: that is what P3 allows.
fn check_final(
    case: &Case<'_>,
    instance: &Instance,
    course: &Course<'_>,
    findings: &mut Vec<Finding>,
) {
    let unwinding = course.first_unwinding();
    let steps = instance.order.saga.steps();
    for step in steps {
        let dependents = steps.iter().filter(|it| it.dependencies().contains(step));
        let stored = dependents.filter_map(|it| course.first_call(*it)).min();
        let over = [stored, unwinding].into_iter().flatten().min();
        let Some(over) = over else {
            continue;
        };
        let late = course.calls(*step).filter(|line| line.serial > over);
        for line in late.filter(|line| !case.evidence.was_stopped(line)) {
            let words = format!(
                "`{step}` was called at {} by process {}, and that was over at {over}",
                line.serial, line.process
            );
            findings.push(Finding::of(Wrong::CalledLate, instance.id, words));
        }
    }
}

/// A step is undone after all that depend on it and were undone; what surely had no effect is not undone.
fn check_unwinding(instance: &Instance, course: &Course<'_>, findings: &mut Vec<Finding>) {
    let steps = instance.order.saga.steps();
    for step in steps {
        let Some(began) = course.first_undo_call(*step) else {
            continue;
        };
        if !step.is_undone() {
            let words = format!("`{step}` has no compensation, and was undone");
            findings.push(Finding::of(
                Wrong::UndoneWithoutCompensation,
                instance.id,
                words,
            ));
        }
        for after in steps.iter().filter(|it| it.dependencies().contains(step)) {
            if course.first_undo_call(*after).is_none() {
                continue;
            }
            let undone = course.first_undone(*after);
            if undone.is_none_or(|undone| undone > began) {
                let words = format!(
                    "the undo of `{step}` began at {began}, and `{after}`, which depends on it, was undone at {undone:?}"
                );
                findings.push(Finding::of(Wrong::UndoneEarly, instance.id, words));
            }
        }
        // After a takeover it counts as one that may have had an effect.
        let had_none = instance.owners == 1
            && (course.first_call(*step).is_none()
                || *step == Step::Charge && instance.order.is_charge_refused());
        if had_none {
            let words = format!("`{step}` surely had no effect, and was undone");
            findings.push(Finding::of(Wrong::UndoneForNothing, instance.id, words));
        }
    }
    for row in &instance.steps {
        let is_compensated = row.state == StepState::Compensated;
        if is_compensated && course.first_undo_call(row.step).is_none() {
            let words = format!("`{}` is compensated, and nobody undid it", row.step);
            findings.push(Finding::of(Wrong::NobodyUndid, instance.id, words));
        }
    }
}

/// What has passed its pivot is completed, and nothing of it is undone.
fn check_pivot(
    case: &Case<'_>,
    instance: &Instance,
    course: &Course<'_>,
    findings: &mut Vec<Finding>,
) {
    let is_past = !case.effects(instance.id, Step::Dispatch).is_empty()
        || course.first_call(Step::Confirm).is_some();
    if is_past && instance.state == InstanceState::RolledBack {
        let words = "its pivot had its effect, and it is rolled back";
        findings.push(Finding::of(Wrong::ReturnedAfterPivot, instance.id, words));
    }
    if let Some(undo) = course.first_unwinding()
        && (is_past || instance.state == InstanceState::Completed)
    {
        let words =
            format!("it is past its pivot or completed, and something was undone at {undo}");
        findings.push(Finding::of(Wrong::UndoneAfterPivot, instance.id, words));
    }
}
