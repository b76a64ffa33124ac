//! A URL and options as properties of librdkafka.

use crate::{Options, Subscription, percent, subscription::Start};
use rdkafka::ClientConfig;
use sagaz_core::broker::BrokerError;
use std::{collections::BTreeMap, time::Duration};

/// Properties that the promises of the module rest on.
const OURS: [&str; 11] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.id",
    "message.timeout.ms",
    "transactional.id",
];

/// After this a consumer that says nothing is taken for dead, unless the subscription allows it less. Brokers take 6 s or more.
const SESSION: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(45));

/// What all clients of one URL have in common.
#[derive(Clone)]
pub(super) struct Config {
    properties: BTreeMap<String, String>,
    chosen: BTreeMap<String, String>,
    pub(super) connect_timeout: Duration,
    pub(super) confirm_timeout: Duration,
}

impl Config {
    /// Messages never have the URL in them: it may have a password.
    pub(super) fn parse(url: &str, options: &Options) -> Result<Self, BrokerError> {
        let rest = url.strip_prefix("kafka://").ok_or_else(|| {
            BrokerError::misused("the URL is none of Kafka; write kafka://host:port,host:port")
        })?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, hosts) = match rest.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, rest),
        };
        let hosts = hosts.trim_end_matches('/');
        let credentials = match (&options.credentials, user) {
            (Some(credentials), _) => Some(credentials.clone()),
            (None, Some(user)) => Some(split_user(user)?),
            (None, None) => None,
        };
        let mut properties = BTreeMap::from([
            ("bootstrap.servers".to_owned(), brokers(hosts)?),
            ("client.id".to_owned(), "sagaz".to_owned()),
            // Brokers that are back are found soon.
            ("reconnect.backoff.max.ms".to_owned(), "1000".to_owned()),
        ]);
        let setup = options.connect_timeout.max(Duration::from_secs(1));
        let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
        set("socket.connection.setup.timeout.ms", ms(setup));
        let tls = &options.tls;
        let is_encrypted = tls.authorities.is_some() || tls.identity.is_some();
        for (name, pem) in [
            ("ssl.ca.pem", tls.authorities.as_ref()),
            ("ssl.certificate.pem", tls.identity.as_ref().map(|it| &it.0)),
            ("ssl.key.pem", tls.identity.as_ref().map(|it| &it.1)),
        ] {
            if let Some(pem) = pem {
                set(name, String::from_utf8_lossy(pem).into_owned());
            }
        }
        let protocol = match (&credentials, is_encrypted) {
            (Some(_), true) => "sasl_ssl",
            (Some(_), false) => "sasl_plaintext",
            (None, true) => "ssl",
            (None, false) => "plaintext",
        };
        set("security.protocol", protocol.to_owned());
        if let Some((user, password)) = credentials {
            set("sasl.mechanism", "PLAIN".to_owned());
            set("sasl.username", user);
            set("sasl.password", password);
        }
        Ok(Self {
            properties,
            chosen: chosen(query)?,
            connect_timeout: options.connect_timeout,
            confirm_timeout: options.confirm_timeout,
        })
    }

    /// Of whoever neither publishes nor subscribes.
    pub(super) fn of_admin(&self) -> ClientConfig {
        self.with(&[])
    }

    pub(super) fn of_producer(&self) -> ClientConfig {
        let timeout = ms(self.confirm_timeout);
        let mut config = self.with(&[
            // Batches form by themselves while others are on their way.
            ("linger.ms", "0"),
            ("partitioner", "murmur2_random"),
            // How long a topic that does not exist may be one that is just being made.
            ("topic.metadata.propagation.max.ms", "2000"),
        ]);
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", timeout);
        config
    }

    pub(super) fn of_consumer(
        &self,
        subscription: &Subscription,
        commit_every: Duration,
    ) -> ClientConfig {
        let (shortest, longest) = SESSION;
        let session = subscription.redeliver_after.clamp(shortest, longest);
        let poll = subscription.redeliver_after.max(session);
        let start = match subscription.start {
            Start::Next => "latest",
            Start::Oldest => "earliest",
        };
        let mut config = self.with(&[
            // When a member joins, the others keep what they do not have to give to it.
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("auto.offset.reset", start),
            ("session.timeout.ms", &ms(session)),
            // Members hear of a rebalance by it.
            ("heartbeat.interval.ms", "1000"),
            ("max.poll.interval.ms", &ms(poll)),
            ("auto.commit.interval.ms", &ms(commit_every)),
            ("fetch.error.backoff.ms", "100"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("queued.max.messages.kbytes", "16384"),
            ("client.id", &subscription.consumer_name()),
        ]);
        config
            .set("group.id", &subscription.group)
            .set("enable.auto.commit", "true")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "false");
        config
    }

    /// Defaults of one kind of client, and over them what the URL chose.
    fn with(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.chosen {
            config.set(name, value);
        }
        config
    }
}

fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Hosts with ports, which may be left out.
fn brokers(hosts: &str) -> Result<String, BrokerError> {
    let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
    let is_wrong = |host: &&str| {
        let port = host.rsplit_once(':').filter(|_| !host.ends_with(']'));
        host.is_empty() || port.is_some_and(|(_, port)| port.parse::<u16>().is_err())
    };
    if hosts.iter().any(is_wrong) {
        // Not which one: where a `?` or no `@` is behind the password, it is taken for the host.
        return Err(BrokerError::misused(
            "a broker in the URL has no host, or a port that is no number; write kafka://user:password@host:port,host:port, with `%` \
             and two digits for what is special in user and password",
        ));
    }
    Ok(hosts.join(","))
}

fn split_user(user: &str) -> Result<(String, String), BrokerError> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    Ok((decoded(user)?, decoded(password)?))
}

fn decoded(text: &str) -> Result<String, BrokerError> {
    percent::decode(text).ok_or_else(|| {
        BrokerError::misused(
            "user and password of the URL are not text with `%` and two digits for what is special",
        )
    })
}

fn chosen(query: &str) -> Result<BTreeMap<String, String>, BrokerError> {
    let mut chosen = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if OURS.contains(&name.as_ref()) {
            return Err(BrokerError::misused(format!(
                "`{name}` cannot be set in the URL: what is promised here rests on it"
            )));
        }
        chosen.insert(name.into_owned(), value.into_owned());
    }
    Ok(chosen)
}

/// A property that librdkafka does not take.
pub(super) fn unusable(error: rdkafka::error::KafkaError) -> BrokerError {
    let words = error.to_string();
    let hint = if words.contains("not supported in this build") || words.contains("OpenSSL") {
        "; librdkafka has to be built with OpenSSL: depend on `rdkafka` with its feature `ssl`"
    } else {
        ""
    };
    BrokerError::misused(format!("the client of Kafka cannot be made: {words}{hint}"))
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Config {
        Config::parse(url, &Options::new()).expect(url)
    }

    #[test]
    fn a_url_has_hosts_credentials_and_properties() {
        let config = parse("kafka://us%40er:p%3Aw+d&1@a:9092,[::1]:9093,c/?compression.type=lz4");
        let producer = config.of_producer();
        let expected = [
            ("bootstrap.servers", "a:9092,[::1]:9093,c"),
            ("sasl.username", "us@er"),
            ("sasl.password", "p:w+d&1"),
            ("security.protocol", "sasl_plaintext"),
            ("compression.type", "lz4"),
            ("acks", "all"),
        ];
        for (name, value) in expected {
            assert_eq!(producer.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn what_the_promises_rest_on_cannot_be_set() {
        for name in OURS {
            let url = format!("kafka://a?{name}=1");
            let error = Config::parse(&url, &Options::new()).err().expect(name);
            assert!(error.is_misuse() && error.to_string().contains(name));
        }
    }

    #[test]
    fn nonsense_is_told_without_the_password() {
        for url in [
            "amqp://u:secret@a",
            "kafka://u:secret@",
            "kafka://u:secret@a:port",
            "kafka://u:secret@a,,b",
            "kafka://u:secret",
            "kafka://u:secret?@a",
        ] {
            let error = Config::parse(url, &Options::new()).err().expect(url);
            assert!(error.is_misuse() && !error.to_string().contains("secret"));
        }
    }
}
