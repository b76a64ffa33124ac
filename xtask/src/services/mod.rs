//! Servers that the tests need, started privately.
//!
//! In this order, per server: a URL in the environment; one that `cargo xtask services up` has started; a container, where
//! there is a Docker engine; native programs on a free port with their data under `target/`, installed from the distribution's
//! packages when they are missing and that is allowed.

mod container;
mod kafka;
mod native;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;
pub(crate) mod tlc;

use crate::Done;
use container::Container;
use std::env;

/// A server that tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Redis,
    RabbitMq,
    Kafka,
    Nats,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Postgres,
        Self::Redis,
        Self::RabbitMq,
        Self::Kafka,
        Self::Nats,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
            Self::RabbitMq => "RabbitMQ",
            Self::Kafka => "Kafka",
            Self::Nats => "NATS",
        }
    }

    /// The variable by which tests know it.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "SAGAZ_TEST_POSTGRES_URL",
            Self::Redis => "SAGAZ_TEST_REDIS_URL",
            Self::RabbitMq => "SAGAZ_TEST_RABBITMQ_URL",
            Self::Kafka => "SAGAZ_TEST_KAFKA_URL",
            Self::Nats => "SAGAZ_TEST_NATS_URL",
        }
    }

    /// What the names of its tests begin with, after those of their files.
    pub(crate) fn tests(self) -> &'static str {
        match self {
            Self::Postgres => "postgres::",
            Self::Redis => "redis::",
            Self::RabbitMq => "rabbitmq::",
            Self::Kafka => "kafka::",
            Self::Nats => "nats::",
        }
    }

    /// The name of its folder, and of its container.
    fn word(self) -> &'static str {
        self.tests().trim_end_matches(':')
    }

    fn running(self, folder: &str) -> Option<String> {
        match self {
            Self::Postgres => postgres::Postgres::at(folder).running(),
            Self::Redis => redis::Redis::at(folder).running(),
            Self::RabbitMq => rabbitmq::RabbitMq::at(folder).running(),
            Self::Kafka => kafka::Kafka::at(folder).running(),
            Self::Nats => nats::Nats::at(folder).running(),
        }
    }

    fn start(self, folder: &str) -> Result<String, String> {
        match self {
            Self::Postgres => postgres::Postgres::at(folder).start(),
            Self::Redis => redis::Redis::at(folder).start(),
            Self::RabbitMq => rabbitmq::RabbitMq::at(folder).start(),
            Self::Kafka => kafka::Kafka::at(folder).start(),
            Self::Nats => nats::Nats::at(folder).start(),
        }
    }

    fn stop(self, folder: &str) -> Done {
        match self {
            Self::Postgres => postgres::Postgres::at(folder).stop(),
            Self::Redis => redis::Redis::at(folder).stop(),
            Self::RabbitMq => rabbitmq::RabbitMq::at(folder).stop(),
            Self::Kafka => kafka::Kafka::at(folder).stop(),
            Self::Nats => nats::Nats::at(folder).stop(),
        }
    }
}

/// A server to run tests against.
pub(crate) struct Server {
    pub(crate) url: String,
    held: Held,
}

/// What ends with a [`Server`].
enum Held {
    /// Somebody else started it.
    Nothing,
    Native(Kind, String),
    Container(Container),
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.held {
            Held::Nothing => {}
            Held::Native(kind, folder) => {
                let _ = kind.stop(folder);
            }
            Held::Container(container) => container.stop(),
        }
    }
}

