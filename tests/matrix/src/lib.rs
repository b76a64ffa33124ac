//! The crash matrix on sagas of every shape, and on that of the example `cdnow_orders`, against services that keep their word.

/// One saga of each shape for each strategy.
macro_rules! in_every_strategy {
    ($($shape:ident: $fast:ident $fast_name:literal, $grace:ident $grace_name:literal, $bounded:ident $bounded_name:literal, $all:ident $all_name:literal;)*) => {
        $(
            $shape!($fast, $fast_name, on_failure = fail_fast);
            $shape!($grace, $grace_name, on_failure = grace);
            $shape!($bounded, $bounded_name, on_failure = grace("1s"));
            $shape!($all, $all_name, on_failure = wait_all);
        )*
    };
}

mod kinds;
mod orders;
mod shapes;

/// What an application would write, from the example.
#[path = "../../../examples/cdnow_orders"]
#[expect(
    dead_code,
    reason = "here services neither are busy nor lose connections"
)]
mod example {
    pub(crate) mod orders;
    pub(crate) mod saga;
    pub(crate) mod services;
}

use kinds::{
    DONE, Declined, Doomed, Exempt, Insisting, Moody, PivotalAll, PivotalBounded, PivotalFast,
    PivotalGrace, TransactionalAll, TransactionalBounded, TransactionalFast, TransactionalGrace,
};
use sagaz::{
    RunsOn, Saga, StepContext, StepError,
    testing::{CrashMatrix, Ledger, Report, Run, SimulatedStore, TakenBack, Violation},
};
use shapes::{
    ChainAll, ChainBounded, ChainFast, ChainGrace, DiamondAll, DiamondBounded, DiamondFast,
    DiamondGrace, NestedAll, NestedBounded, NestedFast, NestedGrace, WideAll, WideBounded,
    WideFast, WideGrace,
};

/// The service that the shapes use.
const SHOP: &str = "shop";

/// Which runs are made.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Decides all chance.
    pub seed: u64,
    /// Whether all pairs are made.
    pub pairs: bool,
    /// How many triples are drawn.
    pub triples: usize,
    /// How many runs are made side by side; 0: as many as there are cores.
    pub threads: usize,
}

impl Extent {
    /// Every fault alone.
    pub const SINGLES: Self = Self {
        seed: 1,
        pairs: false,
        triples: 0,
        threads: 0,
    };

    /// Every pair, too.
    pub const PAIRS: Self = Self {
        pairs: true,
        ..Self::SINGLES
    };
}

/// What a matrix comes to.
pub type Outcome = Result<Report, Box<Violation>>;

/// A saga, ready to be run through the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its name on the command line.
    pub name: &'static str,
    run: fn(Extent) -> Outcome,
}

impl Shape {
    /// Makes the runs.
    pub fn run(&self, extent: Extent) -> Outcome {
        (self.run)(extent)
    }

    /// The shape of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SHAPES.into_iter().find(|shape| shape.name == name)
    }
}

macro_rules! shapes {
    ($($name:literal: $matrix:expr;)*) => {
        /// All of them.
        pub const SHAPES: [Shape; [$($name),*].len()] = [
            $(Shape { name: $name, run: |extent| extended($matrix, extent).try_run() }),*
        ];
    };
}

shapes! {
    "chain-fail-fast": matrix(ChainFast);
    "chain-grace": matrix(ChainGrace);
    "chain-bounded-grace": matrix(ChainBounded);
    "chain-wait-all": matrix(ChainAll);
    "diamond-fail-fast": matrix(DiamondFast);
    "diamond-grace": matrix(DiamondGrace);
    "diamond-bounded-grace": matrix(DiamondBounded);
    "diamond-wait-all": matrix(DiamondAll);
    "wide-fail-fast": matrix(WideFast);
    "wide-grace": matrix(WideGrace);
    "wide-bounded-grace": matrix(WideBounded);
    "wide-wait-all": matrix(WideAll);
    "nested-fail-fast": matrix(NestedFast);
    "nested-grace": matrix(NestedGrace);
    "nested-bounded-grace": matrix(NestedBounded);
    "nested-wait-all": matrix(NestedAll);
    "insisting": matrix(Insisting);
    "exempt": matrix(Exempt);
    "doomed": matrix(Doomed);
    "declined": matrix(Declined);
    "moody": matrix(Moody);
    "pivotal-fail-fast": matrix(PivotalFast);
    "pivotal-grace": matrix(PivotalGrace);
    "pivotal-bounded-grace": matrix(PivotalBounded);
    "pivotal-wait-all": matrix(PivotalAll);
    "transactional-fail-fast": transactional(TransactionalFast);
    "transactional-grace": transactional(TransactionalGrace);
    "transactional-bounded-grace": transactional(TransactionalBounded);
    "transactional-wait-all": transactional(TransactionalAll);
    "optimistic": transactional(TransactionalGrace).optimistic(true);
    "orders": orders::matrix();
}

fn extended<W: Default + 'static, G: RunsOn<SimulatedStore>>(
    matrix: CrashMatrix<W, G>,
    extent: Extent,
) -> CrashMatrix<W, G> {
    let matrix = matrix
        .seed(extent.seed)
        .pairs(extent.pairs)
        .triples(extent.triples);
    match extent.threads {
        0 => matrix,
        threads => matrix.threads(threads),
    }
}

fn matrix<G: RunsOn<SimulatedStore, Input = u64>>(make: fn(Ledger) -> G) -> CrashMatrix<Ledger, G> {
    CrashMatrix::of(move |ledger: &Ledger| make(ledger.clone()), [7]).check(books_balance)
}

/// Every step is done once, or nothing is left of any.
fn books_balance<G: Saga>(ledger: &Ledger, run: &Run<G>) {
    let steps = i64::try_from(G::DEFINITION.steps.len()).unwrap_or(i64::MAX);
    if run.is_completed() {
        assert_eq!(ledger.balance(SHOP), steps, "each step is done once");
    }
    if run.is_rolled_back() {
        assert_eq!(ledger.balance(SHOP), 0, "nothing is left");
    }
}

/// What its transactional step has written is there once, or not at all.
fn transactional<G: RunsOn<SimulatedStore, Input = u64>>(
    make: fn(Ledger) -> G,
) -> CrashMatrix<Ledger, G> {
    CrashMatrix::of(move |ledger: &Ledger| make(ledger.clone()), [7]).check(
        |ledger: &Ledger, run| {
            let done = run.value(DONE).map_or(0, |value| value[0]);
            if run.is_completed() {
                assert_eq!((ledger.balance(SHOP), done), (3, 1));
            }
            if run.is_rolled_back() {
                assert_eq!((ledger.balance(SHOP), done), (0, 0));
            }
        },
    )
}

/// The work of a step, under its key. Takes a moment, so that what is side by side is so.
async fn act(ledger: &Ledger, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
    tokio::task::yield_now().await;
    ledger.once(SHOP, ctx.step(), &ctx.action_key(), 1).await?;
    tokio::task::yield_now().await;
    Ok(1)
}

/// Takes it back, whether it came or not.
async fn undo(ledger: &Ledger, ctx: &StepContext<'_>) -> Result<(), StepError> {
    tokio::task::yield_now().await;
    ledger.undo(SHOP, ctx.step(), &ctx.action_key()).await;
    Ok(())
}
