//! Whether this process lives, and whether it is ready: of its engines, stores, relays, brokers and consumers.
//!
//! A process *lives* while its tasks go on; one that does not is to be started again. It is *ready* while it can do its work: a
//! store or a broker that is away makes it unready, and starting it again would not help.

use crate::watched::Watched;
use sagaz_core::observe::{EngineProbe, RelayStanding};
use std::{fmt, time::Duration};
use tokio::time::{error::Elapsed, timeout};

/// How long a store or a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How this process stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Of each part.
    pub parts: Vec<Part>,
}

/// How a part of this process stands, or what it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// What it is: `engine`, `store`, `relay`, `broker` or `consumer`.
    pub kind: &'static str,
    /// Which one.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
}

/// How something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It works.
    Ready,
    /// It does not work now, and may by itself later.
    Unready(String),
    /// It does not go on by itself.
    Dead(String),
}

impl Health {
    /// Whether everything goes on by itself.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let is_dead = |part: &Part| matches!(part.standing, Standing::Dead(_));
        !self.parts.iter().any(is_dead)
    }

    /// Whether everything works now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts
            .iter()
            .all(|part| part.standing == Standing::Ready)
    }

    fn put(&mut self, kind: &'static str, name: impl Into<String>, standing: Standing) {
        let name = name.into();
        let same = |part: &&mut Part| part.kind == kind && part.name == name;
        match self.parts.iter_mut().find(same) {
            // Of two that know the same store, the one with trouble tells more.
            Some(part) if part.standing == Standing::Ready => part.standing = standing,
            Some(_) => {}
            None => self.parts.push(Part {
                kind,
                name,
                standing,
            }),
        }
    }
}

impl fmt::Display for Health {
    /// A line for each part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Part {
            kind,
            name,
            standing,
        } in &self.parts
        {
            match standing {
                Standing::Ready => writeln!(f, "{kind} {name}: ready")?,
                Standing::Unready(why) => writeln!(f, "{kind} {name}: not ready, {why}")?,
                Standing::Dead(why) => writeln!(f, "{kind} {name}: dead, {why}")?,
            }
        }
        Ok(())
    }
}

/// Asks engines, relays, stores and brokers how they stand.
pub(crate) async fn check(watched: &Watched) -> Health {
    let live = watched.live();
    let mut health = Health::default();
    for engine in &live.engines {
        health.put("engine", engine.id().to_string(), of_engine(&**engine));
        health.put("store", engine.store(), of_store(&**engine).await);
    }
    for outbox in &live.outboxes {
        if let Some(relay) = outbox.relay() {
            health.put("relay", outbox.store(), of_relay(&relay));
        }
        let answer = timeout(PATIENCE, outbox.outbox()).await;
        health.put("store", outbox.store(), of_answer(answer));
        let answer = timeout(PATIENCE, outbox.broker_health()).await;
        health.put("broker", outbox.broker(), of_answer(answer));
    }
    for consumer in &live.consumers {
        let standing = consumer
            .broker_trouble()
            .map_or(Standing::Ready, Standing::Unready);
        health.put("consumer", consumer.consumer(), standing.clone());
        health.put("broker", consumer.broker(), standing);
    }
    health
}

/// Without asking anybody.
pub(crate) fn glance(watched: &Watched) -> Health {
    let mut health = Health::default();
    for engine in &watched.live().engines {
        health.put("engine", engine.id().to_string(), of_engine(&**engine));
    }
    health
}

fn of_engine(engine: &dyn EngineProbe) -> Standing {
    if engine.is_stopping() {
        return Standing::Unready("it is shutting down".to_owned());
    }
    let silence = engine.silence();
    if silence > engine.silence_max() {
        return Standing::Dead(format!(
            "the task that keeps its lease has been silent for {silence:.1?}"
        ));
    }
    if engine.lease_remaining().is_zero() {
        return Standing::Unready("its lease has lapsed: no new attempt begins".to_owned());
    }
    Standing::Ready
}

async fn of_store(engine: &dyn EngineProbe) -> Standing {
    if let Some(trouble) = engine.store_trouble() {
        return Standing::Unready(trouble);
    }
    of_answer(timeout(PATIENCE, engine.backlog()).await)
}

fn of_relay(relay: &RelayStanding) -> Standing {
    if relay.lease_remaining.is_zero() {
        Standing::Unready("its lease has lapsed: nothing is published".to_owned())
    } else {
        Standing::Ready
    }
}

fn of_answer<T, E: fmt::Display>(answer: Result<Result<T, E>, Elapsed>) -> Standing {
    match answer {
        Ok(Ok(_)) => Standing::Ready,
        Ok(Err(error)) => Standing::Unready(error.to_string()),
        Err(_) => Standing::Unready(format!("it did not answer within {PATIENCE:?}")),
    }
}
