//! One simulated run: its processes, its world, and the faults that are planned for it.
//!
//! Invariant: everything is on one thread, in virtual time, with seeded chance; so two runs of one plan are the same, line by line.
//! A plan names points by their numbers in the order in which a run comes to them.

mod broker;
mod process;
mod saga;
mod store;

pub(crate) use process::{Ending, Setting, run};
pub(crate) use saga::INSTANCE;
pub use store::SimulatedStore;

use crate::{
    fault::{Fault, Kind, Site},
    story::{EventNumber, Line, ProcessNumber, StoredRows, What},
};
use sagaz_core::{Definition, EventId, store::InstanceState};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How long a lease lasts in a simulation.
pub(crate) const LEASE: Duration = Duration::from_mins(1);

/// How long a store is away that is away.
const AWAY: Duration = Duration::from_secs(100);

/// A run that comes to more points than this has no end.
const VISITS_MAX: u32 = 20_000;

/// Faults, each with the number of the point at which it happens; ascending.
pub(crate) type Plan = Vec<(u32, Fault)>;

/// Something that could go wrong after all that was planned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) visit: u32,
    pub(crate) site: Site,
    pub(crate) fault: Fault,
}

/// A clone is the same simulation.
#[derive(Clone)]
pub(crate) struct Simulation(Arc<Inner>);

struct Inner {
    definition: &'static Definition,
    began: Instant,
    seed: u64,
    state: Mutex<State>,
    /// Something happened that the supervisor may have to act on.
    changed: Notify,
    /// The instance has another owner, or a process is gone.
    moved: Notify,
}

/// What the supervisor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// This process is gone, or will be: there has to be another one.
    Replace(ProcessNumber),
    /// This process is to stop in good order.
    ShutDown(ProcessNumber),
    /// The instance is to be cancelled.
    Cancel,
}

#[derive(Default)]
struct State {
    story: Vec<Line>,
    plan: Plan,
    /// How many faults of the plan have happened.
    met: usize,
    visits: u32,
    choices: Vec<Choice>,
    /// Faults of attempts that go on for some attempts.
    lasting: BTreeMap<(usize, Kind), (Fault, u32)>,
    /// Steps whose outputs the store refuses.
    refused: BTreeSet<usize>,
    /// Steps whose outputs it has.
    outputs: BTreeSet<usize>,
    /// What may have had an effect.
    touched: BTreeSet<(usize, Kind)>,
    processes: Vec<Process>,
    down_until: Option<Instant>,
    orders: Vec<Order>,
    /// The epoch of the last owner.
    epoch: u64,
    instance: Option<InstanceState>,
    open_attempts: usize,
    /// Events that are stored and not yet known to be sent.
    unsent: BTreeSet<EventNumber>,
    sent: BTreeSet<EventNumber>,
    events: BTreeMap<EventId, EventNumber>,
    /// Nothing goes wrong any more: what comes now is the aftermath.
    is_calm: bool,
    ids: u64,
}

#[derive(Clone, Copy, Default)]
struct Process {
    is_dead: bool,
    is_cut_off: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Simulation>> = const { RefCell::new(None) };
    /// The process whose attempt is polled; 0 between attempts.
    static PROCESS: Cell<ProcessNumber> = const { Cell::new(0) };
}

/// Polls an attempt as one of this process.
async fn within<T>(process: ProcessNumber, attempt: impl Future<Output = T>) -> T {
    let mut attempt = pin!(attempt);
    future::poll_fn(|cx| {
        let former = PROCESS.replace(process);
        let polled = attempt.as_mut().poll(cx);
        PROCESS.set(former);
        polled
    })
    .await
}

/// Makes a simulation the one of this thread until it is dropped.
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| *current = None);
    }
}

/// A point at which a process may die, or somebody cancels the instance: a fake service that is not a [`Ledger`](crate::Ledger) says with
/// it where it is about to have an effect, and where it has had one. Outside of a crash matrix it does nothing.
pub async fn checkpoint(what: &str) {
    let Some(simulation) = Simulation::current() else {
        return;
    };
    let site = || Site::Effect(what.to_owned());
    let process = PROCESS.get();
    match simulation.visit(process, site, || vec![Fault::Dies, Fault::Cancelled]) {
        None => return,
        Some(Fault::Cancelled) => {
            simulation.order(Order::Cancel);
            return tokio::task::yield_now().await;
        }
        Some(_) => {}
    }
    if process > 0 {
        simulation.die::<()>(process).await;
    }
    // On a task of its own, which says nothing of whose it is.
    simulation.die_everywhere().await;
}

