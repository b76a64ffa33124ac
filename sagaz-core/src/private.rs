//! What generated code names. Not part of the public interface: it may change in any release.

mod emits;

pub use emits::*;

pub use crate::{
    codec::{Codec, CodecError, Json},
    context::StepContext,
    definition::{CompensationDefinition, Definition, OnFailure, StepDefinition, StepKind},
    retry::Retry,
    saga::{AnyPlace, Context, RunsOn, Saga},
    step_error::{IntoStepError, Recover, StepError},
    store::Transacts,
    transactor::{Transactor, Via},
};
pub use std::{
    marker::PhantomData,
    string::String,
    sync::{Arc, OnceLock},
    vec::Vec,
};

use crate::transactor::AnyTransaction;
use futures_util::FutureExt;
use pin_project_lite::pin_project;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    any::{Any, type_name},
    error::Error as StdError,
    fmt,
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};
use tokio::time::timeout;

/// An attempt of a step or compensation. Its output, if it has one, is in its slot when it ends.
pub type StepFuture<'a> = Pin<Box<dyn Future<Output = AttemptEnd> + Send + 'a>>;

/// A recovery. A replacement output is in its slot when it ends.
pub type RecoverFuture<'a> = Pin<Box<dyn Future<Output = RecoverEnd> + Send + 'a>>;

/// How the future of an attempt ended.
#[derive(Debug)]
pub enum AttemptEnd {
    Completed,
    Failed(Arc<StepError>),
    /// It did what it does, and what it emits cannot be published: nothing is made of it, and its effect is there.
    Unpublished(Arc<StepError>),
    TimedOut,
    /// It completed in a transaction, which is still open.
    Prepared(Prepared),
}

/// What an attempt did in a transaction: it counts when that is committed together with its record.
pub struct Prepared {
    pub(crate) transaction: AnyTransaction,
    /// Of a step, its output.
    pub(crate) output: Option<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// How the future of a recovery ended.
#[derive(Debug)]
pub enum RecoverEnd {
    RetryAfter(Duration),
    Used,
    /// It gave an output, and what its step emits cannot be published.
    Unpublished(Arc<StepError>),
    Stuck,
    TimedOut,
}

/// Where an attempt finds everything that it may take.
pub struct Scene<'a, G: Saga> {
    pub input: &'a G::Input,
    pub slots: &'a G::Slots,
    pub context: &'a StepContext<'a>,
    /// Whether the output of the step itself is known; for its compensation.
    pub known: bool,
}

impl<G: Saga> Clone for Scene<'_, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<G: Saga> Copy for Scene<'_, G> {}

impl<G: Saga> fmt::Debug for Scene<'_, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// What an attempt has published so far: for simulations.
#[must_use]
pub fn published_by(context: &StepContext<'_>) -> Vec<crate::Event> {
    context.published()
}

/// Forgets what an attempt has published: for simulations, which make one twice.
pub fn discard_published(context: &StepContext<'_>) {
    context.discard_published();
}

/// Boxes the future of an attempt without a timeout, with what becomes of its result, in one allocation. Boxed here, so
/// that a future that is not `Send` is reported once; and `end` takes the slots as an argument, so that it is `Send` whatever
/// they hold.
pub fn attempt<'a, G: Saga, F>(
    scene: Scene<'a, G>,
    future: F,
    end: impl Fn(&G::Slots, F::Output) -> AttemptEnd + Send + 'a,
) -> StepFuture<'a>
where
    F: Future + Send + 'a,
{
    Box::pin(Attempt {
        future,
        slots: scene.slots,
        end,
    })
}

/// Boxes the future of an attempt with the timeout that its table names.
pub fn attempt_within<'a, G: Saga, F>(
    scene: Scene<'a, G>,
    future: F,
    end: impl Fn(&G::Slots, F::Output) -> AttemptEnd + Send + 'a,
) -> StepFuture<'a>
where
    F: Future + Send + 'a,
{
    match scene.context.timeout() {
        None => attempt(scene, future, end),
        Some(limit) => {
            // Fused, so it is dropped in the poll that ends it: one that timed out still holds its locals, and they are to be
            // gone, or to have panicked, before anybody is told of the end.
            let limited = timeout(limit, future).fuse();
            attempt(scene, limited, move |slots, result| {
                result.map_or(AttemptEnd::TimedOut, |result| end(slots, result))
            })
        }
    }
}

