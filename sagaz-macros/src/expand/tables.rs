//! `DEFINITION`: the graph as constants.

use super::types::Names;
use crate::{
    check::graph::{Graph, direct},
    model::{Compensation, Saga, Source, Step},
    print::{self, option},
    settings::{Millis, OnFailure, RetrySettings},
};
use proc_macro2::{Literal, TokenStream};
use quote::quote;

pub(super) fn definition(names: &Names, saga: &Saga<'_>, graph: &Graph) -> TokenStream {
    let krate = &names.krate;
    let settings = &saga.settings;
    let name = saga.name();
    let version = settings.version.unwrap_or(1);
    let accepts = &settings.accepts;
    let on_failure = match settings.on_failure {
        OnFailure::FailFast => quote!(#krate::OnFailure::FailFast),
        OnFailure::Unset => quote!(#krate::OnFailure::Grace(::core::option::Option::None)),
        OnFailure::Grace(bound) => {
            let bound = maybe(bound.map(duration));
            quote!(#krate::OnFailure::Grace(#bound))
        }
        OnFailure::WaitAll => quote!(#krate::OnFailure::WaitAll),
    };
    let deadline = maybe(settings.deadline.map(duration));
    let pivot = maybe(saga.pivot().map(|pivot| number(graph.position[pivot])));
    let edges = Edges::new(saga, graph);
    let steps = graph
        .order
        .iter()
        .map(|&step| self::step(names, saga, graph, &edges, step));
    quote! {
        #krate::Definition {
            name: #name,
            version: #version,
            accepts: &[#(#accepts),*],
            on_failure: #on_failure,
            deadline: #deadline,
            steps: &[#(#steps),*],
            pivot: #pivot,
        }
    }
}

/// The edges in both directions, by positions, each list ascending.
struct Edges {
    depends_on: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    before: Vec<Vec<usize>>,
}

impl Edges {
    fn new(saga: &Saga<'_>, graph: &Graph) -> Self {
        let position = |step: usize| graph.position[step];
        let depends_on: Vec<Vec<usize>> = graph
            .order
            .iter()
            .map(|&step| direct(saga, step).into_iter().map(position).collect())
            .collect();
        let mut after = vec![Vec::new(); saga.steps.len()];
        for undo in &saga.compensations {
            let Some(own) = &undo.step else { continue };
            after[position(own.step)] = undo
                .after
                .iter()
                .map(|reference| position(reference.step))
                .collect();
        }
        let sorted = |mut edges: Vec<Vec<usize>>| {
            for edges in &mut edges {
                edges.sort_unstable();
            }
            edges
        };
        Self {
            dependents: reversed(&depends_on),
            before: reversed(&after),
            depends_on: sorted(depends_on),
            after: sorted(after),
        }
    }
}

/// Ascending, because the nodes are gone through in order.
fn reversed(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut reversed = vec![Vec::new(); edges.len()];
    for (from, to) in edges
        .iter()
        .enumerate()
        .flat_map(|(from, edges)| edges.iter().map(move |&to| (from, to)))
    {
        reversed[to].push(from);
    }
    reversed
}

fn step(names: &Names, saga: &Saga<'_>, graph: &Graph, edges: &Edges, index: usize) -> TokenStream {
    let krate = &names.krate;
    let step = &saga.steps[index];
    let at = graph.position[index];
    let name = step.stored_name();
    let (depends_on, dependents) = (
        numbers(&edges.depends_on[at]),
        numbers(&edges.dependents[at]),
    );
    let kind = match saga.pivot() {
        Some(pivot) if pivot == index => quote!(Pivot),
        Some(pivot) if graph.is_after(index, pivot) => quote!(Retriable),
        _ => quote!(Compensatable),
    };
    // What is not said is as in `StepDefinition::PLAIN`, and not written out: most steps say little.
    let settings = &step.settings;
    let atomic = settings.atomic.map(|_| quote!(atomic: true,));
    let transactional = step
        .is_transactional()
        .then(|| quote!(transactional: true,));
    let timeout = settings.timeout.map(|timeout| {
        let timeout = maybe(Some(duration(timeout)));
        quote!(timeout: #timeout,)
    });
    let retry = settings.retry.map(|settings| {
        let retry = retry(names, settings);
        quote!(retry: #retry,)
    });
    let limit = settings.limit.map(|limit| {
        let limit = maybe(Some(limit));
        quote!(limit: #limit,)
    });
    let undo = step
        .compensations
        .first()
        .map(|&undo| &saga.compensations[undo]);
    let compensation = undo.map(|undo| {
        let undo = maybe(Some(compensation(names, saga, edges, at, step, undo)));
        quote!(compensation: #undo,)
    });
    let no_compensation = settings
        .no_compensation
        .map(|_| quote!(no_compensation: true,));
    let recovery = (!step.recoveries.is_empty()).then(|| quote!(recovery: true,));
    quote! {
        #krate::StepDefinition {
            name: #name,
            depends_on: &[#depends_on],
            dependents: &[#dependents],
            kind: #krate::StepKind::#kind,
            #atomic
            #transactional
            #timeout
            #retry
            #limit
            #compensation
            #no_compensation
            #recovery
            ..#krate::StepDefinition::PLAIN
        }
    }
}

fn compensation(
    names: &Names,
    saga: &Saga<'_>,
    edges: &Edges,
    at: usize,
    step: &Step<'_>,
    undo: &Compensation<'_>,
) -> TokenStream {
    let krate = &names.krate;
    let name = &undo.name;
    let (after, before) = (numbers(&edges.after[at]), numbers(&edges.before[at]));
    let timeout = maybe(undo.settings.timeout.map(duration));
    let retry = undo.settings.retry.map_or_else(
        || quote!(#krate::Retry::COMPENSATION),
        |settings| retry(names, settings),
    );
    let insists = insists(saga, step, undo);
    let transactional = undo.is_transactional();
    quote! {
        #krate::CompensationDefinition {
            name: #name,
            after: &[#after],
            before: &[#before],
            timeout: #timeout,
            retry: #retry,
            insists: #insists,
            transactional: #transactional,
        }
    }
}

/// Whether a compensation takes the output of its step as certain. The generated call asks for exactly the type that goes
/// with the answer, so that the two cannot differ.
pub(super) fn insists(saga: &Saga<'_>, step: &Step<'_>, undo: &Compensation<'_>) -> bool {
    let own = undo.step.as_ref().map(|reference| reference.step);
    let takes = |input: &&crate::model::Input<'_>| {
        matches!(input.source, Source::Step(step) if Some(step) == own)
            && !is_optional(step, input.ty)
    };
    saga.doubt(step).is_none() && undo.inputs.iter().any(|input| takes(&input))
}

/// Whether a parameter of this type takes the output of the step as one that may be missing. Not if the output itself is
/// such an `Option`.
pub(super) fn is_optional(step: &Step<'_>, ty: &syn::Type) -> bool {
    let Some(taken) = option(ty) else {
        return false;
    };
    let output = step.method.returns().and_then(print::output);
    // However the path to `Option` is written.
    output
        .and_then(option)
        .is_none_or(|output| print::tokens(output) != print::tokens(taken))
}

fn retry(names: &Names, settings: RetrySettings) -> TokenStream {
    let krate = &names.krate;
    let attempts = match (settings.forever, settings.attempts) {
        (true, _) => Some(quote!(attempts: ::core::option::Option::None,)),
        (false, attempts) => {
            attempts.map(|attempts| quote!(attempts: ::core::option::Option::Some(#attempts),))
        }
    };
    let initial = settings
        .initial
        .map(duration)
        .map(|initial| quote!(initial: #initial,));
    // A first delay that is longer than the default of `max` is meant.
    let max = match (settings.max, settings.initial) {
        (Some(max), _) => {
            let max = duration(max);
            Some(quote!(max: #max,))
        }
        (None, initial) => initial
            .map(duration)
            .map(|initial| quote!(max: #krate::at_least(#krate::Retry::BACKOFF.max, #initial),)),
    };
    let factor = settings
        .factor
        .map(Literal::f64_suffixed)
        .map(|factor| quote!(factor: #factor,));
    let jitter = settings
        .jitter
        .map(Literal::f64_suffixed)
        .map(|jitter| quote!(jitter: #jitter,));
    quote!(#krate::Retry { #attempts #initial #max #factor #jitter ..#krate::Retry::BACKOFF })
}

fn duration(millis: Millis) -> TokenStream {
    let millis = millis.value;
    quote!(::core::time::Duration::from_millis(#millis))
}

fn maybe(value: Option<impl quote::ToTokens>) -> TokenStream {
    value.map_or_else(
        || quote!(::core::option::Option::None),
        |value| quote!(::core::option::Option::Some(#value)),
    )
}

fn number(index: usize) -> Literal {
    Literal::usize_unsuffixed(index)
}

fn numbers(indices: &[usize]) -> TokenStream {
    let indices = indices.iter().copied().map(number);
    quote!(#(#indices),*)
}
