//! What is written together with events: commands in a buffer, carried out by one script.
//!
//! Invariant: all of it is applied or nothing is. Redis does not roll a script back, so the script looks at every key first, and whatever
//! could fail half-way cannot be said here: commands have arguments of the right type, and their keys are in one partition.

use super::{
    Redis, Store, event, letters,
    request::{Request, elements, number, text},
    script::COMMIT,
    server::Line,
};
use crate::value::{lease_millis, millis};
use redis::Value;
use sagaz_core::{
    Event,
    store::{AppendsIn, CommitError, Finished, StoreError},
};
use std::{fmt, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// What a handler writes on a [`Redis`]: a buffer of commands and events, applied in one atomic step with the record of the handled
/// event. Dropped, nothing of it was written.
///
/// Nothing can be read before the commit, so a handler says what changes, not what the new value is: `hincr_by`, `zadd`, `rpush`.
///
/// ```no_run
/// # use sagaz_core::{Event, store::{Begun, InboxStore}};
/// # async fn example(store: &sagaz_storage::redis::Redis, event: &Event) -> Result<(), Box<dyn std::error::Error>> {
/// if let Begun::New(mut tx) = store.begin_handling("read-model", event).await? {
///     tx.hincr_by("orders", "placed", 1).rpush("log", "placed");
///     store.finish_handling(tx).await.map_err(|_| "it is delivered again")?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// Every name of a key is put behind the hash tag of the partition of the event's key: [`Redis::data_key`] says how it is named on the
/// server. Values of different partitions are different keys.
#[must_use = "nothing is written until it is committed"]
pub struct Transaction {
    tag: String,
    purpose: Purpose,
    commands: Vec<Command>,
    events: Vec<Event>,
}

enum Purpose {
    Handling {
        consumer: String,
        id: String,
        /// When it began, by the server's clock and by this process's.
        begun_ms: i64,
        begun: Instant,
    },
    /// Its name, by which a repeat is known.
    Own(Uuid),
}

struct Command {
    what: &'static str,
    key: String,
    arguments: [Vec<u8>; 2],
}

impl Redis {
    /// A transaction without a handled event, in the partition of this key. Events that are appended in it are delivered in the order
    /// of their commits if they have this key.
    pub fn begin(&self, key: &str) -> Transaction {
        let space = &self.store.space;
        let purpose = Purpose::Own(Uuid::new_v4());
        Transaction::new(&space.tags[space.of_text(key)], purpose)
    }

    /// Commits a transaction of [`begin`](Self::begin). [`CommitError::InDoubt`]: it may be applied, even later.
    pub async fn commit(&self, tx: Transaction) -> Result<(), CommitError> {
        commit(&self.store, tx).await.map(|_| ())
    }

    /// How the server names the key that a [`Transaction`] in the partition of this event key calls `name`. An event without a key is
    /// in the partition of its id.
    #[must_use]
    pub fn data_key(&self, event_key: &str, name: &str) -> String {
        let space = &self.store.space;
        format!("{}:data:{name}", space.tags[space.of_text(event_key)])
    }
}

impl Transaction {
    pub(super) fn handling(tag: &str, consumer: &str, event: &Event, now_ms: i64) -> Self {
        let purpose = Purpose::Handling {
            consumer: consumer.to_owned(),
            id: event.event_id().to_string(),
            begun_ms: now_ms,
            begun: Instant::now(),
        };
        Self::new(tag, purpose)
    }

    fn new(tag: &str, purpose: Purpose) -> Self {
        Self {
            tag: tag.to_owned(),
            purpose,
            commands: Vec::new(),
            events: Vec::new(),
        }
    }

    /// How the server names the key that this transaction calls `name`.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}:data:{name}", self.tag)
    }

    /// Sets a string, whatever was there.
    pub fn set(&mut self, key: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.say("SET", key, value, "")
    }

    /// Removes a key.
    pub fn del(&mut self, key: &str) -> &mut Self {
        self.say("DEL", key, "", "")
    }

    /// Removes a key after this time.
    pub fn expire(&mut self, key: &str, after: Duration) -> &mut Self {
        self.say("PEXPIRE", key, millis(after).to_string(), "")
    }

    /// Adds to a number; what is not there is 0. Numbers are below 2⁵³.
    pub fn incr_by(&mut self, key: &str, by: i64) -> &mut Self {
        self.say("INCRBY", key, by.to_string(), "")
    }

    /// Sets a field of a hash.
    pub fn hset(
        &mut self,
        key: &str,
        field: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.say("HSET", key, field, value)
    }

    /// Removes a field of a hash.
    pub fn hdel(&mut self, key: &str, field: impl AsRef<[u8]>) -> &mut Self {
        self.say("HDEL", key, field, "")
    }

    /// Adds to a number in a field of a hash, as [`incr_by`](Self::incr_by) does.
    pub fn hincr_by(&mut self, key: &str, field: impl AsRef<[u8]>, by: i64) -> &mut Self {
        self.say("HINCRBY", key, field, by.to_string())
    }

    /// Puts a member into a set.
    pub fn sadd(&mut self, key: &str, member: impl AsRef<[u8]>) -> &mut Self {
        self.say("SADD", key, member, "")
    }

    /// Takes a member out of a set.
    pub fn srem(&mut self, key: &str, member: impl AsRef<[u8]>) -> &mut Self {
        self.say("SREM", key, member, "")
    }

    /// Puts a member into an ordered set, or gives it another score. A score that is no number counts as 0.
    pub fn zadd(&mut self, key: &str, score: f64, member: impl AsRef<[u8]>) -> &mut Self {
        self.say("ZADD", key, a_number(score), member)
    }

    /// Adds to the score of a member of an ordered set; one that is not there has 0. What is no finite number counts as 0.
    pub fn zincr_by(&mut self, key: &str, by: f64, member: impl AsRef<[u8]>) -> &mut Self {
        let by = if by.is_finite() { by } else { 0.0 };
        self.say("ZINCRBY", key, a_number(by), member)
    }

    /// Takes a member out of an ordered set.
    pub fn zrem(&mut self, key: &str, member: impl AsRef<[u8]>) -> &mut Self {
        self.say("ZREM", key, member, "")
    }

    /// Puts a value behind a list.
    pub fn rpush(&mut self, key: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.say("RPUSH", key, value, "")
    }

    /// Puts a value before a list.
    pub fn lpush(&mut self, key: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.say("LPUSH", key, value, "")
    }

    fn say(
        &mut self,
        what: &'static str,
        key: &str,
        one: impl AsRef<[u8]>,
        other: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.commands.push(Command {
            what,
            key: self.key(key),
            arguments: [one.as_ref().to_vec(), other.as_ref().to_vec()],
        });
        self
    }
}

