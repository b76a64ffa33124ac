//! The rules that every broker and every subscriber keeps, as tests.
//!
//! Implement [`Harness`] for your broker and let [`broker_conformance!`](crate::broker_conformance) and
//! [`subscriber_conformance!`](crate::subscriber_conformance) make one test of each rule; a test is named after the promise or the
//! rule that it defends. A rule waits for conditions, never for a time. That something does *not* come is seen by what comes in its
//! place.
//!
//! Not here: speed, durability and what a killed server leaves behind; only a test with a server of its own shows that.
//!
//! ```
//! use sagaz_brokers::{
//!     Routes, Subscription,
//!     conformance::{Harness, unique},
//!     memory::{MemoryBroker, MemorySubscriber},
//! };
//! use sagaz_core::broker::BrokerError;
//!
//! struct InMemory(MemoryBroker);
//!
//! impl Harness for InMemory {
//!     type Broker = MemoryBroker;
//!     type Subscriber = MemorySubscriber;
//!
//!     async fn topic(&self) -> String {
//!         unique("topic")
//!     }
//!
//!     async fn broker(&self, routes: Routes) -> MemoryBroker {
//!         self.0.with_routes(routes)
//!     }
//!
//!     async fn subscribe(&self, subscription: Subscription) -> Result<MemorySubscriber, BrokerError> {
//!         self.0.subscribe(subscription)
//!     }
//!
//!     async fn publish_malformed(&self, topic: &str, body: &[u8]) {
//!         self.0.publish_malformed(topic, body);
//!     }
//! }
//!
//! sagaz_brokers::broker_conformance!(InMemory(MemoryBroker::new()));
//! sagaz_brokers::subscriber_conformance!(InMemory(MemoryBroker::new()));
//! ```
#![cfg_attr(
    not(test), // Clippy lets tests do it.
    expect(clippy::wildcard_imports, reason = "the rules of every theme are written in the words of the fixture")
)]
#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a rule that is broken panics"
)]

pub mod delivery;
pub mod groups;
pub mod publish;
pub mod settle;

mod fixture;

pub use fixture::unique;

use crate::{Routes, Subscription};
use sagaz_core::broker::{Broker, BrokerError, Subscriber};
use std::time::Duration;

/// Makes the brokers and subscribers that the rules are tried on.
pub trait Harness: Sync {
    /// The broker.
    type Broker: Broker;
    /// Its subscriber.
    type Subscriber: Subscriber;

    /// A topic that is there, empty, and of nobody else: in the words of a route's destination, so `exchange/key` where only
    /// that lets two groups have every event. Its dead letters' topic, `{topic}.dead`, is there as well.
    fn topic(&self) -> impl Future<Output = String> + Send;

    /// A topic that is not there, and that the broker does not make when it is published to. `None`: it makes all.
    fn missing_topic(&self) -> Option<String> {
        None
    }

    /// A broker with these routes.
    fn broker(&self, routes: Routes) -> impl Future<Output = Self::Broker> + Send;

    /// A subscriber.
    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> impl Future<Output = Result<Self::Subscriber, BrokerError>> + Send;

    /// Publishes a message with this body that is no event: no header of it is one of CloudEvents.
    fn publish_malformed(&self, topic: &str, body: &[u8]) -> impl Future<Output = ()> + Send;

    /// Whether the broker takes an event that it has, by its id, only once.
    fn removes_duplicates(&self) -> bool {
        false
    }

    /// Whether [`Delivery::redelivered`](sagaz_core::broker::Delivery::redelivered) counts.
    fn counts_deliveries(&self) -> bool {
        true
    }

    /// Whether a group that is new can be given what was published before it was there.
    fn keeps_for_new_groups(&self) -> bool {
        true
    }

    /// What a subscription says that is to be given soon what a dead consumer left: longer than a message takes to be handled.
    fn redeliver_after(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Makes the broker unreachable to those that this harness made and will make, until [`heal`](Self::heal). `false`: it cannot,
    /// and the rules about that are passed over.
    fn cut(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// Ends [`cut`](Self::cut).
    fn heal(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Makes a `#[tokio::test]` of each rule of brokers: `broker_conformance!(MyHarness::new())`. The expression is evaluated anew for
/// each test, inside a runtime. The crate that uses it needs `tokio` with `macros` and `rt`.
#[macro_export]
macro_rules! broker_conformance {
    ($harness:expr) => {
        $crate::conformance_tests! { $harness;
            publish: p11_every_attribute_of_an_event_arrives,
            publish: p11_bodies_of_any_bytes_arrive,
            publish: p11_events_of_a_key_arrive_in_their_order,
            publish: results_are_in_the_order_of_the_batch,
            publish: a_large_batch_is_taken_whole,
            publish: an_empty_batch_is_no_error,
            publish: an_event_without_a_route_is_refused_and_its_neighbours_are_taken,
            publish: an_event_to_a_missing_topic_is_refused_and_its_neighbours_are_taken,
            publish: a_repeated_event_is_there_once_where_the_broker_says_so,
            publish: publishers_side_by_side_do_not_disturb_each_other,
            publish: a_healthy_broker_says_so,
            publish: p12_an_unreachable_broker_is_told_in_bounded_time,
            publish: after_it_was_unreachable_events_are_taken_again,
        }
    };
}

/// Makes a `#[tokio::test]` of each rule of subscribers, as [`broker_conformance!`](crate::broker_conformance) does for brokers.
#[macro_export]
macro_rules! subscriber_conformance {
    ($harness:expr) => {
        $crate::conformance_tests! { $harness;
            delivery: a_message_that_is_no_event_is_delivered_as_malformed,
            delivery: a_delivery_tells_its_topic,
            delivery: a_receive_that_is_cancelled_loses_nothing,
            delivery: p12_no_more_are_delivered_than_may_be_unacknowledged,
            delivery: a_group_begins_with_the_oldest_or_the_next_event,
            delivery: a_subscription_to_nothing_is_refused,
            groups: every_group_is_given_every_event,
            groups: members_of_a_group_share_its_events,
            groups: p11_members_of_a_group_keep_the_order_of_a_key,
            groups: one_member_subscribes_to_several_topics,
            settle: what_was_not_acknowledged_is_delivered_again,
            settle: what_was_acknowledged_is_not_delivered_again,
            settle: acknowledgements_may_come_in_any_order,
            settle: what_is_put_back_is_delivered_again,
            settle: a_dead_letter_is_not_delivered_again_and_is_in_its_topic,
            settle: p8_a_malformed_dead_letter_keeps_its_body,
            settle: p8_what_was_delivered_too_often_becomes_a_dead_letter,
            settle: acknowledging_twice_is_harmless,
        }
    };
}

/// The tests of either suite.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr; $($theme:ident: $rule:ident,)+) => {
        $(
            #[tokio::test]
            async fn $rule() {
                $crate::conformance::$theme::$rule(&$harness).await;
            }
        )+
    };
}
