//! Logs: what a step says has the fields of its attempt, and nothing has a payload.

use crate::{
    buy::{Buy, CARD, Purchase, RECEIPT},
    collector::Collector,
    process::{self, Process, say},
};
use sagaz::{
    Engine, Memory,
    observe::{LogFormat, Observability},
};
use serde_json::Value;
use std::io::{BufRead, BufReader};

/// Not a test of its own: the body of a process.
#[tokio::test]
async fn body() {
    let Some((collector, format)) = process::part::<(String, String)>() else {
        return;
    };
    let format = if format == "json" {
        LogFormat::Json
    } else {
        LogFormat::Human
    };
    let observability = Observability::builder()
        .logs(format)
        .filter("debug,h2=off,hyper=off,tonic=off,tower=off")
        .otlp(collector)
        .install()
        .unwrap();
    let engine = Engine::builder(Memory::new())
        .register(Buy { hangs: false })
        .start()
        .await
        .unwrap();
    let purchase = Purchase {
        number: 7,
        card: CARD.to_owned(),
    };
    let handle = engine.start::<Buy>(purchase).await.unwrap();
    assert!(handle.outcome().await.unwrap().is_completed());
    say(&format!("instance {}", handle.id()));
    engine.shutdown().await;
    observability.shutdown().await;
}

async fn lines(format: &str) -> (String, Vec<String>) {
    let collector = Collector::start();
    let part = (collector.url.clone(), format.to_owned());
    let mut process = Process::start("logs::body", &part, &[]);
    let stderr = process.take_stderr().unwrap();
    let said = process.wait_for("instance ");
    let instance = said.rsplit(' ').next().unwrap().to_owned();
    process.end();
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
    let lines: Vec<String> = BufReader::new(stderr).lines().map(Result::unwrap).collect();
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
    let is_attributed =
        |line: &&Value| line["message"] != "lease renewed" && line["target"] == "sagaz";
    for line in lines
        .iter()
        .filter(is_attributed)
        .filter(|line| line.get("saga").is_some())
    {
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
