//! Where a durable instance runs: its records go to the store, and the lease decides when an attempt may begin.
//!
//! Invariants: at most one write of an instance is in flight, so that what it says is stored in order; a write carries the
//! owner's token; when the store names another owner, the work is dropped. A step begins without a write of its own.

mod commit;

use super::{
    Inner,
    instance::caught,
    registry::Registration,
    signals::Signals,
    transactions::Transactions,
    writer::{Job, Reply},
};
use crate::{
    codec::{Codec, CodecError, Payload},
    context::Shared,
    driver::{Happened, Host, Kind, Leave, PreparedAttempt, View, Waits, stuck, words},
    id::{SagaId, Token},
    observe::Lifecycle,
    outcome::FailureReason,
    private::OutputRequest,
    saga::{RunsOn, Saga},
    state::{Event, Record, StepCounts},
    store::{
        InstanceState, Progress, StepState, StepWrite, Store, StoreError, Wake, Write, Written,
    },
    transactor::AnyTransaction,
};
use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, oneshot},
    time::{Instant, Sleep, sleep},
};

/// How long a write rests that the store refuses although nothing can be left out of it.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// The host of one durable instance.
pub(crate) struct Journal<G: Saga, S: Store> {
    engine: Arc<Inner<S>>,
    registration: Arc<Registration<G>>,
    signals: Arc<Signals>,
    id: SagaId,
    token: Token,
    /// To be stored.
    dirty: Vec<Record>,
    /// Waits that are long enough to be stored; nothing waits for that.
    dirty_waits: Vec<u16>,
    /// In the write that is in flight, or in the one that was just stored.
    sent: Vec<Record>,
    /// What was sent is stored, and nothing was told of it yet: a cancel goes first.
    sent_is_stored: bool,
    reply: Option<oneshot::Receiver<Reply>>,
    /// The write in flight gives the instance up.
    releasing: bool,
    /// At most one output a write, to find the one that the store refuses.
    single: bool,
    /// The write in flight has an output.
    sent_output: bool,
    /// No write before this.
    pause: Option<Pin<Box<Sleep>>>,
    cancel_seen: bool,
    /// The same when the write in flight was made.
    sent_cancel_seen: bool,
    /// The count of the lease's lapses at which the store last said that the instance is ours.
    sure_at: u64,
    /// The same for the write in flight.
    sent_at: u64,
    /// An attempt is held back until the store says so again.
    unsure: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    deadline_at: Option<Instant>,
    /// Waits that a former owner began, and how long they still last.
    inherited: Vec<Inherited>,
    /// When waiting steps are due.
    due: Vec<(u16, Instant)>,
    permits: Vec<(u16, Permit)>,
    transactions: Transactions<S>,
}

/// A wait that a former owner began.
#[derive(Clone, Copy)]
pub(crate) struct Inherited {
    pub(crate) step: u16,
    /// Whether for an attempt to undo the step.
    pub(crate) undo: bool,
    pub(crate) left: Duration,
}

