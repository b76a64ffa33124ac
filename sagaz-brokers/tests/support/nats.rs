//! The NATS that `cargo xtask test` starts.

use async_nats::jetstream::{self, stream::Config};
use std::env;

/// The server's URL. `cargo xtask test` sets it.
const URL: &str = "SAGAZ_TEST_NATS_URL";

pub(crate) fn url() -> String {
    env::var(URL).unwrap_or_else(|_| {
        panic!("{URL} names no server; `cargo xtask test` starts one, or set it to the URL of one of yours")
    })
}

/// A connection that is not the library's.
pub(crate) async fn context() -> jetstream::Context {
    let client = async_nats::connect(url()).await.expect("a connection");
    jetstream::new(client)
}

/// Makes a stream for these subjects.
pub(crate) async fn stream(name: &str, subjects: &[&str]) {
    let config = Config {
        name: name.to_owned(),
        subjects: subjects
            .iter()
            .map(|subject| (*subject).to_owned())
            .collect(),
        ..Config::default()
    };
    let made = context().await.create_stream(config).await;
    made.expect("a stream");
}
