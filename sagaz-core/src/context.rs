//! What a step can ask about the attempt that it is.

use crate::{
    definition::{Definition, StepDefinition},
    event::{Event, PublishError},
    id::SagaId,
    observe::{Instance, Observers, Trace, TraceContext},
    outcome::Failure,
    published::{Destination, Published},
    transactor::AnyTransaction,
};
use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// What all attempts of one instance share.
pub(crate) struct Shared {
    pub(crate) definition: &'static Definition,
    id: OnceLock<SagaId>,
    pub(crate) failure: OnceLock<Failure>,
    /// Of attempts that are about to begin.
    transactions: Mutex<Vec<(u16, AnyTransaction)>>,
    pub(crate) published: Published,
    /// Boxed, so that what nobody watches keeps no room for it.
    watch: Option<Box<Watch>>,
    /// How long a transactional attempt may take if it says nothing itself.
    pub(crate) transaction_timeout: Option<Duration>,
}

/// Who watches an instance.
struct Watch {
    observers: Option<Observers>,
    trace: Option<Trace>,
    accepted_at: Instant,
}

impl Shared {
    pub(crate) fn new(definition: &'static Definition) -> Self {
        Self {
            definition,
            id: OnceLock::new(),
            failure: OnceLock::new(),
            transactions: Mutex::default(),
            published: Published::default(),
            watch: None,
            transaction_timeout: None,
        }
    }

    pub(crate) fn with_id(definition: &'static Definition, id: SagaId) -> Self {
        Self {
            id: id.into(),
            ..Self::new(definition)
        }
    }

    pub(crate) fn publishing(mut self, destination: Destination) -> Self {
        self.published.destination = destination;
        self
    }

    /// Made on first use: an in-process run that nobody asks for its id makes none.
    pub(crate) fn id(&self) -> SagaId {
        *self.id.get_or_init(SagaId::new)
    }

    /// The transaction of an attempt that begins now.
    pub(crate) fn give_transaction(&self, step: u16, transaction: AnyTransaction) {
        self.transactions().push((step, transaction));
    }

    /// What an attempt that never took it has left, if anything.
    pub(crate) fn take_transaction(&self, step: u16) -> Option<AnyTransaction> {
        let mut transactions = self.transactions();
        let place = transactions.iter().position(|(at, _)| *at == step)?;
        Some(transactions.swap_remove(place).1)
    }

    fn transactions(&self) -> MutexGuard<'_, Vec<(u16, AnyTransaction)>> {
        self.transactions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody is told of the instance, which was accepted then, or it belongs to a trace.
    pub(crate) fn watched(
        mut self,
        observers: Option<Observers>,
        trace: Option<Trace>,
        accepted_at: Instant,
    ) -> Self {
        if observers.is_some() || trace.is_some() {
            self.watch = Some(Box::new(Watch {
                observers,
                trace,
                accepted_at,
            }));
        }
        self
    }

    pub(crate) fn instance(&self) -> Instance<'_> {
        Instance::new(self.definition.name, self.id(), self.trace())
    }

    /// Whoever is told of it.
    #[inline]
    pub(crate) fn observers(&self) -> Option<&Observers> {
        self.watch.as_ref()?.observers.as_ref()
    }

    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.watch.as_ref()?.trace.as_ref()
    }

    /// How long ago it was accepted, if anybody is told.
    pub(crate) fn age(&self) -> Duration {
        let watch = self.watch.as_ref();
        watch.map_or(Duration::ZERO, |watch| watch.accepted_at.elapsed())
    }

    /// The trace context of what an attempt does that runs now: its own or, if nobody keeps one for it, that of whoever started the
    /// instance.
    fn current_trace(&self) -> Option<TraceContext> {
        let own = self.observers().and_then(Observers::trace);
        own.or_else(|| self.trace().map(|trace| trace.parent().clone()))
    }
}

/// The context of an attempt: `ctx: &StepContext` in a step, a compensation or a recovery.
pub struct StepContext<'run> {
    shared: &'run Shared,
    step: u16,
    undo: AtomicBool,
    attempt: AtomicU32,
}

