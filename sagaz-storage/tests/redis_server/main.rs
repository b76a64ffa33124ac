//! What only a server shows: restarts, late tries, lost scripts, cut connections, settings, and servers that cannot be used.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/redis_late.rs"]
mod late;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/redis_instances.rs"]
mod redis_instances;
#[path = "../support/redis.rs"]
mod shared;
#[path = "../support/redis_servers.rs"]
mod support;

// `late` finds it beside the proxy.
use support::redis_server;

/// By this name they are left out where there is no server.
mod redis {
    use crate::redis_instances::{accept, claim, engine, owned, progress, stored};
    use crate::shared::{options, prefix, store, url};
    use crate::support::redis_server;
    use redis::Value;
    use sagaz_core::{
        SagaId,
        store::{Accept, Filter, InstanceState, Retention, SagaStore, Wake, Write, Written},
    };
    use sagaz_storage::redis::ConnectError;
    use std::time::Duration;

    async fn command(words: &[&str]) -> Value {
        redis_server::command(&url(), words).await
    }

    /// A restart and a failover forget them as well. Also in the middle of a pipeline.
    #[tokio::test]
    async fn scripts_that_the_server_has_forgotten_are_sent_again() {
        let store = store().await;
        let owner = engine(&store).await;
        for _ in 0..5 {
            let (id, token) = owned(&store, owner).await;
            command(&["SCRIPT", "FLUSH"]).await;
            let batch = [
                Write::Accept(accept(None)),
                progress(id, token),
                Write::Accept(accept(Some(owner))),
            ];
            let written = store.write(&batch).await.unwrap();
            assert!(
                matches!(
                    written[..],
                    [
                        Written::Accepted(_),
                        Written::Stored { .. },
                        Written::Accepted(_)
                    ]
                ),
                "{written:?}"
            );
            assert!(stored(&store, id).await.steps.len() == 1);
        }
        command(&["SCRIPT", "FLUSH"]).await;
        let claimed = store.claim(&claim(engine(&store).await)).await.unwrap();
        assert_eq!(claimed.instances.len(), 5);
    }

    /// Two handles would look in different places.
    #[tokio::test]
    async fn another_number_of_partitions_is_refused() {
        let store = store().await;
        let error = options(store.prefix())
            .partitions(32)
            .connect()
            .await
            .unwrap_err();
        assert!(
            matches!(&error, ConnectError::OtherPartitions { stored, asked: 32, .. } if stored == "64"),
            "{error}"
        );
        for partitions in [0, 1025] {
            let error = options(&prefix())
                .partitions(partitions)
                .connect()
                .await
                .unwrap_err();
            assert!(matches!(error, ConnectError::Partitions { .. }), "{error}");
        }
        let few = options(&prefix()).partitions(1).connect().await.unwrap();
        let (id, _) = owned(&few, engine(&few).await).await;
        assert_eq!(stored(&few, id).await.summary.id, id);
    }

    /// Also where it shares its set with younger ones.
    #[tokio::test]
    async fn the_oldest_of_a_backlog_is_found() {
        let store = options(&prefix()).partitions(1).connect().await.unwrap();
        let owner = engine(&store).await;
        let (first, _) = owned(&store, owner).await;
        while store.backlog().await.unwrap()[0].oldest < Duration::from_millis(20) {
            tokio::task::yield_now().await;
        }
        for _ in 0..5 {
            owned(&store, owner).await;
        }
        let youngest = Accept {
            trace: Some(String::new()),
            ..accept(Some(owner))
        };
        let id = youngest.id;
        store.write(&[Write::Accept(youngest)]).await.unwrap();
        let created = stored(&store, first).await.summary.created_at;
        let youngest = stored(&store, id).await;
        assert_eq!(youngest.trace.as_deref(), Some(""));
        let backlog = store.backlog().await.unwrap();
        assert_eq!(backlog.len(), 1);
        assert_eq!(backlog[0].instances, 7);
        let between = youngest.summary.created_at.duration_since(created).unwrap();
        assert!(backlog[0].oldest >= between && between >= Duration::from_millis(20));
    }

    #[tokio::test]
    async fn p10_an_id_that_does_not_fit_its_start_key_is_refused() {
        let store = store().await;
        let accepts = (0..64).map(|_| Accept {
            id: SagaId::new(),
            start_key: Some("order-1".to_owned()),
            ..accept(None)
        });
        let mut refused = 0;
        for accept in accepts {
            if let Err(error) = store.write(&[Write::Accept(accept)]).await {
                assert!(error.is_refusal(), "{error}");
                refused += 1;
            }
        }
        assert!(refused > 32, "{refused}");
    }

