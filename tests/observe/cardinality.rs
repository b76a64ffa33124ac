//! The number of series does not grow with instances, keys or errors, nor without bound with what others send.

use crate::process::{self, Process, say};
use sagaz::{
    Engine, Event, Memory, StepContext, StepError,
    brokers::{Routes, memory::MemoryBroker},
    compensate,
    observe::{EVENT_TYPES_MAX, Observability},
    outbox::{Outbox, Relay},
    saga, step,
    store::{OutboxStore, Transacts},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{sleep, timeout};

/// One in seven is undone.
struct Varied;

/// Which instance it is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Number(u32);

#[saga(name = "varied", input = Number)]
impl Varied {
    #[step]
    async fn first(&self, ctx: &StepContext<'_>, number: &Number) -> Result<u32, StepError> {
        let event = Event::new("varied.begun", number).key(number.0);
        ctx.publish(event).map_err(StepError::permanent)?;
        Ok(number.0)
    }

    #[compensate("first")]
    async fn undo_first(&self) -> Result<(), StepError> {
        Ok(())
    }

    #[step(depends_on = ["first"], no_compensation)]
    async fn second(&self, number: &Number) -> Result<u32, StepError> {
        if number.0.is_multiple_of(7) {
            return Err(StepError::permanent(format!(
                "number {} is declined",
                number.0
            )));
        }
        Ok(number.0)
    }
}

/// The series of a page, without their values.
fn series(page: &str) -> BTreeSet<String> {
    let lines = page
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

/// Not a test of its own: the body of a process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body() {
    if process::part::<()>().is_none() {
        return;
    }
    let observability = Observability::builder().prometheus().install().unwrap();
    let store = Memory::new();
    let broker = MemoryBroker::new().with_routes(Routes::all_to("all").unwrap());
    let relay = Relay::builder(store.clone(), broker).start().await.unwrap();
    let engine = Engine::builder(store.clone())
        .register(Varied)
        .start()
        .await
        .unwrap();
    let mut number = 0;
    let mut seen = Vec::new();
    for upto in [100, 10_100] {
        let mut handles = Vec::new();
        while number < upto {
            number += 1;
            handles.push(engine.start::<Varied>(Number(number)).await.unwrap());
        }
        for handle in handles {
            let _ = handle.outcome().await.unwrap();
        }
        until_published(&store).await;
        seen.push(series(&observability.metrics_page().await.unwrap()));
    }
    let more: Vec<_> = seen[1].difference(&seen[0]).collect();
    assert!(
        more.is_empty(),
        "10,000 instances more have made these series: {more:#?}"
    );

    // Event types of somebody who makes them up.
    let outbox = Outbox::new(store.clone());
    let (mut tx, _guard) = store.begin().await.unwrap();
    for number in 0..1_000 {
        outbox
            .append(&mut tx, Event::new(format!("made.up.{number}"), &()))
            .await
            .unwrap();
    }
    assert!(store.commit(tx).await.is_ok());
    until_published(&store).await;
    let page = observability.metrics_page().await.unwrap();
    let types: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.split_once("event_type=\"")?.1.split_once('"'))
        .map(|(event_type, _)| event_type.to_owned())
        .collect();
    assert_eq!(types.len(), EVENT_TYPES_MAX + 1);
    assert!(types.contains("other"));
    let total = page
        .lines()
        .filter(|line| line.starts_with("sagaz_instances_accepted_total"))
        .collect::<Vec<_>>();
    assert_eq!(
        total,
        ["sagaz_instances_accepted_total{saga=\"varied\"} 10100"]
    );
    engine.shutdown().await;
    relay.shutdown().await;
    say(&format!("series {}", seen[1].len()));
}

async fn until_published(store: &Memory) {
    let waited = timeout(Duration::from_mins(1), async {
        while store.outbox_stats().await.unwrap().pending > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "events are not published");
}

#[test]
fn ten_thousand_instances_make_no_series_more_than_a_hundred() {
    let mut process = Process::start("cardinality::body", &());
    let said = process.wait_for("series ");
    let count: usize = said.rsplit(' ').next().unwrap().parse().unwrap();
    // One saga of two steps, one store, one broker, one event type: most are buckets of histograms.
    assert!((100..400).contains(&count), "{count} series");
    process.end();
}
