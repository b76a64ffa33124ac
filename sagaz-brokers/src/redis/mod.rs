//! Redis streams.
//!
//! An event is an entry of a stream, confirmed when the server has added it: what survives a crash of the server is what its
//! `appendonly` and `appendfsync` say. Nothing is removed from a stream until [`RedisBroker::trim`] is called, and that removes only
//! what every group has acknowledged.
//!
//! A group is a consumer group. Order: a stream gives its entries in the order in which they came, but the members of a group are
//! given them side by side, and what a member left unacknowledged is taken over by another one after
//! [`redeliver_after`](crate::Subscription::redeliver_after), behind what has been given by then. So with one member, and nothing put
//! back, the events of a key are in order.
//!
//! Attributes are fields that begin with `ce_`, beside `content-type` and `data`.
//!
//! One server, with replicas or without; no cluster.

mod connect;
mod entry;
mod error;
mod member;
mod reading;
mod subscriber;

pub use subscriber::RedisSubscriber;

use crate::{Options, Routes, attributes};
use ::redis::{Pipeline, Value};
use connect::Line;
use error::{call_error, publish_error};
use sagaz_core::{
    Event, System,
    broker::{Broker, BrokerError},
};
use std::{fmt, sync::Arc, time::Duration};

/// How many events are sent at once.
const CHUNK: usize = 512;

/// Publishes events to streams of Redis. A clone shares the connection.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sagaz_brokers::{Options, redis::RedisBroker};
///
/// let options = Options::new().routes("order.*=orders".parse()?);
/// let broker = RedisBroker::connect("rediss://app:secret@host:6379", &options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisBroker {
    line: Arc<Line>,
    routes: Routes,
    declare: bool,
    timeout: Duration,
}

impl RedisBroker {
    /// Connects to a server: `redis://user:password@host:6379/0`, or `rediss://` for an encrypted connection.
    pub async fn connect(url: &str, options: &Options) -> Result<Self, BrokerError> {
        let client = connect::client(url, options)?;
        connect::check(&client, options).await?;
        Ok(Self {
            line: Arc::new(Line::new(client, options)?),
            routes: options.routes.clone(),
            declare: options.declare,
            timeout: options.confirm_timeout,
        })
    }

    /// Removes the oldest entries of a stream, as far as every group has acknowledged them, so that about `keep` are left. From a
    /// stream without groups nothing is removed. How many were.
    pub async fn trim(&self, topic: &str, keep: u64) -> Result<u64, BrokerError> {
        let mut pipeline = Pipeline::new();
        let mut command = ::redis::cmd("EVAL");
        command
            .arg(include_str!("trim.lua"))
            .arg(1)
            .arg(topic)
            .arg(keep);
        pipeline.add_command(command);
        let replies = self.line.ask(&pipeline, 1).await.map_err(call_error)?;
        match replies.into_iter().next() {
            Some(Value::Int(removed)) => Ok(u64::try_from(removed).unwrap_or_default()),
            Some(Value::ServerError(error)) => Err(call_error(error.into())),
            _ => Ok(0),
        }
    }

    /// Adds events that have been checked, each to its stream.
    async fn add(&self, events: &[(&Event, String)]) -> Vec<Result<(), BrokerError>> {
        let mut pipeline = Pipeline::with_capacity(events.len());
        for (event, stream) in events {
            let mut command = ::redis::cmd("XADD");
            command.arg(stream);
            if !self.declare {
                command.arg("NOMKSTREAM");
            }
            command.arg("*");
            entry::write(&mut command, event);
            pipeline.add_command(command);
        }
        let replies = match self.line.ask(&pipeline, events.len()).await {
            Ok(replies) => replies,
            // It may have got there, all of it or some.
            Err(error) => {
                let failed = |(_, stream): &(&Event, String)| {
                    Err(publish_error(error.clone(), stream, self.timeout))
                };
                return events.iter().map(failed).collect();
            }
        };
        let results = replies.into_iter().zip(events);
        results
            .map(|(reply, (_, stream))| match reply {
                Value::ServerError(error) => {
                    Err(publish_error(error.into(), stream, self.timeout))
                }
                Value::Nil => Err(BrokerError::refused(format!(
                    "there is no stream `{stream}`; subscribe a group to it, or let it be made with the option `declare`"
                ))),
                _ => Ok(()),
            })
            .collect()
    }
}

impl System for RedisBroker {
    fn system(&self) -> &'static str {
        "redis"
    }
}

impl Broker for RedisBroker {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        let mut results: Vec<Result<(), BrokerError>> = Vec::with_capacity(batch.len());
        let (mut sound, mut places) = (Vec::new(), Vec::new());
        for (place, event) in batch.iter().enumerate() {
            let route = attributes::check(event)
                .and_then(|()| self.routes.find(event.event_type()))
                .map(|route| route.topic.into_owned());
            results.push(route.map(|topic| {
                sound.push((event, topic));
                places.push(place);
            }));
        }
        let deadline = tokio::time::Instant::now() + self.timeout;
        for (events, places) in sound.chunks(CHUNK).zip(places.chunks(CHUNK)) {
            let added = tokio::time::timeout_at(deadline, self.add(events)).await;
            let added = added.unwrap_or_else(|_| {
                let in_doubt = |_| Err(BrokerError::timed_out(self.timeout));
                events.iter().map(in_doubt).collect()
            });
            for (place, result) in places.iter().zip(added) {
                results[*place] = result;
            }
        }
        results
    }

    async fn health(&self) -> Result<(), BrokerError> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("PING");
        let replies = self.line.ask(&pipeline, 1).await;
        let replies = replies.map_err(|error| {
            BrokerError::unavailable("the Redis server does not answer").caused_by(error)
        })?;
        match replies.into_iter().next() {
            Some(Value::ServerError(error)) => Err(BrokerError::unavailable(
                "the Redis server takes nothing now",
            )
            .caused_by(::redis::RedisError::from(error))),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker")
            .field("routes", &format_args!("{}", self.routes))
            .field("declare", &self.declare)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
