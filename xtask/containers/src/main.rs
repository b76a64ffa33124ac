//! Starts a server in a container, prints its URL, and ends the container when its own input ends or says a line.
//!
//! Apart from xtask, which has no dependencies and is built before everything else; xtask runs it only where there is a Docker
//! engine.

#![expect(clippy::print_stdout, reason = "the URL is its output")]

use std::{env, process::ExitCode};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt, TestcontainersError,
    core::{IntoContainerPort, WaitFor},
    runners::AsyncRunner,
};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let started = match words[..] {
        ["postgres"] => postgres().await,
        ["redis"] => redis().await,
        ["rabbitmq"] => rabbitmq().await,
        ["kafka"] => kafka().await,
        ["nats"] => nats().await,
        _ => {
            eprintln!("usage: xtask-containers postgres | redis | rabbitmq | kafka | nats");
            return ExitCode::FAILURE;
        }
    };
    match started {
        Ok((container, url)) => {
            println!("{url}");
            let mut line = String::new();
            // A line, or the end: both say that it is no longer needed.
            let _ = BufReader::new(tokio::io::stdin())
                .read_line(&mut line)
                .await;
            match container.rm().await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            }
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &TestcontainersError) -> ExitCode {
    eprintln!("the container: {error}");
    ExitCode::FAILURE
}

type Started = Result<(ContainerAsync<GenericImage>, String), TestcontainersError>;

async fn postgres() -> Started {
    let ready = WaitFor::message_on_stderr("database system is ready to accept connections");
    let container = GenericImage::new("postgres", "17-alpine")
        .with_exposed_port(5432.tcp())
        // Once while it makes its data, and once for good.
        .with_wait_for(ready.clone())
        .with_wait_for(WaitFor::message_on_stdout(
            "PostgreSQL init process complete",
        ))
        .with_wait_for(ready)
        .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust")
        .with_cmd(["-c", "max_connections=200"])
        .start()
        .await?;
    let (host, port) = address(&container, 5432).await?;
    Ok((
        container,
        format!("postgres://postgres@{host}:{port}/postgres"),
    ))
}

async fn redis() -> Started {
    let container = GenericImage::new("redis", "7-alpine")
        .with_exposed_port(6379.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"))
        .with_cmd([
            "redis-server",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ])
        .start()
        .await?;
    let (host, port) = address(&container, 6379).await?;
    Ok((container, format!("redis://{host}:{port}")))
}

async fn rabbitmq() -> Started {
    let container = GenericImage::new("rabbitmq", "4-alpine")
        .with_exposed_port(5672.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
        .start()
        .await?;
    let (host, port) = address(&container, 5672).await?;
    Ok((container, format!("amqp://guest:guest@{host}:{port}/%2f")))
}

/// The port is chosen here: the server tells it to its clients, so it has to know it before it starts.
async fn kafka() -> Started {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(TestcontainersError::other)?
        .port();
    let settings = [
        ("NODE_ID", "1"),
        ("PROCESS_ROLES", "broker,controller"),
        (
            "LISTENERS",
            "PLAINTEXT://:9092,BROKER://:9094,CONTROLLER://:9093",
        ),
        (
            "LISTENER_SECURITY_PROTOCOL_MAP",
            "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("INTER_BROKER_LISTENER_NAME", "BROKER"),
        ("CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("CONTROLLER_QUORUM_VOTERS", "1@localhost:9093"),
        ("OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
        ("TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
        ("TRANSACTION_STATE_LOG_MIN_ISR", "1"),
        ("GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
        ("AUTO_CREATE_TOPICS_ENABLE", "false"),
    ];
    let image = GenericImage::new("apache/kafka", "3.9.1")
        .with_wait_for(WaitFor::message_on_stdout("Kafka Server started"))
        .with_mapped_port(port, 9092.tcp())
        .with_env_var(
            "KAFKA_ADVERTISED_LISTENERS",
            format!("PLAINTEXT://127.0.0.1:{port},BROKER://localhost:9094"),
        );
    let image = settings.into_iter().fold(image, |image, (name, value)| {
        image.with_env_var(format!("KAFKA_{name}"), value)
    });
    let container = image.start().await?;
    let (host, port) = address(&container, 9092).await?;
    Ok((container, format!("kafka://{host}:{port}")))
}

async fn nats() -> Started {
    let container = GenericImage::new("nats", "2-alpine")
        .with_exposed_port(4222.tcp())
        .with_wait_for(WaitFor::message_on_stderr("Server is ready"))
        .with_cmd(["-js"])
        .start()
        .await?;
    let (host, port) = address(&container, 4222).await?;
    Ok((container, format!("nats://{host}:{port}")))
}

async fn address(
    container: &ContainerAsync<GenericImage>,
    port: u16,
) -> Result<(String, u16), TestcontainersError> {
    let host = container.get_host().await?;
    let port = container.get_host_port_ipv4(port.tcp()).await?;
    // The address and not the name, which may be that of the other protocol's.
    let host = host.to_string();
    let host = if host == "localhost" {
        "127.0.0.1".to_owned()
    } else {
        host
    };
    Ok((host, port))
}
