//! Each alert is made to fire by a fault of the kind that it is for, and clears when that is over.
//!
//! The rules are those of the repository, with every minute made a second: durations, ranges, and ages in seconds.

use super::{Prometheus, deploy::alerts, rules};
use crate::{
    process::Process,
    servers::{PostgresServer, RedisServer, Server, free_port, skipped},
    shop::{IN_FLIGHT_MAX, LEASE, Part, TOPIC},
};
use rustix::process::Signal;
use std::{collections::BTreeSet, time::Instant};

/// The rules with every minute made a second.
fn hurried(rules: &str) -> String {
    let mut hurried = String::new();
    for line in rules.lines() {
        let is_said = line.trim_start().starts_with("description:") || line.contains("{{");
        hurried += &if is_said {
            line.to_owned()
        } else {
            seconds(line)
        };
        hurried.push('\n');
    }
    hurried.replace("* 60", "* 1")
}

/// `5m` as `5s`.
fn seconds(line: &str) -> String {
    let mut out = String::new();
    let mut after_digit = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let ends_word = letters
            .peek()
            .is_none_or(|next| !next.is_ascii_alphanumeric());
        out.push(if letter == 'm' && after_digit && ends_word {
            's'
        } else {
            letter
        });
        after_digit = letter.is_ascii_digit();
    }
    out
}

/// What has been seen to fire.
struct Watch {
    prometheus: Prometheus,
    seen: BTreeSet<String>,
    /// When what fired before had cleared.
    since: Instant,
}

impl Watch {
    #[track_caller]
    fn fires(&mut self, alerts: &[&str]) {
        for alert in alerts {
            self.prometheus.wait(&format!("{alert} fires"), || {
                // Where minutes are seconds it may be over before it is looked for.
                let fired = format!(
                    "max_over_time(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}[{}s])",
                    self.since.elapsed().as_secs() + 1
                );
                if self.prometheus.query(&fired).is_empty() {
                    Err(format!("{:?} do", self.prometheus.firing().keys()))
                } else {
                    Ok(())
                }
            });
            self.seen.insert((*alert).to_owned());
        }
    }

    #[track_caller]
    fn clears(&mut self, alerts: &[&str]) {
        for alert in alerts {
            self.prometheus.wait(&format!("{alert} clears"), || {
                match self.prometheus.firing().remove(*alert) {
                    None => Ok(()),
                    Some(alert) => Err(alert.to_string()),
                }
            });
        }
        self.since = Instant::now();
    }

    #[track_caller]
    fn all_clear(&self) {
        self.prometheus.wait("nothing fires", || {
            let firing = self.prometheus.firing();
            if firing.is_empty() {
                Ok(())
            } else {
                Err(format!("{firing:?}"))
            }
        });
    }
}

/// Another of the processes, which is killed, or which nobody scrapes. One whose engine takes what kills it may not live to say that it
/// is open.
fn another(part: &Part, is_killed: bool) -> Process {
    let part = Part {
        serve: None,
        is_killed,
        ..part.clone()
    };
    let mut process = Process::start("shop::body", &part);
    if !is_killed {
        process.wait_for("open");
    }
    process
}

fn tell(process: &mut Process, words: &str) {
    process.tell(words);
    process.wait_for(&format!("done {words}"));
}

/// What is no event.
fn add_garbage(redis: &str) {
    let client = redis::Client::open(redis).unwrap();
    let mut connection = client.get_connection().unwrap();
    let () = redis::cmd("XADD")
        .arg(TOPIC)
        .arg("*")
        .arg("what")
        .arg("nobody knows")
        .query(&mut connection)
        .unwrap();
}

