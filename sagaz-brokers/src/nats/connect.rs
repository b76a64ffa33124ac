//! From a URL to a connection, and streams that are made when they are missing.

use super::{error, subject};
use crate::{Options, encryption};
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, ServerAddr,
    connection::State,
    jetstream::{Context, ContextBuilder, context::GetStreamByNameErrorKind, stream::Config},
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use sagaz_core::broker::BrokerError;
use std::{sync::Arc, time::Duration};

/// A connection that is not heard of for two of these is given up.
const PING_INTERVAL: Duration = Duration::from_secs(10);

pub(super) async fn client(url: &str, options: &Options) -> Result<Client, BrokerError> {
    let servers = servers(url)?;
    let mut connecting = ConnectOptions::new()
        .name("sagaz")
        .connection_timeout(options.connect_timeout)
        .request_timeout(Some(options.confirm_timeout))
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(|attempts| {
            let doubled = 50 << attempts.min(6);
            Duration::from_millis(doubled)
        });
    if let Some((user, password)) = &options.credentials {
        connecting = connecting.user_and_password(user.clone(), password.clone());
    } else if let Some(token) = token(&servers) {
        connecting = connecting.token(token);
    }
    // The client takes the process's provider of cryptography and panics where none is chosen. A program that has chosen one
    // keeps it.
    let _ = ring::default_provider().install_default();
    if options.tls.authorities.is_some() || options.tls.identity.is_some() {
        connecting = connecting.tls_client_config(tls(options)?);
    }
    let names: Vec<_> = servers
        .iter()
        .map(|server| format!("{}:{}", server.host(), server.port()))
        .collect();
    let names = names.join(",");
    let connected = tokio::time::timeout(options.connect_timeout, connecting.connect(servers));
    match connected.await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                BrokerError::misused(format!(
                    "the NATS server {names} refuses the user, the password or the token; correct them in the URL or the options"
                ))
            }
            ConnectErrorKind::ServerParse => bad_url(),
            _ => encryption::trouble(&error, &format!("the NATS server {names}"))
                .unwrap_or_else(|| unreachable(&names)),
        }
        .caused_by(error)),
        Err(_) => Err(unreachable(&names)),
    }
}

fn unreachable(names: &str) -> BrokerError {
    BrokerError::unavailable(format!(
        "the NATS server {names} cannot be reached; is it running, and is the address right?"
    ))
}

fn bad_url() -> BrokerError {
    BrokerError::misused(
        "the URL of a NATS server cannot be read; write it as `nats://user:password@host:4222`, or as `tls://..` for TLS, with commas \
         between several servers",
    )
}

/// `nats://user:password@one:4222,two:4222` are `nats://user:password@one:4222` and `nats://user:password@two:4222`.
pub(super) fn servers(url: &str) -> Result<Vec<ServerAddr>, BrokerError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(bad_url)?;
    let (user, hosts) = match rest.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), rest),
    };
    hosts
        .split(',')
        .map(|host| {
            let url = format!("{scheme}://{user}{host}");
            let server: ServerAddr = url
                .parse()
                .map_err(|error: std::io::Error| bad_url().caused_by(error))?;
            if server.host().is_empty() {
                return Err(bad_url());
            }
            Ok(server)
        })
        .collect()
}

fn token(servers: &[ServerAddr]) -> Option<String> {
    let server = servers.first()?;
    let user = server.username().filter(|_| server.password().is_none())?;
    Some(user.to_owned())
}

fn tls(options: &Options) -> Result<ClientConfig, BrokerError> {
    let wrong = |what: &str| BrokerError::misused(format!("{what} cannot be read; give it in PEM"));
    let certificates = |pem: &[u8], what: &str| {
        CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| wrong(what))
    };
    let mut roots = RootCertStore::empty();
    if let Some(authorities) = &options.tls.authorities {
        for authority in certificates(authorities, "the certificate of the authority")? {
            roots
                .add(authority)
                .map_err(|error| wrong("the certificate of the authority").caused_by(error))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            BrokerError::misused("there is no version of TLS to use").caused_by(error)
        })?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &options.tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let certificates = certificates(certificate, "the client's certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| wrong("the client's private key").caused_by(error))?;
    builder
        .with_client_auth_cert(certificates, key)
        .map_err(|error| {
            BrokerError::misused("the client's certificate and its private key do not fit")
                .caused_by(error)
        })
}

pub(super) fn context(client: Client, options: &Options) -> Context {
    ContextBuilder::new()
        .timeout(options.confirm_timeout)
        .ack_timeout(options.confirm_timeout)
        .max_ack_inflight(4 * super::IN_FLIGHT)
        .build(client)
}

pub(super) fn check_connected(context: &Context) -> Result<(), BrokerError> {
    if context.client().connection_state() == State::Connected {
        Ok(())
    } else {
        Err(BrokerError::unavailable(
            "the connection to the NATS server is lost; it is made again when the server can be reached",
        ))
    }
}

/// The name of the stream that takes a subject, which may have wildcards; it is made if that is asked for.
pub(super) async fn stream_of(
    context: &Context,
    topic: &str,
    declares: bool,
) -> Result<String, BrokerError> {
    match context.stream_by_subject(topic).await {
        Ok(name) => Ok(name),
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {
            if declares {
                declare(context, topic).await
            } else {
                Err(BrokerError::misused(format!(
                    "no stream takes the subject `{topic}`; make one, or let it be made with the option `declare`"
                )))
            }
        }
        Err(error) => Err(
            BrokerError::unavailable("the NATS server's JetStream does not answer")
                .caused_by(error),
        ),
    }
}

/// Makes a stream for a subject, named like it; its name.
pub(super) async fn declare(context: &Context, topic: &str) -> Result<String, BrokerError> {
    let name = subject::name(topic);
    let config = Config {
        name: name.clone(),
        subjects: vec![topic.to_owned()],
        ..Config::default()
    };
    let made = context.get_or_create_stream(config).await;
    made.map(|_| name)
        .map_err(|error| error::declare_error(error, topic))
}
