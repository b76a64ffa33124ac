//! What went wrong, in words: the last error of each step, and panics.

use crate::step_error::StepError;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// The last error of each step that had one, for messages and recoveries. Empty on the path without failures.
#[derive(Default)]
pub(crate) struct Troubles(Vec<(u16, Arc<StepError>)>);

impl Troubles {
    pub(crate) fn of(&self, step: usize) -> Option<&Arc<StepError>> {
        self.0
            .iter()
            .find(|(at, _)| usize::from(*at) == step)
            .map(|(_, error)| error)
    }

    pub(crate) fn set(&mut self, step: usize, error: StepError) {
        self.keep(step, Arc::new(error));
    }

    pub(super) fn keep(&mut self, step: usize, error: Arc<StepError>) {
        match self.0.iter_mut().find(|(at, _)| usize::from(*at) == step) {
            Some((_, last)) => *last = error,
            None => self
                .0
                .push((u16::try_from(step).unwrap_or(u16::MAX), error)),
        }
    }

    /// The words of a step's last error.
    pub(crate) fn message(&self, step: usize) -> String {
        self.of(step).map_or_else(String::new, |error| words(error))
    }
}

/// What an error says. Its author's code writes it, and may panic.
pub(crate) fn words(error: &StepError) -> String {
    let words = catch_unwind(AssertUnwindSafe(|| error.to_string()));
    let words =
        words.unwrap_or_else(|panic| format!("its words panicked: {}", panic_message(&*panic)));
    clipped(&words)
}

/// Messages are bounded: an error may carry a whole response.
pub(crate) fn clipped(message: &str) -> String {
    const CHARS_MAX: usize = 2_000;
    match message.char_indices().nth(CHARS_MAX) {
        None => message.to_owned(),
        Some((at, _)) => format!("{} ..", &message[..at]),
    }
}

/// The words of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    clipped(text.unwrap_or("no message"))
}
