//! Outbox and inbox in a file: what conformance cannot ask of every store.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sagaz_core::{
    EngineId, Event, Payload, SagaId, StepKind, Token,
    store::{
        Accept, AppendsIn, Begun, CommitError, DeadDecision, DeadLetterId, DeadState,
        DefinitionKey, Fate, Fetch, InboxStore, InstanceState, Intervention, Mark, OutboxStore,
        Progress, SagaStore, Sender, SentEvents, StepState, StepWrite, Transacts, WorkerId, Write,
    },
};
use sagaz_storage::sqlite::Sqlite;
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool, sqlite::SqliteConnectOptions};
use std::{future::poll_fn, path::Path, pin::pin, task::Poll, time::Duration};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than anything here takes, unless it hangs.
const BOUND: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_hours(1);

async fn store() -> (TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(directory.path().join("sagas.db"))
        .await
        .unwrap();
    (directory, store)
}

async fn connection(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap()
}

fn event(key: &str, number: u32) -> Event {
    Event::new("thing.happened", &number)
        .source("/test")
        .key(key)
}

/// An instance that is owned, and its token.
async fn owned(store: &Sqlite) -> (SagaId, Token) {
    let (id, owner) = (SagaId::new(), EngineId::random());
    let accept = Accept {
        id,
        definition: DefinitionKey {
            saga: "order".to_owned(),
            version: 1,
            fingerprint: "graph".to_owned(),
        },
        input: Payload {
            content_type: "application/json".to_owned(),
            bytes: b"1".to_vec(),
        },
        input_digest: "digest".to_owned(),
        start_key: None,
        owner: Some(owner),
        deadline: None,
        trace: None,
    };
    store.write(&[Write::Accept(accept)]).await.unwrap();
    (id, Token { owner, epoch: 1 })
}

fn progress((id, token): (SagaId, Token), step: &str, events: Vec<Event>) -> Progress {
    Progress {
        id,
        token,
        state: InstanceState::Executing,
        pivot_passed: false,
        failure: None,
        stuck: None,
        release: None,
        sender: None,
        steps: vec![StepWrite {
            name: step.to_owned(),
            kind: StepKind::Compensatable,
            state: StepState::Completed,
            attempts: 1,
            undo_attempts: 0,
            recoveries: 0,
            output: None,
            error: None,
            wake: None,
            events,
        }],
    }
}

async fn is_told(store: &Sqlite) -> bool {
    timeout(Duration::from_millis(50), store.outbox_news())
        .await
        .is_ok()
}

async fn told(store: &Sqlite) {
    timeout(BOUND, store.outbox_news()).await.expect("news");
}

async fn pending(store: &Sqlite) -> u64 {
    store.outbox_stats().await.unwrap().pending
}

#[tokio::test]
async fn every_handle_of_a_file_is_told_of_new_events_once() {
    let (_directory, one) = store().await;
    let (clone, two) = (one.clone(), Sqlite::open(one.path()).await.unwrap());
    let (_other_directory, other) = store().await;
    let instance = owned(&one).await;
    assert!(!is_told(&one).await, "an accept publishes nothing");
    let write = Write::Progress(progress(instance, "a", vec![event("k", 1)]));
    one.write(&[write]).await.unwrap();
    for handle in [&one, &clone, &two] {
        told(handle).await;
    }
    for handle in [&one, &clone, &two, &other] {
        assert!(!is_told(handle).await);
    }
}

/// It publishes them itself, so the relay need not look, unless one is left to it.
#[tokio::test]
async fn what_has_a_sender_is_news_only_when_it_is_left_to_the_relay() {
    let (_directory, store) = store().await;
    let instance = owned(&store).await;
    let sender = Sender {
        id: WorkerId::random(),
        lease: HOUR,
    };
    let write = async |step: &str, number: u32| {
        let event = event("k", number);
        let id = event.event_id().clone();
        let progress = Progress {
            sender: Some(sender),
            ..progress(instance, step, vec![event])
        };
        store.write(&[Write::Progress(progress)]).await.unwrap();
        id
    };
    let first = write("a", 1).await;
    let heads = store.heads(sender.id, &[first]).await.unwrap();
    assert_eq!(heads.len(), 1);
    assert!(!is_told(&store).await);
    let second = write("b", 2).await;
    assert!(store.heads(sender.id, &[second]).await.unwrap().is_empty());
    told(&store).await;
    store
        .settle_heads(sender.id, &[(heads[0].1, false)], SentEvents::Delete)
        .await
        .unwrap();
    told(&store).await;
}

