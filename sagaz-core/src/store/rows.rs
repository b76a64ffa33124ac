//! The values that go to a store and come back.

use super::Sender;
use crate::{
    codec::Payload,
    definition::StepKind,
    event::Event,
    id::{EngineId, SagaId, Token},
    observe::Trace,
    outcome::{Failure, Stuck},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// The state of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InstanceState {
    /// Accepted; no step is stored yet.
    Pending,
    /// Going forward.
    Executing,
    /// Being undone.
    Compensating,
    /// Every step completed.
    Completed,
    /// Undone.
    RolledBack,
    /// Needs an operator.
    Stuck,
}

impl InstanceState {
    /// All states, in the order of an instance's life.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Executing,
        Self::Compensating,
        Self::Completed,
        Self::RolledBack,
        Self::Stuck,
    ];

    /// The word in the store, in logs and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Executing => "executing",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::RolledBack => "rolled_back",
            Self::Stuck => "stuck",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Completed or rolled back: nothing will change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack)
    }

    /// Whether an engine works on it, or should.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Executing | Self::Compensating)
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepState {
    /// Not begun, or to be begun anew.
    Pending,
    /// In flight when its instance began to be undone.
    Running,
    /// Its output is stored.
    Completed,
    /// Failed, and surely had no effect. With a wake-up: it will be attempted again.
    Failed,
    /// May have had its effect. With a wake-up: it will be attempted again.
    Unknown,
    /// Being undone; at least one attempt to undo it failed.
    Compensating,
    /// Undone.
    Compensated,
    /// Its compensation gave up.
    CompensationFailed,
    /// An operator said that it is undone.
    Resolved,
}

impl StepState {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Unknown,
        Self::Compensating,
        Self::Compensated,
        Self::CompensationFailed,
        Self::Resolved,
    ];

    /// The word in the store, in logs and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
            Self::CompensationFailed => "compensation_failed",
            Self::Resolved => "resolved",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One write to one instance.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Write {
    /// Stores a new instance.
    Accept(Accept),
    /// Stores the progress of an owned one.
    Progress(Progress),
}

impl Write {
    /// The instance that is written.
    #[must_use]
    pub fn id(&self) -> SagaId {
        match self {
            Self::Accept(accept) => accept.id,
            Self::Progress(progress) => progress.id,
        }
    }
}

/// A new instance, in state `Pending`, at epoch 1 if it is owned from the start, else at epoch 0 and due at once.
#[derive(Clone, Debug)]
pub struct Accept {
    /// Chosen before the first try, so that the write can be repeated.
    pub id: SagaId,
    /// The definition that it is started with.
    pub definition: DefinitionKey,
    /// What it is started with.
    pub input: Payload,
    /// The digest of the input, compared when the start key is already there.
    pub input_digest: String,
    /// The caller's idempotency key.
    pub start_key: Option<String>,
    /// The engine that runs it from the start; it must hold a lease. `None`: whichever claims it.
    pub owner: Option<EngineId>,
    /// Cancelled if its pivot is not passed this long after it was stored.
    pub deadline: Option<Duration>,
    /// The trace that it belongs to. A text that a store keeps as it is, and gives back with the instance.
    pub trace: Option<String>,
}

/// Progress of an instance, by its owner.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The instance.
    pub id: SagaId,
    /// Its owner. Another token in the store means that nothing is written.
    pub token: Token,
    /// The instance's new state.
    pub state: InstanceState,
    /// Whether the pivot's output is stored with this write or was before.
    pub pivot_passed: bool,
    /// Why it is undone; `None` leaves what is stored.
    pub failure: Option<Failure>,
    /// Why it is stuck; stored as it is, so that `None` clears it.
    pub stuck: Option<Stuck>,
    /// Gives the instance up after this write: to nobody, until the wake-up. Final and stuck instances are always given up.
    pub release: Option<Wake>,
    /// Steps whose rows are replaced.
    pub steps: Vec<StepWrite>,
    /// Who publishes the events of this write as soon as it is committed; `None`: the relay.
    pub sender: Option<Sender>,
}

/// When an instance that nobody owns is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// As soon as an engine has room.
    Now,
    /// This long after the write, by the store's clock.
    After(Duration),
}

