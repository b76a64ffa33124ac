//! Tells that there may be events to publish, to the handles of one file in one process.
//!
//! Deliberately not here: other processes. SQLite tells nobody of another's commit, so their events are found by polling.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// How often it was told of each open file.
static FILES: Mutex<BTreeMap<PathBuf, Weak<watch::Sender<u64>>>> = Mutex::new(BTreeMap::new());

/// What is told of one file.
#[derive(Debug)]
pub(super) struct News {
    count: Arc<watch::Sender<u64>>,
    /// Whether events were appended in a transaction that somebody else ends. It has ended when a write of ours has begun.
    is_held_back: AtomicBool,
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
            is_held_back: AtomicBool::new(false),
        }
    }

    pub(super) fn tell(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// Events were appended that nobody sees yet.
    pub(super) fn hold_back(&self) {
        self.is_held_back.store(true, Ordering::Relaxed);
    }

    /// A transaction of ours has ended, and so has every one before it.
    pub(super) fn let_go(&self) {
        if self.is_held_back.load(Ordering::Relaxed)
            && self.is_held_back.swap(false, Ordering::Relaxed)
        {
            self.tell();
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
    pub(super) async fn next(&self, news: &News) {
        let mut count = news.count.subscribe();
        let seen = self.0.load(Ordering::Relaxed);
        // The other end lives as long as the file is open.
        if let Ok(count) = count.wait_for(|count| *count != seen).await {
            self.0.store(*count, Ordering::Relaxed);
        }
    }
}

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}
