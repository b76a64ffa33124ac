//! The crash matrix: which plans there are, and what becomes of each.
//!
//! Invariant: a fault of a plan is known by where it is, what it is, and which of several alike, among those that the run offers which has
//! met all the earlier ones. So a short seed is all that it takes to make a run again, also when the saga has been mended.

use crate::{
    judge::{Conclusion, Undisturbed, judge},
    progress::Progress,
    promise::{Broken, Promise},
    quiet::caught,
    report::{Planned, Report, Violation},
    seed::{FaultId, Seed},
    simulation::{self, Choice, Plan, SimulatedStore, Simulation},
    story::Line,
};
use sagaz_core::{
    Codec, EngineBuilder, Failure, Payload, RunsOn, Saga, Stuck,
    store::{InstanceState, Snapshot, StepRow, memory::Memory},
};
use serde::de::DeserializeOwned;
use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_hours(3 * 24);

/// After so many pairs those that broke a promise are looked for.
const PAIRS_AT_ONCE: usize = 256;

type Engines = Box<dyn Fn(EngineBuilder<SimulatedStore>) -> EngineBuilder<SimulatedStore> + Sync>;
type Check<W, G> = Box<dyn Fn(&W, &Run<G>) -> Result<(), String> + Sync>;

/// Runs a saga through every fault at every point, and checks the promises and invariants of your own.
///
/// `sagaz::testing` has an example, and says what goes wrong and what is checked.
#[must_use = "nothing runs until `run` is called"]
pub struct CrashMatrix<W, G: Saga> {
    saga: Box<dyn Fn(&W) -> G + Sync>,
    inputs: Vec<Payload>,
    checks: Vec<Check<W, G>>,
    engine: Engines,
    limit: Duration,
    seed: u64,
    optimistic: bool,
    pairs: bool,
    triples: usize,
    threads: usize,
}

/// One run, for [`CrashMatrix::check`].
pub struct Run<G: Saga> {
    input: Payload,
    snapshot: Snapshot,
    memory: Memory,
    saga: std::marker::PhantomData<fn() -> G>,
}

/// What a check says: nothing, or whether it holds.
pub trait Verdict {
    /// An error is the words of what does not hold.
    fn verdict(self) -> Result<(), String>;
}

impl Verdict for () {
    fn verdict(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> Verdict for Result<(), E> {
    fn verdict(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

impl<G: Saga> Run<G> {
    /// What the instance was started with.
    ///
    /// # Panics
    ///
    /// If the saga's codec cannot read what it wrote.
    #[must_use]
    pub fn input(&self) -> G::Input {
        G::Codec::decode(&self.input.bytes).expect("a codec reads what it wrote")
    }

    /// How it ended.
    #[must_use]
    pub fn state(&self) -> InstanceState {
        self.snapshot.summary.state
    }

    /// Whether every step completed.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.state() == InstanceState::Completed
    }

    /// Whether everything was undone.
    #[must_use]
    pub fn is_rolled_back(&self) -> bool {
        self.state() == InstanceState::RolledBack
    }

    /// Whether it waits for an operator, which it may where something was made to fail for good.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.state() == InstanceState::Stuck
    }

    /// Why it was undone.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.snapshot.summary.failure.as_ref()
    }

    /// Why it is stuck.
    #[must_use]
    pub fn stuck(&self) -> Option<&Stuck> {
        self.snapshot.summary.stuck.as_ref()
    }

    /// What is stored of a step.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepRow> {
        self.snapshot.steps.iter().find(|row| row.name == name)
    }

    /// The output that is stored of a step; `None` if there is none, or if it is no `T`.
    #[must_use]
    pub fn output<T: DeserializeOwned>(&self, step: &str) -> Option<T> {
        let output = self.step(step)?.output.as_ref()?;
        G::Codec::decode(&output.bytes).ok()
    }

    /// Everything that is stored of the instance.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What transactional steps have written under a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.memory.value(key)
    }
}

impl<G: Saga> fmt::Debug for Run<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// What a run has come to.
struct Ran {
    choices: Vec<Choice>,
    story: Vec<Line>,
    visits: u32,
    state: Option<InstanceState>,
    broken: Option<Broken>,
}

impl Ran {
    fn undisturbed(&self) -> Undisturbed {
        Undisturbed::of(self.state, &self.story)
    }
}