#[test]
fn every_alert_fires_of_a_real_fault_and_clears_when_it_is_over() {
    let (mut postgres, mut redis) = match (PostgresServer::begin(), RedisServer::begin()) {
        (Ok(postgres), Ok(redis)) => (postgres, redis),
        (Err(why), _) | (_, Err(why)) => return skipped(&why),
    };
    let address = format!("127.0.0.1:{}", free_port());
    let Some(prometheus) = Prometheus::start(&address, &hurried(&rules())) else {
        return;
    };
    let part = Part {
        postgres: postgres.url(),
        redis: redis.url(),
        serve: Some(address),
        is_killed: false,
    };
    let mut watch = Watch {
        prometheus,
        seen: BTreeSet::new(),
        since: Instant::now(),
    };
    let mut shop = Process::start("shop::body", &part);
    shop.wait_for("open");
    // That it makes no progress takes a minute to be seen, which would be an hour: below.
    tell(&mut shop, "start waits 1");

    // Instances that go wrong.
    tell(&mut shop, "start fails 40");
    tell(&mut shop, "start times_out 3");
    tell(&mut shop, "start cannot_be_undone 2");
    watch.fires(&[
        "SagazInstanceStuck",
        "SagazCompensationFailing",
        "SagazStepTimingOut",
        "SagazStepFailing",
        "SagazRollbackRateHigh",
    ]);
    tell(&mut shop, "resolve");
    watch.clears(&[
        "SagazInstanceStuck",
        "SagazCompensationFailing",
        "SagazStepTimingOut",
        "SagazStepFailing",
        "SagazRollbackRateHigh",
    ]);

    // Events that nobody can handle, and messages that are none.
    tell(&mut shop, "append trial.poison 12");
    watch.fires(&["SagazDeadLetters", "SagazConsumerFailing"]);
    tell(&mut shop, "discard");
    add_garbage(&part.redis);
    watch.fires(&["SagazMessagesRefused"]);
    watch.clears(&[
        "SagazDeadLetters",
        "SagazConsumerFailing",
        "SagazMessagesRefused",
    ]);

    // The broker goes away.
    redis.crash();
    tell(&mut shop, "start fine 3");
    watch.fires(&["SagazBrokerDown", "SagazOutboxBacklog"]);
    redis.start();
    watch.clears(&["SagazBrokerDown", "SagazOutboxBacklog"]);

    // No relay.
    tell(&mut shop, "relay stop");
    tell(&mut shop, "append trial.begun 3");
    watch.fires(&["SagazNoRelay"]);
    tell(&mut shop, "relay start");
    watch.clears(&["SagazNoRelay"]);

    // The engine has as much to do as it may.
    tell(&mut shop, &format!("start waits {}", IN_FLIGHT_MAX - 1));
    watch.fires(&["SagazEngineSaturated", "SagazInstancesNotProgressing"]);
    tell(&mut shop, "gate open");
    watch.clears(&["SagazEngineSaturated", "SagazInstancesNotProgressing"]);

    // No engine, while an instance kills two of other processes; then there is one again, and takes it.
    tell(&mut shop, "engine stop");
    let mut first = another(&part, true);
    first.wait_for("open");
    first.tell("start kills 1");
    first.wait_until_dead();
    another(&part, true).wait_until_dead();
    watch.fires(&["SagazNoEngine"]);
    tell(&mut shop, "engine start");
    watch.fires(&["SagazSuspects"]);
    watch.clears(&["SagazNoEngine", "SagazSuspects"]);

    // A process dies in the middle of its work.
    let mut dying = another(&part, false);
    tell(&mut dying, "start waits 3");
    dying.kill();
    watch.fires(&["SagazTakeovers"]);
    watch.clears(&["SagazTakeovers"]);

    // A process stands still for longer than its lease.
    tell(&mut shop, "gate closed");
    tell(&mut shop, "start waits 1");
    shop.signal(Signal::STOP);
    std::thread::sleep(LEASE * 2);
    shop.signal(Signal::CONT);
    watch.fires(&["SagazLeaseLost"]);
    tell(&mut shop, "gate open");
    watch.clears(&["SagazLeaseLost"]);

    // The store is slow, and then away.
    for _ in 0..6 {
        tell(&mut shop, "hold up 1500");
        tell(&mut shop, "start fine 1");
    }
    watch.fires(&["SagazStoreSlow"]);
    postgres.crash();
    watch.fires(&["SagazStoreDown"]);
    postgres.start();
    watch.clears(&["SagazStoreSlow", "SagazStoreDown"]);

    let all: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!(watch.seen, all, "every alert of the rules is seen to fire");
    watch.all_clear();
    shop.end();
}
