//! Where a RabbitMQ is, and how it is connected to.

use super::{error::Trouble, topology::QueueType};
use crate::Options;
use lapin::{
    Connection, ConnectionProperties,
    tcp::{OwnedIdentity, OwnedTLSConfig},
    uri::AMQPUri,
};
use sagaz_core::broker::BrokerError;
use std::{fmt, time::Duration};

/// Within twice this a dead connection is noticed, in seconds.
const HEARTBEAT: u16 = 10;

#[derive(Clone)]
pub(super) struct Address {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    timeout: Duration,
    /// Of queues that are made.
    pub(super) queue_type: QueueType,
}

impl Address {
    pub(super) fn parse(url: &str, options: &Options) -> Result<Self, BrokerError> {
        // Messages do not have the URL in them: it may have a password.
        let bad_url = |why: &str| {
            BrokerError::misused(format!(
                "the URL is none of RabbitMQ{why}; write amqp://user:password@host:port/vhost"
            ))
        };
        let parsed = url::Url::parse(url).map_err(|error| bad_url("").caused_by(error))?;
        // The client shows such a one.
        if parsed.cannot_be_a_base() {
            return Err(bad_url(""));
        }
        let uri: Result<AMQPUri, _> = url.parse();
        let mut uri = uri.map_err(|why| bad_url(&format!(": {why}")))?;
        // The client takes an address of IPv6 for no host at all.
        if let Some(url::Host::Ipv6(address)) = parsed.host() {
            uri.authority.host = address.to_string();
        }
        if let Some((user, password)) = &options.credentials {
            uri.authority.userinfo.username.clone_from(user);
            uri.authority.userinfo.password.clone_from(password);
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let tls = &options.tls;
        let authorities = tls.authorities.clone().map(String::from_utf8).transpose();
        let cert_chain = authorities.map_err(|error| {
            BrokerError::misused("the certificates of authorities are no PEM").caused_by(error)
        })?;
        let identity = tls.identity.clone();
        Ok(Self {
            uri,
            tls: OwnedTLSConfig {
                identity: identity.map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key }),
                cert_chain,
            },
            timeout: options.connect_timeout,
            queue_type: queue_type(&parsed)?,
        })
    }

    /// For people: the host and the port.
    pub(super) fn host(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    pub(super) async fn connect(&self, name: &str) -> Result<Connection, Trouble> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = async {
            Connection::connect_uri_with_config(
                self.uri.clone(),
                properties,
                self.tls.clone(),
                lapin::runtime::default_runtime()?,
            )
            .await
        };
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                let user = &self.uri.authority.userinfo.username;
                Err(Trouble::of_connecting(error, user, &self.host()))
            }
            Err(_) => Err(Trouble::Unavailable(
                format!(
                    "RabbitMQ at {} has not answered within {:?}",
                    self.host(),
                    self.timeout
                ),
                None,
            )),
        }
    }
}

fn queue_type(url: &url::Url) -> Result<QueueType, BrokerError> {
    let chosen = url.query_pairs().find(|(name, _)| name == "queue_type");
    match chosen.as_ref().map(|(_, value)| &**value) {
        None | Some("quorum") => Ok(QueueType::Quorum),
        Some("classic") => Ok(QueueType::Classic),
        Some(other) => Err(BrokerError::misused(format!(
            "`{other}` is no type of queues; write queue_type=quorum or queue_type=classic"
        ))),
    }
}

impl fmt::Debug for Address {
    /// Shows no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_told_without_the_password() {
        for url in [
            "",
            "user:secret@host",
            "user:secret@host://",
            "amqp://user:secret@host:port",
            "amqp://user:secret@host:99999",
            "http://user:secret@host",
            "amqp://user:secret@host?auth_mechanism=none",
            "amqp://user:secret@host?queue_type=none",
        ] {
            let error = Address::parse(url, &Options::new()).expect_err(url);
            assert!(error.is_misuse(), "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }
}