impl Simulation {
    pub(crate) fn new(definition: &'static Definition, seed: u64, plan: Plan) -> Self {
        Self(Arc::new(Inner {
            definition,
            began: Instant::now(),
            seed,
            state: Mutex::new(State {
                plan,
                ..State::default()
            }),
            changed: Notify::new(),
            moved: Notify::new(),
        }))
    }

    /// The simulation that runs on this thread.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub(crate) fn enter(&self) -> Entered {
        CURRENT.with_borrow_mut(|current| *current = Some(self.clone()));
        Entered
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn definition(&self) -> &'static Definition {
        self.0.definition
    }

    /// Writes down what happened.
    pub(crate) fn tell(&self, process: ProcessNumber, what: What) {
        let at = self.0.began.elapsed();
        self.state().story.push(Line { at, process, what });
    }

    pub(crate) fn story(&self) -> Vec<Line> {
        self.state().story.clone()
    }

    /// What could have gone wrong after everything that was planned.
    pub(crate) fn take_choices(&self) -> Vec<Choice> {
        std::mem::take(&mut self.state().choices)
    }

    /// Whether every fault of the plan has happened.
    pub(crate) fn is_plan_met(&self) -> bool {
        let state = self.state();
        state.met == state.plan.len()
    }

    pub(crate) fn visits(&self) -> u32 {
        self.state().visits
    }

    /// A run comes to a point at which something may go wrong: what does?
    pub(crate) fn visit(
        &self,
        process: ProcessNumber,
        site: impl Fn() -> Site,
        faults: impl FnOnce() -> Vec<Fault>,
    ) -> Option<Fault> {
        let (visit, planned) = {
            let mut state = self.state();
            if state.is_calm {
                return None;
            }
            state.visits += 1;
            if state.visits == VISITS_MAX {
                self.0.changed.notify_one();
            }
            (state.visits - 1, state.plan.get(state.met).copied())
        };
        // Not under the lock: both may ask how things stand.
        let Some((planned, fault)) = planned else {
            let choices = faults().into_iter().map(|fault| Choice {
                visit,
                site: site(),
                fault,
            });
            let choices: Vec<_> = choices.collect();
            self.state().choices.extend(choices);
            return None;
        };
        if planned != visit {
            return None;
        }
        self.state().met += 1;
        self.tell(process, What::Fault(site(), fault));
        Some(fault)
    }

    pub(crate) fn has_no_end(&self) -> bool {
        self.state().visits >= VISITS_MAX
    }

    // Processes.

    fn new_process(&self) -> ProcessNumber {
        let mut state = self.state();
        state.processes.push(Process::default());
        state.processes.len()
    }

    fn order(&self, order: Order) {
        self.state().orders.push(order);
        self.0.changed.notify_one();
    }

    fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.state().orders)
    }

    /// This process dies here and now: whoever awaits this never goes on.
    async fn die<T>(&self, process: ProcessNumber) -> T {
        self.kill(process);
        future::pending().await
    }

    fn kill(&self, process: ProcessNumber) {
        {
            let mut state = self.state();
            let died = &mut state.processes[process - 1];
            if std::mem::replace(&mut died.is_dead, true) {
                return;
            }
        }
        self.tell(process, What::Dies);
        self.order(Order::Replace(process));
        self.0.moved.notify_waiters();
    }

    /// What a service does, in the process that asks it.
    pub(crate) fn tell_effect(&self, what: &str) {
        self.tell(PROCESS.get(), What::Effect(what.to_owned()));
    }

    /// Whichever process it is: all that live.
    async fn die_everywhere(&self) {
        let living: Vec<_> = {
            let state = self.state();
            let processes = state.processes.iter().enumerate();
            processes
                .filter(|(_, process)| !process.is_dead)
                .map(|(at, _)| at + 1)
                .collect()
        };
        for process in living {
            self.kill(process);
        }
        future::pending::<()>().await;
    }

    /// Comes when this process is dead.
    async fn has_died(&self, process: ProcessNumber) {
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            // From here on it hears of everything.
            moved.as_mut().enable();
            if self.is_dead(process) {
                return;
            }
            moved.await;
        }
    }

    /// What a process that is dead asks for never comes.
    async fn alive(&self, process: ProcessNumber) {
        if self.is_dead(process) {
            future::pending::<()>().await;
        }
    }

    fn is_dead(&self, process: ProcessNumber) -> bool {
        self.state().processes[process - 1].is_dead
    }

    fn set_cut_off(&self, process: ProcessNumber, is_cut_off: bool) {
        self.state().processes[process - 1].is_cut_off = is_cut_off;
        self.tell(
            process,
            if is_cut_off {
                What::IsCutOff
            } else {
                What::IsBack
            },
        );
    }

    /// Stands still, without the store, until somebody else has the instance.
    async fn lose_lease(&self, process: ProcessNumber) {
        let epoch = self.state().epoch;
        self.stand_still(process, |state| state.epoch > epoch).await;
    }

    /// Stands still, without the store, until the instance has ended elsewhere.
    async fn come_late(&self, process: ProcessNumber) {
        self.stand_still(process, |state| {
            state.instance.is_some_and(|instance| !instance.is_live())
        })
        .await;
    }

    async fn stand_still(&self, process: ProcessNumber, until: impl Fn(&State) -> bool) {
        self.set_cut_off(process, true);
        self.order(Order::Replace(process));
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if until(&self.state()) {
                break;
            }
            moved.await;
        }
        self.set_cut_off(process, false);
    }

    /// Whether calls of the store come through.
    fn reaches_store(&self, process: ProcessNumber) -> bool {
        let state = self.state();
        let is_down = state.down_until.is_some_and(|until| Instant::now() < until);
        !is_down && !state.processes[process - 1].is_cut_off
    }

    fn take_down(&self) {
        self.state().down_until = Some(Instant::now() + AWAY);
    }

    // The instance.

    fn owned(&self, epoch: u64) {
        self.state().epoch = epoch;
        self.0.moved.notify_waiters();
    }

    fn stored(&self, process: ProcessNumber, stored: StoredRows) {
        {
            let mut state = self.state();
            state.instance = Some(stored.state);
            for row in &stored.rows {
                if row.has_output {
                    state.outputs.insert(row.step);
                }
                // Not those that a repeated write has again.
                let new = row.events.iter().map(|(event, _)| *event);
                let new: Vec<_> = new.filter(|it| !state.sent.contains(it)).collect();
                state.unsent.extend(new);
            }
        }
        self.tell(process, What::Stored(stored));
        self.0.changed.notify_one();
        self.0.moved.notify_waiters();
    }

    /// A claim has found the instance to be poison.
    fn poisoned(&self, process: ProcessNumber) {
        self.state().instance = Some(InstanceState::Stuck);
        self.tell(process, What::Poisoned);
        self.0.changed.notify_one();
        self.0.moved.notify_waiters();
    }

    /// The number of an event.
    fn number(&self, event: &EventId) -> EventNumber {
        let mut state = self.state();
        let next = state.events.len() + 1;
        *state.events.entry(event.clone()).or_insert(next)
    }

    fn sent(&self, process: ProcessNumber, event: &EventId) {
        let event = self.number(event);
        let is_new = {
            let mut state = self.state();
            state.unsent.remove(&event) && state.sent.insert(event)
        };
        if is_new {
            self.tell(process, What::Sent(event));
            self.0.changed.notify_one();
        }
    }

    fn is_refused(&self, step: usize) -> bool {
        self.state().refused.contains(&step)
    }

    fn has_output(&self, step: usize) -> bool {
        self.state().outputs.contains(&step)
    }

    fn refuse(&self, step: usize) {
        self.state().refused.insert(step);
    }

    /// Whether nothing is left to be done: the instance has ended, nothing runs, and every event is out.
    fn is_over(&self) -> bool {
        let state = self.state();
        state.instance.is_some_and(|state| !state.is_live())
            && state.open_attempts == 0
            && state.unsent.is_empty()
    }

    fn calm(&self) {
        self.state().is_calm = true;
    }

    /// A number that no other call gives, the same in every run of one plan.
    fn next_id(&self) -> u64 {
        let mut state = self.state();
        state.ids += 1;
        state.ids
    }

    // Attempts.

    fn touched(&self, step: usize, kind: Kind) -> bool {
        self.state().touched.contains(&(step, kind))
    }

    fn touch(&self, step: usize, kind: Kind) {
        self.state().touched.insert((step, kind));
    }

    fn begin_attempt(&self, process: ProcessNumber, what: What) {
        self.state().open_attempts += 1;
        self.tell(process, what);
    }

    fn end_attempt(&self, process: ProcessNumber, what: What) {
        self.state().open_attempts -= 1;
        self.tell(process, what);
        self.0.changed.notify_one();
    }

    /// The fault that goes on, for one more attempt.
    fn lasting(&self, step: usize, kind: Kind) -> Option<Fault> {
        let mut state = self.state();
        let (fault, left) = state.lasting.get_mut(&(step, kind))?;
        let fault = *fault;
        *left -= 1;
        if *left == 0 {
            state.lasting.remove(&(step, kind));
        }
        Some(fault)
    }

    fn go_on(&self, step: usize, kind: Kind, fault: Fault, times: u32) {
        if times > 1 {
            self.state()
                .lasting
                .insert((step, kind), (fault, times - 1));
        }
    }
}
