//! They start the server themselves, so its programs must be here.

use crate::late::{again, arrives, cluster_of_one, held_back};
use crate::proxy::Proxy;
use crate::redis_instances::{accept, claim, engine, owned, progress, stored};
use crate::support::{
    Cluster, prefix,
    redis_server::{OwnServer, PATIENCE},
};
use sagaz_core::{
    EngineId, SagaId, Token,
    store::{InstanceState, SagaStore, StepState, Wake, Write, Written},
};
use sagaz_storage::redis::{ConnectError, Redis};
use std::time::{Duration, Instant};

/// What the keys of an instance begin with.
fn tag(store: &Redis, id: SagaId) -> String {
    let place = (id.as_uuid().as_u128() & 0xffff) % 64;
    format!("{{{}:{place}}}", store.prefix())
}

/// In a task of its own, too, which `again` cannot be.
async fn until_stored(store: &Redis, write: &Write) -> Vec<Written> {
    let began = Instant::now();
    loop {
        match store.write(std::slice::from_ref(write)).await {
            Ok(written) => return written,
            Err(error) => assert!(
                error.is_transient() && began.elapsed() < PATIENCE,
                "{error:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A store behind a network that is still well, an engine of it, and an instance that nobody owns.
async fn about_to_be_claimed(
    call_timeout: Duration,
) -> (OwnServer, Proxy, Redis, EngineId, SagaId) {
    let server = OwnServer::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let options = Redis::options(&url).unwrap().call_timeout(call_timeout);
    let store = options.connect().await.unwrap();
    let engine = engine(&store).await;
    // The server knows the scripts when the late one comes.
    store.write(&[Write::Accept(accept(None))]).await.unwrap();
    let claimed = store.claim(&claim(engine)).await.unwrap();
    assert_eq!(claimed.instances.len(), 1);
    let waiting = accept(None);
    let id = waiting.id;
    store.write(&[Write::Accept(waiting)]).await.unwrap();
    (server, proxy, store, engine, id)
}

/// With `appendfsync always`: whatever was acknowledged before the kill is there after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_killed_server_loses_nothing_that_it_acknowledged() {
    let mut server = OwnServer::start(&[]).await;
    let store = Redis::options(&server.url())
        .unwrap()
        .connect()
        .await
        .unwrap();
    assert!(store.durability().is_durable(), "{}", store.durability());
    let owner = engine(&store).await;
    let (count, counted) = tokio::sync::watch::channel(0);
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut all = Vec::new();
            // Until nobody counts them any more.
            while count.send(all.len()).is_ok() {
                let accept = accept(Some(owner));
                let (id, token) = (accept.id, Token { owner, epoch: 1 });
                until_stored(&store, &Write::Accept(accept)).await;
                let written = until_stored(&store, &progress(id, token)).await;
                assert!(
                    matches!(written[..], [Written::Stored { .. }]),
                    "{written:?}"
                );
                all.push(id);
            }
            all
        })
    };
    let reaches = async |wanted| {
        let mut counted = counted.clone();
        let reached = counted.wait_for(|count| *count >= wanted);
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        *reached
            .expect("they are stored in time")
            .expect("they are counted")
    };
    for n in 1..=3 {
        let before = reaches(n * 100).await;
        server.kill();
        server.run().await;
        reaches(before + 50).await;
    }
    drop(counted);
    let all = writing.await.unwrap();
    let began = Instant::now();
    while let Err(error) = store.count().await {
        // The connection for readers is of before.
        assert!(
            error.is_transient() && began.elapsed() < PATIENCE,
            "{error:?}"
        );
    }
    for id in all {
        assert_eq!(stored(&store, id).await.steps.len(), 1, "{id}");
    }
}

