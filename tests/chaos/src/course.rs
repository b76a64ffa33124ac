//! The course of a run: orders come at a steady rate, and faults happen as they are planned; then everything may settle, and is read.

use crate::{
    audit::{self, Evidence},
    broker,
    faults::Targets,
    gather,
    order::Order,
    place::{AnyError, Place},
    schedule::{self, Fault, Kind, Planned, Scope},
    settings::{Settings, Store},
    witness::Witness,
    world,
};
use sagaz::store::{OutboxStore, SagaStore};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, sleep_until},
};

/// So many orders wait for a client at most: a client that gets no answer orders nothing more.
const WAITING_MAX: usize = 60;

/// How often it is asked whether something is so.
const POLL: Duration = Duration::from_millis(250);

/// What the parts of a run share.
pub(crate) struct Conducting<'r> {
    pub(crate) settings: &'r Settings,
    pub(crate) world: &'r world::Server,
    pub(crate) targets: &'r Arc<Targets>,
    pub(crate) witness: &'r Witness,
    /// The broker's, not by way of a proxy.
    pub(crate) broker_url: &'r str,
    /// Somebody does not want to wait for the end.
    pub(crate) enough: watch::Receiver<bool>,
}

/// What workers counted.
type Counts = BTreeMap<String, u64>;

