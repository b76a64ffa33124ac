//! Rules, dashboards, runbooks and the page of metrics belong together, and to the registry.

use super::{path, rules};
use crate::servers::{is_installed, skipped};
use sagaz::observe::{Kind, METRICS, document};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

/// The names of metrics in an expression.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let is_word = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let words = expression.split(|it| !is_word(it));
    words
        .filter(|word| word.starts_with("sagaz_"))
        .map(str::to_owned)
        .collect()
}

/// The metrics of the registry, by the names of their series.
fn series() -> BTreeMap<String, &'static str> {
    let of = |metric: &sagaz::observe::Metric| {
        let names = match metric.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"]
                .map(|end| format!("{}{end}", metric.name))
                .to_vec(),
            _ => vec![metric.name.to_owned()],
        };
        let name = metric.name;
        names.into_iter().map(move |series| (series, name))
    };
    METRICS.iter().flat_map(of).collect()
}

/// The names of metrics in a text that are not in the registry.
fn unknown_in(text: &str) -> Vec<String> {
    let series = series();
    let names = metrics_in(text).into_iter();
    names.filter(|name| !series.contains_key(name)).collect()
}

/// Every dashboard: its file, and the expressions of its panels.
pub(super) fn dashboards() -> Vec<(String, Vec<String>)> {
    fn expressions(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(expression)) = fields.get("expr") {
                    found.push(expression.clone());
                }
                fields.values().for_each(|it| expressions(it, found));
            }
            Value::Array(items) => items.iter().for_each(|it| expressions(it, found)),
            _ => {}
        }
    }
    let files = fs::read_dir(path("deploy/grafana"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let read = |file: std::path::PathBuf| {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut found = Vec::new();
        expressions(&dashboard["panels"], &mut found);
        assert!(!found.is_empty(), "{} asks for nothing", file.display());
        (file.display().to_string(), found)
    };
    files.map(read).collect()
}

/// The names of the alerts, and the addresses of their runbooks.
pub(super) fn alerts() -> BTreeMap<String, String> {
    let rules = rules();
    let mut alerts = BTreeMap::new();
    let mut alert = None;
    for line in rules.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            assert_eq!(
                alert.replace(name.to_owned()),
                None,
                "the alert before `{name}` has no runbook"
            );
        } else if let Some(url) = line.strip_prefix("runbook_url: ") {
            alerts.insert(alert.take().unwrap(), url.to_owned());
        }
    }
    assert_eq!(alert, None);
    alerts
}

#[test]
fn every_metric_that_an_alert_or_a_panel_names_is_in_the_registry() {
    let series = series();
    assert_eq!(unknown_in(&rules()), [""; 0], "in the rules");
    let mut shown = BTreeSet::new();
    for (file, expressions) in dashboards() {
        for expression in expressions {
            assert_eq!(unknown_in(&expression), [""; 0], "in {file}");
            shown.extend(metrics_in(&expression).iter().map(|name| series[name]));
        }
    }
    let all: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(
        all.difference(&shown).collect::<Vec<_>>(),
        [&""; 0],
        "no panel shows these"
    );
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let alerts = alerts();
    assert!(alerts.len() >= 15, "{alerts:?}");
    let mut pages: BTreeSet<String> = fs::read_dir(path("docs/runbooks"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(pages.remove("README.md"));
    let list = fs::read_to_string(path("docs/runbooks/README.md")).unwrap();
    for (alert, url) in &alerts {
        let page = format!("{alert}.md");
        assert!(
            url.ends_with(&format!("/docs/runbooks/{page}")),
            "{alert}: {url}"
        );
        assert!(pages.remove(&page), "{alert} has no runbook");
        assert!(
            list.contains(&page),
            "{page} is not in the list of runbooks"
        );
        let text = fs::read_to_string(path("docs/runbooks").join(page)).unwrap();
        for section in ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"] {
            assert!(
                text.contains(section),
                "the runbook of {alert} has no section `{section}`"
            );
        }
        assert_eq!(unknown_in(&text), [""; 0], "in the runbook of {alert}");
    }
    assert!(pages.is_empty(), "runbooks without an alert: {pages:?}");
}

#[test]
fn the_page_of_metrics_is_that_of_the_registry() {
    let page = path("docs/metrics.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&page, document()).unwrap();
    }
    let written = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == document(),
        "docs/metrics.md is not what the registry says: `UPDATE_EXPECT=1 cargo test --all-features --test observe deploy` writes it"
    );
}

#[test]
fn names_and_labels_are_as_prometheus_wants_them() {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(
            name.starts_with("sagaz_")
                && name.chars().all(|it| it.is_ascii_lowercase() || it == '_'),
            "{name}"
        );
        assert_eq!(
            metric.kind == Kind::Counter,
            name.ends_with("_total"),
            "{name}"
        );
        if metric.unit == sagaz::observe::Unit::Seconds {
            assert!(name.ends_with("_seconds"), "{name}");
        }
        assert_eq!(
            metric.kind == Kind::Histogram,
            !metric.buckets.is_empty(),
            "{name}"
        );
        assert!(metric.buckets.is_sorted(), "{name}");
        assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        // What names one instance, event or person is no label.
        let unbounded = ["instance", "id", "event", "key", "error"];
        assert!(
            metric.labels.iter().all(|label| !unbounded.contains(label)),
            "{name}"
        );
    }
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() {
    if !is_installed("promtool") {
        return skipped("promtool is not installed (Debian: `apt-get install prometheus`)");
    }
    let folder = path("deploy/prometheus");
    let run = |arguments: &[&str]| {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(&folder)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    };
    run(&["check", "rules", "rules.yaml"]);
    run(&["check", "config", "prometheus.yml"]);
    run(&["test", "rules", "rules_test.yaml"]);
    let tests = fs::read_to_string(folder.join("rules_test.yaml")).unwrap();
    for alert in alerts().keys() {
        let tested = tests.matches(&format!("alertname: {alert}\n")).count();
        assert!(
            tested >= 2,
            "{alert} is to be seen to fire, and to stay silent: {tested} tests"
        );
    }
}
