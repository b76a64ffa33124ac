//! The sagas that an engine can run.

use super::{Inner, instance};
use crate::{
    codec::{CodecError, Payload},
    definition::Definition,
    error::Error,
    id::SagaId,
    observe::{Instance, Trace},
    saga::{RunsOn, Saga},
    store::{DefinitionKey, Runnable, RunnableStep, Snapshot, Store},
};
use std::{
    any::{Any, TypeId, type_name},
    collections::BTreeMap,
    sync::Arc,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A saga as an engine holds it.
pub(crate) struct Registration<G: Saga> {
    pub(crate) saga: Arc<G>,
    pub(crate) key: DefinitionKey,
    limits: Vec<Option<Arc<Semaphore>>>,
}

impl<G: Saga> Registration<G> {
    fn new(saga: G) -> Self {
        let definition = saga.definition();
        let key = DefinitionKey {
            saga: definition.name.to_owned(),
            version: definition.version,
            fingerprint: definition.fingerprint(),
        };
        let limit = |limit: u32| {
            Arc::new(Semaphore::new(
                usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS),
            ))
        };
        let limits = definition
            .steps
            .iter()
            .map(|step| step.limit.map(limit))
            .collect();
        Self {
            saga: Arc::new(saga),
            key,
            limits,
        }
    }

    /// The places for attempts of a step that has a limit.
    pub(crate) fn limit(&self, step: usize) -> Option<Arc<Semaphore>> {
        self.limits[step].clone()
    }

    pub(crate) fn name(&self) -> &'static str {
        self.saga.definition().name
    }

    pub(crate) fn instance<'t>(&self, id: SagaId, trace: Option<&'t Trace>) -> Instance<'t> {
        Instance::new(self.name(), id, trace)
    }
}

/// A saga whose type is not known at compile time.
pub(crate) trait Registered<S: Store>: Send + Sync {
    fn name(&self) -> &'static str {
        self.definition().name
    }

    fn definition(&self) -> &'static Definition;

    fn type_name(&self) -> &'static str;

    /// Goes on with an instance that was claimed.
    /// `sure_at`: the count of the lease's lapses at which it was surely this engine's.
    fn launch(
        self: Arc<Self>,
        engine: Arc<Inner<S>>,
        snapshot: Snapshot,
        sure_at: u64,
        permit: Option<OwnedSemaphorePermit>,
    );

    /// Whether a payload can be the output of a step.
    fn check_output(&self, step: usize, output: &Payload) -> Result<(), CodecError>;

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<G: RunsOn<S>, S: Store> Registered<S> for Registration<G> {
    fn definition(&self) -> &'static Definition {
        self.saga.definition()
    }

    fn type_name(&self) -> &'static str {
        type_name::<G>()
    }

    fn launch(
        self: Arc<Self>,
        engine: Arc<Inner<S>>,
        snapshot: Snapshot,
        sure_at: u64,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        instance::launch(engine, self, snapshot, sure_at, permit);
    }

    fn check_output(&self, step: usize, output: &Payload) -> Result<(), CodecError> {
        instance::decode_output(&*self.saga, &self.saga.slots(), step, output)
            .map_err(CodecError::new)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// All sagas of an engine.
pub(crate) struct Registry<S> {
    by_name: BTreeMap<&'static str, Arc<dyn Registered<S>>>,
    by_type: BTreeMap<TypeId, &'static str>,
    runnable: Vec<Runnable>,
}

impl<S: Store> Registry<S> {
    pub(crate) fn new() -> Self {
        Self {
            by_name: BTreeMap::new(),
            by_type: BTreeMap::new(),
            runnable: Vec::new(),
        }
    }

    pub(crate) fn add<G: RunsOn<S>>(&mut self, saga: G) -> Result<(), Error> {
        let registration = Registration::new(saga);
        let definition = registration.saga.definition();
        if let Some(other) = self.by_name.get(definition.name) {
            return Err(Error::conflict(format!(
                "two sagas are named `{}`: `{}` and `{}`; give one of them another name with `#[saga(name = \"..\")]`",
                definition.name,
                other.type_name(),
                type_name::<G>(),
            )));
        }
        if let Some(step) = definition.first_transactional()
            && G::transactor().is_none()
        {
            return Err(Error::invalid(format!(
                "step `{}` of saga `{}` is transactional, and its `RunsOn` names no transaction: let `#[saga]` write it",
                step.name, definition.name
            )));
        }
        self.runnable.push(runnable(&registration.key, definition));
        self.by_type.insert(TypeId::of::<G>(), definition.name);
        self.by_name.insert(definition.name, Arc::new(registration));
        Ok(())
    }

    pub(crate) fn get<G: Saga>(&self) -> Result<Arc<Registration<G>>, Error> {
        let name = self.by_type.get(&TypeId::of::<G>());
        let registered = name.and_then(|name| self.by_name.get(name)).cloned();
        registered.and_then(|registered| registered.into_any().downcast().ok()).ok_or_else(|| {
            let name = G::DEFINITION.name;
            Error::invalid(format!("saga `{name}` is not registered with this engine: add `.register(..)` to its builder"))
        })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.by_name.keys().copied()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<dyn Registered<S>>> {
        self.by_name.get(name).cloned()
    }

    pub(crate) fn runnable(&self) -> &[Runnable] {
        &self.runnable
    }
}

fn runnable(key: &DefinitionKey, definition: &'static Definition) -> Runnable {
    let names = |indices: &[u16]| {
        indices
            .iter()
            .map(|&at| definition.steps[usize::from(at)].name.to_owned())
            .collect()
    };
    let step = |step: &crate::StepDefinition| RunnableStep {
        name: step.name.to_owned(),
        depends_on: names(step.depends_on),
        kind: step.kind,
    };
    Runnable {
        key: key.clone(),
        accepts: definition.accepts.to_vec(),
        steps: definition.steps.iter().map(step).collect(),
    }
}
