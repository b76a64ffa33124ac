//! `SIGKILL`, again and again.

use crate::{
    audit::audit,
    places::{File, Place, Schema},
    worker::{ledger, seeded, spawn},
};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const PURCHASES: u32 = 400;

/// After this many kills the worker may finish in peace: the test is bounded.
const KILLS_MAX: u32 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_p4_killed_again_and_again_every_instance_ends_and_the_books_balance() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = File::within(folder.path());
    let mut rng = seeded();
    let began = Instant::now();
    let mut kills = 0;
    loop {
        let mut worker = spawn(&place, folder.path(), PURCHASES, false);
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
    let ledger = ledger(folder.path()).await;
    audit(&place.open().await, &ledger, PURCHASES).await;
    place.audit_more(PURCHASES).await;
}

/// By this name they are left out where there is no server.
mod postgres {
    use super::*;

    const WORKERS: usize = 3;

    /// Several processes share the instances; each is killed now and then, and started again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_p4_p7_of_three_processes_any_is_killed_and_the_books_balance() {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let place = Schema::for_tests();
        let mut rng = seeded();
        // Made before the workers: several at once that give a new file its log turn each other away.
        let ledger = ledger(folder.path()).await;
        let start = || spawn(&place, folder.path(), PURCHASES, false);
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
        audit(&place.open().await, &ledger, PURCHASES).await;
        place.audit_more(PURCHASES).await;
    }
}
