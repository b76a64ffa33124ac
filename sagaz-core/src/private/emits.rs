//! What generated code names of `emits`: the event of a step or compensation that has done its work.
//!
//! Invariant: nothing here asks anything of an output's type that the code without `emits` does not ask, so that a mistake in it is
//! told once. It is encoded by way of the saga, which asks already.

use super::{AttemptEnd, OutputRequest, Prepared, RecoverEnd, StepResult, ended, prepared_undo};
use crate::{
    codec::{Codec, CodecError, Payload},
    context::StepContext,
    event::{Event, PublishError},
    saga::Saga,
    step_error::{IntoStepError, StepError},
};
use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

/// What the `key` of an event can be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of an event",
    label = "not `ToString`",
    note = "a key is a text, made of what implements `Display`: `key = output.order_id`"
)]
pub trait EventKey {
    fn text(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<T: ToString + ?Sized> EventKey for T {
    fn text(&self) -> String {
        self.to_string()
    }
}

/// What publishes an event.
pub struct Emitter<'a, G: Saga> {
    pub saga: &'a G,
    pub slots: &'a G::Slots,
    pub context: &'a StepContext<'a>,
    pub event_type: &'static str,
    /// `None`: the instance's id.
    pub key: Option<String>,
}

impl<G: Saga> fmt::Debug for Emitter<'_, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter")
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

impl<G: Saga> Emitter<'_, G> {
    /// Publishes the output of the step, which is in its slot.
    pub fn kept(self) -> Result<(), StepError> {
        let mut bytes = Vec::new();
        let encoded = self.output(OutputRequest::Encode(&mut bytes));
        self.publish(encoded.map(|()| bytes))
    }

    /// Publishes the output of the step, which is not in its place yet.
    pub fn prepared(self, output: &(dyn Any + Send + Sync)) -> Result<(), StepError> {
        let mut bytes = Vec::new();
        let encoded = self.output(OutputRequest::EncodeThis(output, &mut bytes));
        self.publish(encoded.map(|()| bytes))
    }

    /// Publishes the output of the step that was undone, or that nobody knows it.
    pub fn undone(self, known: bool) -> Result<(), StepError> {
        if known {
            return self.kept();
        }
        self.publish(G::Codec::encode(&None::<()>))
    }

    fn output(&self, request: OutputRequest<'_>) -> Result<(), CodecError> {
        self.saga.output(self.slots, self.context.index(), request)
    }

    fn publish(self, encoded: Result<Vec<u8>, CodecError>) -> Result<(), StepError> {
        let data = |bytes| Payload {
            content_type: G::Codec::CONTENT_TYPE.to_owned(),
            bytes,
        };
        let published = match encoded {
            Ok(bytes) => {
                let mut event = Event::raw(self.event_type, data(bytes));
                if let Some(key) = self.key {
                    event = event.key(key);
                }
                self.context.publish(event)
            }
            Err(error) => Err(PublishError::of(
                &Event::raw(self.event_type, data(Vec::new())),
                format!("its data cannot be serialized: {error}"),
            )),
        };
        published.map_err(IntoStepError::into_step_error)
    }
}

/// What the result of a step that emits an event means. Its output is kept first, where `publish` finds it: that of a step which
/// did not complete is nobody's.
pub fn ended_publishing<R: StepResult>(
    result: R,
    slot: &OnceLock<R::Output>,
    publish: impl FnOnce() -> Result<(), StepError>,
    failed: impl FnOnce(R::Error) -> AttemptEnd,
) -> AttemptEnd {
    match ended(result, slot, failed) {
        AttemptEnd::Completed => published(publish()),
        other => other,
    }
}

/// An attempt that is over but for what it emits.
pub fn published(published: Result<(), StepError>) -> AttemptEnd {
    match published {
        Ok(()) => AttemptEnd::Completed,
        Err(error) => AttemptEnd::Unpublished(Arc::new(error)),
    }
}

/// What the result of a transactional step that emits an event means. Without that, its transaction is rolled back.
pub fn prepared_publishing<R: StepResult>(
    transaction: impl Send + 'static,
    result: R,
    publish: impl FnOnce(&R::Output) -> Result<(), StepError>,
    failed: impl FnOnce(R::Error) -> AttemptEnd,
) -> AttemptEnd
where
    R::Output: Send + Sync + 'static,
{
    match result.split() {
        Ok(output) => match publish(&output) {
            Ok(()) => AttemptEnd::Prepared(Prepared {
                transaction: Box::new(transaction),
                output: Some(Box::new(output)),
            }),
            Err(error) => AttemptEnd::Failed(Arc::new(error)),
        },
        Err(error) => failed(error),
    }
}

/// Likewise of a transactional compensation.
pub fn prepared_undo_publishing(
    transaction: impl Send + 'static,
    published: Result<(), StepError>,
) -> AttemptEnd {
    match published {
        Ok(()) => prepared_undo(transaction),
        Err(error) => AttemptEnd::Failed(Arc::new(error)),
    }
}

/// A recovery that is over but for what its step emits.
pub fn recovered_publishing(
    end: RecoverEnd,
    publish: impl FnOnce() -> Result<(), StepError>,
) -> RecoverEnd {
    match end {
        RecoverEnd::Used => match publish() {
            Ok(()) => RecoverEnd::Used,
            Err(error) => RecoverEnd::Unpublished(Arc::new(error)),
        },
        other => other,
    }
}
