//! `SIGSTOP` past the lease, between commits and inside one.

use crate::{
    places::{File, Place, Schema},
    worker::{Buy, LEASE, Purchase, Receipt, ledger, spawn},
};
use sagaz::{Engine, Filter, InstanceState, Lifecycle, Observer};
use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_mins(1);

type Talk = Lines<BufReader<ChildStdout>>;

/// The lines of a worker.
fn talk(worker: &mut Child) -> Talk {
    BufReader::new(worker.stdout.take().expect("its output is piped")).lines()
}

/// Reads until the worker says this.
async fn hears(talk: &mut Talk, line: &str) {
    let wanted = format!("worker: {line}");
    let heard = timeout(PATIENCE, async {
        while let Some(heard) = talk.next_line().await.unwrap() {
            if heard.ends_with(&wanted) {
                return true;
            }
        }
        false
    });
    assert!(
        heard.await.unwrap_or(false),
        "the worker never says `{line}`"
    );
}

fn signal(worker: &Child, signal: rustix::process::Signal) {
    let id = i32::try_from(worker.id().expect("it runs")).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// Counts what must and what must not happen.
#[derive(Default)]
struct Watch {
    unavailable: AtomicU32,
    compensating: AtomicU32,
    taken_over: AtomicU32,
    failed: AtomicU32,
}

impl Observer for Watch {
    fn observe(&self, event: &Lifecycle<'_>) {
        let counter = match event {
            Lifecycle::StoreUnavailable { .. } => &self.unavailable,
            Lifecycle::Compensating { .. } => &self.compensating,
            Lifecycle::Claimed {
                taken_over: true, ..
            } => &self.taken_over,
            Lifecycle::StepFailed { .. } => &self.failed,
            _ => return,
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

async fn engine<P: Place>(place: &P, folder: &Path, watch: &Arc<Watch>) -> Engine<P::Store> {
    Engine::builder(place.open().await)
        .register(Buy {
            ledger: ledger(folder).await,
            stop: None,
        })
        .lease(LEASE)
        .poll_interval(Duration::from_millis(50))
        .observer(Arc::clone(watch) as Arc<dyn Observer>)
        .start()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_a_process_that_was_stopped_past_its_lease_changes_nothing_when_it_goes_on() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    stopped_past_its_lease(&File::within(folder.path()), folder.path()).await;
}

/// By this name it is left out where there is no server.
mod postgres {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p7_a_process_that_was_stopped_past_its_lease_changes_nothing_when_it_goes_on() {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        stopped_past_its_lease(&Schema::for_tests(), folder.path()).await;
    }
}

#[cfg(feature = "redis")]
mod redis {
    use super::*;
    use crate::servers::{Places, RedisServer, Server, skipped};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p7_a_process_that_was_stopped_past_its_lease_changes_nothing_when_it_goes_on() {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        match RedisServer::begin() {
            Ok(server) => stopped_past_its_lease(&server.place(), folder.path()).await,
            Err(why) => skipped(&why),
        }
    }
}

async fn stopped_past_its_lease(place: &impl Place, folder: &Path) {
    let mut worker = spawn(place, folder, 1, true);
    let mut talk = talk(&mut worker);
    hears(&mut talk, "stopping").await;

    let watch = Arc::default();
    let successor = engine(place, folder, &watch).await;
    until("the instance is taken over and ends", async || {
        let page = successor
            .list(Filter::all().state(InstanceState::Completed))
            .await
            .unwrap();
        page.instances.len() == 1
    })
    .await;
    assert_eq!(watch.taken_over.load(Ordering::SeqCst), 1);
    let id = successor.list(Filter::all()).await.unwrap().instances[0].id;
    let snapshot = async || {
        let mut snapshot = successor.inspect(id).await.unwrap().unwrap();
        // They come in no particular order.
        snapshot.steps.sort_by(|a, b| a.name.cmp(&b.name));
        snapshot
    };
    let before = snapshot().await;

    signal(&worker, rustix::process::Signal::CONT);
    hears(&mut talk, "lease lost").await;

    let after = snapshot().await;
    assert_eq!(after.steps, before.steps, "the late write changed a step");
    assert_eq!(
        after.summary, before.summary,
        "the late write changed the instance"
    );
    let reserve = after
        .steps
        .iter()
        .find(|row| row.name == "reserve")
        .unwrap()
        .output
        .clone()
        .unwrap();
    let receipt: Receipt = serde_json::from_slice(&reserve.bytes).unwrap();
    assert_eq!(
        receipt.process,
        std::process::id(),
        "the output is the successor's"
    );
    assert_eq!(
        ledger(folder).await.calls("reserve").await,
        2,
        "P3: the attempt ran beside its former self"
    );
    worker.kill().await.unwrap();
    successor.shutdown().await;
}

/// Whether this process holds the write lock of the file, by what the kernel says of its locks: to ask by taking it would not tell
/// whose it is, and an engine of the test writes to the same file.
fn holds_write_lock(process: &Child, file: &Path) -> bool {
    // Of a file in WAL mode it is a byte of the index of the log: https://sqlite.org/walformat.html#wal_locks
    const WRITE_LOCK: u64 = 120;
    let mut index = file.as_os_str().to_owned();
    index.push("-shm");
    let Ok(index) = std::fs::metadata(index) else {
        return false;
    };
    let process = process.id().expect("it runs").to_string();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| {
        // `4: POSIX  ADVISORY  WRITE 4711 fe:00:5318380 120 120`; what waits for a lock has an arrow more.
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, "POSIX", _, "WRITE", holder, inode, first, last] = words[..] else {
            return false;
        };
        let inode = inode.rsplit(':').next().and_then(|it| it.parse().ok());
        let (first, last) = (first.parse(), last.parse().unwrap_or(u64::MAX));
        holder == process
            && inode == Some(index.ino())
            && first.is_ok_and(|first| (first..=last).contains(&WRITE_LOCK))
    })
}

/// Whether all threads of a process are stopped, by what the kernel says of each.
fn stands_still(worker: &Child) -> bool {
    let threads =
        std::fs::read_dir(format!("/proc/{}/task", worker.id().expect("it runs"))).unwrap();
    threads.filter_map(Result::ok).all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses.
        stat.rsplit(')')
            .next()
            .is_none_or(|rest| rest.trim_start().starts_with('T'))
    })
}

