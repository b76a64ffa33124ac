//! What is undone, and how.

use super::graph::Graph;
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::Saga,
    print::option,
};

/// What can be told without an order of the steps.
pub(crate) fn check_each(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    check_single(saga, diagnostics);
    check_no_compensation(saga, diagnostics);
    check_atomic_timeout(saga, diagnostics);
}

/// A step is undone in one way.
fn check_single(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    for step in &saga.steps {
        let [first, others @ ..] = step.compensations.as_slice() else {
            continue;
        };
        if others.is_empty() {
            continue;
        }
        let place = |at: usize| {
            saga.compensations[at]
                .step
                .as_ref()
                .map(|reference| &reference.name)
        };
        let Some(place_of_first) = place(*first) else {
            continue;
        };
        let mut diagnostic = Diagnostic::new(
            place_of_first,
            format!("step `{}` has two compensations", step.name),
        )
        .help(format!(
            "undo all of it in `{}`, or split the step in two",
            saga.compensations[*first].name
        ));
        for &other in others {
            if let Some(place) = place(other) {
                diagnostic = diagnostic.and(
                    place,
                    format!("`{}` is another", saga.compensations[other].name),
                );
            }
        }
        diagnostics.push(diagnostic);
    }
}

/// A step that says `no_compensation` has none.
fn check_no_compensation(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    for step in &saga.steps {
        if let (Some(setting), Some(&undo)) =
            (step.settings.no_compensation, step.compensations.first())
            && saga.compensations[undo]
                .step
                .as_ref()
                .is_some_and(|reference| !reference.is_repaired)
        {
            let message = format!("step `{}` says `no_compensation` and has one", step.name);
            diagnostics.push(
                Diagnostic::new(setting, message)
                    .and(&saga.compensations[undo].method.sig.ident, "here"),
            );
        }
    }
}

/// In a saga without a pivot, every step has a compensation or says that it needs none. Exempt is only the sole last step,
/// if its outcome cannot be unknown: when it fails, nothing of it is left to undo, and nothing can fail after it.
pub(crate) fn check_forgotten(saga: &Saga<'_>, graph: &Graph, diagnostics: &mut Diagnostics) {
    if saga.pivot().is_some() {
        return;
    }
    let mut forgotten = Vec::new();
    let all = 0..saga.steps.len();
    for (at, step) in saga.steps.iter().enumerate() {
        if step.settings.no_compensation.is_some()
            || !step.compensations.is_empty()
            || !step.is_sure
        {
            continue;
        }
        let later = all.clone().find(|&other| graph.is_after(other, at));
        let beside = |&other: &usize| other != at && !graph.is_after(at, other);
        let message = match later.or_else(|| all.clone().find(beside)) {
            Some(other) => format!(
                "step `{}` has no compensation, and `{}` can fail after it",
                step.name, saga.steps[other].name
            ),
            None if saga.doubt(step).is_some() => format!(
                "step `{}` has no compensation, and its outcome can be unknown",
                step.name
            ),
            None => continue,
        };
        forgotten.push(Diagnostic::new(step.ident(), message).help(help(&step.name)));
    }
    push_unless_lost(saga, forgotten, diagnostics);
}

/// How a compensation is written or waived.
pub(super) fn help(step: &str) -> String {
    format!(
        "add `#[compensate(\"{step}\")]`, or write `#[step(no_compensation)]` if there is nothing to undo"
    )
}

/// A compensation that names no step may be the one that seems to be missing: only if more are missing than were lost, some
/// surely are.
pub(super) fn push_unless_lost(
    saga: &Saga<'_>,
    forgotten: Vec<Diagnostic>,
    diagnostics: &mut Diagnostics,
) {
    if forgotten.len() > saga.lost_compensations {
        diagnostics.extend(forgotten);
    }
}

/// `atomic` speaks of errors; a timeout is none, so it cannot promise an output to the compensation.
fn check_atomic_timeout(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    for compensation in &saga.compensations {
        let Some(step) = compensation
            .step
            .as_ref()
            .map(|reference| &saga.steps[reference.step])
        else {
            continue;
        };
        let insists = !step.is_transactional()
            && compensation
                .own_output()
                .is_some_and(|input| option(input.ty).is_none());
        if let (true, Some(_), Some(timeout)) =
            (insists, step.settings.atomic, step.settings.timeout)
        {
            let message = format!(
                "a timeout leaves the outcome of `{}` unknown, `atomic` or not",
                step.name
            );
            let help = format!(
                "take `{}: Option<..>` in `{}`, or remove the timeout",
                step.name, compensation.name
            );
            diagnostics.push(Diagnostic::new(timeout.span, message).help(help));
        }
    }
}
