//! What the names of steps and parameters mean.

use super::{Input, Reference, Source};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    settings::{self, Name, SagaSettings},
    similar::similar,
    syntax::{ImplBlock, Item, Method, Role, RoleKind, ungrouped},
};
use std::collections::{HashMap, HashSet};
use syn::{FnArg, Pat};

/// What a name can mean.
pub(super) struct Names {
    /// Of the steps, in source order.
    steps: Vec<String>,
    /// By the names of the methods.
    by_name: HashMap<String, usize>,
    /// The name that the saga's input has beside `input`.
    input: Option<String>,
    has_input: bool,
    /// There may be an input, or there may not: nothing is said about names that are no step's.
    is_input_unsure: bool,
    /// Methods without an attribute of ours.
    ordinary: HashSet<String>,
    /// Methods about which rustc says enough: not whole yet, or with an attribute that it does not know.
    excused: HashSet<String>,
}

impl Names {
    pub(super) fn of(
        block: &ImplBlock,
        roles: &[(&Method, &Role)],
        settings: &SagaSettings,
    ) -> Self {
        let (mut ordinary, mut excused) = (HashSet::new(), HashSet::new());
        excused.extend(block.half_typed.iter().flatten().cloned());
        for item in &block.items {
            let Item::Method(method) = item else { continue };
            let is_misspelt = |attribute: &syn::Attribute| {
                let name = attribute.path().segments.last();
                name.is_some_and(|name| {
                    let name = name.ident.to_string();
                    similar(&name, ["step", "compensate", "recover"]).is_some()
                })
            };
            if method.roles.is_empty() {
                let names = if method.attrs().iter().any(is_misspelt) {
                    &mut excused
                } else {
                    &mut ordinary
                };
                names.insert(method.name());
            }
        }
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
        Self {
            steps,
            by_name,
            has_input: settings.input.is_some(),
            is_input_unsure: settings.is_input_unsure,
            input: settings.input_name(),
            ordinary,
            excused,
        }
    }

    /// The step that the user named; the similar one if there is none, after saying so. `own` is the step that names it,
    /// and is not meant.
    pub(super) fn resolve(
        &self,
        name: &Name,
        own: Option<&str>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Reference> {
        let mut name = name.clone();
        if let Some(&step) = self.by_name.get(&name.text) {
            return Some(Reference {
                step,
                name,
                is_repaired: false,
            });
        }
        if self.excused.contains(&name.text) {
            diagnostics.leave_to_rustc();
            return None;
        }
        let similar = self.similar(&name.text, own);
        diagnostics.push(self.unknown(&name, similar));
        let step = similar?;
        name.text.clone_from(&self.steps[step]);
        Some(Reference {
            step,
            name,
            is_repaired: true,
        })
    }

    fn similar(&self, typed: &str, own: Option<&str>) -> Option<usize> {
        let others = self.steps.iter().map(String::as_str);
        similar(typed, others.filter(|name| Some(*name) != own)).map(|name| self.by_name[name])
    }

    fn unknown(&self, name: &Name, similar: Option<usize>) -> Diagnostic {
        if self.ordinary.contains(&name.text) {
            return Diagnostic::new(name.span, format!("`{}` is not a step", name.text))
                .help("put `#[step]` on the method of that name");
        }
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
            if from.is_none() && !self.by_name.contains_key(&name.text) {
                let text = name.text.trim_start_matches('_').to_owned();
                name.text = text;
            }
            let is_reported = !self.by_name.contains_key(&name.text)
                && named_steps.iter().any(|named| named.text == name.text);
            let source = if is_reported {
                self.similar(&name.text, Some(&method.name()))
                    .map_or(Source::Unknown, Source::Step)
            } else if from.is_some() {
                self.bound(&name, diagnostics)
            } else {
                self.source(&name, method, role.kind, diagnostics)
            };
            inputs.push(Input {
                name,
                ty: ungrouped(&typed.ty),
                source,
            });
        }
        inputs
    }

    /// The source of a parameter with `#[from(..)]`.
    fn bound(&self, name: &Name, diagnostics: &mut Diagnostics) -> Source {
        if name.text == "input" || self.input.as_ref() == Some(&name.text) {
            return Source::SagaInput;
        }
        self.resolve(name, None, diagnostics)
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
            "tx" if kind != RoleKind::Recovery => return Source::Transaction,
            "tx" => {
                diagnostics.push(
                    Diagnostic::new(
                        name.span,
                        format!("{} `{}` takes `tx`", kind.noun(), method.name()),
                    )
                    .note("a recovery decides, and writes nothing"),
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
        if self.is_input_unsure || self.excused.contains(&name.text) {
            diagnostics.leave_to_rustc();
            return Source::Unknown;
        }
        let meant = self.similar(&name.text, Some(&method.name()));
        let input = match &self.input {
            Some(input) => format!("the saga's input is `{input}`"),
            None if self.has_input => "the saga's input is called `input`".to_owned(),
            None => "the saga takes no input".to_owned(),
        };
        let diagnostic = Diagnostic::new(
            name.span,
            format!("no step is named `{}`, and {input}", name.text),
        );
        let is_input = self
            .input
            .as_deref()
            .is_some_and(|input| similar(&name.text, [input]).is_some());
        diagnostics.push(match (meant, &self.input, self.steps.first()) {
            (Some(meant), ..) => diagnostic.help(format!(
                "a step with a similar name exists: `{}`",
                self.steps[meant]
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
        meant.map_or(Source::Unknown, Source::Step)
    }
}

fn named(pattern: &Pat, method: &Method, kind: RoleKind) -> Result<Name, Diagnostic> {
    match pattern {
        Pat::Ident(pattern) if pattern.subpat.is_none() && pattern.by_ref.is_none() => {
            Ok(Name::from_ident(&pattern.ident))
        }
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
