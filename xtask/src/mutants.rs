//! The crash matrix over all pairs of faults on all shapes; and engines that are broken on purpose, each of which it has to catch.
//!
//! The list is `tests/matrix/mutants.txt`. All changes are put into one copy of the sources, each behind a switch that the
//! environment sets, so that one build serves them all. Invariant: the sources themselves know nothing of this.

use crate::{Done, at, cargo, run, workspace};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

const LIST: &str = "tests/matrix/mutants.txt";

/// What has to be in the copy, so that the hunter can be built there.
const SOURCES: [&str; 13] = [
    "Cargo.lock",
    "src",
    "sagaz-core",
    "sagaz-macros",
    "sagaz-outbox",
    "sagaz-brokers",
    "sagaz-storage",
    "sagaz-observe",
    "sagaz-testing",
    "migrations",
    "examples/cdnow_orders",
    "examples/data",
    "tests/matrix",
];

/// The exit code of a hunt that has found something.
const FOUND: i32 = 3;

/// An engine that is broken on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mutant {
    name: String,
    words: String,
    /// The promises of which one has to be what catches it.
    caught_by: Vec<String>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Change {
    file: String,
    from: String,
    to: String,
}

/// Runs the matrix on the engine as it is, and then hunts all mutants; or hunts only those that are named.
pub(crate) fn hunt(names: &[&str]) -> Done {
    let list = workspace().join(LIST);
    let text = fs::read_to_string(&list).map_err(|error| format!("{LIST}: {error}"))?;
    let mutants = parse(&text)?;
    if let Some(unknown) = names
        .iter()
        .find(|name| mutants.iter().all(|it| it.name != **name))
    {
        return Err(format!("{LIST} has no mutant `{unknown}`"));
    }
    let copy = workspace().join("target/mutants");
    copy_sources(&copy, &mutated(&mutants)?)?;
    let hunter = build(&copy)?;
    if names.is_empty() {
        let healthy = Command::new(&hunter).arg("all").status();
        if !healthy.is_ok_and(|status| status.success()) {
            return Err("a promise is broken without any mutation: see above".to_owned());
        }
    }
    let chosen: Vec<Mutant> = mutants
        .into_iter()
        .filter(|it| names.is_empty() || names.contains(&it.name.as_str()))
        .collect();
    let complaints = side_by_side(&chosen, |mutant| judge(mutant, &hunter, !names.is_empty()));
    let complaints: Vec<String> = complaints.into_iter().flatten().collect();
    if complaints.is_empty() {
        eprintln!("all {} mutants are caught", chosen.len());
        Ok(())
    } else {
        Err(complaints.join("\n"))
    }
}

