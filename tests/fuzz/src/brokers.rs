//! Private modules of `sagaz-brokers`, and what is asked of them: how each broker's form of an event is written and read, and
//! what is made of a URL.
//!
//! No connection is made.

#[path = "../../../sagaz-brokers/src/attributes.rs"]
pub(crate) mod attributes;
#[path = "../../../sagaz-brokers/src/encryption.rs"]
pub(crate) mod encryption;
#[path = "../../../sagaz-brokers/src/options.rs"]
pub(crate) mod options;
#[path = "../../../sagaz-brokers/src/percent.rs"]
pub(crate) mod percent;
#[path = "../../../sagaz-brokers/src/routes.rs"]
pub(crate) mod routes;
#[path = "../../../sagaz-brokers/src/subscription.rs"]
pub(crate) mod subscription;

use sagaz::Event;
use sagaz::broker::{BrokerError, Malformed};

/// Names and values.
pub(crate) type Headers<'h> = [(&'h str, &'h str)];

/// A message that another program has sent.
#[derive(Clone, Copy)]
pub(crate) struct Arriving<'m> {
    /// Of CloudEvents, without any broker's prefix.
    pub(crate) attributes: &'m Headers<'m>,
    pub(crate) trace: &'m Headers<'m>,
    pub(crate) content_type: Option<&'m str>,
    pub(crate) body: &'m [u8],
}

impl Arriving<'_> {
    /// Attributes by the names that a broker has for them, and the trace.
    fn headers(&self, prefix: &str) -> impl Iterator<Item = (String, &str)> {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(move |(name, value)| (format!("{prefix}{name}"), *value));
        let trace = self
            .trace
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value));
        attributes.chain(trace)
    }
}

#[path = "../../../sagaz-brokers/src/kafka"]
pub(crate) mod kafka {
    use super::{Arriving, BrokerError, Event, Malformed};
    use crate::Options;
    use rdkafka::{
        Timestamp,
        message::{Header, OwnedHeaders, OwnedMessage},
    };

    mod config;
    mod message;

    pub(crate) fn there_and_back(event: &Event) -> Result<Event, Malformed> {
        let key = event.ordering_key().map(|key| key.as_bytes().to_vec());
        let body = event.data().bytes.clone();
        message::event(&of(message::headers(event), key, body))
    }

    pub(crate) fn read(arriving: Arriving<'_>) -> Result<Event, Malformed> {
        let content_type = arriving.content_type;
        let content_type = content_type.map(|value| ("content-type".to_owned(), value));
        let all = arriving.headers("ce_").chain(content_type);
        let headers = all.fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key: &key,
                value: Some(value),
            })
        });
        message::event(&of(headers, None, arriving.body.to_vec()))
    }

    fn of(headers: OwnedHeaders, key: Option<Vec<u8>>, body: Vec<u8>) -> OwnedMessage {
        let topic = "topic".to_owned();
        OwnedMessage::new(
            Some(body),
            key,
            topic,
            Timestamp::NotAvailable,
            0,
            0,
            Some(headers),
        )
    }

    /// Servers, user and password, as the client is told.
    pub(crate) fn told(url: &str) -> Result<[Option<String>; 3], BrokerError> {
        let client = config::Config::parse(url, &Options::new())?.of_producer();
        let names = ["bootstrap.servers", "sasl.username", "sasl.password"];
        Ok(names.map(|name| client.get(name).map(str::to_owned)))
    }
}

#[path = "../../../sagaz-brokers/src/nats"]
pub(crate) mod nats {
    use super::{Arriving, BrokerError, Event, Malformed};
    use async_nats::{HeaderMap, HeaderName, HeaderValue, Message};
    use std::fmt::Write;

    mod connect;
    mod error;
    mod header;
    mod subject;

    /// For a connection, and none is made.
    const IN_FLIGHT: usize = 1;

    pub(crate) fn there_and_back(event: &Event) -> Result<Result<Event, Malformed>, BrokerError> {
        let headers = header::of_event(event)?;
        Ok(header::read(&message(headers, &event.data().bytes)))
    }

    pub(crate) fn can_be_named(name: &str) -> bool {
        name.parse::<HeaderName>().is_ok()
    }

    pub(crate) fn read(arriving: Arriving<'_>) -> Result<Event, Malformed> {
        let mut headers = HeaderMap::new();
        for (name, value) in arriving.headers("ce-") {
            headers.insert(name, percent(value));
        }
        let content_type = arriving.content_type;
        let content_type = content_type.and_then(|value| value.parse::<HeaderValue>().ok());
        if let Some(content_type) = content_type {
            headers.insert("content-type", content_type);
        }
        header::read(&message(headers, arriving.body))
    }

