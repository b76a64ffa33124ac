//! Durable instances on Redis against a floor in the same run.
//!
//! `cargo bench --features redis --bench redis`, with `SAGAZ_TEST_REDIS_URL` (`cargo xtask services up` prints one). The floor: as many
//! tasks, each of which makes four dependent `EVALSHA`s (accept, and three steps) that write the same rows and the same places
//! in sets, and look at nothing, pipelined on as many multiplexed connections. Rounds of both are interleaved.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "support/measure.rs"]
mod measure;
#[path = "support/order.rs"]
mod order;
#[path = "support/redis_keys.rs"]
mod redis_keys;
#[path = "support/server.rs"]
mod server;

use measure::{scaled, tell};
use order::{INPUT, Order};
use redis::{Script, aio::MultiplexedConnection};
use sagaz::{Engine, SagaId, redis::Redis};
use std::{sync::LazyLock, time::Duration};

/// How many in flight, and the ratio that is wanted.
const IN_FLIGHT: [(u32, f64); 3] = [(1, 0.67), (64, 0.5), (256, 0.5)];
const CONNECTIONS: usize = 4;
const PARTITIONS: u16 = 64;

/// The rows of a new instance that is owned.
static ACCEPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local t = redis.call('TIME')
        local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
        redis.call('HSET', KEYS[1] .. ':i:' .. ARGV[1], 'saga', 'order', 'version', '1', 'fingerprint', 'f', 'state', 'pending',
            'pivot', '0', 'owner', 'me', 'epoch', '1', 'takeovers', '0', 'digest', '', 'created', now, 'updated', now,
            'type', 'application/json', 'input', ARGV[2])
        redis.call('ZADD', KEYS[1] .. ':in:pending:order', 0, ARGV[1])
        redis.call('ZADD', KEYS[1] .. ':own:me', now, ARGV[1])
        redis.call('SADD', KEYS[1] .. ':owners', 'me')
        redis.call('HINCRBY', KEYS[1] .. ':unfinished', '1:order', 1)
        return 1",
    )
});

/// The rows of a step, and what the instance's new state moves.
static STEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local t = redis.call('TIME')
        local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
        redis.call('HSET', KEYS[1] .. ':i:' .. ARGV[1], 'state', ARGV[4], 'pivot', '0', 'updated', now, 's:' .. ARGV[2],
            now .. '  {\"kind\":\"compensatable\",\"state\":\"completed\",\"attempts\":1}', 't:' .. ARGV[2],
            'application/json', 'o:' .. ARGV[2], ARGV[3])
        if ARGV[5] ~= ARGV[4] then
            redis.call('ZREM', KEYS[1] .. ':in:' .. ARGV[5] .. ':order', ARGV[1])
            redis.call('ZADD', KEYS[1] .. ':in:' .. ARGV[4] .. ':order', 0, ARGV[1])
        end
        if ARGV[4] == 'completed' then
            redis.call('ZREM', KEYS[1] .. ':own:me', ARGV[1])
            redis.call('HINCRBY', KEYS[1] .. ':unfinished', '1:order', -1)
            redis.call('ZADD', KEYS[1] .. ':ended', now, ARGV[1])
        end
        return 1",
    )
});

async fn floor_instance(connection: &mut MultiplexedConnection, number: u16) {
    let id = SagaId::new().to_string();
    let tag = format!("{{floor:{}}}", number % PARTITIONS);
    let mut accept = ACCEPT.key(&tag);
    let accept = accept.arg(&id).arg(INPUT);
    let _: i64 = accept
        .invoke_async(connection)
        .await
        .expect("it is written");
    let steps = [
        ("reserve", "executing", "pending"),
        ("charge", "executing", "executing"),
        ("confirm", "completed", "executing"),
    ];
    for (step, state, old_state) in steps {
        let output = format!("\"{step} of {INPUT}\"");
        let mut write = STEP.key(&tag);
        let write = write
            .arg(&id)
            .arg(step)
            .arg(output)
            .arg(state)
            .arg(old_state);
        let _: i64 = write.invoke_async(connection).await.expect("it is written");
    }
}

async fn floor_rate(
    connections: &[MultiplexedConnection],
    in_flight: u32,
    per_round: Duration,
) -> f64 {
    let connections = connections.to_vec();
    let one = move |task: u32| {
        let mut connection = connections[task as usize % connections.len()].clone();
        async move { floor_instance(&mut connection, fastrand::u16(..)).await }
    };
    order::rate(order::repeat(in_flight, per_round, one).await)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Some(url) = server::url("SAGAZ_TEST_REDIS_URL") else {
        return;
    };
    let options = Redis::options(&url).expect("a URL of Redis");
    let prefix = format!("bench-{}", SagaId::new());
    let store = options
        .prefix(&prefix)
        .connections(CONNECTIONS)
        .partitions(PARTITIONS)
        .connect()
        .await
        .expect("the store connects");
    println!("{}", store.durability());
    let engine = Engine::builder(store)
        .register(Order)
        .start()
        .await
        .expect("the engine starts");
    let client = redis::Client::open(url).expect("a URL of Redis");
    // Replies of many hundred calls come behind each other.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        connections.push(connection.await.expect("the floor connects"));
    }
    let per_round = scaled(Duration::from_millis(1500), Duration::from_millis(100));
    for (in_flight, wanted) in IN_FLIGHT {
        let (mut floors, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..scaled(7, 1) {
            floors.push(floor_rate(&connections, in_flight, per_round).await);
            rates.push(order::rate(order::run(&engine, in_flight, per_round).await));
        }
        tell(
            "redis",
            ("three steps", Some(in_flight)),
            order::RATE,
            &rates,
            &[("the same commands, pipelined", &floors, Some(wanted))],
        );
    }
    engine.shutdown().await;
    let mut connection = connections.swap_remove(0);
    for prefix in [prefix.as_str(), "floor"] {
        redis_keys::unlink(&mut connection, prefix).await;
    }
}
