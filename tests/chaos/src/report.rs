//! What a run was, in Markdown: for its end, and for `docs/reliability.md`.

mod recovery;

use crate::{
    audit::{Evidence, Finding},
    faults::Injected,
    ledger::What,
    order::Kind,
    place::AnyError,
    schedule::{Fault, Kind as FaultKind},
    settings::Settings,
};
use recovery::Times;
use sagaz::InstanceState;
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
    path::Path,
    time::Duration,
};

/// All that is told.
pub(crate) struct Run<'r> {
    pub(crate) settings: &'r Settings,
    /// Less than it was told to, if somebody had enough.
    pub(crate) lasted: Duration,
    /// What the store's disk is, and if it has none of its own, why.
    pub(crate) disk: Option<&'static str>,
    pub(crate) no_disk: Option<&'r str>,
    pub(crate) evidence: &'r Evidence,
    pub(crate) faults: &'r [Injected],
    /// Faults that nobody met, and that are not counted.
    pub(crate) missed: &'r [Fault],
    /// What workers counted.
    pub(crate) counts: &'r BTreeMap<String, u64>,
    pub(crate) findings: &'r [Finding],
}

const BEGIN: &str = "<!-- figures of `cargo xtask chaos` begin -->";
const END: &str = "<!-- figures of `cargo xtask chaos` end -->";

/// Puts the report between the markers of a page.
pub(crate) fn put_into(page: &Path, report: &str) -> Result<(), AnyError> {
    let text = std::fs::read_to_string(page)?;
    let (before, rest) = text
        .split_once(BEGIN)
        .ok_or_else(|| format!("{} has no line `{BEGIN}`", page.display()))?;
    let (_, after) = rest
        .split_once(END)
        .ok_or_else(|| format!("{} has no line `{END}`", page.display()))?;
    std::fs::write(page, format!("{before}{BEGIN}\n\n{report}\n{END}{after}"))?;
    Ok(())
}

pub(crate) fn markdown(run: &Run<'_>) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = head(run, &mut text);
    let _ = load(run, &mut text);
    let _ = faults(run, &mut text);
    let _ = recovery(run, &mut text);
    text
}

fn head(run: &Run<'_>, text: &mut String) -> std::fmt::Result {
    let settings = run.settings;
    let minutes = if run.lasted + Duration::from_secs(5) < settings.lasting() {
        format!(
            "{:.1} of {}",
            run.lasted.as_secs_f64() / 60.0,
            settings.minutes
        )
    } else {
        settings.minutes.to_string()
    };
    writeln!(
        text,
        "`cargo xtask chaos --store {} --broker {} --minutes {} --workers {} --rate {} --seed {}`: {} faults in {minutes} \
         minutes, {}.\n",
        word(&settings.store),
        word(&settings.broker),
        settings.minutes,
        settings.workers,
        settings.rate,
        settings.seed,
        grouped(run.faults.len() as u64),
        match run.findings.len() {
            0 => "**nothing lost, nothing doubled, books balanced**".to_owned(),
            count => format!("**{count} findings**"),
        }
    )?;
    writeln!(
        text,
        "Up to {} orders a second for {} worker processes, built for {}, on {}.\n",
        settings.rate,
        settings.workers,
        if cfg!(debug_assertions) {
            "development"
        } else {
            "release"
        },
        machine()
    )?;
    match (run.disk, run.no_disk) {
        (Some(disk), _) => writeln!(text, "The store's disk was {disk}.\n"),
        (None, Some(why)) => writeln!(text, "The disk was never full: {why}.\n"),
        (None, None) => Ok(()),
    }
}

/// What it ran on, as far as the system tells.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| {
        let kibibytes = line.strip_prefix("MemTotal:")?.split_whitespace().next()?;
        let kibibytes: u64 = kibibytes.parse().ok()?;
        Some(format!(", {} GiB of memory", kibibytes.div_ceil(1 << 20)))
    });
    format!(
        "{} {}, {cores} cores{}",
        std::env::consts::OS,
        std::env::consts::ARCH,
        memory.unwrap_or_default()
    )
}