/// Boxes the future of an attempt in a transaction, which some stores give a timeout of their own. The future is named in
/// one argument alone, so that one that is not `Send` is reported in its own place.
pub fn attempt_in<'a, G: Saga, T: 'a>(
    scene: Scene<'a, G>,
    future: impl Future<Output = T> + Send + 'a,
    end: impl Fn(T) -> AttemptEnd + Send + 'a,
) -> StepFuture<'a> {
    attempt_within(scene, future, move |_, result| end(result))
}

pin_project! {
    /// A future and what becomes of its result. Leaner than a combinator, for its code is there once for each step of every
    /// saga: the future is not dropped when it has ended, but with this. A method that has come to its end holds nothing.
    struct Attempt<'a, Slots, F, End> {
        #[pin]
        future: F,
        slots: &'a Slots,
        end: End,
    }
}

impl<Slots, F: Future, End: Fn(&Slots, F::Output) -> AttemptEnd> Future
    for Attempt<'_, Slots, F, End>
{
    type Output = AttemptEnd;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<AttemptEnd> {
        let this = self.project();
        this.future
            .poll(cx)
            .map(|result| (this.end)(this.slots, result))
    }
}

/// The output of an earlier step. Invariant: a step begins only when all its dependencies have theirs.
pub fn stored<T>(slot: &OnceLock<T>) -> &T {
    slot.get()
        .expect("the outputs of all dependencies are there when a step begins")
}

/// The output of the step that is undone, if it is known.
pub fn undone<T>(known: bool, slot: &OnceLock<T>) -> Option<&T> {
    slot.get().filter(|_| known)
}

/// Invariant: the state machine starts a compensation that insists on an output only when there is one.
pub fn certain<T>(output: Option<&T>) -> &T {
    output.expect("a compensation that insists on an output starts only when there is one")
}

/// Moves an output out. Not `into_inner`: to take a struct of slots apart field by field makes code that grows with the
/// square of the steps.
///
/// # Panics
///
/// If there is none: the generated code looks first.
pub fn take<T>(slot: &mut OnceLock<T>) -> T {
    slot.take()
        .expect("the generated code looks whether every output is there")
}

/// Keeps an output. A step whose output is there does not run again, so a second value has nowhere to come from.
#[inline(never)]
pub fn keep<T>(slot: &OnceLock<T>, output: T) -> AttemptEnd {
    let _ = slot.set(output);
    AttemptEnd::Completed
}

/// What the result of a step means: its output is kept, or its error says.
#[inline]
pub fn ended<R: StepResult>(
    result: R,
    slot: &OnceLock<R::Output>,
    failed: impl FnOnce(R::Error) -> AttemptEnd,
) -> AttemptEnd {
    match result.split() {
        Ok(output) => keep(slot, output),
        Err(error) => failed(error),
    }
}

/// The transaction of this attempt. Invariant: the driver has put it there before the attempt begins.
pub fn transaction<Tx: 'static, G: Saga>(scene: Scene<'_, G>) -> Tx {
    let transaction = scene.context.take_transaction();
    *transaction
        .and_then(|transaction| transaction.downcast().ok())
        .expect("a transactional attempt begins with its transaction")
}

/// What the result of a transactional step means: it is committed with its output, or rolled back.
pub fn prepared<R: StepResult>(
    transaction: impl Send + 'static,
    result: R,
    failed: impl FnOnce(R::Error) -> AttemptEnd,
) -> AttemptEnd
where
    R::Output: Send + Sync + 'static,
{
    match result.split() {
        Ok(output) => AttemptEnd::Prepared(Prepared {
            transaction: Box::new(transaction),
            output: Some(Box::new(output)),
        }),
        Err(error) => failed(error),
    }
}

/// Likewise of a transactional compensation.
pub fn prepared_undo(transaction: impl Send + 'static) -> AttemptEnd {
    AttemptEnd::Prepared(Prepared {
        transaction: Box::new(transaction),
        output: None,
    })
}

