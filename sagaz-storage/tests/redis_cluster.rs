//! The rules of every store, on a cluster of three nodes that is started for them.
#![cfg(feature = "redis")]

#[path = "support/redis_servers.rs"]
mod support;

/// By these names they are left out where there is no server, or none that can be started.
mod redis {
    mod own_server {
        use crate::support::{Cluster, prefix};
        use sagaz_core::store::conformance::Harness;
        use sagaz_storage::redis::Redis;
        use std::time::Duration;
        use tokio::sync::OnceCell;

        /// A prefix for each store, on a cluster for all.
        struct OnCluster;

        async fn connect(prefix: &str) -> Redis {
            static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
            let cluster = CLUSTER.get_or_init(Cluster::start).await;
            let options = Redis::options(&cluster.url()).expect("a URL of a cluster");
            options
                .prefix(prefix)
                .connections(1)
                .connect()
                .await
                .expect("a store")
        }

        impl Harness for OnCluster {
            type Store = Redis;

            async fn open(&self) -> Redis {
                connect(&prefix()).await
            }

            async fn second(&self, store: &Redis) -> Redis {
                connect(store.prefix()).await
            }

            fn lease_short(&self) -> Duration {
                Duration::from_millis(400)
            }
        }

        sagaz_core::store_conformance!(OnCluster);
    }
}
