//! What being observed costs a run in process of three steps that do nothing.
//!
//! `cargo bench --features metrics,otel --bench observe` compares, in processes of their own, taken in turn, runs that nobody
//! observes with runs of a process that is observed: by nobody, because there is neither a subscriber nor a recorder; by metrics;
//! and by metrics and spans. `cargo xtask observe-cost` compares runs that nobody observes with those of a build without the
//! features. The floor, `tokio::spawn` of a no-op, is measured beside each.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints rounded figures"
)]

use sagaz::{Saga, saga, step};
use std::{env, hint::black_box, process::Command, time::Instant};
use tokio::runtime::Runtime;

/// Processes of each kind.
const ROUNDS: usize = 15;

/// Measurements in a process; the least of them counts, for all that disturbs makes it longer.
const TIMES: usize = 12;

const RUNS: u32 = 20_000;

type PlainResult = Result<(), std::convert::Infallible>;

struct Three;

#[saga]
impl Three {
    #[step(no_compensation)]
    async fn a(&self) -> PlainResult {
        Ok(())
    }
    #[step(no_compensation, depends_on = [a])]
    async fn b(&self) -> PlainResult {
        Ok(())
    }
    #[step(no_compensation, depends_on = [b])]
    async fn c(&self) -> PlainResult {
        Ok(())
    }
}

/// Nanoseconds for one.
async fn time(mut one: impl AsyncFnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..TIMES {
        let began = Instant::now();
        for _ in 0..RUNS {
            one().await;
        }
        least = least.min(began.elapsed().as_nanos() as f64 / f64::from(RUNS));
    }
    least
}

/// A saga, and the floor.
fn measure(runtime: &Runtime) -> (f64, f64) {
    runtime.block_on(async {
        let saga = time(async || {
            let _ = black_box(Three.run(()).await);
        });
        let saga = saga.await;
        let floor = time(async || {
            let _ = black_box(tokio::spawn(async { black_box(1) }).await);
        });
        (saga, floor.await)
    })
}

/// Observes this process as the word says.
#[cfg(all(feature = "metrics", feature = "otel"))]
fn observe(runtime: &Runtime, how: &str) {
    use sagaz::observe::{Observability, attach};

    let _entered = runtime.enter();
    let observability = match how {
        "nobody" => return,
        "attached" => attach(),
        "metrics" => Observability::builder().prometheus().install(),
        // Spans are made, and exported to where nobody takes them.
        "spans" => Observability::builder()
            .prometheus()
            .otlp("http://127.0.0.1:1")
            .install(),
        other => panic!("`{other}` is no way to be observed"),
    };
    // For as long as the process lives.
    std::mem::forget(observability.expect("it is the first"));
}

#[cfg(not(all(feature = "metrics", feature = "otel")))]
fn observe(_: &Runtime, how: &str) {
    assert_eq!(
        how, "nobody",
        "this needs the features `metrics` and `otel`"
    );
}

fn main() {
    let how = env::args().skip_while(|word| word != "--as").nth(1);
    if let Some(how) = how {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        observe(&runtime, &how);
        let (saga, floor) = measure(&runtime);
        println!("{saga} {floor}");
        return;
    }
    let ways = if cfg!(all(feature = "metrics", feature = "otel")) {
        &["nobody", "attached", "metrics", "spans"][..]
    } else {
        &["nobody"]
    };
    let mut sagas = vec![Vec::new(); ways.len()];
    let mut floors = sagas.clone();
    for _ in 0..ROUNDS {
        for (nth, way) in ways.iter().enumerate() {
            let (saga, floor) = in_process_of_its_own(way);
            sagas[nth].push(saga);
            floors[nth].push(floor);
        }
    }
    println!(
        "{:<12} {:>10} {:>16} {:>12}",
        "observed by", "ns a run", "x tokio::spawn", "x nobody"
    );
    let nobody = median(sagas[0].clone());
    for (nth, way) in ways.iter().enumerate() {
        let (saga, floor) = (median(sagas[nth].clone()), median(floors[nth].clone()));
        println!(
            "{way:<12} {saga:>10.0} {:>16.2} {:>12.3}",
            saga / floor,
            saga / nobody
        );
    }
}

fn in_process_of_its_own(way: &str) -> (f64, f64) {
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--as", way])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = said.split_whitespace();
    let mut numbers = numbers.map(|number| number.parse::<f64>().expect("a number"));
    let mut next = || numbers.next().expect("a process says two numbers");
    (next(), next())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
