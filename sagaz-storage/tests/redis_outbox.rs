//! The outbox as only Redis has it: partitions as lanes, what is left behind, and marks that arrive late.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/redis_late.rs"]
#[expect(dead_code, reason = "not every test uses all of it")]
mod late;
#[path = "support/proxy.rs"]
#[expect(dead_code, reason = "not every test uses all of it")]
mod proxy;
#[path = "support/redis_events.rs"]
mod redis_events;
#[path = "support/redis_instances.rs"]
#[expect(dead_code, reason = "not every test uses all of it")]
mod redis_instances;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/redis.rs"]
mod shared;

/// By this name they are left out where there is no server.
mod redis {
    use crate::redis_events::{HOUR, Worker, command, dead, decision, event, number, publish};
    use crate::redis_instances::{engine, owned, progress};
    use crate::shared::{connect, store};
    use redis::Value;
    use sagaz_core::Event;
    use sagaz_core::store::{
        AppendsIn, Begun, DeadLetterFilter, DeadState, Fate, InboxStore, InstanceState,
        OutboxStore, Retention, SagaStore, Sender, SentEvents, WorkerId, Write,
    };
    use sagaz_storage::redis::Redis;
    use std::time::Duration;

    /// A replica that takes over may not know the last ones. Whoever has read or published what is lost by that passes over no other
    /// event, and says nothing of one.
    #[tokio::test]
    async fn p11_no_place_is_given_again_after_a_failover() {
        let store = store().await;
        let worker = Worker::new(&store).await;
        let data = store.data_key("a", "");
        let outbox = data.replace(":data:", ":outbox");
        append(&store, &event("a", 1)).await;
        let known: String = command(&["HGET", &outbox, "place"]).await;
        append(&store, &event("a", 2)).await;
        let read = worker.read(&store).await;
        let lost = worker.mark(&read[1], Fate::Sent);
        let marked = store.mark(worker.id, std::slice::from_ref(&lost), SentEvents::Delete);
        assert!(marked.await.unwrap().is_empty());
        let () = command(&["HSET", &outbox, "place", &known]).await;
        append(&store, &event("a", 3)).await;
        let marked = store.mark(worker.id, &[lost], SentEvents::Delete).await;
        assert!(marked.unwrap().is_empty());
        let again = worker.read(&store).await;
        let numbers: Vec<_> = again.iter().map(|it| number(&it.event)).collect();
        assert_eq!(numbers, [1, 3]);
        assert!(again[1].place.seq > read[1].place.seq);
    }

    async fn append(store: &Redis, event: &Event) {
        let mut tx = store.begin(event.ordering_key().unwrap());
        store.append_in(&mut tx, event).await.unwrap();
        store.commit(tx).await.unwrap();
    }

