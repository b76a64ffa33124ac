//! The RabbitMQ that `cargo xtask test` starts.

use lapin::{
    Connection, ConnectionProperties,
    options::{QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use std::env;

/// The server's URL. `cargo xtask test` sets it.
const URL: &str = "SAGAZ_TEST_RABBITMQ_URL";

pub(crate) fn url() -> String {
    env::var(URL).unwrap_or_else(|_| {
        panic!("{URL} names no server; `cargo xtask test` starts one, or set it to the URL of one of yours")
    })
}

/// Its host and port.
pub(crate) fn address() -> String {
    let url = url();
    let authority = url
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let address = authority.and_then(|authority| authority.rsplit('@').next());
    address.expect("a URL with a host").to_owned()
}

/// A connection that is not the library's.
pub(crate) async fn connection() -> Connection {
    Connection::connect(&url(), ConnectionProperties::default())
        .await
        .expect("a connection")
}

/// Makes a queue that nobody reads, and that goes by itself.
pub(crate) async fn take_everything(exchange: &str, key: &str) {
    let connection = connection().await;
    let channel = connection.create_channel().await.expect("a channel");
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(600_000));
    let queue = format!("unread.{exchange}/{key}");
    channel
        .queue_declare(
            queue.as_str().into(),
            QueueDeclareOptions::default(),
            arguments,
        )
        .await
        .expect("a queue");
    channel
        .queue_bind(
            queue.as_str().into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .expect("a binding");
    connection.close(200, "done".into()).await.expect("an end");
}
