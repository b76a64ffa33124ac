//! The table under "Speed" in the README: a few ratios of the page, good and bad ones.
//!
//! It is made of the page, and not of the results, so that a test can tell whether the two agree.

use crate::rows;
use std::{collections::BTreeMap, fmt::Write};

/// What is measured and its floor, in words, and by which names the page has them.
const SPEED: [[&str; 4]; 11] = [
    [
        "time of a run of three steps in process",
        "the same functions awaited, with nothing around them",
        "in-process, 3 steps",
        "by hand",
    ],
    [
        "rate of three-step sagas on the memory store, 64 at once",
        "the same rows into two maps",
        "memory, three steps, 64 at once",
        "one writer of the same rows",
    ],
    [
        "the same on SQLite",
        "the same rows, group commit",
        "sqlite, three steps, 64 at once",
        "the same rows, group commit",
    ],
    [
        "the same on PostgreSQL",
        "the same rows, group commit",
        "postgres, three steps, 64 at once",
        "the same rows, group commit",
    ],
    [
        "the same on Redis",
        "bare scripts that write the same rows, pipelined",
        "redis, three steps, 64 at once",
        "the same commands, pipelined",
    ],
    [
        "rate of the relay to RabbitMQ",
        "emptying the table or publishing, whichever is slower",
        "relay, to rabbitmq",
        "the slower of these",
    ],
    [
        "rate of the relay to Kafka",
        "the same",
        "relay, to kafka",
        "the slower of these",
    ],
    [
        "rate of the relay to NATS",
        "the same",
        "relay, to nats",
        "the slower of these",
    ],
    [
        "rate of a consumer with an inbox on PostgreSQL",
        "the same rows, a transaction for each event",
        "inbox, postgres",
        "the same rows, one transaction each",
    ],
    [
        "time from a kill to the end of 1,000 sagas on PostgreSQL",
        "the dead engine's lease, which has to pass",
        "recovery, postgres, all finished, 1,000 at once",
        "the lease that has to pass",
    ],
    [
        "memory of a saga that waits in an engine",
        "a boxed future in a task",
        "waiting, in an engine, in memory, 10,000 at once",
        "a boxed future in a task",
    ],
];

/// What the page tells of a row's floor, as it is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Compared {
    floor: String,
    ratio: String,
    wanted: String,
}

/// The README with this page's ratios.
///
/// # Errors
///
/// It has no table under "Speed".
pub(crate) fn updated(readme: &str, page: &str) -> Result<String, String> {
    let nowhere = "the README has no table under `## Speed`";
    let (before, rest) = readme.split_once("\n## Speed\n").ok_or(nowhere)?;
    let (lines, after) = rest.split_once("\n## ").ok_or(nowhere)?;
    let (words, rest) = lines.split_once("\n|").ok_or(nowhere)?;
    let (_, tail) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let tail = if tail.is_empty() {
        String::new()
    } else {
        format!("\n{tail}")
    };
    let table = table(page);
    Ok(format!(
        "{before}\n## Speed\n{words}\n{table}{tail}\n## {after}"
    ))
}

fn table(page: &str) -> String {
    let told = told(page);
    let mut text = String::from("| | compared with | ratio | wanted |\n|---|---|--:|--:|\n");
    for [what, than, row, floor] in SPEED {
        let compared = told.get(row).into_iter().flatten();
        let (ratio, wanted) = compared
            .filter(|it| it.floor == floor)
            .map(|it| (it.ratio.as_str(), it.wanted.as_str()))
            .next()
            .unwrap_or(("not measured", ""));
        let _ = writeln!(text, "| {what} | {than} | {ratio} | {wanted} |");
    }
    text
}

