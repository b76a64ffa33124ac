//! The crash matrix by command: all of it for as long as one likes, or the hunt for what a broken engine does wrong.
#![expect(clippy::print_stdout, reason = "a program tells what it has done")]

use sagaz_matrix::{Extent, SHAPES, Shape};
use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

const USAGE: &str = "\
usage: sagaz-matrix <task>

  all [SHAPE ..]        every fault, every pair and 1,000 triples of these shapes, or of all
  soak MINUTES          the same, and 5,000 triples, with one seed after another
  hunt                  every fault, then pairs, of some shapes, up to the first promise that is broken";

/// The exit code of a hunt that has found something.
const FOUND: u8 = 3;

/// Between them they have every kind of step.
const HUNTED: [&str; 11] = [
    "chain-grace",
    "diamond-grace",
    "diamond-wait-all",
    "insisting",
    "exempt",
    "doomed",
    "pivotal-grace",
    "transactional-grace",
    "optimistic",
    "nested-wait-all",
    "wide-grace",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let shapes = |names: &[&str]| -> Option<Vec<Shape>> {
        names.iter().map(|name| Shape::named(name)).collect()
    };
    let done = match words[..] {
        ["hunt"] => hunt(),
        ["all"] => all(&SHAPES, 1, 1_000),
        ["all", ref names @ ..] => match shapes(names) {
            Some(shapes) => all(&shapes, 1, 1_000),
            None => return complain(&format!("no such shape; there are {}", names_of_all())),
        },
        ["soak", minutes] => match minutes.parse() {
            Ok(minutes) => soak(Duration::from_mins(minutes)),
            Err(_) => return complain(&format!("`{minutes}` is no number of minutes")),
        },
        _ => return complain(USAGE),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            println!("{violation}");
            ExitCode::from(FOUND)
        }
    }
}

fn complain(words: &str) -> ExitCode {
    eprintln!("{words}");
    ExitCode::from(2)
}

fn names_of_all() -> String {
    SHAPES.map(|shape| shape.name).join(", ")
}

type Done = Result<(), Box<sagaz::testing::Violation>>;

fn all(shapes: &[Shape], seed: u64, triples: usize) -> Done {
    let extent = Extent {
        seed,
        triples,
        ..Extent::PAIRS
    };
    for shape in shapes {
        println!("{}", shape.run(extent)?);
    }
    Ok(())
}

fn soak(time: Duration) -> Done {
    let began = Instant::now();
    let mut seed = 1;
    while began.elapsed() < time {
        println!("seed {seed}");
        all(&SHAPES, seed, 5_000)?;
        seed += 1;
    }
    Ok(())
}

/// On one thread: hunts are made side by side.
fn hunt() -> Done {
    for extent in [Extent::SINGLES, Extent::PAIRS] {
        let extent = Extent {
            threads: 1,
            ..extent
        };
        for name in HUNTED {
            let shape = Shape::named(name).unwrap_or_else(|| panic!("there is no shape `{name}`"));
            shape.run(extent)?;
        }
    }
    Ok(())
}
