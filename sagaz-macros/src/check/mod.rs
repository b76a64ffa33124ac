//! The rules of a saga, one function each, with the rule in prose above it.
//!
//! Each rule has one owner: names, graph, settings and the pivot are checked here; types are rustc's, through the
//! generated calls (`expand`).

pub(crate) mod graph;

mod compensation;
mod event;
mod inputs;
mod pivot;
mod signature;
pub(crate) mod transaction;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::Saga,
    print,
    syntax::{ImplBlock, ungrouped},
};
use graph::Graph;
use quote::ToTokens;
use syn::Type;

/// A saga is an inherent impl of one type: no trait's, and not generic. That `impl Trait`, a reference or a tuple has no
/// inherent impl is rustc's to say, and nothing can be generated for them.
pub(crate) fn is_saga(block: &ImplBlock, diagnostics: &mut Diagnostics) -> bool {
    let parsed = &block.parsed;
    if let Some((path, _)) = &parsed.trait_ {
        diagnostics.push(
            Diagnostic::at(
                path,
                format!(
                    "a saga is not an impl of a trait, `{}`",
                    print::tokens(path)
                ),
            )
            .help(format!(
                "put `#[saga]` on an `impl {}` block",
                print::tokens(&*parsed.self_ty)
            )),
        );
        return false;
    }
    if !matches!(
        ungrouped(&parsed.self_ty),
        Type::Path(_) | Type::TraitObject(_)
    ) {
        diagnostics.leave_to_rustc();
        return false;
    }
    let generics = &parsed.generics;
    let lifetimes = print::lifetime(parsed.self_ty.to_token_stream());
    let place = if generics.params.is_empty() {
        lifetimes
    } else {
        Some(generics.to_token_stream())
    };
    if let Some(place) = place {
        diagnostics.push(
            Diagnostic::at(&place, "a saga cannot be generic")
                .note("one name must mean one type")
                .help("keep what varies in a field"),
        );
        return false;
    }
    true
}

/// Checks every rule that still makes sense. The graph is `None` if it has no order.
pub(crate) fn check(saga: &Saga<'_>, diagnostics: &mut Diagnostics) -> Option<Graph> {
    signature::check(saga, diagnostics);
    inputs::check_names(saga, diagnostics);
    transaction::check(saga, diagnostics);
    event::check(saga, diagnostics);
    compensation::check_each(saga, diagnostics);
    pivot::check_single(saga, diagnostics);
    let graph = graph::check(saga, diagnostics);
    if let Some(graph) = &graph {
        inputs::check(saga, graph, diagnostics);
        compensation::check_forgotten(saga, graph, diagnostics);
        pivot::check(saga, graph, diagnostics);
        graph::check_after(saga, graph, diagnostics);
    }
    graph
}
