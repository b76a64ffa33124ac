//! A network between a client and its server that can be cut, and heals.

use std::sync::Arc;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub(crate) struct Proxy {
    pub(crate) port: u16,
    is_cut: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// Carries connections on a free port to that one.
    pub(crate) async fn start(to: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let is_cut = Arc::new(watch::Sender::new(false));
        let cut = Arc::clone(&is_cut);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Dropped, it is told that nobody is there.
                if !*cut.borrow() {
                    tokio::spawn(carry(client, to.clone(), cut.subscribe()));
                }
            }
        });
        Self { port, is_cut }
    }

    /// Ends all connections, and makes none, until it heals.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn heal(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn carry(mut client: TcpStream, to: String, mut cut: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(to).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = cut.wait_for(|is_cut| *is_cut) => {}
    }
}
