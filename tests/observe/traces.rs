//! One trace, from the request that starts a saga to what its last event starts: over a crash, and through a broker.

use crate::{
    buy::{Buy, CARD, Payment, Purchase, RECEIPT, Ship},
    collector::{Collector, Seen},
    picture,
    place::Place,
    process::{self, Process, say},
};
use sagaz::{
    Engine, InstanceState, Memory, Observer,
    observe::{Lifecycle, Observability, TraceContext},
    outbox::{Consumer, Relay},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tracing::Instrument;

#[derive(Debug, Serialize, Deserialize)]
struct Part {
    role: Role,
    place: Place,
    collector: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Role {
    /// Takes the request, and dies in the third step.
    Shop,
    /// Takes over, and publishes.
    Successor,
    /// Consumes.
    Shipping,
}

/// Says which steps are stored.
struct Says;

impl Observer for Says {
    fn observe(&self, event: &Lifecycle<'_>) {
        match event {
            Lifecycle::StepCompleted { step, .. } => say(&format!("stored {step}")),
            Lifecycle::Finished {
                instance, state, ..
            } => say(&format!("{} {state}", instance.saga)),
            _ => {}
        }
    }
}

/// Not a test of its own: the body of a process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body() {
    let Some(Part {
        role,
        place,
        collector,
    }) = process::part()
    else {
        return;
    };
    let observability = Observability::builder()
        .otlp(collector)
        .service_name(format!("{role:?}").to_lowercase())
        .filter("info")
        .install()
        .unwrap();
    match role {
        Role::Shop => shop(&place).await,
        Role::Successor => successor(&place).await,
        Role::Shipping => shipping(&place).await,
    }
    observability.shutdown().await;
}

async fn shop(place: &Place) {
    let engine = Engine::builder(place.store().await)
        .register(Buy { hangs: true })
        .lease(Duration::from_secs(1))
        .observer(Arc::new(Says))
        .start()
        .await
        .unwrap();
    let purchase = Purchase::number_7();
    // What a web framework's middleware does.
    let request = tracing::info_span!("request", otel.name = "POST /orders", otel.kind = "server");
    let handle = engine
        .start::<Buy>(purchase)
        .into_future()
        .instrument(request.clone())
        .await
        .unwrap();
    drop(request);
    say(&format!("instance {}", handle.id()));
    process::until_told_to_end().await;
}

async fn successor(place: &Place) {
    let store = place.store().await;
    let relay = Relay::builder(store.clone(), place.broker().await)
        .start()
        .await
        .unwrap();
    let engine = Engine::builder(store)
        .register(Buy { hangs: false })
        .observer(Arc::new(Says))
        .start()
        .await
        .unwrap();
    process::until_told_to_end().await;
    engine.shutdown().await;
    relay.shutdown().await;
}

async fn shipping(place: &Place) {
    let engine = Engine::builder(Memory::new())
        .register(Ship)
        .observer(Arc::new(Says))
        .start()
        .await
        .unwrap();
    let consumer = Consumer::new(place.subscribe("shipping").await);
    let stop = consumer.stop_handle();
    let shipping = engine.clone();
    let running = tokio::spawn(async move {
        consumer
            .on_event::<Payment>("payment.charged")
            .starts::<Ship, _>(&shipping)
            .await
    });
    say("subscribed");
    process::until_told_to_end().await;
    stop.stop();
    running.await.unwrap().unwrap();
    engine.shutdown().await;
}

/// The spans of a trace by name; each name is that of one span, but for attempts that were repeated.
struct Tree<'s>(&'s [Seen]);

impl<'s> Tree<'s> {
    fn all(&self, name: &str) -> Vec<&'s Seen> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    fn one(&self, name: &str) -> &'s Seen {
        match self.all(name)[..] {
            [span] => span,
            ref spans => panic!("{} spans are named `{name}`", spans.len()),
        }
    }
}

