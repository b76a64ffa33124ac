//! Logs: what a step says has the fields of its attempt, and nothing has a payload.

use crate::{
    buy::{Buy, CARD, Purchase, RECEIPT},
    collector::Collector,
    process::{self, Process, say},
};
use sagaz::{
    Engine, Event, Memory, StepError,
    broker::Broker,
    brokers::{Subscription, memory::MemoryBroker},
    observe::{ConsumerEvent, ConsumerIdentity, LogFormat, Observability, Observer},
    outbox::{Consumer, Inbox, Permanent},
    saga, step,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

/// Not a test of its own: the body of a process.
#[tokio::test]
async fn body() {
    let Some((collector, format, filter)) = process::part::<(String, String, String)>() else {
        return;
    };
    let format = if format == "json" {
        LogFormat::Json
    } else {
        LogFormat::Human
    };
    let observability = Observability::builder()
        .logs(format)
        .filter(filter)
        .otlp(collector)
        .install()
        .unwrap();
    let engine = Engine::builder(Memory::new())
        .register(Buy { hangs: false })
        .start()
        .await
        .unwrap();
    let purchase = Purchase::number_7();
    let handle = engine.start::<Buy>(purchase).await.unwrap();
    assert!(handle.outcome().await.unwrap().is_completed());
    say(&format!("instance {}", handle.id()));
    engine.shutdown().await;
    observability.shutdown().await;
}

/// Panics with a payload in hand.
struct Leaky;

#[saga(name = "leaky", input = Purchase)]
impl Leaky {
    #[step(no_compensation)]
    async fn panics(&self, purchase: &Purchase) -> Result<(), StepError> {
        panic!("what to do with {purchase:?}?");
    }
}

impl From<u64> for Purchase {
    fn from(number: u64) -> Self {
        Self {
            number: u32::try_from(number).unwrap_or_default(),
            card: CARD.to_owned(),
        }
    }
}

/// Not a test of its own: the body of a process, in which everything goes wrong that can with a payload in hand. It is told what is
/// logged.
#[tokio::test]
async fn leaks() {
    let Some(filter) = process::part::<String>() else {
        return;
    };
    // That would print it.
    std::panic::set_hook(Box::new(|_| {}));
    let observability = Observability::builder()
        .logs(LogFormat::Json)
        .filter(filter)
        .install()
        .unwrap();
    let engine = Engine::builder(Memory::new())
        .register(Leaky)
        .register(Buy { hangs: false })
        .start()
        .await
        .unwrap();
    let handle = engine.start::<Leaky>(1.into()).key(CARD).await.unwrap();
    assert!(!handle.outcome().await.unwrap().is_completed());
    // Another input under one key, and an event whose data is no number.
    assert!(engine.start::<Leaky>(2.into()).key(CARD).await.is_err());
    let broker = MemoryBroker::new();
    let subscribe = |group: &str| {
        broker
            .subscribe(Subscription::new(group, ["card"]))
            .unwrap()
    };
    let (starts, handles) = (
        Consumer::new(subscribe("starts")),
        Consumer::new(subscribe("handles")),
    );
    let stops = [starts.stop_handle(), handles.stop_handle()];
    let counted = Arc::new(Counted::default());
    let (starts, handles) = (
        starts.observer(Arc::clone(&counted) as _),
        handles.observer(Arc::clone(&counted) as _),
    );
    let inbox = Inbox::builder(Memory::new(), "handles").build().unwrap();
    let starting = engine.clone();
    let tasks = [
        tokio::spawn(async move {
            starts
                .on_event::<u64>("card")
                .starts::<Buy, _>(&starting)
                .await
        }),
        tokio::spawn(handles.run(inbox, |event, _| {
            Box::pin(async move {
                let card: Result<u64, _> = event.decode();
                assert!(
                    event.subject_name().is_none(),
                    "what to do with {event:?} of {CARD}?"
                );
                card.map(drop).map_err(|error| Permanent::new(error).into())
            })
        })),
    ];
    let event = || Event::new("card", CARD).source("/test");
    broker.publish(&[event(), event().subject("panic")]).await;
    counted.until(4).await;
    for stop in stops {
        stop.stop();
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    engine.shutdown().await;
    observability.shutdown().await;
}

/// How often an attempt to consume failed, or an event was refused.
#[derive(Default)]
struct Counted(watch::Sender<u32>);

impl Observer for Counted {
    fn consumer(&self, _: &ConsumerIdentity<'_>, event: &ConsumerEvent<'_>) {
        if let ConsumerEvent::Failed { .. } | ConsumerEvent::Refused { .. } = event {
            self.0.send_modify(|count| *count += 1);
        }
    }
}

impl Counted {
    async fn until(&self, count: u32) {
        let mut seen = self.0.subscribe();
        let waited = timeout(Duration::from_mins(1), seen.wait_for(|it| *it >= count));
        assert!(waited.await.is_ok(), "not {count} times");
    }
}

#[test]
fn what_goes_wrong_with_a_payload_in_hand_is_said_without_it() {
    let process = Process::start("logs::leaks", &"trace");
    let lines = process.end();
    let says = |words: &str| lines.iter().any(|line| line.contains(words));
    for words in [
        "it panicked",
        "the handler panicked",
        "a value is not of the kind that is wanted, at line 1",
        "event cannot be kept here",
    ] {
        assert!(says(words), "nobody says `{words}`: {lines:#?}");
    }
    assert!(
        !says(CARD),
        "{:#?}",
        lines
            .iter()
            .filter(|line| line.contains(CARD))
            .collect::<Vec<_>>()
    );
}

/// An application that logs only what is its own still knows of which attempt it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_logged_a_step_knows_whose_attempt_it_is() {
    let collector = Collector::start();
    let (_, lines) = logged(&collector, "json", "observe=info");
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().all(|line| line["target"] != "sagaz"),
        "{lines:#?}"
    );
    let own = lines
        .iter()
        .find(|line| line["message"] == "asking the bank")
        .unwrap();
    assert_eq!(
        (&own["saga"], &own["step"], &own["attempt"]),
        (&"buy".into(), &"charge".into(), &1.into())
    );
    assert!(own["trace_id"].is_string());
    collector
        .wait_for(&["buy accepted", "buy charge", "buy completed"])
        .await;
}

