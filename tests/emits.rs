//! `emits` and `key`: what a step or compensation publishes when it has done its work.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sagaz::{
    Engine, Event, Memory, Outcome, Recover, Saga, StepError, compensate, recover, saga, step,
    store::{Fetch, OutboxStore, StepState, WorkerId, memory::MemoryTransaction},
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    /// The step that fails.
    fails: Option<String>,
}

fn order(fails: Option<&str>) -> Order {
    Order {
        id: 7,
        customer: "ada".to_owned(),
        fails: fails.map(str::to_owned),
    }
}

impl Order {
    fn check(&self, step: &str) -> Result<(), StepError> {
        if self.fails.as_deref() == Some(step) {
            return Err(StepError::unknown(format!("{step} fails")));
        }
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Hold {
    shelf: String,
}

struct Shop {
    region: &'static str,
}

impl Shop {
    const PREFIX: &'static str = "order";
}

#[saga(input = Order)]
impl Shop {
    #[step(emits = "inventory.reserved", key = output.shelf)]
    async fn reserve(&self, order: &Order) -> Result<Hold, StepError> {
        order.check("reserve")?;
        Ok(Hold {
            shelf: "a-1".to_owned(),
        })
    }

    #[compensate("reserve", emits = "inventory.released", key = order.customer)]
    async fn release(&self) -> Result<(), StepError> {
        Ok(())
    }

    #[step(
        depends_on = [reserve],
        timeout = "1m",
        emits = "payment.charged",
        key = format!("{}-{}-{}-{}", Self::PREFIX, order.id, reserve.shelf, self.region),
    )]
    async fn charge(&self, order: &Order) -> Result<u64, StepError> {
        order.check("charge")?;
        Ok(100)
    }

    #[compensate("charge", emits = "payment.refunded", key = format!("{output:?} {charge:?} {}", reserve.shelf))]
    async fn refund(&self) -> Result<(), StepError> {
        Ok(())
    }

    #[step(depends_on = [charge], emits = "courier.booked")]
    async fn book(&self, order: &Order) -> Result<(), StepError> {
        order.check("book")
    }

    #[compensate("book", emits = "courier.cancelled")]
    async fn cancel(&self) -> Result<(), StepError> {
        Ok(())
    }
}

/// An event as `type key data`.
fn words(event: &Event) -> String {
    let data = String::from_utf8_lossy(&event.data().bytes);
    format!(
        "{} {} {data}",
        event.event_type(),
        event.ordering_key().unwrap()
    )
}

type Told = Arc<Mutex<Vec<Event>>>;

async fn run<G: Saga<Input = Order> + sagaz::RunsOn<sagaz::InProcess>>(
    saga: G,
    input: Order,
) -> (Outcome<G::Outputs>, Vec<Event>) {
    let told = Told::default();
    let outlet = Arc::clone(&told);
    let outcome = saga.run_publishing(input, move |event| outlet.lock().unwrap().push(event));
    let outcome = outcome.await;
    let events = std::mem::take(&mut *told.lock().unwrap());
    (outcome, events)
}

#[tokio::test]
async fn p11_a_step_that_completes_emits_its_output_under_its_key() {
    let (outcome, events) = run(Shop { region: "eu" }, order(None)).await;
    assert!(outcome.is_completed());
    let id = events[0].saga_id().unwrap();
    let words: Vec<_> = events.iter().map(words).collect();
    assert_eq!(
        words,
        [
            r#"inventory.reserved a-1 {"shelf":"a-1"}"#.to_owned(),
            "payment.charged order-7-a-1-eu 100".to_owned(),
            format!("courier.booked {id} null"),
        ]
    );
    assert!(
        events
            .iter()
            .all(|event| event.data().content_type == "application/json")
    );
}

/// A compensation tells what is undone, or that nobody knows it.
#[tokio::test]
async fn p11_a_compensation_emits_what_it_has_undone() {
    let (outcome, events) = run(Shop { region: "eu" }, order(Some("book"))).await;
    assert!(!outcome.is_completed());
    let id = events[0].saga_id().unwrap();
    let words: Vec<_> = events.iter().map(words).collect();
    assert_eq!(
        words[2..],
        [
            format!("courier.cancelled {id} null"),
            "payment.refunded Some(100) Some(100) a-1 100".to_owned(),
            r#"inventory.released ada {"shelf":"a-1"}"#.to_owned(),
        ]
    );

    let (_, events) = run(Shop { region: "eu" }, order(Some("charge"))).await;
    let words: Vec<_> = events.iter().map(self::words).collect();
    assert_eq!(words[1], "payment.refunded None None a-1 null");
    let (_, events) = run(Shop { region: "eu" }, order(Some("reserve"))).await;
    let words: Vec<_> = events.iter().map(self::words).collect();
    assert_eq!(words, ["inventory.released ada null"]);
}

/// The event is in the transaction as the rest of what it writes.
struct Bank;

#[saga(input = Order)]
impl Bank {
    #[step(emits = "account.debited", key = format!("{}/{output}", order.customer))]
    async fn debit(&self, tx: &mut MemoryTransaction, order: &Order) -> Result<u64, StepError> {
        tx.set("debit", order.customer.clone());
        Ok(order.id)
    }

    #[compensate("debit", emits = "account.credited", key = output.copied().unwrap_or_default())]
    async fn credit(&self, tx: &mut MemoryTransaction, debit: &u64) -> Result<(), StepError> {
        tx.set("credit", debit.to_string());
        Ok(())
    }