/// What is wrong with the hunt of a mutant.
fn judge(mutant: &Mutant, hunter: &Path, tells_story: bool) -> Option<String> {
    let output = match hunt_one(hunter, &mutant.name) {
        Ok(output) => output,
        Err(why) => return Some(why),
    };
    let told = String::from_utf8_lossy(&output.stdout);
    if tells_story {
        eprintln!("{told}");
    }
    let first = told.lines().next().unwrap_or_default();
    let name = &mutant.name;
    match output.status.code() {
        Some(FOUND) if mutant.caught_by.iter().any(|by| names_promise(first, by)) => {
            eprintln!("caught: {name}: {first}");
            None
        }
        Some(FOUND) => Some(format!(
            "{name} is caught by another promise than {}: {first}",
            mutant.caught_by.join(" or ")
        )),
        Some(0) => Some(format!("{name} is not caught: {}", mutant.words)),
        _ => Some(format!(
            "the hunt of {name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// Whether a violation's first line is of this promise: by its number, or `weather`, or `invariant`.
fn names_promise(line: &str, promise: &str) -> bool {
    match promise {
        "weather" => line.contains("are not business errors is broken"),
        "invariant" => line.contains("your invariant is broken"),
        number => line.contains(&format!(": {number}, ")),
    }
}

fn hunt_one(hunter: &Path, mutant: &str) -> Result<Output, String> {
    Command::new(hunter)
        .arg("hunt")
        .env("SAGAZ_MUTANT", mutant)
        .output()
        .map_err(at(hunter))
}

/// Does `work` for each mutant, on as many threads as there are cores.
fn side_by_side<T: Send>(mutants: &[Mutant], work: impl Fn(&Mutant) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let worker = || {
        while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = work(mutant);
            results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(result);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn build(copy: &Path) -> Result<PathBuf, String> {
    let target = env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| workspace().join("target"), PathBuf::from);
    run(
        cargo("build --release --package sagaz-matrix --manifest-path")
            .arg(copy.join("Cargo.toml"))
            // Built once, and run for about as long as the rest of the optimizer would take.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_TARGET_DIR", &target),
    )?;
    Ok(target.join("release/sagaz-matrix"))
}

/// The sources as they are, with a workspace of those members alone. What is the same as in an earlier copy is not written again, so
/// that it is not built again.
fn copy_sources(copy: &Path, mutated: &BTreeMap<String, String>) -> Done {
    for source in SOURCES {
        copy_all(source, copy, mutated)?;
    }
    let manifest = workspace().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(at(&manifest))?;
    let without_targets = text.replace("[[bench]]", "[[package.metadata.bench]]");
    let without_targets = without_targets.replace("[[test]]", "[[package.metadata.test]]");
    let without_targets = without_targets.replace("[[example]]", "[[package.metadata.example]]");
    let lines = without_targets.lines().map(|line| {
        if line.starts_with("members = ") {
            "members = [\"tests/matrix\"]"
        } else {
            line
        }
    });
    let text: Vec<_> = lines.collect();
    write_if_new(&copy.join("Cargo.toml"), text.join("\n").as_bytes())
}

/// A file or a folder of the workspace; a mutated file as it was made.
fn copy_all(source: &str, copy: &Path, mutated: &BTreeMap<String, String>) -> Done {
    let (from, to) = (workspace().join(source), copy.join(source));
    let failed = at(&from);
    if from.is_dir() {
        remove_what_is_gone(&from, &to)?;
        for entry in fs::read_dir(&from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            copy_all(
                &format!("{source}/{}", name.to_string_lossy()),
                copy,
                mutated,
            )?;
        }
        return Ok(());
    }
    match mutated.get(source) {
        Some(text) => write_if_new(&to, text.as_bytes()),
        None => write_if_new(&to, &fs::read(&from).map_err(failed)?),
    }
}

/// What an earlier copy has, and the sources have no more.
fn remove_what_is_gone(from: &Path, to: &Path) -> Done {
    let Ok(entries) = fs::read_dir(to) else {
        return Ok(());
    };
    for entry in entries.filter_map(Result::ok) {
        if from.join(entry.file_name()).exists() {
            continue;
        }
        let old = entry.path();
        let removed = if old.is_dir() {
            fs::remove_dir_all(&old)
        } else {
            fs::remove_file(&old)
        };
        removed.map_err(at(&old))?;
    }
    Ok(())
}

fn write_if_new(to: &Path, bytes: &[u8]) -> Done {
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    fs::write(to, bytes).map_err(at(to))
}

/// The files that change, with all changes in them.
fn mutated(mutants: &[Mutant]) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    let read = |file: &str| -> Result<String, String> {
        fs::read_to_string(workspace().join(file)).map_err(|error| format!("{file}: {error}"))
    };
    for mutant in mutants {
        for change in &mutant.changes {
            if !files.contains_key(&change.file) {
                files.insert(change.file.clone(), read(&change.file)?);
            }
            let text = &files[&change.file];
            let changed = apply(text, mutant, change)?;
            files.insert(change.file.clone(), changed);
        }
    }
    let lib = "sagaz-core/src/lib.rs";
    let text = match files.remove(lib) {
        Some(text) => text,
        None => read(lib)?,
    };
    files.insert(lib.to_owned(), format!("{text}{SWITCH}"));
    Ok(files)
}

const SWITCH: &str = r#"
/// Whether this mutation is wanted.
pub fn is_mutant(name: &str) -> bool {
    static WANTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    *WANTED.get_or_init(|| std::env::var("SAGAZ_MUTANT").unwrap_or_default()) == *name
}
"#;

fn apply(text: &str, mutant: &Mutant, change: &Change) -> Result<String, String> {
    let found = text.matches(&change.from).count();
    if found != 1 {
        return Err(format!(
            "{LIST}: `{}` changes lines that are {found} times in {}, and they have to be there once: say how that code would be \
             broken now",
            mutant.name, change.file
        ));
    }
    let of = if change.file.starts_with("sagaz-core/") {
        "crate"
    } else {
        "sagaz_core"
    };
    let switch = format!("{of}::is_mutant(\"{}\")", mutant.name);
    Ok(text.replacen(&change.from, &change.to.replace("MUTANT", &switch), 1))
}

/// Reads the list: for each mutant `== name`, what it does, `caught by`, and its changes as `in file` with `-` and `+` lines.
fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |why: &str| Err(format!("{LIST}, line {}: {why}", at + 1));
        if let Some(name) = line.strip_prefix("== ") {
            mutants.push(Mutant {
                name: name.to_owned(),
                words: String::new(),
                caught_by: Vec::new(),
                changes: Vec::new(),
            });
            continue;
        }
        // What comes before the first is for people.
        let Some(mutant) = mutants.last_mut() else {
            continue;
        };
        let file = line
            .strip_prefix("in ")
            .or_else(|| line.strip_prefix("and in "));
        if let Some(file) = file {
            mutant.changes.push(Change {
                file: file.to_owned(),
                ..Change::default()
            });
        } else if let Some(promises) = line.strip_prefix("caught by ") {
            mutant.caught_by = promises.split(" or ").map(str::to_owned).collect();
        } else if let Some(change) = mutant.changes.last_mut() {
            let (side, line) = match line.split_at_checked(1) {
                Some(("-", line)) => (&mut change.from, line),
                Some(("+", line)) => (&mut change.to, line),
                None => continue,
                Some(_) => return wrong("a line of a change begins with `-` or `+`"),
            };
            if !side.is_empty() {
                side.push('\n');
            }
            side.push_str(line);
        } else {
            mutant.words.push_str(line);
        }
    }
    let incomplete = mutants.iter().find(|it| {
        it.changes.is_empty()
            || it.caught_by.is_empty()
            || it.changes.iter().any(|it| it.from.is_empty())
    });
    match incomplete {
        Some(mutant) => Err(format!(
            "{LIST}: `{}` does not say which promise catches it, or changes nothing",
            mutant.name
        )),
        None => Ok(mutants),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST_OF_ONE: &str = "For people.\n\n== deaf\nHears nothing.\ncaught by P1 or P7\nin sagaz-core/src/ear.rs\n-a\n-b\n+a || MUTANT\n+b\n";

    #[test]
    fn a_mutant_is_put_behind_its_switch() {
        let mutants = parse(LIST_OF_ONE).unwrap();
        assert_eq!(mutants[0].caught_by, ["P1", "P7"]);
        let text = apply("x\na\nb\ny", &mutants[0], &mutants[0].changes[0]).unwrap();
        assert_eq!(text, "x\na || crate::is_mutant(\"deaf\")\nb\ny");
    }

    #[test]
    fn code_that_is_not_there_any_more_is_an_error() {
        let mutants = parse(LIST_OF_ONE).unwrap();
        for text in ["a\nc", "a\nb\na\nb"] {
            let why = apply(text, &mutants[0], &mutants[0].changes[0]).unwrap_err();
            assert!(
                why.contains("say how that code would be broken now"),
                "{why}"
            );
        }
    }

    #[test]
    fn a_mutant_that_changes_nothing_is_an_error() {
        assert!(parse("== deaf\ncaught by P1\n").is_err());
        assert!(parse("== deaf\nin x\n-a\n+b\n").is_err());
    }

    #[test]
    fn a_violation_names_its_promise() {
        assert!(names_promise(
            "crash matrix of `x`: P1, accepted means finished is broken",
            "P1"
        ));
        assert!(!names_promise(
            "crash matrix of `x`: P10, start once is broken",
            "P1"
        ));
    }
}
