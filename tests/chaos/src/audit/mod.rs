//! The audit: whether the promises were kept, by what the store, the ledger, the broker and the consumer say at the end.
//!
//! Invariant: it looks at evidence alone, and does no I/O; so each of its checks is shown to fail by evidence that was tampered with
//! (`tests.rs`).

mod books;
mod events;
mod finding;
mod run;
mod starts;
mod steps;
mod story;
#[cfg(test)]
mod tests;

pub(crate) use finding::{Finding, Wrong};
pub(crate) use story::story;

use crate::{
    ledger::{Booking, Line, What},
    order::{Order, Step},
    place::{Consumed, Entry},
    schedule::Kind as FaultKind,
};
use sagaz::{InstanceState, SagaId, StepState};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// All that is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) orders: BTreeMap<u32, Order>,
    /// What clients were told: an order's instance, once for each acknowledgement.
    pub(crate) accepted: BTreeMap<u32, Vec<SagaId>>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) lines: Vec<Line>,
    /// The effects of services, by the idempotency keys under which they were asked for.
    pub(crate) books: BTreeMap<String, Booking>,
    /// P3: idempotency keys that changed, or were those of something else.
    pub(crate) strange_keys: Vec<(SagaId, String)>,
    /// What a subscriber got, in its order, repetitions included.
    pub(crate) deliveries: Vec<Delivery>,
    /// What could not be read as an event of this run.
    pub(crate) malformed: Vec<String>,
    pub(crate) consumed: Vec<Consumed>,
    /// `None` where there are no transactional steps.
    pub(crate) entries: Option<Vec<Entry>>,
    /// Dead letters, in words.
    pub(crate) dead: Vec<String>,
    /// Events that were not published.
    pub(crate) pending: u64,
    /// When processes were stopped: process, from and to, in milliseconds.
    pub(crate) stops: Vec<(u32, u64, u64)>,
    /// Ways of which it is not known that everything has come through, in words.
    pub(crate) undrained: Vec<String>,
    /// Workers that ended by themselves, in words.
    pub(crate) died: Vec<String>,
    /// Workers that were told to end, and did not do so in good order, in words.
    pub(crate) ended_badly: Vec<String>,
    /// The kinds of faults that were to happen, and those that took place.
    pub(crate) planned: BTreeSet<FaultKind>,
    pub(crate) carried_out: BTreeSet<FaultKind>,
    /// Whether the store keeps the events of a key in order across instances.
    pub(crate) ordered_across_instances: bool,
}

/// An instance, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) id: SagaId,
    pub(crate) start_key: Option<String>,
    pub(crate) order: Order,
    pub(crate) saga: String,
    pub(crate) state: InstanceState,
    /// When it was last written, which is when it ended.
    pub(crate) updated_ms: u64,
    pub(crate) owners: u64,
    pub(crate) steps: Vec<StoredStep>,
}

impl Instance {
    /// The output of a step, if one is stored.
    fn output(&self, of: Step) -> Option<Output> {
        self.steps.iter().find(|row| row.step == of)?.output
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredStep {
    pub(crate) step: Step,
    pub(crate) state: StepState,
    pub(crate) output: Option<Output>,
}

/// What a step returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// The call in the ledger.
    pub(crate) serial: u64,
    /// The row that it wrote in a transaction.
    pub(crate) row: Option<i64>,
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) event: String,
    pub(crate) key: String,
    pub(crate) id: SagaId,
    pub(crate) step: Step,
    pub(crate) undo: bool,
    /// The call that it tells of.
    pub(crate) serial: u64,
}

/// The lines of one instance, by what they are about.
#[derive(Debug, Default)]
pub(crate) struct Course<'e> {
    pub(crate) lines: Vec<&'e Line>,
}

impl<'e> Course<'e> {
    fn serials(&self, is_wanted: impl Fn(&What) -> bool) -> impl Iterator<Item = u64> {
        let wanted = self.lines.iter().filter(move |line| is_wanted(&line.what));
        wanted.map(|line| line.serial)
    }

    /// The calls of a step.
    fn calls(&self, of: Step) -> impl Iterator<Item = &'e Line> {
        let lines = self.lines.iter().copied();
        lines.filter(move |line| matches!(line.what, What::Called { step, .. } if step == of))
    }

    fn first_call(&self, of: Step) -> Option<u64> {
        self.calls(of).map(|line| line.serial).next()
    }

    /// When unwinding began: the first attempt to undo anything.
    fn first_unwinding(&self) -> Option<u64> {
        self.serials(|what| matches!(what, What::UndoCalled { .. }))
            .next()
    }

    fn first_undo_call(&self, of: Step) -> Option<u64> {
        self.serials(|what| matches!(what, What::UndoCalled { step, .. } if *step == of))
            .next()
    }

    fn first_done(&self, of: Step) -> Option<u64> {
        self.serials(|what| matches!(what, What::Done { step, .. } if *step == of))
            .next()
    }

    fn first_undone(&self, of: Step) -> Option<u64> {
        self.serials(|what| matches!(what, What::Undone { step, .. } if *step == of))
            .next()
    }
}

/// The evidence, put in order once for all checks.
struct Case<'e> {
    evidence: &'e Evidence,
    courses: HashMap<SagaId, Course<'e>>,
    effects: HashMap<(SagaId, Step), Vec<&'e Booking>>,
    none: Course<'e>,
}

impl<'e> Case<'e> {
    fn new(evidence: &'e Evidence) -> Self {
        let mut courses: HashMap<SagaId, Course<'e>> = HashMap::new();
        for line in &evidence.lines {
            courses.entry(line.id).or_default().lines.push(line);
        }
        let mut effects: HashMap<(SagaId, Step), Vec<&'e Booking>> = HashMap::new();
        for booking in evidence.books.values() {
            let of_step = effects.entry((booking.id, booking.step)).or_default();
            of_step.push(booking);
        }
        Self {
            evidence,
            courses,
            effects,
            none: Course::default(),
        }
    }

    fn course(&self, id: SagaId) -> &Course<'e> {
        self.courses.get(&id).unwrap_or(&self.none)
    }

    /// The effects that a step of an instance had: one at most, if all is well.
    fn effects(&self, id: SagaId, step: Step) -> &[&'e Booking] {
        self.effects.get(&(id, step)).map_or(&[], Vec::as_slice)
    }
}

/// How long after it was continued a process may still do what it was about to do when it was stopped.
const AFTER_STOP_MS: u64 = 3_000;

impl Evidence {
    /// Whether a process was stopped when it wrote a line, or a moment before.
    fn was_stopped(&self, line: &Line) -> bool {
        self.stops.iter().any(|(process, from, to)| {
            *process == line.process && (*from..to + AFTER_STOP_MS).contains(&line.at_ms)
        })
    }
}

/// All checks.
pub(crate) fn audit(evidence: &Evidence) -> Vec<Finding> {
    let case = Case::new(evidence);
    let mut findings = starts::check(&case);
    findings.extend(books::check(&case));
    findings.extend(steps::check(&case));
    findings.extend(events::check(&case));
    findings.extend(run::check(&case));
    findings
}

/// The events that there should be: of which instance and step, and whether of its undo.
pub(crate) fn expected_events(evidence: &Evidence) -> BTreeSet<(SagaId, Step, bool)> {
    let mut expected = BTreeSet::new();
    for instance in &evidence.instances {
        for row in &instance.steps {
            if row.output.is_some() {
                expected.insert((instance.id, row.step, false));
            }
            if row.state == StepState::Compensated {
                expected.insert((instance.id, row.step, true));
            }
        }
    }
    expected
}