/// Also where the application ends the transaction, of which SQLite tells nobody.
#[tokio::test]
async fn what_was_appended_is_told_when_it_is_committed_and_not_before() {
    let (_directory, store) = store().await;
    let url = format!("sqlite://{}", store.path().display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    for number in 0..3 {
        let mut tx = pool.begin().await.unwrap();
        let appended = event("k", number);
        store.append_in(&mut tx, &appended).await.unwrap();
        assert!(!is_told(&store).await);
        tx.commit().await.unwrap();
        told(&store).await;
        assert!(!is_told(&store).await);
        // One that is there already is no news.
        let mut tx = pool.begin().await.unwrap();
        store.append_in(&mut tx, &appended).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!is_told(&store).await);
    }
    assert_eq!(pending(&store).await, 3);

    let (mut tx, turn) = store.begin().await.unwrap();
    store.append_in(&mut tx, &event("k", 3)).await.unwrap();
    assert!(!is_told(&store).await);
    Transacts::commit(&store, tx).await.unwrap();
    drop(turn);
    told(&store).await;
}

/// Whatever was appended before it has ended.
#[tokio::test]
async fn a_write_tells_of_what_was_appended_before_it() {
    let (_directory, store) = store().await;
    let url = format!("sqlite://{}", store.path().display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    store.append_in(&mut tx, &event("k", 1)).await.unwrap();
    tx.commit().await.unwrap();
    store.attend(WorkerId::random(), HOUR, 1).await.unwrap();
    let first_poll = poll_fn({
        let mut news = Box::pin(store.outbox_news());
        move |context| Poll::Ready(news.as_mut().poll(context))
    });
    assert!(first_poll.await.is_ready(), "it need not be looked for");
}

#[tokio::test]
async fn an_appended_event_is_rolled_back_with_its_transaction() {
    let (_directory, store) = store().await;
    let url = format!("sqlite://{}", store.path().display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    store.append_in(&mut tx, &event("k", 1)).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(pending(&store).await, 0);
    let mut tx = pool.begin().await.unwrap();
    let without = Event::new("thing.happened", &1).source("/test");
    let error = store.append_in(&mut tx, &without).await.unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("has no key"));
}

async fn begin(store: &Sqlite, event: &Event) -> <Sqlite as InboxStore>::Tx {
    let begun = timeout(BOUND, store.begin_handling("mail", event)).await;
    match begun.expect("its turn comes").unwrap() {
        Begun::New(tx) => tx,
        _ => panic!("it was handled before"),
    }
}

/// Whatever else writes waits for its turn, and is not told that the file is busy.
#[tokio::test]
async fn a_write_waits_for_the_end_of_a_handling_however_it_ends() {
    let (_directory, store) = store().await;
    let instance = owned(&store).await;
    let write = |step: &str| [Write::Progress(progress(instance, step, Vec::new()))];
    for (n, ending) in ["committed", "dropped", "by_hand"].into_iter().enumerate() {
        let message = event("m", u32::try_from(n).unwrap());
        let mut tx = begin(&store, &message).await;
        let batch = write(ending);
        let mut waiting = pin!(store.write(&batch));
        // Longer than SQLite's own patience.
        let early = timeout(Duration::from_millis(700), waiting.as_mut()).await;
        assert!(early.is_err(), "{ending}: {early:?}");
        match ending {
            "committed" => drop(store.finish_handling(tx).await.unwrap()),
            "dropped" => drop(tx),
            _ => {
                sqlx::raw_sql("COMMIT").execute(&mut *tx).await.unwrap();
                let error = store.finish_handling(tx).await.unwrap_err();
                let CommitError::RolledBack(error) = error else {
                    panic!("{error:?}");
                };
                let words = "ended before the handler did";
                assert!(error.to_string().contains(words), "{error}");
            }
        }
        timeout(BOUND, waiting).await.expect(ending).unwrap();
        let handled = store.is_handled("mail", message.event_id()).await.unwrap();
        assert_eq!(handled, ending != "dropped");
    }
}

/// Dropped after each number of polls, so that every await inside is met.
#[tokio::test]
async fn a_handling_that_is_dropped_while_it_begins_gives_its_turn_up() {
    let (_directory, store) = store().await;
    for polls in 0..12 {
        let message = event("m", polls);
        {
            let mut handling = pin!(store.begin_handling("mail", &message));
            for _ in 0..polls {
                let poll = poll_fn(|context| Poll::Ready(handling.as_mut().poll(context))).await;
                if poll.is_ready() {
                    break;
                }
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
        }
        let tx = begin(&store, &message).await;
        store.finish_handling(tx).await.unwrap();
    }
}

/// Neither comes a second time when its record is old, nor is it forgotten while it waits.
#[tokio::test]
async fn p8_an_event_that_was_given_back_outlasts_pruning_and_comes_once() {
    let (_directory, store) = store().await;
    let message = event("m", 1);
    store.bury("mail", &message, 5, "no").await.unwrap();
    let decision = DeadDecision {
        letters: vec![DeadLetterId {
            event: message.event_id().clone(),
            consumer: Some("mail".to_owned()),
        }],
        state: DeadState::Retried,
        intervention: Intervention {
            action: "retry".to_owned(),
            who: "ada".to_owned(),
            why: "mended".to_owned(),
            at_ms: 0,
        },
    };
    assert_eq!(store.decide(&decision).await.unwrap(), 1);
    assert_eq!(store.prune_sent(Duration::ZERO, 10).await.unwrap(), 0);
    assert_eq!(store.retries("mail", 10).await.unwrap().len(), 1);
    let tx = begin(&store, &message).await;
    store.finish_handling(tx).await.unwrap();
    assert_eq!(store.prune_handled(Duration::ZERO, 10).await.unwrap(), 1);
    assert!(store.retries("mail", 10).await.unwrap().is_empty());
    assert_eq!(store.prune_sent(Duration::ZERO, 10).await.unwrap(), 1);
}

/// A place that was sent is not given again, or a reader that is past it would miss the event.
#[tokio::test]
async fn p11_no_place_is_given_twice() {
    let (_directory, store) = store().await;
    let (worker, instance) = (WorkerId::random(), owned(&store).await);
    let lanes = store
        .attend(worker, HOUR, store.lanes())
        .await
        .unwrap()
        .lanes;
    let mut fetch = Fetch {
        worker,
        lanes: lanes.into_iter().map(|lane| (lane, 0)).collect(),
        unsettled: Vec::new(),
        keys: Vec::new(),
        limit: 10,
    };
    for number in 0..3 {
        let events = vec![event("k", number)];
        let write = Write::Progress(progress(instance, &format!("s{number}"), events));
        store.write(&[write]).await.unwrap();
        let fetched = store.fetch(&fetch).await.unwrap();
        let [read] = fetched.events.as_slice() else {
            panic!("{number}: {:?}", fetched.events);
        };
        let owned = fetch.lanes.iter().map(|(lane, _)| *lane);
        let lane = owned.into_iter().find(|lane| lane.index == read.place.lane);
        let mark = Mark {
            lane: lane.unwrap(),
            seq: read.place.seq,
            fate: Fate::Sent,
        };
        store
            .mark(worker, &[mark], SentEvents::Delete)
            .await
            .unwrap();
        for ((_, after), next) in fetch.lanes.iter_mut().zip(fetched.after) {
            *after = next.unwrap();
        }
    }
}

#[tokio::test]
async fn data_is_text_if_it_is_json_and_else_a_blob() {
    let (_directory, store) = store().await;
    let instance = owned(&store).await;
    let data = Payload {
        content_type: "application/cbor".to_owned(),
        bytes: vec![0, 255],
    };
    let blob = Event::raw("thing.happened", data).source("/test").key("k");
    let events = vec![event("k", 1), blob.attribute("tenant", "north")];
    store
        .write(&[Write::Progress(progress(instance, "a", events))])
        .await
        .unwrap();
    let mut connection = connection(store.path()).await;
    let sql = "SELECT group_concat(typeof(data) || ' ' || attributes, ', ') FROM saga_outbox";
    let types: String = sqlx::query_scalar(sql)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(types, r#"text {}, blob {"tenant":"north"}"#);
}

#[tokio::test]
async fn an_event_that_sqlite_cannot_hold_is_refused() {
    let (_directory, store) = store().await;
    let instance = owned(&store).await;
    let events = vec![event("k", 1), event("a\0b", 2)];
    let write = [Write::Progress(progress(instance, "a", events))];
    assert!(store.write(&write).await.unwrap_err().is_refusal());
    assert_eq!(pending(&store).await, 0);
}
