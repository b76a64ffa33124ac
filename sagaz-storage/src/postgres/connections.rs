//! The connections for one purpose: a fixed number, each made when it is first needed.
//!
//! Not sqlx's pool: that asks the server whether a connection is alive before and after each call, which is twice the round
//! trips of a write. Here one is asked only after a rest; and when a call on one fails, those that rest are dropped with it,
//! because what broke one has mostly broken all.

use sqlx::{Connection, postgres::PgConnectOptions, postgres::PgConnection};
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// After this rest a connection is asked whether it is still alive.
const REST_MAX: Duration = Duration::from_secs(30);

pub(super) struct Connections {
    connect: PgConnectOptions,
    count: u32,
    places: Semaphore,
    resting: Mutex<Vec<(PgConnection, Instant)>>,
}

/// A connection that is in use. Dropped, it is closed, and what the server makes of the rest of a call is nobody's next answer.
pub(super) struct Lent<'c> {
    pub(super) connection: PgConnection,
    from: &'c Connections,
    _place: SemaphorePermit<'c>,
}

impl Connections {
    pub(super) fn new(connect: PgConnectOptions, count: u32) -> Self {
        Self {
            connect,
            count,
            places: Semaphore::new(count as usize),
            resting: Mutex::default(),
        }
    }

    pub(super) async fn take(&self) -> Result<Lent<'_>, sqlx::Error> {
        let place = self.places.acquire().await;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        let rested = self.resting().pop();
        let alive = match rested {
            Some((connection, since)) if since.elapsed() < REST_MAX => Some(connection),
            Some((mut connection, _)) => {
                let is_alive = connection.ping().await.is_ok();
                if !is_alive {
                    self.forget();
                }
                is_alive.then_some(connection)
            }
            None => None,
        };
        let connection = match alive {
            Some(connection) => connection,
            None => PgConnection::connect_with(&self.connect).await?,
        };
        Ok(Lent {
            connection,
            from: self,
            _place: place,
        })
    }

    /// Drops those that rest.
    pub(super) fn forget(&self) {
        self.resting().clear();
    }

    /// Closes all, after what is under way.
    pub(super) async fn close(&self) {
        let all = self.places.acquire_many(self.count).await;
        self.places.close();
        drop(all);
        let resting = std::mem::take(&mut *self.resting());
        for (connection, _) in resting {
            // It is gone either way.
            let _ = connection.close().await;
        }
    }

    fn resting(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    /// Gives it back: it is between two statements.
    pub(super) fn give_back(self) {
        self.from.resting().push((self.connection, Instant::now()));
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
