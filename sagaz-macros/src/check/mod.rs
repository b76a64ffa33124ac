//! The rules of a saga, one function each, with the rule in prose above it.
//!
//! Each rule has one owner: names, graph, settings and the pivot are checked here; types are rustc's, through the
//! generated calls (`expand`).

pub(crate) mod graph;

mod compensation;
mod inputs;
mod pivot;
mod signature;

use crate::{diagnostic::Diagnostics, model::Saga};
use graph::Graph;

/// Checks every rule that still makes sense. The graph is `None` if it has no order.
pub(crate) fn check(saga: &Saga<'_>, diagnostics: &mut Diagnostics) -> Option<Graph> {
    signature::check(saga, diagnostics);
    let graph = graph::check(saga, diagnostics);
    if let Some(graph) = &graph {
        inputs::check(saga, graph, diagnostics);
        compensation::check(saga, graph, diagnostics);
        pivot::check(saga, graph, diagnostics);
        graph::check_after(saga, graph, diagnostics);
    }
    graph
}
