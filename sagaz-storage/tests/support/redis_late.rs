//! A store behind a network that holds its words back.

use super::{
    proxy::Proxy,
    redis_server::{OwnServer, PATIENCE},
};
use sagaz_core::store::StoreError;
use sagaz_storage::redis::Redis;
use std::time::{Duration, Instant};

pub(crate) async fn held_back() -> (OwnServer, Proxy, Redis) {
    let server = OwnServer::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let options = Redis::options(&url).unwrap().connections(1);
    let store = options
        // For what is held back; everything else is over long before, also on a busy machine.
        .call_timeout(Duration::from_secs(2))
        .connect()
        .await
        .unwrap();
    (server, proxy, store)
}

/// The only node of a cluster behind such a network. The client of a cluster repeats by itself what was under way on a connection that
/// breaks.
pub(crate) async fn cluster_of_one() -> (OwnServer, Proxy, Redis) {
    let server = OwnServer::start(&["--cluster-enabled", "yes"]).await;
    let proxy = Proxy::start(server.port).await;
    let port = proxy.port.to_string();
    for words in [
        ["CONFIG", "SET", "cluster-announce-ip", "127.0.0.1"],
        ["CONFIG", "SET", "cluster-announce-port", &port],
        ["CLUSTER", "ADDSLOTSRANGE", "0", "16383"],
    ] {
        server.command(&words).await;
    }
    let url = format!("redis+cluster://127.0.0.1:{port}");
    let options = Redis::options(&url).unwrap().connections(1);
    let began = Instant::now();
    let store = loop {
        match options.clone().connect().await {
            Ok(store) => break store,
            // It has just been given its slots.
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    (server, proxy, store)
}

pub(crate) async fn again<T>(call: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let began = Instant::now();
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => assert!(
                error.is_transient() && began.elapsed() < PATIENCE,
                "{error:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn arrives(proxy: &Proxy) {
    let released = tokio::time::timeout(PATIENCE, proxy.release()).await;
    assert!(
        released.is_ok_and(|answered| answered),
        "it has come and was answered"
    );
}
