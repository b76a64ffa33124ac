//! How instances begin: by a write of their own, or in a transaction of the caller's.

use super::{
    Engine, Handle, Inner,
    instance::{self, Application},
    lock,
    registry::Registration,
};
use crate::{
    codec::{Codec, CodecError, Payload, digest},
    error::Error,
    id::SagaId,
    observe::{End, Instance, Scoping, Trace, TraceContext, Work},
    saga::{RunsOn, Saga},
    store::{Accept, Accepted, Store, TransactionOf, Write, Written},
};
use std::{
    any::type_name,
    fmt,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

/// What an instance is started with, beside its input.
#[derive(Default)]
struct Options {
    key: Option<String>,
    trace: Option<TraceContext>,
}

/// An instance that is about to start: await it.
#[must_use = "nothing starts until it is awaited"]
pub struct Start<'e, G: Saga, S: Store> {
    engine: &'e Engine<S>,
    input: G::Input,
    options: Options,
}

impl<'e, G: Saga, S: Store> Start<'e, G, S> {
    pub(super) fn new(engine: &'e Engine<S>, input: G::Input) -> Self {
        Self {
            engine,
            input,
            options: Options::default(),
        }
    }

    /// The caller's idempotency key. A second start of the same saga with this key gives the instance of the first; with a
    /// different input it is an error, and nothing is stored. A key lives as long as its instance.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.options.key = Some(key.into());
        self
    }

    /// The trace that the instance belongs to, where that is not the one of the code that starts it: of a request whose headers
    /// were read by hand.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.options.trace = Some(trace);
        self
    }
}

impl<G: Saga, S: Store> fmt::Debug for Start<'_, G, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start")
            .field("saga", &G::DEFINITION.name)
            .field("key", &self.options.key)
            .finish_non_exhaustive()
    }
}

impl<'e, G: RunsOn<S>, S: Store> IntoFuture for Start<'e, G, S> {
    type Output = Result<Handle<G, S>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'e>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(start(self.engine, self.input, self.options))
    }
}

/// An instance that is about to start in a transaction: await it.
#[must_use = "nothing starts until it is awaited"]
pub struct StartIn<'e, G: Saga, Tx, S: Store> {
    engine: &'e Engine<S>,
    tx: &'e mut Tx,
    input: G::Input,
    options: Options,
}

impl<'e, G: Saga, Tx, S: Store> StartIn<'e, G, Tx, S> {
    pub(super) fn new(engine: &'e Engine<S>, tx: &'e mut Tx, input: G::Input) -> Self {
        Self {
            engine,
            tx,
            input,
            options: Options::default(),
        }
    }

    /// The caller's idempotency key: see [`Start::key`].
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.options.key = Some(key.into());
        self
    }

    /// The trace that the instance belongs to: see [`Start::trace`].
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.options.trace = Some(trace);
        self
    }
}

impl<G: Saga, Tx, S: Store> fmt::Debug for StartIn<'_, G, Tx, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartIn")
            .field("saga", &G::DEFINITION.name)
            .field("key", &self.options.key)
            .finish_non_exhaustive()
    }
}

impl<'e, G: RunsOn<S>, Tx: TransactionOf<S>, S: Store> IntoFuture for StartIn<'e, G, Tx, S> {
    type Output = Result<Handle<G, S>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'e>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(start_in(self.engine, self.tx, self.input, self.options))
    }
}

/// The longest start key, in bytes.
const START_KEY_MAX: usize = 512;

/// A new instance that is about to be stored; nobody owns it yet.
struct Admission<G: Saga> {
    registration: Arc<Registration<G>>,
    accept: Accept,
    trace: Option<Trace>,
}

