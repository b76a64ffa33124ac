//! The graph of a saga: its order, who comes before whom, and the rules that it keeps.
//!
//! Invariant: everything here is linear in the edges, but for ancestors, which are sets of bits: edges times steps / 64.

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Place},
    model::{Reference, Saga},
};
use std::{cmp::Reverse, collections::BinaryHeap, collections::HashMap};

/// The most steps that a saga can have; core has the same number.
const STEPS_MAX: usize = 1_024;

/// The order of a graph without cycles.
#[derive(Debug)]
pub(crate) struct Graph {
    /// The steps, each after all that it depends on; of those that could come next, the first in the source.
    pub(crate) order: Vec<usize>,
    /// The inverse of `order`.
    pub(crate) position: Vec<usize>,
    ancestors: Vec<Bits>,
    /// Whether all ancestors of a step are known.
    complete: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn insert(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn contains(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn extend(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }
}

impl Graph {
    fn new(dependencies: &[Vec<usize>], order: Vec<usize>, complete: &[bool]) -> Self {
        let mut position = vec![0; order.len()];
        let mut ancestors = vec![Bits(vec![0; order.len().div_ceil(64)]); order.len()];
        let mut complete = complete.to_vec();
        for (at, &step) in order.iter().enumerate() {
            position[step] = at;
            let mut mine = ancestors[step].clone();
            for &dependency in &dependencies[step] {
                mine.insert(dependency);
                mine.extend(&ancestors[dependency]);
                complete[step] &= complete[dependency];
            }
            ancestors[step] = mine;
        }
        Self {
            order,
            position,
            ancestors,
            complete,
        }
    }

    /// Whether `step` waits, directly or not, for `other`.
    pub(crate) fn is_after(&self, step: usize, other: usize) -> bool {
        self.ancestors[step].contains(other)
    }

    /// Whether all ancestors of the step are known, so that one that is missing is missing.
    pub(crate) fn is_complete(&self, step: usize) -> bool {
        self.complete[step]
    }

    /// Whether one of the two waits for the other.
    pub(crate) fn are_ordered(&self, one: usize, other: usize) -> bool {
        self.is_after(one, other) || self.is_after(other, one)
    }
}

/// The steps in an order that respects their dependencies, or cycles that no two of which share a step.
///
/// A cycle is broken and the search goes on, so that all that is independent is found.
pub(crate) fn sort(dependencies: &[Vec<usize>]) -> Result<Vec<usize>, Vec<Vec<usize>>> {
    let mut dependents = vec![Vec::new(); dependencies.len()];
    for (step, of_step) in dependencies.iter().enumerate() {
        for &dependency in of_step {
            dependents[dependency].push(step);
        }
    }
    let mut missing: Vec<usize> = dependencies.iter().map(Vec::len).collect();
    let mut done = vec![false; dependencies.len()];
    let mut ready: BinaryHeap<_> = (0..dependencies.len())
        .filter(|&step| missing[step] == 0)
        .map(Reverse)
        .collect();
    let (mut order, mut cycles) = (Vec::new(), Vec::new());
    loop {
        while let Some(Reverse(step)) = ready.pop() {
            if std::mem::replace(&mut done[step], true) {
                continue;
            }
            order.push(step);
            for &dependent in &dependents[step] {
                missing[dependent] -= 1;
                if missing[dependent] == 0 && !done[dependent] {
                    ready.push(Reverse(dependent));
                }
            }
        }
        let Some(stuck) = done.iter().position(|done| !done) else {
            break;
        };
        let cycle = cycle_before(stuck, dependencies, &done);
        ready.extend(cycle.iter().copied().map(Reverse));
        cycles.push(cycle);
    }
    if cycles.is_empty() {
        Ok(order)
    } else {
        Err(cycles)
    }
}

/// Walks from a step that waits for ever along what it waits for, until it meets itself. Each step of the result waits for
/// the next, and the last for the first.
fn cycle_before(start: usize, dependencies: &[Vec<usize>], done: &[bool]) -> Vec<usize> {
    let mut path = vec![start];
    let mut seen = HashMap::from([(start, 0)]);
    let mut at = start;
    // A step that is not done waits for one that is not done, or it would have been ready.
    while let Some(&next) = dependencies[at]
        .iter()
        .find(|&&dependency| !done[dependency])
    {
        if let Some(&first) = seen.get(&next) {
            return path.split_off(first);
        }
        seen.insert(next, path.len());
        path.push(next);
        at = next;
    }
    path
}

/// The number of steps, their names, and their order.
pub(crate) fn check(saga: &Saga<'_>, diagnostics: &mut Diagnostics) -> Option<Graph> {
    check_size(saga, diagnostics);
    check_stored_names(saga, diagnostics);
    check_dependencies(saga, diagnostics);
    let dependencies: Vec<Vec<usize>> = (0..saga.steps.len())
        .map(|step| direct(saga, step))
        .collect();
    match sort(&dependencies) {
        Ok(order) => {
            let complete: Vec<bool> = saga.steps.iter().map(|step| step.complete).collect();
            Some(Graph::new(&dependencies, order, &complete))
        }
        Err(cycles) => {
            for cycle in cycles {
                diagnostics.push(cycle_error(saga, &cycle));
            }
            None
        }
    }
}

/// The direct dependencies of a step, without those that are reported as mistakes.
pub(crate) fn direct(saga: &Saga<'_>, step: usize) -> Vec<usize> {
    let mut direct: Vec<usize> = saga.steps[step]
        .depends_on
        .iter()
        .map(|reference| reference.step)
        .collect();
    direct.retain(|&dependency| dependency != step);
    direct.sort_unstable();
    direct.dedup();
    direct
}

/// A saga has between one step and [`STEPS_MAX`].
fn check_size(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    let impl_token = &saga.block.parsed.impl_token;
    if saga.steps.is_empty() {
        diagnostics.push(
            Diagnostic::at(impl_token, "this saga has no steps")
                .help("mark an async method with `#[step]`"),
        );
    }
    if saga.steps.len() > STEPS_MAX {
        let message = format!(
            "a saga has at most 1,024 steps, and this one has {}",
            thousands(saga.steps.len())
        );
        diagnostics.push(Diagnostic::at(impl_token, message));
    }
}

fn thousands(number: usize) -> String {
    if number < 1_000 {
        number.to_string()
    } else {
        format!("{},{:03}", number / 1_000, number % 1_000)
    }
}

/// No two steps have one name in the store.
fn check_stored_names(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (at, step) in saga.steps.iter().enumerate() {
        let name = step.stored_name();
        if let Some(&earlier) = first.get(name) {
            // One of the two says so by `name`: two methods of one name are not in the model.
            let written = [at, earlier]
                .into_iter()
                .find_map(|at| saga.steps[at].settings.name.as_ref().map(|name| (at, name)));
            let (written_at, place) = written.map_or((at, step.ident().into()), |(at, name)| {
                (at, Place::from(name))
            });
            let other = &saga.steps[if written_at == at { earlier } else { at }];
            let which = if written_at == at {
                "the first"
            } else {
                "the other"
            };
            diagnostics.push(
                Diagnostic::new(place, format!("two steps are named \"{name}\"")).and(
                    other
                        .settings
                        .name
                        .as_ref()
                        .map_or(other.ident().into(), Place::from),
                    format!("`{}` is {which}", other.name),
                ),
            );
        } else {
            first.insert(name, at);
        }
    }
}

/// A step depends on other steps, on each once.
fn check_dependencies(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    for (at, step) in saga.steps.iter().enumerate() {
        let mut seen = Vec::new();
        for reference in &step.depends_on {
            if reference.is_repaired {
                continue;
            }
            if reference.step == at {
                diagnostics.push(Diagnostic::new(
                    &reference.name,
                    format!("step `{}` depends on itself", step.name),
                ));
            } else if seen.contains(&reference.step) {
                let name = &saga.steps[reference.step].name;
                diagnostics.push(Diagnostic::new(
                    &reference.name,
                    format!("step `{name}` is a dependency twice"),
                ));
            }
            seen.push(reference.step);
        }
    }
}

/// Steps do not wait for each other in a circle. The error stands at each edge, the first one with the whole story.
fn cycle_error(saga: &Saga<'_>, cycle: &[usize]) -> Diagnostic {
    let edge = |at: usize| -> (usize, usize, Place) {
        let (from, to) = (cycle[at], cycle[(at + 1) % cycle.len()]);
        let reference = saga.steps[from]
            .depends_on
            .iter()
            .find(|reference| reference.step == to);
        (
            from,
            to,
            reference.map_or(saga.steps[from].ident().into(), |reference| {
                Place::from(&reference.name)
            }),
        )
    };
    let mut edges: Vec<_> = (0..cycle.len()).map(edge).collect();
    let first = (0..edges.len())
        .min_by_key(|&at| (edges[at].2.position(), edges[at].0))
        .unwrap_or(0);
    edges.rotate_left(first);
    let name = |step: usize| format!("`{}`", saga.steps[step].name);
    let mut story: Vec<_> = edges.iter().map(|&(from, ..)| name(from)).collect();
    story.extend(story.first().cloned());
    let mut diagnostic = Diagnostic::new(
        edges[0].2,
        format!("these steps wait for each other: {}", story.join(" -> ")),
    )
    .help("remove one of the dependencies, or split one of the steps in two");
    for &(from, to, place) in &edges[1..] {
        diagnostic = diagnostic.and(place, format!("{} waits for {}", name(from), name(to)));
    }
    diagnostic
}

/// `after` on a compensation, together with the reversed dependencies, is free of circles: the undo of a step waits for
/// the undo of every step that depends on it, and for what `after` says.
pub(crate) fn check_after(saga: &Saga<'_>, graph: &Graph, diagnostics: &mut Diagnostics) {
    let mut waits: Vec<Vec<usize>> = vec![Vec::new(); saga.steps.len()];
    for step in 0..saga.steps.len() {
        for dependency in direct(saga, step) {
            waits[dependency].push(step);
        }
    }
    let mut edges: HashMap<(usize, usize), &Reference> = HashMap::new();
    for compensation in &saga.compensations {
        let Some(own) = &compensation.step else {
            continue;
        };
        for reference in &compensation.after {
            let name = &saga.steps[reference.step].name;
            if reference.step == own.step {
                let message = format!("`{}` waits for itself", compensation.name);
                diagnostics.push(Diagnostic::new(&reference.name, message));
            } else if edges
                .insert((own.step, reference.step), reference)
                .is_some()
            {
                diagnostics.push(Diagnostic::new(
                    &reference.name,
                    format!("step `{name}` is in `after` twice"),
                ));
            } else if saga.steps[reference.step].compensations.is_empty() {
                diagnostics.push(
                    Diagnostic::new(
                        &reference.name,
                        format!("step `{name}` has no compensation"),
                    )
                    .note(format!(
                        "`{}` can only wait for what is undone",
                        compensation.name
                    )),
                );
            } else if !graph.is_after(reference.step, own.step) {
                waits[own.step].push(reference.step);
            }
        }
    }
    if edges.is_empty() {
        return;
    }
    for waits in &mut waits {
        waits.sort_unstable();
        waits.dedup();
    }
    if let Err(cycles) = sort(&waits) {
        for cycle in cycles {
            diagnostics.extend(after_cycle(saga, graph, &cycle, &edges));
        }
    }
}

fn after_cycle(
    saga: &Saga<'_>,
    graph: &Graph,
    cycle: &[usize],
    edges: &HashMap<(usize, usize), &Reference>,
) -> Option<Diagnostic> {
    let pairs = (0..cycle.len()).map(|at| (cycle[at], cycle[(at + 1) % cycle.len()]));
    let mut written: Vec<_> = pairs
        .filter_map(|pair| edges.get(&pair).map(|reference| (pair, *reference)))
        .collect();
    written.sort_by_key(|(_, reference)| Place::from(&reference.name).position());
    let ((from, to), reference) = *written.first()?;
    let name = |step: usize| format!("`{}`", saga.steps[step].name);
    let (one, other, why) = if graph.is_after(from, to) {
        (
            to,
            from,
            format!(
                "the undo of {} waits for the undo of {}, which depends on it",
                name(to),
                name(from)
            ),
        )
    } else {
        (
            from,
            to,
            format!(
                "the undo of {} waits for the undo of {}",
                name(from),
                name(to)
            ),
        )
    };
    let message = format!(
        "the compensations of {} and {} wait for each other",
        name(one),
        name(other)
    );
    let mut diagnostic = Diagnostic::new(&reference.name, message).note(why);
    for ((from, to), reference) in &written[1..] {
        let message = format!(
            "the undo of {} waits for the undo of {}",
            name(*from),
            name(*to)
        );
        diagnostic = diagnostic.and(&reference.name, message);
    }
    Some(diagnostic)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random numbers that are the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap_or_default() % limit
        }

        /// Edges from each of `steps` to any other, or only to earlier ones.
        fn graph(&mut self, steps: usize, edges: usize, cyclic: bool) -> Vec<Vec<usize>> {
            let mut graph = vec![Vec::new(); steps];
            for _ in 0..edges {
                let (one, other) = (self.below(steps), self.below(steps));
                let (from, to) = if cyclic {
                    (one, other)
                } else {
                    (one.max(other), one.min(other))
                };
                if from != to && !graph[from].contains(&to) {
                    graph[from].push(to);
                }
            }
            graph
        }
    }