/// The new row of a step; it replaces the old one, but an output, once stored, stays.
#[derive(Clone, Debug)]
pub struct StepWrite {
    /// The step's name.
    pub name: String,
    /// Where it stands towards the pivot.
    pub kind: StepKind,
    /// Its state.
    pub state: StepState,
    /// Attempts so far.
    pub attempts: u32,
    /// Attempts to undo it so far.
    pub undo_attempts: u32,
    /// Times that its recovery asked for one more attempt.
    pub recoveries: u32,
    /// Its output; `None` leaves what is stored.
    pub output: Option<Payload>,
    /// The words of its last error.
    pub error: Option<String>,
    /// When it is attempted again, from the write on.
    pub wake: Option<Duration>,
    /// What its attempt published: stored in the outbox if the write is applied, in this order. A write that is repeated stores
    /// none of them again.
    pub events: Vec<Event>,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Written {
    /// The new instance is stored, or was by an earlier try of the same write.
    Accepted(Accepted),
    /// The progress is stored, or was by an earlier try of the same write.
    Stored {
        /// Whether somebody asked to cancel the instance.
        cancel_requested: bool,
    },
    /// The token is no longer the instance's: nothing was written.
    Lost,
    /// Somebody else, such as a person with an open transaction, holds the instance's row or the key of an event: nothing was written, and the
    /// same write may be taken later. So one such row does not stall the rest of its batch.
    Busy,
}

/// What became of an `Accept`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is stored.
    New,
    /// Its start key was there: this instance has it, started with an input of this digest. Nothing was written.
    Existing {
        /// The instance.
        id: SagaId,
        /// The digest of the input that it was started with.
        input_digest: String,
    },
}

/// The reply to a renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Owned instances that somebody asked to cancel.
    pub cancel_requested: Vec<SagaId>,
    /// Other engines with a live lease.
    pub other_engines: u32,
    /// Whether the lease had ended, by the store's clock, or was not there, before this renewal: others may have taken
    /// over.
    pub lapsed: bool,
}

/// Names a definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefinitionKey {
    /// The saga's name.
    pub saga: String,
    /// Its version.
    pub version: u32,
    /// The fingerprint of its graph.
    pub fingerprint: String,
}

/// What became of a `define`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defined {
    /// The definition is stored.
    Stored,
    /// Another graph of this version has unfinished instances.
    Conflict {
        /// Its fingerprint.
        fingerprint: String,
        /// How many instances of it are unfinished.
        unfinished: u64,
    },
}

/// Which instances an engine can take, and how many.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The claimer.
    pub engine: EngineId,
    /// What it can run.
    pub runnable: Vec<Runnable>,
    /// The most instances to take that are no suspects.
    pub limit: u32,
    /// Whether it has room for a suspect; at most one is taken.
    pub suspect: bool,
    /// After how many takeovers without a stored step an instance is a suspect.
    pub suspect_after: u32,
    /// After how many takeovers while it ran as a suspect it is stuck.
    pub poison_after: u32,
    /// The wait before a suspect runs again doubles from this with each such takeover.
    pub suspect_delay: Duration,
    /// The longest such wait.
    pub suspect_delay_max: Duration,
}

/// A definition that an engine can run.
#[derive(Clone, Debug)]
pub struct Runnable {
    /// The definition that is registered.
    pub key: DefinitionKey,
    /// Older versions whose instances it takes over where they fit.
    pub accepts: Vec<u32>,
    /// The registered steps, against which the stored steps of an older instance are held.
    pub steps: Vec<RunnableStep>,
}

/// A registered step, as an older instance's stored step must fit it.
#[derive(Clone, Debug)]
pub struct RunnableStep {
    /// The step's name.
    pub name: String,
    /// The names of the steps that it depends on.
    pub depends_on: Vec<String>,
    /// Where it stands towards the pivot.
    pub kind: StepKind,
}

/// A stored step, as far as a claim looks at it.
#[derive(Clone, Debug)]
pub struct StoredStep {
    /// The step's name.
    pub name: String,
    /// Its state.
    pub state: StepState,
    /// Where it stood towards the pivot when it was stored.
    pub kind: StepKind,
}

/// What a store knows of an instance when it decides on a claim.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The definition that is stored with it.
    pub saga: &'a str,
    /// Its version.
    pub version: u32,
    /// Its fingerprint.
    pub fingerprint: &'a str,
    /// Takeovers since a step was last stored.
    pub takeovers: u32,
    /// Whether its owner died; `false` for one that was released or never owned.
    pub orphaned: bool,
}

/// What becomes of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not for this engine: left untouched.
    Skip,
    /// Taken, under this definition.
    Take(DefinitionKey),
    /// A suspect: taken under this definition if there is room for one, else left untouched.
    TakeSuspect(DefinitionKey),
    /// A suspect whose owner died: its takeover is counted, and it becomes due, unowned, after the delay.
    Postpone(Duration),
    /// Poison: its takeover is counted, and it becomes stuck.
    Poison,
}

