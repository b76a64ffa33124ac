//! The pivot: before it, steps are undone; after it, they are retried.

use super::{compensation, graph::Graph};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::Saga,
};

pub(crate) fn check(saga: &Saga<'_>, graph: &Graph, diagnostics: &mut Diagnostics) {
    check_recoveries(saga, graph, diagnostics);
    let Some(pivot) = saga.pivot() else { return };
    if saga.steps[pivot + 1..]
        .iter()
        .all(|step| step.settings.pivot.is_none())
    {
        check_beside(saga, graph, pivot, diagnostics);
        check_before(saga, graph, pivot, diagnostics);
        check_retried(saga, graph, pivot, diagnostics);
        check_never_undone(saga, graph, pivot, diagnostics);
    }
}

/// A saga has one point of no return.
pub(crate) fn check_single(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    let Some(pivot) = saga.pivot() else { return };
    let first = &saga.steps[pivot];
    for step in &saga.steps[pivot + 1..] {
        if let (Some(setting), Some(first_setting)) = (step.settings.pivot, first.settings.pivot) {
            diagnostics.push(
                Diagnostic::new(setting, format!("`{}` is a second pivot", step.name))
                    .and(first_setting, format!("`{}` is the first", first.name)),
            );
        }
    }
}

/// Every other step is before or after the pivot.
fn check_beside(saga: &Saga<'_>, graph: &Graph, pivot: usize, diagnostics: &mut Diagnostics) {
    if !saga.steps.iter().all(|step| step.complete) {
        return;
    }
    for (at, step) in saga.steps.iter().enumerate() {
        if at != pivot && !graph.are_ordered(at, pivot) {
            let pivot = &saga.steps[pivot].name;
            diagnostics.push(
                Diagnostic::new(step.ident(), format!("step `{}` is neither before nor after the pivot `{pivot}`", step.name))
                    .note("it may be running when the pivot is done, and then nobody can say whether to undo it"),
            );
        }
    }
}

/// What comes before the pivot can be undone.
fn check_before(saga: &Saga<'_>, graph: &Graph, pivot: usize, diagnostics: &mut Diagnostics) {
    let mut forgotten = Vec::new();
    for (at, step) in saga.steps.iter().enumerate() {
        let undone = step.settings.no_compensation.is_some() || !step.compensations.is_empty();
        if graph.is_after(pivot, at) && !undone && step.is_sure {
            forgotten.push(
                Diagnostic::new(
                    step.ident(),
                    format!(
                        "step `{}` comes before the pivot and has no compensation",
                        step.name
                    ),
                )
                .note(format!(
                    "if `{}` fails, everything before it is undone",
                    saga.steps[pivot].name
                ))
                .help(compensation::help(&step.name)),
            );
        }
    }
    compensation::push_unless_lost(saga, forgotten, diagnostics);
}

/// The pivot, and what comes after it, can only be tried again, and so says how. A transactional pivot that fails is rolled
/// back, and so is never in doubt.
fn check_retried(saga: &Saga<'_>, graph: &Graph, pivot: usize, diagnostics: &mut Diagnostics) {
    for (at, step) in saga
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.settings.retry.is_none() && step.is_sure)
    {
        let message = if at == pivot && step.is_transactional() {
            continue;
        } else if at == pivot {
            format!("step `{}` is the pivot and is not retried", step.name)
        } else if graph.is_after(at, pivot) {
            format!(
                "step `{}` comes after the pivot and is not retried",
                step.name
            )
        } else {
            continue;
        };
        diagnostics.push(Diagnostic::new(step.ident(), message).help("add `retry(..)`"));
    }
}

/// From the pivot on, nothing is undone.
fn check_never_undone(saga: &Saga<'_>, graph: &Graph, pivot: usize, diagnostics: &mut Diagnostics) {
    for undo in &saga.compensations {
        let Some(reference) = undo.step.as_ref().filter(|step| !step.is_repaired) else {
            continue;
        };
        let (step, pivot_name) = (&saga.steps[reference.step].name, &saga.steps[pivot].name);
        let why = if reference.step == pivot {
            format!("`{step}` is the pivot; from there on a saga is no longer undone")
        } else if graph.is_after(reference.step, pivot) {
            format!(
                "`{step}` comes after the pivot `{pivot_name}`; from there on a saga is no longer undone"
            )
        } else {
            continue;
        };
        diagnostics.push(
            Diagnostic::new(&reference.name, format!("`{}` can never run", undo.name)).note(why),
        );
    }
}

/// A recovery is for a step after the pivot, one for each.
fn check_recoveries(saga: &Saga<'_>, graph: &Graph, diagnostics: &mut Diagnostics) {
    for (at, step) in saga.steps.iter().enumerate() {
        for (nth, &recovery) in step.recoveries.iter().enumerate() {
            let Some(reference) = &saga.recoveries[recovery].step else {
                continue;
            };
            let message = match saga.pivot() {
                _ if nth > 0 => format!("`{}` has two recoveries", step.name),
                None => format!(
                    "a failure of `{}` is undone: this saga has no pivot",
                    step.name
                ),
                Some(pivot) if pivot == at => format!(
                    "`{}` is the pivot, which is settled by an operator",
                    step.name
                ),
                Some(pivot) if graph.is_after(pivot, at) => {
                    format!(
                        "`{}` comes before the pivot, where a failure is undone",
                        step.name
                    )
                }
                Some(_) => continue,
            };
            diagnostics.push(Diagnostic::new(&reference.name, message));
        }
    }
}
