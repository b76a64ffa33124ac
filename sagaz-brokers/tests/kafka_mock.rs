//! Errors of brokers, injected into a cluster that librdkafka plays itself. No server is needed.
#![cfg(feature = "kafka")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/until.rs"]
mod until;

use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer as _},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr as Error},
};
use sagaz_brokers::{Options, Routes, kafka::KafkaBroker};
use sagaz_core::{
    Event,
    broker::{Broker, BrokerError},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use until::{PATIENCE, is_unavailable, until};

const TOPIC: &str = "orders";

/// How long a confirmation may take where none comes.
const TIMEOUT: Duration = Duration::from_secs(5);

type Cluster = MockCluster<'static, DefaultProducerContext>;

async fn cluster(query: &str) -> (Cluster, KafkaBroker) {
    cluster_that_confirms_within(PATIENCE, query).await
}

async fn cluster_that_confirms_within(timeout: Duration, query: &str) -> (Cluster, KafkaBroker) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 4, 1).unwrap();
    let url = format!("kafka://{}?{query}", cluster.bootstrap_servers());
    let options = Options::new()
        .routes(Routes::all_to(TOPIC).unwrap())
        .connect_timeout(PATIENCE)
        .confirm_timeout(timeout);
    let broker = KafkaBroker::connect(&url, &options).await.unwrap();
    (cluster, broker)
}

async fn publish(broker: &KafkaBroker, number: u32) -> Result<(), BrokerError> {
    let event = Event::new("order.placed", &number).key("key");
    broker.publish(&[event]).await.remove(0)
}

/// The numbers in a topic, by partition.
async fn published(cluster: &Cluster, count: usize) -> BTreeMap<String, (i32, String)> {
    let servers = cluster.bootstrap_servers();
    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", "readers")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&[TOPIC]).unwrap();
        let mut read = BTreeMap::new();
        let began = Instant::now();
        while read.len() < count {
            assert!(began.elapsed() < PATIENCE, "{read:?}");
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
                continue;
            };
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            let value = (message.partition(), text(message.payload()));
            read.insert(text(message.key()), value);
        }
        read
    });
    read.await.unwrap()
}

#[tokio::test]
async fn an_error_that_passes_is_not_told() {
    let (cluster, broker) = cluster("").await;
    let passing = [
        Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Error::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &passing);
    publish(&broker, 1).await.unwrap();
}

#[tokio::test]
async fn what_the_topic_does_not_take_is_a_refusal_of_that_event() {
    let (cluster, broker) = cluster("").await;
    for error in [
        Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        Error::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
        Error::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        Error::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        let refused = publish(&broker, 1).await.unwrap_err();
        assert!(refused.is_refusal(), "{error:?}: {refused:?}");
        // The client remembers of a topic that it is forbidden until it has asked again.
        let began = Instant::now();
        while let Err(error) = publish(&broker, 2).await {
            assert!(error.is_refusal(), "{error:?}");
            assert!(began.elapsed() < PATIENCE, "{error:?}");
        }
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused_and_its_neighbours_are_taken() {
    let (cluster, broker) = cluster("message.max.bytes=10000").await;
    let event = |key: &str, size| Event::new("order.placed", &"x".repeat(size)).key(key);
    let batch = [event("a", 1), event("b", 20_000), event("c", 1)];
    let results = broker.publish(&batch).await;
    assert!(results[1].as_ref().unwrap_err().is_refusal(), "{results:?}");
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    let there = published(&cluster, 2).await;
    assert!(there.keys().eq(["a", "c"]), "{there:?}");
}

#[tokio::test]
async fn a_broker_that_is_down_is_unavailable_and_is_found_when_it_is_back() {
    let (cluster, broker) = cluster_that_confirms_within(TIMEOUT, "").await;
    until(async || publish(&broker, 1).await, Result::is_ok).await;
    cluster.broker_down(-1).unwrap();
    let in_time = async || {
        let began = Instant::now();
        let end = publish(&broker, 2).await;
        assert!(began.elapsed() < 3 * TIMEOUT, "{:?}", began.elapsed());
        end
    };
    until(in_time, is_unavailable).await;
    cluster.broker_up(-1).unwrap();
    until(async || publish(&broker, 3).await, Result::is_ok).await;
}

/// It may have it, and it is there: nobody else is to blame.
#[tokio::test]
async fn a_broker_that_does_not_confirm_in_time_leaves_it_open() {
    let (cluster, broker) = cluster_that_confirms_within(TIMEOUT, "").await;
    until(async || publish(&broker, 1).await, Result::is_ok).await;
    cluster.broker_round_trip_time(-1, 3 * TIMEOUT).unwrap();
    let error = publish(&broker, 2).await.unwrap_err();
    let is_open = !error.is_refusal() && !error.is_unavailable() && !error.is_misuse();
    assert!(is_open, "{error:?}");
}

/// An idempotent producer gives up for good when it has lost count.
#[tokio::test]
async fn a_producer_that_cannot_go_on_is_replaced() {
    let (cluster, broker) = cluster("").await;
    publish(&broker, 1).await.unwrap();
    let lost_count = Error::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[lost_count]);
    let mut errors = Vec::new();
    while let Err(error) = publish(&broker, 2).await {
        assert!(!error.is_refusal(), "{error:?}");
        errors.push(error);
        assert!(errors.len() < 5, "{errors:?}");
    }
    assert!(!errors.is_empty(), "the error is one that ends a producer");
}

/// As Kafka's own tests of its hash have it, `toPositive(murmur2(key)) % 4`.
#[tokio::test]
async fn keys_go_to_the_partitions_that_clients_in_java_choose() {
    let (cluster, broker) = cluster("").await;
    let expected = [
        ("21", 0),
        ("foobar", 2),
        ("a-little-bit-long-string", 0),
        ("a-little-bit-longer-string", 3),
        ("abc", 3),
    ];
    let batch = expected.map(|(key, _)| Event::new("order.placed", &0).key(key));
    for result in broker.publish(&batch).await {
        result.unwrap();
    }
    let there = published(&cluster, expected.len()).await;
    for (key, partition) in expected {
        assert_eq!(there[key].0, partition, "{key}");
    }
}
