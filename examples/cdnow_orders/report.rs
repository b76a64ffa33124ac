//! What is printed at the end.
#![expect(clippy::print_stdout, reason = "the report is this program's output")]

use crate::{audit::Finding, books::Total};
use sagaz::{AttemptError, Summary, prelude::*};
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const FAULTS_SHOWN: usize = 10;

/// Counts what this process does. What counts over all runs is in the store and in the books.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    attempts: AtomicU64,
    retries: AtomicU64,
    timeouts: AtomicU64,
    undo_attempts: AtomicU64,
    undone: AtomicU64,
    taken_over: AtomicU64,
    finished: AtomicU64,
}

impl Observer for Tally {
    fn observe(&self, event: &Lifecycle<'_>) {
        let counter = match event {
            Lifecycle::StepStarted { .. } => &self.attempts,
            Lifecycle::StepRetried { .. } => &self.retries,
            Lifecycle::AttemptFailed {
                error: AttemptError::TimedOut,
                ..
            } => &self.timeouts,
            Lifecycle::CompensationStarted { .. } => &self.undo_attempts,
            Lifecycle::Compensated { .. } => &self.undone,
            Lifecycle::Claimed {
                taken_over: true, ..
            } => &self.taken_over,
            Lifecycle::Finished { .. } => &self.finished,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// `failed` are those that were rolled back or are stuck.
pub(crate) fn print_orders(counted: &BTreeMap<InstanceState, u64>, failed: &[Summary]) {
    let of = |state| thousands(counted.get(&state).copied().unwrap_or(0));
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for saga in failed {
        let reason = match (&saga.stuck, &saga.failure) {
            (Some(stuck), _) => format!("STUCK: {stuck}"),
            (None, Some(failure)) => failure.to_string(),
            (None, None) => continue,
        };
        *reasons.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, orders)| Reverse(*orders));

    println!(
        "Orders        {:>7}",
        thousands(counted.values().sum::<u64>())
    );
    println!("  completed   {:>7}", of(InstanceState::Completed));
    println!("  rolled back {:>7}", of(InstanceState::RolledBack));
    println!("  stuck       {:>7}", of(InstanceState::Stuck));
    println!("\nWhy not completed");
    for (reason, orders) in reasons {
        println!("  {:>19}  {reason}", thousands(orders));
    }
}

/// What the services were asked, in all runs on these books.
pub(crate) fn print_services(totals: &[Total]) {
    println!(
        "\nServices, in all runs   requests  repeated      done    undo requests  repeated   taken back"
    );
    for (service, requests, repeated, done, undo_requests, undo_repeated, taken_back) in totals {
        let [requests, repeated, done] = [*requests, *repeated, *done].map(thousands);
        let [undo_requests, undo_repeated, taken_back] =
            [*undo_requests, *undo_repeated, *taken_back].map(thousands);
        println!(
            "  {service:<20} {requests:>10}{repeated:>10}{done:>10}{undo_requests:>17}{undo_repeated:>10}{taken_back:>13}"
        );
    }
}

pub(crate) fn print_run(tally: &Tally, took: Duration) {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let number = |counter| thousands(of(counter));
    let finished = of(&tally.finished);
    println!("\nIn this run");
    if of(&tally.attempts) + of(&tally.undo_attempts) == 0 {
        println!("  nothing was left to do: every order had ended before");
        return;
    }
    println!(
        "  {} attempts of steps, {} retries, {} timeouts; {} attempts to undo, {} steps undone",
        number(&tally.attempts),
        number(&tally.retries),
        number(&tally.timeouts),
        number(&tally.undo_attempts),
        number(&tally.undone),
    );
    println!(
        "  {} orders taken over from a process that died",
        number(&tally.taken_over)
    );
    let seconds = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = if seconds > 0.0 {
        finished as f64 / seconds
    } else {
        0.0
    };
    println!(
        "  {} orders finished in {seconds:.1} s: {rate:.0} a second",
        number(&tally.finished)
    );
}

/// Whether the books balance.
pub(crate) fn print_audit(findings: &[Finding]) -> bool {
    println!("\nAudit of the books");
    for Finding { statement, faults } in findings {
        println!(
            "  {} {statement}",
            if faults.is_empty() { "✓" } else { "✗" }
        );
        for fault in faults.iter().take(FAULTS_SHOWN) {
            println!("      {fault}");
        }
        if faults.len() > FAULTS_SHOWN {
            println!("      and {} more", thousands(faults.len() - FAULTS_SHOWN));
        }
    }
    let balanced = findings.iter().all(|finding| finding.faults.is_empty());
    println!(
        "\n{}",
        if balanced {
            "The books balance."
        } else {
            "THE BOOKS DO NOT BALANCE."
        }
    );
    balanced
}

fn thousands(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(0).to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

pub(crate) fn dollars(cents: u64) -> String {
    format!("${}.{:02}", thousands(cents / 100), cents % 100)
}
