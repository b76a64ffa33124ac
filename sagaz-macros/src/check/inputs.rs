//! What steps, compensations and recoveries take.

use super::graph::Graph;
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::{Input, RESERVED, Saga, Source, Step},
};

pub(crate) fn check(saga: &Saga<'_>, graph: &Graph, diagnostics: &mut Diagnostics) {
    check_steps(saga, graph, diagnostics);
    check_compensations(saga, graph, diagnostics);
    check_recoveries(saga, graph, diagnostics);
}

/// No step has the name of a parameter that means something else.
pub(crate) fn check_names(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    let input = saga.settings.input_name();
    for step in &saga.steps {
        let diagnostic = Diagnostic::new(
            step.ident(),
            format!("a step cannot be named `{}`", step.name),
        );
        if RESERVED.contains(&step.name.as_str()) {
            diagnostics.push(
                diagnostic.note(
                    "`ctx`, `tx`, `error` and `input` are parameters that every step can take",
                ),
            );
        } else if input.as_ref() == Some(&step.name) {
            diagnostics.push(diagnostic.note(format!("`{}` is the saga's input", step.name)));
        }
    }
}

/// A step takes outputs of the steps that it depends on, directly or not.
fn check_steps(saga: &Saga<'_>, graph: &Graph, diagnostics: &mut Diagnostics) {
    for (at, step) in saga
        .steps
        .iter()
        .enumerate()
        .filter(|(at, _)| graph.is_complete(*at))
    {
        diagnostics.extend(
            foreign(&step.inputs, |source| graph.is_after(at, source)).map(|(input, source)| {
                let name = &saga.steps[source].name;
                let diagnostic = Diagnostic::new(
                    &input.name,
                    format!(
                        "input `{}` of step `{}` is not the name of a dependency",
                        input.name.text, step.name
                    ),
                );
                if source == at {
                    diagnostic.note("a step has no output before it has run")
                } else if graph.is_after(source, at) {
                    diagnostic.note(format!("`{name}` runs after `{}`", step.name))
                } else {
                    diagnostic.help(format!("write `{}`", with_dependency(step, name)))
                }
            }),
        );
    }
}

/// The attribute with one more dependency.
fn with_dependency(step: &Step<'_>, name: &str) -> String {
    let names = step
        .depends_on
        .iter()
        .map(|reference| reference.name.text.as_str())
        .chain([name]);
    let names: Vec<_> = names.map(|name| format!("\"{name}\"")).collect();
    format!("#[step(depends_on = [{}])]", names.join(", "))
}

/// A compensation takes its own step's output, and outputs of that step's ancestors: they are undone after it.
fn check_compensations(saga: &Saga<'_>, graph: &Graph, diagnostics: &mut Diagnostics) {
    for compensation in &saga.compensations {
        let Some(own) = compensation.step.as_ref().map(|reference| reference.step) else {
            continue;
        };
        if !graph.is_complete(own) {
            continue;
        }
        let undone = &saga.steps[own].name;
        let allowed = |source| source == own || graph.is_after(own, source);
        diagnostics.extend(
            foreign(&compensation.inputs, allowed).map(|(input, source)| {
                let (method, name) = (&compensation.name, &saga.steps[source].name);
                if graph.is_after(source, own) {
                    let message = format!(
                        "`{method}` cannot take `{name}`: it is undone before `{undone}` is"
                    );
                    Diagnostic::new(&input.name, message)
                } else {
                    let message = format!(
                        "`{method}` cannot take `{name}`: `{undone}` does not depend on it"
                    );
                    Diagnostic::new(&input.name, message)
                        .note("it may not have run, or be undone already")
                }
            }),
        );
    }
}

/// A recovery takes what its step takes.
fn check_recoveries(saga: &Saga<'_>, graph: &Graph, diagnostics: &mut Diagnostics) {
    for recovery in &saga.recoveries {
        let Some(own) = recovery.step.as_ref().map(|reference| reference.step) else {
            continue;
        };
        if !graph.is_complete(own) {
            continue;
        }
        diagnostics.extend(
            foreign(&recovery.inputs, |source| graph.is_after(own, source)).map(
                |(input, source)| {
                    let (method, name) = (recovery.method.name(), &saga.steps[source].name);
                    let message = if source == own {
                        format!("`{method}` cannot take `{name}`, the output that it replaces")
                    } else {
                        format!(
                            "`{method}` cannot take `{name}`: `{}` does not depend on it",
                            saga.steps[own].name
                        )
                    };
                    let diagnostic = Diagnostic::new(&input.name, message);
                    if source == own {
                        diagnostic.note("it is asked because that step has no output")
                    } else {
                        diagnostic
                    }
                },
            ),
        );
    }
}

/// Inputs that are outputs of steps which are not `allowed`.
fn foreign<'a, 'b>(
    inputs: &'a [Input<'b>],
    allowed: impl Fn(usize) -> bool + 'a,
) -> impl Iterator<Item = (&'a Input<'b>, usize)> {
    inputs.iter().filter_map(move |input| match input.source {
        Source::Step(step) if !allowed(step) => Some((input, step)),
        _ => None,
    })
}