/// As it is typed.
fn word(value: &impl clap::ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn load(run: &Run<'_>, text: &mut String) -> std::fmt::Result {
    let evidence = run.evidence;
    let instances = &evidence.instances;
    let of_state = |state| instances.iter().filter(|it| it.state == state).count();
    let entries = instances.iter().filter(|it| it.order.saga == Kind::Entry);
    let count = |is_wanted: &dyn Fn(&What) -> bool| {
        evidence
            .lines
            .iter()
            .filter(|line| is_wanted(&line.what))
            .count()
    };
    let unique: HashSet<&str> = evidence
        .deliveries
        .iter()
        .map(|it| it.event.as_str())
        .collect();
    let consumed: HashSet<&str> = evidence
        .consumed
        .iter()
        .map(|it| it.event.as_str())
        .collect();
    let lived = recovery::lived_through(evidence, run.faults);
    let acknowledged: usize = evidence.accepted.values().map(Vec::len).sum();
    let calls = count(&|what| matches!(what, What::Called { .. }));
    let outputs = instances
        .iter()
        .flat_map(|it| &it.steps)
        .filter(|row| row.output.is_some());
    let effects = count(&|what| matches!(what, What::Done { .. }));
    let rows = [
        ("instances", instances.len()),
        ("those with transactional steps", entries.count()),
        ("completed", of_state(InstanceState::Completed)),
        ("rolled back", of_state(InstanceState::RolledBack)),
        ("stuck", of_state(InstanceState::Stuck)),
        ("acknowledged starts, repeated ones included", acknowledged),
        (
            "cancels asked for",
            count(&|what| matches!(what, What::CancelAsked { .. })),
        ),
        ("that were under way during a fault", lived.at_least_one),
        ("that lost their owner to a kill", lived.orphaned),
        (
            "takeovers",
            count(&|what| matches!(what, What::Claimed { taken_over: true })),
        ),
        ("attempts of steps", calls),
        ("outputs stored", outputs.count()),
        ("effects of services", effects),
        (
            "effects asked for again, and recognised by their key",
            count(&|what| matches!(what, What::Repeated { .. })),
        ),
        (
            "effects refused because their undo was faster",
            count(&|what| matches!(what, What::Refused { .. })),
        ),
        (
            "effects of services that were undone",
            count(&|what| matches!(what, What::Undone { was_there, .. } if *was_there)),
        ),
        (
            "undone before there was an effect",
            count(&|what| matches!(what, What::Undone { was_there, .. } if !*was_there)),
        ),
        (
            "undone again, which changed nothing",
            count(&|what| matches!(what, What::UndoRepeated { .. })),
        ),
        ("different events that came", unique.len()),
        (
            "of them that came again to the subscriber that has no proxy",
            evidence.deliveries.len() - unique.len(),
        ),
        ("events for which the consumer wrote", consumed.len()),
    ];
    writeln!(text, "| what | count |\n|---|---:|")?;
    for (what, count) in rows {
        writeln!(text, "| {what} | {} |", grouped(count as u64))?;
    }
    writeln!(
        text,
        "\n| as workers counted it, as long as they lived | count |\n|---|---:|"
    )?;
    for (what, count) in run.counts {
        writeln!(text, "| {what} | {} |", grouped(*count))?;
    }
    writeln!(text)
}

fn faults(run: &Run<'_>, text: &mut String) -> std::fmt::Result {
    let mut kinds: BTreeMap<FaultKind, Vec<&Injected>> = BTreeMap::new();
    for fault in run.faults {
        kinds.entry(fault.fault.kind()).or_default().push(fault);
    }
    writeln!(
        text,
        "| fault | times | until the next instance completed: median | 95 % | max |\n|---|---:|---:|---:|---:|"
    )?;
    let completed = recovery::completed(run.evidence);
    for (kind, faults) in kinds {
        let times = recovery::next_completed(&completed, &faults);
        writeln!(
            text,
            "| {kind} | {} | {times} |",
            grouped(faults.len() as u64)
        )?;
    }
    let all: Vec<&Injected> = run.faults.iter().collect();
    let times = recovery::next_completed(&completed, &all);
    writeln!(text, "| all | {} | {times} |\n", grouped(all.len() as u64))?;
    let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in run
        .faults
        .iter()
        .filter(|it| it.fault.kind() == FaultKind::FillDisk)
    {
        *notes.entry(&fault.note).or_default() += 1;
    }
    for (note, count) in notes {
        writeln!(text, "Disk full, {count} times: {note}.\n")?;
    }
    let mut missed: BTreeMap<FaultKind, u64> = BTreeMap::new();
    for fault in run.missed {
        *missed.entry(fault.kind()).or_default() += 1;
    }
    if !missed.is_empty() {
        let missed = missed
            .iter()
            .map(|(kind, times)| format!("{kind} {}", grouped(*times)));
        let missed: Vec<String> = missed.collect();
        let missed = missed.join(", ");
        writeln!(text, "Not counted, since nobody met them: {missed}.\n")?;
    }
    Ok(())
}

fn recovery(run: &Run<'_>, text: &mut String) -> std::fmt::Result {
    let orphans = recovery::orphans(run.evidence, run.faults);
    let gaps = recovery::gaps(&recovery::completed(run.evidence));
    writeln!(
        text,
        "| | count | median | 95 % | max |\n|---|---:|---:|---:|---:|\n\
         | from the kill of its owner to the end of an instance | {} | {} |\n\
         | between two instances that complete | {} | {} |",
        grouped(orphans.len() as u64),
        Times::of(orphans),
        grouped(gaps.len() as u64),
        Times::of(gaps),
    )
}

/// 12345 as 12,345.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234), "1,234");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn a_report_takes_the_place_of_the_last_one() {
        let page = std::env::temp_dir().join(format!("sagaz-page-{}", std::process::id()));
        std::fs::write(&page, format!("a\n{BEGIN}\nold\n{END}\nb\n")).unwrap();
        put_into(&page, "new\n").unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        std::fs::remove_file(&page).unwrap();
        assert_eq!(text, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
    }
}
