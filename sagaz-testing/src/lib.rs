#![doc = include_str!("docs/crate.md")]

mod fault;
mod judge;
mod ledger;
mod matrix;
mod outside;
mod progress;
mod promise;
mod quiet;
mod report;
mod seed;
mod simulation;
mod story;

pub use fault::{Fault, Kind, Site};
pub use ledger::{Effect, Ledger, TakenBack};
pub use matrix::{CrashMatrix, Run, Verdict};
pub use outside::outside;
pub use promise::Promise;
pub use report::{Report, Violation};
pub use simulation::{SimulatedStore, checkpoint};
