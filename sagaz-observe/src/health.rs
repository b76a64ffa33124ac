//! Whether this process lives, and whether it is ready: of its engines, stores, relays, brokers and consumers.
//!
//! A process *lives* while its tasks go on; one that does not is to be started again. It is *ready* while it can do its work: a
//! store or a broker that is away makes it unready, and starting it again would not help. One in which nothing runs has nothing to
//! be ready for.
//!
//! A store is asked nothing: its engine, its relay and its consumers talk to it all the time, and know.

use crate::watched::Watched;
use sagaz_core::observe::{EngineProbe, RelayStanding};
use std::{fmt, time::Duration};
use tokio::time::{error::Elapsed, timeout};

/// How long a broker may take to answer.
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

    /// Whether something runs, and everything works now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let is_ready = |part: &Part| part.standing == Standing::Ready;
        !self.parts.is_empty() && self.parts.iter().all(is_ready)
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

/// How everything stands, brokers included, which are asked.
pub(crate) async fn check(watched: &Watched) -> Health {
    let mut health = glance(watched);
    for outbox in &watched.live().outboxes {
        let answer = timeout(PATIENCE, outbox.broker_health()).await;
        health.put("broker", outbox.broker(), of_answer(answer));
    }
    health
}

/// How everything stands, without asking anybody.
pub(crate) fn glance(watched: &Watched) -> Health {
    let live = watched.live();
    let mut health = Health::default();
    for kind in live.starting {
        health.put(kind, "new", unready("it is starting"));
    }
    for engine in live.engines.iter().filter(|it| !it.is_stopped()) {
        health.put("engine", engine.id().to_string(), of_engine(&**engine));
        let trouble = engine.store_trouble();
        health.put("store", engine.store(), unready_if(trouble));
    }
    for outbox in &live.outboxes {
        if let Some(relay) = outbox.relay() {
            health.put("relay", outbox.store(), of_relay(&relay));
        }
    }
    for consumer in &live.consumers {
        let of_broker = unready_if(consumer.broker_trouble());
        health.put("consumer", consumer.consumer(), of_broker.clone());
        health.put("broker", consumer.broker(), of_broker);
        if let Some(store) = consumer.store() {
            let of_store = unready_if(consumer.store_trouble());
            health.put("consumer", consumer.consumer(), of_store.clone());
            health.put("store", store, of_store);
        }
    }
    for (consumer, why) in live.ended {
        health.put(
            "consumer",
            consumer,
            Standing::Dead(format!("it has ended: {why}")),
        );
    }
    health
}

fn unready(why: &str) -> Standing {
    Standing::Unready(why.to_owned())
}

fn unready_if(trouble: Option<String>) -> Standing {
    trouble.map_or(Standing::Ready, Standing::Unready)
}

fn of_engine(engine: &dyn EngineProbe) -> Standing {
    if engine.is_stopping() {
        return unready("it is shutting down");
    }
    if let Some(task) = engine.ended_task() {
        return Standing::Dead(format!("its task `{task}` has ended"));
    }
    let silence = engine.silence();
    if silence > engine.silence_max() {
        return Standing::Dead(format!(
            "the task that keeps its lease has been silent for {silence:.1?}"
        ));
    }
    if engine.lease_remaining().is_zero() {
        return unready("its lease has lapsed: no new attempt begins");
    }
    Standing::Ready
}

fn of_relay(relay: &RelayStanding) -> Standing {
    if relay.is_dead {
        Standing::Dead("its worker has ended".to_owned())
    } else if relay.lease_remaining.is_zero() {
        unready("its lease has lapsed: nothing is published")
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::BoxFuture;
    use sagaz_core::{
        EngineId,
        observe::{Observer, Probe},
        store::{Backlog, StoreError},
    };
    use std::sync::Arc;

    #[derive(Clone, Debug)]
    struct Engine {
        silence: Duration,
        lease_remaining: Duration,
        ended_task: Option<&'static str>,
        trouble: Option<String>,
        is_stopping: bool,
        is_stopped: bool,
    }

    const SOUND: Engine = Engine {
        silence: Duration::from_secs(5),
        lease_remaining: Duration::from_secs(10),
        ended_task: None,
        trouble: None,
        is_stopping: false,
        is_stopped: false,
    };

    impl EngineProbe for Engine {
        fn id(&self) -> EngineId {
            "6f9619ff-8b86-4d01-b42d-00cf4fc964ff".parse().unwrap()
        }

        fn store(&self) -> &'static str {
            "memory"
        }

        fn in_flight(&self) -> Vec<(&'static str, usize)> {
            Vec::new()
        }

        fn in_flight_max(&self) -> usize {
            1
        }

        fn lease_remaining(&self) -> Duration {
            self.lease_remaining
        }

        fn silence(&self) -> Duration {
            self.silence
        }

        fn silence_max(&self) -> Duration {
            Duration::from_secs(30)
        }

        fn ended_task(&self) -> Option<&'static str> {
            self.ended_task
        }

        fn is_stopping(&self) -> bool {
            self.is_stopping
        }

        fn is_stopped(&self) -> bool {
            self.is_stopped
        }

        fn store_trouble(&self) -> Option<String> {
            self.trouble.clone()
        }

        fn backlog(&self) -> BoxFuture<'_, Result<Vec<Backlog>, StoreError>> {
            panic!("a health check counts nothing")
        }
    }

    async fn health_of(engine: Engine) -> Health {
        let (watched, engine) = (Watched::default(), Arc::new(engine));
        watched.watch(Probe::engine(&engine));
        check(&watched).await
    }

    #[tokio::test]
    async fn a_process_is_started_again_only_for_what_does_not_go_on_by_itself() {
        let sound = health_of(SOUND).await;
        assert!(sound.is_live() && sound.is_ready(), "{sound}");
        let unready = [
            Engine {
                trouble: Some("it is away".to_owned()),
                ..SOUND
            },
            Engine {
                lease_remaining: Duration::ZERO,
                ..SOUND
            },
            Engine {
                is_stopping: true,
                ended_task: Some("lease"),
                ..SOUND
            },
        ];
        for engine in unready {
            let health = health_of(engine).await;
            assert!(health.is_live() && !health.is_ready(), "{health}");
        }
        let dead = [
            Engine {
                silence: Duration::from_secs(31),
                ..SOUND
            },
            Engine {
                ended_task: Some("writer"),
                ..SOUND
            },
        ];
        for engine in dead {
            let health = health_of(engine).await;
            assert!(!health.is_live() && !health.is_ready(), "{health}");
        }
    }

    #[tokio::test]
    async fn what_has_stopped_is_no_part_and_what_starts_is_not_ready() {
        let watched = Watched::default();
        assert!(!check(&watched).await.is_ready(), "nothing runs");
        let starting = Arc::new(());
        watched.watch(Probe::Starting("engine", Arc::downgrade(&starting)));
        assert!(!check(&watched).await.is_ready(), "it starts");
        let (sound, stopped) = (
            Arc::new(SOUND),
            Arc::new(Engine {
                is_stopped: true,
                ..SOUND
            }),
        );
        watched.watch(Probe::engine(&sound));
        watched.watch(Probe::engine(&stopped));
        drop(starting);
        assert!(check(&watched).await.is_ready());
        let ended = |consumer: &str| Probe::Ended {
            consumer: consumer.to_owned(),
            why: "the credentials are wrong".to_owned(),
        };
        watched.watch(ended("billing"));
        let health = check(&watched).await;
        assert!(!health.is_live(), "{health}");
        assert!(
            health.to_string().contains("consumer billing: dead"),
            "{health}"
        );
    }
}
