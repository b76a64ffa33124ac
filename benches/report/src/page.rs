//! The page: words from `page.md`, and what was measured where their commands ([`words`](crate::words)) say so.
//!
//! A table that nobody has measured, or that the page does not show, is an error.

use crate::{
    figure::{Figure, Floor},
    number::{count, number},
    results::Figures,
    rows,
    words::{Piece, pieces},
};
use std::{collections::BTreeSet, fmt::Write};

/// What is told of a ratio that nobody has measured.
const UNKNOWN: &str = "(not measured)";

/// `plots`: the folder of the plots, as seen from the page.
pub(crate) fn written(
    words: &str,
    figures: &Figures,
    instructions: &str,
    plots: &str,
) -> Result<String, String> {
    let mut shown = BTreeSet::new();
    let mut text = String::new();
    for piece in pieces(words)? {
        match piece {
            Piece::Text(words) => text.push_str(words),
            Piece::Table(name) => {
                let rows = figures.get(name).ok_or_else(|| {
                    format!(
                        "nothing of `{name}` is measured: `cargo xtask bench` measures everything"
                    )
                })?;
                shown.insert(name);
                text.push_str(&table(rows));
            }
            Piece::Plot(name) => {
                let _ = write!(text, "![{name}]({plots}/{name}.svg)");
            }
            Piece::Ratio { row, floor } => text.push_str(&ratio(figures, row, floor)?),
            Piece::Ratios { table, floor } => text.push_str(&ratios(figures, table, floor)?),
            Piece::Instructions => text.push_str(&counts(instructions)),
            Piece::InstructionsOf(path) => text.push_str(&count_of(instructions, path)?),
            Piece::Below => text.push_str(&below(figures)),
            Piece::Missing => text.push_str(&missing(figures)),
        }
    }
    match figures.keys().find(|name| !shown.contains(name.as_str())) {
        Some(name) => Err(format!("the page does not show `{name}`")),
        None => Ok(text),
    }
}

fn table(figures: &[Figure]) -> String {
    let unit = figures.first().map_or("", |figure| figure.unit.as_str());
    let has_in_flight = figures.iter().any(|figure| figure.in_flight.is_some());
    let mut text = String::from("| |");
    if has_in_flight {
        text.push_str(" at once |");
    }
    let _ = writeln!(
        text,
        " {unit} | lowest .. highest | floor | of the floor | ratio | lowest .. highest | wanted |"
    );
    text.push_str(if has_in_flight { "|---|--:" } else { "|---" });
    text.push_str("|--:|--:|---|--:|--:|--:|--:|\n");
    for figure in figures {
        let mut cells = vec![figure.case.clone()];
        if has_in_flight {
            cells.push(
                figure
                    .in_flight
                    .map_or_else(String::new, |it| count(it.into())),
            );
        }
        let spread = figure.spread();
        cells.push(format!("**{}**", number(spread.median)));
        cells.push(format!(
            "{} .. {}",
            number(spread.lowest),
            number(spread.highest)
        ));
        let mut floors = figure.floors.iter();
        if let Some(floor) = floors.next() {
            cells.extend(floor_cells(figure, floor));
        }
        row(&mut text, &cells);
        for floor in floors {
            let mut cells = vec![String::new(); if has_in_flight { 4 } else { 3 }];
            cells.extend(floor_cells(figure, floor));
            row(&mut text, &cells);
        }
    }
    text.trim_end().to_owned()
}

fn floor_cells(figure: &Figure, floor: &Floor) -> [String; 5] {
    let ratio = figure.ratio(floor);
    [
        floor.name.clone(),
        number(floor.spread().median),
        number(ratio.median),
        format!("{} .. {}", number(ratio.lowest), number(ratio.highest)),
        wanted(figure, floor),
    ]
}

fn wanted(figure: &Figure, floor: &Floor) -> String {
    floor.wanted.map_or_else(String::new, |wanted| {
        let sign = if figure.more_is_better { '≥' } else { '≤' };
        let mark = if figure.meets(floor) {
            ""
        } else {
            " **missed**"
        };
        format!("{sign} {}{mark}", number(wanted))
    })
}

fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// # Errors
///
/// There is no such row: none that could be measured.
fn ratio(figures: &Figures, row: &str, floor: &str) -> Result<String, String> {
    let is_it = |it: rows::Row| it.name == row && it.floors.contains(&floor);
    if !rows::all().any(is_it) {
        return Err(format!("no benchmark measures `{row}` against `{floor}`"));
    }
    let figure = figures.values().flatten().find(|it| it.name() == row);
    let ratio = figure.and_then(|figure| {
        let floor = figure.floors.iter().find(|it| it.name == floor)?;
        Some(number(figure.ratio(floor).median))
    });
    Ok(ratio.unwrap_or_else(|| UNKNOWN.to_owned()))
}

fn ratios(figures: &Figures, table: &str, floor: &str) -> Result<String, String> {
    let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
    for figure in figures.get(table).into_iter().flatten() {
        for floor in figure.floors.iter().filter(|it| it.name == floor) {
            let ratio = figure.ratio(floor).median;
            (lowest, highest) = (lowest.min(ratio), highest.max(ratio));
        }
    }
    if lowest > highest {
        return Err(format!(
            "nothing of `{table}` is measured against `{floor}`"
        ));
    }
    Ok(format!("{} to {}", number(lowest), number(highest)))
}

/// A line for each ratio that is worse than wanted.
fn below(figures: &Figures) -> String {
    let mut text = String::new();
    for figure in figures.values().flatten() {
        for floor in figure.floors.iter().filter(|floor| !figure.meets(floor)) {
            let ratio = figure.ratio(floor);
            let _ = writeln!(
                text,
                "- {}: {} ({} .. {}) of \"{}\", wanted {}",
                figure.name(),
                number(ratio.median),
                number(ratio.lowest),
                number(ratio.highest),
                floor.name,
                number(floor.wanted.unwrap_or_default()),
            );
        }
    }
    if text.is_empty() {
        return "In this run, nothing.".to_owned();
    }
    text.trim_end().to_owned()
}

