//! What a matrix has to say: a table if every promise was kept, the story of a run if not.

use crate::{
    fault::Site,
    promise::{Broken, Promise},
    seed::Seed,
    simulation::Choice,
    story::Line,
};
use sagaz_core::store::InstanceState;
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    time::Duration,
};

/// What was run, and checked: print it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    saga: &'static str,
    inputs: usize,
    invariants: usize,
    /// Points of a run without faults, by what they are.
    points: BTreeMap<&'static str, usize>,
    /// How the instance of each input ends when nothing goes wrong.
    pub undisturbed: Vec<InstanceState>,
    /// How many plans have one fault.
    pub singles: usize,
    /// How many plans with two faults there are, made or not.
    pub all_pairs: usize,
    /// How many plans with two faults were made.
    pub pairs: usize,
    /// How many plans with three faults were drawn.
    pub triples: usize,
    /// How many runs were made.
    pub runs: usize,
    /// How long it took, in real time.
    pub took: Duration,
}

impl Report {
    pub(crate) fn of(saga: &'static str, inputs: usize, invariants: usize) -> Self {
        Self {
            saga,
            inputs,
            invariants,
            points: BTreeMap::new(),
            undisturbed: Vec::new(),
            singles: 0,
            all_pairs: 0,
            pairs: 0,
            triples: 0,
            runs: 0,
            took: Duration::ZERO,
        }
    }

    pub(crate) fn add_points(&mut self, choices: &[Choice]) {
        let mut last = None;
        for choice in choices {
            if last.replace(choice.visit) != Some(choice.visit) {
                *self.points.entry(kind(&choice.site)).or_default() += 1;
            }
        }
    }

    /// At how many points of a run something can go wrong, of all inputs together.
    #[must_use]
    pub fn points(&self) -> usize {
        self.points.values().sum()
    }

    /// How many checks of a promise or an invariant there were.
    #[must_use]
    pub fn checks(&self) -> usize {
        self.runs * (Promise::CHECKED.len() + self.invariants)
    }
}

fn kind(site: &Site) -> &'static str {
    match site {
        Site::Attempt { .. } => "attempts",
        Site::Effect(_) => "effects",
        Site::Write(_) => "writes",
        Site::Commit(_) => "commits",
        Site::Claim => "claims",
        Site::Publish(_) => "publishes",
        Site::Mark => "marks",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points: Vec<_> = self
            .points
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        writeln!(f, "crash matrix of `{}`: every promise was kept", self.saga)?;
        let mut row = |name: &str, value: &dyn fmt::Display, what: &str| {
            writeln!(f, "  {name:<9}{value:>9}  {what}")
        };
        let ends: Vec<_> = self.undisturbed.iter().map(ToString::to_string).collect();
        let ends = format!("undisturbed: {}", ends.join(", "));
        row("inputs", &self.inputs, &ends)?;
        row("points", &self.points(), &points.join(", "))?;
        let plans = format!(
            "{} single faults, {} pairs, {} triples drawn",
            self.singles, self.pairs, self.triples
        );
        row("plans", &(self.singles + self.pairs + self.triples), &plans)?;
        row("runs", &self.runs, &format!("in {:.1?}", self.took))?;
        // What is of processes, networks and stores changes no ending: that has no number.
        let promises = Promise::CHECKED.len() - 1;
        let what = format!(
            "{promises} promises, that weather changes no ending, and {} invariants of yours, on each run",
            self.invariants
        );
        row("checks", &self.checks(), &what)
    }
}

/// A fault of a plan, in words.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) site: String,
    pub(crate) fault: String,
}

/// A run that broke a promise or an invariant: print it for its story, either way.
#[derive(Clone)]
pub struct Violation {
    saga: &'static str,
    seed: Seed,
    input: String,
    plan: Vec<Planned>,
    promise: Promise,
    words: String,
    story: String,
}

/// How many characters of an input are shown.
const INPUT_MAX: usize = 200;

impl Violation {
    pub(crate) fn new(
        saga: &'static str,
        seed: Seed,
        input: String,
        plan: Vec<Planned>,
        broken: Broken,
        story: &[Line],
    ) -> Self {
        let story = told(story, broken.line);
        Self {
            saga,
            seed,
            input,
            plan,
            promise: broken.promise,
            words: broken.words,
            story,
        }
    }

    /// Which promise it is.
    #[must_use]
    pub fn promise(&self) -> Promise {
        self.promise
    }

    /// What [`CrashMatrix::replay`](crate::CrashMatrix::replay) makes the run again with.
    #[must_use]
    pub fn seed(&self) -> String {
        self.seed.to_string()
    }

    /// How it was broken.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }

    /// What happened, line by line.
    #[must_use]
    pub fn story(&self) -> &str {
        &self.story
    }

    /// The faults that were injected, in words.
    #[must_use]
    pub fn plan(&self) -> Vec<String> {
        let words = |planned: &Planned| format!("{}: {}", planned.site, planned.fault);
        self.plan.iter().map(words).collect()
    }
}

/// The story as text; the line at which a promise was broken is marked.
pub(crate) fn told(story: &[Line], broken_at: Option<usize>) -> String {
    let mut text = String::new();
    for (at, line) in story.iter().enumerate() {
        let mark = if broken_at == Some(at) { ">>" } else { "  " };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{mark}{line}");
    }
    text
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "crash matrix of `{}`: {} is broken",
            self.saga, self.promise
        )?;
        writeln!(f, "\n  {}\n", self.words)?;
        let input: String = self.input.chars().take(INPUT_MAX).collect();
        writeln!(f, "  input  {input}")?;
        writeln!(
            f,
            "  seed   {} (make this run again: `.replay(\"{}\")`)",
            self.seed, self.seed
        )?;
        match &self.plan[..] {
            [] => writeln!(f, "  plan   no fault at all")?,
            plan => {
                for (nth, planned) in plan.iter().enumerate() {
                    let name = if nth == 0 { "plan" } else { "" };
                    writeln!(
                        f,
                        "  {name:<6} {}. {}: {}",
                        nth + 1,
                        planned.site,
                        planned.fault
                    )?;
                }
            }
        }
        write!(
            f,
            "\nwhat happened, in virtual time (W1 is the first worker process):\n\n{}",
            self.story
        )
    }
}

/// The same: it is read where somebody unwraps it.
impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Violation {}
