//! Runs of the engine are behaviours of the model: `model/InstanceTraces.tla`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod run;
mod sagas;
mod tlc;
mod trace;
mod world;

use run::run;
use sagas::{Chosen, Diamond, FailFast, Pivotal, WaitAll};
use trace::{Event, Trace};

/// As many runs of this saga, or as many as `SAGAZ_MODEL_RUNS` says, are behaviours of the model.
fn are_behaviours<G: Chosen>(runs: u64) {
    let chosen = std::env::var("SAGAZ_MODEL_RUNS").ok();
    let runs = chosen.map_or(runs, |chosen| chosen.parse().unwrap());
    let traces: Vec<Trace> = (0..runs).map(run::<G>).collect();
    let followed = tlc::follow(G::GRAPH, G::ON_FAILURE, &traces);
    for (trace, followed) in traces.iter().zip(followed) {
        assert!(
            followed == trace.events.len(),
            "seed {} of `{}` does what the model does not: it was followed up to event {followed}, and the next is\n  {}\nafter\n{}",
            trace.seed,
            G::GRAPH,
            trace.events[followed],
            trace.story(followed),
        );
    }
    // Runs in which nothing happens would show nothing.
    for what in ["begin undo", "claim", "cancel", "die", "gone"] {
        let with = traces.iter().filter(|trace| trace.has(what)).count();
        assert!(with > 0, "no run of `{}` has an event `{what}`", G::GRAPH);
    }
}

#[test]
fn model_follows_runs_of_a_diamond() {
    are_behaviours::<Diamond>(40);
}

#[test]
fn model_follows_runs_with_a_pivot() {
    are_behaviours::<Pivotal>(40);
}

#[test]
fn model_follows_runs_that_fail_fast() {
    are_behaviours::<FailFast>(25);
}

#[test]
fn model_follows_runs_that_let_others_finish_first() {
    are_behaviours::<WaitAll>(25);
}

/// How many runs are tampered with in each way.
const TAMPERED: usize = 5;

/// A run, and what was done to it so that it is none.
fn tampered(trace: &Trace, how: impl Fn(&mut Vec<Event>) -> bool) -> Option<Trace> {
    let mut events = trace.events.clone();
    how(&mut events).then_some(Trace {
        seed: trace.seed,
        events,
    })
}

#[test]
fn model_refuses_runs_that_were_tampered_with() {
    type Tampering = fn(&mut Vec<Event>) -> bool;
    let ways: [(&str, Tampering); 5] = [
        ("a step begins before its dependency is stored", |events| {
            let Some(at) = events.iter().position(|it| it.is("begin", "b")) else {
                return false;
            };
            let Some(stored) = events[..at]
                .iter()
                .rposition(|it| it.writes("a", "completed"))
            else {
                return false;
            };
            let event = events.remove(at);
            events.insert(stored, event);
            true
        }),
        ("undone in the order in which it was done", |events| {
            let a = events.iter().position(|it| it.is("begin undo", "a"));
            let b = events.iter().position(|it| it.is("begin undo", "b"));
            let (Some(a), Some(b)) = (a, b) else {
                return false;
            };
            events.swap(a, b);
            true
        }),
        ("a former owner's write is applied", |events| {
            let Some(claim) = events
                .iter()
                .position(|it| it.what == "claim" && it.orphaned)
            else {
                return false;
            };
            let Some(write) = events[..claim].iter().rposition(|it| it.what == "progress") else {
                return false;
            };
            let mut late = events[write].clone();
            late.epoch = events[claim].epoch;
            late.owner.clone_from(&events[claim].owner);
            events.insert(claim + 1, late);
            true
        }),
        ("a takeover does not raise the epoch", |events| {
            let Some(claim) = events.iter().position(|it| it.what == "claim") else {
                return false;
            };
            for event in &mut events[claim..] {
                event.epoch = event.epoch.saturating_sub(1);
            }
            true
        }),
        ("a step that failed is completed", |events| {
            let Some(end) = events
                .iter()
                .position(|it| it.what == "end" && it.how == "permanent")
            else {
                return false;
            };
            events[end].how = "completed".to_owned();
            true
        }),
    ];
    // Always the same ones, however many are replayed.
    let originals: Vec<Trace> = (0..60).map(run::<Diamond>).collect();
    for (what, how) in ways {
        // Each beside itself as it was: it is refused for nothing but what was done to it.
        let pairs = originals
            .iter()
            .filter_map(|trace| Some([trace.clone(), tampered(trace, how)?]));
        let traces: Vec<Trace> = pairs.take(TAMPERED).flatten().collect();
        assert_eq!(
            traces.len(),
            2 * TAMPERED,
            "too few runs that can be tampered with so: {what}"
        );
        let followed = tlc::follow(Diamond::GRAPH, Diamond::ON_FAILURE, &traces);
        let whole = traces.iter().map(|trace| trace.events.len());
        let is_followed: Vec<bool> = followed
            .iter()
            .zip(whole)
            .map(|(followed, whole)| *followed == whole)
            .collect();
        for (pair, traces) in is_followed.chunks(2).zip(traces.chunks(2)) {
            assert_eq!(
                pair,
                [true, false],
                "whether the model takes the run of seed {}, and takes it where {what}",
                traces[0].seed
            );
        }
    }
}