    /// What scripts keep beside events is gone when the events are; places and owners of lanes are of bounded size.
    #[tokio::test]
    async fn nothing_is_left_of_events_that_were_pruned() {
        let store = store().await;
        let worker = Worker::new(&store).await;
        for n in 0..30 {
            let key = format!("key-{}", n % 7);
            publish(&store, &[event(&key, n), event(&key, 100 + n)], None).await;
        }
        for (n, waiting) in worker.read(&store).await.iter().enumerate() {
            let (fate, sent) = match n % 5 {
                0 => (dead(false), SentEvents::Delete),
                1 => (dead(true), SentEvents::Delete),
                2 => (Fate::Sent, SentEvents::Delete),
                _ => (Fate::Sent, SentEvents::Archive),
            };
            let marks = [worker.mark(waiting, fate)];
            let lost = store.mark(worker.id, &marks, sent).await.unwrap();
            assert!(lost.is_empty());
        }
        let filter = DeadLetterFilter::default();
        let letters = store.dead_letters(&filter).await.unwrap().letters;
        assert_eq!(letters.len(), 24);
        for (n, letter) in letters.iter().enumerate() {
            let state = [DeadState::Retried, DeadState::Discarded][n % 2];
            let decision = decision(&letter.event, None, state);
            assert_eq!(store.decide(&decision).await.unwrap(), 1);
        }
        let again = worker.read(&store).await;
        assert_eq!(again.len(), 12);
        let marks: Vec<_> = again
            .iter()
            .map(|waiting| worker.mark(waiting, Fate::Sent))
            .collect();
        store
            .mark(worker.id, &marks, SentEvents::Archive)
            .await
            .unwrap();
        for n in 0..20 {
            let message = event(&format!("message-{n}"), n);
            if n % 2 == 0 {
                store.bury("mail", &message, 3, "no").await.unwrap();
                let state = [DeadState::Retried, DeadState::Discarded][n as usize / 2 % 2];
                let decision = decision(&message, Some("mail"), state);
                assert_eq!(store.decide(&decision).await.unwrap(), 1);
            }
            if n % 4 != 2 {
                let begun = store.begin_handling("mail", &message).await.unwrap();
                let Begun::New(tx) = begun else {
                    panic!("it was given back");
                };
                store.finish_handling(tx).await.unwrap();
            }
        }
        store.release(worker.id, None).await.unwrap();
        let (mut pruned, mut handled) = (0, 0);
        loop {
            let sent = store.prune_sent(Duration::ZERO, 7).await.unwrap();
            let records = store.prune_handled(Duration::ZERO, 7).await.unwrap();
            assert!(sent <= 7 && records <= 7);
            (pruned, handled) = (pruned + sent, handled + records);
            if sent + records == 0 {
                break;
            }
        }
        // In the archive are the 24 that were sent and the 12 that were sent again; dead letters are 24 and 10.
        assert_eq!((pruned, handled), (24 + 12 + 34, 20));
        let left: Vec<String> = command(&["KEYS", &format!("{{{}:*", store.prefix())]).await;
        for key in left {
            let (tag, name) = key.split_once("}:").unwrap();
            let is_of_instances = ["i:", "in:", "own", "cancel:", "unfinished", "sagas"]
                .iter()
                .any(|of| name.starts_with(of));
            let is_bounded = match name {
                "meta" | "leases" | "lanes" => tag.ends_with(":engines"),
                "outbox" => true,
                _ => false,
            };
            assert!(is_of_instances || is_bounded, "{key} is left");
        }
    }

    /// So an instance's events are stored with its steps, in one slot.
    #[tokio::test]
    async fn the_events_of_an_instance_are_in_its_partition() {
        let store = store().await;
        let worker = Worker::new(&store).await;
        for n in 0..10 {
            let id = publish(&store, &[event("shared", n)], None).await;
            let read = worker.read(&store).await;
            let found = read.iter().find(|it| number(&it.event) == n).unwrap();
            let place = id.as_uuid().as_u128() & 0xffff;
            assert_eq!(u128::from(found.place.lane), place % 64);
        }
    }

    /// Where lanes are assigned, a failover has lost who owns them; their partitions know.
    #[tokio::test]
    async fn p7_lanes_whose_epochs_were_lost_are_had_again_at_greater_ones() {
        let store = store().await;
        let former = Worker::new(&store).await;
        publish(&store, &[event("a", 1)], None).await;
        let read = former.read(&store).await;
        let lanes = format!("{{{}:engines}}:lanes", store.prefix());
        command::<Value>(&["DEL", &lanes]).await;
        let heir = Worker::new(&store).await;
        assert_eq!(heir.lanes.len(), 64);
        for (lane, before) in heir.lanes.iter().zip(&former.lanes) {
            assert!(lane.index == before.index && lane.epoch > before.epoch);
        }
        let marks = [former.mark(&read[0], Fate::Sent)];
        let lost = store.mark(former.id, &marks, SentEvents::Delete).await;
        assert_eq!(lost.unwrap(), [read[0].place.lane]);
        assert_eq!(heir.read(&store).await.len(), 1);
    }

