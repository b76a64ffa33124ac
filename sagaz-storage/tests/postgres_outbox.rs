//! What only a server with many sessions shows of the outbox: transactions that overlap on a key, takeovers in the middle of a
//! mark.
#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

/// By this name they are left out where there is no server.
mod postgres {
    use crate::support::{
        postgres::{schema, store, url},
        postgres_events::{
            HOUR, Reader, engine, event, number, owned, publishing, run, session, until_blocked,
        },
    };
    use sagaz_core::{
        SagaId,
        store::{
            AppendsIn, OutboxStore, SagaStore, Sender, SentEvents, Transacts, WorkerId, Write,
            Written, lane_of,
        },
    };
    use sagaz_storage::postgres::Postgres;
    use sqlx::{PgPool, PgTransaction};
    use std::{collections::BTreeSet, time::Duration};
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_mins(1);

    async fn begin() -> PgTransaction<'static> {
        // Of nobody: any transaction of this database will do.
        PgPool::connect_lazy(&url()).unwrap().begin().await.unwrap()
    }

    fn is_stored(written: &Written) -> bool {
        matches!(written, Written::Stored { .. })
    }

    /// Appends in a task of its own, and gives the transaction back.
    fn appending(
        store: &Postgres,
        mut tx: PgTransaction<'static>,
        key: &str,
        number: u32,
    ) -> tokio::task::JoinHandle<PgTransaction<'static>> {
        let (store, event) = (store.clone(), event(key, number));
        tokio::spawn(async move {
            store.append_in(&mut tx, &event).await.unwrap();
            tx
        })
    }

    /// The later one waits, whichever of them began first.
    #[tokio::test]
    async fn p11_of_two_transactions_that_append_to_a_key_the_first_to_commit_is_first() {
        let store = store().await;
        let mut reader = Reader::of(&store).await;
        let (mut early, mut late) = (begin().await, begin().await);
        // The first has its number, and its snapshot, before the other.
        sqlx::query("SELECT pg_current_xact_id()")
            .execute(&mut *early)
            .await
            .unwrap();
        store.append_in(&mut late, &event("a", 1)).await.unwrap();
        let waiting = appending(&store, early, "a", 2);
        until_blocked(store.schema()).await;
        late.commit().await.unwrap();
        let early = waiting.await.unwrap();
        assert_eq!(reader.read(&store).await, [1]);
        early.commit().await.unwrap();
        assert_eq!(reader.read(&store).await, [2]);
    }

    #[tokio::test]
    async fn p11_who_waited_for_a_transaction_that_is_rolled_back_is_first() {
        let store = store().await;
        let mut reader = Reader::of(&store).await;
        let (mut one, other) = (begin().await, begin().await);
        store.append_in(&mut one, &event("a", 1)).await.unwrap();
        let waiting = appending(&store, other, "a", 2);
        until_blocked(store.schema()).await;
        one.rollback().await.unwrap();
        waiting.await.unwrap().commit().await.unwrap();
        assert_eq!(reader.read(&store).await, [2]);
    }

    /// With a sender and without; the rest of the batch goes on.
    #[tokio::test]
    async fn p11_a_write_whose_key_is_held_by_a_transaction_is_busy_and_comes_after_it() {
        let store = store().await;
        let owner = engine(&store).await;
        let mut reader = Reader::of(&store).await;
        let sender = Sender {
            id: WorkerId::random(),
            lease: HOUR,
        };
        for sender in [None, Some(sender)] {
            let mut tx = begin().await;
            store.append_in(&mut tx, &event("held", 1)).await.unwrap();
            let (held, free) = (owned(&store, owner).await, owned(&store, owner).await);
            let batch = [
                publishing(held, "charge", &[event("held", 2)], sender),
                publishing(free, "charge", &[event("free", 3)], sender),
            ];
            let written = store.write(&batch).await.unwrap();
            assert_eq!(written[0], Written::Busy);
            assert!(is_stored(&written[1]), "{written:?}");
            let stored = store.load(held.0).await.unwrap().unwrap();
            assert!(stored.steps.is_empty(), "nothing of it is written");
            assert_eq!(reader.read(&store).await, [3]);
            tx.commit().await.unwrap();
            let written = store.write(&batch[..1]).await.unwrap();
            assert!(is_stored(&written[0]), "{written:?}");
            let read = reader.events(&store).await;
            assert_eq!(read.iter().map(number).collect::<Vec<_>>(), [1, 2]);
            assert_eq!(read[1].wait, None, "an older one is to be sent");
            let all = reader.events_again(&store).await;
            reader.mark_sent(&store, &all).await;
        }
    }

    /// The other way round.
    #[tokio::test]
    async fn p11_a_transaction_waits_for_a_step_that_has_published_under_its_key() {
        let store = store().await;
        let owner = engine(&store).await;
        let mut reader = Reader::of(&store).await;
        for (key, number) in [("shared".to_owned(), 1), (SagaId::new().to_string(), 11)] {
            let instance = owned(&store, owner).await;
            let write = publishing(instance, "charge", &[event(&key, number)], None);
            let (mut step, _guard) = store.begin().await.unwrap();
            let written = store.write_in(&mut step, &write).await.unwrap();
            assert!(is_stored(&written));
            let waiting = appending(&store, begin().await, &key, number + 1);
            until_blocked(store.schema()).await;
            store.commit(step).await.unwrap();
            waiting.await.unwrap().commit().await.unwrap();
            assert_eq!(reader.read(&store).await, [number, number + 1]);
        }
    }

    /// Whose row is the lock, for itself and for others.
    #[tokio::test]
    async fn p11_events_under_an_instances_id_are_in_the_order_of_their_commits() {
        let store = store().await;
        let owner = engine(&store).await;
        let mut reader = Reader::of(&store).await;
        let instance = owned(&store, owner).await;
        let id = instance.0;
        let guest = owned(&store, owner).await;
        let mut tx = begin().await;
        store.append_in(&mut tx, &event(id, 1)).await.unwrap();
        let own = publishing(instance, "charge", &[event(id, 2)], None);
        let others = publishing(guest, "charge", &[event(id, 3)], None);
        for write in [&own, &others] {
            let written = store.write(std::slice::from_ref(write)).await.unwrap();
            assert_eq!(written, [Written::Busy]);
        }
        tx.commit().await.unwrap();
        for write in [own, others] {
            assert!(is_stored(&store.write(&[write]).await.unwrap()[0]));
        }
        assert_eq!(reader.read(&store).await, [1, 2, 3]);
        // And a step that holds its instance makes others wait.
        let (mut step, _guard) = store.begin().await.unwrap();
        let own = publishing(instance, "confirm", &[event(id, 4)], None);
        store.write_in(&mut step, &own).await.unwrap();
        let others = publishing(guest, "confirm", &[event(id, 5)], None);
        let written = store.write(std::slice::from_ref(&others)).await.unwrap();
        assert_eq!(written, [Written::Busy]);
        let waiting = appending(&store, begin().await, &id.to_string(), 6);
        until_blocked(store.schema()).await;
        store.commit(step).await.unwrap();
        waiting.await.unwrap().commit().await.unwrap();
        assert!(is_stored(&store.write(&[others]).await.unwrap()[0]));
        assert_eq!(reader.read(&store).await, [4, 6, 5]);
    }

    /// Its place is below what was read meanwhile.
    #[tokio::test]
    async fn p11_an_open_transaction_holds_up_its_own_key_alone_and_is_read_when_it_commits() {
        let store = store().await;
        let mut reader = Reader::of(&store).await;
        let mut open = begin().await;
        store.append_in(&mut open, &event("held", 0)).await.unwrap();
        // Of the same lane, which is read past its place.
        let lane = lane_of("held", 64);
        let keys = (0..).filter(|n: &u32| lane_of(&n.to_string(), 64) == lane);
        for (n, key) in (1..=50).zip(keys) {
            let mut tx = begin().await;
            store.append_in(&mut tx, &event(key, n)).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(reader.read(&store).await, [n]);
        }
        store
            .append_in(&mut open, &event("held", 51))
            .await
            .unwrap();
        assert!(reader.read(&store).await.is_empty());
        open.commit().await.unwrap();
        assert_eq!(reader.read(&store).await, [0, 51]);
        assert!(reader.read(&store).await.is_empty(), "once");
    }

    /// The later of two transactions gets its place first, and is open when the earlier one's is read: no transaction with so high a
    /// number has ended, so the snapshot of that read does not name it.
    #[tokio::test]
    async fn p11_a_transaction_with_the_highest_number_is_read_when_it_commits() {
        let store = store().await;
        let mut reader = Reader::of(&store).await;
        let lane = lane_of("held", 64);
        let keys = (0..).filter(|n: &u32| lane_of(&n.to_string(), 64) == lane);
        // Others use the server too, and may end with a higher number in the same moment.
        for (n, key) in (0..10).zip(keys) {
            let (mut early, mut later) = (begin().await, begin().await);
            sqlx::query("SELECT pg_current_xact_id()")
                .execute(&mut *early)
                .await
                .unwrap();
            let held = event("held", 2 * n);
            store.append_in(&mut later, &held).await.unwrap();
            let above = event(key, 2 * n + 1);
            store.append_in(&mut early, &above).await.unwrap();
            early.commit().await.unwrap();
            assert_eq!(reader.read(&store).await, [2 * n + 1]);
            later.commit().await.unwrap();
            assert_eq!(reader.read(&store).await, [2 * n]);
            assert!(reader.read(&store).await.is_empty(), "once");
        }
    }

    /// More than one read takes: then nothing is told before it in its key.
    #[tokio::test]
    async fn p11_a_transaction_with_very_many_events_is_read_in_order_when_it_commits() {
        const MANY: u32 = 1_500;
        let store = store().await;
        let mut reader = Reader::of(&store).await;
        let mut open = begin().await;
        for n in 0..MANY {
            store.append_in(&mut open, &event(n % 7, n)).await.unwrap();
        }
        let mut tx = begin().await;
        store
            .append_in(&mut tx, &event("last", MANY))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        // In every lane something is read that is above all of these places.
        for n in 0..400 {
            let mut tx = begin().await;
            let above = event(format!("above-{n}"), MANY + 1);
            store.append_in(&mut tx, &above).await.unwrap();
            tx.commit().await.unwrap();
        }
        let read = reader.read(&store).await;
        assert_eq!(read.len(), 401);
        assert!(
            reader.lanes.iter().all(|(_, after)| *after > 0),
            "every lane has one of so many keys"
        );
        open.commit().await.unwrap();
        let read = reader.read(&store).await;
        for key in 0..7 {
            let of_key: Vec<_> = read
                .iter()
                .filter(|n| **n < MANY && **n % 7 == key)
                .collect();
            assert!(of_key.is_sorted(), "{of_key:?}");
        }
        let distinct: BTreeSet<_> = read.into_iter().filter(|n| *n < MANY).collect();
        assert_eq!(distinct.len(), MANY as usize);
    }

    /// The first try was held up on its way, and has come to its end while the second waited for it.
    #[tokio::test]
    async fn p11_a_try_that_waited_for_an_earlier_one_stores_no_event_again() {
        let store = store().await;
        let schema = store.schema().to_owned();
        let owner = engine(&store).await;
        let (id, token) = owned(&store, owner).await;
        let mut reader = Reader::of(&store).await;
        let write = publishing((id, token), "charge", &[event("a", 1)], None);
        let mut first = session().await;
        run(&mut first, "BEGIN".to_owned()).await;
        run(
            &mut first,
            format!(
                "UPDATE {schema}.saga_instance SET state = 'executing';
                INSERT INTO {schema}.saga_step (instance_id, name, kind, state, attempts, undo_attempts, recoveries, updated_at)
                VALUES ('{id}', 'charge', 'compensatable', 'completed', 1, 0, 0, now())"
            ),
        )
        .await;
        let second = {
            let (store, write) = (store.clone(), write.clone());
            tokio::spawn(async move { store.write(&[write]).await })
        };
        until_blocked(&schema).await;
        // Its event is sent and gone by now.
        run(&mut first, "COMMIT".to_owned()).await;
        assert!(is_stored(&second.await.unwrap().unwrap()[0]));
        assert!(is_stored(&store.write(&[write]).await.unwrap()[0]));
        assert!(reader.read(&store).await.is_empty());
    }

    /// As it is where the older one was committed after the write had begun.
    #[tokio::test]
    async fn p11_a_sender_that_is_not_first_leaves_its_event_to_the_relay() {
        let store = store().await;
        let owner = engine(&store).await;
        let mut reader = Reader::of(&store).await;
        let mut tx = begin().await;
        store.append_in(&mut tx, &event("a", 1)).await.unwrap();
        tx.commit().await.unwrap();
        let sender = Sender {
            id: WorkerId::random(),
            lease: HOUR,
        };
        let (first, second) = (event("a", 2), event("b", 3));
        let events = [first.clone(), second.clone()];
        let write = publishing(owned(&store, owner).await, "charge", &events, Some(sender));
        assert!(is_stored(&store.write(&[write]).await.unwrap()[0]));
        let lease = format!(
            "UPDATE {}.outbox SET leased_to = '{}', leased_until = 'infinity' WHERE id = '{}'",
            store.schema(),
            sender.id,
            first.event_id()
        );
        run(&mut session().await, lease).await;
        let ids = events.map(|event| event.event_id().clone());
        let heads = store.heads(sender.id, &ids).await.unwrap();
        let of_second: Vec<_> = heads.iter().map(|(id, _)| id).collect();
        assert_eq!(of_second, [second.event_id()]);
        let read = reader.events(&store).await;
        let waits: Vec<_> = read
            .iter()
            .map(|it| (number(it), it.wait.is_some()))
            .collect();
        assert_eq!(waits, [(1, false), (2, false), (3, true)]);
    }

    /// Steps that wait for it give up, on the server too, and leave their connections to others.
    #[tokio::test]
    async fn p12_a_transaction_that_holds_a_key_keeps_no_step_from_publishing_under_another() {
        let options = Postgres::options(&url()).unwrap().schema(schema());
        let options = options.transactions_max(2);
        let options = options.call_timeout(Duration::from_secs(3));
        let store = options.connect().await.unwrap();
        let owner = engine(&store).await;
        let mut holding = begin().await;
        let held = event("held", 1);
        store.append_in(&mut holding, &held).await.unwrap();
        let instance = owned(&store, owner).await;
        let write = publishing(instance, "charge", &[event("held", 2)], None);
        for _ in 0..2 {
            let (mut step, _guard) = store.begin().await.unwrap();
            let error = store.write_in(&mut step, &write).await.unwrap_err();
            assert!(error.is_transient(), "{error:?}");
        }
        let instance = owned(&store, owner).await;
        let other = publishing(instance, "charge", &[event("other", 3)], None);
        let (mut step, _guard) = store.begin().await.unwrap();
        let written = store.write_in(&mut step, &other).await.unwrap();
        assert!(is_stored(&written));
        store.commit(step).await.unwrap();
        holding.commit().await.unwrap();
        let (mut step, _guard) = store.begin().await.unwrap();
        let written = store.write_in(&mut step, &write).await.unwrap();
        assert!(is_stored(&written));
        store.commit(step).await.unwrap();
        let mut reader = Reader::of(&store).await;
        let read: BTreeSet<_> = reader.read(&store).await.into_iter().collect();
        assert_eq!(read, BTreeSet::from([1, 2, 3]));
    }

    /// It sees the lanes as they are, and not as they were when it began.
    #[tokio::test]
    async fn p7_a_mark_that_waited_for_a_takeover_changes_nothing() {
        let store = store().await;
        let schema = store.schema().to_owned();
        let mut tx = begin().await;
        store.append_in(&mut tx, &event("a", 1)).await.unwrap();
        tx.commit().await.unwrap();
        let mut reader = Reader::of(&store).await;
        let read = reader.events(&store).await;
        let lane = read[0].place.lane;
        let mut other = session().await;
        run(&mut other, "BEGIN".to_owned()).await;
        run(
            &mut other,
            format!("UPDATE {schema}.outbox_lane SET owner = gen_random_uuid(), epoch = epoch + 1"),
        )
        .await;
        let marking = {
            let (store, id) = (store.clone(), reader.id);
            let mark = reader.sent(&read[0]);
            tokio::spawn(async move { store.mark(id, &[mark], SentEvents::Delete).await })
        };
        until_blocked(&schema).await;
        run(&mut other, "COMMIT".to_owned()).await;
        assert_eq!(marking.await.unwrap().unwrap(), [lane]);
        assert_eq!(store.outbox_stats().await.unwrap().pending, 1);
    }

    /// The taker has looked at the clock and found the worker dead; the worker's renewal waits for it.
    #[tokio::test]
    async fn p7_a_worker_that_waited_for_a_takeover_is_told_what_it_has_lost() {
        let store = store().await;
        let schema = store.schema().to_owned();
        let reader = Reader::of(&store).await;
        let mut other = session().await;
        run(&mut other, "BEGIN".to_owned()).await;
        run(
            &mut other,
            format!(
                "UPDATE {schema}.outbox_worker SET lease_until = '-infinity';
                UPDATE {schema}.outbox_lane SET owner = gen_random_uuid(), epoch = epoch + 1 WHERE lane < 60;
                INSERT INTO {schema}.outbox_worker SELECT owner, 'infinity' FROM {schema}.outbox_lane WHERE lane < 60"
            ),
        )
        .await;
        let attending = {
            let (store, id) = (store.clone(), reader.id);
            tokio::spawn(async move { store.attend(id, HOUR, 64).await })
        };
        until_blocked(&schema).await;
        run(&mut other, "COMMIT".to_owned()).await;
        let lanes = attending.await.unwrap().unwrap().lanes;
        let indexes: Vec<_> = lanes.iter().map(|lane| lane.index).collect();
        assert_eq!(indexes, [60, 61, 62, 63]);
    }

    /// Its lease was set back before, and more lanes are still its own than whoever did that wanted.
    #[tokio::test]
    async fn p7_a_worker_that_renews_in_the_moment_of_a_takeover_keeps_what_it_has() {
        let store = store().await;
        let schema = store.schema().to_owned();
        let reader = Reader::of(&store).await;
        let buried = format!("UPDATE {schema}.outbox_worker SET lease_until = '-infinity'");
        let mut renewing = session().await;
        run(&mut renewing, buried).await;
        run(&mut renewing, "BEGIN".to_owned()).await;
        run(
            &mut renewing,
            format!("UPDATE {schema}.outbox_worker SET lease_until = 'infinity'"),
        )
        .await;
        let taker = WorkerId::random();
        let lanes = store.attend(taker, HOUR, 1).await.unwrap().lanes;
        run(&mut renewing, "COMMIT".to_owned()).await;
        assert!(lanes.is_empty(), "{lanes:?}");
        let kept = store.attend(reader.id, HOUR, 64).await.unwrap().lanes;
        assert_eq!(kept.len(), reader.lanes.len());
        // And who does not renew loses them.
        run(
            &mut renewing,
            format!(
                "UPDATE {schema}.outbox_worker SET lease_until = '-infinity' WHERE id <> '{taker}'"
            ),
        )
        .await;
        let lanes = store.attend(taker, HOUR, 1).await.unwrap().lanes;
        assert_eq!(lanes.len(), 1);
    }

    /// In as many statements as the locks of keys need.
    #[tokio::test]
    async fn p12_a_batch_of_very_many_keys_is_written() {
        let store = store().await;
        let owner = engine(&store).await;
        let mut batch = Vec::new();
        for n in 0..100 {
            let events: Vec<_> = (0..9)
                .map(|m| event(format!("{n}/{m}"), 9 * n + m))
                .collect();
            batch.push(publishing(
                owned(&store, owner).await,
                "charge",
                &events,
                None,
            ));
        }
        let written = store.write(&batch).await.unwrap();
        assert!(written.iter().all(is_stored), "{written:?}");
        let mut read = Reader::of(&store).await.read(&store).await;
        read.sort_unstable();
        assert_eq!(read, (0..900).collect::<Vec<_>>());
    }

    /// Two writers of one store, and one of another, on one key.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p11_writers_that_meet_on_a_key_store_everything_once_and_in_order() {
        const ROUNDS: u32 = 40;
        let options = Postgres::options(&url()).unwrap().schema(schema());
        let store = options.clone().writers(2).connect().await.unwrap();
        let other = options.connect().await.unwrap();
        let owner = engine(&store).await;
        let mut writers = tokio::task::JoinSet::new();
        for (writer, store) in (0..).zip([store.clone(), store.clone(), other]) {
            let instance = owned(&store, owner).await;
            writers.spawn(async move {
                for round in 0..ROUNDS {
                    let number = writer * ROUNDS + round;
                    let write = publishing(
                        instance,
                        &format!("step-{round}"),
                        &[event("hot", number)],
                        None,
                    );
                    while !is_stored(&store.write(std::slice::from_ref(&write)).await.unwrap()[0]) {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        writers.join_all().await;
        let read = Reader::of(&store).await.read(&store).await;
        assert_eq!(read.len(), 3 * ROUNDS as usize);
        for writer in 0..3 {
            let own: Vec<_> = read.iter().filter(|n| **n / ROUNDS == writer).collect();
            assert!(own.is_sorted(), "{own:?}");
        }
    }

    /// Of others, and of its own where nobody tells.
    #[tokio::test]
    async fn a_commit_of_somebody_elses_transaction_is_news() {
        let schema = schema();
        let options = Postgres::options(&url()).unwrap().schema(schema);
        let silent = options.clone().without_notifications();
        let silent = silent.connect().await.unwrap();
        let (one, other) = (
            options.clone().connect().await.unwrap(),
            options.connect().await.unwrap(),
        );
        let heard = timeout(PATIENCE, other.outbox_news()).await;
        heard.expect("once, when it listens");
        for (appends, hears) in [(&one, &other), (&one, &one), (&silent, &silent)] {
            let mut tx = begin().await;
            appends.append_in(&mut tx, &event("a", 1)).await.unwrap();
            tx.commit().await.unwrap();
            let heard = timeout(PATIENCE, hears.outbox_news()).await;
            heard.expect("when it is committed");
        }
    }

    #[tokio::test]
    async fn an_event_without_a_key_is_refused() {
        let store = store().await;
        let mut tx = begin().await;
        let event = sagaz_core::Event::new("thing.happened", &1);
        let error = store.append_in(&mut tx, &event).await.unwrap_err();
        assert!(error.is_refusal(), "{error}");
        let write: Vec<Write> = Vec::new();
        assert!(store.write(&write).await.unwrap().is_empty());
    }
}