impl Conducting<'_> {
    pub(crate) async fn play_and_settle<P: Place>(
        &self,
        scope: &Scope,
        place: &P,
    ) -> Result<(Duration, Evidence, Counts), AnyError> {
        let plan = schedule::schedule(scope);
        let mut planned: BTreeSet<Kind> = plan.iter().map(|it| it.fault.kind()).collect();
        let lasted = self.play(scope, plan).await?;
        let faults = self.targets.carried_out();
        let carried_out = faults.injected.iter().map(|it| it.fault.kind());
        let carried_out: BTreeSet<Kind> = carried_out.collect();
        if *self.enough.borrow() {
            // The rest of the plan was not waited for.
            planned = faults.missed.iter().map(Fault::kind).collect();
            planned.extend(&carried_out);
        }
        let (evidence, counts) = self.settle(place).await?;
        let evidence = Evidence {
            planned,
            carried_out,
            ..evidence
        };
        Ok((lasted, evidence, counts))
    }

    /// Orders and faults, for as long as it lasts.
    async fn play(&self, scope: &Scope, plan: Vec<Planned>) -> Result<Duration, AnyError> {
        eprintln!("{} faults are planned", plan.len());
        let began = tokio::time::Instant::now();
        let mut faults = JoinSet::new();
        for planned in plan {
            let (targets, enough) = (Arc::clone(self.targets), self.enough.clone());
            faults.spawn(async move {
                tokio::select! {
                    () = sleep_until(began + planned.at) => targets.inject(planned.fault).await,
                    () = said(enough) => Ok(()),
                }
            });
        }
        let end = began + scope.lasting;
        let every = Duration::from_secs_f64(1.0 / self.settings.rate);
        let (mut number, mut tell_at) = (0, began);
        let seed = u32::try_from(self.settings.seed & u64::from(u32::MAX)).unwrap_or_default();
        let entries = scope.long_transactions;
        let mut next = began;
        while next < end {
            tokio::select! {
                () = sleep_until(next) => {}
                () = said(self.enough.clone()) => break,
            }
            next += every;
            if self.world.counts().waiting < WAITING_MAX {
                number += 1;
                self.world.issue(Order::new(seed, number, entries));
            }
            self.targets.workers.tend()?;
            if tokio::time::Instant::now() >= tell_at {
                self.tell(began.elapsed());
                tell_at += Duration::from_secs(10);
            }
            while let Some(done) = faults.try_join_next() {
                done??;
            }
        }
        let lasted = began.elapsed();
        // Those that still last come to their end.
        while let Some(done) = faults.join_next().await {
            done??;
        }
        self.targets.heal().await?;
        eprintln!("the faults are over after {:?}", began.elapsed());
        Ok(lasted)
    }

    fn tell(&self, elapsed: Duration) {
        let counts = self.world.counts();
        eprintln!(
            "{:>5} s: {} orders, {} accepted, {} wait for a client, {} ended, {} lines, {} events, {} faults",
            elapsed.as_secs(),
            counts.issued,
            counts.accepted,
            counts.waiting,
            counts.finished,
            self.world.lines(),
            self.witness.events(),
            self.targets.carried_out().injected.len()
        );
        for words in self.world.take_told() {
            eprintln!("         {words}");
        }
    }

    /// Waits until nothing is unfinished and all has come through, or patience ends; then reads everything.
    async fn settle<P: Place>(&self, place: &P) -> Result<(Evidence, Counts), AnyError> {
        let began = Instant::now();
        let patience = self.settings.patience();
        let store = loop {
            match place.open().await {
                Ok(store) => break store,
                Err(error) if began.elapsed() > patience => return Err(error),
                Err(_) => sleep(POLL).await,
            }
        };
        let mut expected = None;
        let is_settled = self.within(began, async || match expected {
            None => {
                if self.are_ended(&store).await? {
                    let evidence = Evidence {
                        instances: gather::instances(&store).await?,
                        ..Evidence::default()
                    };
                    expected = Some(audit::expected_events(&evidence).len());
                }
                Ok(false)
            }
            Some(events) => {
                Ok(self.witness.events() >= events && place.consumed().await?.len() >= events)
            }
        });
        let is_settled = is_settled.await?;
        let not = if is_settled { "" } else { "not " };
        eprintln!("{not}everything has settled after {:?}", began.elapsed());
        // What nobody expects comes before a mark: to the consumers while there are some, to the witness when nobody publishes any more.
        let mut undrained = Vec::new();
        let began = Instant::now();
        let consumers = self.mark(began).await?;
        let is_through = self.within(began, async || {
            let consumed = place.consumed().await?;
            Ok(consumed.iter().any(|it| it.event == consumers))
        });
        if !is_through.await? {
            undrained.push("what was published last did not come to the consumers".to_owned());
        }
        self.targets.workers.end().await?;
        let began = Instant::now();
        let witness = self.mark(began).await?;
        let is_through = self.within(began, async || Ok(self.witness.has_seen(&witness)));
        if !is_through.await? {
            undrained.push("what was published last did not come to the witness".to_owned());
        }
        let (mut evidence, counts) = self.gather(place, &store).await?;
        evidence.undrained = undrained;
        // The mark that the consumers did not get, or that came when they had ended, is not theirs.
        let marks = [consumers, witness];
        evidence.consumed.retain(|it| !marks.contains(&it.event));
        Ok((evidence, counts))
    }

    async fn mark(&self, began: Instant) -> Result<String, AnyError> {
        loop {
            match broker::mark(self.broker_url).await {
                Ok(mark) => return Ok(mark),
                Err(error) if began.elapsed() > self.settings.patience() => return Err(error),
                Err(_) => sleep(POLL).await,
            }
        }
    }

    /// Until something is so; `false` if it is not when patience ends. A server that does not answer is asked again. Meanwhile workers are
    /// tended, and it is told how things stand.
    async fn within(
        &self,
        began: Instant,
        mut is_so: impl AsyncFnMut() -> Result<bool, AnyError>,
    ) -> Result<bool, AnyError> {
        let mut tell_at = Duration::ZERO;
        loop {
            let is_over = began.elapsed() > self.settings.patience();
            match is_so().await {
                Ok(true) => return Ok(true),
                Ok(false) if is_over => return Ok(false),
                Err(error) if is_over => return Err(error),
                Ok(false) | Err(_) => {}
            }
            if began.elapsed() > tell_at {
                self.tell(began.elapsed());
                tell_at = began.elapsed() + Duration::from_secs(10);
            }
            self.targets.workers.tend()?;
            sleep(POLL).await;
        }
    }

    async fn are_ended<S: sagaz::store::Store + OutboxStore>(
        &self,
        store: &S,
    ) -> Result<bool, AnyError> {
        let counts = self.world.counts();
        if counts.waiting > 0 || counts.accepted < counts.issued {
            return Ok(false);
        }
        let live = SagaStore::count(store).await?;
        let live = live
            .iter()
            .any(|(_, state, count)| state.is_live() && *count > 0);
        Ok(!live && store.outbox_stats().await?.pending == 0)
    }

    async fn gather<P: Place>(
        &self,
        place: &P,
        store: &P::Store,
    ) -> Result<(Evidence, Counts), AnyError> {
        let (dead, pending) = gather::left(store).await?;
        let instances = gather::instances(store).await?;
        let consumed = place.consumed().await?;
        let entries = place.entries().await?;
        let mut left = self.world.close();
        let (lines, books) = left.ledger.close();
        let seen = std::mem::take(&mut *self.witness.seen());
        for words in left.told {
            eprintln!("         {words}");
        }
        let evidence = Evidence {
            orders: left.orders,
            accepted: left.accepted.into_iter().collect(),
            instances,
            lines,
            books,
            strange_keys: std::mem::take(&mut left.ledger.strange_keys),
            deliveries: seen.deliveries,
            malformed: seen.malformed,
            consumed,
            entries,
            dead,
            pending,
            stops: self.targets.workers.stops(),
            died: self.targets.workers.died(),
            ended_badly: self.targets.workers.ended_badly(),
            ordered_across_instances: self.settings.store != Store::Redis,
            ..Evidence::default()
        };
        Ok((evidence, left.counts))
    }
}

/// Until it is said.
async fn said(mut enough: watch::Receiver<bool>) {
    let _ = enough.wait_for(|enough| *enough).await;
}
