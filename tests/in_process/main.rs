//! Runs in this process: what a saga promises without a store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod attempts;
mod errors;
mod pivot;
mod run;
mod strategies;
mod timing;
mod undo;

use sagaz::{Outcome, StepError};
use support::{Act, SECOND};

fn clean() -> StepError {
    StepError::retryable("refused").clean()
}

fn unclear() -> StepError {
    StepError::retryable("broken")
}

fn permanent() -> StepError {
    StepError::permanent("declined")
}

fn sleeping(seconds: u64) -> Act {
    Act::Sleep(SECOND * u32::try_from(seconds).unwrap())
}

#[track_caller]
fn position(list: &[String], what: &str) -> usize {
    list.iter()
        .position(|it| it == what)
        .unwrap_or_else(|| panic!("no `{what}` in {list:?}"))
}

fn failure<T>(outcome: Outcome<T>) -> sagaz::Failure {
    match outcome {
        Outcome::RolledBack(failure) => failure,
        Outcome::Stuck(stuck) => panic!("not rolled back: {stuck:?}"),
        Outcome::Completed(_) => panic!("not rolled back: completed"),
    }
}

fn stuck<T>(outcome: Outcome<T>) -> sagaz::Stuck {
    match outcome {
        Outcome::Stuck(stuck) => stuck,
        Outcome::RolledBack(failure) => panic!("not stuck: {failure:?}"),
        Outcome::Completed(_) => panic!("not stuck: completed"),
    }
}
