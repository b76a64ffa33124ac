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
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// The broker decides.
const DEFAULT: i32 = -1;

/// Makes topics that are not there, with as many partitions and replicas as the brokers give by default. Those that cannot be
/// made, with the reason.
pub(super) async fn make(
    config: &Config,
    names: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Code>, BrokerError> {
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
    let failed = answers.into_iter().filter_map(Result::err);
    Ok(failed
        .filter(|(_, code)| *code != Code::TopicAlreadyExists)
        .collect())
}

/// Until brokers know of topics that were made: the controller answers a moment before they do.
pub(super) async fn until_known(config: &Config, names: &[&str]) -> Result<(), BrokerError> {
    const LOOK_AGAIN: Duration = Duration::from_millis(50);
    let began = Instant::now();
    loop {
        match find(config, names).await {
            Err(error) if error.is_misuse() && began.elapsed() < config.connect_timeout => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            known => return known,
        }
    }
}

/// Whether a broker answers, and topics are there.
pub(super) async fn find(config: &Config, names: &[&str]) -> Result<(), BrokerError> {
    let client = config.of_admin();
    let timeout = config.connect_timeout;
    // Without a name it is asked for all, of which at least the number tells that it answers.
    let names: Vec<Option<String>> = match names {
        [] => vec![None],
        names => names.iter().map(|&name| Some(name.to_owned())).collect(),
    };
    let looked = tokio::task::spawn_blocking(move || {
        let watched = Watched::default();
        let client: BaseConsumer<Watched> = client
            .create_with_context(watched.clone())
            .map_err(unusable)?;
        for name in &names {
            let found = client
                .fetch_metadata(name.as_deref(), timeout)
                .map_err(|error| {
                    // Its errors wait until they are asked for.
                    while client.poll(Duration::from_millis(100)).is_some() {}
                    of_asking(error, "a request for topics", &watched.0)
                })?;
            let topic = found.topics().first();
            if let (Some(name), Some(error)) = (name, topic.and_then(MetadataTopic::error)) {
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
