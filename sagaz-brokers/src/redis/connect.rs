//! From a URL to connections, and calls on them.

use super::error::{connect_error, is_lost};
use crate::Options;
use ::redis::{
    Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisError, RedisResult,
    TlsCertificates, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};
use sagaz_core::broker::BrokerError;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

pub(super) fn client(url: &str, options: &Options) -> Result<Client, BrokerError> {
    let bad_url = |error: RedisError| {
        BrokerError::misused(
            "the URL of a Redis server cannot be read; write it as `redis://user:password@host:6379/0`, or as `rediss://..` for TLS",
        )
        .caused_by(error)
    };
    let mut info = url.into_connection_info().map_err(bad_url)?;
    if let Some((user, password)) = &options.credentials {
        let mut settings = info.redis_settings().clone().set_password(password);
        if !user.is_empty() {
            settings = settings.set_username(user);
        }
        info = info.set_redis_settings(settings);
    }
    if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Client::open(info).map_err(bad_url);
    }
    // The client takes the process's provider of cryptography and panics where none is chosen. A program that has chosen one
    // keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let identity = options.tls.identity.clone();
    let certificates = TlsCertificates {
        client_tls: identity.map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        }),
        root_cert: options.tls.authorities.clone(),
    };
    Client::build_with_tls(info, certificates).map_err(|error| {
        BrokerError::misused(
            "the certificates for the Redis server cannot be used; give them in PEM",
        )
        .caused_by(error)
    })
}

/// Host and port, for messages; never the password.
fn name(client: &Client) -> String {
    client.get_connection_info().addr().to_string()
}

/// Connects once, so that what is wrong is told in the server's words.
pub(super) async fn check(client: &Client, options: &Options) -> Result<(), BrokerError> {
    let mut first = connection(
        client,
        options.connect_timeout,
        Some(options.confirm_timeout),
    )
    .await?;
    let mut ping = Pipeline::new();
    ping.cmd("PING");
    let reply = first.req_packed_commands(&ping, 0, 1).await;
    match reply.map(|replies| replies.into_iter().next()) {
        Ok(Some(Value::ServerError(error))) => Err(connect_error(error.into(), &name(client))),
        Ok(_) => Ok(()),
        Err(error) => Err(connect_error(error, &name(client))),
    }
}

/// A connection of its own. Without a bound on replies it can be blocked on.
pub(super) async fn connection(
    client: &Client,
    connect_timeout: Duration,
    response_timeout: Option<Duration>,
) -> Result<MultiplexedConnection, BrokerError> {
    let config = ::redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect_timeout))
        .set_response_timeout(response_timeout);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| connect_error(error, &name(client)))
}

/// A connection that is made again when it is lost, or when a reply did not come in time.
pub(super) struct Line {
    client: Client,
    config: ConnectionManagerConfig,
    timeout: Duration,
    current: Mutex<Current>,
}

struct Current {
    /// Grows with each replacement.
    generation: u64,
    manager: ConnectionManager,
}

impl Line {
    /// Nothing is sent yet.
    pub(super) fn new(client: Client, options: &Options) -> Result<Self, BrokerError> {
        // A call that fails says so at once, and whoever called repeats it: waiting here would only hide it.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.confirm_timeout));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config.clone())
            .map_err(|error| connect_error(error, &name(&client)))?;
        Ok(Self {
            client,
            config,
            timeout: options.confirm_timeout,
            current: Mutex::new(Current {
                generation: 0,
                manager,
            }),
        })
    }

    /// The replies, of which each may be an error of its own.
    pub(super) async fn ask(&self, pipeline: &Pipeline, count: usize) -> RedisResult<Vec<Value>> {
        let (generation, mut manager) = {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            (current.generation, current.manager.clone())
        };
        let asked = manager.req_packed_commands(pipeline, 0, count);
        let replies = tokio::time::timeout(self.timeout, asked)
            .await
            .unwrap_or_else(|_| {
                let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "no reply in time");
                Err(RedisError::from(error))
            });
        if replies.as_ref().is_err_and(is_lost) {
            self.replace(generation)?;
        }
        replies
    }

    /// The same for what may be said twice: it is, when the connection turns out to be lost.
    pub(super) async fn ask_again(
        &self,
        pipeline: &Pipeline,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        match self.ask(pipeline, count).await {
            Err(error) if is_lost(&error) && !error.is_timeout() => self.ask(pipeline, count).await,
            replies => replies,
        }
    }

    /// A new connection in the place of one that is no longer good, unless somebody was faster.
    fn replace(&self, generation: u64) -> RedisResult<()> {
        let manager =
            ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone())?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.generation == generation {
            *current = Current {
                generation: generation + 1,
                manager,
            };
        }
        Ok(())
    }
}
