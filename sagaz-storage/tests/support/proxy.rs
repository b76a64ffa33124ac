//! A network between the store and its server that can hold back what was sent and deliver it later, or lose a reply.

use std::sync::{Arc, OnceLock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Through,
    Hold,
    /// What contains the words, and all that comes behind it.
    HoldFrom,
    /// The same, and the connection breaks at once.
    CutFrom,
    /// Only what is held already.
    HoldOld,
    Release,
    /// The first one that contains the words gets through, and its connection breaks instead of the reply.
    LoseReply,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
    words: Arc<OnceLock<String>>,
    /// How many replies came for what was held.
    answered: Arc<watch::Sender<u32>>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mode = watch::Sender::new(Mode::Through);
        let switch = mode.clone();
        let answered = Arc::new(watch::Sender::new(0));
        let replies = Arc::clone(&answered);
        let words = Arc::new(OnceLock::new());
        let watched_words = Arc::clone(&words);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", to))
                    .await
                    .expect("the server");
                tokio::spawn(carry(
                    client,
                    server,
                    switch.clone(),
                    Arc::clone(&watched_words),
                    Arc::clone(&replies),
                ));
            }
        });
        Self {
            port,
            mode,
            words,
            answered,
        }
    }

    /// From now on nothing gets through.
    pub(crate) fn hold(&self) {
        self.mode.send_replace(Mode::Hold);
    }

    /// From now on nothing gets through that contains these words.
    pub(crate) fn hold_from(&self, words: String) {
        self.words.set(words).expect("it is said once");
        self.mode.send_replace(Mode::HoldFrom);
    }

    /// What contains these words does not get through, and its sender finds the connection broken.
    pub(crate) fn cut_from(&self, words: String) {
        self.words.set(words).expect("it is said once");
        self.mode.send_replace(Mode::CutFrom);
    }

    /// The reply to the next one that contains these words is lost, with its connection.
    pub(crate) fn lose_reply_to(&self, words: String) {
        self.words.set(words).expect("it is said once");
        self.mode.send_replace(Mode::LoseReply);
    }

    /// Whether a reply was lost.
    pub(crate) fn has_lost_one(&self) -> bool {
        *self.mode.borrow() == Mode::Through
    }

    /// What is held stays so.
    pub(crate) fn let_new_ones_through(&self) {
        self.mode.send_replace(Mode::HoldOld);
    }

    /// What was held arrives; whether the server has answered it.
    pub(crate) async fn release(&self) -> bool {
        self.mode.send_replace(Mode::Release);
        let mut answered = self.answered.subscribe();
        answered.wait_for(|replies| *replies > 0).await.is_ok()
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    switch: watch::Sender<Mode>,
    words: Arc<OnceLock<String>>,
    answered: Arc<watch::Sender<u32>>,
) {
    let (mut from_client, to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut mode = switch.subscribe();
    let (held, was_held) = watch::channel(false);
    let (broken, mut is_broken) = watch::channel(false);
    tokio::spawn(async move {
        let mut to_client = Some(to_client);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = tokio::select! {
                read = from_server.read(&mut buffer) => read,
                Ok(()) = is_broken.changed() => {
                    to_client = None;
                    continue;
                }
            };
            let Ok(length @ 1..) = read else { return };
            if *was_held.borrow() {
                answered.send_modify(|replies| *replies += 1);
            }
            // Nobody may be there any more.
            if let Some(to_client) = &mut to_client {
                let _ = to_client.write_all(&buffer[..length]).await;
            }
        }
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        let sent = &buffer[..length];
        let is_named = || {
            words.get().is_some_and(|words| {
                sent.windows(words.len())
                    .any(|part| part == words.as_bytes())
            })
        };
        let now = *mode.borrow();
        let is_held = match now {
            Mode::Hold => true,
            Mode::HoldFrom | Mode::CutFrom => is_named(),
            _ => false,
        };
        if now == Mode::LoseReply && is_named() {
            switch.send_replace(Mode::Through);
            broken.send_replace(true);
        } else if now == Mode::CutFrom && is_held {
            broken.send_replace(true);
        }
        if is_held {
            let released = mode.wait_for(|mode| *mode == Mode::Release).await;
            if released.is_err() {
                return;
            }
            held.send_replace(true);
        }
        if to_server.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // The server is not told that the client has gone: its last words may be on their way.
    std::future::pending::<()>().await;
}
