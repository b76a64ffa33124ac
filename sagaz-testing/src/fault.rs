//! What can go wrong, and where.
//!
//! Invariant: a fault is one that a real system has. It never makes a service lie: an attempt that may have had its effect is never
//! said to have had none.

use sagaz_core::{Retry, StepDefinition};
use std::fmt;

/// What an attempt is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The step itself.
    Action,
    /// Its compensation.
    Undo,
    /// Its recovery, after the pivot.
    Recovery,
}

/// A point at which something can go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Site {
    /// An attempt begins.
    Attempt {
        /// The step.
        step: &'static str,
        /// What of it.
        kind: Kind,
        /// The number of the attempt; the first is 1.
        attempt: u32,
    },
    /// A service is about to have an effect, or reaches a [checkpoint](crate::checkpoint).
    Effect(String),
    /// A write of the engine.
    Write(String),
    /// A transaction is about to be committed.
    Commit(String),
    /// A claim has taken the instance.
    Claim,
    /// An event goes to the broker.
    Publish(String),
    /// The outbox is told what became of events.
    Mark,
}

/// What goes wrong at a [`Site`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An attempt is refused for good, and has no effect. A compensation that is refused gives up.
    Refused,
    /// So many attempts are turned away before they do anything, this one the first.
    Busy(u32),
    /// So many attempts have their effect, and nobody hears of it; this one is the first.
    NoAnswer(u32),
    /// So many attempts are lost on their way and have no effect, which nobody knows; this one is the first.
    Lost(u32),
    /// The attempt has its effect, and answers that it is still working.
    StillWorking,
    /// The attempt has its effect and then panics.
    Panics,
    /// The attempt is made twice, one after the other, with the same idempotency key: as a network repeats a request.
    Repeated,
    /// The process loses its connection to the store and so its lease; the attempt stands still, and goes on when another process
    /// has taken the instance over.
    LosesLease,
    /// The same, and when it goes on, the attempt is turned away: so that the former owner would try again.
    LosesLeaseAndFails,
    /// The process loses its lease; the attempt stands still until the instance has ended, and then goes on: as a request that a network
    /// delivers late.
    ArrivesLate,
    /// The process stops in good order, and another one starts.
    ShutsDown,
    /// Somebody asks to cancel the instance.
    Cancelled,
    /// The process dies here.
    Dies,
    /// The process dies, and what it wrote is not there.
    DiesBefore,
    /// The process dies, and what it wrote is there.
    DiesAfter,
    /// An error, and nothing happened.
    Fails,
    /// An error, and it happened: the reply was lost.
    ReplyLost,
    /// The store is away, for longer than a lease.
    Down,
    /// The store refuses this output for good, as one that is too large.
    OutputRefused,
    /// The store rolls the transaction back.
    RolledBack,
    /// The broker rejects the event, this time.
    Rejected,
}

impl Fault {
    /// Whether it says something of the business, so that the instance may end otherwise than without it. The others are of
    /// processes, networks and stores, and change nothing of how an instance ends.
    #[must_use]
    pub fn is_of_business(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::Busy(_)
                | Self::NoAnswer(_)
                | Self::Lost(_)
                | Self::Panics
                | Self::Cancelled
                | Self::OutputRefused
        )
    }

    /// Whether nobody hears what the attempt, or the first of two, has given.
    pub(crate) fn hides_the_answer(self) -> bool {
        matches!(
            self,
            Self::NoAnswer(_) | Self::StillWorking | Self::Panics | Self::Repeated
        )
    }

    /// What can happen to a call, whoever is asked for whatever, and more that can happen to calls of its kind.
    pub(crate) fn of_call(more: &[Self]) -> Vec<Self> {
        let any = [
            Self::DiesBefore,
            Self::DiesAfter,
            Self::Fails,
            Self::ReplyLost,
        ];
        [&any, more].concat()
    }

    /// What can happen to an attempt. `touched`: an earlier attempt of the same kind may have had an effect, so that a service
    /// which keeps its word refuses none any more.
    pub(crate) fn of_attempt(step: &StepDefinition, kind: Kind, touched: bool) -> Vec<Self> {
        let undo = step.compensation;
        let (retry, timeout, transactional) = match (kind, undo) {
            (Kind::Undo, Some(undo)) => (undo.retry, undo.timeout, undo.transactional),
            _ => (step.retry, step.timeout, step.transactional),
        };
        let mut faults = vec![Self::Dies, Self::ShutsDown];
        if kind == Kind::Recovery {
            faults.extend([Self::Panics, Self::Cancelled, Self::LosesLease]);
            return faults;
        }
        if !touched {
            faults.push(Self::Refused);
        }
        faults.extend(times(retry, kind == Kind::Undo || touched).map(Self::Busy));
        if !transactional {
            // An atomic step has said that an error of it means nothing happened; only a timeout says nothing of it.
            if kind == Kind::Undo || !step.atomic || timeout.is_some() {
                let all = retry.attempts.filter(|it| *it > 1);
                for times in [Some(1), all].into_iter().flatten() {
                    faults.extend([Self::NoAnswer(times), Self::Lost(times)]);
                }
            }
            faults.extend([Self::Repeated, Self::StillWorking]);
        }
        faults.extend([
            Self::Panics,
            Self::Cancelled,
            Self::LosesLease,
            Self::ArrivesLate,
        ]);
        if retry.attempts != Some(1) {
            faults.push(Self::LosesLeaseAndFails);
        }
        faults
    }
}

