//! What a benchmark has measured, and what the report reads: one line of JSON each.
//!
//! A figure goes with its floors. Each round measures all of them in turn, so that what else the machine did weighs on all, and
//! gives a ratio of its own.

use super::rows;
use serde::{Deserialize, Serialize};

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Of which table.
    pub(crate) table: String,
    pub(crate) case: String,
    /// How many at once, where that varies.
    pub(crate) in_flight: Option<u32>,
    /// What is counted, such as `instances/s`.
    pub(crate) unit: String,
    /// Whether it is a rate, and not a cost.
    pub(crate) more_is_better: bool,
    /// What each round has measured.
    pub(crate) rounds: Vec<f64>,
    pub(crate) floors: Vec<Floor>,
}

/// What the same work costs without this library.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Floor {
    pub(crate) name: String,
    /// What the same rounds have measured.
    pub(crate) rounds: Vec<f64>,
    /// What the ratio should at least be, of a rate, or at most, of a cost.
    pub(crate) wanted: Option<f64>,
}

/// What rounds say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    fn of(rounds: &[f64]) -> Self {
        Self {
            median: median(rounds.to_vec()),
            lowest: rounds.iter().copied().fold(f64::INFINITY, f64::min),
            highest: rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl Figure {
    /// By which it is known outside of its table.
    pub(crate) fn name(&self) -> String {
        rows::name(&self.table, &self.case, self.in_flight)
    }

    pub(crate) fn spread(&self) -> Spread {
        Spread::of(&self.rounds)
    }

    /// The figure divided by a floor, round by round: the median is one of ratios, and no ratio of medians.
    pub(crate) fn ratio(&self, floor: &Floor) -> Spread {
        let rounds = self.rounds.iter().zip(&floor.rounds);
        Spread::of(&rounds.map(|(ours, floor)| ours / floor).collect::<Vec<_>>())
    }

    /// Whether the ratio is as good as it is wanted.
    pub(crate) fn meets(&self, floor: &Floor) -> bool {
        let ratio = self.ratio(floor).median;
        floor.wanted.is_none_or(|wanted| {
            if self.more_is_better {
                ratio >= wanted
            } else {
                ratio <= wanted
            }
        })
    }
}

impl Floor {
    pub(crate) fn spread(&self) -> Spread {
        Spread::of(&self.rounds)
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