/// Every row of the page's measured tables, by its name. A plot, above each table, says which one it is.
fn told(page: &str) -> BTreeMap<String, Vec<Compared>> {
    let mut told = BTreeMap::<_, Vec<_>>::new();
    let mut table = None;
    let (mut columns, mut name) = (Vec::new(), String::new());
    for line in page.lines() {
        if let Some(plot) = line.strip_prefix("![") {
            table = plot.split(']').next();
            columns.clear();
        } else if line.starts_with('#') {
            table = None;
        }
        let (Some(table), Some(cells)) = (table, line.strip_prefix('|')) else {
            continue;
        };
        let cells: Vec<_> = cells
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        if columns.is_empty() {
            columns = cells;
            continue;
        }
        let cell = |column: &str| {
            let nth = columns.iter().position(|it| *it == column)?;
            cells.get(nth).copied()
        };
        let case = cells.first().copied().unwrap_or_default();
        if case.starts_with("---") {
            continue;
        }
        if !case.is_empty() {
            let in_flight = cell("at once").and_then(|it| it.replace(',', "").parse().ok());
            name = rows::name(table, case, in_flight);
        }
        let text = |column| cell(column).unwrap_or_default().to_owned();
        told.entry(name.clone()).or_default().push(Compared {
            floor: text("floor"),
            ratio: text("ratio"),
            wanted: text("wanted"),
        });
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PAGE: &str = include_str!("../../../docs/benchmarks.md");
    const README: &str = include_str!("../../../README.md");

    #[test]
    fn the_page_has_the_rows_that_benchmarks_make_or_says_which_are_missing() {
        let (_, missing) = PAGE
            .split_once("## Not measured\n")
            .expect("the page says what is missing");
        let missing = missing.lines().take_while(|line| !line.starts_with('#'));
        let missing: BTreeSet<_> = missing
            .filter_map(|line| line.strip_prefix("- "))
            .map(str::to_owned)
            .collect();
        let mut told = told(PAGE);
        for row in rows::all() {
            let Some(compared) = told.remove(&row.name) else {
                assert!(
                    missing.contains(&row.name),
                    "nobody knows of `{}`",
                    row.name
                );
                continue;
            };
            assert!(!missing.contains(&row.name), "`{}` is there", row.name);
            let floors: Vec<_> = compared.into_iter().map(|it| it.floor).collect();
            assert_eq!(floors, row.floors, "{}", row.name);
        }
        assert!(told.is_empty(), "no benchmark makes {:?}", told.keys());
        let known: BTreeSet<_> = rows::all().map(|row| row.name).collect();
        let unknown: Vec<_> = missing.difference(&known).collect();
        assert!(unknown.is_empty(), "no benchmark makes {unknown:?}");
    }

    #[test]
    fn the_readme_tells_the_ratios_of_the_page() {
        let updated = updated(README, PAGE).expect("a table");
        assert_eq!(README, updated, "`cargo xtask bench` writes both");
    }

    #[test]
    fn what_the_readme_tells_can_be_measured() {
        for [.., row, floor] in SPEED {
            let is_it = |it: rows::Row| it.name == row && it.floors.contains(&floor);
            assert!(rows::all().any(is_it), "`{row}` against `{floor}`");
        }
    }

    #[test]
    fn a_readme_is_given_new_ratios_and_nothing_else() {
        let page = "![relay](relay.svg)\n\n| | events/s | floor | ratio | wanted |\n|---|--:|---|--:|--:|\n\
            | to kafka | **1** | the slower of these | 0.42 | ≥ 0.50 **missed** |\n|  |  | the raw claim | 0.27 |  |\n\n\
            ## Not measured\n\n- all the rest\n";
        let readme =
            "a\n\n## Speed\n\nwords\n\n| old |\n|---|\n| 1 |\n\nmore words\n\n## Next\n\nb\n";
        let updated = updated(readme, page).expect("a table");
        assert!(
            updated.starts_with("a\n\n## Speed\n\nwords\n\n| | compared"),
            "{updated}"
        );
        assert!(
            updated.ends_with("|\n\nmore words\n\n## Next\n\nb\n"),
            "{updated}"
        );
        assert!(
            updated
                .contains("| rate of the relay to Kafka | the same | 0.42 | ≥ 0.50 **missed** |\n"),
            "{updated}"
        );
        assert!(
            updated.contains("to NATS | the same | not measured |  |\n"),
            "{updated}"
        );
        assert!(!updated.contains("old"), "{updated}");
        assert!(super::updated("no table", page).is_err());
    }
}
