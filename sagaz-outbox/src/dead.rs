//! An operator's way on for events that could not be delivered or handled.
//!
//! Invariant: a dead letter stays until somebody has decided on it, and who did what and why stays with it.

use crate::error::Error;
use sagaz_core::store::{
    DeadDecision, DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterPage, DeadState,
    Intervention, OutboxStore,
};
use std::fmt;

/// The dead letters of an outbox, and of the consumers on the same store: [`Outbox::dead_letters`](crate::Outbox::dead_letters).
#[must_use]
pub struct DeadLetters<'o, S> {
    store: &'o S,
}

/// Decides on dead letters: [`DeadLetters::operator`].
#[must_use]
pub struct DeadLetterOperator<'o, S> {
    store: &'o S,
    who: String,
    why: String,
}

impl<'o, S: OutboxStore> DeadLetters<'o, S> {
    pub(crate) fn new(store: &'o S) -> Self {
        Self { store }
    }

    /// Dead letters, a page at a time.
    pub async fn list(&self, filter: &DeadLetterFilter) -> Result<DeadLetterPage, Error> {
        Ok(self.store.dead_letters(filter).await?)
    }

    /// One dead letter.
    pub async fn show(&self, id: &DeadLetterId) -> Result<Option<DeadLetter>, Error> {
        // What comes after a shorter id comes before this one, or is this one.
        let mut before = id.event.as_str().to_owned();
        before.pop();
        let mut filter = DeadLetterFilter {
            consumer: Some(id.consumer.clone()),
            after: Some(DeadLetterId {
                event: before.into(),
                consumer: None,
            }),
            ..DeadLetterFilter::default()
        };
        loop {
            let page = self.store.dead_letters(&filter).await?;
            let mut letters = page.letters.into_iter();
            let found = letters.find(|letter| letter.event.event_id() == &id.event);
            match (found, page.next) {
                (Some(letter), _) => return Ok(Some(letter)),
                (None, Some(next)) if next.event < id.event => filter.after = Some(next),
                (None, _) => return Ok(None),
            }
        }
    }

    /// Acts as somebody, for a reason: both are recorded.
    pub fn operator(
        &self,
        who: impl Into<String>,
        why: impl Into<String>,
    ) -> DeadLetterOperator<'o, S> {
        DeadLetterOperator {
            store: self.store,
            who: who.into(),
            why: why.into(),
        }
    }
}

impl<S: OutboxStore> DeadLetterOperator<'_, S> {
    /// Puts an event back, to be published or handled again with all its attempts. One that blocks its key keeps its place; any
    /// other comes behind what waits of its key.
    pub async fn retry(&self, id: &DeadLetterId) -> Result<(), Error> {
        self.decide_one(id, DeadState::Retried).await
    }

    /// Leaves an event as it is. A key that it blocks goes on.
    pub async fn discard(&self, id: &DeadLetterId) -> Result<(), Error> {
        self.decide_one(id, DeadState::Discarded).await
    }

    /// [`retry`](Self::retry) of all that nobody has decided on and that the filter lets through; gives how many.
    pub async fn retry_all(&self, filter: &DeadLetterFilter) -> Result<u64, Error> {
        self.decide_all(filter, DeadState::Retried).await
    }

    /// [`discard`](Self::discard) of all that nobody has decided on and that the filter lets through; gives how many.
    pub async fn discard_all(&self, filter: &DeadLetterFilter) -> Result<u64, Error> {
        self.decide_all(filter, DeadState::Discarded).await
    }

    async fn decide_one(&self, id: &DeadLetterId, state: DeadState) -> Result<(), Error> {
        if self.decide(vec![id.clone()], state).await? == 1 {
            return Ok(());
        }
        let of = match &id.consumer {
            Some(consumer) => format!(" of consumer `{consumer}`"),
            None => String::new(),
        };
        Err(Error::invalid(format!(
            "there is no dead letter{of} of event {} that waits for a decision: list them once more",
            id.event
        )))
    }

    async fn decide_all(&self, filter: &DeadLetterFilter, state: DeadState) -> Result<u64, Error> {
        let mut filter = DeadLetterFilter {
            state: Some(DeadState::Open),
            ..filter.clone()
        };
        let mut decided = 0;
        loop {
            let page = self.store.dead_letters(&filter).await?;
            let letters = page.letters.into_iter().map(|letter| DeadLetterId {
                event: letter.event.event_id().clone(),
                consumer: letter.consumer,
            });
            decided += self.decide(letters.collect(), state).await?;
            let Some(next) = page.next else {
                return Ok(decided);
            };
            filter.after = Some(next);
        }
    }

    async fn decide(&self, letters: Vec<DeadLetterId>, state: DeadState) -> Result<u64, Error> {
        if self.who.is_empty() || self.why.is_empty() {
            return Err(Error::invalid(
                "who decides and why is recorded with the dead letter: say both",
            ));
        }
        if letters.is_empty() {
            return Ok(0);
        }
        let action = match state {
            DeadState::Retried => "retry",
            _ => "discard",
        };
        let decision = DeadDecision {
            letters,
            state,
            intervention: Intervention {
                action: action.to_owned(),
                who: self.who.clone(),
                why: self.why.clone(),
                at_ms: 0,
            },
        };
        Ok(self.store.decide(&decision).await?)
    }
}

impl<S> fmt::Debug for DeadLetters<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for DeadLetterOperator<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterOperator")
            .field("who", &self.who)
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}
