//! The graph of a saga, drawn as Mermaid or DOT, plain or coloured by an instance's state.

use crate::{
    definition::{Definition, StepKind},
    store::{Snapshot, StepState},
};
use std::{collections::BTreeMap, fmt::Write};

/// A saga's graph, to be drawn: [`Saga::graph`](crate::Saga::graph).
///
/// A pivot is a hexagon, a step after it has round ends; a dotted edge leads from the undo that comes first to the one that
/// waits for it by `after`.
#[derive(Clone, Debug)]
pub struct Graph {
    definition: &'static Definition,
    states: BTreeMap<String, StepState>,
    is_coloured: bool,
}

impl Graph {
    pub(crate) fn new(definition: &'static Definition) -> Self {
        Self {
            definition,
            states: BTreeMap::new(),
            is_coloured: false,
        }
    }

    /// Coloured by how far an instance has come: [`Engine::inspect`](crate::Engine::inspect).
    #[must_use]
    pub fn coloured(mut self, snapshot: &Snapshot) -> Self {
        self.states = snapshot
            .steps
            .iter()
            .map(|row| (row.name.clone(), row.state))
            .collect();
        self.is_coloured = true;
        self
    }

    /// As a [Mermaid](https://mermaid.js.org/syntax/flowchart.html) flow chart.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for (at, step) in self.definition.steps.iter().enumerate() {
            let label = step.name.replace('"', "#quot;");
            let shape = match step.kind {
                StepKind::Compensatable => format!("[\"{label}\"]"),
                StepKind::Pivot => format!("{{{{\"{label}\"}}}}"),
                StepKind::Retriable => format!("([\"{label}\"])"),
            };
            let _ = writeln!(out, "    s{at}{shape}");
        }
        for (from, to) in self.edges() {
            let _ = writeln!(out, "    s{from} --> s{to}");
        }
        for (from, to) in self.undo_edges() {
            let _ = writeln!(out, "    s{from} -. undone before .-> s{to}");
        }
        if self.is_coloured {
            for state in StepState::ALL {
                let (fill, line) = colours(state);
                let _ = writeln!(
                    out,
                    "    classDef {state} fill:{fill},stroke:{line},color:#111"
                );
            }
            for (at, step) in self.definition.steps.iter().enumerate() {
                let _ = writeln!(out, "    class s{at} {}", self.state(step.name));
            }
        }
        out
    }

    /// In the [DOT](https://graphviz.org/doc/info/lang.html) language of Graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut out = format!(
            "digraph {} {{\n    rankdir=LR;\n",
            quoted(self.definition.name)
        );
        for (at, step) in self.definition.steps.iter().enumerate() {
            let shape = match step.kind {
                StepKind::Compensatable => "box",
                StepKind::Pivot => "hexagon",
                StepKind::Retriable => "ellipse",
            };
            let _ = write!(out, "    s{at} [label={}, shape={shape}", quoted(step.name));
            if self.is_coloured {
                let (fill, line) = colours(self.state(step.name));
                let _ = write!(
                    out,
                    ", style=filled, fillcolor=\"{fill}\", color=\"{line}\""
                );
            }
            out.push_str("];\n");
        }
        for (from, to) in self.edges() {
            let _ = writeln!(out, "    s{from} -> s{to};");
        }
        for (from, to) in self.undo_edges() {
            let _ = writeln!(
                out,
                "    s{from} -> s{to} [style=dotted, label=\"undone before\", constraint=false];"
            );
        }
        out.push_str("}\n");
        out
    }

    fn state(&self, step: &str) -> StepState {
        self.states.get(step).copied().unwrap_or(StepState::Pending)
    }

    fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        let steps = self.definition.steps.iter().enumerate();
        steps.flat_map(|(to, step)| {
            step.depends_on
                .iter()
                .map(move |&from| (usize::from(from), to))
        })
    }

    fn undo_edges(&self) -> impl Iterator<Item = (usize, usize)> {
        let steps = self.definition.steps.iter().enumerate();
        steps.flat_map(|(to, step)| {
            let after = step.compensation.map_or(&[][..], |undo| undo.after);
            after.iter().map(move |&from| (usize::from(from), to))
        })
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn colours(state: StepState) -> (&'static str, &'static str) {
    match state {
        StepState::Pending => ("#f4f4f4", "#999999"),
        StepState::Running => ("#cfe2ff", "#1c64c8"),
        StepState::Completed => ("#d3f2d9", "#1f8a3b"),
        StepState::Failed => ("#fbd5d5", "#c22727"),
        StepState::Unknown => ("#fff0c2", "#b88400"),
        StepState::Compensating => ("#ffe0c7", "#c8641c"),
        StepState::Compensated => ("#e4dcf7", "#6b46c1"),
        StepState::CompensationFailed => ("#e58a8a", "#7a0c0c"),
        StepState::Resolved => ("#d6e4e5", "#31595c"),
    }
}
