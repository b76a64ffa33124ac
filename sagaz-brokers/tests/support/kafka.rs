//! The Kafka that `cargo xtask test` starts.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use std::{
    env,
    time::{Duration, Instant},
};

/// The server's URL. `cargo xtask test` sets it.
const URL: &str = "SAGAZ_TEST_KAFKA_URL";

pub(crate) fn url() -> String {
    env::var(URL).unwrap_or_else(|_| {
        panic!("{URL} names no server; `cargo xtask test` starts one, or set it to the URL of one of yours")
    })
}

/// For clients that are not the library's.
pub(crate) fn config(url: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    let servers = url.strip_prefix("kafka://").expect("a URL of Kafka");
    config.set("bootstrap.servers", servers);
    config
}

/// Makes topics of so many partitions.
pub(crate) async fn make_topics(url: &str, names: &[&str], partitions: i32) {
    let topics: Vec<_> = names
        .iter()
        .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)))
        .collect();
    make(url, topics).await;
}

pub(crate) async fn make(url: &str, topics: Vec<NewTopic<'_>>) {
    let admin: AdminClient<DefaultClientContext> = config(url).create().expect("a client");
    let made = admin.create_topics(&topics, &AdminOptions::new()).await;
    for topic in made.expect("an answer") {
        topic.expect("a topic");
    }
    until_known(&admin, &topics).await;
}

/// The controller has made them, and the brokers learn of it a moment later.
async fn until_known(admin: &AdminClient<DefaultClientContext>, topics: &[NewTopic<'_>]) {
    const PATIENCE: Duration = Duration::from_secs(30);
    let began = Instant::now();
    let is_known = |topic: &NewTopic<'_>| {
        let told = admin.inner().fetch_metadata(Some(topic.name), PATIENCE);
        let told = told.expect("an answer");
        let mut told = told.topics().iter();
        told.all(|topic| topic.error().is_none() && !topic.partitions().is_empty())
    };
    while !topics.iter().all(is_known) {
        assert!(
            began.elapsed() < PATIENCE,
            "the topics are made, and no broker knows of them"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