/// What is stored of a new instance, if it can be, and the scope of its acceptance.
fn admit<G: RunsOn<S>, S: Store>(
    inner: &Inner<S>,
    input: &G::Input,
    options: Options,
) -> Result<(Admission<G>, Scoping), Error> {
    let Options { key, trace } = options;
    let registration = inner.registry.get::<G>()?;
    if inner.is_stopping() {
        return Err(Error::shutting_down());
    }
    if let Some(key) = &key
        && (key.is_empty() || key.len() > START_KEY_MAX || key.contains('\0'))
    {
        return Err(Error::invalid(format!(
            "a start key has 1 to {START_KEY_MAX} bytes and no NUL, and this one has {} bytes",
            key.len()
        )));
    }
    let input_digest = match &key {
        Some(_) => digest(input).map_err(|error| unserializable::<G>(error))?,
        None => String::new(),
    };
    let id = inner.store.new_id(&registration.key.saga, key.as_deref());
    let input = encode_input(inner, &registration, input)?;
    let (trace, scope) = trace_of(inner, registration.instance(id, None), trace);
    let accept = Accept {
        id,
        definition: registration.key.clone(),
        input,
        input_digest,
        start_key: key,
        owner: None,
        deadline: registration.saga.definition().deadline,
        trace: trace.as_ref().and_then(Trace::to_text),
    };
    let admission = Admission {
        registration,
        accept,
        trace,
    };
    Ok((admission, scope))
}

/// The trace of a new instance: under the caller, by what it said or by where it runs, with a scope for the acceptance.
fn trace_of<S: Store>(
    inner: &Inner<S>,
    instance: Instance<'_>,
    caller: Option<TraceContext>,
) -> (Option<Trace>, Scoping) {
    let Some(observers) = &inner.observers else {
        return (Trace::new(caller, None), Scoping::default());
    };
    let scope = observers.begin(&Work::Accept {
        instance,
        caller: caller.as_ref(),
    });
    let caller = caller.or_else(|| observers.trace());
    (Trace::new(caller, scope.trace().as_ref()), scope)
}

async fn start<G: RunsOn<S>, S: Store>(
    engine: &Engine<S>,
    input: G::Input,
    options: Options,
) -> Result<Handle<G, S>, Error> {
    let (admission, scope) = admit::<G, S>(&engine.inner, &input, options)?;
    let new = admission.accept.id;
    let started = scope.around(offer(engine, input, admission)).await;
    end(scope, new, &started);
    started
}

/// The words of an error may have the start key in them, which is no business of traces.
fn end<G: Saga, S: Store>(scope: Scoping, new: SagaId, started: &Result<Handle<G, S>, Error>) {
    match started {
        Ok(handle) if handle.id() == new => scope.end(&End::well("accepted")),
        // By its start key.
        Ok(_) => scope.end(&End::well("existing")),
        Err(error) => {
            let (outcome, words) = if error.is_conflict() {
                ("conflict", "its start key was used with another input")
            } else if error.is_transient() {
                ("unanswered", "the store did not answer in time")
            } else {
                ("refused", "it cannot be started")
            };
            scope.end(&End::ill(outcome, &words));
        }
    }
}

/// Offers a new instance to the store.
async fn offer<G: RunsOn<S>, S: Store>(
    engine: &Engine<S>,
    input: G::Input,
    admission: Admission<G>,
) -> Result<Handle<G, S>, Error> {
    let inner = &engine.inner;
    let Admission {
        registration,
        mut accept,
        trace,
    } = admission;
    let until = Instant::now() + inner.config.start_timeout;
    let accepting = timeout_at(until, Arc::clone(&inner.accepting).acquire_owned()).await;
    let Ok(accepting) = accepting else {
        return Err(Error::unanswered(format!(
            "saga `{}` was not stored: {} others have been waiting for the store for {:?}",
            registration.key.saga, inner.config.accepting_max, inner.config.start_timeout
        )));
    };
    let accepting = accepting.map_err(|_| Error::shutting_down())?;
    // What waits in the store already comes first.
    let is_busy = inner.backlog.load(Ordering::Relaxed) || !inner.lease.is_fresh();
    let permit = if is_busy {
        None
    } else {
        Arc::clone(&inner.room).try_acquire_owned().ok()
    };
    accept.owner = permit.as_ref().map(|_| inner.id);
    let sure_at = inner.lease.lapses();
    let started = Started::of(&accept);
    let (accepted, reply) = oneshot::channel();
    let (outcome, direct) = oneshot::channel();
    let direct = permit.is_some().then_some(direct);
    instance::accept(
        inner,
        registration,
        Box::new(Application {
            accept,
            input,
            accepted,
            outcome,
            permit,
            trace,
            accepting,
            sure_at,
        }),
    );
    match timeout_at(until, reply).await {
        Ok(Ok(Ok(accepted))) => started.handle(engine, accepted, direct),
        Ok(Ok(Err(error))) => Err(error),
        Ok(Err(_)) => Err(Error::shutting_down()),
        Err(_) => {
            let trouble = lock(&inner.trouble);
            let trouble = trouble.as_ref().map(|trouble| trouble.words.as_str());
            let trouble = trouble.unwrap_or("it did not answer");
            Err(Error::unanswered(format!(
                "saga `{}` was not stored within {:?}, and may still be: {trouble}; \
                 start it again with the same start key",
                G::DEFINITION.name,
                inner.config.start_timeout
            )))
        }
    }
}