/// A worker that is stopped while it holds the write lock, in the middle of its work.
async fn stopped_inside_a_commit(folder: &Path, count: u32) -> Child {
    let File(path) = File::within(folder);
    let mut worker = spawn(&File(path.clone()), folder, count, false);
    until("the worker has begun", async || path.exists()).await;
    for _ in 0..2_000 {
        sleep(Duration::from_millis(fastrand::u64(1..15))).await;
        signal(&worker, rustix::process::Signal::STOP);
        // A signal takes its time: only when every thread stands still does a lock that is held stay held.
        until("every thread of the worker stands still", async || {
            stands_still(&worker)
        })
        .await;
        if holds_write_lock(&worker, &path) {
            return worker;
        }
        signal(&worker, rustix::process::Signal::CONT);
        assert!(
            worker.try_wait().unwrap().is_none(),
            "the worker ended before it was caught inside a commit"
        );
    }
    panic!("the worker was never caught inside a commit");
}

async fn a_busy_store_is_no_business_error(kill: bool) {
    const COUNT: u32 = 300;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // Made before the worker, so that its own start needs no lock later.
    let place = File::within(folder.path());
    drop(place.open().await);
    let watch = Arc::<Watch>::default();
    let successor = engine(&place, folder.path(), &watch).await;
    let mut worker = stopped_inside_a_commit(folder.path(), COUNT).await;

    let seen = watch.unavailable.load(Ordering::SeqCst);
    let states = successor.count().await.unwrap();
    let (compensating, failed) = (
        watch.compensating.load(Ordering::SeqCst),
        watch.failed.load(Ordering::SeqCst),
    );
    // Longer than its lease, by its own signs: each is a try that the lock turned away.
    until("the store is reported busy", async || {
        watch.unavailable.load(Ordering::SeqCst) >= seen + 8
    })
    .await;
    assert_eq!(
        successor.count().await.unwrap(),
        states,
        "something was written through the lock"
    );
    // What failed by itself before the stop may have been reported a moment late; nothing fails for the lock.
    let late = u32::try_from(successor.in_flight()).unwrap();
    assert!(watch.compensating.load(Ordering::SeqCst) <= compensating + late);
    assert!(watch.failed.load(Ordering::SeqCst) <= failed + late);

    if kill {
        worker.kill().await.unwrap();
    } else {
        signal(&worker, rustix::process::Signal::CONT);
    }
    until("every instance that was accepted ends", async || {
        let counts = successor.count().await.unwrap();
        counts.iter().all(|(_, state, _)| state.is_final())
            && (kill || worker.try_wait().unwrap().is_some())
    })
    .await;
    let ledger = ledger(folder.path()).await;
    let mut completed = Vec::new();
    let page = successor
        .list(Filter::all().state(InstanceState::Completed).limit(1_000))
        .await
        .unwrap();
    for summary in page.instances {
        let snapshot = successor.inspect(summary.id).await.unwrap().unwrap();
        completed.push(
            serde_json::from_slice::<Purchase>(&snapshot.input.bytes)
                .unwrap()
                .number,
        );
    }
    completed.sort_unstable();
    let charged: Vec<u32> = ledger
        .in_force("charge")
        .await
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(
        charged, completed,
        "charged are the completed purchases, once each"
    );
    if !kill {
        let ended: u64 = successor
            .count()
            .await
            .unwrap()
            .iter()
            .map(|(_, _, count)| count)
            .sum();
        assert_eq!(ended, u64::from(COUNT), "all were accepted in the end");
    }
    successor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stopped_inside_a_commit_makes_the_store_busy_and_nothing_fails_until_it_goes_on()
{
    a_busy_store_is_no_business_error(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stopped_inside_a_commit_makes_the_store_busy_and_nothing_fails_until_it_is_killed()
 {
    a_busy_store_is_no_business_error(true).await;
}
