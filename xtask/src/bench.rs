//! All benchmarks, and the page that tells what they have measured.
//!
//! The benchmarks write lines of JSON below `target/bench`, and the package `sagaz-bench` makes the page, its plots and the table in the
//! README of them. Benchmarks that are not named keep what they have measured before. Only the servers that the named ones use are
//! started; what a broker's absence leaves unmeasured is told at the end, and the page lists it.

use crate::{
    Done, at, cargo, run,
    services::{self, Kind},
    workspace,
};
use std::{fs, path::Path};

/// By the name of their target, with the servers that each uses.
const BENCHES: [(&str, &[Kind]); 10] = [
    ("in_process", &[]),
    ("observe", &[]),
    ("waiting", &[]),
    ("memory", &[]),
    ("sqlite", &[]),
    ("postgres", &[Kind::Postgres]),
    ("redis", &[Kind::Redis]),
    ("recovery", &[Kind::Postgres, Kind::Redis]),
    ("inbox", &[Kind::Postgres, Kind::Redis]),
    ("outbox", &Kind::ALL),
];

/// All but those for tests, `testing` and `conformance`: nobody measures with them.
const FEATURES: &str = "macros,sqlite,postgres,redis,outbox,kafka,rabbitmq,nats,metrics,otel";

/// Where one of these is used and cannot be had, nothing is measured. The others are brokers alone, each a few rows.
const NEEDED: [Kind; 2] = [Kind::Postgres, Kind::Redis];

pub(crate) fn command(arguments: &[&str]) -> Done {
    let (flags, names): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .partition(|argument| argument.starts_with('-'));
    if let Some(flag) = flags.iter().find(|flag| **flag != "--quick") {
        return Err(format!("`{flag}` is not `--quick`"));
    }
    let (chosen, kinds) = chosen(&names)?;
    let is_quick = !flags.is_empty();
    let folder = workspace().join(if is_quick {
        "target/bench/quick"
    } else {
        "target/bench/full"
    });
    let bench = || {
        let mut command = cargo("bench --package sagaz --features");
        command.arg(FEATURES);
        for name in &chosen {
            command.args(["--bench", name]);
        }
        command
    };
    // What does not build takes away no results, and keeps no server waiting.
    run(bench().arg("--no-run"))?;
    if names.is_empty() && folder.exists() {
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    let mut benches = bench();
    benches.env("SAGAZ_BENCH_RESULTS", &folder);
    if is_quick {
        benches.env("SAGAZ_BENCH_QUICK", "1");
    }
    let (mut servers, mut left_out) = (Vec::new(), Vec::new());
    for kind in kinds {
        match services::for_tests(kind) {
            Ok(server) => {
                benches.env(kind.variable(), &server.url);
                servers.push(server);
            }
            Err(why) if NEEDED.contains(&kind) => return Err(why),
            Err(why) => left_out.push(format!("{}: {why}", kind.name())),
        }
    }
    let done = run(&mut benches).and_then(|()| report(&folder, is_quick, &names));
    drop(servers);
    for why in left_out {
        eprintln!("\nNOT MEASURED: whatever goes to {why}");
    }
    done
}

/// The benchmarks of these names, or all, and the servers that they use.
fn chosen(names: &[&str]) -> Result<(Vec<&'static str>, Vec<Kind>), String> {
    if let Some(name) = names
        .iter()
        .find(|name| BENCHES.iter().all(|(known, _)| known != *name))
    {
        let known = BENCHES.map(|(name, _)| name).join(", ");
        return Err(format!("`{name}` is none of {known}"));
    }
    let is_meant = |(name, _): &&(&str, _)| names.is_empty() || names.contains(name);
    let benches: Vec<_> = BENCHES.iter().filter(is_meant).collect();
    let is_used = |kind: &Kind| benches.iter().any(|(_, kinds)| kinds.contains(kind));
    let kinds = Kind::ALL.into_iter().filter(is_used).collect();
    Ok((benches.iter().map(|(name, _)| *name).collect(), kinds))
}

/// A page of quick runs is made, but not kept, and only of all.
fn report(results: &Path, is_quick: bool, names: &[&str]) -> Done {
    let mut report = cargo("run --quiet --package sagaz-bench --");
    report.arg(results);
    if !is_quick {
        report.arg(workspace().join("docs/benchmarks.md"));
        report.arg(workspace().join("README.md"));
    } else if names.is_empty() {
        report.arg(results.join("benchmarks.md"));
    } else {
        return Ok(());
    }
    run(&mut report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_benchmark_of_the_manifest_is_run() {
        let manifest = fs::read_to_string(workspace().join("Cargo.toml")).expect("a manifest");
        let targets = manifest.split("[[bench]]\nname = \"").skip(1);
        let mut targets: Vec<_> = targets.filter_map(|it| it.split('"').next()).collect();
        targets.sort_unstable();
        let mut known = BENCHES.map(|(name, _)| name);
        known.sort_unstable();
        assert_eq!(targets, known);
    }

    #[test]
    fn only_servers_that_are_used_are_started() {
        let servers = |names: &[&str]| chosen(names).map(|(_, kinds)| kinds);
        assert_eq!(servers(&["sqlite", "waiting"]), Ok(Vec::new()));
        assert_eq!(servers(&["redis"]), Ok(vec![Kind::Redis]));
        let (postgres, redis) = (Kind::Postgres, Kind::Redis);
        assert_eq!(servers(&["inbox", "postgres"]), Ok(vec![postgres, redis]));
        assert_eq!(servers(&[]), Ok(Kind::ALL.to_vec()));
        let why = servers(&["rabbits"]).expect_err("there is none");
        assert!(why.starts_with("`rabbits` is none of in_process"), "{why}");
    }
}
