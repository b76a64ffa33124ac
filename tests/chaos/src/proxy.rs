//! The network between a worker and a server: it cuts, delays, holds back and refuses.
//!
//! What is held back is delivered when the hold ends, as TCP does after a partition: so a worker that was cut off sends its late
//! writes. Invariant: within a connection nothing is lost or reordered, unless the connection breaks.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// What the network does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Each piece of data waits so long, at most: the sum of what those want who delay it.
    pub(crate) delay: Duration,
    /// How many want that nothing gets to the server.
    pub(crate) hold_up: u32,
    /// How many want that nothing gets back.
    pub(crate) hold_down: u32,
    /// How many want that new connections are reset.
    pub(crate) refuse: u32,
}

/// What the network does to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A connection was ended.
    Cut,
    /// A piece of data was late.
    Delayed,
    /// A piece of data was held back.
    Held,
    /// A new connection was reset.
    Refused,
}

/// How often each was met.
#[derive(Debug, Default)]
struct Met([AtomicU64; 4]);

impl Met {
    fn add(&self, trouble: Trouble) {
        self.0[trouble as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// How all connections end that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cut {
    nth: u32,
    reset: bool,
}

/// One way from workers to a server.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) port: u16,
    weather: watch::Sender<Weather>,
    cut: watch::Sender<Cut>,
    met: Arc<Met>,
}

impl Link {
    pub(crate) async fn to(server: u16, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let link = Self {
            port,
            weather: watch::Sender::default(),
            cut: watch::Sender::default(),
            met: Arc::default(),
        };
        let met = Arc::clone(&link.met);
        let (weather, cut) = (link.weather.subscribe(), link.cut.subscribe());
        tokio::spawn(async move {
            loop {
                // Out of descriptors, for one: it is tried again.
                let Ok((client, _)) = listener.accept().await else {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                if weather.has_changed().is_err() {
                    return;
                }
                let (weather, mut cut) = (weather.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(carry(client, server, weather, cut, Arc::clone(&met)));
            }
        });
        Ok(link)
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Weather)) {
        self.weather.send_modify(change);
    }

    pub(crate) fn cut(&self, reset: bool) {
        self.cut.send_modify(|cut| {
            cut.nth += 1;
            cut.reset = reset;
        });
    }

    /// How often somebody has met this trouble here.
    pub(crate) fn met(&self, trouble: Trouble) -> u64 {
        self.met.0[trouble as usize].load(Ordering::Relaxed)
    }

    /// Fine weather.
    pub(crate) fn clear(&self) {
        self.weather.send_replace(Weather::default());
    }
}

async fn carry(
    client: TcpStream,
    server: u16,
    weather: watch::Receiver<Weather>,
    mut cut: watch::Receiver<Cut>,
    met: Arc<Met>,
) {
    if weather.borrow().refuse > 0 {
        met.add(Trouble::Refused);
        let _ = client.set_zero_linger();
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let is_through = tokio::select! {
        () = async {
            tokio::join!(
                pump(from_client, &mut to_server, weather.clone(), &met, |weather| weather.hold_up > 0),
                pump(from_server, &mut to_client, weather, &met, |weather| weather.hold_down > 0),
            );
        } => true,
        Ok(()) = cut.changed() => {
            met.add(Trouble::Cut);
            false
        }
        else => false,
    };
    if !is_through && cut.borrow().reset {
        for end in [to_client, to_server] {
            let _ = end.as_ref().set_zero_linger();
            // Dropped, it would say good-bye first.
            end.forget();
        }
    }
}

/// One direction, until its source ends.
async fn pump(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    met: &Met,
    is_held: impl Fn(&Weather) -> bool,
) {
    let mut buffer = vec![0; 32 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let delay = weather.borrow().delay;
        if !delay.is_zero() {
            met.add(Trouble::Delayed);
            sleep(delay.mul_f64(fastrand::f64())).await;
        }
        if is_held(&weather.borrow()) {
            met.add(Trouble::Held);
        }
        // The sender has gone when there is nobody to release it.
        if weather.wait_for(|weather| !is_held(weather)).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // Half closed: the other direction may still have something to say.
    let _ = weather.wait_for(|weather| !is_held(weather)).await;
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::free_port;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A server that says everything back, and a way to it.
    async fn echo() -> Link {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Link::to(port, free_port().unwrap()).await.unwrap()
    }

    async fn connect(link: &Link) -> TcpStream {
        TcpStream::connect(("127.0.0.1", link.port)).await.unwrap()
    }

    /// Says a word; what comes back of it.
    async fn say(stream: &mut TcpStream, word: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(word).await?;
        let mut heard = vec![0; word.len()];
        timeout(PATIENCE, stream.read_exact(&mut heard)).await??;
        Ok(heard)
    }

    #[tokio::test]
    async fn in_fine_weather_everything_comes_through() {
        let link = echo().await;
        let mut stream = connect(&link).await;
        for word in [&b"one"[..], b"two"] {
            assert_eq!(say(&mut stream, word).await.unwrap(), word);
        }
        let troubles = [
            Trouble::Cut,
            Trouble::Delayed,
            Trouble::Held,
            Trouble::Refused,
        ];
        assert_eq!(troubles.map(|trouble| link.met(trouble)), [0; 4]);
    }

    #[tokio::test]
    async fn what_is_delayed_is_met_by_each_piece_in_both_directions() {
        let link = echo().await;
        let mut stream = connect(&link).await;
        link.set(|weather| weather.delay += Duration::from_millis(1));
        assert_eq!(say(&mut stream, b"late").await.unwrap(), b"late");
        assert_eq!(link.met(Trouble::Delayed), 2);
    }

    #[tokio::test]
    async fn what_is_held_is_delivered_when_the_hold_ends() {
        for up in [true, false] {
            let link = echo().await;
            let mut stream = connect(&link).await;
            say(&mut stream, b"before").await.unwrap();
            link.set(|weather| {
                weather.hold_up += u32::from(up);
                weather.hold_down += u32::from(!up);
            });
            stream.write_all(b"held").await.unwrap();
            let met = async {
                while link.met(Trouble::Held) == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(PATIENCE, met).await.unwrap();
            let mut heard = [0; 4];
            let early = timeout(Duration::from_millis(200), stream.read_exact(&mut heard)).await;
            assert!(early.is_err(), "it came through a hold");
            assert_eq!(link.met(Trouble::Held), 1);
            link.clear();
            let late = timeout(PATIENCE, stream.read_exact(&mut heard)).await;
            assert_eq!((late.unwrap().unwrap(), &heard), (4, b"held"));
        }
    }

    #[tokio::test]
    async fn a_cut_ends_the_connections_that_there_are_and_no_later_one() {
        for reset in [true, false] {
            let link = echo().await;
            let mut stream = connect(&link).await;
            say(&mut stream, b"before").await.unwrap();
            link.cut(reset);
            let mut byte = [0];
            let read = timeout(PATIENCE, stream.read(&mut byte)).await.unwrap();
            assert_eq!(read.is_err(), reset, "{read:?}");
            assert_eq!(link.met(Trouble::Cut), 1);
            let mut next = connect(&link).await;
            assert_eq!(say(&mut next, b"after").await.unwrap(), b"after");
        }
    }

    #[tokio::test]
    async fn who_is_refused_is_reset() {
        let link = echo().await;
        link.set(|weather| weather.refuse += 1);
        let mut refused = connect(&link).await;
        assert!(say(&mut refused, b"word").await.is_err());
        assert_eq!(link.met(Trouble::Refused), 1);
        link.clear();
        let mut stream = connect(&link).await;
        assert_eq!(say(&mut stream, b"word").await.unwrap(), b"word");
    }
}
