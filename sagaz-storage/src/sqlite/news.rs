//! Tells that there may be events to publish, to the handles of one file in one process.
//!
//! SQLite tells nobody of a commit. So what was appended in a transaction that the application ends is looked for, for a while,
//! as long as somebody waits for it. Deliberately not here: other processes; their events are found by polling.

use sqlx::SqlitePool;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// How often it is looked whether a transaction has been committed.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long a transaction is expected to take. One that takes longer is found by polling.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last place that was given in a transaction that was committed.
const LAST: &str = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'saga_outbox'";

/// How often it was told of each open file.
static FILES: Mutex<BTreeMap<PathBuf, Weak<watch::Sender<u64>>>> = Mutex::new(BTreeMap::new());

/// What is told of one file.
#[derive(Debug)]
pub(super) struct News {
    count: Arc<watch::Sender<u64>>,
    /// What was appended in a transaction that may not have ended yet. It has when a write of ours has begun.
    appended: watch::Sender<Option<Appended>>,
}

/// The last event that was appended.
#[derive(Clone, Copy, Debug)]
struct Appended {
    /// Its place, if it was appended by itself.
    seq: Option<i64>,
    at: Instant,
}

impl News {
    /// Of an existing file.
    pub(super) fn of(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = files.get(&path).and_then(Weak::upgrade);
        let count = known.unwrap_or_else(|| {
            files.retain(|_, count| count.strong_count() > 0);
            let count = Arc::new(watch::Sender::new(0));
            files.insert(path, Arc::downgrade(&count));
            count
        });
        Self {
            count,
            appended: watch::Sender::new(None),
        }
    }

    pub(super) fn tell(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// Events were appended that nobody sees yet, the last one at this place.
    pub(super) fn hold_back(&self, seq: Option<i64>) {
        let at = Instant::now();
        self.appended.send_replace(Some(Appended { seq, at }));
    }

    /// A transaction of ours has ended, and so has every one before it.
    pub(super) fn let_go(&self) {
        let was_held_back = |appended: &mut Option<Appended>| appended.take().is_some();
        if self.appended.send_if_modified(was_held_back) {
            self.tell();
        }
    }

    /// Looks for what the application has committed, and tells of it; for as long as somebody waits.
    async fn look(&self, readers: &SqlitePool) {
        let mut appended = self.appended.subscribe();
        loop {
            let latest = *appended.borrow_and_update();
            let expected = latest.filter(|latest| latest.at.elapsed() < PATIENCE);
            let Some(seq) = expected.and_then(|expected| expected.seq) else {
                // The other end lives as long as the file is open.
                let _ = appended.changed().await;
                continue;
            };
            sleep(INTERVAL).await;
            let last = sqlx::query_scalar(LAST).fetch_one(readers).await;
            if last.is_ok_and(|last: i64| last >= seq) {
                self.let_go();
            }
        }
    }
}

/// What a handle was told.
#[derive(Debug)]
pub(super) struct Seen(AtomicU64);

impl Seen {
    pub(super) fn all(news: &News) -> Self {
        Self(AtomicU64::new(*news.count.borrow()))
    }

    /// Waits for more.
    pub(super) async fn next(&self, news: &News, readers: &SqlitePool) {
        let mut count = news.count.subscribe();
        let seen = self.0.load(Ordering::Relaxed);
        tokio::select! {
            Ok(count) = count.wait_for(|count| *count != seen) => self.0.store(*count, Ordering::Relaxed),
            () = news.look(readers) => {}
        }
    }
}

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}
