//! A cluster of three nodes.

use super::redis_server::{OwnServer, PATIENCE};
use std::time::{Duration, Instant};

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<OwnServer>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let mut nodes = Vec::new();
        for slots in [["0", "5460"], ["5461", "10922"], ["10923", "16383"]] {
            let node = OwnServer::start(&[
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "10000",
            ])
            .await;
            node.command(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]])
                .await;
            nodes.push(node);
        }
        for node in &nodes[1..] {
            node.command(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()])
                .await;
        }
        let cluster = Self { nodes };
        cluster.until_ok().await;
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// Until every node knows every slot.
    pub(crate) async fn until_ok(&self) {
        let began = Instant::now();
        for node in &self.nodes {
            loop {
                let info: String =
                    redis::from_redis_value(node.command(&["CLUSTER", "INFO"]).await)
                        .expect("a text");
                if info.contains("cluster_state:ok")
                    && info.contains("cluster_known_nodes:3")
                    && info.contains("cluster_slots_ok:16384")
                {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "no cluster: {info}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
