//! Whether a run has kept the promises, by its story alone.
//!
//! Invariant: nothing that the engine or the store says of itself is believed where the story shows it: what may have had an effect is
//! known from the attempts, whose an instance is from the claims, and which events there are from those who published them.

mod attempts;
mod ending;
mod rows;

use crate::{
    fault::{Fault, Kind, Site},
    promise::{Broken, Promise},
    story::{Again, End, EventNumber, Line, ProcessNumber, What},
};
use sagaz_core::{
    Definition, FailureReason,
    store::{InstanceState, StepState},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What a run without faults has shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Undisturbed {
    /// How the instance ends, if that is how it ends when attempts are repeated, too.
    ending: Option<InstanceState>,
    /// The steps that fail by themselves, and not for good.
    moody: BTreeSet<usize>,
}

impl Undisturbed {
    pub(crate) fn of(state: Option<InstanceState>, story: &[Line]) -> Self {
        let (mut moody, mut fails_for_good) = (BTreeSet::new(), false);
        for line in story {
            let What::Ends(attempt, end) = &line.what else {
                continue;
            };
            match end {
                End::Failed {
                    again: Again::No, ..
                } if attempt.kind == Kind::Action => fails_for_good = true,
                End::Failed {
                    again: Again::Yes, ..
                }
                | End::TimedOut { .. }
                | End::Panicked { .. } => drop(moody.insert(attempt.step)),
                _ => {}
            }
        }
        let is_sure = state == Some(InstanceState::Completed) || fails_for_good;
        Self {
            // What fails by itself uses up attempts that a takeover uses up, too.
            ending: state.filter(|_| is_sure && moody.is_empty()),
            moody,
        }
    }
}

/// How an instance ended.
#[derive(Clone, Debug)]
pub(crate) struct Conclusion {
    pub(crate) is_over: bool,
    /// How long it had, in virtual time.
    pub(crate) limit: Duration,
    pub(crate) state: Option<InstanceState>,
    pub(crate) instances: usize,
    pub(crate) started_again: Result<(), String>,
    /// Why it was undone.
    pub(crate) failure: Option<FailureReason>,
    pub(crate) undisturbed: Undisturbed,
    /// Whether every fault that happened is of processes, networks and stores.
    pub(crate) is_weather: bool,
}

/// What is known of one step at a line of the story.
#[derive(Clone, Debug, Default)]
struct Step {
    /// What is stored of it.
    state: Option<StepState>,
    has_output: bool,
    /// An attempt may have had an effect.
    doubt: bool,
    /// Processes in which an attempt of it completed, and what it published.
    completed: Vec<(ProcessNumber, Vec<EventNumber>)>,
    undone: Vec<(ProcessNumber, Vec<EventNumber>)>,
    begun: u32,
    undo_begun: u32,
    key: Option<String>,
    undo_key: Option<String>,
    /// Processes in which the user's recovery has given an output.
    recovered: BTreeSet<ProcessNumber>,
    /// An attempt has said that none under its key had an effect.
    denied: bool,
    /// What was injected into its attempts, or into those to undo it, is why they failed.
    hurt: bool,
    undo_hurt: bool,
    /// The last attempt failed by itself, and if so, whether for good.
    failed_itself: Option<Again>,
    undo_failed_itself: bool,
}

/// How far a cancel has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cancel {
    NotAsked,
    Asked,
    /// The owner knows.
    Heard,
}

struct Judge<'a> {
    definition: &'static Definition,
    story: &'a [Line],
    steps: Vec<Step>,
    /// The descendants of each step.
    below: Vec<BTreeSet<usize>>,
    owner: Option<(ProcessNumber, u64)>,
    epoch: u64,
    claims: u32,
    state: InstanceState,
    pivot_passed: bool,
    failed: bool,
    /// What does not depend on the failed step still begins.
    finishes_first: bool,
    cancel: Cancel,
    /// The reply to the next write says nothing of a cancel: it is lost, or it was made before.
    reply_is_silent: bool,
    is_poisoned: bool,
    stuck_step: Option<String>,
    /// Attempts that run, by process.
    running: BTreeMap<(ProcessNumber, usize), u32>,
    stored_events: Vec<(EventNumber, String)>,
    published: Vec<(EventNumber, String)>,
    at: usize,
}

type Judged = Result<(), Broken>;