impl Claim {
    /// Decides on one candidate. A store calls it in the transaction of the claim, so that no two engines decide on one
    /// instance. `steps` are all stored steps of it; they matter only for an instance of an older version.
    #[must_use]
    pub fn judge(&self, candidate: &Candidate<'_>, steps: &[StoredStep]) -> Verdict {
        let Some(runnable) = self.runnable.iter().find(|runnable| {
            runnable.key.saga == candidate.saga
                && (runnable.key.version == candidate.version
                    && runnable.key.fingerprint == candidate.fingerprint
                    || runnable.accepts.contains(&candidate.version)
                        && runnable.key.version != candidate.version)
        }) else {
            return Verdict::Skip;
        };
        if runnable.key.version != candidate.version && !runnable.fits(steps) {
            return Verdict::Skip;
        }
        // A candidate that was owned by a suspect-runner has run: its death counts.
        let takeovers = candidate.takeovers + u32::from(candidate.orphaned);
        if takeovers < self.suspect_after {
            return Verdict::Take(runnable.key.clone());
        }
        let as_suspect = takeovers - self.suspect_after;
        if as_suspect >= self.poison_after {
            return Verdict::Poison;
        }
        if candidate.orphaned && as_suspect > 0 {
            let delay = self
                .suspect_delay
                .saturating_mul(1 << (as_suspect - 1).min(20))
                .min(self.suspect_delay_max);
            return Verdict::Postpone(delay);
        }
        if self.suspect {
            Verdict::TakeSuspect(runnable.key.clone())
        } else {
            Verdict::Skip
        }
    }
}

impl Runnable {
    /// Whether an instance of an older version can go on here: every stored step exists with the same kind, and the
    /// stored ones are closed under the new dependencies.
    fn fits(&self, stored: &[StoredStep]) -> bool {
        let is_stored = |name: &String| stored.iter().any(|step| step.name == *name);
        stored.iter().all(|stored| {
            self.steps
                .iter()
                .find(|step| step.name == stored.name)
                .is_some_and(|step| {
                    step.kind == stored.kind && step.depends_on.iter().all(is_stored)
                })
        })
    }
}

/// The reply to a claim.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The instances that now belong to the claimer.
    pub instances: Vec<Snapshot>,
    /// Instances that this claim found to be poison: now stuck.
    pub poisoned: Vec<Poisoned>,
    /// How long until the next wake-up of an instance that nobody owns, if one is stored.
    pub next_due: Option<Duration>,
}

/// An instance that was found to be poison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poisoned {
    /// The instance.
    pub id: SagaId,
    /// Its saga.
    pub saga: String,
}

/// How many instances of a saga are in a state that is not their last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The saga.
    pub saga: String,
    /// Their state: live, or stuck.
    pub state: InstanceState,
    /// How many there are; never 0.
    pub instances: u64,
    /// How long ago the oldest of them was accepted, by the store's clock.
    pub oldest: Duration,
}

/// An instance with its steps.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Who it is and how it stands.
    pub summary: Summary,
    /// What it was started with.
    pub input: Payload,
    /// The trace that it was accepted with.
    pub trace: Option<String>,
    /// Time left until its deadline; zero if that has passed.
    pub deadline: Option<Duration>,
    /// Whether somebody asked to cancel it.
    pub cancel_requested: bool,
    /// In a claim: whether it was taken from a dead owner, whose attempts may have had their effect.
    pub taken_over: bool,
    /// In a claim: whether it was started with an older version than the one that it was taken under.
    pub adopted: bool,
    /// In a claim: whether it runs as a suspect.
    pub suspect: bool,
    /// Its steps, as far as something is stored, in no particular order.
    pub steps: Vec<StepRow>,
    /// What operators did to it, oldest first.
    pub interventions: Vec<Intervention>,
}

/// How an instance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The instance.
    pub id: SagaId,
    /// Its definition.
    pub definition: DefinitionKey,
    /// Its state.
    pub state: InstanceState,
    /// Whether it only goes forward.
    pub pivot_passed: bool,
    /// Its owner.
    pub owner: Option<EngineId>,
    /// The number of its owners so far.
    pub epoch: u64,
    /// Takeovers since a step was last stored.
    pub takeovers: u32,
    /// The caller's idempotency key.
    pub start_key: Option<String>,
    /// Why it is undone.
    pub failure: Option<Failure>,
    /// Why it is stuck.
    pub stuck: Option<Stuck>,
    /// When it was accepted, by the store's clock.
    pub created_at: SystemTime,
    /// When it was last written, by the store's clock.
    pub updated_at: SystemTime,
}

impl Summary {
    /// For stores: a summary of a new instance.
    #[must_use]
    pub fn new(id: SagaId, definition: DefinitionKey, created_at: SystemTime) -> Self {
        Self {
            id,
            definition,
            state: InstanceState::Pending,
            pivot_passed: false,
            owner: None,
            epoch: 0,
            takeovers: 0,
            start_key: None,
            failure: None,
            stuck: None,
            created_at,
            updated_at: created_at,
        }
    }
}

