//! `SIGKILL`, again and again.

use crate::worker::{Buy, STEPS, ledger, purchases, spawn, spawn_on, store, store_on_server};
use sagaz::{Engine, Filter, InstanceState, StepState, store::Store};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::timeout;

const PURCHASES: u32 = 400;

/// After this many kills the worker may finish in peace: the test is bounded.
const KILLS_MAX: u32 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_p4_killed_again_and_again_every_instance_ends_and_the_books_balance() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let seed = std::env::var("SAGAZ_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("SAGAZ_SEED={seed} kills at the same moments again");
    let mut rng = fastrand::Rng::with_seed(seed);
    let began = Instant::now();
    let mut kills = 0;
    loop {
        let mut worker = spawn(folder.path(), PURCHASES, false);
        let life = if kills < KILLS_MAX {
            Duration::from_millis(rng.u64(100..900))
        } else {
            Duration::from_mins(5)
        };
        if let Ok(status) = timeout(life, worker.wait()).await {
            assert!(status.unwrap().success(), "the worker failed");
            break;
        }
        assert!(kills < KILLS_MAX, "the worker does not come to an end");
        worker.kill().await.unwrap();
        kills += 1;
    }
    println!("{kills} kills in {:?}", began.elapsed());
    audit(store(folder.path()).await, folder.path()).await;
}

/// By this name they are left out where there is no server.
mod postgres {
    use super::*;

    const WORKERS: usize = 3;

    /// Several processes share the instances; each is killed now and then, and started again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_p4_p7_of_three_processes_any_is_killed_and_the_books_balance() {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let schema = format!("sagaz_kill_{seed}");
        let start = || spawn_on(&schema, folder.path(), PURCHASES, false);
        let mut workers: Vec<_> = (0..WORKERS).map(|_| start()).collect();
        let mut kills = 0;
        while kills < KILLS_MAX {
            // Which one has ended by itself is as good as killed: there is no more to do.
            let one = rng.usize(..WORKERS);
            let life = Duration::from_millis(rng.u64(100..600));
            if let Ok(status) = timeout(life, workers[one].wait()).await {
                assert!(status.unwrap().success(), "the worker failed");
                break;
            }
            workers[one].kill().await.unwrap();
            workers[one] = start();
            kills += 1;
        }
        for mut worker in workers {
            let status = timeout(Duration::from_mins(5), worker.wait()).await;
            let status = status.expect("the workers come to an end").unwrap();
            assert!(status.success(), "the worker failed");
        }
        println!("{kills} kills");
        audit(store_on_server(&schema).await, folder.path()).await;
    }
}

/// Every instance ended; the effects in force are those of the completed ones, once each; no step ran again after its
/// output was stored.
async fn audit<S: Store>(store: S, folder: &Path) {
    let ledger = ledger(folder).await;
    let engine = Engine::builder(store)
        .register(Buy {
            ledger: ledger.clone(),
            stop: None,
        })
        .start()
        .await
        .unwrap();
    let page = engine.list(Filter::all().limit(1_000)).await.unwrap();
    assert_eq!(
        page.instances.len(),
        PURCHASES as usize,
        "one instance a start key"
    );
    let last_calls = ledger.last_calls().await;
    let mut completed = Vec::new();
    let mut rolled_back = 0;
    for summary in page.instances {
        let snapshot = engine.inspect(summary.id).await.unwrap().unwrap();
        let purchase: crate::worker::Purchase =
            serde_json::from_slice(&snapshot.input.bytes).unwrap();
        match summary.state {
            InstanceState::Completed => completed.push(purchase.number),
            InstanceState::RolledBack => rolled_back += 1,
            state => panic!("instance {} is {state}", summary.id),
        }
        for row in &snapshot.steps {
            let Some(output) = row
                .output
                .as_ref()
                .filter(|_| STEPS.contains(&row.name.as_str()))
            else {
                continue;
            };
            let receipt: crate::worker::Receipt = serde_json::from_slice(&output.bytes).unwrap();
            let last = last_calls[&format!("{}/{}", summary.id, row.name)];
            assert_eq!(
                receipt.serial, last,
                "P2: step {} of {} ran again after it was stored",
                row.name, summary.id
            );
            let final_states = [StepState::Completed, StepState::Compensated];
            assert!(
                final_states.contains(&row.state),
                "step {} of {} is {}",
                row.name,
                summary.id,
                row.state
            );
        }
    }
    completed.sort_unstable();
    assert!(
        completed.len() > 200 && rolled_back > 20,
        "{} completed, {rolled_back} rolled back",
        completed.len()
    );
    for step in STEPS {
        let in_force: Vec<u32> = ledger
            .in_force(step)
            .await
            .into_iter()
            .map(|(number, _)| number)
            .collect();
        assert_eq!(
            in_force, completed,
            "the effects of `{step}` are those of the completed purchases, once each"
        );
    }
    let captured: i64 = ledger
        .in_force("charge")
        .await
        .into_iter()
        .map(|(_, cents)| cents)
        .sum();
    let owed: i64 = purchases(PURCHASES)
        .filter(|p| completed.contains(&p.number))
        .map(|p| p.cents)
        .sum();
    assert_eq!(captured, owed, "to the cent");
    engine.shutdown().await;
}
