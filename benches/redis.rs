//! Durable instances on Redis against a floor in the same run.
//!
//! `cargo bench --features redis --bench redis`, with `SAGAZ_TEST_REDIS_URL` (`cargo xtask services up` prints one). The floor: as many
//! tasks, each of which makes four dependent `EVALSHA`s (accept, and three steps) that write the same rows and the same places
//! in sets, and look at nothing, on as many multiplexed connections. Rounds of both are interleaved; medians and the
//! median of each round's ratio are printed.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "support/order.rs"]
mod order;

use order::{INPUT, Order};
use redis::{Script, aio::MultiplexedConnection};
use sagaz::{Engine, SagaId, redis::Redis};
use std::{
    env,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const ROUNDS: usize = 7;
const PER_ROUND: Duration = Duration::from_millis(1500);
const IN_FLIGHT: [usize; 4] = [1, 64, 256, 512];
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

async fn floor_rate(connections: &[MultiplexedConnection], in_flight: usize) -> f64 {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for place in 0..in_flight {
        let mut connection = connections[place % connections.len()].clone();
        tasks.spawn(async move {
            let mut finished = 0;
            while began.elapsed() < PER_ROUND {
                floor_instance(&mut connection, fastrand::u16(..)).await;
                finished += 1;
            }
            finished
        });
    }
    let finished: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(finished) / began.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Ok(url) = env::var("SAGAZ_TEST_REDIS_URL") else {
        println!("SAGAZ_TEST_REDIS_URL names no server; `cargo xtask services up` starts one");
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
    println!(
        "{:>9} {:>16} {:>16} {:>7} {:>12} {:>12}",
        "in flight", "floor /s", "sagaz /s", "ratio", "floor each", "sagaz each"
    );
    for in_flight in IN_FLIGHT {
        let (mut floors, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floors.push(floor_rate(&connections, in_flight).await);
            rates.push(order::rate(order::run(&engine, in_flight, PER_ROUND).await));
        }
        let ratios = rates.iter().zip(&floors).map(|(rate, floor)| rate / floor);
        let ratio = median(ratios.collect());
        let (floor, rate) = (median(floors), median(rates));
        let side_by_side = f64::from(u32::try_from(in_flight).expect("it is small"));
        let each = |rate: f64| Duration::from_secs_f64(side_by_side / rate);
        println!(
            "{in_flight:>9} {floor:>16.0} {rate:>16.0} {ratio:>7.2} {:>12.0?} {:>12.0?}",
            each(floor),
            each(rate)
        );
    }
    println!("wanted: a ratio of at least 0.5, and of at least 0.67 at 1 in flight");
    engine.shutdown().await;
    let mut connection = connections.swap_remove(0);
    for prefix in [prefix.as_str(), "floor"] {
        for partition in 0..PARTITIONS {
            let found: Vec<String> = redis::cmd("KEYS")
                .arg(format!("{{{prefix}:{partition}}}:*"))
                .query_async(&mut connection)
                .await
                .expect("the keys");
            for keys in found.chunks(1_000) {
                let mut unlink = redis::cmd("UNLINK");
                let _: i64 = unlink
                    .arg(keys)
                    .query_async(&mut connection)
                    .await
                    .expect("they go");
            }
        }
    }
}
