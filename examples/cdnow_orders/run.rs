//! Starts a saga for each order, and waits until every one has ended. All of it is generic over the store.

use crate::{
    audit,
    books::Books,
    desk,
    orders::Order,
    report::{self, Tally},
    saga::OrderProcessing,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use sagaz::{Summary, prelude::*, store::Store};
use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

pub(crate) const SAGA: &str = OrderProcessing::DEFINITION.name;

/// What a killed process leaves behind is taken over after this.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// What is processed, and how.
pub(crate) struct Run<'a> {
    pub(crate) orders: &'a [Order],
    pub(crate) seed: u64,
    pub(crate) concurrency: usize,
    pub(crate) books: &'a Books,
    pub(crate) books_file: &'a Path,
}

impl Run<'_> {
    /// Succeeds if the books balance when every order has ended.
    pub(crate) async fn on<S: Store>(&self, store: S) -> Result<ExitCode, Box<dyn Error>> {
        let tally = Arc::new(Tally::default());
        let began = Instant::now();
        let engine = Engine::builder(store)
            .register(desk::shop(self.books, self.seed))
            .in_flight_max(self.concurrency)
            .lease(LEASE)
            .observer(tally.clone())
            .start()
            .await?;

        tokio::select! {
            done = async { tokio::try_join!(start_all(&engine, self.orders), watch(&engine, self.orders.len())) } => done?,
            _ = tokio::signal::ctrl_c() => {
                engine.shutdown().await;
                eprintln!("interrupted: the same command goes on from here");
                return Ok(ExitCode::from(130));
            }
        };
        let took = began.elapsed();
        let counted = count(&engine).await?;
        let failed = Filter::all()
            .state(InstanceState::RolledBack)
            .state(InstanceState::Stuck);
        let failed = list(&engine, failed).await?;
        let totals = self.books.totals().await?;
        let findings = audit::audit(&engine, self.orders, self.books_file).await?;
        engine.shutdown().await;

        report::print_orders(&counted, &failed);
        report::print_services(&totals);
        report::print_run(&tally, took);
        let balanced = report::print_audit(&findings);
        Ok(if balanced {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Starts a saga for each order. The start key makes a second start of an order harmless: it gives the saga of the first.
/// What earlier runs started is left out only to save the time.
async fn start_all<S: Store>(engine: &Engine<S>, orders: &[Order]) -> Result<(), sagaz::Error> {
    let started: u64 = patiently(|| count(engine)).await?.values().sum();
    if started == orders.len() as u64 {
        return Ok(());
    }
    let key = |order: &Order| format!("order-{}", order.number);
    let known = patiently(|| list(engine, Filter::all())).await?;
    let known: HashSet<String> = known
        .into_iter()
        .filter_map(|saga| saga.start_key)
        .collect();
    stream::iter(orders.iter().filter(|order| !known.contains(&key(order))))
        .map(Ok)
        .try_for_each_concurrent(64, async |order| {
            // When this returns, the saga is stored, and is finished whatever happens to this process. Whoever wants to
            // know how it ends can await `handle.outcome()`.
            let _handle = patiently(async || {
                engine
                    .start::<OrderProcessing>(order.clone())
                    .key(key(order))
                    .await
            })
            .await?;
            Ok(())
        })
        .await
}

/// Asks again while the store is not there: a server that is restarted is no reason to give up.
async fn patiently<T>(
    mut call: impl AsyncFnMut() -> Result<T, sagaz::Error>,
) -> Result<T, sagaz::Error> {
    loop {
        match call().await {
            Err(error) if error.is_transient() => sleep(Duration::from_millis(500)).await,
            done => return done,
        }
    }
}

/// How many are in each state.
async fn count<S: Store>(engine: &Engine<S>) -> Result<BTreeMap<InstanceState, u64>, sagaz::Error> {
    let counted = engine.count().await?.into_iter();
    Ok(counted
        .filter(|(saga, ..)| saga == SAGA)
        .map(|(_, state, instances)| (state, instances))
        .collect())
}

/// All pages of a list.
pub(crate) async fn list<S: Store>(
    engine: &Engine<S>,
    filter: Filter,
) -> Result<Vec<Summary>, sagaz::Error> {
    let mut filter = filter.saga(SAGA).limit(1_000);
    let mut sagas = Vec::new();
    loop {
        let page = engine.list(filter.clone()).await?;
        sagas.extend(page.instances);
        match page.next {
            Some(next) => filter = filter.after(next),
            None => return Ok(sagas),
        }
    }
}

/// Shows the progress until every order has ended.
async fn watch<S: Store>(engine: &Engine<S>, orders: usize) -> Result<(), sagaz::Error> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} orders  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(orders as u64).with_style(style);
    loop {
        let counted = match count(engine).await {
            Err(error) if error.is_transient() => {
                bar.set_message("the store does not answer; waiting for it");
                sleep(Duration::from_millis(500)).await;
                continue;
            }
            counted => counted?,
        };
        let of = |state| counted.get(&state).copied().unwrap_or(0);
        let (completed, rolled_back, stuck) = (
            of(InstanceState::Completed),
            of(InstanceState::RolledBack),
            of(InstanceState::Stuck),
        );
        bar.set_position(completed + rolled_back + stuck);
        bar.set_message(format!(
            "{completed} completed, {rolled_back} rolled back, {stuck} stuck"
        ));
        if completed + rolled_back + stuck >= orders as u64 {
            bar.finish_and_clear();
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}
