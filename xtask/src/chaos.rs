//! Chaos on real servers, by `tests/chaos`: here the programs of its servers are had, and it is told what it is to do.
//!
//! All that it takes is in `cargo run -p sagaz-chaos -- run --help`, and handed on as it is typed.

use crate::{Done, cargo, run, services};

/// What starts the servers of a store or a broker, by the names of their tests.
const SERVERS: [(&str, &str); 4] = [
    ("postgres", "native_postgres::"),
    ("redis", "own_server::"),
    ("rabbitmq", "own_rabbitmq::"),
    ("nats", "own_nats::"),
];

/// `arguments`: `--store .. --broker .. --minutes ..`, and more.
pub(crate) fn command(arguments: &[&str]) -> Done {
    // Who asks what there is gets no server for it.
    let asks = ["--help", "-h"].iter().any(|it| arguments.contains(it));
    if asks {
        return start(arguments);
    }
    for (flag, default) in [("--store", "postgres"), ("--broker", "rabbitmq")] {
        ensure(given(arguments, flag).unwrap_or(default))?;
    }
    start(arguments)
}

fn start(arguments: &[&str]) -> Done {
    run(cargo("run --package sagaz-chaos --all-features -- run").args(arguments))
}

/// What is behind a flag.
fn given<'a>(arguments: &[&'a str], flag: &str) -> Option<&'a str> {
    let equals = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix(flag)?.strip_prefix('='));
    equals.or_else(|| {
        let place = arguments.iter().position(|argument| *argument == flag)?;
        arguments.get(place + 1).copied()
    })
}

/// SQLite needs no server, and what is unknown is refused by the program.
fn ensure(server: &str) -> Done {
    let Some((_, tests)) = SERVERS.iter().find(|(word, _)| *word == server) else {
        return Ok(());
    };
    let program = services::PROGRAMS.iter().find(|(names, _)| names == tests);
    program.map_or(Ok(()), |(_, program)| program.ensure())
}
