//! The saga as the rest of the macro sees it: steps, compensations and recoveries, with names resolved to indices.
//!
//! A name that resolves to nothing is reported here, and taken for the similar name if there is one, so that one typo is
//! one error. Not here: whether what the names say makes sense (`check`).

mod names;

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Place},
    print::{self, kebab_case, last_segment},
    settings::{self, CompensationSettings, Name, OnFailure, SagaSettings, StepSettings},
    syntax::{ImplBlock, Item, Method, Role, RoleKind},
};
use names::Names;
use proc_macro2::{Span, TokenStream};
use std::collections::HashMap;
use syn::{Ident, Type};

pub(crate) struct Saga<'a> {
    pub(crate) block: &'a ImplBlock,
    pub(crate) settings: SagaSettings,
    /// Compensations of which nobody knows what they undo: as many steps may only seem to have none.
    pub(crate) lost_compensations: usize,
    /// In source order, as everything here.
    pub(crate) steps: Vec<Step<'a>>,
    pub(crate) compensations: Vec<Compensation<'a>>,
    pub(crate) recoveries: Vec<Recovery<'a>>,
}

pub(crate) struct Step<'a> {
    pub(crate) method: &'a Method,
    /// Its index in [`Saga::steps`].
    pub(crate) at: usize,
    /// The name of the method, by which others refer to it.
    pub(crate) name: String,
    pub(crate) settings: StepSettings,
    pub(crate) depends_on: Vec<Reference>,
    /// Whether all its dependencies are known; if not, nothing can be said about its ancestors.
    pub(crate) complete: bool,
    /// Whether all that is written about it was understood; if not, what is missing may be among the rest.
    pub(crate) is_sure: bool,
    pub(crate) inputs: Vec<Input<'a>>,
    /// What it returns, in words: the output if it can be told from the type.
    pub(crate) output_text: String,
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
    /// There is no step of the name that was written; this one is similar. What is wrong with it is no second mistake.
    pub(crate) is_repaired: bool,
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
    /// The transaction that the method writes in.
    Transaction,
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
        let reading = settings::read(
            settings::SAGA,
            "a saga",
            &settings::split(arguments),
            &mut settings,
            diagnostics,
        );
        settings.is_input_unsure |= !reading.is_whole && settings.input.is_none();
        let (roles, lost_compensations) = roles(block, diagnostics);
        let names = Names::of(block, &roles, &settings);
        let mut saga = Self {
            block,
            settings,
            lost_compensations,
            steps: Vec::new(),
            compensations: Vec::new(),
            recoveries: Vec::new(),
        };
        for (method, role) in &roles {
            match role.kind {
                RoleKind::Step => {
                    let at = saga.steps.len();
                    saga.steps
                        .push(Step::build(at, method, role, &names, diagnostics));
                }
                RoleKind::Compensation => {
                    saga.compensations
                        .push(Compensation::build(method, role, &names, diagnostics));
                }
                RoleKind::Recovery => {
                    saga.recoveries
                        .push(Recovery::build(method, role, &names, diagnostics));
                }
            }
        }
        // Those first whose step is sure: one that was taken for its step is no second one.
        for is_repaired in [false, true] {
            for (at, compensation) in saga.compensations.iter().enumerate() {
                let Some(reference) = &compensation.step else {
                    saga.lost_compensations += usize::from(is_repaired);
                    continue;
                };
                let of_step = &mut saga.steps[reference.step].compensations;
                if reference.is_repaired != is_repaired {
                    continue;
                }
                if is_repaired && !of_step.is_empty() {
                    saga.lost_compensations += 1;
                } else {
                    of_step.push(at);
                }
            }
        }
        for (at, recovery) in saga.recoveries.iter().enumerate() {
            if let Some(reference) = &recovery.step
                && !reference.is_repaired
            {
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
        if step.is_transactional() {
            // Rolled back, whatever ended it.
            return None;
        }
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
/// Also how many compensations are among those that are left out.
fn roles<'a>(
    block: &'a ImplBlock,
    diagnostics: &mut Diagnostics,
) -> (Vec<(&'a Method, &'a Role)>, usize) {
    let mut lost_compensations = 0;
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
            lost_compensations += usize::from(second.kind == RoleKind::Compensation);
        }
        // Two methods of one name: rustc says so.
        if names.insert(method.name(), role.kind).is_some() {
            diagnostics.leave_to_rustc();
            lost_compensations += usize::from(role.kind == RoleKind::Compensation);
            continue;
        }
        roles.push((method, role));
    }
    (roles, lost_compensations)
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

impl<'a> Step<'a> {
    fn build(
        at: usize,
        method: &'a Method,
        role: &Role,
        names: &Names,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut settings = StepSettings::default();
        let reading = settings::read(
            settings::STEP,
            "a step",
            &settings::split(role.arguments()),
            &mut settings,
            diagnostics,
        );
        let depends_on: Vec<_> = settings
            .depends_on
            .iter()
            .map(|name| names.resolve(name, Some(&method.name()), diagnostics))
            .collect();
        settings.event.is_there |= !reading.is_known;
        let is_sure = reading.is_known && method.roles.len() == 1;
        let complete =
            is_sure && !settings.are_dependencies_unsure && depends_on.iter().all(Option::is_some);
        let dependencies: Vec<_> = settings.depends_on.iter().collect();
        Self {
            method,
            at,
            name: method.name(),
            depends_on: depends_on.into_iter().flatten().collect(),
            complete,
            is_sure,
            inputs: names.inputs(method, role, &dependencies, diagnostics),
            output_text: method.returns().map_or_else(
                || "()".to_owned(),
                |returns| print::tokens(print::output(returns).unwrap_or(returns)),
            ),
            settings,
            compensations: Vec::new(),
            recoveries: Vec::new(),
        }
    }

    pub(crate) fn ident(&self) -> &Ident {
        &self.method.sig.ident
    }

    /// Whether it commits together with its output.
    pub(crate) fn is_transactional(&self) -> bool {
        takes_transaction(&self.inputs)
    }

    /// The name in the store.
    pub(crate) fn stored_name(&self) -> &str {
        self.settings
            .name
            .as_ref()
            .map_or(&self.name, |name| &name.text)
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
        let reading = settings::read(
            settings::COMPENSATION,
            "a compensation",
            &parts,
            &mut settings,
            diagnostics,
        );
        settings.event.is_there |= !reading.is_known;
        Self {
            method,
            name: method.name(),
            step: step
                .as_ref()
                .and_then(|name| names.resolve(name, None, diagnostics)),
            after: settings
                .after
                .iter()
                .filter_map(|name| names.resolve(name, None, diagnostics))
                .collect(),
            inputs: names.inputs(
                method,
                role,
                &step.iter().chain(&settings.after).collect::<Vec<_>>(),
                diagnostics,
            ),
            settings,
        }
    }

    /// Whether it commits together with its record.
    pub(crate) fn is_transactional(&self) -> bool {
        takes_transaction(&self.inputs)
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
            step: step
                .as_ref()
                .and_then(|name| names.resolve(name, None, diagnostics)),
            inputs: names.inputs(method, role, &step.iter().collect::<Vec<_>>(), diagnostics),
        }
    }
}

fn takes_transaction(inputs: &[Input<'_>]) -> bool {
    inputs
        .iter()
        .any(|input| input.source == Source::Transaction)
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
