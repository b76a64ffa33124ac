//! The rules of every store, on Redis.
#![cfg(feature = "redis")]

#[path = "support/redis.rs"]
mod support;

use sagaz_core::store::conformance::Harness;
use sagaz_storage::redis::Redis;
use std::time::Duration;

/// A prefix for each store, on a server for all.
struct OnServer;

impl Harness for OnServer {
    type Store = Redis;

    async fn open(&self) -> Redis {
        support::store().await
    }

    async fn second(&self, store: &Redis) -> Redis {
        support::connect(store.prefix()).await
    }

    fn lease_short(&self) -> Duration {
        Duration::from_millis(400)
    }
}

/// By this name they are left out where there is no server.
mod redis {
    use super::OnServer;

    sagaz_core::store_conformance!(OnServer);
}
