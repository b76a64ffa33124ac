//! How many instructions a run costs: a gate that a busy machine does not touch.
//!
//! Callgrind counts a program that makes N runs, and one that makes 2N; the difference, divided by N, is a run without its start.
//! A path that needs more than `benches/instructions.txt` says, and a little, fails. What a change is allowed to cost is
//! a decision: `--update` writes the file anew, and the commit shows it. One that needs less fails as well: as long as the file is
//! out of date, what was gained could be lost again, and nobody would see it.

use crate::{Done, at, cargo, is_ci, run, services, workspace};
use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const FILE: &str = "benches/instructions.txt";

/// What is counted, and how many runs of it. Enough that the program's end, and the tables that grow, weigh nothing.
const PATHS: [(&str, u64); 5] = [
    ("three", 2_000),
    ("failing", 2_000),
    ("diamond", 1_000),
    ("hundred", 200),
    ("durable", 1_000),
];

/// How much more or less than recorded is let pass, in percent: other versions of the C library copy memory in other ways.
const TOLERANCE: u64 = 3;

/// By the name of the path.
type Counts = BTreeMap<String, u64>;

/// The machine for which code is generated, and the compiler's version: counts of others say nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Toolchain {
    target: String,
    rustc: String,
}

pub(crate) fn command(arguments: &[&str]) -> Done {
    let is_update = match arguments {
        [] => false,
        ["--update"] => true,
        _ => return Err(format!("`{}` is not `--update`", arguments.join(" "))),
    };
    services::VALGRIND.ensure()?;
    let toolchain = toolchain()?;
    let counted = count_all()?;
    let path = workspace().join(FILE);
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    if is_update {
        fs::write(&path, updated(&recorded, &toolchain, &counted)).map_err(at(&path))?;
        eprintln!("{FILE} is written: the commit shows what a run costs now");
        return Ok(());
    }
    let (table, verdict) = compare(&recorded, &toolchain, &counted);
    eprint!("{table}");
    verdict
}

/// In a task that does more: where Valgrind cannot be had, in CI that is a failure, and elsewhere it is left out, loudly.
pub(crate) fn check() -> Done {
    match services::VALGRIND.ensure() {
        Err(why) if !is_ci() => {
            eprintln!("\nSKIPPED: the count of instructions: {why}");
            Ok(())
        }
        ensured => ensured.and_then(|()| command(&[])),
    }
}

fn count_all() -> Result<Counts, String> {
    run(&mut cargo("build --release --package sagaz-instructions"))?;
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let program = target.join("release/sagaz-instructions");
    let mut counts = Counts::new();
    for (path, runs) in PATHS {
        let (once, twice) = (
            count(&program, path, runs)?,
            count(&program, path, 2 * runs)?,
        );
        counts.insert(path.to_owned(), each(path, once, twice, runs)?);
    }
    Ok(counts)
}

/// Of one run, from what so many runs took, and twice as many.
fn each(path: &str, once: u64, twice: u64, runs: u64) -> Result<u64, String> {
    let of_runs = twice.checked_sub(once).filter(|count| *count >= runs);
    of_runs.map(|count| count / runs).ok_or_else(|| {
        format!("{} runs of `{path}` took {twice} instructions, and {runs} took {once}: nothing was counted", 2 * runs)
    })
}

/// Of the whole program.
fn count(program: &Path, path: &str, runs: u64) -> Result<u64, String> {
    let mut valgrind = Command::new("valgrind");
    // Without an environment: whose is longer, would need more.
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([path, &runs.to_string()])
        .env_clear();
    if let Some(path) = env::var_os("PATH") {
        valgrind.env("PATH", path);
    }
    let output = valgrind
        .output()
        .map_err(|error| format!("failed to start valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("valgrind failed on `{path}`:\n{said}"));
    }
    collected(&said).ok_or_else(|| format!("valgrind tells no count of `{path}`:\n{said}"))
}

/// From a line such as `==17== Collected : 4711`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    line?.1.trim().parse().ok()
}

fn toolchain() -> Result<Toolchain, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc)
        .arg("-vV")
        .current_dir(workspace())
        .output()
        .map_err(|error| format!("failed to start rustc: {error}"))?;
    let said = String::from_utf8_lossy(&told.stdout);
    let of = |name: &str| {
        let value = said.lines().find_map(|line| line.strip_prefix(name));
        value
            .map(|value| value.trim().to_owned())
            .ok_or_else(|| format!("rustc tells no `{name}`"))
    };
    Ok(Toolchain {
        target: of("host:")?,
        rustc: of("release:")?,
    })
}

/// The recorded lines: toolchain, path, count.
fn lines(recorded: &str) -> impl Iterator<Item = (Toolchain, &str, u64)> {
    recorded.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let &[target, rustc, path, count] = &words[..] else {
            return None;
        };
        let toolchain = Toolchain {
            target: target.to_owned(),
            rustc: rustc.to_owned(),
        };
        Some((toolchain, path, count.parse().ok()?))
    })
}

