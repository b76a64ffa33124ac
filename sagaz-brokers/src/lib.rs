//! Brokers of `sagaz`. Use the [`sagaz`](https://docs.rs/sagaz) crate, which re-exports what is public here.
//!
//! One module and one feature a broker. Each has a type that implements [`Broker`](sagaz_core::broker::Broker), made by
//! `connect(url, &Options)`, and one that implements [`Subscriber`](sagaz_core::broker::Subscriber), made by
//! `connect(url, &Options, Subscription)`. [`connect()`] and [`subscribe()`] pick one by the scheme of the URL.
//!
//! The word *topic* stands for whatever a broker calls the place that events go to and come from: a topic of Kafka, a subject of
//! NATS, a stream of Redis, and on RabbitMQ a routing key, with its exchange before it: `exchange/key`.

mod any;
mod attributes;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis"))]
mod encryption;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
#[cfg(feature = "nats")]
pub mod nats;
mod options;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod percent;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
mod routes;
mod subscription;

pub use any::{AnyBroker, AnySubscriber, connect, subscribe};
pub use options::{Options, Tls};
pub use routes::{Destination, RouteError, Routes};
pub use subscription::{Start, Subscription};