/// Boxes the future of a recovery.
pub fn recovery<'a>(future: impl Future<Output = RecoverEnd> + Send + 'a) -> RecoverFuture<'a> {
    Box::pin(future)
}

/// Keeps what a recovery gives.
pub fn recovered<T>(recover: Recover<T>, slot: &OnceLock<T>) -> RecoverEnd {
    match recover {
        Recover::RetryAfter(delay) => RecoverEnd::RetryAfter(delay),
        Recover::Use(output) => {
            keep(slot, output);
            RecoverEnd::Used
        }
        Recover::Stuck => RecoverEnd::Stuck,
    }
}

/// For an index that is no step's, or that of a step which has no compensation or recovery.
pub fn no_such_step(step: usize) -> ! {
    panic!("the saga has no such method for step {step}")
}

/// The longer of the two.
pub const fn at_least(least: Duration, delay: Duration) -> Duration {
    if delay.as_nanos() < least.as_nanos() {
        least
    } else {
        delay
    }
}

/// What a saga with a mistake in it is, so that no second error follows.
pub const fn stub_definition(name: &'static str) -> Definition {
    Definition {
        name,
        version: 0,
        accepts: &[],
        on_failure: OnFailure::WaitAll,
        deadline: None,
        steps: &[],
        pivot: None,
    }
}

/// An input that is written as what is there is written, and borrowed.
#[diagnostic::on_unimplemented(
    message = "an input is taken as `{Self}`, and a `{T}` is there",
    label = "another type of the same name",
    note = "an input is the output of the step that it is named after, or the saga's input"
)]
pub trait Taken<'a, T: 'a>: Sized {
    fn taken(value: &'a T) -> Self;

    /// The output of an earlier step.
    fn stored(slot: &'a OnceLock<T>) -> Self {
        Self::taken(stored(slot))
    }
}

#[diagnostic::do_not_recommend]
impl<'a, T> Taken<'a, T> for &'a T {
    fn taken(value: &'a T) -> Self {
        value
    }
}

/// Likewise, where it may not be known.
#[diagnostic::on_unimplemented(
    message = "an input is taken as `{Self}`, and a `{T}` is there",
    label = "another type of the same name",
    note = "an input is the output of the step that it is named after, or the saga's input"
)]
pub trait MaybeTaken<'a, T> {
    fn taken(value: Option<&'a T>) -> Self;
}

#[diagnostic::do_not_recommend]
impl<'a, T> MaybeTaken<'a, T> for Option<&'a T> {
    fn taken(value: Self) -> Self {
        value
    }
}

/// An input that is taken by value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is taken by value and cannot be cloned",
    label = "not `Clone`",
    note = "take `&{Self}`, or derive `Clone`"
)]
pub trait Owned {
    #[must_use]
    fn owned(&self) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Clone> Owned for T {
    fn owned(&self) -> Self {
        self.clone()
    }
}

/// What the `error` of a recovery can be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the error of a step",
    label = "not `&StepError`",
    note = "`error` is `&StepError`, whatever the step returns; an input is named after a step, or after the saga's input"
)]
pub trait ErrorInput<'a> {
    fn from_error(error: &'a StepError) -> Self;
}

#[diagnostic::do_not_recommend]
impl<'a> ErrorInput<'a> for &'a StepError {
    fn from_error(error: &'a StepError) -> Self {
        error
    }
}

/// Picks the way in which an error becomes a [`StepError`], the most specific first, by autoref on the concrete type:
/// `(&&&&Kind::of(&error)).sagaz_convert(error)`. Blanket implementations for `IntoStepError` and for `Error` would
/// overlap.
#[derive(Debug)]
pub struct Kind<E>(PhantomData<E>);

impl<E> Kind<E> {
    pub fn of(_: &E) -> Self {
        Self(PhantomData)
    }
}

/// First: it is one already.
pub trait ViaItself {
    fn sagaz_convert(&self, error: StepError) -> StepError;
}

impl ViaItself for &&&Kind<StepError> {
    fn sagaz_convert(&self, error: StepError) -> StepError {
        error
    }
}