/// A table for people, and whether all is well.
fn compare(recorded: &str, toolchain: &Toolchain, counted: &Counts) -> (String, Done) {
    let how = "`cargo xtask instructions --update` records them";
    let known: Counts = lines(recorded)
        .filter(|(of, ..)| of == toolchain)
        .map(|(_, path, count)| (path.to_owned(), count))
        .collect();
    let mut table = format!(
        "{:<10} {:>12} {:>12} {:>9}\n",
        "a run of", "recorded", "counted", "change"
    );
    let (mut more, mut less, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (path, &count) in counted {
        let Some(&known) = known.get(path) else {
            let _ = writeln!(table, "{path:<10} {:>12} {count:>12}", "-");
            unknown.push(path.as_str());
            continue;
        };
        let tenths = (i128::from(count) - i128::from(known)) * 1_000 / i128::from(known.max(1));
        let (sign, size) = (if tenths < 0 { '-' } else { '+' }, tenths.abs());
        let _ = writeln!(
            table,
            "{path:<10} {known:>12} {count:>12} {sign:>5}{}.{} %",
            size / 10,
            size % 10
        );
        if u128::from(count) * 100 > u128::from(known) * u128::from(100 + TOLERANCE) {
            more.push(path.as_str());
        } else if u128::from(count) * 100 < u128::from(known) * u128::from(100 - TOLERANCE) {
            less.push(path.as_str());
        }
    }
    let verdict = if !unknown.is_empty() {
        Err(format!(
            "{FILE} has no counts of {} for rustc {} on {}: {how}",
            unknown.join(", "),
            toolchain.rustc,
            toolchain.target
        ))
    } else if !more.is_empty() {
        Err(format!(
            "{} needs over {TOLERANCE} % more instructions than {FILE} says; if that is meant, {how}",
            more.join(", ")
        ))
    } else if !less.is_empty() {
        Err(format!(
            "{} needs over {TOLERANCE} % fewer instructions than {FILE} says, which is out of date: {how}",
            less.join(", ")
        ))
    } else {
        Ok(())
    };
    (table, verdict)
}

/// The file with these counts, for this toolchain's machine; what other machines need stays.
fn updated(recorded: &str, toolchain: &Toolchain, counted: &Counts) -> String {
    let mut all: Vec<_> = lines(recorded)
        .filter(|(of, ..)| of.target != toolchain.target)
        .map(|(of, path, count)| (of, path.to_owned(), count))
        .collect();
    let ours = counted
        .iter()
        .map(|(path, count)| (toolchain.clone(), path.clone(), *count));
    all.extend(ours);
    all.sort();
    let mut text = String::from(
        "# Instructions of one run, counted by callgrind: `cargo xtask instructions`, with `--update` to write them anew.\n\
         # The machine, the compiler's version, the path, and the count.\n",
    );
    for (of, path, count) in all {
        let _ = writeln!(text, "{} {} {path} {count}", of.target, of.rustc);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(target: &str, rustc: &str) -> Toolchain {
        Toolchain {
            target: target.to_owned(),
            rustc: rustc.to_owned(),
        }
    }

    fn counts(of: &[(&str, u64)]) -> Counts {
        of.iter()
            .map(|(path, n)| ((*path).to_owned(), *n))
            .collect()
    }

    #[test]
    fn a_path_that_needs_over_three_percent_more_fails() {
        let linux = on("linux", "1.95.0");
        let recorded = updated("", &linux, &counts(&[("failing", 500), ("three", 1_000)]));
        let verdict = |three| {
            compare(
                &recorded,
                &linux,
                &counts(&[("failing", 500), ("three", three)]),
            )
            .1
        };
        assert_eq!(verdict(1_000), Ok(()));
        assert_eq!(verdict(1_030), Ok(()));
        let why = verdict(1_031).expect_err("it needs more");
        assert!(why.starts_with("three needs over 3 % more"), "{why}");
        assert!(why.contains("--update"), "{why}");
    }

    #[test]
    fn a_file_that_a_cheaper_path_has_left_behind_fails() {
        let linux = on("linux", "1.95.0");
        let recorded = updated("", &linux, &counts(&[("three", 1_000)]));
        let compared = |three| compare(&recorded, &linux, &counts(&[("three", three)]));
        assert_eq!(compared(970).1, Ok(()));
        let (table, verdict) = compared(969);
        assert!(table.contains("-3.1 %"), "{table}");
        let why = verdict.expect_err("it needs less");
        assert!(why.starts_with("three needs over 3 % fewer"), "{why}");
        assert!(
            why.contains("out of date: `cargo xtask instructions --update`"),
            "{why}"
        );
    }

    #[test]
    fn a_count_that_does_not_grow_with_the_runs_is_none() {
        assert_eq!(each("three", 1_000, 3_000, 10), Ok(200));
        for twice in [900, 1_000, 1_009] {
            let why = each("three", 1_000, twice, 10).expect_err("nothing was counted");
            assert!(why.contains("20 runs of `three`"), "{why}");
        }
    }

    #[test]
    fn counts_of_another_compiler_or_machine_or_of_no_path_do_not_pass() {
        let linux = on("linux", "1.95.0");
        let counted = counts(&[("three", 1_000)]);
        let recorded = updated("", &linux, &counted);
        for other in [on("linux", "1.96.0"), on("macos", "1.95.0")] {
            assert!(compare(&recorded, &other, &counted).1.is_err(), "{other:?}");
        }
        assert!(compare("", &linux, &counted).1.is_err());
        let another = counts(&[("another", 1), ("three", 1_000)]);
        assert!(compare(&recorded, &linux, &another).1.is_err());
    }

    #[test]
    fn an_update_keeps_what_other_machines_need() {
        let (linux, newer, macos) = (
            on("linux", "1.95.0"),
            on("linux", "1.96.0"),
            on("macos", "1.95.0"),
        );
        let recorded = updated("", &linux, &counts(&[("three", 1_000)]));
        let recorded = updated(&recorded, &macos, &counts(&[("three", 2_000)]));
        let recorded = updated(&recorded, &newer, &counts(&[("three", 900)]));
        let told: Vec<_> = lines(&recorded).collect();
        assert_eq!(told, [(newer, "three", 900), (macos, "three", 2_000)]);
    }

    #[test]
    fn a_count_is_read_from_what_valgrind_says() {
        let said = "==17== Events    : Ir\n==17== Collected : 4711\n==17==\n";
        assert_eq!(collected(said), Some(4711));
        assert_eq!(collected("==17== killed\n"), None);
    }
}
