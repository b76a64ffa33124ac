//! What the names of steps and parameters mean.

use super::{Input, Reference, Source};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    print::{last_segment, snake_case},
    settings::{self, Name, SagaSettings},
    similar::similar,
    syntax::{Method, Role, RoleKind, plain},
};
use std::collections::HashMap;
use syn::{FnArg, Pat};

/// What a name can mean.
pub(super) struct Names {
    /// Of the steps, in source order.
    steps: Vec<String>,
    /// By the names of the methods.
    by_name: HashMap<String, usize>,
    /// The name that the saga's input has beside `input`.
    input: Option<String>,
}

impl Names {
    pub(super) fn of(roles: &[(&Method, &Role)], settings: &SagaSettings) -> Self {
        let methods = roles
            .iter()
            .filter(|(_, role)| role.kind == RoleKind::Step)
            .map(|(method, _)| method);
        let steps: Vec<String> = methods.map(|method| method.name()).collect();
        let by_name = steps
            .iter()
            .enumerate()
            .map(|(at, name)| (name.clone(), at))
            .collect();
        let input = settings
            .input
            .as_ref()
            .and_then(last_segment)
            .map(|name| snake_case(&name));
        Self {
            steps,
            by_name,
            input,
        }
    }

    /// The step that the user named; the similar one if there is none, after saying so.
    pub(super) fn resolve(&self, name: &Name, diagnostics: &mut Diagnostics) -> Option<Reference> {
        let mut name = name.clone();
        let step = self.by_name.get(&name.text).copied().or_else(|| {
            let similar = self.similar(&name.text);
            diagnostics.push(self.unknown(&name, similar));
            similar
        })?;
        name.text.clone_from(&self.steps[step]);
        Some(Reference { step, name })
    }

    fn similar(&self, typed: &str) -> Option<usize> {
        similar(typed, self.steps.iter().map(String::as_str)).map(|name| self.by_name[name])
    }

    fn unknown(&self, name: &Name, similar: Option<usize>) -> Diagnostic {
        let diagnostic = Diagnostic::new(name.span, format!("no step is named `{}`", name.text));
        match similar {
            Some(similar) => diagnostic.help(format!(
                "a step with a similar name exists: `{}`",
                self.steps[similar]
            )),
            None => diagnostic.note(self.all()),
        }
    }

    fn all(&self) -> String {
        /// More of them help nobody.
        const SHOWN_MAX: usize = 8;
        let mut names: Vec<_> = self
            .steps
            .iter()
            .take(SHOWN_MAX)
            .map(|name| format!("`{name}`"))
            .collect();
        if self.steps.len() > SHOWN_MAX {
            names.push(format!("and {} more", self.steps.len() - SHOWN_MAX));
        }
        match names.as_slice() {
            [] => "this saga has no steps".to_owned(),
            [name] => format!("the only step is {name}"),
            names => format!("the steps are {}", names.join(", ")),
        }
    }

