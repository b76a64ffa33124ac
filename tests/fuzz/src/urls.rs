//! URLs of brokers and stores.
//!
//! Nothing is connected to. What cannot be read is told in words in which the password never stands, wherever in the URL it was
//! written; what is read is what the URL says, as a model that splits the text says; and nothing that is printed for people
//! (`Debug`) has the password in it.

use crate::brokers::{kafka, nats, rabbitmq, redis};
use sagaz::{
    broker::{Broker, BrokerError},
    brokers::{AnyBroker, Options, Routes},
    postgres::Postgres,
    redis::Redis,
};
use std::{error::Error, fmt::Write, str};

/// Stands in every URL of the corpus that has a password.
const PASSWORD: &str = "s3cr3t";

pub(crate) fn urls(input: &[u8]) {
    let Ok(url) = str::from_utf8(input) else {
        return;
    };
    let said = Said::of(url).filter(|_| !url.contains("unix:"));
    is_told(url, kafka::told(url), |[servers, user, password]| {
        if let Some(said) = &said {
            let hosts = said.hosts.trim_end_matches('/').split(',').map(str::trim);
            assert_eq!(
                servers.as_deref(),
                Some(&*hosts.collect::<Vec<_>>().join(","))
            );
            assert_eq!(user, said.user);
            assert_eq!(
                password,
                said.password
                    .clone()
                    .or(said.user.clone().map(|_| String::new()))
            );
        }
    });
    is_told(url, nats::told(url), |servers| {
        assert!(!servers.is_empty() && servers.iter().all(|server| !server.0.is_empty()));
        if let Some(said) = said
            .as_ref()
            .filter(|said| said.is_plain() && !url.contains(['?', '#']))
        {
            let names = servers
                .iter()
                .map(|(host, port, ..)| format!("{host}:{port}"));
            let hosts = said.hosts.trim_end_matches('/').split(',');
            let hosts = hosts.map(|host| {
                if host.contains(':') {
                    host.to_owned()
                } else {
                    format!("{host}:4222")
                }
            });
            assert!(names.eq(hosts), "{servers:?}");
            for (.., user, password) in servers {
                assert_eq!(
                    user.as_deref(),
                    said.user.as_deref().filter(|it| !it.is_empty())
                );
                assert_eq!(
                    password.as_deref(),
                    said.password.as_deref().filter(|it| !it.is_empty())
                );
            }
        }
    });
    is_told(url, rabbitmq::told(url), |server| {
        if let Some(said) = said
            .as_ref()
            .filter(|said| said.is_plain() && said.hosts.contains(':'))
        {
            assert_eq!(server, said.hosts.trim_end_matches('/'));
        }
    });
    is_told(url, redis::told(url), |(server, user, password)| {
        if let Some(said) = said
            .as_ref()
            .filter(|said| said.is_plain() && said.hosts.contains(':'))
        {
            assert_eq!(server, said.hosts.trim_end_matches('/'));
            assert_eq!(
                user.as_deref(),
                said.user.as_deref().filter(|it| !it.is_empty())
            );
            assert_eq!(
                password.as_deref(),
                said.password.as_deref().filter(|it| !it.is_empty())
            );
        }
    });
    is_hidden(url, &Redis::options(url));
    is_hidden(url, &Postgres::options(url));
    any(url);
    routes(url);
}

/// What a URL of the plainest form says: `scheme://user:password@hosts`.
struct Said {
    user: Option<String>,
    password: Option<String>,
    hosts: String,
}

