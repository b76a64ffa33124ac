//! Runs that do nothing but what the library does, for callgrind to count: `cargo xtask instructions`.
//!
//! What is executed is to depend on the arguments alone, and on neither clock nor chance: one thread, no timer that fires, no
//! map whose order is seeded. Ids of durable instances are random, but cost the same.

#[path = "../../support/shapes.rs"]
mod shapes;

use sagaz::{Engine, InProcess, Memory, RunsOn, Saga};
use shapes::{Diamond, Failing, Hundred, Three};
use std::{env, hint::black_box, process::ExitCode, time::Duration};

const USAGE: &str = "usage: sagaz-instructions three|failing|diamond|hundred|durable <how often>";

async fn run<G: Saga<Input = ()> + RunsOn<InProcess>>(count: u32, make: fn() -> G) {
    for _ in 0..count {
        let _ = black_box(make().run(()).await);
    }
}

/// Through an engine on the memory store, one after the other.
async fn durable(count: u32) -> Result<(), sagaz::Error> {
    // Neither a look at the store nor a renewal falls into the count.
    let engine = Engine::builder(Memory::new())
        .poll_interval(Duration::from_hours(24))
        .lease(Duration::from_hours(240))
        .register(Three)
        .start()
        .await?;
    for _ in 0..count {
        let handle = engine.start::<Three>(()).await?;
        let _ = black_box(handle.outcome().await?);
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (path, count) = match &arguments[..] {
        [path, count] => (path.as_str(), count.parse()),
        _ => ("", "0".parse()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let (Ok(count), Ok(runtime)) = (count, runtime) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let done = runtime.block_on(async {
        match path {
            "three" => run(count, || Three).await,
            "failing" => run(count, || Failing).await,
            "diamond" => run(count, || Diamond).await,
            "hundred" => run(count, || Hundred).await,
            "durable" => return durable(count).await.map_err(|error| error.to_string()),
            _ => return Err(USAGE.to_owned()),
        }
        Ok(())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
