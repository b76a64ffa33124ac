//! The definition of a saga as constant tables, in topological order.
//!
//! `#[saga]` emits one [`Definition`] per saga. Everything at run time goes by a step's index in [`Definition::steps`];
//! names appear only where people or the store read them. Not here: the state of an instance (`state.rs`).

use crate::retry::Retry;
use sha2::{Digest, Sha256};
use std::{fmt::Write, time::Duration};

/// The most steps that one saga can have.
pub const STEPS_MAX: usize = 1_024;

/// A saga as data.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The saga's name in the store. Stable: renaming it orphans the instances that are under way.
    pub name: &'static str,
    /// The version of this graph.
    pub version: u32,
    /// Older versions whose unfinished instances this one may take over.
    pub accepts: &'static [u32],
    /// What happens to running steps when one fails.
    pub on_failure: OnFailure,
    /// How long an instance may take up to its pivot before it is cancelled, from its acceptance.
    pub deadline: Option<Duration>,
    /// The steps, each after all that it depends on.
    pub steps: &'static [StepDefinition],
    /// The index of the pivot.
    pub pivot: Option<u16>,
}

/// One step of a saga.
// In this order and on a cache line of its own: its edges, which a run goes by, are together.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct StepDefinition {
    /// Its name in the store.
    pub name: &'static str,
    /// Indices of the steps whose outputs must be stored before it begins; ascending.
    pub depends_on: &'static [u16],
    /// Indices of the steps that list it in `depends_on`; ascending.
    pub dependents: &'static [u16],
    /// Where it stands towards the pivot.
    pub kind: StepKind,
    /// Whether every `Err` of it says that nothing happened.
    pub atomic: bool,
    /// Whether it commits together with its output in the store's own transaction.
    pub transactional: bool,
    /// How long one attempt may take; then it is dropped, and its outcome is unknown.
    pub timeout: Option<Duration>,
    /// How often it is attempted.
    pub retry: Retry,
    /// How many attempts of it one engine runs at once.
    pub limit: Option<u32>,
    /// How it is undone.
    pub compensation: Option<CompensationDefinition>,
    /// Whether it says that there is nothing to undo.
    pub no_compensation: bool,
    /// Whether a `#[recover]` method is asked when its retries are used up.
    pub recovery: bool,
}

impl StepDefinition {
    /// A step about which nothing is said: compensatable, tried once, without a timeout or a limit. It has no name.
    pub const PLAIN: Self = Self {
        name: "",
        depends_on: &[],
        dependents: &[],
        kind: StepKind::Compensatable,
        atomic: false,
        transactional: false,
        timeout: None,
        retry: Retry::NONE,
        limit: None,
        compensation: None,
        no_compensation: false,
        recovery: false,
    };
}

/// How a step is undone.
#[derive(Clone, Copy, Debug)]
pub struct CompensationDefinition {
    /// The name of the method.
    pub name: &'static str,
    /// Indices of the steps whose undo must have ended, or not be needed, before this one starts.
    pub after: &'static [u16],
    /// Indices of the steps whose compensation lists this one's step in `after`.
    pub before: &'static [u16],
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How often it is attempted.
    pub retry: Retry,
    /// Whether it takes its step's output as certain, so that an unknown outcome has to be settled first.
    pub insists: bool,
    /// Whether it commits together with its record in the store's own transaction.
    pub transactional: bool,
}

/// Where a step stands towards the pivot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Before the pivot, or in a saga without one: undone when the saga fails.
    Compensatable,
    /// After whose completion the instance only goes forward.
    Pivot,
    /// After the pivot: retried until it succeeds.
    Retriable,
}

/// What happens to the running steps when one fails (`#[saga(on_failure = ..)]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Running attempts are dropped at once; their outcome is unknown.
    FailFast,
    /// Nothing new starts, running attempts end; after the bound, if there is one, they are dropped.
    Grace(Option<Duration>),
    /// Everything that does not depend on the failed step finishes first.
    WaitAll,
}

