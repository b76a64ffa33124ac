//! The saga as the rest of the macro sees it: steps, compensations and recoveries, with names resolved to indices.
//!
//! A name that resolves to nothing is reported here, and taken for the similar name if there is one, so that one typo is
//! one error. Not here: whether what the names say makes sense (`check`).

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Place},
    print::{self, kebab_case, last_segment, snake_case},
    settings::{self, CompensationSettings, Name, OnFailure, SagaSettings, StepSettings},
    similar::similar,
    syntax::{ImplBlock, Item, Method, Role, RoleKind, plain},
};
use proc_macro2::{Span, TokenStream};
use std::collections::HashMap;
use syn::{FnArg, Ident, Pat, Type};

pub(crate) struct Saga<'a> {
    pub(crate) block: &'a ImplBlock,
    pub(crate) settings: SagaSettings,
    /// In source order, as everything here.
    pub(crate) steps: Vec<Step<'a>>,
    pub(crate) compensations: Vec<Compensation<'a>>,
    pub(crate) recoveries: Vec<Recovery<'a>>,
}

pub(crate) struct Step<'a> {
    pub(crate) method: &'a Method,
    /// The name of the method, by which others refer to it.
    pub(crate) name: String,
    pub(crate) settings: StepSettings,
    pub(crate) depends_on: Vec<Reference>,
    /// Whether all its dependencies are known; if not, nothing can be said about its ancestors.
    pub(crate) complete: bool,
    pub(crate) inputs: Vec<Input<'a>>,
    /// Indices in [`Saga::compensations`]; more than one is a mistake.
    pub(crate) compensations: Vec<usize>,
    pub(crate) recoveries: Vec<usize>,
}

pub(crate) struct Compensation<'a> {
    pub(crate) method: &'a Method,
    pub(crate) name: String,
    pub(crate) settings: CompensationSettings,
    /// The step that it undoes; `None` if it names none that exists.
    pub(crate) step: Option<Reference>,
    pub(crate) after: Vec<Reference>,
    pub(crate) inputs: Vec<Input<'a>>,
}

pub(crate) struct Recovery<'a> {
    pub(crate) method: &'a Method,
    pub(crate) step: Option<Reference>,
    pub(crate) inputs: Vec<Input<'a>>,
}

/// A step that is named somewhere.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) step: usize,
    pub(crate) name: Name,
}

/// A parameter after `&self`.
pub(crate) struct Input<'a> {
    /// What it is called; for errors.
    pub(crate) name: Name,
    pub(crate) ty: &'a Type,
    pub(crate) source: Source,
}

/// Where an input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Context,
    /// The error that a recovery is about.
    Error,
    SagaInput,
    Step(usize),
    /// Reported already.
    Unknown,
}

/// The parameters that every step can take.
pub(crate) const RESERVED: [&str; 4] = ["ctx", "tx", "error", "input"];

impl<'a> Saga<'a> {
    pub(crate) fn build(
        block: &'a ImplBlock,
        arguments: TokenStream,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut settings = SagaSettings::default();
        settings::read(
            settings::SAGA,
            "a saga",
            &settings::split(arguments),
            &mut settings,
            diagnostics,
        );
        let roles = roles(block, diagnostics);
        let names = Names::of(&roles, &settings);
        let mut saga = Self {
            block,
            settings,
            steps: Vec::new(),
            compensations: Vec::new(),
            recoveries: Vec::new(),
        };
        for (method, role) in &roles {
            match role.kind {
                RoleKind::Step => saga
                    .steps
                    .extend(Step::build(method, role, &names, diagnostics)),
                RoleKind::Compensation => {
                    saga.compensations
                        .push(Compensation::build(method, role, &names, diagnostics));
                }
                RoleKind::Recovery => {
                    saga.recoveries
                        .push(Recovery::build(method, role, &names, diagnostics))
                }
            }
        }
        for (at, compensation) in saga.compensations.iter().enumerate() {
            if let Some(reference) = &compensation.step {
                saga.steps[reference.step].compensations.push(at);
            }
        }
        for (at, recovery) in saga.recoveries.iter().enumerate() {
            if let Some(reference) = &recovery.step {
                saga.steps[reference.step].recoveries.push(at);
            }
        }
        saga
    }

    /// The name in the store.
    pub(crate) fn name(&self) -> String {
        let default = || kebab_case(&last_segment(&self.block.parsed.self_ty).unwrap_or_default());
        self.settings
            .name
            .as_ref()
            .map_or_else(default, |name| name.text.clone())
    }

    /// The first pivot, as an index of `steps`.
    pub(crate) fn pivot(&self) -> Option<usize> {
        self.steps
            .iter()
            .position(|step| step.settings.pivot.is_some())
    }

    /// Why the outcome of a step can be unknown when it is undone; `None` if it cannot.
    pub(crate) fn doubt(&self, step: &Step<'_>) -> Option<String> {
        if step.settings.atomic.is_none() {
            return Some(format!("an error of `{}` may hide an effect", step.name));
        }
        if step.settings.timeout.is_some() {
            return Some(format!("`{}` has a timeout", step.name));
        }
        match self.settings.on_failure {
            OnFailure::FailFast => {
                Some("the saga is `fail_fast`: it drops running steps".to_owned())
            }
            OnFailure::Grace(Some(_)) => {
                Some("the saga drops running steps when its grace period is over".to_owned())
            }
            OnFailure::Grace(None) | OnFailure::Unset | OnFailure::WaitAll => None,
        }
    }
}