    /// `named` are the steps that the method's attribute names: one that there is not has been reported, and an input
    /// called like it is no second mistake.
    pub(super) fn inputs<'a>(
        &self,
        method: &'a Method,
        role: &Role,
        named_steps: &[&Name],
        diagnostics: &mut Diagnostics,
    ) -> Vec<Input<'a>> {
        let parameters = method.sig.inputs.iter().zip(&method.from);
        let typed = parameters.filter_map(|(parameter, from)| match parameter {
            FnArg::Receiver(_) => None,
            FnArg::Typed(typed) => Some((typed, from)),
        });
        let mut inputs = Vec::new();
        for (typed, from) in typed {
            let name = match from {
                Some(attribute) => diagnostics.keep(settings::bound_name(attribute)),
                None => diagnostics.keep(named(&typed.pat, method, role.kind)),
            };
            let Some(mut name) = name else { continue };
            if from.is_none() {
                name.text = without_underscore(name.text);
            }
            let is_reported = !self.by_name.contains_key(&name.text)
                && named_steps.iter().any(|named| named.text == name.text);
            let source = if is_reported {
                self.similar(&name.text)
                    .map_or(Source::Unknown, Source::Step)
            } else if from.is_some() {
                self.bound(&name, diagnostics)
            } else {
                self.source(&name, method, role.kind, diagnostics)
            };
            inputs.push(Input {
                name,
                ty: crate::syntax::ungrouped(&typed.ty),
                source,
            });
        }
        inputs
    }

    /// The source of a parameter with `#[from(..)]`.
    fn bound(&self, name: &Name, diagnostics: &mut Diagnostics) -> Source {
        if name.text == "input" {
            return Source::SagaInput;
        }
        self.resolve(name, diagnostics)
            .map_or(Source::Unknown, |reference| Source::Step(reference.step))
    }

    /// The source of a parameter by its name.
    fn source(
        &self,
        name: &Name,
        method: &Method,
        kind: RoleKind,
        diagnostics: &mut Diagnostics,
    ) -> Source {
        match name.text.as_str() {
            "ctx" => return Source::Context,
            "input" => return Source::SagaInput,
            "error" if kind == RoleKind::Recovery => return Source::Error,
            "error" => {
                diagnostics.push(
                    Diagnostic::new(name.span, format!("{} `{}` takes `error`", kind.noun(), method.name()))
                        .note("only a recovery is about an error; a compensation asks `ctx.failure()` why it runs"),
                );
                return Source::Unknown;
            }
            "tx" => {
                diagnostics.push(
                    Diagnostic::new(name.span, "`tx` needs the feature `postgres` of sagaz")
                        .note("a step takes part in the transaction of the saga's store, if that has transactions"),
                );
                return Source::Unknown;
            }
            _ => {}
        }
        if let Some(&step) = self.by_name.get(&name.text) {
            return Source::Step(step);
        }
        if self.input.as_ref() == Some(&name.text) {
            return Source::SagaInput;
        }
        let similar = self.similar(&name.text);
        let input = match &self.input {
            Some(input) => format!("the saga's input is `{input}`"),
            None => "the saga takes no input".to_owned(),
        };
        let diagnostic = Diagnostic::new(
            name.span,
            format!("no step is named `{}`, and {input}", name.text),
        );
        let is_input = self
            .input
            .as_deref()
            .is_some_and(|input| similar_to(&name.text, input));
        diagnostics.push(match (similar, &self.input, self.steps.first()) {
            (Some(similar), ..) => diagnostic.help(format!(
                "a step with a similar name exists: `{}`",
                self.steps[similar]
            )),
            (None, Some(input), _) if is_input => {
                diagnostic.help(format!("the saga's input is called `{input}` or `input`"))
            }
            (None, _, Some(first)) => {
                let example = self
                    .steps
                    .iter()
                    .find(|step| **step != method.name())
                    .unwrap_or(first);
                diagnostic.help(format!(
                    "another name is bound by `#[from(\"{example}\")]` before it"
                ))
            }
            (None, _, None) => diagnostic,
        });
        similar.map_or(Source::Unknown, Source::Step)
    }
}

fn without_underscore(mut name: String) -> String {
    let start = name.len() - name.trim_start_matches('_').len();
    name.drain(..start);
    name
}

fn similar_to(typed: &str, name: &str) -> bool {
    similar(typed, [name]).is_some()
}

fn named(pattern: &Pat, method: &Method, kind: RoleKind) -> Result<Name, Diagnostic> {
    match pattern {
        Pat::Ident(pattern) if pattern.subpat.is_none() && pattern.by_ref.is_none() => Ok(Name {
            text: plain(&pattern.ident),
            span: pattern.ident.span(),
        }),
        pattern => Err(Diagnostic::at(
            pattern,
            format!(
                "an input of {} `{}` has no name",
                kind.noun(),
                method.name()
            ),
        )
        .help("name it after a dependency, and take it apart in the body")),
    }
}
