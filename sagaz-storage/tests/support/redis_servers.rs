//! What the tests with servers of their own share.

#[path = "redis_cluster.rs"]
mod redis_cluster;
#[path = "redis_server.rs"]
pub(crate) mod redis_server;

pub(crate) use redis_cluster::Cluster;

use std::sync::atomic::{AtomicUsize, Ordering};

/// A prefix that no other test of this process has.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("sagaz-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
