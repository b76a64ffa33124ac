//! What a member says to the server beside asking for entries: groups that are made, entries that are settled, buried, put or given
//! back.

use super::{
    connect::Line,
    entry::Entry,
    error::{call_error, is_of_code},
};
use crate::{Start, Subscription};
use ::redis::{Pipeline, RedisError, RedisResult, Value};
use sagaz_core::broker::BrokerError;
use std::time::Duration;

/// After how long a member that holds nothing is forgotten.
const MEMBER_IDLE: Duration = Duration::from_hours(1);

pub(super) struct Member {
    pub(super) line: Line,
    pub(super) subscription: Subscription,
    pub(super) consumer: String,
    pub(super) declare: bool,
}

impl Member {
    pub(super) async fn make_groups(&self) -> Result<(), BrokerError> {
        let Subscription { group, topics, .. } = &self.subscription;
        let mut pipeline = Pipeline::new();
        for topic in topics {
            let first = match self.subscription.start {
                Start::Oldest => "0",
                Start::Next => "$",
            };
            pipeline
                .cmd("XGROUP")
                .arg("CREATE")
                .arg(topic)
                .arg(group)
                .arg(first);
            if self.declare {
                pipeline.arg("MKSTREAM");
            }
        }
        let replies = self.line.ask_again(&pipeline, topics.len()).await;
        for (reply, topic) in replies.map_err(call_error)?.into_iter().zip(topics) {
            let Value::ServerError(error) = reply else {
                continue;
            };
            let error = RedisError::from(error);
            if is_of_code(&error, "BUSYGROUP") {
                continue;
            }
            if error.to_string().contains("requires the key to exist") {
                return Err(BrokerError::misused(format!(
                    "there is no stream `{topic}`; publish to it first, or let it be made with the option `declare`"
                )));
            }
            return Err(call_error(error));
        }
        Ok(())
    }

    /// Members without a name would gather in the groups.
    pub(super) async fn sweep(&self) -> Result<(), BrokerError> {
        let Subscription { group, topics, .. } = &self.subscription;
        let mut pipeline = Pipeline::new();
        for topic in topics {
            pipeline
                .cmd("EVAL")
                .arg(include_str!("sweep.lua"))
                .arg(1)
                .arg(topic)
                .arg(group)
                .arg(millis(MEMBER_IDLE));
        }
        let replies = self.line.ask_again(&pipeline, topics.len()).await;
        all_done(replies)
    }

    pub(super) async fn settle(&self, entry: &Entry) -> Result<(), BrokerError> {
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("XACK")
            .arg(&entry.topic)
            .arg(&self.subscription.group)
            .arg(&entry.id);
        all_done(self.line.ask_again(&pipeline, 1).await)
    }

    pub(super) async fn bury(&self, entry: &Entry) -> Result<(), BrokerError> {
        let Some(dead) = self.subscription.dead_topic(&entry.topic) else {
            return self.settle(entry).await;
        };
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("EVAL")
            .arg(include_str!("bury.lua"))
            .arg(2)
            .arg(dead)
            .arg(&entry.topic)
            .arg(&self.subscription.group)
            .arg(&entry.id);
        for (name, value) in &entry.fields {
            pipeline.arg(name).arg(value);
        }
        all_done(self.line.ask(&pipeline, 1).await)
    }

    /// It stays this member's, and is given once more; the server is told that, for whoever takes it over.
    pub(super) async fn put_back(&self, entry: &mut Entry) -> Result<(), BrokerError> {
        entry.delivered_before += 1;
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("XCLAIM")
            .arg(&entry.topic)
            .arg(&self.subscription.group)
            .arg(&self.consumer)
            .arg(0)
            .arg(&entry.id)
            .arg("RETRYCOUNT")
            .arg(entry.delivered_before.saturating_add(1))
            .arg("JUSTID");
        all_done(self.line.ask_again(&pipeline, 1).await)
    }

    /// As if they had been given long ago, so that whoever looks takes them over.
    pub(super) async fn give_back(&self, entries: &[Entry]) -> Result<(), BrokerError> {
        let mut pipeline = Pipeline::with_capacity(entries.len());
        for entry in entries {
            pipeline
                .cmd("XCLAIM")
                .arg(&entry.topic)
                .arg(&self.subscription.group)
                .arg(&self.consumer)
                .arg(0)
                .arg(&entry.id)
                .arg("IDLE")
                .arg(millis(self.subscription.redeliver_after))
                .arg("JUSTID");
        }
        all_done(self.line.ask_again(&pipeline, entries.len()).await)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn all_done(replies: RedisResult<Vec<Value>>) -> Result<(), BrokerError> {
    replies
        .and_then(|replies| {
            replies
                .into_iter()
                .try_for_each(|reply| reply.extract_error().map(drop))
        })
        .map_err(call_error)
}
