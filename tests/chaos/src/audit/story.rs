//! The story of an instance: what the store has of it, what the ledger has, what was published, and which faults were near.

use super::Evidence;
use crate::faults::Injected;
use sagaz::SagaId;
use std::fmt::Write;

/// Faults this long before its first line and after its last one are near.
const NEAR_MS: u64 = 3_000;

pub(crate) fn story(evidence: &Evidence, faults: &[Injected], id: SagaId) -> String {
    let mut story = format!("The story of instance {id}\n");
    // Writing to a string does not fail.
    let _ = match evidence.instances.iter().find(|it| it.id == id) {
        Some(it) => writeln!(story, "  stored: {it:#?}"),
        None => writeln!(story, "  the store has nothing of it"),
    };
    let mut moments: Vec<(u64, String)> = Vec::new();
    let lines = evidence.lines.iter().filter(|line| line.id == id);
    for line in lines {
        let words = format!(
            "{:>8} process {}: {:?}",
            line.serial, line.process, line.what
        );
        moments.push((line.at_ms, words));
    }
    let first = moments.iter().map(|(at, _)| *at).min().unwrap_or_default();
    let last = moments.iter().map(|(at, _)| *at).max().unwrap_or_default();
    for fault in faults {
        if fault.ended_ms + NEAR_MS >= first && fault.began_ms <= last + NEAR_MS {
            moments.push((fault.began_ms, format!("         FAULT {fault}")));
        }
    }
    moments.sort();
    for (at, words) in moments {
        let _ = writeln!(story, "  {:>8} ms {words}", at.saturating_sub(first));
    }
    for delivery in evidence.deliveries.iter().filter(|it| it.id == id) {
        let _ = writeln!(story, "  delivered: {delivery:?}");
    }
    for entry in evidence.entries.iter().flatten().filter(|it| it.id == id) {
        let _ = writeln!(story, "  row: {entry:?}");
    }
    story
}
