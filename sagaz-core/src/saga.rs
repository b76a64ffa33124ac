//! The trait behind `#[saga]`.

use crate::{
    codec::{Codec, CodecError},
    context::StepContext,
    definition::Definition,
    outcome::Outcome,
    private::{OutputRequest, RecoverFuture, Scene, StepFuture},
    step_error::StepError,
    store::Store,
    transactor::Transactor,
};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// A saga: a type with a `#[saga]` impl.
///
/// The attribute writes this implementation; one written by hand works as well, and is held to the same rules by
/// [`Definition::check`]. Every item that is not in this page's documentation is for the attribute alone and may change.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a saga",
    label = "not a saga",
    note = "a type becomes a saga by `#[saga]` on an `impl {Self}` block"
)]
pub trait Saga: Sized + Send + Sync + 'static {
    /// The value that an instance is started with.
    type Input: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The outputs of all steps, a field for each.
    type Outputs: Send + 'static;

    /// An enum with a variant for each step.
    type Step: Copy + Into<&'static str>;

    /// How inputs and outputs are stored.
    type Codec: Codec;

    /// The graph, as tables.
    const DEFINITION: &'static Definition;

    /// The graph of this value; another one than [`DEFINITION`](Self::DEFINITION) only where a test makes graphs at run
    /// time.
    #[doc(hidden)]
    fn definition(&self) -> &'static Definition {
        Self::DEFINITION
    }

    /// One write-once place for the output of each step.
    #[doc(hidden)]
    type Slots: Send + Sync;

    #[doc(hidden)]
    fn slots(&self) -> Self::Slots;

    /// One `T` for each step, without an allocation.
    #[doc(hidden)]
    type PerStep<T: Send>: AsRef<[T]> + AsMut<[T]> + Send;

    #[doc(hidden)]
    fn per_step<T: Send>(&self, make: impl FnMut(usize) -> T) -> Self::PerStep<T>;

    /// The same value for each step: written in place, where [`per_step`](Self::per_step) copies what it has made.
    #[doc(hidden)]
    fn per_step_copied<T: Copy + Send>(&self, value: T) -> Self::PerStep<T>;

    #[doc(hidden)]
    fn step<'a>(&'a self, step: usize, scene: Scene<'a, Self>) -> StepFuture<'a>;

    #[doc(hidden)]
    fn compensate<'a>(&'a self, step: usize, scene: Scene<'a, Self>) -> StepFuture<'a>;

    #[doc(hidden)]
    fn recover<'a>(
        &'a self,
        step: usize,
        scene: Scene<'a, Self>,
        error: Arc<StepError>,
    ) -> RecoverFuture<'a>;

    /// One method for all that is asked of an output, so that one that cannot be stored is one compile error.
    #[doc(hidden)]
    fn output(
        &self,
        slots: &Self::Slots,
        step: usize,
        request: OutputRequest<'_>,
    ) -> Result<(), CodecError>;

    #[doc(hidden)]
    fn encode(&self, slots: &Self::Slots, step: usize) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::new();
        self.output(slots, step, OutputRequest::Encode(&mut bytes))?;
        Ok(bytes)
    }

    #[doc(hidden)]
    fn decode(&self, slots: &Self::Slots, step: usize, bytes: &[u8]) -> Result<(), CodecError> {
        self.output(slots, step, OutputRequest::Decode(bytes))
    }

    /// The Rust type of a step's output, for messages.
    #[doc(hidden)]
    fn output_type(&self, slots: &Self::Slots, step: usize) -> &'static str {
        let mut name = "";
        // To give a name cannot fail.
        let _ = self.output(slots, step, OutputRequest::TypeName(&mut name));
        name
    }

    /// `None` if an output is missing.
    #[doc(hidden)]
    fn outputs(slots: Self::Slots) -> Option<Self::Outputs>;

    /// The graph, to be drawn.
    #[must_use]
    fn graph() -> crate::Graph {
        crate::Graph::new(Self::DEFINITION)
    }

    /// Runs one instance in this process: nothing is stored, outputs stay typed in memory.
    ///
    /// **Dropping the future undoes nothing.** A web server drops it when its client hangs up; then the steps that
    /// have run have run. Use [`run_detached`](Self::run_detached) where that can happen, and an
    /// [`Engine`](crate::Engine) where the process may die.
    ///
    /// Needs a tokio runtime with its clock if a step has a timeout or a retry.
    #[must_use = "nothing runs until the future is awaited, and dropping it half-way undoes nothing"]
    fn run(self, input: Self::Input) -> impl Future<Output = Outcome<Self::Outputs>> + Send
    where
        Self: RunsOn<InProcess>,
    {
        crate::run::run(self, input)
    }

    /// Like [`run`](Self::run), and tells `observer` of every event.
    #[must_use = "nothing runs until the future is awaited, and dropping it half-way undoes nothing"]
    fn run_observed(
        self,
        input: Self::Input,
        observer: Arc<dyn crate::Observer>,
    ) -> impl Future<Output = Outcome<Self::Outputs>> + Send
    where
        Self: RunsOn<InProcess>,
    {
        crate::run::run_observed(self, input, observer)
    }

    /// Like [`run`](Self::run), and gives `outlet` each event that was published by an attempt which completed: for tests of what
    /// a saga publishes, and for programs that can bear to lose an event.
    #[must_use = "nothing runs until the future is awaited, and dropping it half-way undoes nothing"]
    fn run_publishing(
        self,
        input: Self::Input,
        outlet: impl Fn(crate::Event) + Send + Sync + 'static,
    ) -> impl Future<Output = Outcome<Self::Outputs>> + Send
    where
        Self: RunsOn<InProcess>,
    {
        crate::run::run_publishing(self, input, Arc::new(outlet))
    }

    /// Runs one instance on a task of its own, so that it ends even if the returned handle is dropped.
    fn run_detached(self, input: Self::Input) -> tokio::task::JoinHandle<Outcome<Self::Outputs>>
    where
        Self: RunsOn<InProcess>,
    {
        tokio::spawn(crate::run::run(self, input))
    }
}

/// A saga whose steps can run on the store `S`.
///
/// A saga without transactional steps runs on every store and in process; one with them only on a store that has their
/// transaction.
///
/// Every saga implements it for all stores that it can run on, so what implements it for none is no saga.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a saga",
    label = "not a saga",
    note = "a type becomes a saga by `#[saga]` on an `impl {Self}` block"
)]
pub trait RunsOn<S>: Saga {
    /// How its transactional steps reach the store's transactions; `None` if it has none.
    #[doc(hidden)]
    fn transactor() -> Option<&'static dyn Transactor<S>> {
        None
    }
}

/// The absence of a store: where [`Saga::run`] runs. Nothing is stored.
#[derive(Clone, Copy, Debug)]
pub struct InProcess;

/// Where a saga without transactional steps runs: everywhere.
#[doc(hidden)]
pub trait AnyPlace {}
impl<S: Store> AnyPlace for S {}
impl AnyPlace for InProcess {}

/// What `ctx` can be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the context of a step",
    label = "not `&StepContext`",
    note = "`ctx` is `&StepContext`; an input is named after a step, or after the saga's input"
)]
#[doc(hidden)]
pub trait Context<'a> {
    fn from_context(context: &'a StepContext<'a>) -> Self;
}

#[diagnostic::do_not_recommend]
impl<'a> Context<'a> for &'a StepContext<'a> {
    fn from_context(context: &'a StepContext<'a>) -> Self {
        context
    }
}
