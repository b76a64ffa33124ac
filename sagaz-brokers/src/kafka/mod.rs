//! Apache Kafka, and what speaks its protocol.
//!
//! # Publishing
//!
//! An event's key is the key of its message, and decides on its partition as Java's clients do it (`murmur2_random`), so that
//! topics of both are partitioned alike. The producer is idempotent and asks for `acks=all`: an event is published when all
//! replicas in sync have it, and a retry inside the client repeats nothing. After an error that leaves it open whether the broker
//! has the event, the next try may repeat it.
//!
//! # Subscribing
//!
//! A group's members share the partitions of its topics. The offset that is committed is that of the oldest message of a partition
//! that is not acknowledged, so acknowledgements may come in any order; it is committed a moment later
//! ([`COMMIT_EVERY`]), and when a partition or the group is left. What a crash loses of it is delivered again. A message that is
//! put back is kept and given again before those behind it. When a partition goes to another member, receipts of its messages
//! can no longer be settled, and the messages come again there.
//!
//! A consumer that does not ask for a message for [`Subscription::redeliver_after`](crate::Subscription::redeliver_after) loses
//! its partitions; so does one that has died, at the latest after 45 s. Per-key order holds in a partition as long as its consumer
//! has one message in hand at a time.
//!
//! Kafka has no dead letters. A message that nobody can handle is published to the topic for them, with the headers that it came
//! with and `sagaz-topic`, `sagaz-partition` and `sagaz-offset`, and is then acknowledged.
//!
//! # URLs
//!
//! `kafka://user:password@host:port,host:port?linger.ms=5` takes any number of hosts, and any property of librdkafka
//! (<https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html>) except those that the promises
//! above rest on.
//!
//! With credentials, `security.protocol` is `sasl_plaintext` and `sasl.mechanism` is `PLAIN`, unless the URL says otherwise.
//! Encryption, and `SCRAM`, need a librdkafka that is built with OpenSSL, which is not the default: depend on
//! `rdkafka = { version = "0.39", features = ["ssl"] }` beside this crate to build it so, and set `security.protocol=ssl` or
//! `sasl_ssl`, or certificates in the options.

mod background;
mod broker;
mod config;
mod error;
mod ledger;
mod message;
mod producer;
mod subscriber;
mod topics;

pub use broker::KafkaBroker;
pub use subscriber::{COMMIT_EVERY, KafkaSubscriber};