    /// The sets and counters that scripts keep are as the instances are, whatever they went through.
    #[tokio::test]
    async fn nothing_is_left_of_instances_that_were_removed() {
        let store = store().await;
        let (first, second) = (engine(&store).await, engine(&store).await);
        let mut accepted = Vec::new();
        for n in 0..40 {
            let key = format!("order-{n}");
            let mut new = accept((n % 2 == 0).then_some(first));
            new.id = store.new_id("shop", Some(&key));
            new.start_key = Some(key);
            accepted.push(new.id);
            store.write(&[Write::Accept(new)]).await.unwrap();
        }
        for id in accepted.iter().step_by(3) {
            store.request_cancel(*id).await.unwrap();
        }
        store.retire(first).await.unwrap();
        let claimed = store.claim(&claim(second)).await.unwrap().instances;
        assert_eq!(claimed.len(), 40);
        let asked = store
            .renew(second, Duration::from_hours(1))
            .await
            .unwrap()
            .cancel_requested;
        assert_eq!(asked.len(), 14);
        let write = |id, token, state, release| {
            let Write::Progress(mut progress) = progress(id, token) else {
                unreachable!("it is progress")
            };
            (progress.state, progress.release) = (state, release);
            Write::Progress(progress)
        };
        let batch: Vec<_> = claimed
            .iter()
            .map(|it| {
                write(
                    it.summary.id,
                    it.token().unwrap(),
                    InstanceState::Executing,
                    Some(Wake::Now),
                )
            })
            .collect();
        store.write(&batch).await.unwrap();
        let claimed = store.claim(&claim(second)).await.unwrap().instances;
        assert_eq!(claimed.len(), 40);
        let batch: Vec<_> = claimed
            .iter()
            .map(|it| {
                write(
                    it.summary.id,
                    it.token().unwrap(),
                    InstanceState::Completed,
                    None,
                )
            })
            .collect();
        store.write(&batch).await.unwrap();
        assert_eq!(
            store.count().await.unwrap(),
            [("shop".to_owned(), InstanceState::Completed, 40)]
        );
        store.retire(second).await.unwrap();
        // Another engine looks, and forgets the dead that own nothing.
        store.claim(&claim(engine(&store).await)).await.unwrap();
        assert_eq!(
            store
                .prune(Duration::ZERO, 1_000, Retention::Delete)
                .await
                .unwrap(),
            40
        );
        assert!(
            store
                .list(&Filter::all())
                .await
                .unwrap()
                .instances
                .is_empty()
        );
        let left = command(&["KEYS", &format!("{{{}:*", store.prefix())]).await;
        let mut left: Vec<String> = redis::from_redis_value(left).unwrap();
        left.sort_unstable();
        let center = format!("{{{}:engines}}", store.prefix());
        assert_eq!(left, [format!("{center}:leases"), format!("{center}:meta")]);
    }

    #[tokio::test]
    async fn p8_what_cannot_be_read_is_stuck_and_harms_no_other() {
        let store = store().await;
        let owner = engine(&store).await;
        let mut damaged = Vec::new();
        for (field, value) in [
            ("failure", "no JSON"),
            ("takeovers", "many"),
            ("s:charge", "no row"),
            ("owner", "nobody"),
            ("created", "once"),
        ] {
            let (id, _) = owned(&store, owner).await;
            let keys = command(&["KEYS", &format!("{{{}:*:i:{id}", store.prefix())]).await;
            let keys: Vec<String> = redis::from_redis_value(keys).unwrap();
            if field != "owner" {
                command(&["HSET", &keys[0], field, value]).await;
                damaged.push(id);
            }
        }
        let (sound, _) = owned(&store, owner).await;
        store.retire(owner).await.unwrap();
        let claimed = store.claim(&claim(engine(&store).await)).await.unwrap();
        assert!(claimed.instances.iter().any(|it| it.summary.id == sound));
        assert_eq!(claimed.instances.len(), 2);
        for id in damaged {
            let keys = command(&["KEYS", &format!("{{{}:*:i:{id}", store.prefix())]).await;
            let keys: Vec<String> = redis::from_redis_value(keys).unwrap();
            let state = command(&["HGET", &keys[0], "state"]).await;
            assert_eq!(redis::from_redis_value::<String>(state).unwrap(), "stuck");
        }
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused() {
        let store = store().await;
        let meta = format!("{{{}:engines}}:meta", store.prefix());
        command(&["HSET", &meta, "schema_version", "99", "oldest_code", "99"]).await;
        let error = options(store.prefix()).connect().await.unwrap_err();
        assert!(
            matches!(error, ConnectError::NewerSchema { schema: 99, .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn keys_of_somebody_else_are_left_alone() {
        for (name, words) in [
            ("engines}:meta", "cache"),
            ("17}:owners", "mine"),
            ("3}:ended", "yours"),
        ] {
            let prefix = prefix();
            let key = format!("{{{prefix}:{name}");
            command(&["SET", &key, words]).await;
            let error = options(&prefix).connect().await.unwrap_err();
            assert!(
                matches!(&error, ConnectError::ForeignKey { key: found, kind } if *found == key && kind == "string"),
                "{error}"
            );
            let value = command(&["GET", &key]).await;
            assert_eq!(redis::from_redis_value::<String>(value).unwrap(), words);
        }
    }

    #[tokio::test]
    async fn a_prefix_that_would_disturb_the_slots_is_refused() {
        for prefix in ["", "a{b", "a}b", "a b", "a*", &"x".repeat(65)] {
            let error = options(prefix).connect().await.unwrap_err();
            assert!(
                matches!(error, ConnectError::Prefix { .. }),
                "{prefix}: {error}"
            );
        }
    }

    mod own_server;
}
