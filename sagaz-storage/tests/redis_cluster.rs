//! The rules of every store, on a cluster of three nodes that is started for them.
#![cfg(feature = "redis")]

#[path = "support/redis_servers.rs"]
mod support;

/// By these names they are left out where there is no server, or none that can be started.
mod redis {
    mod own_server {
        use crate::support::{Cluster, prefix, redis_server::OwnServer};
        use ::redis::cluster::ClusterClient;
        use sagaz_core::store::conformance::{Harness, inbox::InboxHarness};
        use sagaz_storage::redis::{Redis, Transaction};
        use std::time::Duration;
        use tokio::sync::OnceCell;

        /// A prefix for each store, on a cluster for all.
        struct OnCluster;

        /// Of the events whose handlers write.
        const KEY: &str = "a";

        static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

        async fn connect(prefix: &str) -> Redis {
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

        impl InboxHarness for OnCluster {
            async fn put(&self, tx: &mut Transaction, key: &str) {
                tx.set(key, "1");
            }

            async fn has(&self, store: &Redis, key: &str) -> bool {
                let cluster = CLUSTER.get().expect("the store is on it");
                let nodes: Vec<_> = cluster.nodes.iter().map(OwnServer::url).collect();
                let client = ClusterClient::new(nodes).expect("URLs of a cluster");
                let mut connection = client.get_async_connection().await.expect("a connection");
                ::redis::cmd("EXISTS")
                    .arg(store.data_key(KEY, key))
                    .query_async(&mut connection)
                    .await
                    .expect("a reply")
            }
        }

        sagaz_core::store_conformance!(OnCluster);
        sagaz_core::outbox_conformance!(OnCluster);
        sagaz_core::inbox_conformance!(OnCluster);
    }
}
