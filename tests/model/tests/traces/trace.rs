//! What was seen of a run, in the words of the model.

use std::fmt::{self, Write as _};

/// One thing that was seen. What does not apply to it is blank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) what: &'static str,
    pub(crate) eng: String,
    pub(crate) s: String,
    pub(crate) how: String,
    pub(crate) orphaned: bool,
    pub(crate) owner: String,
    pub(crate) epoch: u64,
    pub(crate) st: String,
    pub(crate) passed: bool,
    /// Step, state, and whether an output of it is stored.
    pub(crate) rows: Vec<(String, String, bool)>,
}

impl Event {
    pub(crate) fn is(&self, what: &str, step: &str) -> bool {
        self.what == what && self.s == step
    }

    pub(crate) fn writes(&self, step: &str, state: &str) -> bool {
        self.rows.iter().any(|row| row.0 == step && row.1 == state)
    }
}

/// As a record of TLA+.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let truth = |it: bool| if it { "TRUE" } else { "FALSE" };
        let rows = self.rows.iter().map(|(step, state, output)| {
            format!("{step} |-> [s |-> \"{state}\", out |-> {}]", truth(*output))
        });
        let rows: Vec<_> = rows.collect();
        let rows = if rows.is_empty() {
            "<<>>".to_owned()
        } else {
            format!("[{}]", rows.join(", "))
        };
        write!(
            f,
            "[what |-> \"{}\", eng |-> \"{}\", s |-> \"{}\", how |-> \"{}\", orphaned |-> {}, owner |-> \"{}\", epoch |-> {}, st |-> \"{}\", passed |-> {}, rows |-> {rows}]",
            self.what,
            self.eng,
            self.s,
            self.how,
            truth(self.orphaned),
            self.owner,
            self.epoch,
            self.st,
            truth(self.passed),
        )
    }
}

/// What was seen of one run, in order.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) seed: u64,
    pub(crate) events: Vec<Event>,
}

impl Trace {
    pub(crate) fn has(&self, what: &str) -> bool {
        self.events.iter().any(|event| event.what == what)
    }

    /// The events before this one, for people.
    pub(crate) fn story(&self, before: usize) -> String {
        let mut story = String::new();
        for (at, event) in self.events[..before].iter().enumerate() {
            let Event {
                what,
                eng,
                s,
                how,
                owner,
                epoch,
                st,
                ..
            } = event;
            let rows: Vec<_> = event
                .rows
                .iter()
                .map(|row| format!("{}={}", row.0, row.1))
                .collect();
            let _ = writeln!(
                story,
                "  {at} {what} {eng} {s} {how} {owner} {epoch} {st} {}",
                rows.join(" ")
            );
        }
        story
    }
}