/// How often in a row an attempt is turned away: once, until but one attempt is left, and until none is.
fn times(retry: Retry, cannot_be_refused: bool) -> impl Iterator<Item = u32> {
    let all = retry.attempts;
    let but_one = all.map(|all| all - 1).filter(|it| *it > 1);
    // What is tried once is as good as refused, where it can be refused.
    let once = (all != Some(1) || cannot_be_refused).then_some(1);
    [once, but_one, all.filter(|all| *all > 1)]
        .into_iter()
        .flatten()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Action => "",
            Self::Undo => "undo of ",
            Self::Recovery => "recovery of ",
        })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt {
                step,
                kind,
                attempt,
            } => write!(f, "attempt {attempt} of {kind}{step}"),
            Self::Effect(what) => write!(f, "effect `{what}`"),
            Self::Write(what) => write!(f, "write of {what}"),
            Self::Commit(what) => write!(f, "commit of {what}"),
            Self::Claim => f.write_str("claim of the instance"),
            Self::Publish(what) => write!(f, "publishing of `{what}`"),
            Self::Mark => f.write_str("mark of what became of events"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused for good, and has no effect"),
            Self::Busy(1) => f.write_str("turned away, and has no effect"),
            Self::Busy(times) => write!(f, "turned away {times} times, and has no effect"),
            Self::NoAnswer(1) => f.write_str("has its effect, and nobody hears of it"),
            Self::NoAnswer(times) => {
                write!(f, "has its effect {times} times, and nobody hears of it")
            }
            Self::Lost(1) => f.write_str("lost on its way, which nobody knows"),
            Self::Lost(times) => write!(f, "lost on its way {times} times, which nobody knows"),
            Self::StillWorking => {
                f.write_str("has its effect, and answers that it is still working")
            }
            Self::Panics => f.write_str("has its effect, and panics"),
            Self::Repeated => f.write_str("made twice, with the same idempotency key"),
            Self::LosesLease => f.write_str("stands still until another process has taken over"),
            Self::LosesLeaseAndFails => f.write_str(
                "stands still until another process has taken over, and is then turned away",
            ),
            Self::ArrivesLate => f.write_str("arrives when the instance has ended elsewhere"),
            Self::ShutsDown => f.write_str("the process is shut down"),
            Self::Cancelled => f.write_str("somebody cancels the instance"),
            Self::Dies => f.write_str("the process is killed"),
            Self::DiesBefore => f.write_str("the process is killed before it takes effect"),
            Self::DiesAfter => f.write_str("the process is killed after it took effect"),
            Self::Fails => f.write_str("fails, and nothing happened"),
            Self::ReplyLost => f.write_str("happens, and its reply is lost"),
            Self::Down => f.write_str("the store is away for longer than a lease"),
            Self::OutputRefused => f.write_str("the store refuses the output for good"),
            Self::RolledBack => f.write_str("the store rolls it back"),
            Self::Rejected => f.write_str("the broker rejects it, this time"),
        }
    }
}
