//! The rules of every store, on Redis.
#![cfg(feature = "redis")]

#[path = "support/redis_connection.rs"]
mod own;
#[path = "support/redis.rs"]
mod support;

use sagaz_core::store::conformance::{Harness, inbox::InboxHarness};
use sagaz_storage::redis::{Redis, Transaction};
use std::time::Duration;

/// Of the events whose handlers write.
const KEY: &str = "a";

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

impl InboxHarness for OnServer {
    async fn put(&self, tx: &mut Transaction, key: &str) {
        tx.set(key, "1");
    }

    async fn has(&self, store: &Redis, key: &str) -> bool {
        let mut connection = own::connection(&support::url()).await;
        ::redis::cmd("EXISTS")
            .arg(store.data_key(KEY, key))
            .query_async(&mut connection)
            .await
            .expect("a reply")
    }
}

/// By this name they are left out where there is no server.
mod redis {
    use super::OnServer;

    sagaz_core::store_conformance!(OnServer);
    sagaz_core::outbox_conformance!(OnServer);
    sagaz_core::inbox_conformance!(OnServer);
}