    #[tokio::test]
    async fn a_sender_may_ask_through_another_handle() {
        let store = store().await;
        let sender = Sender {
            id: WorkerId::random(),
            lease: HOUR,
        };
        let events = [event("a", 1), event("a", 2)];
        publish(&store, &events, Some(sender)).await;
        let ids = events.each_ref().map(|event| event.event_id().clone());
        let second = connect(store.prefix()).await;
        for store in [&second, &store, &store] {
            let heads = store.heads(sender.id, &ids).await.unwrap();
            assert_eq!(heads.len(), 1);
            assert_eq!(heads[0].0, ids[0]);
        }
    }

    /// The relay has its events by then.
    #[tokio::test]
    async fn p7_a_sender_whose_lease_has_ended_gets_no_heads() {
        let store = store().await;
        let sender = Sender {
            id: WorkerId::random(),
            lease: Duration::from_millis(1),
        };
        let published = event("a", 1);
        publish(&store, std::slice::from_ref(&published), Some(sender)).await;
        let worker = Worker::new(&store).await;
        while worker.read(&store).await[0].wait.is_some() {}
        let id = published.event_id().clone();
        assert_eq!(store.heads(sender.id, &[id]).await.unwrap(), []);
    }

    #[tokio::test]
    async fn news_come_to_those_who_wait_and_to_the_next() {
        let store = store().await;
        let waiting = {
            let store = store.clone();
            tokio::spawn(async move { store.outbox_news().await })
        };
        publish(&store, &[event("a", 1)], None).await;
        let told = async {
            waiting.await.unwrap();
            store.outbox_news().await;
        };
        // What was there before may be told once more.
        tokio::time::timeout(Duration::from_secs(30), told)
            .await
            .expect("it is told");
    }

    /// Their records are where their events are.
    #[tokio::test]
    async fn an_instance_that_is_pruned_leaves_its_events() {
        let store = store().await;
        let (id, token) = owned(&store, engine(&store).await).await;
        let Write::Progress(mut write) = progress(id, token) else {
            unreachable!("it is progress")
        };
        write.state = InstanceState::Completed;
        write.steps[0].events = vec![event("a", 1)];
        let write = [Write::Progress(write)];
        store.write(&write).await.unwrap();
        let pruned = store.prune(Duration::ZERO, 10, Retention::Delete).await;
        assert_eq!(pruned.unwrap(), 1);
        assert_eq!(Worker::new(&store).await.read(&store).await.len(), 1);
    }

    /// They start the server themselves, so its programs must be here.
    mod own_server {
        use crate::late::{again, arrives, held_back};
        use crate::redis_events::{HOUR, Worker, dead, decision, event, publish, retry};
        use sagaz_core::store::{
            DeadLetterFilter, DeadState, Fate, InboxStore, Mark, OutboxStore, SentEvents, WorkerId,
        };
        use std::time::Duration;

        /// A worker whose mark has no reply says it again, and goes on; then the first one arrives.
        #[tokio::test]
        async fn p7_a_mark_that_arrives_late_takes_nothing_back() {
            for late in [retry(1), dead(false), dead(true)] {
                let (_server, proxy, store) = held_back().await;
                let worker = Worker::new(&store).await;
                publish(&store, &[event("a", 1)], None).await;
                let read = worker.read(&store).await;
                // The server knows the script when the late one comes.
                let mark = async |marks: &[Mark]| {
                    let lost =
                        again(async || store.mark(worker.id, marks, SentEvents::Delete).await);
                    assert!(lost.await.is_empty());
                };
                mark(&[worker.mark(&read[0], retry(0))]).await;
                let first = [worker.mark(&read[0], late)];
                proxy.hold();
                let error = store.mark(worker.id, &first, SentEvents::Delete).await;
                assert!(error.unwrap_err().is_transient());
                proxy.let_new_ones_through();
                mark(&[worker.mark(&read[0], retry(1))]).await;
                mark(&[worker.mark(&read[0], retry(2))]).await;
                arrives(&proxy).await;
                let read = worker.read(&store).await;
                assert_eq!((read.len(), read[0].attempts), (1, 2));
                assert!(!read[0].is_blocking);
            }
        }