/// A server for one run of the tests.
pub(crate) fn for_tests(kind: Kind) -> Result<Server, String> {
    let of_others = |url| Server {
        url,
        held: Held::Nothing,
    };
    if let Ok(url) = env::var(kind.variable()) {
        return Ok(of_others(url));
    }
    if let Some(url) = running(kind) {
        return Ok(of_others(url));
    }
    let mut why_no_container = None;
    if container::has_engine() {
        match Container::start(kind.word()) {
            Ok((container, url)) => {
                return Ok(Server {
                    url,
                    held: Held::Container(container),
                });
            }
            Err(why) => why_no_container = Some(why),
        }
    }
    let folder = format!("{}-for-tests", kind.word());
    let started = kind.start(&folder);
    started
        .map(|url| Server {
            url,
            held: Held::Native(kind, folder),
        })
        .map_err(|why| match why_no_container {
            None => why,
            Some(container) => format!("{why}; and no container: {container}"),
        })
}

/// Programs that tests run themselves: to crash, to misconfigure, to stand between.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    /// What they start, in words.
    pub(crate) what: &'static str,
    ensure: fn() -> Done,
}

impl Program {
    /// Installs it if it is not there, where that is allowed.
    pub(crate) fn ensure(self) -> Done {
        (self.ensure)()
    }
}

/// By what the names of their tests contain.
pub(crate) const PROGRAMS: [(&str, Program); 8] = [
    (
        "native_postgres::",
        Program {
            what: "servers of PostgreSQL",
            ensure: postgres::ensure,
        },
    ),
    (
        "pgbouncer::",
        Program {
            what: "PgBouncer",
            ensure: native::pgbouncer,
        },
    ),
    (
        "prometheus::",
        Program {
            what: "Prometheus",
            ensure: native::prometheus,
        },
    ),
    (
        "own_server::",
        Program {
            what: "servers of Redis",
            ensure: redis::ensure,
        },
    ),
    (
        "own_rabbitmq::",
        Program {
            what: "servers of RabbitMQ",
            ensure: rabbitmq::ensure,
        },
    ),
    (
        "own_kafka::",
        Program {
            what: "servers of Kafka",
            ensure: kafka::ensure,
        },
    ),
    (
        "own_nats::",
        Program {
            what: "servers of NATS",
            ensure: nats::ensure,
        },
    ),
    (
        crate::model::TESTS,
        Program {
            what: "the model checker",
            ensure: tlc::ensure,
        },
    ),
];

/// What counts instructions.
pub(crate) const VALGRIND: Program = Program {
    what: "Valgrind",
    ensure: native::valgrind,
};

/// One that `services up` has started.
fn running(kind: Kind) -> Option<String> {
    kind.running(kind.word())
        .or_else(|| container::kept(kind.word()))
}

/// `names`: of which servers; none are all.
pub(crate) fn command(verb: &str, names: &[&str]) -> Done {
    let each = match verb {
        "up" => up,
        "down" => down,
        "status" => status,
        _ => {
            return Err(format!(
                "`services {verb}` is none of `up`, `down`, `status`"
            ));
        }
    };
    for name in names {
        if Kind::ALL.iter().all(|kind| kind.word() != *name) {
            let known = Kind::ALL.map(Kind::word).join(", ");
            return Err(format!("`{name}` is none of the servers {known}"));
        }
    }
    let is_meant = |kind: &Kind| names.is_empty() || names.contains(&kind.word());
    for kind in Kind::ALL.into_iter().filter(is_meant) {
        eprintln!("{}: {}", kind.name(), each(kind)?);
    }
    Ok(())
}

fn up(kind: Kind) -> Result<String, String> {
    let url = match running(kind) {
        Some(url) => url,
        None if container::has_engine() => container::keep(kind.word())?,
        None => kind.start(kind.word())?,
    };
    Ok(format!("{url} ({})", kind.variable()))
}

fn down(kind: Kind) -> Result<String, String> {
    let was_running = running(kind).is_some();
    container::let_go(kind.word())?;
    kind.stop(kind.word())?;
    let words = if was_running {
        "stopped"
    } else {
        "was not running"
    };
    Ok(words.to_owned())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of three verbs, of which two can fail"
)]
fn status(kind: Kind) -> Result<String, String> {
    Ok(running(kind).unwrap_or_else(|| "not running".to_owned()))
}
