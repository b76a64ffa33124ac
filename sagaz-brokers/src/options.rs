//! What all brokers ask for when they connect.

use crate::Routes;
use std::{fmt, time::Duration};

/// How to connect to a broker, beside what its URL says.
///
/// ```
/// use sagaz_brokers::Options;
///
/// let options = Options::new()
///     .routes("order.*=orders".parse()?)
///     .credentials("app", "secret");
/// # Ok::<(), sagaz_brokers::RouteError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
#[must_use]
pub struct Options {
    /// Where events go. Default: to the topic that is named like their type.
    pub routes: Routes,
    /// User and password, before those of the URL.
    pub credentials: Option<(String, String)>,
    /// What an encrypted connection needs beside the certificates that the system trusts.
    pub tls: Tls,
    /// Whether topics that are missing are made, as far as the broker can. Default: no.
    pub declare: bool,
    /// How long a connection may take to be made. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long the broker may take to confirm a batch of events, or to answer anything else. Default: 10 s.
    pub confirm_timeout: Duration,
}

/// Certificates and keys, in PEM.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Tls {
    /// Certificates of authorities that are trusted, instead of the system's.
    pub authorities: Option<Vec<u8>>,
    /// The client's own certificate and its private key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            routes: Routes::new(),
            credentials: None,
            tls: Tls::default(),
            declare: false,
            connect_timeout: Duration::from_secs(5),
            confirm_timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where events go.
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// User and password, so that they need not stand in the URL.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// Trusts these authorities, in PEM, instead of the system's.
    pub fn trust(mut self, authorities: impl Into<Vec<u8>>) -> Self {
        self.tls.authorities = Some(authorities.into());
        self
    }

    /// Shows the broker this certificate, in PEM, with its private key.
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Whether topics that are missing are made.
    pub fn declare(mut self, declare: bool) -> Self {
        self.declare = declare;
        self
    }

    /// How long a connection may take to be made.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the broker may take to confirm a batch of events, or to answer anything else.
    pub fn confirm_timeout(mut self, timeout: Duration) -> Self {
        self.confirm_timeout = timeout;
        self
    }
}

impl fmt::Debug for Options {
    /// Shows no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("routes", &format_args!("{}", self.routes))
            .field("user", &self.credentials.as_ref().map(|(user, _)| user))
            .field("tls", &self.tls)
            .field("declare", &self.declare)
            .field("connect_timeout", &self.connect_timeout)
            .field("confirm_timeout", &self.confirm_timeout)
            .finish()
    }
}

impl fmt::Debug for Tls {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}
