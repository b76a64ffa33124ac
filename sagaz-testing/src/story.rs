//! What happened in a run, in order: the evidence that promises are judged by, and what people read.

use crate::fault::{Fault, Kind, Site};
use sagaz_core::store::{InstanceState, StepState};
use std::{fmt, time::Duration};

/// The number of a simulated process; the first is 1.
pub(crate) type ProcessNumber = usize;

/// The number of an event, in the order in which a run comes to know of them: its id is another one in each run.
pub(crate) type EventNumber = usize;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// Since the run began, in virtual time.
    pub(crate) at: Duration,
    /// Where; 0 is nowhere in particular.
    pub(crate) process: ProcessNumber,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Starts,
    Dies,
    IsCutOff,
    IsBack,
    ShutsDown,
    Fault(Site, Fault),
    Begins(Attempt),
    Ends(Attempt, End),
    Accepted {
        owned: bool,
        epoch: u64,
    },
    Claimed {
        epoch: u64,
        taken_over: bool,
    },
    Stored(StoredRows),
    WriteLost,
    Effect(String),
    Published {
        event: EventNumber,
        event_type: String,
        key: String,
    },
    Sent(EventNumber),
    CancelRequested {
        granted: bool,
    },
    Poisoned,
    StartFailed(String),
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The index of its step.
    pub(crate) step: usize,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) number: u32,
    pub(crate) key: String,
    /// For a compensation: whether it is told the output of its step.
    pub(crate) known: bool,
}

/// What an error says of another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Yes,
    No,
    StillWorking,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// With what it published.
    Completed {
        events: Vec<EventNumber>,
    },
    /// In a transaction that is still open.
    Prepared {
        events: Vec<EventNumber>,
    },
    Failed {
        words: String,
        clean: bool,
        again: Again,
        injected: bool,
    },
    TimedOut {
        injected: bool,
    },
    Panicked {
        injected: bool,
    },
    Dropped,
    /// A recovery, and what it decided.
    Recovered(Decision),
}

/// What a recovery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    RetryLater,
    UseThisOutput,
    Stuck,
    /// It decided nothing in time.
    None,
}

/// What a write has made of the instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredRows {
    /// That of its token.
    pub(crate) epoch: u64,
    pub(crate) state: InstanceState,
    pub(crate) pivot_passed: bool,
    pub(crate) released: bool,
    /// The step whose failure is the reason that it is undone; none for a cancel.
    pub(crate) failed_step: Option<String>,
    pub(crate) stuck: Option<String>,
    pub(crate) stuck_step: Option<String>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) step: usize,
    pub(crate) name: String,
    pub(crate) state: StepState,
    pub(crate) has_output: bool,
    pub(crate) events: Vec<(EventNumber, String)>,
}

impl StoredRows {
    /// In a few words, for the point at which it is written.
    pub(crate) fn words(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| format!("{} {}", row.name, row.state))
            .collect();
        let rows = rows.join(", ");
        match (rows.is_empty(), self.released) {
            (true, true) => "the release".to_owned(),
            (true, false) => format!("the state, {}", self.state),
            (false, _) => format!("{rows} (instance {})", self.state),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} #{}", self.kind, self.name, self.number)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed { .. } => f.write_str("completed"),
            Self::Prepared { .. } => f.write_str("done, in a transaction that is still open"),
            Self::Failed {
                again: Again::StillWorking,
                ..
            } => f.write_str("is still working, and may have its effect"),
            Self::Failed {
                words,
                clean,
                again,
                ..
            } => {
                let effect = if *again == Again::No && *clean {
                    "for good, and surely had no effect"
                } else if *clean {
                    "and had no effect"
                } else {
                    "and may have had its effect"
                };
                write!(f, "failed {effect}: {words}")
            }
            Self::TimedOut { .. } => f.write_str("timed out, and may have had its effect"),
            Self::Panicked { .. } => f.write_str("panicked"),
            Self::Dropped => f.write_str("was dropped in the middle"),
            Self::Recovered(decision) => f.write_str(match decision {
                Decision::RetryLater => "decided to try again later",
                Decision::UseThisOutput => "decided to use another output",
                Decision::Stuck => "decided that an operator is needed",
                Decision::None => "timed out",
            }),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>11.3}s  ", self.at.as_secs_f64())?;
        if self.process == 0 {
            write!(f, "   ")?;
        } else {
            write!(f, "W{:<2}", self.process)?;
        }
        match &self.what {
            What::Starts => write!(f, " the process starts"),
            What::Dies => write!(f, " ✗ THE PROCESS IS KILLED"),
            What::IsCutOff => write!(f, " ✗ THE PROCESS IS CUT OFF FROM THE STORE"),
            What::IsBack => write!(f, " the process reaches the store again"),
            What::ShutsDown => write!(f, " ✗ THE PROCESS IS SHUT DOWN"),
            What::Fault(site, fault) => write!(f, " ✗ FAULT at {site}: {fault}"),
            What::Begins(attempt) => {
                write!(f, " {attempt} begins, key {}", attempt.key)?;
                if attempt.kind == Kind::Undo && !attempt.known {
                    write!(f, ", output not known")?;
                }
                Ok(())
            }
            What::Ends(attempt, end) => write!(f, " {attempt} {end}"),
            What::Accepted { owned: true, epoch } => {
                write!(f, " stored: the instance, as its own (epoch {epoch})")
            }
            What::Accepted { owned: false, .. } => write!(f, " stored: the instance, unowned"),
            What::Claimed { epoch, taken_over } => {
                write!(f, " takes the instance")?;
                if *taken_over {
                    write!(f, " over (epoch {epoch}): what was begun may have happened")
                } else {
                    write!(f, " (epoch {epoch})")
                }
            }
            What::Stored(stored) => {
                write!(f, " stored: {}", stored.words())?;
                if let Some(stuck) = &stored.stuck {
                    write!(f, ": {stuck}")?;
                }
                Ok(())
            }
            What::WriteLost => write!(f, " a write comes too late: the instance is another's"),
            What::Effect(what) => write!(f, "   → {what}"),
            What::Published { event_type, .. } => {
                write!(f, " the broker takes an event `{event_type}`")
            }
            What::Sent(_) => write!(f, " stored: an event was sent"),
            What::CancelRequested { granted: true } => {
                write!(f, " somebody asks to cancel the instance")
            }
            What::CancelRequested { granted: false } => {
                write!(
                    f,
                    " somebody asks to cancel the instance, and that is refused"
                )
            }
            What::Poisoned => write!(f, " finds the instance to be poison: it is stuck"),
            What::StartFailed(why) => write!(f, " the start failed, and is tried again: {why}"),
        }
    }
}
