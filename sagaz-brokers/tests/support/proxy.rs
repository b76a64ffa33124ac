//! A network between a client and its server that can be cut or held up, and heals.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Through,
    /// Nothing arrives, and nobody is told.
    Held,
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
}

#[expect(clippy::allow_attributes, reason = "not every test uses all of it")]
#[allow(dead_code, reason = "not every test uses all of it")]
impl Proxy {
    /// Carries connections on a free port to there.
    pub(crate) async fn start(to: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (mode, watched) = watch::channel(Mode::Through);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Dropped, it is told that nobody is there.
                if *watched.borrow() != Mode::Cut {
                    tokio::spawn(carry(client, to.clone(), watched.clone()));
                }
            }
        });
        Self { port, mode }
    }

    /// Ends all connections, and makes none, until it heals.
    pub(crate) fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Until it heals nothing arrives.
    pub(crate) fn hold(&self) {
        self.mode.send_replace(Mode::Held);
    }

    pub(crate) fn heal(&self) {
        self.mode.send_replace(Mode::Through);
    }

    /// Ends the connections that there are.
    pub(crate) async fn cut_once(&self) {
        self.cut();
        // Those who carry have seen it before it is over.
        tokio::task::yield_now().await;
        while self.mode.receiver_count() > 1 {
            tokio::task::yield_now().await;
        }
        self.heal();
    }
}

async fn carry(client: TcpStream, to: String, mut mode: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let (there, back) = (mode.clone(), mode.clone());
    tokio::select! {
        () = pump(from_client, to_server, there) => {}
        () = pump(from_server, to_client, back) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let is_over = mode.wait_for(|mode| *mode != Mode::Held).await.is_err();
        if is_over || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