impl<'run> StepContext<'run> {
    #[inline]
    pub(crate) fn new(shared: &'run Shared, step: usize) -> Self {
        // A saga has at most `STEPS_MAX` steps.
        let step = u16::try_from(step).unwrap_or(u16::MAX);
        Self {
            shared,
            step,
            undo: AtomicBool::new(false),
            attempt: AtomicU32::new(0),
        }
    }

    /// Of one step, at most one future is alive at a time, and this is called before it is made.
    #[inline]
    pub(crate) fn begin(&self, undo: bool, attempt: u32) {
        self.undo.store(undo, Ordering::Relaxed);
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    fn definition(&self) -> &'static StepDefinition {
        &self.shared.definition.steps[usize::from(self.step)]
    }

    /// Of the step, in the definition.
    pub(crate) fn index(&self) -> usize {
        usize::from(self.step)
    }

    /// How long this attempt may take.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let definition = self.definition();
        let (own, is_transactional) = match definition.compensation {
            Some(undo) if self.is_compensation() => (undo.timeout, undo.transactional),
            _ => (definition.timeout, definition.transactional),
        };
        own.or_else(|| self.shared.transaction_timeout.filter(|_| is_transactional))
    }

    /// What this attempt has published, so far.
    pub(crate) fn published(&self) -> Vec<Event> {
        let published = &self.shared.published;
        published.of(self.index(), self.is_compensation())
    }

    /// Forgets what this attempt has published.
    pub(crate) fn discard_published(&self) {
        let published = &self.shared.published;
        published.discard(self.index(), self.is_compensation());
    }

    pub(crate) fn take_transaction(&self) -> Option<AnyTransaction> {
        self.shared.take_transaction(self.step)
    }

    /// The instance.
    #[must_use]
    pub fn saga_id(&self) -> SagaId {
        self.shared.id()
    }

    /// The name of the saga.
    #[must_use]
    pub fn saga(&self) -> &'static str {
        self.shared.definition.name
    }

    /// The name of the step that is run or undone.
    #[must_use]
    pub fn step(&self) -> &'static str {
        self.definition().name
    }

    /// Whether this is an attempt to undo the step.
    #[must_use]
    pub fn is_compensation(&self) -> bool {
        self.undo.load(Ordering::Relaxed)
    }

    /// The number of this attempt; the first is 1. After a crash it starts again from the last number that was stored.
    #[must_use]
    #[inline]
    pub fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    /// The key under which a service recognises a repeated request: the same for every attempt of this step in this
    /// instance, in any process, and another one for its compensation.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let key = self.action_key();
        if self.is_compensation() {
            key + "/undo"
        } else {
            key
        }
    }

    /// The idempotency key that the attempts of the step itself have. A compensation names by it what it undoes, where it
    /// gets no output because nobody knows whether the step happened.
    #[must_use]
    pub fn action_key(&self) -> String {
        format!("{}/{}", self.saga_id(), self.step())
    }

    /// Publishes an event if, and only if, this attempt completes: it is stored in the same atomic write as the step's output, and
    /// the relay brings it to the broker. The events of an attempt that fails, times out or is dropped are dropped with it.
    ///
    /// Without a key of its own an event has the instance's id as its key: the events of an instance are delivered in order. Its
    /// source is the saga, and the attributes [`SAGA_ATTRIBUTE`](crate::SAGA_ATTRIBUTE) and
    /// [`STEP_ATTRIBUTE`](crate::STEP_ATTRIBUTE) tell where it comes from; without a `traceparent` of its own it has that of the
    /// attempt, if that is known.
    ///
    /// An event that cannot be published is an error, which leaves the outcome of the step unknown if it is returned. In a run in
    /// process every event is one: there is no outbox, unless the run is [`run_publishing`](crate::Saga::run_publishing).
    pub fn publish(&self, event: Event) -> Result<(), PublishError> {
        let event = event.of_step(self.saga(), self.saga_id(), self.step());
        let step = usize::from(self.step);
        let trace = || self.shared.current_trace();
        self.shared
            .published
            .push(step, self.is_compensation(), event, trace)
    }

    /// Why the instance is undone; `None` while it is not.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.shared.failure.get()
    }
}

impl fmt::Debug for StepContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepContext")
            .field("saga", &self.saga())
            .field("step", &self.step())
            .field("attempt", &self.attempt())
            .field("is_compensation", &self.is_compensation())
            .finish_non_exhaustive()
    }
}