/// A line for each row that a benchmark could have told.
fn missing(figures: &Figures) -> String {
    let measured: BTreeSet<_> = figures.values().flatten().map(Figure::name).collect();
    let missing = rows::all().filter(|row| !measured.contains(&row.name));
    let lines: Vec<_> = missing.map(|row| format!("- {}", row.name)).collect();
    if lines.is_empty() {
        return "Nothing: all of it was measured.".to_owned();
    }
    lines.join("\n")
}

/// The lines of `benches/instructions.txt`: machine, rustc, path, count.
fn recorded(recorded: &str) -> impl Iterator<Item = (&str, &str, &str, u64)> {
    recorded.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let &[machine, rustc, path, count] = &words[..] else {
            return None;
        };
        Some((machine, rustc, path, count.parse().ok()?))
    })
}

fn counts(text: &str) -> String {
    let mut table =
        String::from("| a run of | instructions | machine | rustc |\n|---|--:|---|---|\n");
    for (machine, rustc, path, number) in recorded(text) {
        let cells = [path, &count(number), machine, rustc].map(str::to_owned);
        row(&mut table, &cells);
    }
    table.trim_end().to_owned()
}

fn count_of(text: &str, path: &str) -> Result<String, String> {
    let mut all = recorded(text).filter(|(_, _, of, _)| *of == path);
    let (.., number) = all
        .next()
        .ok_or_else(|| format!("no instructions of `{path}` are recorded"))?;
    Ok(count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A real row, so that it is known as one.
    fn figures(ratio: f64) -> Figures {
        let figure = Figure {
            table: "redis".to_owned(),
            case: "three steps".to_owned(),
            in_flight: Some(64),
            unit: "instances/s".to_owned(),
            more_is_better: true,
            rounds: vec![900.0, 1_000.0, 1_100.0],
            floors: vec![Floor {
                name: "the same commands, pipelined".to_owned(),
                rounds: vec![900.0 / ratio / 2.0, 1_000.0 / ratio, 1_100.0 / ratio * 2.0],
                wanted: Some(0.5),
            }],
        };
        Figures::from([("redis".to_owned(), vec![figure])])
    }

    #[test]
    fn a_page_shows_figures_their_floors_and_what_is_missed() {
        let words = "before\n{{table redis}}\n{{plot redis}}\n{{below}}\nafter";
        let page = written(words, &figures(0.4), "", "plots").expect("a page");
        let row = "| three steps | 64 | **1,000** | 900 .. 1,100 | the same commands, pipelined | 2,500 | 0.40 | 0.20 .. 0.80 | \
                   ≥ 0.50 **missed** |";
        assert!(page.contains(row), "{page}");
        assert!(page.contains("![redis](plots/redis.svg)"), "{page}");
        let below = "- redis, three steps, 64 at once: 0.40 (0.20 .. 0.80) of \"the same commands, pipelined\", wanted 0.50";
        assert!(page.contains(below), "{page}");
        let page = written(words, &figures(0.6), "", "plots").expect("a page");
        assert!(!page.contains("missed"), "{page}");
        assert!(page.ends_with("In this run, nothing.\nafter"), "{page}");
    }

    #[test]
    fn words_tell_ratios_and_counts_that_were_measured() {
        let of = |command: &str| {
            let words = format!("{{{{{command}}}}}|{{{{table redis}}}}");
            let page = written(&words, &figures(0.4), "linux 1 durable 64878\n", "")?;
            Ok(page.split('|').next().unwrap_or_default().to_owned())
        };
        let told = |text: &str| Ok::<_, String>(text.to_owned());
        let floor = "the same commands, pipelined";
        let row = format!("ratio redis, three steps, 64 at once; {floor}");
        assert_eq!(of(&row), told("0.40"));
        assert_eq!(of(&format!("ratios redis; {floor}")), told("0.40 to 0.40"));
        assert_eq!(of("instructions durable"), told("64,878"));
        let alone = format!("ratio redis, three steps, 1 at once; {floor}");
        assert_eq!(of(&alone), told(UNKNOWN));
        for nothing in [
            "ratio redis, three steps, 65 at once; raw",
            "ratios redis; raw",
            "instructions other",
        ] {
            assert!(of(nothing).is_err(), "{nothing}");
        }
    }

    #[test]
    fn a_row_that_nobody_has_measured_is_listed() {
        let page = written("{{missing}}{{table redis}}", &figures(1.0), "", "").expect("a page");
        assert!(page.contains("- relay, to kafka\n"), "{page}");
        assert!(
            page.contains("- redis, three steps, 256 at once\n"),
            "{page}"
        );
        assert!(!page.contains("- redis, three steps, 64 at once"), "{page}");
    }

    #[test]
    fn a_table_that_is_not_measured_or_not_shown_makes_no_page() {
        let why = written("{{table other}}", &figures(1.0), "", "").expect_err("no such table");
        assert!(why.contains("`other`"), "{why}");
        let why = written("nothing", &figures(1.0), "", "").expect_err("it is not shown");
        assert!(why.contains("does not show `redis`"), "{why}");
    }

    #[test]
    fn the_words_of_the_page_are_understood() {
        let words = pieces(include_str!("page.md")).expect("commands that mean something");
        for piece in words {
            if let Piece::Ratio { row, floor } = piece {
                ratio(&Figures::new(), row, floor).expect("a row that can be measured");
            }
        }
    }
}