/// A run to be made: faults of those that the run before it offers.
#[derive(Clone)]
struct Step {
    input: usize,
    path: Vec<FaultId>,
    planned: Vec<Choice>,
}

impl Step {
    fn without_faults(input: usize) -> Self {
        Self {
            input,
            path: Vec::new(),
            planned: Vec::new(),
        }
    }

    fn plan(&self) -> Plan {
        let planned = self.planned.iter();
        planned.map(|choice| (choice.visit, choice.fault)).collect()
    }
}

/// What the single faults with one input have shown.
struct Explored {
    undisturbed: Undisturbed,
    singles: Vec<Step>,
    /// What the run of each could meet besides.
    offered: Vec<Vec<Choice>>,
}

impl Explored {
    /// All of them, by the numbers of the single fault and of what its run offers.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let pairs_of = |(first, choices): (usize, &Vec<Choice>)| {
            (0..choices.len()).map(move |second| (first, second))
        };
        self.offered.iter().enumerate().flat_map(pairs_of).collect()
    }

    fn pair(&self, (first, second): (usize, usize)) -> Step {
        child(&self.singles[first], &self.offered[first], second)
    }
}

impl<W: Default + 'static, G: RunsOn<SimulatedStore>> CrashMatrix<W, G> {
    /// Of the saga that `saga` makes, started with each of these inputs.
    ///
    /// `W` is the world: the services that the saga talks to. Each run has a new one, which all its processes share.
    ///
    /// # Panics
    ///
    /// If an input cannot be serialized.
    pub fn of(
        saga: impl Fn(&W) -> G + Sync + 'static,
        inputs: impl IntoIterator<Item = G::Input>,
    ) -> Self {
        let encode = |input: G::Input| Payload {
            content_type: G::Codec::CONTENT_TYPE.to_owned(),
            bytes: G::Codec::encode(&input)
                .unwrap_or_else(|error| panic!("an input cannot be serialized: {error}")),
        };
        Self {
            saga: Box::new(saga),
            inputs: inputs.into_iter().map(encode).collect(),
            checks: Vec::new(),
            engine: Box::new(|engine| engine),
            limit: LIMIT,
            seed: 1,
            optimistic: false,
            pairs: true,
            triples: 1_000,
            threads: thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// An invariant of your own: asked about the world at the end of every run. It panics, as assertions do, or gives an error.
    pub fn check<V: Verdict>(mut self, check: impl Fn(&W, &Run<G>) -> V + Sync + 'static) -> Self {
        self.checks
            .push(Box::new(move |world, run| check(world, run).verdict()));
        self
    }

    /// Decides all chance: jitter, ids, and which triples are made. Default 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether all pairs of faults are made. Default: yes.
    pub fn pairs(mut self, pairs: bool) -> Self {
        self.pairs = pairs;
        self
    }

    /// How many triples of faults are drawn for each input. Default 1,000.
    pub fn triples(mut self, triples: usize) -> Self {
        self.triples = triples;
        self
    }

    /// How many runs are made side by side, each on a thread of its own. Default: as many as there are cores. Says nothing of what
    /// is found.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Whether processes send events right after their commit, as [`Optimistic`](sagaz_outbox::Optimistic) does, beside the relay that
    /// they always have. Default: no.
    pub fn optimistic(mut self, optimistic: bool) -> Self {
        self.optimistic = optimistic;
        self
    }

    /// How long an instance may take, in virtual time, before it counts as one that comes to no end. Default: three days, as one that
    /// waits for its thirtieth attempt to undo a step needs hours. For sagas that wait for longer.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Settings of the engines, other than what a simulation sets itself: its lease and intervals.
    pub fn engine(
        mut self,
        engine: impl Fn(EngineBuilder<SimulatedStore>) -> EngineBuilder<SimulatedStore> + Sync + 'static,
    ) -> Self {
        self.engine = Box::new(engine);
        self
    }

    /// Makes all runs: with every input every fault alone, then every pair, then triples.
    ///
    /// # Panics
    ///
    /// With the story of a run that breaks a promise or an invariant. Call it in a plain `#[test]`: it brings its own
    /// runtimes.
    #[track_caller]
    pub fn run(&self) -> Report {
        match self.try_run() {
            Ok(report) => report,
            Err(violation) => panic!("{violation}"),
        }
    }

    /// Makes all runs, or those up to one that breaks a promise or an invariant.
    ///
    /// # Panics
    ///
    /// In a runtime, and without an input.
    pub fn try_run(&self) -> Result<Report, Box<Violation>> {
        assert!(
            tokio::runtime::Handle::try_current().is_err(),
            "a crash matrix brings its own runtimes: call it in a plain `#[test]`, not in a `#[tokio::test]`"
        );
        assert!(
            !self.inputs.is_empty(),
            "a crash matrix needs an input to start the saga with"
        );
        let began = Instant::now();
        let mut report = Report::of(G::DEFINITION.name, self.inputs.len(), self.checks.len());
        let progress = Progress::new(G::DEFINITION.name);
        let mut explored = Vec::new();
        for input in 0..self.inputs.len() {
            explored.push(self.explore(input, &mut report, &progress)?);
        }
        if self.pairs {
            for explored in &explored {
                self.combine(explored, &mut report, &progress)?;
            }
        }
        for explored in &explored {
            self.draw(explored, &mut report, &progress)?;
        }
        report.took = began.elapsed();
        progress.end();
        Ok(report)
    }

    /// A run without any fault, and one with each.
    fn explore(
        &self,
        input: usize,
        report: &mut Report,
        progress: &Progress,
    ) -> Result<Explored, Box<Violation>> {
        let root = Step::without_faults(input);
        let first = self.ran(&root, &Undisturbed::default());
        let again = self.ran(&root, &Undisturbed::default());
        if first.story != again.story || first.choices != again.choices {
            return Err(Box::new(self.unlike(&root, &first, &again)));
        }
        let undisturbed = first.undisturbed();
        report.runs += 1;
        report.undisturbed.extend(first.state);
        if let Some(broken) = first.broken {
            return Err(Box::new(self.violation(&root, broken, &first.story)));
        }
        report.add_points(&first.choices);
        let singles: Vec<_> = children(&root, &first.choices).collect();
        report.singles += singles.len();
        progress.phase("single faults", singles.len());
        let offered = self.all(&singles, &undisturbed, report, progress)?;
        report.all_pairs += offered.iter().map(Vec::len).sum::<usize>();
        Ok(Explored {
            undisturbed,
            singles,
            offered,
        })
    }

    /// Every pair. Those come first whose faults are near each other: what one does to the mending of the other is what a pair has to
    /// show.
    fn combine(
        &self,
        explored: &Explored,
        report: &mut Report,
        progress: &Progress,
    ) -> Result<(), Box<Violation>> {
        let mut pairs = explored.pairs();
        pairs.sort_unstable_by_key(|(first, second)| (*second, *first));
        report.pairs += pairs.len();
        progress.phase("pairs", pairs.len());
        for some in pairs.chunks(PAIRS_AT_ONCE) {
            let some: Vec<_> = some.iter().map(|pair| explored.pair(*pair)).collect();
            self.all(&some, &explored.undisturbed, report, progress)?;
        }
        Ok(())
    }

    /// Triples: a pair is drawn, and then a third fault of those that it offers.
    fn draw(
        &self,
        explored: &Explored,
        report: &mut Report,
        progress: &Progress,
    ) -> Result<(), Box<Violation>> {
        let pairs = explored.pairs();
        if pairs.is_empty() {
            return Ok(());
        }
        let input = explored.singles[0].input;
        let mut chance = fastrand::Rng::with_seed(self.seed ^ input as u64);
        let drawn = (0..self.triples).map(|_| {
            let pair = pairs[chance.usize(0..pairs.len())];
            (pair, chance.u64(..))
        });
        let drawn: Vec<_> = drawn.collect();
        progress.phase("triples", drawn.len());
        let run = |at: usize| {
            let (pair, chance) = drawn[at];
            let pair = explored.pair(pair);
            let of_pair = self.ran(&pair, &explored.undisturbed);
            progress.step();
            let thirds = &of_pair.choices;
            if of_pair.broken.is_some() || thirds.is_empty() {
                return (pair, of_pair);
            }
            let third = fastrand::Rng::with_seed(chance).usize(0..thirds.len());
            let triple = child(&pair, thirds, third);
            let ran = self.ran(&triple, &explored.undisturbed);
            (triple, ran)
        };
        let all = side_by_side(self.threads, drawn.len(), run);
        let triples = all.iter().filter(|(step, _)| step.path.len() > 2).count();
        report.runs += all.len() + triples;
        report.triples += triples;
        self.kept(all.iter().map(|(step, ran)| (step, ran)))
    }

    /// Makes these runs, side by side, and gives what each offers.
    fn all(
        &self,
        steps: &[Step],
        undisturbed: &Undisturbed,
        report: &mut Report,
        progress: &Progress,
    ) -> Result<Vec<Vec<Choice>>, Box<Violation>> {
        let run = |at: usize| {
            let ran = self.ran(&steps[at], undisturbed);
            progress.step();
            ran
        };
        let all = side_by_side(self.threads, steps.len(), run);
        report.runs += all.len();
        self.kept(steps.iter().zip(&all))?;
        Ok(all.into_iter().map(|ran| ran.choices).collect())
    }

    /// Of the runs that break a promise the one with the fewest faults and the shortest story is told, whichever thread was faster.
    fn kept<'r>(
        &self,
        runs: impl Iterator<Item = (&'r Step, &'r Ran)>,
    ) -> Result<(), Box<Violation>> {
        let broken = runs.filter_map(|(step, ran)| Some((step, ran.broken.clone()?, &ran.story)));
        match broken.min_by_key(|(step, _, story)| (step.path.len(), story.len())) {
            Some((step, broken, story)) => Err(Box::new(self.violation(step, broken, story))),
            None => Ok(()),
        }
    }

    /// Makes the run of a seed again, which a violation has told, and gives its story. A saga that was mended meets faults of the
    /// same names, at points of the same names: of several alike, the one with the same number.
    ///
    /// # Panics
    ///
    /// If the seed is not one of this matrix: one of other inputs, or with a fault that does not come up in this saga as it is now.
    pub fn replay(&self, seed: &str) -> Result<String, Box<Violation>> {
        let seed: Seed = seed.parse().unwrap_or_else(|error| panic!("{error}"));
        let matrix = self.seed;
        assert!(
            seed.matrix == matrix,
            "the seed {seed} is of a matrix with seed {}, and this one has {matrix}: set it with `.seed({})`",
            seed.matrix,
            seed.matrix
        );
        assert!(
            seed.input < self.inputs.len(),
            "the seed {seed} is of input {}, and this matrix has {}",
            seed.input,
            self.inputs.len()
        );
        let mut step = Step::without_faults(seed.input);
        let mut ran = self.ran(&step, &Undisturbed::default());
        let undisturbed = ran.undisturbed();
        for (nth, fault) in seed.path.iter().enumerate() {
            let is_it = |next: &Step| next.path.last() == Some(fault);
            let mut found: Vec<_> = children(&step, &ran.choices).filter(is_it).collect();
            assert!(
                found.len() < 2,
                "the seed {seed} names two faults of this saga, `{fault}`; run the whole matrix"
            );
            step = found.pop().unwrap_or_else(|| {
                panic!(
                    "the seed {seed} is not of this saga as it is now: fault {} of the plan, `{fault}`, does not come up; run the whole matrix",
                    nth + 1
                )
            });
            ran = self.ran(&step, &undisturbed);
        }
        match ran.broken {
            Some(broken) => Err(Box::new(self.violation(&step, broken, &ran.story))),
            None => Ok(crate::report::told(&ran.story, None)),
        }
    }

    /// One run, and what is to be said of it.
    fn ran(&self, step: &Step, undisturbed: &Undisturbed) -> Ran {
        fastrand::seed(self.seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O can be built");
        let world = W::default();
        let input = &self.inputs[step.input];
        let make = || (self.saga)(&world);
        let definition = make().definition();
        let (simulation, ending) = runtime.block_on(async {
            let simulation = Simulation::new(definition, self.seed, step.plan());
            let setting = simulation::Setting {
                saga: &make,
                engine: &*self.engine,
                input,
                optimistic: self.optimistic,
                limit: self.limit,
            };
            let ending = simulation::run(&simulation, &setting).await;
            (simulation, ending)
        });
        let story = simulation.story();
        let state = ending.snapshot.as_ref().map(|it| it.summary.state);
        let conclusion = Conclusion {
            is_over: ending.is_over,
            limit: self.limit,
            state,
            instances: ending.instances,
            started_again: started_again(&ending),
            failure: ending
                .snapshot
                .as_ref()
                .and_then(|it| it.summary.failure.as_ref())
                .map(|failure| failure.reason),
            undisturbed: undisturbed.clone(),
            is_weather: step.planned.iter().all(|it| !it.fault.is_of_business()),
        };
        let broken = if simulation.is_plan_met() {
            judge(definition, &story, &conclusion)
        } else {
            Err(Broken {
                promise: Promise::Repeatable,
                words: "the run did not come to the point of a planned fault: something in it is not the same in every run, such as \
                        real time, threads, or the order of a `HashMap`"
                    .to_owned(),
                line: None,
            })
        };
        let broken = broken.and_then(|()| match ending.snapshot {
            Some(snapshot) => self.invariants(&world, input, snapshot, ending.memory),
            None => Ok(()),
        });
        Ran {
            choices: simulation.take_choices(),
            visits: simulation.visits(),
            story,
            state,
            broken: broken.err(),
        }
    }

    fn invariants(
        &self,
        world: &W,
        input: &Payload,
        snapshot: Snapshot,
        memory: Memory,
    ) -> Result<(), Broken> {
        let run = Run {
            input: input.clone(),
            snapshot,
            memory,
            saga: std::marker::PhantomData,
        };
        for check in &self.checks {
            let holds = caught(|| check(world, &run)).flatten();
            holds.map_err(|words| Broken {
                promise: Promise::Invariant,
                words,
                line: None,
            })?;
        }
        Ok(())
    }

    fn violation(&self, step: &Step, broken: Broken, story: &[Line]) -> Violation {
        let planned = step.planned.iter().map(|choice| Planned {
            site: choice.site.to_string(),
            fault: choice.fault.to_string(),
        });
        Violation::new(
            G::DEFINITION.name,
            Seed {
                matrix: self.seed,
                input: step.input,
                path: step.path.clone(),
            },
            String::from_utf8_lossy(&self.inputs[step.input].bytes).into_owned(),
            planned.collect(),
            broken,
            story,
        )
    }

    fn unlike(&self, step: &Step, first: &Ran, again: &Ran) -> Violation {
        let differs = first
            .story
            .iter()
            .zip(&again.story)
            .position(|(one, other)| one != other);
        let broken = Broken {
            promise: Promise::Repeatable,
            words: format!(
                "two runs without any fault are not the same (with {} and {} points): something in the saga or its services is not the \
                 same in every run, such as real time, threads, the order of a `HashMap`, or a `select!` that is not `biased`",
                first.visits, again.visits
            ),
            line: differs,
        };
        self.violation(step, broken, &first.story)
    }
}

fn started_again(ending: &simulation::Ending) -> Result<(), String> {
    let again = ending.started_again.clone()?;
    match &ending.snapshot {
        Some(snapshot) if snapshot.summary.id != again => {
            Err("it gave another instance".to_owned())
        }
        _ => Ok(()),
    }
}

/// The runs that go one fault further.
fn children(parent: &Step, choices: &[Choice]) -> impl Iterator<Item = Step> {
    (0..choices.len()).map(|at| child(parent, choices, at))
}

/// The run that goes one fault further: the one of these choices.
fn child(parent: &Step, choices: &[Choice], at: usize) -> Step {
    let choice = &choices[at];
    let is_alike = |other: &&Choice| other.fault == choice.fault && other.site == choice.site;
    let before = choices[..at].iter().filter(is_alike).count();
    let mut step = parent.clone();
    step.path.push(FaultId::of(choice, before));
    step.planned.push(choice.clone());
    step
}

/// Does `work` for each number below `count`, on so many threads; the results are in their order.
fn side_by_side<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<T>>> = Mutex::new((0..count).map(|_| None).collect());
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                break;
            }
            let result = work(at);
            results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
        }
    };
    if threads == 1 || count < 2 {
        worker();
    } else {
        thread::scope(|scope| {
            for _ in 0..threads.min(count) {
                scope.spawn(worker);
            }
        });
    }
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().flatten().collect()
}

impl<W, G: Saga> fmt::Debug for CrashMatrix<W, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashMatrix")
            .field("saga", &G::DEFINITION.name)
            .field("inputs", &self.inputs.len())
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
