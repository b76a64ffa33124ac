//! Starts the checker on traces.

use crate::trace::Trace;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// How many events of each trace the model can follow: all of them, or up to the one that it cannot.
pub(crate) fn follow(graph: &str, on_failure: &str, traces: &[Trace]) -> Vec<usize> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let jar = std::env::var_os("SAGAZ_TLC")
        .map_or_else(|| workspace().join("target/model/tlc.jar"), PathBuf::from);
    assert!(
        jar.exists(),
        "there is no checker at {}: `cargo xtask model` fetches it",
        jar.display()
    );
    let folder = workspace().join(format!(
        "target/model/traces-{}-{}",
        std::process::id(),
        RUNS.fetch_add(1, Ordering::Relaxed)
    ));
    fs::create_dir_all(&folder).unwrap();
    for module in ["Graphs", "Instance", "InstanceTraces"] {
        let name = format!("{module}.tla");
        fs::copy(workspace().join("model").join(&name), folder.join(&name)).unwrap();
    }
    fs::write(folder.join("Traces.tla"), module(traces)).unwrap();
    fs::write(
        folder.join("InstanceTraces.cfg"),
        config(graph, on_failure, traces),
    )
    .unwrap();
    let output = Command::new("java")
        // It unpacks its own modules there, and would overwrite what another one is reading.
        .arg("-Djava.io.tmpdir=.")
        .args(["-XX:+UseParallelGC", "-Xmx1g", "-cp"])
        .arg(fs::canonicalize(jar).unwrap())
        .args([
            "tlc2.TLC",
            "-workers",
            "2",
            "-deadlock",
            "-metadir",
            "states",
            "InstanceTraces.tla",
        ])
        .current_dir(&folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("Model checking completed. No error has been found."),
        "the checker failed ({}):\n{text}\n{}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut followed = vec![0; traces.len()];
    for line in text.lines() {
        let Some(numbers) = line.strip_prefix("<<\"followed\", ") else {
            continue;
        };
        let mut numbers = numbers
            .trim_end_matches(">>")
            .split(", ")
            .map(|it| it.parse::<usize>().unwrap());
        let (trace, events) = (numbers.next().unwrap(), numbers.next().unwrap());
        followed[trace - 1] = events.max(followed[trace - 1]);
    }
    fs::remove_dir_all(folder).unwrap();
    followed
}

fn module(traces: &[Trace]) -> String {
    let mut text = String::from("---- MODULE Traces ----\nTraces == <<\n");
    for (at, trace) in traces.iter().enumerate() {
        let events: Vec<_> = trace.events.iter().map(ToString::to_string).collect();
        let comma = if at + 1 == traces.len() { "" } else { "," };
        let _ = writeln!(text, "<<\n  {}\n>>{comma}", events.join(",\n  "));
    }
    text + ">>\n====\n"
}

fn config(graph: &str, on_failure: &str, traces: &[Trace]) -> String {
    let events = || traces.iter().flat_map(|trace| &trace.events);
    let owners = events().map(|event| event.epoch).max().unwrap_or(0).max(1);
    format!(
        "INIT TraceInit\nNEXT TraceNext\nCONSTRAINT Followed\nCONSTANTS\n Graph = \"{graph}\"\n OnFailure = \"{on_failure}\"\n \
         Engines = {{\"e0\", \"e1\", \"e2\", \"e3\"}}\n MaxOwners = {owners}\n MaxLate = 0\n MaxOps = 0\n Cancels = TRUE\n \
         Releases = TRUE\n Suspects = TRUE\n Narrow = FALSE\n Mutations = {{\"none\"}}\n"
    )
}