/// The methods that are ours, with their first attribute of ours.
fn roles<'a>(block: &'a ImplBlock, diagnostics: &mut Diagnostics) -> Vec<(&'a Method, &'a Role)> {
    let mut roles: Vec<(&Method, &Role)> = Vec::new();
    let mut names: HashMap<String, RoleKind> = HashMap::new();
    for item in &block.items {
        let Item::Method(method) = item else { continue };
        let mut of_method = method.roles.iter();
        let Some(role) = of_method.next() else {
            continue;
        };
        for second in of_method {
            diagnostics.push(second_role(method, role, second));
        }
        // Two methods of one name: rustc says so.
        if names.insert(method.name(), role.kind).is_some() {
            diagnostics.leave_to_rustc();
            continue;
        }
        roles.push((method, role));
    }
    roles
}

fn second_role(method: &Method, first: &Role, second: &Role) -> Diagnostic {
    let name = method.name();
    let (first, kind) = (first.kind, second.kind);
    if first == kind {
        return Diagnostic::at(&second.path, format!("`{name}` is a {} twice", kind.noun()));
    }
    let (one, other) = match (first, kind) {
        (RoleKind::Compensation, RoleKind::Step) => (kind, first),
        _ => (first, kind),
    };
    let diagnostic = Diagnostic::at(
        &second.path,
        format!("`{name}` is both a {} and a {}", one.noun(), other.noun()),
    );
    if [first, kind].contains(&RoleKind::Recovery) {
        diagnostic.note("a recovery runs only when a step after the pivot has used up its retries")
    } else {
        diagnostic.note("a compensation runs only when the saga is undone")
    }
}

/// What a name can mean.
struct Names {
    /// Of the steps, in source order.
    steps: Vec<String>,
    /// By the names of the methods.
    by_name: HashMap<String, usize>,
    /// What `name = ".."` says, for the hint.
    stored: HashMap<String, usize>,
    /// The name that the saga's input has beside `input`.
    input: Option<String>,
}

impl Names {
    fn of(roles: &[(&Method, &Role)], settings: &SagaSettings) -> Self {
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
            stored: HashMap::new(),
            input,
        }
    }

    /// The step that the user named; the similar one if there is none, after saying so.
    fn resolve(&self, name: &Name, diagnostics: &mut Diagnostics) -> Option<Reference> {
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
        let stored = self.stored.get(typed).copied();
        stored.or_else(|| {
            similar(typed, self.steps.iter().map(String::as_str)).map(|name| self.by_name[name])
        })
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

    fn inputs<'a>(
        &self,
        method: &'a Method,
        role: &Role,
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
            let source = if from.is_some() {
                self.bound(&name, diagnostics)
            } else {
                name.text = name.text.trim_start_matches('_').to_owned();
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

impl<'a> Step<'a> {
    fn build(
        method: &'a Method,
        role: &Role,
        names: &Names,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let mut settings = StepSettings::default();
        settings::read(
            settings::STEP,
            "a step",
            &settings::split(role.arguments()),
            &mut settings,
            diagnostics,
        );
        let depends_on: Vec<_> = settings
            .depends_on
            .iter()
            .map(|name| names.resolve(name, diagnostics))
            .collect();
        let complete = depends_on.iter().all(Option::is_some);
        Some(Self {
            method,
            name: method.name(),
            depends_on: depends_on.into_iter().flatten().collect(),
            complete,
            inputs: names.inputs(method, role, diagnostics),
            settings,
            compensations: Vec::new(),
            recoveries: Vec::new(),
        })
    }

    pub(crate) fn ident(&self) -> &Ident {
        &self.method.sig.ident
    }

    /// The name in the store.
    pub(crate) fn stored_name(&self) -> &str {
        self.settings
            .name
            .as_ref()
            .map_or(&self.name, |name| &name.text)
    }

    /// What it returns, in words: the output if it can be told from the type.
    pub(crate) fn output_text(&self) -> String {
        let Some(returns) = self.method.returns() else {
            return "()".to_owned();
        };
        print::tokens(print::first_argument(returns).unwrap_or(returns))
    }
}

impl<'a> Compensation<'a> {
    fn build(
        method: &'a Method,
        role: &Role,
        names: &Names,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let (step, parts) = settings::named_step(role.arguments(), &role.path, diagnostics);
        let mut settings = CompensationSettings::default();
        settings::read(
            settings::COMPENSATION,
            "a compensation",
            &parts,
            &mut settings,
            diagnostics,
        );
        Self {
            method,
            name: method.name(),
            step: step.and_then(|name| names.resolve(&name, diagnostics)),
            after: settings
                .after
                .iter()
                .filter_map(|name| names.resolve(name, diagnostics))
                .collect(),
            inputs: names.inputs(method, role, diagnostics),
            settings,
        }
    }

    /// Where it takes the output of the step that it undoes.
    pub(crate) fn own_output(&self) -> Option<&Input<'a>> {
        let step = self.step.as_ref()?.step;
        self.inputs
            .iter()
            .find(|input| input.source == Source::Step(step))
    }
}

impl<'a> Recovery<'a> {
    fn build(
        method: &'a Method,
        role: &Role,
        names: &Names,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let (step, parts) = settings::named_step(role.arguments(), &role.path, diagnostics);
        for part in parts {
            diagnostics.push(
                Diagnostic::at(
                    &part,
                    format!("`{}` is not a setting of a recovery", print::tokens(&part)),
                )
                .note("a recovery is asked once, when the retries of its step are used up"),
            );
        }
        Self {
            method,
            step: step.and_then(|name| names.resolve(&name, diagnostics)),
            inputs: names.inputs(method, role, diagnostics),
        }
    }
}

impl From<&Name> for Place {
    fn from(name: &Name) -> Self {
        name.span.into()
    }
}

impl From<&Ident> for Place {
    fn from(ident: &Ident) -> Self {
        Span::into(ident.span())
    }
}