    /// All that can be reached, by walking.
    fn reached(graph: &[Vec<usize>], from: usize) -> Vec<usize> {
        let (mut seen, mut open) = (Vec::new(), graph[from].clone());
        while let Some(step) = open.pop() {
            if !seen.contains(&step) {
                seen.push(step);
                open.extend(&graph[step]);
            }
        }
        seen
    }

    #[test]
    fn an_order_puts_every_step_after_its_dependencies() {
        let mut numbers = Numbers(1);
        for _ in 0..300 {
            let steps = 1 + numbers.below(80);
            let edges = numbers.below(3 * steps);
            let graph = numbers.graph(steps, edges, false);
            let order = sort(&graph).expect("edges lead to earlier steps only");
            let known = Graph::new(&graph, order, &vec![true; steps]);
            for (step, dependencies) in graph.iter().enumerate() {
                assert!(
                    dependencies
                        .iter()
                        .all(|&dependency| known.position[dependency] < known.position[step])
                );
                let mut ancestors: Vec<_> = (0..steps)
                    .filter(|&other| known.is_after(step, other))
                    .collect();
                let mut walked = reached(&graph, step);
                ancestors.sort_unstable();
                walked.sort_unstable();
                assert_eq!(ancestors, walked);
            }
        }
    }

    #[test]
    fn ties_are_in_source_order() {
        assert_eq!(
            sort(&[vec![2], vec![], vec![], vec![]]).ok(),
            Some(vec![1, 2, 0, 3])
        );
    }

