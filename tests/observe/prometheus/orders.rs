//! The examples with misbehaving services, scraped: every metric is there, counts are those of the example's own report, and
//! every panel of a dashboard shows something.

use super::{Prometheus, deploy::dashboards, rules};
use crate::{process::Process, servers::free_port};
use sagaz::observe::{Kind, METRICS};
use std::{env, ops::RangeInclusive, path::PathBuf, process::Command};
use tempfile::TempDir;

/// Of one whose own tests are run, `cargo test` builds nothing else.
fn program(name: &str) -> PathBuf {
    let mut path = env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path = path.join("examples").join(name);
    if !path.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--all-features", "--example", name]);
        let built = cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(
            built.success() && path.exists(),
            "{} is not built",
            path.display()
        );
    }
    path
}

/// An example that serves its metrics, also at its end.
fn start(name: &str, arguments: &[&str], address: &str) -> Process {
    let mut command = Command::new(program(name));
    Process::run(command.args(arguments).args(["--serve", address]))
}

/// The number before these words.
#[track_caller]
fn before(report: &str, words: &str) -> f64 {
    let (head, _) = report
        .split_once(words)
        .unwrap_or_else(|| panic!("no `{words}` in {report}"));
    number(head.split_whitespace().next_back())
}

/// The number after these words.
#[track_caller]
fn after(report: &str, words: &str) -> f64 {
    let (_, tail) = report
        .split_once(words)
        .unwrap_or_else(|| panic!("no `{words}` in {report}"));
    number(tail.split_whitespace().next())
}

#[track_caller]
fn number(word: Option<&str>) -> f64 {
    let digits = word.unwrap_or_default().replace(',', "");
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{word:?} is no number"))
}

/// One that is scraping already when the example begins, and the address that it scrapes.
fn prometheus() -> Option<(Prometheus, String)> {
    let address = format!("127.0.0.1:{}", free_port());
    let prometheus = Prometheus::start(&address, &rules())?;
    prometheus.wait("it scrapes", || {
        if prometheus.query("up").is_empty() {
            Err("it does not".to_owned())
        } else {
            Ok(())
        }
    });
    Some((prometheus, address))
}

/// Waits until the last scrape has everything that a process counted, which no longer changes.
#[track_caller]
fn assert_number(prometheus: &Prometheus, query: &str, expected: f64) {
    assert_within(prometheus, query, expected..=expected);
}

/// Likewise, where several numbers are right.
#[track_caller]
fn assert_within(prometheus: &Prometheus, query: &str, expected: RangeInclusive<f64>) {
    prometheus.wait(&format!("`{query}` is within {expected:?}"), || {
        let told = prometheus.query(query);
        let told = told.first().map_or(0.0, |(_, number)| *number);
        if expected.contains(&told) {
            Ok(())
        } else {
            Err(format!("it is {told}"))
        }
    });
}

/// Of so many samples of a histogram all but a few are there: when the exporter is scraped it takes its buffer away, and a sample whose
/// thread has found that buffer already is put into what nobody reads any more (`AtomicBucket` of metrics-util).
const NEARLY_ALL: f64 = 0.99;