        #[tokio::test]
        async fn p7_a_mark_that_arrives_after_a_takeover_changes_nothing() {
            for fate in [Fate::Sent, retry(7), dead(true)] {
                let (_server, proxy, store) = held_back().await;
                let former = Worker::new(&store).await;
                publish(&store, &[event("a", 1)], None).await;
                let read = former.read(&store).await;
                let marks = [former.mark(&read[0], retry(0))];
                store
                    .mark(former.id, &marks, SentEvents::Delete)
                    .await
                    .unwrap();
                let late = [former.mark(&read[0], fate)];
                proxy.hold();
                let error = store.mark(former.id, &late, SentEvents::Delete).await;
                assert!(error.unwrap_err().is_transient());
                proxy.let_new_ones_through();
                // Its lease ends.
                again(async || store.attend(former.id, Duration::ZERO, 0).await).await;
                let heir = WorkerId::random();
                let lanes = again(async || store.attend(heir, HOUR, 64).await)
                    .await
                    .lanes;
                assert_eq!(lanes.len(), 64);
                let heir = Worker { id: heir, lanes };
                arrives(&proxy).await;
                let read = heir.read(&store).await;
                assert_eq!((read.len(), read[0].attempts), (1, 0));
                assert!(!read[0].is_blocking);
            }
        }

        /// A worker attends and is not answered; then its lease ends, and another one takes its lanes.
        #[tokio::test]
        async fn p7_a_lane_that_is_taken_late_stays_its_heirs() {
            let (_server, proxy, store) = held_back().await;
            let former = Worker::new(&store).await;
            publish(&store, &[event("a", 1)], None).await;
            // Of what attending sends, only the last part names partitions.
            proxy.hold_from("{sagaz:3}:-".to_owned());
            let error = store.attend(former.id, HOUR, 64).await.unwrap_err();
            assert!(error.is_transient(), "{error}");
            proxy.let_new_ones_through();
            again(async || store.attend(former.id, Duration::ZERO, 0).await).await;
            let heir = Worker::new(&store).await;
            assert_eq!(heir.lanes.len(), 64);
            arrives(&proxy).await;
            let fetched = heir.fetch(&store).await;
            assert!(fetched.after.iter().all(Option::is_some));
            assert_eq!(fetched.events.len(), 1);
            let fetched = former.fetch(&store).await;
            assert!(fetched.after.iter().all(Option::is_none));
        }

        /// The operator was told that it failed.
        #[tokio::test]
        async fn p8_a_decision_that_arrives_late_decides_nothing() {
            let (_server, proxy, store) = held_back().await;
            // The server knows the script when the late one comes.
            let letters = [event("a", 1), event("a", 2)];
            for letter in &letters {
                store.bury("mail", letter, 3, "no").await.unwrap();
            }
            let known = decision(&letters[0], Some("mail"), DeadState::Discarded);
            assert_eq!(store.decide(&known).await.unwrap(), 1);
            let late = decision(&letters[1], Some("mail"), DeadState::Discarded);
            // Of what a decision sends, only the last part says why.
            proxy.hold_from("the-cause-is-mended".to_owned());
            assert!(store.decide(&late).await.unwrap_err().is_transient());
            proxy.let_new_ones_through();
            arrives(&proxy).await;
            let open = DeadLetterFilter {
                state: Some(DeadState::Open),
                ..DeadLetterFilter::default()
            };
            let open = store.dead_letters(&open).await.unwrap().letters;
            assert_eq!(open.len(), 1);
            assert_eq!(open[0].event, letters[1]);
        }
    }
}
