//! The promises, by their names.

use std::fmt;

/// A promise, by its name in the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Promise {
    /// Accepted means finished.
    P1,
    /// A stored output is final.
    P2,
    /// At least once, with a stable key.
    P3,
    /// Unwinding follows the graph.
    P4,
    /// Unknown is not failed.
    P5,
    /// No return after the pivot.
    P6,
    /// One owner.
    P7,
    /// Nothing vanishes.
    P8,
    /// Start once.
    P10,
    /// Event iff committed.
    P11,
    /// Bounded.
    P12,
    /// What is of processes, networks and stores changes nothing of how an instance ends.
    Weather,
    /// Two runs of one plan are the same: not one of the library, but of the saga and its services.
    Repeatable,
    /// The user's own.
    Invariant,
}

impl Promise {
    /// Those that are checked on each run.
    pub(crate) const CHECKED: [Self; 12] = [
        Self::P1,
        Self::P2,
        Self::P3,
        Self::P4,
        Self::P5,
        Self::P6,
        Self::P7,
        Self::P8,
        Self::P10,
        Self::P11,
        Self::P12,
        Self::Weather,
    ];
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P1 => "P1, accepted means finished",
            Self::P2 => "P2, a stored output is final",
            Self::P3 => "P3, at least once, with a stable key",
            Self::P4 => "P4, unwinding follows the graph",
            Self::P5 => "P5, unknown is not failed",
            Self::P6 => "P6, no return after the pivot",
            Self::P7 => "P7, one owner",
            Self::P8 => "P8, nothing vanishes",
            Self::P10 => "P10, start once",
            Self::P11 => "P11, event iff committed",
            Self::P12 => "P12, bounded",
            Self::Weather => "crashes and store errors are not business errors",
            Self::Repeatable => "two runs of one plan are the same",
            Self::Invariant => "your invariant",
        })
    }
}

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) promise: Promise,
    pub(crate) words: String,
    /// The line of the story at which it shows.
    pub(crate) line: Option<usize>,
}
