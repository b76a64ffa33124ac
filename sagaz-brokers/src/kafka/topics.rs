//! Topics: whether they are there, and how they are made.

use super::{
    background::Background,
    config::{Config, unusable},
    error::{Watched, of_asking},
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode as Code,
    metadata::MetadataTopic,
};
use sagaz_core::broker::BrokerError;

/// The broker decides.
const DEFAULT: i32 = -1;

/// Makes topics that are not there, with as many partitions and replicas as the brokers give by default.
pub(super) async fn make(config: &Config, names: &[&str]) -> Result<(), BrokerError> {
    let watched = Watched::default();
    let admin: AdminClient<Watched> = config
        .of_admin()
        .create_with_context(watched.clone())
        .map_err(unusable)?;
    let admin = Background::new(admin);
    let topics: Vec<_> = names
        .iter()
        .map(|name| NewTopic::new(name, DEFAULT, TopicReplication::Fixed(DEFAULT)))
        .collect();
    let timeout = Some(config.confirm_timeout);
    let options = AdminOptions::new()
        .request_timeout(timeout)
        .operation_timeout(timeout);
    let answers = admin
        .create_topics(&topics, &options)
        .await
        .map_err(|error| of_asking(error, "a request for topics", &watched.0))?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(BrokerError::misused(format!(
                    "the topic `{name}` cannot be made: {code}"
                )));
            }
        }
    }
    Ok(())
}

/// Whether topics are there.
pub(super) async fn find(config: &Config, names: &[&str]) -> Result<(), BrokerError> {
    let client = config.of_admin();
    let timeout = config.connect_timeout;
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let looked = tokio::task::spawn_blocking(move || {
        let watched = Watched::default();
        let client: BaseConsumer<Watched> = client
            .create_with_context(watched.clone())
            .map_err(unusable)?;
        for name in &names {
            let found = client
                .fetch_metadata(Some(name), timeout)
                .map_err(|error| of_asking(error, "a request for topics", &watched.0))?;
            let error = found.topics().first().and_then(MetadataTopic::error);
            if let Some(error) = error {
                return Err(BrokerError::misused(format!(
                    "the topic `{name}` cannot be subscribed to: {}; create it, or connect with `declare`",
                    Code::from(error)
                )));
            }
        }
        Ok(())
    });
    looked.await.unwrap_or_else(|error| {
        Err(BrokerError::unavailable("nobody looked for the topics").caused_by(error))
    })
}
