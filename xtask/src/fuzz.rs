//! The coverage-guided run of `tests/fuzz`: libFuzzer, which the crate libfuzzer-sys brings along, on stable Rust.
//!
//! Deliberately without sanitizers, which need a nightly compiler: no code of ours is unsafe. Everything is built once more, in
//! `target/fuzz`, with what counts which code runs.

use crate::{Done, at, cargo, output, run, workspace};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What rustc puts into the code for libFuzzer to look at.
const FLAGS: [&str; 7] = [
    "--cfg guided",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

const SECONDS: u64 = 60;

/// What the names of the inputs begin with for which a target failed, as libFuzzer gives them.
const FINDINGS: [&str; 3] = ["crash-", "timeout-", "oom-"];

/// What is asked for: targets, for how long each, and whether what they find is kept.
struct Wanted<'a> {
    targets: Vec<&'a str>,
    seconds: u64,
    keeps: bool,
}

pub(crate) fn command(arguments: &[&str]) -> Done {
    let all = targets()?;
    let mut wanted = Wanted {
        targets: Vec::new(),
        seconds: SECONDS,
        keeps: false,
    };
    let mut arguments = arguments.iter();
    while let Some(&argument) = arguments.next() {
        match argument {
            "--seconds" => {
                let seconds = arguments.next().and_then(|seconds| seconds.parse().ok());
                wanted.seconds = seconds
                    .filter(|seconds| *seconds > 0)
                    .ok_or("--seconds needs a whole number behind it")?;
            }
            "--keep" => wanted.keeps = true,
            name if all.iter().any(|known| known == name) => wanted.targets.push(name),
            other => {
                return Err(format!(
                    "`{other}` is no fuzz target; there are {}",
                    all.join(", ")
                ));
            }
        }
    }
    if wanted.targets.is_empty() {
        wanted.targets = all.iter().map(String::as_str).collect();
    }
    let program = build()?;
    let mut failed = Vec::new();
    for target in &wanted.targets {
        if let Err(why) = fuzz(&program, target, &wanted) {
            eprintln!("{why}");
            failed.push(*target);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{} found something. It is in tests/fuzz/corpus, in a file whose name begins with `crash-`, `timeout-` or `oom-`, and fails \
             `cargo test -p sagaz-fuzz` until it is mended: give it a name that says what it is",
            failed.join(", ")
        ))
    }
}

/// Each has a corpus.
fn targets() -> Result<Vec<String>, String> {
    let folder = workspace().join("tests/fuzz/corpus");
    let unreadable = at(&folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The fuzzer with all targets in it.
fn build() -> Result<PathBuf, String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("`rustc -vV` names no host")?;
    let folder = workspace().join("target/fuzz");
    // With a target named, even if it is this machine, programs that run during the build are left as they are.
    let mut build = cargo("build --package sagaz-fuzz --bin guided --target");
    build.arg(host).arg("--target-dir").arg(&folder);
    // Slow enough as it is, and with the checks of a debug build.
    build
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env("RUSTFLAGS", FLAGS.join(" "));
    run(&mut build)?;
    Ok(folder.join(host).join("debug/guided"))
}

fn fuzz(program: &PathBuf, target: &str, wanted: &Wanted<'_>) -> Done {
    let place = |folder: &str| {
        let place = workspace().join("target/fuzz").join(folder).join(target);
        fs::create_dir_all(&place).map_err(at(&place))?;
        Ok::<_, String>(place)
    };
    let (found, left) = (place("corpus")?, place("left")?);
    let kept = workspace().join("tests/fuzz/corpus").join(target);
    let mut command = Command::new(program);
    command
        .env("SAGAZ_FUZZ_TARGET", target)
        .arg(format!("-max_total_time={}", wanted.seconds))
        .arg(format!("-artifact_prefix={}/", left.display()))
        .args(["-timeout=60", "-report_slow_units=30", "-max_len=4096"])
        .args(["-rss_limit_mb=4096", "-print_final_stats=1"])
        // What it finds on the way goes to the first.
        .args([&found, &kept]);
    let ran = run(&mut command);
    take_in(&left, &kept)?;
    ran?;
    if wanted.keeps {
        // Only what reaches something that nothing in the corpus does.
        let mut merge = Command::new(program);
        merge
            .env("SAGAZ_FUZZ_TARGET", target)
            .arg("-merge=1")
            .args([&kept, &found]);
        run(&mut merge)?;
    }
    Ok(())
}

/// What made the target fail belongs to the corpus. An input that was slow is no finding: it stays where it is.
fn take_in(left: &Path, corpus: &Path) -> Done {
    for entry in fs::read_dir(left).map_err(at(left))? {
        let path = entry.map_err(at(left))?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str) else {
            continue;
        };
        if FINDINGS.iter().any(|finding| name.starts_with(finding)) {
            let kept = corpus.join(name);
            fs::rename(&path, &kept).map_err(at(&kept))?;
        } else {
            eprintln!("slow: {}", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_goes_into_the_corpus_and_what_is_slow_does_not() {
        let folder = std::env::temp_dir().join(format!("sagaz-fuzz-{}", std::process::id()));
        let (left, corpus) = (folder.join("left"), folder.join("corpus"));
        for place in [&left, &corpus] {
            fs::create_dir_all(place).unwrap();
        }
        for name in ["crash-1", "timeout-2", "oom-3", "slow-unit-4"] {
            fs::write(left.join(name), name).unwrap();
        }
        take_in(&left, &corpus).unwrap();
        let names = |place: &Path| {
            let entries = fs::read_dir(place).unwrap();
            let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        assert_eq!(names(&corpus), ["crash-1", "oom-3", "timeout-2"]);
        assert_eq!(names(&left), ["slow-unit-4"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