/// A write whose reply did not come is written again; then its first try arrives.
#[tokio::test]
async fn p7_a_try_that_arrives_late_takes_nothing_back() {
    let (_server, proxy, store) = held_back().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let first = progress(id, token);
    proxy.hold();
    let error = store.write(std::slice::from_ref(&first)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    proxy.let_new_ones_through();
    let written = until_stored(&store, &first).await;
    assert!(
        matches!(written[..], [Written::Stored { .. }]),
        "{written:?}"
    );
    let Write::Progress(mut next) = first else {
        unreachable!("it is progress")
    };
    next.state = InstanceState::Compensating;
    next.steps[0].state = StepState::Compensated;
    until_stored(&store, &Write::Progress(next)).await;
    assert!(
        proxy.release().await,
        "the first try has come and was answered"
    );
    let snapshot = stored(&store, id).await;
    assert_eq!(snapshot.summary.state, InstanceState::Compensating);
    assert_eq!(snapshot.steps[0].state, StepState::Compensated);
}

/// Its engine has given the claim up, and looked at what it owns.
#[tokio::test]
async fn p1_a_takeover_that_arrives_late_takes_nothing() {
    let (_server, proxy, store, engine, id) = about_to_be_claimed(Duration::from_secs(2)).await;
    // Of what a claim sends, only a takeover names an instance.
    proxy.hold_from(id.to_string());
    let error = store.claim(&claim(engine)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    proxy.let_new_ones_through();
    arrives(&proxy).await;
    let summary = stored(&store, id).await.summary;
    assert_eq!((summary.owner, summary.epoch), (None, 0));
    assert_eq!(
        store.claim(&claim(engine)).await.unwrap().instances.len(),
        1
    );
}

/// The connection breaks while a takeover is on its way: its engine claims again, and then looks at what it owns.
#[tokio::test]
async fn p1_a_takeover_that_arrives_after_its_connection_broke_takes_nothing() {
    let (_server, proxy, store, engine, id) = about_to_be_claimed(Duration::from_secs(3)).await;
    proxy.cut_from(id.to_string());
    let error = store.claim(&claim(engine)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // Its room has been filled meanwhile.
    let mut next = claim(engine);
    next.limit = 0;
    proxy.let_new_ones_through();
    again(async || store.claim(&next).await).await;
    arrives(&proxy).await;
    assert_eq!(stored(&store, id).await.summary.owner, None);
}

#[tokio::test]
async fn a_cut_connection_is_no_business_error_and_the_next_call_has_a_new_one() {
    let server = OwnServer::start(&[]).await;
    let store = Redis::options(&server.url())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let owner = engine(&store).await;
    for _ in 0..5 {
        let (id, token) = owned(&store, owner).await;
        server
            .command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
        let written = until_stored(&store, &progress(id, token)).await;
        assert!(
            matches!(written[..], [Written::Stored { .. }]),
            "{written:?}"
        );
        let began = Instant::now();
        while let Err(error) = store.renew(owner, Duration::from_hours(1)).await {
            assert!(
                error.is_transient() && began.elapsed() < PATIENCE,
                "{error:?}"
            );
        }
    }
}

#[tokio::test]
async fn p12_a_value_that_the_server_does_not_take_is_refused_and_its_neighbours_can_be_written() {
    let server = OwnServer::start(&["--proto-max-bulk-len", "1mb"]).await;
    let store = Redis::options(&server.url())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut large = accept(None);
    large.input.bytes = vec![b'1'; (1 << 20) + 1];
    let batch = [Write::Accept(large), Write::Accept(accept(None))];
    let error = store.write(&batch).await.unwrap_err();
    assert!(error.is_refusal(), "{error:?}");
    assert!(error.to_string().contains("proto-max-bulk-len"), "{error}");
    store.write(&batch[1..]).await.unwrap();
}

/// Those of an older version that do not fit are looked at by every claim: their steps, not what they carry.
#[tokio::test]
async fn p12_a_claim_reads_no_payloads_of_what_it_leaves_alone() {
    const SIZE: usize = 100_000;
    let server = OwnServer::start(&[]).await;
    let store = Redis::connect(&server.url()).await.unwrap();
    let engine = engine(&store).await;
    for _ in 0..20 {
        let mut large = accept(Some(engine));
        large.input.bytes = vec![b' '; SIZE];
        let id = large.id;
        store.write(&[Write::Accept(large)]).await.unwrap();
        let token = Token {
            owner: engine,
            epoch: 1,
        };
        let mut write = progress(id, token);
        if let Write::Progress(progress) = &mut write {
            progress.release = Some(Wake::Now);
        }
        store.write(&[write]).await.unwrap();
    }
    let mut newer = claim(engine);
    newer.runnable[0].key.version = 2;
    newer.runnable[0].accepts = vec![1];
    let sent = async || {
        let stats = server.command(&["INFO", "stats"]).await;
        let stats: String = redis::from_redis_value(stats).unwrap();
        let bytes = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        bytes.unwrap().trim().parse::<usize>().unwrap()
    };
    let before = sent().await;
    assert!(store.claim(&newer).await.unwrap().instances.is_empty());
    let bytes = sent().await - before;
    assert!(bytes < SIZE, "{bytes} bytes");
}

/// It is offered again, and written when there is room.
#[tokio::test]
async fn p12_a_full_server_is_no_refusal_and_changes_nothing() {
    let server = OwnServer::start(&[]).await;
    let store = Redis::options(&server.url())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let (id, token) = owned(&store, engine(&store).await).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let write = progress(id, token);
    let error = store
        .write(&[Write::Accept(accept(None))])
        .await
        .unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("memory"),
        "{error:?}"
    );
    let error = store.write(std::slice::from_ref(&write)).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(stored(&store, id).await.steps.is_empty());
    let counts = store.count().await.unwrap();
    assert_eq!(counts, [("shop".to_owned(), InstanceState::Pending, 1)]);
    let written = until_stored(&store, &write).await;
    assert!(
        matches!(written[..], [Written::Stored { .. }]),
        "{written:?}"
    );
}

#[tokio::test]
async fn settings_that_do_not_back_the_promises_are_told_and_can_be_refused() {
    let cases: [(&[&str], &str); 5] = [
        (&["--appendonly", "no"], "appendonly is `no`"),
        (&["--appendfsync", "everysec"], "appendfsync is `everysec`"),
        (
            &["--maxmemory-policy", "allkeys-lru"],
            "maxmemory-policy is `allkeys-lru`",
        ),
        (
            &["--no-appendfsync-on-rewrite", "yes"],
            "no-appendfsync-on-rewrite is `yes`",
        ),
        (&["--rename-command", "CONFIG", ""], "CONFIG is denied"),
    ];
    for (settings, words) in cases {
        let server = OwnServer::start(settings).await;
        let options = || Redis::options(&server.url()).unwrap();
        let store = options().connect().await.unwrap();
        let report = store.durability().to_string();
        assert!(!store.durability().is_durable());
        for words in [words, "(P1, P2, P10, P11)", "set "] {
            assert!(report.contains(words), "{settings:?}: {report}");
        }
        let error = options().require_durable(true).connect().await.unwrap_err();
        assert_eq!(error.to_string(), report);
    }
    let server = OwnServer::start(&[]).await;
    let options = Redis::options(&server.url()).unwrap().require_durable(true);
    let store = options.connect().await.unwrap();
    assert_eq!(
        store.durability().to_string(),
        "the server's settings back every promise"
    );
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_told_in_words_that_help() {
    let locked = OwnServer::start(&["--requirepass", "secret"]).await;
    let single = OwnServer::start(&[]).await;
    let replica = OwnServer::start(&["--replicaof", "127.0.0.1", &single.port.to_string()]).await;
    let node = OwnServer::start(&["--cluster-enabled", "yes"]).await;
    single
        .command(&["ACL", "SETUSER", "poor", "on", ">poor", "~other:*", "+@all"])
        .await;
    let cases = [
        ("mysql://localhost/1".to_owned(), "cannot be read"),
        (
            "redis://127.0.0.1:1".to_owned(),
            "cannot reach the server 127.0.0.1:1",
        ),
        (locked.url(), "refuses the user or the password"),
        (
            format!("redis://:wrong@127.0.0.1:{}", locked.port),
            "refuses the user or the password",
        ),
        (
            format!("redis://poor:poor@127.0.0.1:{}", single.port),
            "lacks a right",
        ),
        (replica.url(), "is a replica"),
        // It speaks no TLS.
        (
            single.url().replace("redis://", "rediss://"),
            "cannot reach",
        ),
        (node.url(), "write the URL as `redis+cluster://"),
        (
            single.url().replace("redis://", "redis+cluster://"),
            "write the URL as `redis://",
        ),
    ];
    for (url, words) in cases {
        let connected = match Redis::options(&url) {
            Ok(options) => options.connect().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = connected.unwrap_err();
        assert!(
            error.to_string().contains(words),
            "{url}: {error}: {error:?}"
        );
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    assert!(
        matches!(Redis::connect(&replica.url()).await, Err(ConnectError::Replica { primary, .. })
            if primary.ends_with(&single.port.to_string()))
    );
}

#[tokio::test]
async fn p1_a_try_that_is_repeated_on_its_way_is_stored_and_not_lost() {
    let (_server, proxy, store) = cluster_of_one().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    // The server knows the script.
    let write = progress(id, token);
    until_stored(&store, &write).await;
    proxy.lose_reply_to(id.to_string());
    let written = until_stored(&store, &write).await;
    assert!(proxy.has_lost_one());
    assert!(
        matches!(written[..], [Written::Stored { .. }]),
        "its owner has it still: {written:?}"
    );
}

/// While a slot moves, some keys of its partition are on one node and some on the other: nothing is written there,
/// and nothing is said to be lost.
#[tokio::test]
async fn p1_a_slot_that_moves_loses_nothing() {
    let cluster = Cluster::start().await;
    let options = Redis::options(&cluster.url()).unwrap().prefix(prefix());
    let store = options
        .call_timeout(Duration::from_secs(2))
        .connect()
        .await
        .unwrap();
    let (id, token) = owned(&store, engine(&store).await).await;
    let tag = tag(&store, id);
    let slot = cluster.nodes[0]
        .command(&["CLUSTER", "KEYSLOT", &tag])
        .await;
    let slot: usize = redis::from_redis_value(slot).unwrap();
    let from = &cluster.nodes[slot / 5461 % 3];
    let to = &cluster.nodes[(slot / 5461 + 1) % 3];
    let name = async |node: &OwnServer| {
        redis::from_redis_value::<String>(node.command(&["CLUSTER", "MYID"]).await).unwrap()
    };
    let (from_name, to_name) = (name(from).await, name(to).await);
    let slot = slot.to_string();
    to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_name])
        .await;
    from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_name])
        .await;
    let writes = [progress(id, token)];
    let refused = async || {
        let error = store.write(&writes).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
    };
    refused().await;
    let keys = from
        .command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"])
        .await;
    let keys: Vec<String> = redis::from_redis_value(keys).unwrap();
    assert!(keys.contains(&format!("{tag}:i:{id}")), "{keys:?}");
    for key in keys {
        let port = to.port.to_string();
        from.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"])
            .await;
        refused().await;
    }
    for node in [to, from] {
        node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_name])
            .await;
    }
    let written = until_stored(&store, &writes[0]).await;
    assert!(
        matches!(written[..], [Written::Stored { .. }]),
        "{written:?}"
    );
    assert_eq!(stored(&store, id).await.steps.len(), 1);
}

/// A node that is killed and comes back: its partitions fail meanwhile, and nothing of them is lost.
#[tokio::test]
async fn a_node_of_a_cluster_may_restart() {
    let mut cluster = Cluster::start().await;
    let options = Redis::options(&cluster.url()).unwrap().prefix(prefix());
    let store = options.connect().await.unwrap();
    assert!(store.durability().is_durable() && !store.durability().cautions().is_empty());
    let owner = engine(&store).await;
    let mut instances = Vec::new();
    for _ in 0..30 {
        instances.push(owned(&store, owner).await);
    }
    cluster.nodes[1].kill();
    let batch: Vec<_> = instances
        .iter()
        .map(|(id, token)| progress(*id, *token))
        .collect();
    let error = store.write(&batch).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    cluster.nodes[1].run().await;
    cluster.until_ok().await;
    for write in &batch {
        let written = until_stored(&store, write).await;
        assert!(
            matches!(written[..], [Written::Stored { .. }]),
            "{written:?}"
        );
    }
    for (id, _) in instances {
        assert_eq!(stored(&store, id).await.steps.len(), 1);
    }
}
