//! What a member asks for: new entries, those of its own from before, and those that dead members left.
//!
//! Each is a future that its subscriber keeps until it has ended: the server counts an entry as delivered when it replies, so a reply
//! must not be lost with a `receive` that is cancelled.

use super::entry::{Entry, elements, entries, of_streams, text};
use ::redis::{
    Cmd, Pipeline, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cmd,
};
use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind},
    time::Duration,
};

/// The first id of any stream.
const FIRST: &str = "0-0";

/// Who asks, and of what.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) connection: MultiplexedConnection,
    pub(super) group: String,
    pub(super) consumer: String,
    pub(super) topics: Vec<String>,
    /// How long a reply may take, beside the time that is asked for.
    pub(super) timeout: Duration,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    /// Where to go on looking in each topic; none: everything was looked at.
    pub(super) after: BTreeMap<String, String>,
}

impl Reader {
    /// Waits for new entries, at most so long.
    pub(super) async fn fresh(mut self, count: usize, block: Duration) -> RedisResult<Found> {
        let mut command = self.read_command(count);
        // Zero would be for ever.
        let block_ms = u64::try_from(block.as_millis()).unwrap_or(u64::MAX).max(1);
        command
            .arg("BLOCK")
            .arg(block_ms)
            .arg("STREAMS")
            .arg(&self.topics);
        for _ in &self.topics {
            command.arg(">");
        }
        let reply = self.ask(command, block).await?;
        Ok(Found {
            entries: of_streams(reply),
            after: BTreeMap::new(),
        })
    }

    /// Entries that a member of this name was given before.
    pub(super) async fn own(
        mut self,
        count: usize,
        mut after: BTreeMap<String, String>,
    ) -> RedisResult<Found> {
        let mut command = self.read_command(count);
        command.arg("STREAMS").arg(&self.topics);
        for topic in &self.topics {
            command.arg(after.get(topic).map_or(FIRST, String::as_str));
        }
        let mut entries = of_streams(self.ask(command, Duration::ZERO).await?);
        self.count_deliveries(&mut entries).await?;
        for entry in &entries {
            after.insert(entry.topic.clone(), entry.id.clone());
        }
        if entries.is_empty() {
            after.clear();
        }
        Ok(Found { entries, after })
    }

    /// Takes over entries that were given to any member so long ago.
    pub(super) async fn abandoned(
        mut self,
        count: usize,
        after: BTreeMap<String, String>,
        idle: Duration,
    ) -> RedisResult<Found> {
        let mut found = Found {
            entries: Vec::new(),
            after: BTreeMap::new(),
        };
        for topic in self.topics.clone() {
            let from = after.get(&topic).map_or(FIRST, String::as_str);
            let mut command = cmd("XAUTOCLAIM");
            command
                .arg(&topic)
                .arg(&self.group)
                .arg(&self.consumer)
                .arg(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX))
                .arg(from)
                .arg("COUNT")
                .arg(count);
            let mut reply = elements(self.ask(command, Duration::ZERO).await?).into_iter();
            let next = reply.next().and_then(text);
            found
                .entries
                .extend(entries(&topic, reply.next().unwrap_or(Value::Nil)));
            if let Some(next) = next.filter(|next| next != FIRST) {
                found.after.insert(topic, next);
            }
        }
        self.count_deliveries(&mut found.entries).await?;
        Ok(found)
    }

    fn read_command(&self, count: usize) -> Cmd {
        let mut command = cmd("XREADGROUP");
        command
            .arg("GROUP")
            .arg(&self.group)
            .arg(&self.consumer)
            .arg("COUNT")
            .arg(count);
        command
    }

    /// The server counts this delivery too.
    async fn count_deliveries(&mut self, entries: &mut [Entry]) -> RedisResult<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::with_capacity(entries.len());
        for entry in &*entries {
            pipeline
                .cmd("XPENDING")
                .arg(&entry.topic)
                .arg(&self.group)
                .arg(&entry.id)
                .arg(&entry.id)
                .arg(1);
        }
        let asked = self
            .connection
            .req_packed_commands(&pipeline, 0, entries.len());
        let replies = within(self.timeout, asked).await?;
        for (entry, reply) in entries.iter_mut().zip(replies) {
            let of_entry = elements(reply).into_iter().next().map(elements);
            if let Some(Value::Int(deliveries)) =
                of_entry.and_then(|facts| facts.into_iter().nth(3))
            {
                entry.delivered_before = u32::try_from(deliveries - 1).unwrap_or_default();
            }
        }
        Ok(())
    }

    async fn ask(&mut self, command: Cmd, beside: Duration) -> RedisResult<Value> {
        let asked = self.connection.req_packed_command(&command);
        within(self.timeout + beside, asked).await?.extract_error()
    }
}

async fn within<T>(
    timeout: Duration,
    asked: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or_else(|_| {
            let late = Error::new(ErrorKind::TimedOut, "no reply in time");
            Err(RedisError::from(late))
        })
}
