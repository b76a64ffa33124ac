//! The inbox as only Redis has it: buffers of commands, and handlings that arrive late.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/redis_late.rs"]
mod late;
#[path = "support/proxy.rs"]
#[expect(dead_code, reason = "not every test uses all of it")]
mod proxy;
#[path = "support/redis_events.rs"]
#[expect(dead_code, reason = "not every test uses all of it")]
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
    use crate::redis_events::{HOUR, Worker, command, decision, event, number};
    use crate::shared::store;
    use sagaz_core::{
        Event,
        store::{
            AppendsIn, Begun, CommitError, DeadLetterFilter, DeadState, Finished, InboxStore,
            OutboxStore,
        },
    };
    use sagaz_storage::redis::{Redis, Transaction};
    use std::time::Duration;

    async fn begin(store: &Redis, consumer: &str, event: &Event) -> Transaction {
        match store.begin_handling(consumer, event).await.unwrap() {
            Begun::New(tx) => tx,
            other => panic!("it was handled: {other:?}"),
        }
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

    /// They start the server themselves, so its programs must be here.
    mod own_server {
        use crate::late::{again, arrives, cluster_of_one, held_back};
        use crate::redis_events::{Worker, decision, event, number};
        use crate::redis_server::OwnServer;
        use sagaz_core::store::{
            AppendsIn, Begun, CommitError, DeadLetterFilter, DeadState, Finished, InboxStore,
            OutboxStore,
        };
        use sagaz_storage::redis::Redis;

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

        #[tokio::test]
        async fn p11_a_transaction_that_is_repeated_on_its_way_is_applied_once() {
            let (server, proxy, store) = cluster_of_one().await;
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