    /// As anybody may: of every byte.
    fn percent(value: &str) -> String {
        value.bytes().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "%{byte:02x}");
            text
        })
    }

    fn message(headers: HeaderMap, body: &[u8]) -> Message {
        Message {
            subject: "subject".into(),
            reply: None,
            payload: body.to_vec().into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    /// Host, port, user and password of a server.
    pub(crate) type Told = (String, u16, Option<String>, Option<String>);

    /// What is said of each server.
    pub(crate) fn told(url: &str) -> Result<Vec<Told>, BrokerError> {
        let servers = connect::servers(url)?;
        let told = servers.iter().map(|server| {
            let user = server.username().map(str::to_owned);
            let password = server.password().map(str::to_owned);
            (server.host().to_owned(), server.port(), user, password)
        });
        Ok(told.collect())
    }
}

#[path = "../../../sagaz-brokers/src/rabbitmq"]
pub(crate) mod rabbitmq {
    use super::{Arriving, BrokerError, Event, Malformed};
    use crate::Options;
    use lapin::{
        BasicProperties,
        message::Delivery,
        types::{AMQPValue, FieldTable, ShortString},
    };

    mod address;
    mod error;
    mod message;
    mod topology;

    pub(crate) fn there_and_back(event: &Event) -> Result<Result<Event, Malformed>, BrokerError> {
        let properties = message::properties(event)?;
        Ok(message::event(&delivery(properties, &event.data().bytes)))
    }

    pub(crate) fn can_be_named(name: &str) -> bool {
        name.len() < 200
    }

    pub(crate) fn read(arriving: Arriving<'_>) -> Result<Event, Malformed> {
        let mut headers = FieldTable::default();
        let mut insert = |name: String, value: &str| {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        };
        for (name, value) in arriving.headers("cloudEvents_") {
            insert(name, value);
        }
        let content_type = arriving.content_type;
        let mut properties = BasicProperties::default();
        match content_type.map(ShortString::try_new) {
            Some(Ok(value)) => properties = properties.with_content_type(value),
            // Where there is no room for it, it is a header as the others.
            Some(Err(_)) => insert(
                "cloudEvents_datacontenttype".to_owned(),
                content_type.unwrap_or_default(),
            ),
            None => {}
        }
        message::event(&delivery(properties.with_headers(headers), arriving.body))
    }

    fn delivery(properties: BasicProperties, body: &[u8]) -> Delivery {
        let mut delivery = Delivery::mock(1, "".into(), "key".into(), false, body.to_vec());
        delivery.properties = properties;
        delivery
    }

    /// Host and port.
    pub(crate) fn told(url: &str) -> Result<String, BrokerError> {
        let address = address::Address::parse(url, &Options::new())?;
        assert_eq!(format!("{address:?}"), address.host());
        Ok(address.host())
    }
}

#[path = "../../../sagaz-brokers/src/redis"]
pub(crate) mod redis {
    use super::{Arriving, BrokerError, Event, Malformed};
    use crate::Options;
    use ::redis::{Arg, Value};

    mod connect;
    mod entry;
    mod error;

    pub(crate) fn there_and_back(event: &Event) -> Result<Event, Malformed> {
        let mut command = ::redis::Cmd::new();
        entry::write(&mut command, event);
        let fields = command.args_iter().map(|argument| match argument {
            Arg::Simple(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        });
        of_reply(fields)
    }

    pub(crate) fn read(arriving: Arriving<'_>) -> Result<Event, Malformed> {
        let content_type = arriving.content_type;
        let content_type = content_type.map(|value| ("content-type".to_owned(), value));
        let headers = arriving.headers("ce_").chain(content_type);
        let fields = headers.flat_map(|(name, value)| [name.into_bytes(), value.into()]);
        of_reply(fields.chain([b"data".to_vec(), arriving.body.to_vec()]))
    }

    /// The event of the only entry of a reply to XREADGROUP with these fields.
    fn of_reply(fields: impl IntoIterator<Item = Vec<u8>>) -> Result<Event, Malformed> {
        let text = |text: &str| Value::BulkString(text.into());
        let fields = fields.into_iter().map(Value::BulkString).collect();
        let entry = Value::Array(vec![text("1-1"), Value::Array(fields)]);
        let stream = Value::Array(vec![text("topic"), Value::Array(vec![entry])]);
        let mut entries = entry::of_streams(Value::Array(vec![stream]));
        let entry = entries.pop().expect("the reply has an entry");
        assert!(entries.is_empty() && entry.topic == "topic" && entry.id == "1-1");
        entry::read(&entry)
    }

    /// Host and port, user and password, if it is a URL at all.
    pub(crate) fn told(url: &str) -> Result<(String, Option<String>, Option<String>), BrokerError> {
        let client = connect::client(url, &Options::new())?;
        let info = client.get_connection_info();
        let settings = info.redis_settings();
        let [user, password] =
            [settings.username(), settings.password()].map(|it| it.map(str::to_owned));
        Ok((info.addr().to_string(), user, password))
    }
}
