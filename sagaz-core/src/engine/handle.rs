//! What the starter of an instance holds.

use super::{Engine, Inner, instance};
use crate::{
    error::Error,
    id::SagaId,
    outcome::{NotCompleted, Outcome},
    saga::Saga,
    store::{CancelReply, InstanceState, Snapshot, Store},
};
use std::{
    fmt,
    sync::{Mutex, PoisonError},
};
use tokio::{sync::oneshot, time::timeout};

/// Names an instance of the saga `G` and tells how it ended.
///
/// Dropping it changes nothing: the instance goes on.
pub struct Handle<G: Saga, S: Store> {
    engine: Engine<S>,
    id: SagaId,
    /// The outcome itself, if this engine runs the instance from the start: without a look at the store.
    direct: Mutex<Option<oneshot::Receiver<Outcome<G::Outputs>>>>,
}

impl<G: Saga, S: Store> Handle<G, S> {
    pub(super) fn new(
        engine: Engine<S>,
        id: SagaId,
        direct: Option<oneshot::Receiver<Outcome<G::Outputs>>>,
    ) -> Self {
        Self {
            engine,
            id,
            direct: Mutex::new(direct),
        }
    }

    /// The instance.
    #[must_use]
    pub fn id(&self) -> SagaId {
        self.id
    }

    /// Waits until the instance has ended or is stuck.
    ///
    /// While this process runs it, nothing is polled. While another process does, the store is asked now and then.
    pub async fn outcome(&self) -> Result<Outcome<G::Outputs>, Error> {
        let direct = self
            .direct
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(direct) = direct
            && let Ok(outcome) = direct.await
        {
            return Ok(outcome);
        }
        let inner = &self.engine.inner;
        let _watch = Watch(inner, self.id);
        loop {
            // Before the look at the store, so that no end falls between the two.
            let ended = inner.watch(self.id);
            let snapshot = inner
                .store
                .load(self.id)
                .await?
                .ok_or_else(|| Error::not_found(self.id))?;
            if let Some(outcome) = self.read(&snapshot)? {
                return Ok(outcome);
            }
            let summary = &snapshot.summary;
            if summary.owner.is_none() && summary.state == InstanceState::Pending {
                // Committed by whoever started it in a transaction, and not known to this engine before.
                inner.scan.notify_one();
            }
            if inner.is_in_flight(self.id) {
                ended.await;
            } else {
                let _ = timeout(inner.config.poll, ended).await;
            }
        }
    }

    fn read(&self, snapshot: &Snapshot) -> Result<Option<Outcome<G::Outputs>>, Error> {
        let summary = &snapshot.summary;
        let missing = || Error::invalid(format!("instance {} ended without a reason", self.id));
        Ok(match summary.state {
            InstanceState::Completed => {
                let registration = self.engine.inner.registry.get::<G>()?;
                Some(Outcome::Completed(instance::decode_outputs(
                    &*registration.saga,
                    snapshot,
                )?))
            }
            InstanceState::RolledBack => Some(Outcome::RolledBack(
                summary.failure.clone().ok_or_else(missing)?,
            )),
            InstanceState::Stuck => {
                Some(Outcome::Stuck(summary.stuck.clone().ok_or_else(missing)?))
            }
            _ => None,
        })
    }

    /// Like [`outcome`](Self::outcome), with everything but completion as an error.
    pub async fn completed(&self) -> Result<Result<G::Outputs, NotCompleted>, Error> {
        self.outcome().await.map(Outcome::into_result)
    }

    /// Asks to cancel the instance: see [`Engine::cancel`].
    pub async fn cancel(&self) -> Result<CancelReply, Error> {
        self.engine.cancel(self.id).await
    }
}

/// Forgets that somebody waits for an instance, also when the wait is given up.
struct Watch<'e, S: Store>(&'e Inner<S>, SagaId);

impl<S: Store> Drop for Watch<'_, S> {
    fn drop(&mut self) {
        self.0.unwatch(self.1);
    }
}

impl<G: Saga, S: Store> fmt::Debug for Handle<G, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("saga", &G::DEFINITION.name)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
