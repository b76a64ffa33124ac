//! Where the events come from and where they go to, and how a process is told of it.

use sagaz::{
    brokers::{AnyBroker, AnySubscriber, Options, Routes, Subscription},
    postgres::Postgres,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A schema with an outbox, and a topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) postgres: String,
    pub(crate) schema: String,
    pub(crate) broker: String,
    pub(crate) topic: String,
}

impl Place {
    /// New ones on the servers that `cargo xtask test` starts. `None` where a broker's is missing.
    pub(crate) fn on(variable: &str) -> Option<Self> {
        let url = |variable| std::env::var(variable).ok();
        let Some(broker) = url(variable) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "{variable} names no server"
            );
            eprintln!("skipped: {variable} names no server");
            return None;
        };
        let postgres = url("SAGAZ_TEST_POSTGRES_URL");
        let name = format!("relays_{:016x}", fastrand::u64(..));
        Some(Self {
            postgres: postgres
                .expect("`cargo xtask test` starts a server and sets SAGAZ_TEST_POSTGRES_URL"),
            schema: format!("sagaz_{name}"),
            broker,
            // On RabbitMQ an exchange, so that a group has a queue of its own.
            topic: if variable.contains("RABBITMQ") {
                format!("{name}/all")
            } else {
                name
            },
        })
    }

    pub(crate) async fn store(&self) -> Postgres {
        let options = Postgres::options(&self.postgres).unwrap();
        options.schema(&self.schema).connect().await.unwrap()
    }

    fn options(&self) -> Options {
        let routes = Routes::all_to(&self.topic).unwrap();
        Options::new()
            .declare(true)
            .routes(routes)
            .connect_timeout(Duration::from_secs(30))
    }

    pub(crate) async fn broker(&self) -> AnyBroker {
        self.options().connect(&self.broker).await.unwrap()
    }

    pub(crate) async fn subscribe(&self, group: &str) -> AnySubscriber {
        let subscription = Subscription::new(group, [&self.topic])
            .unacked_max(256)
            .redeliver_after(Duration::from_secs(8));
        let options = self.options();
        options.subscribe(&self.broker, subscription).await.unwrap()
    }
}