/// As the server reads it.
fn a_number(number: f64) -> String {
    if number.is_nan() {
        "0".to_owned()
    } else {
        number.to_string()
    }
}

impl fmt::Debug for Transaction {
    /// Shows no values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("tag", &self.tag)
            .field("commands", &self.commands.len())
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl AppendsIn<Transaction> for Redis {
    /// The event is in the partition of the transaction: it has its place among those of its key there.
    async fn append_in(&self, tx: &mut Transaction, event: &Event) -> Result<(), StoreError> {
        tx.events.push(event.clone());
        Ok(())
    }
}

pub(super) async fn commit(store: &Store, tx: Transaction) -> Result<Finished, CommitError> {
    let request = request(store, &tx).map_err(CommitError::RolledBack)?;
    let reply = store
        .server
        .ask_one(Line::Writer, request)
        .await
        .map_err(CommitError::InDoubt)?;
    let refused = match reply {
        Value::Array(refused) => refused,
        word => {
            return match text(word).unwrap_or_default().as_str() {
                "done" => {
                    if !tx.events.is_empty() {
                        store.fresh.tell();
                    }
                    Ok(Finished::Handled)
                }
                "duplicate" => Ok(Finished::Duplicate),
                "late" => Err(CommitError::RolledBack(StoreError::transient(
                    "the server's clock was put forward, or it answered too late",
                ))),
                _ => Err(CommitError::InDoubt(StoreError::fatal(
                    "the server's reply to a transaction is not of this store",
                ))),
            };
        }
    };
    let mut refused = elements(Value::Array(refused)).into_iter();
    let at = refused.next().and_then(number).unwrap_or_default();
    let why = refused.next().and_then(text).unwrap_or_default();
    let command = usize::try_from(at - 1)
        .ok()
        .and_then(|at| tx.commands.get(at));
    let (what, key) = command.map_or(("", ""), |command| (command.what, command.key.as_str()));
    Err(CommitError::RolledBack(StoreError::refusal(format!(
        "{what} on the key `{key}` cannot be carried out: {why}"
    ))))
}

fn request<'a>(store: &Store, tx: &'a Transaction) -> Result<Request<'a>, StoreError> {
    let request = Request::script(&COMMIT, &tx.tag);
    let request = match &tx.purpose {
        Purpose::Handling {
            consumer,
            id,
            begun_ms,
            begun,
        } => {
            // Nothing is applied after the call was given up: the event is delivered again then.
            let passed = begun.elapsed().saturating_add(store.server.call_timeout);
            request
                .shown(begun_ms.saturating_add(lease_millis(passed)))
                .flag(true)
                .text(consumer)
                .text(id)
                .owned(letters::name(id, Some(consumer)))
        }
        Purpose::Own(name) => request.text("").flag(false).shown(name).text("").text(""),
    };
    let mut request = request.shown(tx.commands.len());
    for command in &tx.commands {
        let [one, other] = &command.arguments;
        request = request.text(command.what).text(&command.key);
        request = request.bytes(one).bytes(other);
    }
    for event in &tx.events {
        request = event::append(store, request, event)?;
    }
    Ok(request)
}
