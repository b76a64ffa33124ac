//! How a process is observed: beside what an application has, and nothing behind its back.

use crate::{
    buy::{Buy, CARD, Purchase},
    process::{self, Process, say},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use sagaz::{
    Saga,
    observe::{Health, Observability, SetupError, attach},
};
use std::{
    io,
    net::TcpListener,
    sync::{Arc, Mutex},
};

/// Where an application's own logs go.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A run that fails once, and completes.
async fn buy() {
    let run = Buy { hangs: false }.run_publishing(Purchase::number_7(), |_| {});
    assert!(run.await.is_completed());
}

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Not a test of its own: the body of a process.
#[tokio::test]
async fn body() {
    match process::part::<String>().as_deref() {
        Some("beside") => beside_what_an_application_has().await,
        Some("warnings") => warnings_without_spans().await,
        Some("nothing") => nothing_behind_its_back().await,
        Some("refused") => what_is_in_the_way_is_told(),
        _ => return,
    }
    say("as it should be");
}

async fn beside_what_an_application_has() {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let prometheus = PrometheusBuilder::new().install_recorder().unwrap();
    let observability = attach().unwrap();
    // Nobody has given it an observer.
    buy().await;
    let page = prometheus.render();
    for series in [
        "sagaz_step_attempts_total{saga=\"buy\",step=\"charge\",kind=\"step\",outcome=\"failed\"} 1",
        "sagaz_step_attempts_total{saga=\"buy\",step=\"charge\",kind=\"step\",outcome=\"completed\"} 1",
        "sagaz_instances_finished_total{saga=\"buy\",outcome=\"completed\"} 1",
        "# HELP sagaz_step_retries_total",
    ] {
        assert!(page.contains(series), "no {series} in {page}");
    }
    let log = buffer.text();
    for words in ["the bank is busy", "asking the bank", "instance ended"] {
        assert!(log.contains(words), "no `{words}` in {log}");
    }
    assert!(!log.contains(CARD));
    assert_eq!(observability.health().await, Health::default());
    assert!(matches!(attach(), Err(SetupError::ObservedAlready)));
}

/// An application that wants to know of warnings alone knows which attempt has failed.
async fn warnings_without_spans() {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN);
    subscriber
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let _observability = attach().unwrap();
    buy().await;
    let log = buffer.text();
    let line = log
        .lines()
        .find(|line| line.contains("attempt failed"))
        .unwrap();
    for words in [
        "the bank is busy",
        "saga=\"buy\"",
        "step=\"charge\"",
        "attempt=1",
        "instance=",
    ] {
        assert!(line.contains(words), "no `{words}` in {log}");
    }
}

async fn nothing_behind_its_back() {
    let observability = attach().unwrap();
    assert!(
        !tracing::dispatcher::has_been_set(),
        "no subscriber is installed"
    );
    buy().await;
    assert!(
        PrometheusBuilder::new().install_recorder().is_ok(),
        "no recorder is installed"
    );
    assert!(observability.address().is_none() && observability.metrics_page().await.is_none());
    assert!(observability.liveness().is_live() && !observability.health().await.is_ready());
    observability.shutdown().await;
}

fn what_is_in_the_way_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = |builder: sagaz::observe::ObservabilityBuilder| {
        let error = builder.install().unwrap_err();
        let causes = std::iter::successors(std::error::Error::source(&error), |it| (*it).source());
        causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
    };
    let builder = Observability::builder;
    for (words, told) in [
        (
            &*format!("cannot listen on {address}"),
            told(builder().serve(&address)),
        ),
        (
            "cannot listen on nonsense",
            told(builder().serve("nonsense")),
        ),
        (
            "cannot export spans to `collector:4317`, which `OTEL_EXPORTER_OTLP_ENDPOINT` or `.otlp(..)` names: it is no URL",
            told(builder().otlp("collector:4317")),
        ),
        (
            "cannot understand the filter of logs `a=b=c`",
            told(
                builder()
                    .logs(sagaz::observe::LogFormat::Json)
                    .filter("a=b=c"),
            ),
        ),
    ] {
        assert!(told.contains(words), "{told}");
    }
    // Nothing of what was refused is there.
    assert!(!tracing::dispatcher::has_been_set());
    tracing_subscriber::fmt().with_writer(io::sink).init();
    let refused = told(builder().logs(sagaz::observe::LogFormat::Json));
    assert!(
        refused.contains("has a `tracing` subscriber already"),
        "{refused}"
    );
    PrometheusBuilder::new().install_recorder().unwrap();
    let refused = told(builder().prometheus());
    assert!(
        refused.contains("has a `metrics` recorder already"),
        "{refused}"
    );
    assert!(builder().install().is_ok());
}

#[track_caller]
fn assert_as_it_should_be(part: &str) {
    let mut process = Process::start("setup::body", &part);
    process.wait_for("as it should be");
    process.end();
}

#[test]
fn an_application_keeps_its_subscriber_and_its_recorder() {
    assert_as_it_should_be("beside");
}

#[test]
fn a_failed_attempt_is_told_where_no_span_is_wanted() {
    assert_as_it_should_be("warnings");
}

#[test]
fn attaching_installs_nothing_for_the_process() {
    assert_as_it_should_be("nothing");
}

#[test]
fn what_is_in_the_way_is_told_and_nothing_is_installed() {
    assert_as_it_should_be("refused");
}