    #[test]
    fn there_is_an_order_or_there_are_real_cycles() {
        let mut numbers = Numbers(2);
        let (mut ordered, mut cyclic) = (0, 0);
        for _ in 0..500 {
            let steps = 1 + numbers.below(30);
            let edges = numbers.below(2 * steps);
            let graph = numbers.graph(steps, edges, true);
            let has_cycle = (0..steps).any(|step| reached(&graph, step).contains(&step));
            match sort(&graph) {
                Ok(order) => {
                    ordered += 1;
                    assert_eq!(order.len(), steps);
                    assert!(!has_cycle);
                }
                Err(cycles) => {
                    cyclic += 1;
                    assert!(has_cycle);
                    let mut all: Vec<_> = cycles.iter().flatten().collect();
                    let count = all.len();
                    all.sort_unstable();
                    all.dedup();
                    assert_eq!(all.len(), count, "no two cycles share a step");
                    for cycle in cycles {
                        for (at, &step) in cycle.iter().enumerate() {
                            assert!(
                                graph[step].contains(&cycle[(at + 1) % cycle.len()]),
                                "{graph:?} {cycle:?}"
                            );
                        }
                    }
                }
            }
        }
        assert!(ordered > 20 && cyclic > 20, "{ordered} {cyclic}");
    }
}
