//! What being observed costs a run in process of three steps that do nothing.
//!
//! `cargo bench --features metrics,otel --bench observe` compares, in processes of their own, taken in turn, runs that nobody
//! observes with runs of a process that is observed: by nobody, because there is neither a subscriber nor a recorder; by metrics;
//! and by metrics and spans. `cargo xtask observe-cost` compares runs that nobody observes with those of a build without the
//! features. The floor is what nobody observes.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints rounded figures"
)]

#[path = "support/measure.rs"]
mod measure;

use measure::{Unit, scaled, tell};
use sagaz::{Saga, saga, step};
use std::{env, hint::black_box, process::Command, time::Instant};
use tokio::runtime::Runtime;

/// Measurements in a process, each shorter than what the system gives a thread at once; the least of them counts, for all that
/// disturbs makes it longer.
const TIMES: u32 = 200;

const RUNS: u32 = 500;

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
    for _ in 0..scaled(TIMES, 1) {
        let began = Instant::now();
        for _ in 0..RUNS {
            one().await;
        }
        least = least.min(began.elapsed().as_nanos() as f64 / f64::from(RUNS));
    }
    least
}

/// Of a run.
fn measure(runtime: &Runtime) -> f64 {
    runtime.block_on(time(async || {
        let _ = black_box(Three.run(()).await);
    }))
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
        println!("{}", measure(&runtime));
        return;
    }
    if !cfg!(all(feature = "metrics", feature = "otel")) {
        println!("SKIPPED: this needs the features `metrics` and `otel`");
        return;
    }
    let ways = ["attached", "metrics", "spans"];
    let (mut floor, mut observed) = (Vec::new(), vec![Vec::new(); ways.len()]);
    // Processes of each kind.
    for _ in 0..scaled(7, 1) {
        floor.push(in_process_of_its_own("nobody"));
        for (times, way) in observed.iter_mut().zip(ways) {
            times.push(in_process_of_its_own(way));
        }
    }
    for (times, way) in observed.iter().zip(ways) {
        tell(
            "observe",
            (&format!("3 steps, observed by {way}"), None),
            Unit {
                name: "ns a run",
                more_is_better: false,
            },
            times,
            &[("the same, observed by nobody", &floor, None)],
        );
    }
}

fn in_process_of_its_own(way: &str) -> f64 {
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--as", way])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().expect("a process says a number")
}
