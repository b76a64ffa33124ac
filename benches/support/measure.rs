//! Rounds of a benchmark become a figure, which is printed and, for the report, written down.
//!
//! With `SAGAZ_BENCH_QUICK=1` every benchmark does as little as shows that it works. `SAGAZ_BENCH_RESULTS` names a folder that gets
//! a file of JSON lines for each table: `cargo xtask bench` sets it.

#[path = "figure.rs"]
pub(crate) mod figure;
#[path = "number.rs"]
mod number;
#[path = "rows.rs"]
mod rows;

use figure::{Figure, Floor};
use number::number;
use std::{
    collections::BTreeSet,
    env,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    sync::Mutex,
};

/// The first, or the second if it is to be quick.
pub(crate) fn scaled<T>(full: T, quick: T) -> T {
    if env::var("SAGAZ_BENCH_QUICK").is_ok_and(|it| it == "1") {
        quick
    } else {
        full
    }
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    /// Such as `instances/s`.
    pub(crate) name: &'static str,
    /// Whether it is a rate, and not a cost.
    pub(crate) more_is_better: bool,
}

/// Prints and writes down what the rounds say. Each floor has as many rounds: its name, them, and the ratio that is wanted.
///
/// # Panics
///
/// If [`rows`] does not list it: the page would not know that it can be missing.
pub(crate) fn tell(
    table: &str,
    (case, in_flight): (&str, Option<u32>),
    unit: Unit,
    rounds: &[f64],
    floors: &[(&str, &[f64], Option<f64>)],
) {
    let floor = |(name, of_floor, wanted): &(&str, &[f64], Option<f64>)| {
        assert_eq!(of_floor.len(), rounds.len(), "as many rounds of `{name}`");
        Floor {
            name: (*name).to_owned(),
            rounds: of_floor.to_vec(),
            wanted: *wanted,
        }
    };
    let figure = Figure {
        table: table.to_owned(),
        case: case.to_owned(),
        in_flight,
        unit: unit.name.to_owned(),
        more_is_better: unit.more_is_better,
        rounds: rounds.to_vec(),
        floors: floors.iter().map(floor).collect(),
    };
    let is_it = |row: rows::Row| {
        let names = floors.iter().map(|(name, ..)| *name);
        row.name == figure.name() && names.eq(row.floors.iter().copied())
    };
    assert!(
        rows::all().any(is_it),
        "`{}` with these floors is in benches/support/rows.rs",
        figure.name()
    );
    print(&figure);
    if let Some(folder) = env::var_os("SAGAZ_BENCH_RESULTS") {
        write(Path::new(&folder), &figure);
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn print(figure: &Figure) {
    let ours = figure.spread();
    println!(
        "{}: {} {} [{} .. {}]",
        figure.name(),
        number(ours.median),
        figure.unit,
        number(ours.lowest),
        number(ours.highest)
    );
    for floor in &figure.floors {
        let wanted = floor.wanted.map_or_else(String::new, |wanted| {
            let word = if figure.more_is_better {
                "least"
            } else {
                "most"
            };
            let verdict = if figure.meets(floor) { "" } else { ": missed" };
            format!(" (wanted: at {word} {}{verdict})", number(wanted))
        });
        let ratio = figure.ratio(floor);
        println!(
            "    {} [{} .. {}] x {}: {}{wanted}",
            number(ratio.median),
            number(ratio.lowest),
            number(ratio.highest),
            floor.name,
            number(floor.spread().median)
        );
    }
}

/// The first figure of a table replaces what an earlier run has written.
fn write(folder: &Path, figure: &Figure) {
    static BEGUN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let is_first = BEGUN.lock().expect("no panic").insert(figure.table.clone());
    fs::create_dir_all(folder).expect("the folder of the results is made");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(!is_first)
        .truncate(is_first)
        .open(folder.join(format!("{}.jsonl", figure.table)))
        .expect("the file of the results opens");
    let line = serde_json::to_string(figure).expect("a figure is JSON");
    writeln!(file, "{line}").expect("the figure is written");
}
