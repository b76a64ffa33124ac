//! RabbitMQ, over AMQP 0-9-1.
//!
//! # Publishing
//!
//! A topic `exchange/key` is a routing key at an exchange; a topic without an exchange is a queue. Messages are persistent, and
//! an event is published when the broker has confirmed it: when all queues that it goes to have it as durably as they keep
//! anything. An event that goes to no queue is refused, and so is one whose exchange does not exist; the others of its batch are
//! not disturbed.
//!
//! # Subscribing
//!
//! Every group has a queue of its own for each topic, `group.exchange/key`, which is bound to the exchange; its members share it.
//! A queue by its name alone would be shared by all groups, as RabbitMQ has no second copy of what is in it; so it is consumed from only
//! where that is said: as the topic `/queue`. A group is given what is published after its queue was made: RabbitMQ keeps nothing for those who come later,
//! so [`Start`](crate::Start) says nothing here.
//!
//! Per-key order holds as long as a queue has one consumer that has one message in hand at a time: the broker deals messages out
//! to consumers in turn, and puts back what one of them did not acknowledge.
//!
//! # Topology
//!
//! With [`Options::declare`](crate::Options::declare), what is missing is made, again after each reconnection: exchanges of the
//! type `topic`, durable quorum queues, bindings, and for each topic the queue of its dead letters, to which the broker moves them
//! itself. What is there is used as it is. Without it, all has to be there. A queue that somebody else made without a dead-letter
//! exchange has no place for dead letters: the broker drops them.
//!
//! Quorum queues count deliveries, which keeps a message that kills its consumers from doing so for ever, and are replicated in a
//! cluster. `?queue_type=classic` in the URL makes classic queues instead: they know only whether a message was delivered before, and
//! a dead letter of theirs may be lost if the broker fails while it is on its way. Take them for a single RabbitMQ 3.10, which is
//! what Debian 12 has: after a crash its quorum queues were seen to find no leader until the next restart, if clients were back
//! within seconds.
//!
//! # Connections
//!
//! A lost connection is made again: by the next batch, and by [`receive`](sagaz_core::broker::Subscriber::receive), which tells of
//! each try that failed. What was delivered before and not acknowledged comes again.
//!
//! `amqps://` encrypts. A URL may set `heartbeat`, in seconds (10 by default), `channel_max`, `frame_max`, `auth_mechanism` and
//! `queue_type`.
//!
//! The client library writes messages that are returned to its log, with their data, as warnings of `lapin::returned_messages`:
//! leave that target out where logs must not have them.

mod address;
mod broker;
mod error;
mod message;
mod subscriber;
mod topology;

pub use broker::RabbitMqBroker;
pub use subscriber::RabbitMqSubscriber;