impl Snapshot {
    /// Its trace, if that can be read.
    pub(crate) fn read_trace(&self) -> Option<Trace> {
        Trace::from_text(self.trace.as_deref()?)
    }

    /// For stores: a snapshot without steps.
    #[must_use]
    pub fn new(summary: Summary, input: Payload) -> Self {
        Self {
            summary,
            input,
            trace: None,
            deadline: None,
            cancel_requested: false,
            taken_over: false,
            adopted: false,
            suspect: false,
            steps: Vec::new(),
            interventions: Vec::new(),
        }
    }

    /// The token of the current owner.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.summary.owner.map(|owner| Token {
            owner,
            epoch: self.summary.epoch,
        })
    }
}

/// The stored row of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// The step's name.
    pub name: String,
    /// Its state.
    pub state: StepState,
    /// Attempts so far, as far as they were stored.
    pub attempts: u32,
    /// Attempts to undo it so far, as far as they were stored.
    pub undo_attempts: u32,
    /// Times that its recovery asked for one more attempt.
    pub recoveries: u32,
    /// Its output.
    pub output: Option<Payload>,
    /// The words of its last error.
    pub error: Option<String>,
    /// Time left until it is attempted again; zero if that has passed.
    pub wake: Option<Duration>,
    /// When the row was written, by the store's clock.
    pub updated_at: SystemTime,
}

/// What becomes of instances that have ended and are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retention {
    /// They are deleted.
    Delete,
    /// They are moved to the archive, which only people read: no engine looks into it, and nothing is ever removed from it
    /// but by them.
    Archive,
}

/// The reply to a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReply {
    /// Stored; the owner will see it, and the outcome tells what came of it.
    Requested,
    /// Refused: its pivot is passed, so it only goes forward.
    PivotPassed,
    /// Refused: it has ended or is stuck.
    NotLive(InstanceState),
    /// There is no such instance.
    NotFound,
}

/// An operator's decision on a stuck instance.
#[derive(Clone, Debug)]
pub struct OperatorWrite {
    /// The instance.
    pub id: SagaId,
    /// The epoch at which it was seen; another one in the store means that nothing is written.
    pub epoch: u64,
    /// Its new state.
    pub state: InstanceState,
    /// Whether its pivot is passed.
    pub pivot_passed: bool,
    /// Why it is undone; `None` leaves what is stored.
    pub failure: Option<Failure>,
    /// Steps whose rows are replaced.
    pub steps: Vec<StepWrite>,
    /// Who did what, and why.
    pub intervention: Intervention,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervention {
    /// What was done, such as `retry(confirm)`.
    pub action: String,
    /// By whom.
    pub who: String,
    /// For what reason.
    pub why: String,
    /// When, in milliseconds since the Unix epoch, by the store's clock; a store fills it in.
    pub at_ms: u64,
}

/// Which instances to list.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Filter {
    /// Only of this saga.
    pub saga: Option<String>,
    /// Only in one of these states; empty for all.
    pub states: Vec<InstanceState>,
    /// Only those accepted at least this long ago.
    pub older_than: Option<Duration>,
    /// At most this many; 0 is the default of 100, and no page is longer than 1,000.
    pub limit: u32,
    /// Only what comes after this place.
    pub after: Option<Cursor>,
}

impl Filter {
    /// All instances.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only of this saga.
    pub fn saga(mut self, name: impl Into<String>) -> Self {
        self.saga = Some(name.into());
        self
    }

    /// Only in this state, or in one of those given before.
    pub fn state(mut self, state: InstanceState) -> Self {
        self.states.push(state);
        self
    }

    /// Only those accepted at least this long ago.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// At most this many a page.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// The page after this place.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// The length of a page. A store looks for one more: [`Page::of`].
    #[must_use]
    pub fn page_len(&self) -> u32 {
        if self.limit == 0 {
            100
        } else {
            self.limit.min(1_000)
        }
    }
}

/// A place in a list: everything after this instance, which is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub SagaId);

/// Some instances, newest first by their ids.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The instances.
    pub instances: Vec<Summary>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl Page {
    /// The page of what a store has found, newest first: one instance more than [`Filter::page_len`] says that there is another
    /// page.
    #[must_use]
    pub fn of(filter: &Filter, mut instances: Vec<Summary>) -> Self {
        let length = filter.page_len() as usize;
        let has_more = instances.len() > length;
        instances.truncate(length);
        let last = instances.last().filter(|_| has_more);
        Self {
            next: last.map(|last| Cursor(last.id)),
            instances,
        }
    }
}
