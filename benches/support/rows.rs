//! Every row that the benchmarks can make. What they tell is one of these, and the page lists which of these nobody has measured.

use super::number::count;

/// A row of a table.
pub(crate) struct Row {
    /// See [`name`].
    pub(crate) name: String,
    /// The names of what it is compared with.
    pub(crate) floors: &'static [&'static str],
}

/// What a row is called outside of its table, such as `sqlite, three steps, 64 at once`.
pub(crate) fn name(table: &str, case: &str, in_flight: Option<u32>) -> String {
    let at_once =
        in_flight.map_or_else(String::new, |it| format!(", {} at once", count(it.into())));
    format!("{table}, {case}{at_once}")
}

pub(crate) fn all() -> impl Iterator<Item = Row> {
    TABLES.iter().flat_map(Rows::each)
}

/// Rows of one table that have the same floors.
struct Rows {
    table: &'static str,
    cases: &'static [&'static str],
    /// What is told of each case, where that is more than one thing.
    told: &'static [&'static str],
    /// How many are in flight, where that is told.
    in_flight: &'static [Option<u32>],
    floors: &'static [&'static str],
}

impl Rows {
    fn each(&self) -> impl Iterator<Item = Row> {
        let cases = self.cases.iter().flat_map(|case| match self.told {
            [] => vec![(*case).to_owned()],
            told => told.iter().map(|it| format!("{case}, {it}")).collect(),
        });
        let names = cases.flat_map(|case| {
            let of_case = |in_flight: &Option<u32>| name(self.table, &case, *in_flight);
            self.in_flight.iter().map(of_case).collect::<Vec<_>>()
        });
        names.map(|name| Row {
            name,
            floors: self.floors,
        })
    }
}

const ALONE: &[Option<u32>] = &[None];
const FEW_TO_MANY: &[Option<u32>] = &[Some(1), Some(64), Some(256)];

const SHAPES: &[&str] = &[
    "3 steps",
    "third of 3 fails, 2 undone",
    "1 -> 8 -> 1",
    "chain of 100",
];

/// In the order of the page.
static TABLES: [Rows; 14] = [
    Rows {
        table: "in-process",
        cases: SHAPES,
        told: &[],
        in_flight: ALONE,
        floors: &["by hand"],
    },
    Rows {
        table: "in-process",
        cases: SHAPES,
        told: &["detached"],
        in_flight: ALONE,
        floors: &["by hand, spawned"],
    },
    Rows {
        table: "observe",
        cases: &[
            "3 steps, observed by attached",
            "3 steps, observed by metrics",
            "3 steps, observed by spans",
        ],
        told: &[],
        in_flight: ALONE,
        floors: &["the same, observed by nobody"],
    },
    Rows {
        table: "memory",
        cases: &["three steps"],
        told: &[],
        in_flight: FEW_TO_MANY,
        floors: &["one writer of the same rows"],
    },
    Rows {
        table: "sqlite",
        cases: &["three steps"],
        told: &[],
        in_flight: FEW_TO_MANY,
        floors: &[
            "the same rows, group commit",
            "the same rows, four commits each",
        ],
    },
    Rows {
        table: "postgres",
        cases: &["three steps"],
        told: &[],
        in_flight: FEW_TO_MANY,
        floors: &[
            "the same rows, group commit",
            "the same rows, four commits each",
        ],
    },
    Rows {
        table: "redis",
        cases: &["three steps"],
        told: &[],
        in_flight: FEW_TO_MANY,
        floors: &["the same commands, pipelined"],
    },
    Rows {
        table: "recovery",
        cases: &["sqlite", "postgres", "redis"],
        told: &["first taken over", "all finished"],
        in_flight: &[Some(1_000)],
        floors: &["the lease that has to pass"],
    },
    Rows {
        table: "relay",
        cases: &["to memory"],
        told: &[],
        in_flight: ALONE,
        floors: &["the raw claim"],
    },
    Rows {
        table: "relay",
        cases: &["to rabbitmq", "to kafka", "to nats", "to redis"],
        told: &[],
        in_flight: ALONE,
        floors: &["the slower of these", "the raw claim", "the raw publish"],
    },
    Rows {
        table: "latency",
        cases: &["memory", "rabbitmq", "kafka", "nats", "redis"],
        told: &[
            "relay, p50",
            "relay, p90",
            "optimistic, p50",
            "optimistic, p90",
        ],
        in_flight: ALONE,
        floors: &["publish and deliver by hand"],
    },
    Rows {
        table: "inbox",
        cases: &["sqlite", "postgres"],
        told: &[],
        in_flight: ALONE,
        floors: &["the same rows, one transaction each"],
    },
    Rows {
        table: "inbox",
        cases: &["redis"],
        told: &[],
        in_flight: ALONE,
        floors: &["the same rows, one script each, pipelined"],
    },
    Rows {
        table: "waiting",
        cases: &[
            "in process",
            "in an engine, in memory",
            "in an engine, as a row",
        ],
        told: &[],
        in_flight: &[Some(10_000)],
        floors: &["a boxed future in a task"],
    },
];
