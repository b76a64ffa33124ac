//! Commits of attempts that wrote in a transaction: each takes along what else of its instance is to be stored.

use super::{Journal, index, published, steps_of};
use crate::{
    driver::{EndedAttempt, Happened, Leave, View, words},
    engine::writer::Reply,
    observe::Lifecycle,
    private::OutputRequest,
    saga::RunsOn,
    state::Record,
    step_error::{Again, StepError},
    store::{Progress, StepWrite, Store, StoreError, Written},
};
use tokio::sync::oneshot;

impl<G: RunsOn<S>, S: Store> Journal<G, S> {
    /// What became of the transaction of an attempt.
    pub(super) fn take_end(&mut self, reply: Result<Reply, oneshot::error::RecvError>) -> Happened {
        let Some(attempt) = self.transactions.answered() else {
            return Happened::Leave(Leave::Lost);
        };
        let taken_along = std::mem::take(&mut self.sent);
        match reply {
            Ok(Reply::Written(Written::Stored { cancel_requested })) => {
                if cancel_requested {
                    self.signals.cancel();
                }
                self.sure_at = self.sent_at;
                self.engine.free_suspect(&self.signals);
                self.transactions.mark_committed(attempt.step, taken_along);
                Happened::Committed(attempt)
            }
            Ok(Reply::Refused(reason)) if !taken_along.is_empty() => {
                self.again_without(attempt, taken_along, StoreError::refusal(reason))
            }
            Ok(Reply::RolledBack(error)) if error.is_transient() || !taken_along.is_empty() => {
                self.again_without(attempt, taken_along, error)
            }
            Ok(Reply::RolledBack(error)) => {
                Happened::RolledBack(attempt, StepError::retryable(error).clean())
            }
            Ok(Reply::Refused(reason)) if attempt.undo => {
                let error = StepError::retryable(StoreError::refusal(reason)).clean();
                Happened::RolledBack(attempt, error)
            }
            Ok(Reply::Refused(reason)) => self.refuse_prepared(attempt, reason),
            Ok(Reply::Written(_)) | Err(_) => Happened::Leave(Leave::Lost),
        }
    }

    /// Not the attempt's fault, or maybe that of what it took along, which is sent by itself now: it is made again, and does not
    /// count.
    fn again_without(
        &mut self,
        attempt: EndedAttempt,
        taken_along: Vec<Record>,
        error: StoreError,
    ) -> Happened {
        self.dirty.splice(0..0, taken_along);
        self.engine.store_failed(&error);
        let delay = self.transactions.count_rollback();
        let mut error = StepError::retryable(error).clean();
        error.again = Again::Pending(delay);
        Happened::RolledBack(attempt, error)
    }

    /// Its output cannot be stored, now or later, and its effect is rolled back with it.
    fn refuse_prepared(&self, attempt: EndedAttempt, reason: String) -> Happened {
        let step = self.registration.saga.definition().steps[attempt.step].name;
        let instance = self.registration.instance(self.id, None);
        self.engine.tell(&Lifecycle::OutputRefused {
            instance,
            step,
            reason: &reason,
        });
        Happened::OutputRefused(attempt, reason)
    }

    /// Commits the next attempt that is prepared, together with everything that is to be stored. `None` if there is none.
    pub(super) fn commit_next(&mut self, view: &View<'_, G>) -> Option<Result<(), Happened>> {
        // Where nothing can be written before it has ended, it ends the better way.
        let must_stop = self.signals.must_stop_now() && !self.transactions.keep_from_writing();
        if self.single || must_stop {
            return None;
        }
        let attempt = self.transactions.peek()?;
        let (step, undo) = (attempt.step, attempt.undo);
        let definition = &self.registration.saga.definition().steps[step];
        let commit = view.machine.once_committed(step, undo);
        let output = attempt.prepared.output.as_deref();
        let output = output.map(|output| {
            self.payload(|bytes| {
                view.saga
                    .output(view.slots, step, OutputRequest::EncodeThis(output, bytes))
            })
        });
        let output = match output.transpose() {
            Ok(output) => output,
            Err(reason) => {
                let attempt = self.transactions.next()?.rolled_back();
                return Some(Err(self.refuse_prepared(attempt, reason)));
            }
        };
        let row = StepWrite {
            name: definition.name.to_owned(),
            kind: definition.kind,
            state: commit.step_state,
            attempts: commit.counts.attempts,
            undo_attempts: commit.counts.undo_attempts,
            recoveries: commit.counts.recoveries,
            output,
            error: view.troubles.of(step).map(|error| words(error)),
            wake: None,
            events: published(view.shared, step, commit.step_state),
        };
        let mut sent = std::mem::take(&mut self.dirty);
        let mut steps = steps_of(&sent);
        // It has a newer row.
        steps.remove(&index(step));
        let mut rows = match self.rows(steps, &mut sent, false, view) {
            Ok(rows) => rows,
            Err(refused) => return Some(Err(refused)),
        };
        rows.push(row);
        let attempt = self.transactions.next()?;
        let progress = Progress {
            id: self.id,
            token: self.token,
            state: commit.state,
            pivot_passed: commit.pivot_passed,
            failure: view.shared.failure.get().cloned(),
            stuck: None,
            release: None,
            sender: self.engine.sender_of(&rows),
            steps: rows,
        };
        self.sent_at = self.engine.lease.lapses();
        self.unsure = false;
        self.sent = sent;
        self.reply = self.transactions.commit(&self.engine, attempt, progress);
        Some(Ok(()))
    }
}
