//! Whether a server answers, as its protocol begins.

use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What is said first, what the answer begins with, and what is said to that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    say: &'static [u8],
    hear: &'static [u8],
    then: &'static [u8],
}

/// A start of the user `postgres`; `R`: it is let in, or asked who it is. A server that is still recovering answers with `E`.
pub(super) const POSTGRES: Probe = Probe {
    say: b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0",
    hear: b"R",
    then: b"X\0\0\0\x04",
};

pub(super) const REDIS: Probe = Probe {
    say: b"PING\r\n",
    hear: b"+PONG",
    then: b"",
};

/// The greeting of AMQP 0-9-1; the first frame is one of a method.
pub(super) const RABBITMQ: Probe = Probe {
    say: b"AMQP\0\0\x09\x01",
    hear: b"\x01",
    then: b"",
};

/// It tells of itself first, and waits for what a client says to that.
pub(super) const NATS: Probe = Probe {
    say: b"",
    hear: b"INFO ",
    then: b"CONNECT {}\r\n",
};

impl Probe {
    pub(super) async fn answers(self, port: u16) -> bool {
        let asking = async {
            let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
            connection.write_all(self.say).await?;
            let mut heard = vec![0; self.hear.len()];
            connection.read_exact(&mut heard).await?;
            connection.write_all(self.then).await?;
            std::io::Result::Ok(heard == self.hear)
        };
        let answered = timeout(Duration::from_secs(5), asking).await;
        matches!(answered, Ok(Ok(true)))
    }
}
