//! Liveness and readiness, over HTTP: a server that is away makes a process unready, and does not have it started again.

use crate::{
    http,
    process::Process,
    servers::{PostgresServer, RedisServer, Server, free_port, skipped},
    shop::Part,
};
use std::time::{Duration, Instant};

/// Waits until a page has this status and says these words.
#[track_caller]
fn wait_for(url: &str, status: u16, words: &str) {
    let began = Instant::now();
    loop {
        let page = http::get(url);
        if let Ok((seen, text)) = &page
            && *seen == status
            && text.contains(words)
        {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{url} is not {status} with `{words}`, but {page:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_process_is_unready_while_a_server_is_away_and_lives_on() {
    let (mut postgres, mut redis) = match (PostgresServer::begin(), RedisServer::begin()) {
        (Ok(postgres), Ok(redis)) => (postgres, redis),
        (Err(why), _) | (_, Err(why)) => return skipped(&why),
    };
    let address = format!("127.0.0.1:{}", free_port());
    let part = Part {
        postgres: postgres.url(),
        redis: redis.url(),
        serve: Some(address.clone()),
        is_killed: false,
    };
    let mut shop = Process::start("shop::body", &part);
    shop.wait_for("open");
    let (ready, live) = (
        format!("http://{address}/readyz"),
        format!("http://{address}/livez"),
    );
    for words in [
        "store postgresql: ready",
        "relay postgresql: ready",
        "broker redis: ready",
        "consumer trials: ready",
    ] {
        wait_for(&ready, 200, words);
    }
    wait_for(&live, 200, "ok");

    redis.crash();
    wait_for(&ready, 503, "broker redis: not ready");
    wait_for(&live, 200, "ok");
    redis.start();
    wait_for(&ready, 200, "ok");

    postgres.crash();
    wait_for(&ready, 503, "store postgresql: not ready");
    // Its lease has ended, and still nothing is wrong with the process.
    wait_for(&ready, 503, "its lease has lapsed");
    wait_for(&live, 200, "ok");
    postgres.start();
    wait_for(&ready, 200, "ok");

    shop.tell("engine stop");
    shop.wait_for("done engine stop");
    // What is shut down is gone, and no trouble.
    wait_for(&ready, 200, "ok\nrelay");
    assert_eq!(
        http::get(&format!("http://{address}/nonsense")).unwrap().0,
        404
    );
    shop.end();
}