/// The first promise that was broken.
pub(crate) fn judge(
    definition: &'static Definition,
    story: &[Line],
    conclusion: &Conclusion,
) -> Judged {
    let steps = definition.steps.len();
    let mut below = vec![BTreeSet::new(); steps];
    for step in (0..steps).rev() {
        for &dependent in definition.steps[step].dependents {
            let dependent = usize::from(dependent);
            let further = below[dependent].clone();
            below[step].insert(dependent);
            below[step].extend(further);
        }
    }
    let mut judge = Judge {
        definition,
        story,
        steps: vec![Step::default(); steps],
        below,
        owner: None,
        epoch: 0,
        claims: 0,
        state: InstanceState::Pending,
        pivot_passed: false,
        failed: false,
        finishes_first: false,
        cancel: Cancel::NotAsked,
        reply_is_silent: false,
        is_poisoned: false,
        stuck_step: None,
        running: BTreeMap::new(),
        stored_events: Vec::new(),
        published: Vec::new(),
        at: 0,
    };
    for (at, line) in story.iter().enumerate() {
        judge.at = at;
        judge.line(line)?;
    }
    judge.end(conclusion)
}
impl Judge<'_> {
    fn broken<T>(&self, promise: Promise, words: impl Into<String>) -> Result<T, Broken> {
        Err(Broken {
            promise,
            words: words.into(),
            line: (self.at < self.story.len()).then_some(self.at),
        })
    }

    fn name(&self, step: usize) -> &'static str {
        self.definition.steps[step].name
    }

    fn line(&mut self, line: &Line) -> Judged {
        let process = line.process;
        match &line.what {
            What::Accepted { owned, epoch } => {
                self.owner = owned.then_some((process, *epoch));
                self.epoch = *epoch;
                Ok(())
            }
            What::Claimed { epoch, taken_over } => self.claimed(process, *epoch, *taken_over),
            What::Begins(attempt) => self.begins(process, attempt),
            What::Ends(attempt, end) => {
                self.ends(process, attempt, end);
                Ok(())
            }
            What::Stored(stored) => self.stored(process, stored),
            What::Published { event, key, .. } => {
                self.published.push((*event, key.clone()));
                Ok(())
            }
            What::CancelRequested { granted: true } => {
                if self.cancel == Cancel::NotAsked {
                    self.cancel = Cancel::Asked;
                }
                Ok(())
            }
            What::Poisoned => {
                self.state = InstanceState::Stuck;
                self.is_poisoned = true;
                self.owner = None;
                Ok(())
            }
            What::Fault(Site::Write(_) | Site::Commit(_), Fault::ReplyLost)
            | What::Fault(Site::Commit(_), Fault::Cancelled) => {
                self.reply_is_silent = true;
                Ok(())
            }
            // The next look finds the instance, as one that was taken over.
            What::Fault(Site::Claim, Fault::ReplyLost) => {
                self.doubt_what_was_ready();
                Ok(())
            }
            What::Fault(_, Fault::OutputRefused) => {
                for step in &mut self.steps {
                    step.hurt = true;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn claimed(&mut self, process: ProcessNumber, epoch: u64, taken_over: bool) -> Judged {
        if epoch <= self.epoch {
            return self.broken(
                Promise::P7,
                format!(
                    "a new owner has epoch {epoch}, and the former one had {}",
                    self.epoch
                ),
            );
        }
        if !self.state.is_live() {
            let words = format!("an instance that is {} was claimed", self.state);
            return self.broken(Promise::P8, words);
        }
        self.owner = Some((process, epoch));
        self.epoch = epoch;
        self.claims += 1;
        self.hear_cancel();
        if taken_over {
            self.doubt_what_was_ready();
        }
        Ok(())
    }

    /// The former owner may have begun whatever it could.
    fn doubt_what_was_ready(&mut self) {
        let goes_on = !self.failed || self.finishes_first;
        for step in 0..self.steps.len() {
            let is = &self.steps[step];
            let is_completed =
                |&it: &u16| self.steps[usize::from(it)].state == Some(StepState::Completed);
            let was_ready = goes_on
                && !is.has_output
                && !(self.failed && is.state.is_some())
                && self.definition.steps[step]
                    .depends_on
                    .iter()
                    .all(is_completed);
            let was_in_flight = is.state == Some(StepState::Running);
            self.steps[step].doubt |= (was_ready || was_in_flight) && !self.is_transactional(step);
        }
    }

    /// Whether a step may have had its effect, and there is something to undo it that has not done so.
    fn is_left(&self, step: usize) -> bool {
        let is = &self.steps[step];
        self.definition.steps[step].compensation.is_some()
            && (is.doubt || is.has_output)
            && is.state != Some(StepState::Compensated)
    }

    /// The owner reads the instance, or has the reply to a write of its own.
    fn hear_cancel(&mut self) {
        if self.cancel == Cancel::Asked {
            self.cancel = Cancel::Heard;
        }
    }

    fn is_transactional(&self, step: usize) -> bool {
        self.definition.steps[step].transactional
    }

    fn is_ready(&self, step: usize) -> bool {
        let depends_on = self.definition.steps[step].depends_on;
        depends_on
            .iter()
            .all(|&it| self.steps[usize::from(it)].has_output)
    }
}