impl Said {
    fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.bytes().all(is_scheme) {
            return None;
        }
        let rest = rest.split_once('?').map_or(rest, |it| it.0);
        let (user, hosts) = match rest.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, rest),
        };
        let (user, password) = match user.map(|user| {
            user.split_once(':')
                .map_or((user, None), |it| (it.0, Some(it.1)))
        }) {
            Some((user, password)) => (Some(user), password),
            None => (None, None),
        };
        let decoded = |text: &str| -> Option<String> {
            let bytes = percent_decoded(text.as_bytes());
            String::from_utf8(bytes).ok()
        };
        let user = match user {
            Some(user) => Some(decoded(user)?),
            None => None,
        };
        let password = match password {
            Some(password) => Some(decoded(password)?),
            None => None,
        };
        Some(Self {
            user,
            password,
            hosts: hosts.to_owned(),
        })
    }

    /// No client makes anything else of it.
    fn is_plain(&self) -> bool {
        let is_plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let parts = [self.user.as_deref(), self.password.as_deref()];
        parts.into_iter().flatten().all(is_plain)
            && self.hosts.trim_end_matches('/').split(',').all(|host| {
                let (name, port) = host.split_once(':').unwrap_or((host, "80"));
                let starts_with_letter =
                    name.starts_with(|letter: char| letter.is_ascii_lowercase());
                let port = port.parse::<u16>().ok().filter(|it| it.to_string() == port);
                starts_with_letter && is_plain(name) && port.is_some_and(|port| port > 0)
            })
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let (mut bytes, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.extend(u8::try_from(16 * high + low));
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

fn is_told<T>(url: &str, told: Result<T, BrokerError>, check: impl FnOnce(T)) {
    match told {
        Ok(told) => check(told),
        Err(error) => {
            assert!(error.is_misuse(), "{error}");
            is_without_password(url, &error);
        }
    }
}

/// The error and its causes, as they are told and as they are printed.
fn is_without_password(url: &str, error: &(dyn Error + 'static)) {
    // A scheme may be told, and the value of a setting.
    // Clients leave line ends out.
    let url = &url.replace(['\t', '\n', '\r'], "");
    let scheme = url.split_once(':').map_or("", |it| it.0);
    let settings = url.split_once('?').map_or("", |it| it.1);
    let settings = settings.split_once('=').map_or("", |it| it.1);
    let settings = percent_decoded(settings.as_bytes());
    if scheme.contains(PASSWORD) || String::from_utf8_lossy(&settings).contains(PASSWORD) {
        return;
    }
    let mut words = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        assert!(!error.to_string().is_empty());
        writeln!(words, "{error} {error:?}").unwrap();
        cause = error.source();
    }
    assert!(!words.contains(PASSWORD), "{url:?}: {words}");
}

/// `Debug` is for logs.
fn is_hidden<O: std::fmt::Debug, E: Error + 'static>(url: &str, options: &Result<O, E>) {
    match options {
        Ok(options) => {
            // What stands in the place of a user, a host or a database is one.
            let after = url.split_once(':').map_or("", |it| it.1);
            let (authority, rest) = match after.strip_prefix("//") {
                Some(it) => it.split_once(['/', '?', '#']).unwrap_or((it, "")),
                None => ("", after),
            };
            let said = Said::of(&format!("x://{authority}"));
            let is_hidden = said.is_none_or(|said| {
                let user = said.user.unwrap_or_default();
                !said.hosts.contains(PASSWORD) && !user.contains(PASSWORD)
            });
            if is_hidden && !rest.contains(PASSWORD) && !url.contains("unix:") {
                let printed = format!("{options:?}");
                assert!(!printed.contains(PASSWORD), "{url:?}: {printed}");
            }
        }
        Err(error) => is_without_password(url, error),
    }
}

/// By the scheme; those of servers are looked at above, without a connection.
fn any(url: &str) {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if ["kafka", "amqp", "amqps", "nats", "tls", "redis", "rediss"].contains(&scheme) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    match runtime.block_on(Options::new().connect(url)) {
        Ok(broker) => {
            assert!(matches!(broker, AnyBroker::Memory(_)) && scheme == "memory");
            runtime.block_on(broker.health()).unwrap();
        }
        Err(error) => {
            assert!(error.is_misuse() && scheme != "memory", "{error}");
            is_without_password(url, &error);
        }
    }
}

/// Routes are given as a text as well, in the same place.
fn routes(text: &str) {
    match text.parse::<Routes>() {
        Ok(routes) => {
            let again: Routes = routes
                .to_string()
                .parse()
                .unwrap_or_else(|error| panic!("{routes} is read, and not again: {error}"));
            assert_eq!(again, routes);
            for event_type in ["order.placed", "order.*", "ä", ""] {
                if let Ok(found) = routes.find(event_type) {
                    assert_eq!(Ok(found), again.find(event_type).map_err(|_| ()));
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
