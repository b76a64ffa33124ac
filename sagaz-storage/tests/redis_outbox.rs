//! Outbox and inbox as only Redis has them: partitions, buffers of commands, and scripts that arrive late.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

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
    use crate::redis_events::{HOUR, Worker, dead, decision, event, number, publish};
    use crate::redis_instances::{engine, owned};
    use crate::shared::{connect, store, url};
    use redis::Value;
    use sagaz_core::{
        Event,
        store::{
            AppendsIn, Begun, CommitError, DeadLetterFilter, DeadState, Fate, Finished, InboxStore,
            OutboxStore, Retention, SagaStore, Sender, SentEvents, WorkerId,
        },
    };
    use sagaz_storage::redis::{Redis, Transaction};
    use std::time::Duration;

    async fn command<T: redis::FromRedisValue>(words: &[&str]) -> T {
        let client = redis::Client::open(url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }

    async fn begin(store: &Redis, consumer: &str, event: &Event) -> Transaction {
        match store.begin_handling(consumer, event).await.unwrap() {
            Begun::New(tx) => tx,
            other => panic!("it was handled: {other:?}"),
        }
    }

    /// What scripts keep beside events is gone when the events are; places and owners of lanes are of bounded size.
    #[tokio::test]
    async fn nothing_is_left_of_events_that_were_pruned() {
        let store = store().await;
        let worker = Worker::new(&store).await;
        let mut instances = Vec::new();
        for n in 0..30 {
            let key = format!("key-{}", n % 7);
            instances.push(publish(&store, &[event(&key, n), event(&key, 100 + n)], None).await);
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
                let tx = begin(&store, "mail", &message).await;
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
        let write = |id| store.request_cancel(id);
        for id in instances {
            write(id).await.unwrap();
        }
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

    /// An operator gave it back, and nobody has taken it yet: the letter is the only place where the event is.
    #[tokio::test]
    async fn p8_a_letter_is_kept_until_its_consumer_has_handled_it_again() {
        let store = store().await;
        let message = event("a", 1);
        store.bury("mail", &message, 3, "no").await.unwrap();
        let retried = decision(&message, Some("mail"), DeadState::Retried);
        assert_eq!(store.decide(&retried).await.unwrap(), 1);
        assert_eq!(store.prune_sent(Duration::ZERO, 10).await.unwrap(), 0);
        let given = store.retries("mail", 10).await.unwrap();
        assert_eq!(given, std::slice::from_ref(&message));
        let tx = begin(&store, "mail", &message).await;
        store.finish_handling(tx).await.unwrap();
        assert_eq!(store.prune_sent(Duration::ZERO, 10).await.unwrap(), 1);
    }

    /// Of an event that somebody else has handled.
    #[tokio::test]
    async fn p8_what_was_handled_is_no_dead_letter() {
        let store = store().await;
        let message = event("a", 1);
        let tx = begin(&store, "mail", &message).await;
        store.finish_handling(tx).await.unwrap();
        store.bury("mail", &message, 3, "no").await.unwrap();
        let filter = DeadLetterFilter::default();
        assert!(
            store
                .dead_letters(&filter)
                .await
                .unwrap()
                .letters
                .is_empty()
        );
    }

    #[tokio::test]
    async fn p11_every_command_of_a_transaction_is_carried_out_in_order() {
        let store = store().await;
        let message = event("a", 1);
        let mut tx = begin(&store, "model", &message).await;
        tx.set("text", "old").set("text", "new").set("gone", "1");
        tx.del("gone").set("short", "1").expire("short", HOUR);
        tx.incr_by("sum", 40).incr_by("sum", 2);
        tx.hset("hash", "a", "5").hset("hash", "b", "x");
        tx.hincr_by("hash", "a", -7).hdel("hash", "b");
        tx.sadd("set", "one").sadd("set", "two").srem("set", "one");
        tx.zadd("scores", 1.5, "x").zincr_by("scores", 2.0, "x");
        tx.zadd("scores", f64::NAN, "y").zrem("scores", "y");
        tx.rpush("list", "2").rpush("list", "3").lpush("list", "1");
        // The key is of another kind from here on.
        tx.del("list").hset("list", "is", "a hash");
        assert_eq!(tx.key("text"), store.data_key("a", "text"));
        assert_eq!(store.finish_handling(tx).await.unwrap(), Finished::Handled);
        let key = |name| store.data_key("a", name);
        assert_eq!(command::<String>(&["GET", &key("text")]).await, "new");
        assert_eq!(command::<u32>(&["EXISTS", &key("gone")]).await, 0);
        assert!(command::<i64>(&["PTTL", &key("short")]).await > 3_000_000);
        assert_eq!(command::<i64>(&["GET", &key("sum")]).await, 42);
        let hash: Vec<String> = command(&["HGETALL", &key("hash")]).await;
        assert_eq!(hash, ["a", "-2"]);
        let set: Vec<String> = command(&["SMEMBERS", &key("set")]).await;
        assert_eq!(set, ["two"]);
        let scores: Vec<String> =
            command(&["ZRANGE", &key("scores"), "0", "-1", "WITHSCORES"]).await;
        assert_eq!(scores, ["x", "3.5"]);
        let list: Vec<String> = command(&["HGETALL", &key("list")]).await;
        assert_eq!(list, ["is", "a hash"]);
    }

    /// Redis does not roll back: so nothing is done before it is known that all of it can be.
    #[tokio::test]
    async fn p11_of_a_transaction_that_cannot_be_carried_out_nothing_is_applied() {
        type Say = fn(&mut Transaction);
        let cases: [(Say, &str); 7] = [
            (|tx| _ = tx.rpush("text", "x"), "RPUSH on the key `{sagaz-"),
            (|tx| _ = tx.hset("text", "a", "b"), "there is a string"),
            (|tx| _ = tx.incr_by("text", 1), "there is no number"),
            (|tx| _ = tx.hincr_by("hash", "a", 1), "there is no number"),
            (
                |tx| _ = tx.hset("new", "a", "x").hincr_by("new", "a", 1),
                "there is no number",
            ),
            (
                |tx| _ = tx.incr_by("large", 1 << 52).incr_by("large", 1 << 52),
                "too large",
            ),
            (
                |tx| _ = tx.sadd("fresh", "a").zadd("fresh", 1.0, "a"),
                "there is a set",
            ),
        ];
        let store = store().await;
        let mut tx = store.begin("a");
        tx.set("text", "abc").hset("hash", "a", "abc");
        store.commit(tx).await.unwrap();
        let message = event("a", 1);
        for (say, words) in cases {
            let mut tx = begin(&store, "model", &message).await;
            tx.rpush("before", "x").del("text");
            tx.set("text", "abc");
            store.append_in(&mut tx, &event("a", 2)).await.unwrap();
            say(&mut tx);
            let Err(CommitError::RolledBack(error)) = store.finish_handling(tx).await else {
                panic!("{words}: it was applied");
            };
            assert!(
                error.is_refusal() && error.to_string().contains(words),
                "{error}"
            );
        }
        for name in ["before", "new", "large", "fresh"] {
            let key = store.data_key("a", name);
            assert_eq!(command::<u32>(&["EXISTS", &key]).await, 0, "{name}");
        }
        assert!(!store.is_handled("model", message.event_id()).await.unwrap());
        assert_eq!(store.outbox_stats().await.unwrap().pending, 0);
    }

    /// Without a handled event.
    #[tokio::test]
    async fn p11_a_transaction_of_its_own_stores_events_with_what_it_writes() {
        let store = store().await;
        let mut tx = store.begin("order-7");
        tx.hincr_by("totals", "orders", 1);
        store
            .append_in(&mut tx, &event("order-7", 1))
            .await
            .unwrap();
        store
            .append_in(&mut tx, &event("order-7", 2))
            .await
            .unwrap();
        store.commit(tx).await.unwrap();
        let mut dropped = store.begin("order-7");
        dropped.hincr_by("totals", "orders", 1);
        drop(dropped);
        let key = store.data_key("order-7", "totals");
        assert_eq!(command::<u32>(&["HGET", &key, "orders"]).await, 1);
        let read = Worker::new(&store).await.read(&store).await;
        let numbers: Vec<_> = read.iter().map(|it| number(&it.event)).collect();
        assert_eq!(numbers, [1, 2]);
    }

    #[tokio::test]
    async fn an_event_without_a_key_is_refused_and_its_transaction_rolled_back() {
        let store = store().await;
        let mut tx = store.begin("a");
        tx.set("text", "x");
        let without = Event::new("thing.happened", &1).source("/tests");
        store.append_in(&mut tx, &without).await.unwrap();
        let Err(CommitError::RolledBack(error)) = store.commit(tx).await else {
            panic!("it was stored");
        };
        assert!(
            error.is_refusal() && error.to_string().contains("has no key"),
            "{error}"
        );
        let key = store.data_key("a", "text");
        assert_eq!(command::<u32>(&["EXISTS", &key]).await, 0);
    }

    /// Their records are where their events are.
    #[tokio::test]
    async fn an_instance_that_is_pruned_leaves_its_events() {
        let store = store().await;
        let (id, token) = owned(&store, engine(&store).await).await;
        let sagaz_core::store::Write::Progress(mut write) =
            crate::redis_instances::progress(id, token)
        else {
            unreachable!("it is progress")
        };
        write.state = sagaz_core::store::InstanceState::Completed;
        write.steps[0].events = vec![event("a", 1)];
        let write = [sagaz_core::store::Write::Progress(write)];
        store.write(&write).await.unwrap();
        let pruned = store.prune(Duration::ZERO, 10, Retention::Delete).await;
        assert_eq!(pruned.unwrap(), 1);
        assert_eq!(Worker::new(&store).await.read(&store).await.len(), 1);
    }

    /// They start the server themselves, so its programs must be here.
    mod own_server {
        use crate::proxy::Proxy;
        use crate::redis_events::{HOUR, Worker, dead, decision, event, number, publish, retry};
        use crate::redis_server::{OwnServer, PATIENCE};
        use sagaz_core::store::{
            AppendsIn, Begun, CommitError, DeadLetterFilter, DeadState, Fate, Finished, InboxStore,
            Mark, OutboxStore, SentEvents, StoreError, WorkerId,
        };
        use sagaz_storage::redis::Redis;
        use std::time::{Duration, Instant};

        async fn held_back() -> (OwnServer, Proxy, Redis) {
            let server = OwnServer::start(&[]).await;
            let proxy = Proxy::start(server.port).await;
            let url = format!("redis://127.0.0.1:{}", proxy.port);
            let options = Redis::options(&url).unwrap().connections(1);
            let store = options
                .call_timeout(Duration::from_millis(300))
                .connect()
                .await
                .unwrap();
            (server, proxy, store)
        }

        async fn again<T>(call: impl AsyncFn() -> Result<T, StoreError>) -> T {
            let began = Instant::now();
            loop {
                match call().await {
                    Ok(value) => return value,
                    Err(error) => assert!(
                        error.is_transient() && began.elapsed() < PATIENCE,
                        "{error:?}"
                    ),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }

        async fn arrives(proxy: &Proxy) {
            let released = tokio::time::timeout(PATIENCE, proxy.release()).await;
            assert!(
                released.is_ok_and(|answered| answered),
                "it has come and was answered"
            );
        }

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

        /// Its event was delivered again, handled by then or not.
        #[tokio::test]
        async fn p11_a_handling_that_arrives_late_applies_nothing() {
            for is_handled_again in [true, false] {
                let (server, proxy, store) = held_back().await;
                let message = event("a", 1);
                let begin = async |consumer: &str| {
                    again(
                        async || match store.begin_handling(consumer, &message).await? {
                            Begun::New(mut tx) => {
                                tx.incr_by("count", 1);
                                store.append_in(&mut tx, &event("a", 2)).await?;
                                Ok(tx)
                            }
                            other => panic!("it was handled: {other:?}"),
                        },
                    )
                    .await
                };
                // The server knows the script when the late one comes.
                let tx = begin("other").await;
                store.finish_handling(tx).await.unwrap();
                let tx = begin("model").await;
                proxy.hold();
                let error = store.finish_handling(tx).await.unwrap_err();
                assert!(matches!(error, CommitError::InDoubt(_)), "{error:?}");
                proxy.let_new_ones_through();
                let mut expected = 1;
                if is_handled_again {
                    let tx = begin("model").await;
                    let finished = store.finish_handling(tx).await;
                    assert_eq!(finished.unwrap(), Finished::Handled);
                    expected += 1;
                } else {
                    // The call was given up, so that nothing of it is of use any more.
                    again(async || store.outbox_stats().await).await;
                }
                arrives(&proxy).await;
                let key = store.data_key("a", "count");
                let count = server.command(&["GET", &key]).await;
                assert_eq!(redis::from_redis_value::<u64>(count).unwrap(), expected);
                let stats = store.outbox_stats().await.unwrap();
                assert_eq!(stats.pending, expected);
                let is_handled = store.is_handled("model", message.event_id()).await;
                assert_eq!(is_handled.unwrap(), is_handled_again);
            }
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

        /// It was given up twice, given back, and handled.
        #[tokio::test]
        async fn p8_a_dead_letter_that_arrives_late_is_not_opened_again() {
            let (_server, proxy, store) = held_back().await;
            let message = event("a", 1);
            // The server knows the script when the late one comes.
            store.bury("other", &message, 3, "no").await.unwrap();
            proxy.hold();
            let error = store.bury("mail", &message, 3, "no").await.unwrap_err();
            assert!(error.is_transient());
            proxy.let_new_ones_through();
            again(async || store.bury("mail", &message, 3, "no").await).await;
            let retried = decision(&message, Some("mail"), DeadState::Retried);
            assert_eq!(again(async || store.decide(&retried).await).await, 1);
            let Begun::New(tx) = store.begin_handling("mail", &message).await.unwrap() else {
                panic!("it was given back");
            };
            store.finish_handling(tx).await.unwrap();
            arrives(&proxy).await;
            let of_mail = DeadLetterFilter {
                consumer: Some(Some("mail".to_owned())),
                ..DeadLetterFilter::default()
            };
            let letters = store.dead_letters(&of_mail).await.unwrap().letters;
            assert_eq!(letters[0].state, DeadState::Retried);
        }

        /// The client of a cluster repeats by itself what was under way on a connection that breaks.
        #[tokio::test]
        async fn p11_a_transaction_that_is_repeated_on_its_way_is_applied_once() {
            let server = OwnServer::start(&["--cluster-enabled", "yes"]).await;
            let proxy = Proxy::start(server.port).await;
            let port = proxy.port.to_string();
            for words in [
                ["CONFIG", "SET", "cluster-announce-ip", "127.0.0.1"],
                ["CONFIG", "SET", "cluster-announce-port", &port],
                ["CLUSTER", "ADDSLOTSRANGE", "0", "16383"],
            ] {
                server.command(&words).await;
            }
            let url = format!("redis+cluster://127.0.0.1:{port}");
            let options = Redis::options(&url).unwrap().connections(1);
            let began = Instant::now();
            let store = loop {
                match options.clone().connect().await {
                    Ok(store) => break store,
                    // It has just been given its slots.
                    Err(error) => assert!(began.elapsed() < PATIENCE, "{error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            // The server knows the script.
            store.commit(store.begin("a")).await.unwrap();
            proxy.lose_reply_to("counted-once".to_owned());
            let mut tx = store.begin("a");
            tx.incr_by("counted-once", 1);
            store.append_in(&mut tx, &event("a", 1)).await.unwrap();
            store.commit(tx).await.unwrap();
            assert!(proxy.has_lost_one());
            let key = store.data_key("a", "counted-once");
            let count = server.command(&["GET", &key]).await;
            assert_eq!(redis::from_redis_value::<u64>(count).unwrap(), 1);
            let read = Worker::new(&store).await.read(&store).await;
            assert_eq!(read.iter().map(|it| number(&it.event)).sum::<u32>(), 1);
        }

        /// Not even what would make room.
        #[tokio::test]
        async fn p12_a_full_server_applies_nothing_of_a_transaction() {
            let server = OwnServer::start(&[]).await;
            let store = Redis::connect(&server.url()).await.unwrap();
            let mut tx = store.begin("a");
            tx.set("text", "old");
            store.commit(tx).await.unwrap();
            let commit = async || {
                let mut tx = store.begin("a");
                tx.del("text").set("other", "new");
                store.commit(tx).await
            };
            server.command(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
            let error = commit().await.unwrap_err();
            assert!(
                matches!(&error, CommitError::InDoubt(error) if error.is_transient()),
                "{error:?}"
            );
            let value = server.command(&["GET", &store.data_key("a", "text")]).await;
            assert_eq!(redis::from_redis_value::<String>(value).unwrap(), "old");
            server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
            commit().await.unwrap();
            let value = server
                .command(&["EXISTS", &store.data_key("a", "text")])
                .await;
            assert_eq!(redis::from_redis_value::<u64>(value).unwrap(), 0);
        }
    }
}
