//! What is ordered: the input of the sagas, and what chance decides of each order.
//!
//! Invariant: whatever goes wrong in an order's own business, and when somebody cancels it, follows from its seed and its number alone.
//! What processes, servers and connections do to it is the schedule's.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The input of both sagas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u32,
    pub(crate) saga: Kind,
    pub(crate) cents: i64,
    pub(crate) pieces: u32,
    seed: u32,
}

/// Which saga an order is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Services of others, in the ledger.
    Order,
    /// Rows in the database of the sagas, by transactional steps.
    Entry,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Entry => "entry",
        }
    }

    /// Its steps, each behind those that it depends on.
    pub(crate) fn steps(self) -> &'static [Step] {
        match self {
            Self::Order => &[
                Step::Reserve,
                Step::Charge,
                Step::Label,
                Step::Dispatch,
                Step::Confirm,
            ],
            Self::Entry => &[Step::Enter, Step::Approve, Step::Settle],
        }
    }
}

/// The steps of both sagas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    Reserve,
    Charge,
    Label,
    Dispatch,
    Confirm,
    Enter,
    Approve,
    Settle,
}

impl Step {
    pub(crate) const ALL: [Self; 8] = [
        Self::Reserve,
        Self::Charge,
        Self::Label,
        Self::Dispatch,
        Self::Confirm,
        Self::Enter,
        Self::Approve,
        Self::Settle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Charge => "charge",
            Self::Label => "label",
            Self::Dispatch => "dispatch",
            Self::Confirm => "confirm",
            Self::Enter => "enter",
            Self::Approve => "approve",
            Self::Settle => "settle",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// The steps that it depends on.
    pub(crate) fn dependencies(self) -> &'static [Self] {
        match self {
            Self::Reserve | Self::Enter => &[],
            Self::Charge | Self::Label => &[Self::Reserve],
            Self::Dispatch => &[Self::Charge, Self::Label],
            Self::Confirm => &[Self::Dispatch],
            Self::Approve => &[Self::Enter],
            Self::Settle => &[Self::Approve],
        }
    }

    /// Whether its effect is in the ledger, and not in the database of the sagas or nowhere.
    pub(crate) fn has_effect_in_ledger(self) -> bool {
        Kind::Order.steps().contains(&self)
    }

    /// Whether it writes in the database of the sagas.
    pub(crate) fn is_transactional(self) -> bool {
        matches!(self, Self::Enter | Self::Settle)
    }

    /// Whether it has a compensation.
    pub(crate) fn is_undone(self) -> bool {
        matches!(
            self,
            Self::Reserve | Self::Charge | Self::Label | Self::Enter | Self::Settle
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What chance decides; the number is the place of its die.
#[derive(Clone, Copy, Debug)]
enum Chance {
    Saga = 1,
    Pieces,
    Price,
    RefusedCharge,
    HiddenCharge,
    DeafLabel,
    RefusedDispatch,
    BusyConfirm,
    BusyUndo,
    RefusedApproval,
    Cancelled,
    CancelledAfter,
    Twice,
    Long,
    Pause = 100,
}

impl Order {
    /// `entries`: whether some are for the saga that writes in its store's database.
    pub(crate) fn new(seed: u32, number: u32, entries: bool) -> Self {
        let mut order = Self {
            number,
            saga: Kind::Order,
            cents: 0,
            pieces: 0,
            seed,
        };
        order.cents = 100 + i64::from(order.dice(Chance::Price, 10_000));
        order.pieces = 1 + order.dice(Chance::Pieces, 5);
        if entries && order.dice(Chance::Saga, 4) == 0 {
            order.saga = Kind::Entry;
        }
        order
    }

    fn dice(&self, chance: Chance, of: u32) -> u32 {
        self.roll(chance as u64, of)
    }

    fn roll(&self, place: u64, of: u32) -> u32 {
        let seed = u64::from(self.seed) << 32 | u64::from(self.number);
        let mut rng = fastrand::Rng::with_seed(seed ^ place << 48);
        // The first numbers of neighbouring seeds are alike.
        let _ = (rng.u64(..), rng.u64(..));
        rng.u32(0..of)
    }

    pub(crate) fn start_key(&self) -> String {
        format!("order-{}", self.number)
    }

    /// The key of its events: its own, one that it shares with many, or that of the instance.
    pub(crate) fn event_key(&self) -> Option<String> {
        match self.number % 3 {
            0 => Some(format!("order-{}", self.number)),
            1 => Some(format!("customer-{}", self.number % 40)),
            _ => None,
        }
    }

    /// The customer's card is refused.
    pub(crate) fn is_charge_refused(&self) -> bool {
        self.dice(Chance::RefusedCharge, 15) == 0
    }

    /// The money is taken at the first attempt, and the answer never comes.
    pub(crate) fn is_charge_hidden(&self) -> bool {
        self.dice(Chance::HiddenCharge, 15) == 0
    }

    /// Who prints labels is never reached.
    pub(crate) fn is_label_deaf(&self) -> bool {
        self.dice(Chance::DeafLabel, 25) == 0
    }

    /// The courier, who is the pivot, refuses.
    pub(crate) fn is_dispatch_refused(&self) -> bool {
        self.dice(Chance::RefusedDispatch, 40) == 0
    }

    /// How many attempts to confirm fail.
    pub(crate) fn busy_confirms(&self) -> u32 {
        self.dice(Chance::BusyConfirm, 8).saturating_sub(5)
    }

    /// Whether the first attempt to undo a charge fails.
    pub(crate) fn is_undo_busy(&self) -> bool {
        self.dice(Chance::BusyUndo, 4) == 0
    }

    pub(crate) fn is_approval_refused(&self) -> bool {
        self.dice(Chance::RefusedApproval, 8) == 0
    }

    /// After how long somebody cancels it, if at all.
    pub(crate) fn cancelled_after(&self) -> Option<Duration> {
        let is_cancelled = self.dice(Chance::Cancelled, 25) == 0;
        let after = self.dice(Chance::CancelledAfter, 600);
        is_cancelled.then(|| Duration::from_millis(after.into()))
    }

    /// Whether two clients start it at once.
    pub(crate) fn is_started_twice(&self) -> bool {
        self.dice(Chance::Twice, 20) == 0
    }

    /// How long a step, or its undo, takes: most are short, and one in twenty orders has a step that takes seconds, so that
    /// every fault meets attempts under way.
    pub(crate) fn pause(&self, step: Step, undo: bool) -> Duration {
        let nth = self.saga.steps().iter().position(|it| *it == step);
        let nth = nth.unwrap_or_default() as u64 + if undo { 10 } else { 0 };
        let long = self.dice(Chance::Long, 100);
        // A charge has a timeout, and a transaction holds locks.
        let may_be_long = !matches!(step, Step::Charge | Step::Enter | Step::Settle);
        let millis = if may_be_long && u64::from(long) == nth {
            1_000 + self.roll(Chance::Pause as u64 + nth, 4_000)
        } else {
            self.roll(Chance::Pause as u64 + nth, 120)
        };
        Duration::from_millis(millis.into())
    }
}