impl StepKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Compensatable, Self::Pivot, Self::Retriable];

    /// The word in the store and in the fingerprint.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compensatable => "compensatable",
            Self::Pivot => "pivot",
            Self::Retriable => "retriable",
        }
    }

    /// The kind of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Definition {
    /// Proves at compile time what the runtime relies on, for a definition by `#[saga]` as for one written by hand.
    ///
    /// # Panics
    ///
    /// In a `const`, so as a compile error: when a table is inconsistent.
    ///
    /// ```compile_fail,E0080
    /// use sagaz_core::{Definition, OnFailure, StepDefinition};
    ///
    /// const SHOP: Definition = Definition {
    ///     name: "shop", version: 1, accepts: &[], on_failure: OnFailure::WaitAll, deadline: None, pivot: None,
    ///     // A step depends on a later step.
    ///     steps: &[
    ///         StepDefinition { name: "charge", depends_on: &[1], ..StepDefinition::PLAIN },
    ///         StepDefinition { name: "reserve", dependents: &[0], ..StepDefinition::PLAIN },
    ///     ],
    /// };
    /// const _: () = SHOP.check();
    /// ```
    pub const fn check(&self) {
        assert!(!self.steps.is_empty(), "a saga has no steps");
        assert!(
            self.steps.len() <= STEPS_MAX,
            "a saga has more than 1,024 steps"
        );
        let mut at = 0;
        while at < self.steps.len() {
            let step = &self.steps[at];
            let mut i = 0;
            while i < step.depends_on.len() {
                let dependency = step.depends_on[i] as usize;
                assert!(dependency < at, "a step depends on a later step");
                assert!(
                    contains(self.steps[dependency].dependents, at),
                    "a step is not among the dependents of its dependency"
                );
                assert!(
                    i == 0 || step.depends_on[i - 1] < step.depends_on[i],
                    "dependencies are not in ascending order"
                );
                i += 1;
            }
            i = 0;
            while i < step.dependents.len() {
                let dependent = step.dependents[i] as usize;
                assert!(dependent < self.steps.len(), "a dependent is not a step");
                assert!(
                    contains(self.steps[dependent].depends_on, at),
                    "a step is not among the dependencies of its dependent"
                );
                assert!(
                    i == 0 || step.dependents[i - 1] < step.dependents[i],
                    "dependents are not in ascending order"
                );
                i += 1;
            }
            let is_pivot = matches!(self.pivot, Some(pivot) if pivot as usize == at);
            assert!(
                is_pivot == matches!(step.kind, StepKind::Pivot),
                "the pivot and the kinds of the steps differ"
            );
            if let Some(undo) = &step.compensation {
                assert!(
                    matches!(step.kind, StepKind::Compensatable),
                    "a compensation at or after the pivot can never run"
                );
                i = 0;
                while i < undo.after.len() {
                    let earlier = undo.after[i] as usize;
                    assert!(
                        earlier < self.steps.len() && earlier != at,
                        "an `after` names no other step"
                    );
                    let Some(other) = &self.steps[earlier].compensation else {
                        panic!("an `after` names a step that has no compensation");
                    };
                    assert!(contains(other.before, at), "`after` and `before` differ");
                    i += 1;
                }
            }
            at += 1;
        }
    }

    /// The first step that commits in the store's transaction, or whose compensation does.
    #[must_use]
    pub fn first_transactional(&self) -> Option<&StepDefinition> {
        let in_undo =
            |step: &StepDefinition| step.compensation.is_some_and(|undo| undo.transactional);
        self.steps
            .iter()
            .find(|step| step.transactional || in_undo(step))
    }

    /// Whether this is the last step of a saga without a pivot, with neither a compensation nor a word that it needs none. The macro lets
    /// it be, as its attempts tell what became of it. So it must never be given up while it may have happened.
    #[must_use]
    pub fn is_exempt(&self, step: usize) -> bool {
        let definition = &self.steps[step];
        self.pivot.is_none()
            && step + 1 == self.steps.len()
            && definition.compensation.is_none()
            && !definition.no_compensation
    }

    /// The step with which it is decided that the saga will not be undone: the pivot, or a last step that is exempt. Where it may have
    /// happened, nothing is undone until its outcome is known.
    #[must_use]
    pub fn decisive(&self) -> Option<usize> {
        let pivot = self.pivot.map(usize::from);
        let last = self.steps.len().checked_sub(1);
        pivot.or_else(|| last.filter(|&last| self.is_exempt(last)))
    }

    /// The index of the step of this name.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name == name)
    }

    /// Identifies the graph: names, dependencies and kinds, not bodies, timeouts or retries. Two builds with the same
    /// fingerprint can finish each other's instances.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut lines: Vec<String> = self.steps.iter().map(|step| self.describe(step)).collect();
        lines.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(self.name);
        for line in lines {
            hash.update([0]);
            hash.update(line);
        }
        hash.finalize()
            .iter()
            .take(16)
            .fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }

    fn describe(&self, step: &StepDefinition) -> String {
        let names = |indices: &[u16]| {
            let mut names: Vec<_> = indices
                .iter()
                .map(|&at| self.steps[usize::from(at)].name)
                .collect();
            names.sort_unstable();
            names.join(",")
        };
        let undo = match &step.compensation {
            None => String::new(),
            Some(undo) => format!("undone after [{}]", names(undo.after)),
        };
        format!(
            "{} [{}] {} {} {undo}",
            step.name,
            names(step.depends_on),
            step.kind.as_str(),
            step.transactional
        )
    }
}

const fn contains(indices: &[u16], index: usize) -> bool {
    let mut i = 0;
    while i < indices.len() {
        if indices[i] as usize == index {
            return true;
        }
        i += 1;
    }
    false
}