/// What three processes export of one request, the first of which is killed, and when that was.
async fn spans_of_a_crash(place: &Place, collector: &Collector) -> (Vec<Seen>, Duration) {
    let start = |role| {
        let part = Part {
            role,
            place: place.clone(),
            collector: collector.url.clone(),
        };
        Process::start("traces::body", &part)
    };
    let mut shipping = start(Role::Shipping);
    shipping.wait_for("subscribed");
    let mut shop = start(Role::Shop);
    shop.wait_for("stored charge");
    // A span that was not exported dies with its process, so what is to be there is waited for.
    let names = [
        "POST /orders",
        "buy accepted",
        "buy reserve",
        // It fails once.
        "buy charge",
        "buy charge",
    ];
    collector.wait_for(&names).await;
    shop.kill();
    let killed_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut successor = start(Role::Successor);
    successor.wait_for("buy completed");
    shipping.wait_for("ship completed");
    successor.end();
    shipping.end();
    let names = [
        "buy completed",
        "publish payment.charged",
        "process payment.charged",
        "ship completed",
    ];
    (collector.wait_for(&names).await, killed_at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_from_the_request_over_a_crash_and_a_broker_to_what_the_event_starts() {
    let Some(place) = Place::on("SAGAZ_TEST_RABBITMQ_URL") else {
        return;
    };
    let collector = Collector::start();
    let (spans, killed_at) = spans_of_a_crash(&place, &collector).await;
    let request = spans.iter().find(|span| span.name == "POST /orders");
    let trace = &request.unwrap().trace;
    let of_trace = spans.iter().filter(|span| span.trace == *trace);
    let of_trace: Vec<Seen> = of_trace.cloned().collect();
    let tree = Tree(&of_trace);
    attempts_are_under_whoever_started_the_instance(&tree);
    events_are_under_the_attempt_that_publishes_them(&tree);
    assert_connected(&of_trace);
    let all = format!("{spans:?}");
    let is_payload = |secret| all.contains(secret);
    assert!(
        !is_payload(CARD) && !is_payload(RECEIPT),
        "a payload is in a span"
    );
    update_picture(&of_trace, u64::try_from(killed_at.as_nanos()).unwrap());
}

/// Those of its second owner as well.
fn attempts_are_under_whoever_started_the_instance(tree: &Tree<'_>) {
    let root = tree.one("POST /orders");
    assert_eq!(root.parent, "");
    let accepted = tree.one("buy accepted");
    let reserve = tree.one("buy reserve");
    for (span, service) in [
        (accepted, "shop"),
        (reserve, "shop"),
        (tree.one("buy book"), "successor"),
        (tree.one("buy confirm"), "successor"),
        (tree.one("buy completed"), "successor"),
    ] {
        let is_there = span.parent == root.id && span.service == service;
        assert!(is_there, "{span:?} is not of {service}, below the request");
    }
    let [failed, charge] = tree.all("buy charge")[..] else {
        panic!(
            "the first attempt to charge fails: {:?}",
            tree.all("buy charge")
        );
    };
    assert!(failed.parent == root.id && charge.parent == root.id);
    assert_eq!(
        (failed.status, failed.attributes["outcome"].as_str()),
        (2, "failed")
    );
    assert_eq!(
        (charge.status, charge.attributes["attempt"].as_str()),
        (0, "2")
    );
    let end = tree.one("buy completed");
    assert_eq!(
        end.links,
        [&*accepted.id],
        "the end is linked to the acceptance"
    );
    // What a step does is under its attempt.
    assert_eq!(tree.one("ask_the_warehouse").parent, reserve.id);
}

/// And so is what becomes of them.
fn events_are_under_the_attempt_that_publishes_them(tree: &Tree<'_>) {
    const PRODUCER: i32 = 4;
    const CONSUMER: i32 = 5;
    let charge = tree.all("buy charge")[1];
    let publish = tree.one("publish payment.charged");
    let process = tree.one("process payment.charged");
    for (span, service, kind, operation) in [
        (publish, "successor", PRODUCER, "send"),
        (process, "shipping", CONSUMER, "process"),
    ] {
        assert_eq!((&span.parent, span.service.as_str()), (&charge.id, service));
        assert_eq!(span.kind, kind);
        let of = |name: &str| span.attributes[name].as_str();
        assert_eq!(of("messaging.system"), "rabbitmq");
        assert_eq!(of("messaging.operation.type"), operation);
        assert_eq!(of("cloudevents.event_type"), "payment.charged");
    }
    assert_eq!(tree.one("ship accepted").parent, process.id);
    assert_eq!(tree.one("ship pack").parent, process.id);
    let shipped = tree.one("ship completed");
    assert_eq!(shipped.links, [&*tree.one("ship accepted").id]);
}

/// Every span but the root has its parent in the trace.
fn assert_connected(spans: &[Seen]) {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    for span in spans.iter().filter(|span| !span.parent.is_empty()) {
        assert!(
            ids.contains(span.parent.as_str()),
            "the parent of {span:?} is missing"
        );
    }
}

/// The picture in the README is of this trace.
fn update_picture(trace: &[Seen], killed_at: u64) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/trace.svg");
        std::fs::write(file, picture::draw(trace, killed_at)).unwrap();
    }
}

/// The trace is that which the caller names, where the code that starts the instance runs in none.
#[tokio::test]
async fn a_trace_that_the_caller_names_is_stored_and_goes_with_events() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let store = Memory::new();
    let engine = Engine::builder(store.clone())
        .register(Buy { hangs: false })
        .start()
        .await
        .unwrap();
    let purchase = Purchase::number_7();
    let trace = TraceContext::new(PARENT, Some("vendor=1")).unwrap();
    let handle = engine.start::<Buy>(purchase).trace(trace).await.unwrap();
    assert!(handle.outcome().await.unwrap().is_completed());
    let snapshot = engine.inspect(handle.id()).await.unwrap().unwrap();
    assert_eq!(snapshot.summary.state, InstanceState::Completed);
    assert!(snapshot.trace.unwrap().contains(PARENT));
    let broker = sagaz::brokers::memory::MemoryBroker::new();
    let relay = Relay::builder(store, broker.clone()).start().await.unwrap();
    let subscription = sagaz::brokers::Subscription::new("test", ["payment.charged"]);
    let mut subscriber = broker.subscribe(subscription).unwrap();
    let delivery = sagaz::broker::Subscriber::receive(&mut subscriber)
        .await
        .unwrap();
    let event = delivery.event.unwrap();
    let attribute = |name: &str| event.attributes().get(name).map(String::as_str);
    assert_eq!(attribute("traceparent"), Some(PARENT));
    assert_eq!(attribute("tracestate"), Some("vendor=1"));
    relay.shutdown().await;
    engine.shutdown().await;
}