    #[step(no_compensation, depends_on = [debit])]
    async fn send(&self, order: &Order) -> Result<(), StepError> {
        order.check("send")
    }
}

/// What is in the outbox.
async fn outbox(store: &Memory) -> Vec<String> {
    let worker = WorkerId::random();
    let ttl = Duration::from_mins(1);
    let attendance = store.attend(worker, ttl, store.lanes()).await.unwrap();
    let fetch = Fetch {
        worker,
        lanes: attendance.lanes.into_iter().map(|lane| (lane, 0)).collect(),
        unsettled: Vec::new(),
        keys: Vec::new(),
        limit: 1_000,
    };
    let fetched = store.fetch(&fetch).await.unwrap();
    let mut words: Vec<_> = fetched.events.iter().map(|it| words(&it.event)).collect();
    words.sort();
    words
}

#[tokio::test(start_paused = true)]
async fn p11_a_transactional_step_emits_in_its_transaction() {
    let store = Memory::new();
    let engine = Engine::builder(store.clone()).register(Bank);
    let engine = engine.start().await.unwrap();
    let handle = engine.start::<Bank>(order(Some("send"))).await.unwrap();
    let outcome = handle.outcome().await.unwrap();
    assert!(!outcome.is_completed());
    assert_eq!(
        outbox(&store).await,
        ["account.credited 7 7", "account.debited ada/7 7"]
    );
}

/// A key that cannot be one is found when the step has done its work.
struct Wrong;

#[saga(input = Order)]
impl Wrong {
    #[step(atomic, emits = "wrong.happened", key = order.customer.repeat(600))]
    async fn act(&self, order: &Order) -> Result<u64, StepError> {
        Ok(order.id)
    }

    #[compensate("act", emits = "wrong.undone", key = format!("{act:?}"))]
    async fn undo(&self) -> Result<(), StepError> {
        Ok(())
    }
}

/// Even `atomic` says nothing of an error that came after the work.
#[tokio::test]
async fn p5_a_step_whose_event_cannot_be_published_is_undone() {
    let (outcome, events) = run(Wrong, order(None)).await;
    let Outcome::RolledBack(failure) = outcome else {
        panic!("{outcome:?}");
    };
    let words = failure.to_string();
    assert!(
        words.contains("`wrong.happened` cannot be published"),
        "{words}"
    );
    assert_eq!(
        events.iter().map(self::words).collect::<Vec<_>>(),
        ["wrong.undone None null"]
    );
}

/// Its compensation insists on an output, which there is none of.
struct Insisting(Arc<Mutex<Vec<&'static str>>>);

#[saga(input = Order)]
impl Insisting {
    #[step(atomic, emits = "wrong.happened", key = "")]
    async fn act(&self, order: &Order) -> Result<u64, StepError> {
        self.0.lock().unwrap().push("act");
        Ok(order.id)
    }

    #[compensate("act")]
    async fn undo(&self, act: &u64) -> Result<(), StepError> {
        let _ = act;
        self.0.lock().unwrap().push("undo");
        Ok(())
    }
}

/// It is attempted once more, as after any outcome in doubt, and then an operator decides.
#[tokio::test]
async fn p8_a_step_that_can_neither_be_told_of_nor_undone_is_stuck() {
    let calls = Arc::<Mutex<Vec<_>>>::default();
    let (outcome, events) = run(Insisting(Arc::clone(&calls)), order(None)).await;
    let Outcome::Stuck(stuck) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(stuck.step.as_deref(), Some("act"));
    assert_eq!(*calls.lock().unwrap(), ["act", "act"]);
    assert!(events.is_empty());
}

/// What a recovery gives is the output of its step.
struct Recovering;

#[saga(input = Order)]
impl Recovering {
    #[step(pivot, retry(attempts = 1), emits = "paid", key = "k")]
    async fn pay(&self) -> Result<u64, StepError> {
        Ok(1)
    }

    #[step(depends_on = [pay], retry(attempts = 1), emits = "confirmed", key = order.customer.repeat(*output))]
    async fn confirm(&self, order: &Order) -> Result<usize, StepError> {
        order.check("confirm")?;
        Ok(1)
    }

    #[recover("confirm")]
    async fn by_hand(&self, order: &Order) -> Recover<usize> {
        Recover::Use(usize::try_from(order.id).unwrap())
    }
}

#[tokio::test]
async fn p11_an_output_that_a_recovery_gives_is_emitted() {
    let (outcome, events) = run(Recovering, order(Some("confirm"))).await;
    assert!(outcome.is_completed());
    let words: Vec<_> = events.iter().map(words).collect();
    assert_eq!(words, ["paid k 1", "confirmed adaadaadaadaadaadaada 7"]);
}

#[tokio::test(start_paused = true)]
async fn p8_a_recovery_whose_event_cannot_be_published_leaves_the_instance_stuck() {
    let store = Memory::new();
    let engine = Engine::builder(store.clone()).register(Recovering);
    let engine = engine.start().await.unwrap();
    let input = Order {
        id: 600,
        ..order(Some("confirm"))
    };
    let handle = engine.start::<Recovering>(input).await.unwrap();
    let Outcome::Stuck(stuck) = handle.outcome().await.unwrap() else {
        panic!("it is stuck");
    };
    assert!(
        stuck.message.contains("`confirmed` cannot be published"),
        "{stuck:?}"
    );
    let rows = engine.inspect(handle.id()).await.unwrap().unwrap().steps;
    let row = rows.iter().find(|row| row.name == "confirm").unwrap();
    assert_ne!(row.state, StepState::Completed);
    assert_eq!(outbox(&store).await, ["paid k 1"]);
}
