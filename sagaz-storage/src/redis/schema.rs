//! What is stored about the store itself, and which servers and prefixes are refused.
//!
//! Invariant: the number of partitions is fixed when the store is made: another one would look for everything in another place.

use super::{
    ConnectError, Store,
    request::{Request, elements, text},
    script::PREPARE,
    server::Line,
};
use redis::{RedisError, Value};

/// The schema that this code makes, and reads.
const CODE: u32 = 1;

/// The oldest code that the schema of this code still serves.
const OLDEST_CODE: u32 = 1;

/// Letters that mean nothing to slots and patterns.
pub(super) fn check_prefix(prefix: &str) -> Result<(), ConnectError> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.:/".contains(letter);
    if (1..=64).contains(&prefix.len()) && prefix.chars().all(is_plain) {
        Ok(())
    } else {
        Err(ConnectError::Prefix {
            prefix: prefix.to_owned(),
        })
    }
}

/// Refuses keys of somebody else and stores of newer code, and makes a store where there is none.
pub(super) async fn prepare(
    store: &Store,
    server: &str,
    partitions: u16,
) -> Result<(), ConnectError> {
    let prefix = &store.space.prefix;
    let failed = |error: RedisError| ConnectError::new(server, prefix, error);
    check_kinds(store, server).await?;
    let prepare = Request::script(&PREPARE, &store.space.center)
        .shown(CODE)
        .shown(OLDEST_CODE)
        .shown(partitions);
    let reply = store
        .server
        .try_ask(Line::Writer, &[prepare])
        .await
        .map_err(failed)?;
    let reply = reply.into_iter().next().unwrap_or(Value::Nil);
    let stored = elements(reply.extract_error().map_err(failed)?);
    let mut stored = stored.into_iter().map(text);
    let mut next = || stored.next().flatten();
    let (Some(schema), Some(oldest_code), Some(stored)) = (next(), next(), next()) else {
        return Err(ConnectError::ForeignKey {
            key: format!("{}:meta", store.space.center),
            kind: "hash of something else".to_owned(),
        });
    };
    let (Ok(schema), Ok(oldest_code)) = (schema.parse(), oldest_code.parse()) else {
        return Err(ConnectError::ForeignKey {
            key: format!("{}:meta", store.space.center),
            kind: "hash of something else".to_owned(),
        });
    };
    if oldest_code > CODE {
        return Err(ConnectError::NewerSchema {
            prefix: prefix.clone(),
            schema,
            oldest_code,
            code: CODE,
        });
    }
    if stored != partitions.to_string() {
        return Err(ConnectError::OtherPartitions {
            prefix: prefix.clone(),
            stored,
            asked: partitions,
        });
    }
    Ok(())
}

/// The keys that every partition has are what this store makes of them, or not there.
async fn check_kinds(store: &Store, server: &str) -> Result<(), ConnectError> {
    let failed = |error: RedisError| ConnectError::new(server, &store.space.prefix, error);
    let center = [
        ("meta", "hash"),
        ("leases", "zset"),
        ("workers", "zset"),
        ("lanes", "hash"),
    ];
    let parts = [
        ("owners", "set"),
        ("sagas", "set"),
        ("ended", "zset"),
        ("unfinished", "hash"),
        ("outbox", "hash"),
        ("waiting", "zset"),
        ("sent", "zset"),
        ("handled", "zset"),
    ];
    let expected: Vec<(String, &str)> = center
        .iter()
        .map(|(name, kind)| (format!("{}:{name}", store.space.center), *kind))
        .chain(store.space.tags.iter().flat_map(|tag| {
            parts
                .iter()
                .map(move |(name, kind)| (format!("{tag}:{name}"), *kind))
        }))
        .collect();
    let requests: Vec<_> = expected
        .iter()
        .map(|(key, _)| Request::command("TYPE", key.clone()))
        .collect();
    let replies = store
        .server
        .try_ask(Line::Reader, &requests)
        .await
        .map_err(failed)?;
    for ((key, expected), reply) in expected.into_iter().zip(replies) {
        let kind = text(reply.extract_error().map_err(failed)?).unwrap_or_default();
        if kind != expected && kind != "none" {
            return Err(ConnectError::ForeignKey { key, kind });
        }
    }
    Ok(())
}