async fn start_in<G: RunsOn<S>, Tx: TransactionOf<S>, S: Store>(
    engine: &Engine<S>,
    tx: &mut Tx,
    input: G::Input,
    options: Options,
) -> Result<Handle<G, S>, Error> {
    let (admission, scope) = admit::<G, S>(&engine.inner, &input, options)?;
    let new = admission.accept.id;
    let started = scope.around(offer_in(engine, tx, admission.accept)).await;
    end(scope, new, &started);
    started
}

/// Offers a new instance to the store, in a transaction of the caller's.
async fn offer_in<G: RunsOn<S>, Tx: TransactionOf<S>, S: Store>(
    engine: &Engine<S>,
    tx: &mut Tx,
    accept: Accept,
) -> Result<Handle<G, S>, Error> {
    let inner = &engine.inner;
    let started = Started::of(&accept);
    match tx.write_to(&inner.store, &Write::Accept(accept)).await? {
        Written::Accepted(accepted) => {
            inner.expect_soon();
            started.handle(engine, accepted, None)
        }
        _ => Err(Error::invalid("the store answers for another write")),
    }
}

/// An instance that was offered to the store.
struct Started {
    id: SagaId,
    input_digest: String,
    key: Option<String>,
}

impl Started {
    fn of(accept: &Accept) -> Self {
        Self {
            id: accept.id,
            input_digest: accept.input_digest.clone(),
            key: accept.start_key.clone(),
        }
    }

    fn handle<G: Saga, S: Store>(
        self,
        engine: &Engine<S>,
        accepted: Accepted,
        direct: Option<oneshot::Receiver<crate::Outcome<G::Outputs>>>,
    ) -> Result<Handle<G, S>, Error> {
        match accepted {
            Accepted::New => Ok(Handle::new(engine.clone(), self.id, direct)),
            Accepted::Existing { id, input_digest } if input_digest == self.input_digest => {
                Ok(Handle::new(engine.clone(), id, None))
            }
            Accepted::Existing { id, .. } => Err(Error::conflict(format!(
                "saga `{}` was started with the key `{}` before, and with a different input: it is instance {id}",
                G::DEFINITION.name,
                self.key.unwrap_or_default(),
            ))),
        }
    }
}

fn encode_input<G: Saga, S: Store>(
    inner: &Inner<S>,
    registration: &Registration<G>,
    input: &G::Input,
) -> Result<Payload, Error> {
    let bytes = G::Codec::encode(input).map_err(|error| unserializable::<G>(error))?;
    let max = inner.config.payload_max;
    if bytes.len() > max {
        return Err(Error::invalid(format!(
            "the input of saga `{}` has {} bytes, and the limit is {max}: store it elsewhere and start with its address, \
             or raise `payload_max`",
            registration.key.saga,
            bytes.len()
        )));
    }
    Ok(Payload {
        content_type: G::Codec::CONTENT_TYPE.to_owned(),
        bytes,
    })
}

fn unserializable<G: Saga>(error: CodecError) -> Error {
    Error::undecodable(
        format!(
            "the input of saga `{}` (`{}`) cannot be serialized",
            G::DEFINITION.name,
            type_name::<G::Input>()
        ),
        error,
    )
}