/// Second: its author says.
pub trait ViaIntoStepError<E> {
    fn sagaz_convert(&self, error: E) -> StepError;
}

impl<E: IntoStepError> ViaIntoStepError<E> for &&Kind<E> {
    fn sagaz_convert(&self, error: E) -> StepError {
        error.into_step_error()
    }
}

/// Third: any other error, which may be tried again and may hide an effect.
pub trait ViaError<E> {
    fn sagaz_convert(&self, error: E) -> StepError;
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> ViaError<E> for &Kind<E> {
    fn sagaz_convert(&self, error: E) -> StepError {
        StepError::retryable(error)
    }
}

/// Last: always there, so that an unusable error is one message: that of [`Converted`].
pub trait ViaNothing<E> {
    fn sagaz_convert(&self, error: E) -> Unusable<E>;
}

impl<E> ViaNothing<E> for Kind<E> {
    fn sagaz_convert(&self, error: E) -> Unusable<E> {
        Unusable(error)
    }
}

/// An error that says nothing of itself.
#[derive(Debug)]
pub struct Unusable<E>(pub E);

/// What the error of a step can be: what one of the four ways makes a [`StepError`] of.
#[diagnostic::on_unimplemented(
    message = "`{E}` cannot be the error of a step",
    label = "not an error",
    note = "implement `std::error::Error`, or `IntoStepError` to say what may be tried again and what had no effect"
)]
pub trait Converted<E> {
    fn failed(self) -> AttemptEnd;
}

#[diagnostic::do_not_recommend]
impl<E> Converted<E> for StepError {
    fn failed(self) -> AttemptEnd {
        AttemptEnd::Failed(Arc::new(self))
    }
}

/// What a step returns.
#[diagnostic::on_unimplemented(
    message = "a step returns a `Result`, not `{Self}`",
    label = "not a `Result`",
    note = "a step that fails is retried or undone"
)]
pub trait StepResult: Sized {
    type Output;
    type Error;
    fn split(self) -> Result<Self::Output, Self::Error>;
}

#[diagnostic::do_not_recommend]
impl<T, E> StepResult for Result<T, E> {
    type Output = T;
    type Error = E;
    fn split(self) -> Self {
        self
    }
}

/// What is asked of the output of a step.
#[derive(Debug)]
pub enum OutputRequest<'r> {
    /// To be written here.
    Encode(&'r mut Vec<u8>),
    /// To be read from these bytes, and kept.
    Decode(&'r [u8]),
    /// To be named here.
    TypeName(&'r mut &'static str),
    /// This one, which is not in its place yet, to be written here.
    EncodeThis(&'r (dyn Any + Send + Sync), &'r mut Vec<u8>),
    /// To be kept.
    Keep(Box<dyn Any + Send + Sync>),
}

/// Invariant: an output comes back to the step that gave it.
const OF_ITS_STEP: &str = "an output is of the type that its step returns";

/// What the output of a step can be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the output of a step",
    label = "not `Serialize + DeserializeOwned + Send + Sync + 'static`",
    note = "derive `serde::Serialize` and `serde::Deserialize`"
)]
pub trait StepOutput: Sized {
    fn answer<G: Saga>(slot: &OnceLock<Self>, request: OutputRequest<'_>)
    -> Result<(), CodecError>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> StepOutput for T {
    fn answer<G: Saga>(
        slot: &OnceLock<Self>,
        request: OutputRequest<'_>,
    ) -> Result<(), CodecError> {
        match request {
            OutputRequest::Encode(bytes) => *bytes = G::Codec::encode(stored(slot))?,
            OutputRequest::Decode(bytes) => {
                keep(slot, G::Codec::decode(bytes)?);
            }
            OutputRequest::TypeName(name) => *name = type_name::<T>(),
            OutputRequest::EncodeThis(output, bytes) => {
                *bytes = G::Codec::encode(output.downcast_ref::<T>().expect(OF_ITS_STEP))?;
            }
            OutputRequest::Keep(output) => {
                keep(slot, *output.downcast::<T>().expect(OF_ITS_STEP));
            }
        }
        Ok(())
    }
}
