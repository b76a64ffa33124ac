//! Processes that are killed, on a server that crashes in the middle.

use crate::{
    audit::audit,
    places::Place,
    servers::{Places, PostgresServer, skipped},
    worker::{ledger, seeded, spawn},
};
use sagaz::store::{SagaStore, Store};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const PURCHASES: u32 = 5_000;
const WORKERS: usize = 3;

/// After this many kills the workers may finish in peace: the test is bounded.
const KILLS_MAX: u32 = 100;

const PATIENCE: Duration = Duration::from_mins(10);

/// By this name it is left out where there is no server.
mod postgres {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_p4_p7_processes_are_killed_the_server_crashes_and_the_books_balance() {
        processes_are_killed_and_the_server_crashes::<PostgresServer>().await;
    }
}

#[cfg(feature = "redis")]
mod redis {
    use super::*;
    use crate::servers::RedisServer;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_p4_p7_processes_are_killed_the_server_crashes_and_the_books_balance() {
        processes_are_killed_and_the_server_crashes::<RedisServer>().await;
    }
}

async fn processes_are_killed_and_the_server_crashes<V: Places>() {
    let mut server = match V::begin() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = server.place();
    // Before the workers, so that each of them finds its tables there.
    let store = place.open().await;
    let ledger = ledger(folder.path()).await;
    let mut rng = seeded();
    let began = Instant::now();

    let start = || spawn(&place, folder.path(), PURCHASES, false);
    let mut workers: Vec<_> = (0..WORKERS).map(|_| start()).collect();
    let crash_at = rng.u64(u64::from(PURCHASES) / 5..u64::from(PURCHASES) / 2);
    let (mut kills, mut crashed) = (0, false);
    loop {
        let one = rng.usize(..WORKERS);
        let life = Duration::from_millis(rng.u64(20..400));
        if let Ok(status) = timeout(life, workers[one].wait()).await {
            assert!(status.unwrap().success(), "the worker failed");
            break;
        }
        if kills < KILLS_MAX {
            workers[one].kill().await.unwrap();
            workers[one] = start();
            kills += 1;
        }
        if crashed || ended(&store).await < crash_at {
            assert!(began.elapsed() < PATIENCE, "the workers come to an end");
            continue;
        }
        server.crash();
        sleep(Duration::from_millis(rng.u64(0..2_500))).await;
        server.start();
        crashed = true;
        eprintln!("crashed after {:?}", began.elapsed());
    }
    assert!(crashed, "the workers ended before the server was to crash");
    for mut worker in workers {
        let status = timeout(PATIENCE, worker.wait()).await;
        let status = status.expect("the workers come to an end").unwrap();
        assert!(status.success(), "the worker failed");
    }
    eprintln!("{kills} kills in {:?}", began.elapsed());
    // The connections of before the crash are gone.
    audit(&place.open().await, &ledger, PURCHASES).await;
    place.audit_more(PURCHASES).await;
    eprintln!("audited after {:?}", began.elapsed());
}

/// How many instances have ended.
async fn ended<S: Store>(store: &S) -> u64 {
    let counts = SagaStore::count(store).await.unwrap();
    let ended = counts.into_iter().filter(|(_, state, _)| state.is_final());
    ended.map(|(.., count)| count).sum()
}