/// The instance, and the lines of a process that logs like this.
fn logged(collector: &Collector, format: &str, filter: &str) -> (String, Vec<String>) {
    let part = (collector.url.as_str(), format, filter);
    let mut process = Process::start("logs::body", &part);
    let said = process.wait_for("instance ");
    let instance = said.rsplit(' ').next().unwrap().to_owned();
    (instance, process.end())
}

async fn lines(format: &str) -> (String, Vec<String>) {
    let collector = Collector::start();
    let (instance, lines) = logged(&collector, format, "debug");
    // A batch of writes, which is no instance's.
    let spans = collector.wait_for(&["write memory"]).await;
    let write = spans
        .iter()
        .find(|span| span.name == "write memory")
        .unwrap();
    assert_eq!(write.parent, "");
    let of = |name: &str| write.attributes[name].as_str();
    assert_eq!(
        (of("db.system.name"), of("db.operation.name")),
        ("memory", "write")
    );
    for secret in [CARD, RECEIPT] {
        assert!(
            !lines.iter().any(|line| line.contains(secret)),
            "a payload is in the log"
        );
    }
    (instance, lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_an_object_with_the_fields_of_the_attempt_that_says_it() {
    let (instance, lines) = lines("json").await;
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |message: &str| {
        let mut found = lines.iter().filter(|line| line["message"] == message);
        found
            .next()
            .unwrap_or_else(|| panic!("nobody says `{message}`: {lines:#?}"))
    };
    // What the step itself says.
    let own = of("asking the bank");
    assert_eq!(own["bank"], "north");
    assert_eq!(own["level"], "INFO");
    assert_eq!(
        (&own["saga"], &own["step"], &own["kind"]),
        (&"buy".into(), &"charge".into(), &"step".into())
    );
    assert_eq!(
        (&own["instance"], &own["attempt"]),
        (&instance.as_str().into(), &1.into())
    );
    assert_eq!(own["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(own["span_id"].as_str().unwrap().len(), 16);
    assert!(own["timestamp"].as_str().unwrap().ends_with('Z'));
    // What becomes of it.
    let failed = of("attempt failed");
    assert_eq!(
        (&failed["error"], &failed["outcome"]),
        (&"the bank is busy".into(), &"failed".into())
    );
    assert_eq!(
        (&failed["level"], &failed["step"], &failed["attempt"]),
        (&"WARN".into(), &"charge".into(), &1.into())
    );
    assert_eq!(failed["span_id"], own["span_id"], "it is the same attempt");
    let ended = of("instance ended");
    assert_eq!(
        (&ended["instance"], &ended["outcome"]),
        (&instance.as_str().into(), &"completed".into())
    );
    assert_eq!(
        ended["trace_id"], own["trace_id"],
        "one trace from acceptance to end"
    );
    let is_of_instance = |line: &&Value| line["target"] == "sagaz" && line.get("saga").is_some();
    for line in lines.iter().filter(is_of_instance) {
        assert_eq!(line["instance"], instance.as_str(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_terminal_a_line_is_for_people() {
    let (instance, lines) = lines("human").await;
    let own = lines
        .iter()
        .find(|line| line.contains("asking the bank"))
        .unwrap();
    for words in [instance.as_str(), "buy", "charge", "INFO"] {
        assert!(own.contains(words), "{own}");
    }
    assert!(serde_json::from_str::<Value>(own).is_err());
}