/// A place among the attempts of a step that has a limit.
enum Permit {
    Wanted(Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>),
    Held(#[expect(dead_code, reason = "held until the attempt is over")] OwnedSemaphorePermit),
}

impl<G: RunsOn<S>, S: Store> Journal<G, S> {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one part of one instance"
    )]
    pub(crate) fn new(
        engine: Arc<Inner<S>>,
        registration: Arc<Registration<G>>,
        signals: Arc<Signals>,
        id: SagaId,
        token: Token,
        deadline: Option<Duration>,
        inherited: Vec<Inherited>,
        cancel_seen: bool,
        sure_at: u64,
    ) -> Self {
        let transactions = Transactions::new(G::transactor(), &engine.store);
        Self {
            engine,
            registration,
            signals,
            id,
            token,
            dirty: Vec::new(),
            dirty_waits: Vec::new(),
            sent: Vec::new(),
            sent_is_stored: false,
            reply: None,
            releasing: false,
            single: false,
            sent_output: false,
            pause: None,
            cancel_seen,
            sent_cancel_seen: cancel_seen,
            sure_at,
            sent_at: sure_at,
            unsure: false,
            deadline: deadline.map(|left| Box::pin(sleep(left))),
            deadline_at: deadline.map(|left| Instant::now() + left),
            inherited,
            due: Vec::new(),
            permits: Vec::new(),
            transactions,
        }
    }

    fn poll_permit(&mut self, step: usize, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.registration.limit(step) else {
            return Poll::Ready(());
        };
        let place = self
            .permits
            .iter()
            .position(|(at, _)| usize::from(*at) == step)
            .unwrap_or_else(|| {
                self.permits
                    .push((index(step), Permit::Wanted(Box::pin(limit.acquire_owned()))));
                self.permits.len() - 1
            });
        if let Permit::Wanted(wanted) = &mut self.permits[place].1 {
            // The semaphore is never closed.
            if let Ok(permit) = ready!(wanted.as_mut().poll(cx)) {
                self.permits[place].1 = Permit::Held(permit);
            }
        }
        Poll::Ready(())
    }

    fn take_reply(
        &mut self,
        reply: Result<Reply, oneshot::error::RecvError>,
        cx: &mut Context<'_>,
    ) -> Happened {
        if self.transactions.is_committing() {
            return self.take_end(reply);
        }
        let releasing = std::mem::take(&mut self.releasing);
        match reply {
            Ok(Reply::Written(Written::Stored { cancel_requested })) => {
                if releasing {
                    // One that was seen while the release was on its way was dropped with everything else.
                    if cancel_requested && !self.sent_cancel_seen {
                        self.engine.request_cancel_again(self.id);
                    }
                    return Happened::Leave(Leave::Released);
                }
                if cancel_requested {
                    self.signals.cancel();
                }
                self.sure_at = self.sent_at;
                // What asked while this write was under way has its answer.
                self.unsure &= self.sure_at != self.engine.lease.lapses();
                // Everything that was refused together is stored.
                self.single &= !self.dirty.is_empty();
                if self
                    .sent
                    .iter()
                    .any(|record| matches!(record, Record::Step(_)))
                {
                    // It makes progress: whatever killed its processes is behind it.
                    self.engine.free_suspect(&self.signals);
                }
                if let Some(cancel) = self.heard_cancel(cx) {
                    self.sent_is_stored = true;
                    return cancel;
                }
                Happened::Stored(std::mem::take(&mut self.sent))
            }
            Ok(Reply::Refused(reason)) => self.refused(reason),
            // Another owner; or the writer is gone, because the engine is.
            Ok(Reply::Written(_) | Reply::RolledBack(_)) | Err(_) => Happened::Leave(Leave::Lost),
        }
    }

    /// A cancel, or the end of the time that the instance has. It goes before what a write sets free, so that no step begins in vain.
    fn heard_cancel(&mut self, cx: &mut Context<'_>) -> Option<Happened> {
        if self.signals.is_cancelled() && !self.cancel_seen {
            self.cancel_seen = true;
            return Some(Happened::Event(Event::Cancel(FailureReason::Cancelled)));
        }
        let deadline = self.deadline.as_mut()?;
        if deadline.as_mut().poll(cx).is_pending() {
            return None;
        }
        self.deadline = None;
        // An instance that went past it is not kept in memory by it.
        self.deadline_at = None;
        Some(Happened::Event(Event::Cancel(
            FailureReason::DeadlineExceeded,
        )))
    }

    /// The store refuses what was sent. With several records it is not known which: they are sent one by one.
    fn refused(&mut self, reason: String) -> Happened {
        let sent = std::mem::take(&mut self.sent);
        if sent.len() == 1
            && let Record::Step(step) = sent[0]
            && self.sent_output
        {
            return self.refuse(usize::from(step), reason);
        }
        // With nothing in it that could be left out, all there is to do is to offer it again.
        if !self.sent_output {
            self.engine.store_failed(&StoreError::refusal(reason));
            self.pause = Some(Box::pin(sleep(REFUSED_PAUSE)));
        }
        self.single = true;
        self.dirty.splice(0..0, sent);
        Happened::Stored(Vec::new())
    }

    fn refuse(&mut self, step: usize, reason: String) -> Happened {
        let name = self.registration.saga.definition().steps[step].name;
        let instance = self.registration.instance(self.id, None);
        self.engine.tell(&Lifecycle::OutputRefused {
            instance,
            step: name,
            reason: &reason,
        });
        self.single = false;
        Happened::Refused(step, reason)
    }

    /// Whether the instance is to be given up now, and until when.
    fn release(&self, view: &View<'_, G>) -> Option<Wake> {
        let state = view.machine.state();
        if state == InstanceState::Stuck || state.is_final() || self.single {
            return None;
        }
        if self.signals.must_stop_now()
            || self.signals.must_stop() && view.begun == 0 && self.dirty.is_empty()
        {
            return Some(Wake::Now);
        }
        if !view.machine.only_waits() {
            return None;
        }
        let now = Instant::now();
        let wake = self
            .due
            .iter()
            .filter(|(step, _)| view.machine.waits(usize::from(*step)))
            .map(|(_, due)| *due)
            .min()?;
        let wait = wake.saturating_duration_since(now);
        let wait = self.deadline_at.map_or(wait, |deadline| {
            wait.min(deadline.saturating_duration_since(now))
        });
        (wait > self.engine.config.wake_up_after).then_some(Wake::After(wait))
    }

    /// Sends what is to be stored, if something is. `Err` is an output that cannot be stored.
    fn flush(&mut self, view: &View<'_, G>) -> Result<(), Happened> {
        if let Some(committing) = self.commit_next(view) {
            return committing;
        }
        if self.transactions.keep_from_writing() {
            return Ok(());
        }
        let release = self.release(view);
        let must_ask = self.unsure && self.engine.lease.is_fresh();
        // One that has completed since then has its row with its record.
        self.dirty_waits
            .retain(|step| view.machine.waits(usize::from(*step)));
        if self.dirty.is_empty() && self.dirty_waits.is_empty() && release.is_none() && !must_ask {
            return Ok(());
        }
        let mut sent = self.take_dirty(view);
        let mut steps = steps_of(&sent);
        steps.extend(std::mem::take(&mut self.dirty_waits));
        if release.is_some() {
            steps.extend(view.machine.unsettled().map(index));
        }
        let mut rows = self.rows(steps, &mut sent, release.is_some(), view)?;
        if sent.contains(&Record::Instance) {
            rows.extend(self.rows_without_output(view));
        }
        self.sent_at = self.engine.lease.lapses();
        self.sent_cancel_seen = self.cancel_seen;
        self.unsure = false;
        let progress_has_output = rows.iter().any(|row| row.output.is_some());
        let progress = self.progress(rows, release, view);
        let (reply, receiver) = oneshot::channel();
        self.engine.send(
            self.id,
            Job {
                write: Write::Progress(progress),
                reply,
            },
        );
        self.releasing = release.is_some();
        self.sent_output = progress_has_output;
        self.sent = sent;
        self.reply = Some(receiver);
        Ok(())
    }

    /// The rows of these steps. `Err` is an output that cannot be stored: its own mark is answered by the refusal, and the
    /// others are sent with the next write.
    fn rows(
        &mut self,
        steps: BTreeSet<u16>,
        sent: &mut Vec<Record>,
        released: bool,
        view: &View<'_, G>,
    ) -> Result<Vec<StepWrite>, Happened> {
        let mut rows = Vec::with_capacity(steps.len() + 1);
        for step in steps {
            match self.row(usize::from(step), released, view) {
                Ok(row) => rows.push(row),
                Err(reason) => {
                    let own = sent.iter().position(|record| *record == Record::Step(step));
                    if let Some(own) = own {
                        sent.remove(own);
                    }
                    self.dirty.splice(0..0, std::mem::take(sent));
                    return Err(self.refuse(usize::from(step), reason));
                }
            }
        }
        Ok(rows)
    }

    /// The rows of steps whose outputs have to wait for a later write, if the instance has failed: as of those that are in flight. Of one
    /// that has no row when the process dies nobody would know that there is something to undo.
    fn rows_without_output(&self, view: &View<'_, G>) -> Vec<StepWrite> {
        if view.shared.failure.get().is_none() {
            return Vec::new();
        }
        let left = steps_of(&self.dirty).into_iter().map(usize::from);
        let rows = left.filter(|&step| view.machine.has_output(step));
        rows.map(|step| self.step_write(step, view.machine.in_flight_row(step), None, view))
            .collect()
    }

    /// What goes into the next write: all of it, or, to find what the store refuses, first everything without an output and
    /// then one output at a time. A failure is always stored with all the steps that were in flight.
    fn take_dirty(&mut self, view: &View<'_, G>) -> Vec<Record> {
        let all = std::mem::take(&mut self.dirty);
        if !self.single {
            return all;
        }
        let has_output = |record: &Record| match record {
            Record::Step(step) => view.machine.has_output(usize::from(*step)),
            Record::Instance => false,
        };
        let (mut outputs, plain): (Vec<_>, Vec<_>) = all.into_iter().partition(has_output);
        if plain.is_empty() {
            let rest = outputs.split_off(outputs.len().min(1));
            self.dirty = rest;
            return outputs;
        }
        self.dirty = outputs;
        plain
    }

    fn progress(
        &self,
        steps: Vec<StepWrite>,
        release: Option<Wake>,
        view: &View<'_, G>,
    ) -> Progress {
        let failure = view.shared.failure.get().cloned();
        let state = match view.machine.state() {
            // Not before everything else is stored.
            state if state.is_live() || self.dirty.is_empty() => state,
            _ if failure.is_some() => InstanceState::Compensating,
            _ => InstanceState::Executing,
        };
        let stuck = (state == InstanceState::Stuck)
            .then(|| stuck::<G>(view.machine, view.troubles, view.shared));
        Progress {
            id: self.id,
            token: self.token,
            state,
            pivot_passed: view.machine.pivot_passed(),
            failure,
            stuck,
            release,
            sender: self.engine.sender_of(&steps),
            steps,
        }
    }

    fn row(&self, step: usize, released: bool, view: &View<'_, G>) -> Result<StepWrite, String> {
        let row = if released {
            view.machine.released_row(step, view.is_held(step))
        } else {
            view.machine.row(step)
        };
        let output = view
            .machine
            .has_output(step)
            .then(|| self.encode(step, view))
            .transpose()?;
        Ok(self.step_write(step, row, output, view))
    }

    fn step_write(
        &self,
        step: usize,
        (state, counts): (StepState, StepCounts),
        output: Option<Payload>,
        view: &View<'_, G>,
    ) -> StepWrite {
        let definition = &self.registration.saga.definition().steps[step];
        let now = Instant::now();
        let due = self
            .due
            .iter()
            .find(|(at, _)| usize::from(*at) == step && view.machine.waits(step));
        StepWrite {
            name: definition.name.to_owned(),
            kind: definition.kind,
            state,
            attempts: counts.attempts,
            undo_attempts: counts.undo_attempts,
            recoveries: counts.recoveries,
            output,
            error: view.troubles.of(step).map(|error| words(error)),
            wake: due.map(|(_, due)| due.saturating_duration_since(now)),
            events: published(view.shared, step, state),
        }
    }

    fn encode(&self, step: usize, view: &View<'_, G>) -> Result<Payload, String> {
        self.payload(|bytes| {
            view.saga
                .output(view.slots, step, OutputRequest::Encode(bytes))
        })
    }

    fn payload(
        &self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) -> Result<Payload, String> {
        let mut bytes = Vec::new();
        caught(|| encode(&mut bytes))
            .map_err(|error| format!("it cannot be serialized: {error}"))?;
        let max = self.engine.config.payload_max;
        if bytes.len() > max {
            return Err(format!(
                "it has {} bytes, and the limit is {max}",
                bytes.len()
            ));
        }
        Ok(Payload {
            content_type: G::Codec::CONTENT_TYPE.to_owned(),
            bytes,
        })
    }

    /// Whether an attempt needs a transaction of the store.
    fn is_transactional(&self, step: usize, kind: Kind) -> bool {
        let definition = &self.registration.saga.definition().steps[step];
        match kind {
            Kind::Step => definition.transactional,
            Kind::Undo { .. } => definition
                .compensation
                .is_some_and(|undo| undo.transactional),
            Kind::Recover => false,
        }
    }

    /// Whether an attempt may begin now, apart from its transaction.
    fn poll_leave(&mut self, step: usize, kind: Kind, cx: &mut Context<'_>) -> Poll<()> {
        // What begins while the instance is being given up would be forgotten.
        if self.signals.must_stop() || self.releasing {
            return Poll::Pending;
        }
        if !matches!(kind, Kind::Undo { .. }) {
            ready!(self.poll_permit(step, cx));
        }
        // A renewal that makes the lease fresh again wakes every instance.
        self.signals.register(cx.waker());
        if !self.engine.lease.is_fresh() {
            return Poll::Pending;
        }
        if self.sure_at != self.engine.lease.lapses() {
            // Others may have taken over: the next write, with or without rows, tells.
            self.unsure = true;
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Whether something of the instance is being written, or is to be.
    fn has_to_write(&self) -> bool {
        self.reply.is_some() || !self.dirty.is_empty()
    }
}

impl<G: RunsOn<S>, S: Store> Host<G> for Journal<G, S> {
    const DURABLE: bool = true;

    fn poll_admit(&mut self, step: usize, kind: Kind, cx: &mut Context<'_>) -> Poll<()> {
        let leave = self.poll_leave(step, kind, cx);
        if !self.is_transactional(step, kind) {
            return leave;
        }
        let must_write_first = self.transactions.excludes_writes() && self.has_to_write();
        if leave.is_pending() || must_write_first {
            self.transactions.close(index(step));
            return Poll::Pending;
        }
        self.transactions.poll_open(index(step), &self.engine, cx)
    }

    fn attempt_over(&mut self, step: usize) {
        self.permits.retain(|(at, _)| usize::from(*at) != step);
        self.transactions.forget(index(step));
    }

    fn transaction(&mut self, step: usize) -> Option<AnyTransaction> {
        self.transactions.take(index(step))
    }

    fn commit(&mut self, attempt: PreparedAttempt) {
        self.transactions.prepare(attempt);
    }

    fn published(&mut self, events: Vec<crate::Event>) {
        if let Some(hook) = &self.engine.after_commit {
            hook.committed(events);
        }
    }

    fn record(&mut self, record: Record) {
        if !self.transactions.acknowledge(record) {
            self.dirty.push(record);
        }
    }

    fn wait(&mut self, step: usize, undo: bool, delay: Duration) -> Waits {
        let is_it = |wait: &Inherited| usize::from(wait.step) == step && wait.undo == undo;
        let place = self.inherited.iter().position(is_it);
        let inherited = place.is_some();
        let delay = place.map_or(delay, |place| self.inherited.swap_remove(place).left);
        // Another engine may have less to do than this one that only waits.
        self.engine.free_suspect(&self.signals);
        self.due.retain(|(at, _)| usize::from(*at) != step);
        self.due.push((index(step), Instant::now() + delay));
        if delay > self.engine.config.wake_up_after && !inherited {
            self.dirty_waits.push(index(step));
        }
        Waits { delay, inherited }
    }

    fn poll(&mut self, view: View<'_, G>, cx: &mut Context<'_>) -> Poll<Happened> {
        self.signals.register(cx.waker());
        if std::mem::take(&mut self.sent_is_stored) {
            return Poll::Ready(Happened::Stored(std::mem::take(&mut self.sent)));
        }
        // While something is being committed, it may be what decides.
        let is_committing = self.transactions.is_committing();
        if !is_committing && let Some(cancel) = self.heard_cancel(cx) {
            return Poll::Ready(cancel);
        }
        if let Some(stored) = self.transactions.acknowledged() {
            return Poll::Ready(Happened::Stored(stored));
        }
        if let Some(reply) = &mut self.reply
            && let Poll::Ready(reply) = Pin::new(reply).poll(cx)
        {
            self.reply = None;
            return Poll::Ready(self.take_reply(reply, cx));
        }
        if is_committing {
            return Poll::Pending;
        }
        if let Some(pause) = &mut self.pause
            && pause.as_mut().poll(cx).is_ready()
        {
            self.pause = None;
        }
        if self.reply.is_none() && self.pause.is_none() {
            if let Err(happened) = self.flush(&view) {
                return Poll::Ready(happened);
            }
            if let Some(reply) = &mut self.reply
                && let Poll::Ready(reply) = Pin::new(reply).poll(cx)
            {
                self.reply = None;
                return Poll::Ready(self.take_reply(reply, cx));
            }
        }
        Poll::Pending
    }
}

/// What the attempt that a row tells of has published.
fn published(shared: &Shared, step: usize, state: StepState) -> Vec<crate::Event> {
    match state {
        StepState::Completed => shared.published.offer(step, false),
        StepState::Compensated => shared.published.offer(step, true),
        _ => Vec::new(),
    }
}

/// The steps of these records.
fn steps_of(records: &[Record]) -> BTreeSet<u16> {
    let steps = records.iter().filter_map(|record| match record {
        Record::Step(step) => Some(*step),
        Record::Instance => None,
    });
    steps.collect()
}

fn index(step: usize) -> u16 {
    u16::try_from(step).unwrap_or(u16::MAX)
}