#[test]
fn every_metric_appears_and_every_panel_shows_something_of_a_run_with_faults() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = folder.path().to_str().unwrap();
    let Some((prometheus, address)) = prometheus() else {
        return;
    };
    let arguments = ["--count", "3000", "--folder", folder];
    let mut example = start("order_events", &arguments, &address);
    let mut queries: Vec<String> = dashboards()
        .into_iter()
        .flat_map(|(_, expressions)| expressions)
        .map(|expression| of_everything(&expression))
        .collect();
    // While it runs: some gauges are of what runs.
    prometheus.wait("every metric appears", || {
        let missing: Vec<_> = METRICS
            .iter()
            .map(|metric| match metric.kind {
                Kind::Histogram => format!("{}_count", metric.name),
                _ => metric.name.to_owned(),
            })
            .filter(|series| {
                prometheus
                    .query(&format!("max_over_time({series}[5m])"))
                    .is_empty()
            })
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?} are missing"))
        }
    });
    prometheus.wait("every panel shows something", || {
        queries.retain(|query| prometheus.query(query).is_empty());
        if queries.is_empty() {
            Ok(())
        } else {
            Err(format!("these have shown nothing: {queries:#?}"))
        }
    });
    let report = example.report("as in the books").join("\n");
    let number = |query: &str, expected| assert_number(&prometheus, query, expected);
    let (completed, rolled_back) = (before(&report, "completed"), before(&report, "rolled back"));
    // How many of each depends on how often this machine lets a service be late.
    assert!(completed > 50.0 && rolled_back > 50.0, "{report}");
    let ended = completed + rolled_back + before(&report, "stuck");
    assert!(ended.total_cmp(&3_000.0).is_eq(), "{report}");
    number("sum(sagaz_instances_accepted_total)", 3_000.0);
    number(
        "sum(sagaz_instances_finished_total{outcome=\"completed\"})",
        completed,
    );
    number(
        "sum(sagaz_instances_finished_total{outcome=\"rolled_back\"})",
        rolled_back,
    );
    let within = |query: &str, expected| assert_within(&prometheus, query, expected);
    within(
        "sum(sagaz_instance_duration_seconds_count)",
        NEARLY_ALL * (completed + rolled_back)..=completed + rolled_back,
    );
    let published = before(&report, "events were published");
    // One that was published, and whose mark came too late, is published again.
    within("sum(sagaz_outbox_published_total)", published..=f64::MAX);
    // Every event was given to the optimistic sender, which published it or left it to the relay.
    number("sum(sagaz_outbox_optimistic_total)", published);
    for consumer in ["billing", "shipping"] {
        let handled = after(&report, &format!("{consumer}:"));
        assert!(handled > 300.0, "{report}");
        let of = |outcome: &str| {
            format!(
                "sum(sagaz_inbox_events_total{{consumer=\"{consumer}\",outcome=~\"{outcome}\"}})"
            )
        };
        number(&of("handled"), handled);
        // Every event comes to every consumer, as often as it was published.
        let all = of("handled|duplicate|skipped");
        number(
            &format!("{all} == bool sum(sagaz_outbox_published_total)"),
            1.0,
        );
        let samples = format!("sum(sagaz_inbox_duration_seconds_count{{consumer=\"{consumer}\"}})");
        within(
            &format!("{samples} / {}", of("handled|duplicate")),
            NEARLY_ALL..=1.0,
        );
    }
    example.end();
}

/// The query of a panel, with nothing chosen: `"$saga"` becomes `".*"`.
fn of_everything(expression: &str) -> String {
    let query = expression.replace("$__rate_interval", "1m");
    let mut parts = query.split('$');
    let mut of_everything = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        of_everything += ".*";
        of_everything += &part[end.unwrap_or(part.len())..];
    }
    of_everything
}

#[test]
fn attempts_retries_and_compensations_are_counted_as_the_example_counts_them() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let orders = std::fs::read_to_string(super::path("examples/data/cdnow_orders.csv")).unwrap();
    let some: Vec<&str> = orders.lines().take(601).collect();
    let file = folder.path().join("orders.csv");
    std::fs::write(&file, some.join("\n")).unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (store, books) = (at("sagas.db"), at("books.db"));
    let arguments = [
        "--orders",
        file.to_str().unwrap(),
        "--store",
        &store,
        "--books",
        &books,
    ];
    let Some((prometheus, address)) = prometheus() else {
        return;
    };
    let mut example = start("cdnow_orders", &arguments, &address);
    let report = example.report("The books balance.").join("\n");
    let number = |query: &str, expected| assert_number(&prometheus, query, expected);
    number(
        "sum(sagaz_step_attempts_total{kind=\"step\"})",
        before(&report, "attempts of steps"),
    );
    number(
        "sum(sagaz_step_retries_total{kind=\"step\"})",
        before(&report, "retries"),
    );
    number(
        "sum(sagaz_step_attempts_total{outcome=\"timed_out\"})",
        before(&report, "timeouts"),
    );
    number(
        "sum(sagaz_step_attempts_total{kind=\"compensation\"})",
        before(&report, "attempts to undo"),
    );
    number(
        "sum(sagaz_compensations_total{outcome=\"compensated\"})",
        before(&report, "steps undone"),
    );
    number(
        "sum(sagaz_instances_finished_total)",
        before(&report, "orders finished"),
    );
    number(
        "sum(sagaz_instances_finished_total{outcome=\"completed\"})",
        after(&report, "completed"),
    );
    number(
        "sum(sagaz_instances_finished_total{outcome=\"rolled_back\"})",
        after(&report, "rolled back"),
    );
    number("sum(sagaz_instances_stuck_total)", after(&report, "stuck"));
    example.end();
}
