//! From a URL to a store: what is read of it, and what is looked at on the server before it is used.

use super::{
    ConnectError, Durability, Options, Store,
    claim::Takeovers,
    durability::SETTINGS,
    keys::{PARTITIONS_MAX, Space},
    request::{elements, text},
    schema,
    server::Server,
};
use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult,
    Value,
    aio::ConnectionLike,
    cluster::ClusterClientBuilder,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
};
use sagaz_core::EngineId;
use std::{collections::BTreeMap, sync::atomic::AtomicU64};

/// The oldest server that the scripts were run on.
const OLDEST_SERVER: (u32, &str) = (7, "7.0");

/// The nodes that a URL names: one server, or some of a cluster.
#[derive(Clone, Debug)]
pub(super) enum Nodes {
    One(Box<ConnectionInfo>),
    Cluster(Vec<ConnectionInfo>),
}

impl Nodes {
    /// `redis+cluster://user:password@one:6379,two:6379` are the nodes `redis://user:password@one:6379` and so on.
    pub(super) fn parse(url: &str) -> RedisResult<Self> {
        let cluster = [
            ("redis+cluster://", "redis://"),
            ("rediss+cluster://", "rediss://"),
        ];
        for (scheme, of_node) in cluster {
            let Some(rest) = url.strip_prefix(scheme) else {
                continue;
            };
            let (user, rest) = match rest.rsplit_once('@') {
                Some((user, rest)) => (format!("{user}@"), rest),
                None => (String::new(), rest),
            };
            let (hosts, rest) = match rest.find(['/', '?']) {
                Some(end) => rest.split_at(end),
                None => (rest, ""),
            };
            return hosts
                .split(',')
                .map(|host| format!("{of_node}{user}{host}{rest}").into_connection_info())
                .collect::<RedisResult<_>>()
                .map(Self::Cluster);
        }
        url.into_connection_info().map(Box::new).map(Self::One)
    }

    fn are_encrypted(&self) -> bool {
        let nodes = match self {
            Self::One(node) => std::slice::from_ref(node.as_ref()),
            Self::Cluster(nodes) => nodes.as_slice(),
        };
        nodes
            .iter()
            .any(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. }))
    }

    /// Host and port, for messages; never the password.
    fn name(&self) -> String {
        match self {
            Self::One(node) => node.addr().to_string(),
            Self::Cluster(nodes) => {
                let names: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
                names.join(",")
            }
        }
    }
}

pub(super) async fn connect(options: Options) -> Result<Store, ConnectError> {
    schema::check_prefix(&options.prefix)?;
    if !(1..=PARTITIONS_MAX).contains(&options.partitions) {
        return Err(ConnectError::Partitions {
            partitions: options.partitions,
        });
    }
    if options.nodes.are_encrypted() {
        // The crate takes the process's provider of cryptography and panics where none is chosen. A program that has chosen one
        // keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let server = options.nodes.name();
    let prefix = options.prefix.clone();
    let failed = |error: RedisError| ConnectError::new(&server, &prefix, error);
    let (seen, link) = match &options.nodes {
        Nodes::One(node) => {
            let client = redis::Client::open(node.as_ref().clone()).map_err(failed)?;
            // One connection by itself, so that what is wrong is told in the server's words.
            let config = redis::AsyncConnectionConfig::new()
                .set_connection_timeout(Some(options.connect_timeout))
                .set_response_timeout(Some(options.call_timeout));
            let mut first = client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map_err(failed)?;
            let seen = Seen::of_one(&mut first).await.map_err(failed)?;
            if seen.is_cluster {
                return Err(ConnectError::IsCluster { server });
            }
            let link = Server::one(
                client,
                options.connections,
                options.connect_timeout,
                options.call_timeout,
            );
            (seen, link.map_err(failed)?)
        }
        Nodes::Cluster(nodes) => {
            let builder = ClusterClientBuilder::new(nodes.iter().cloned());
            let link = Server::cluster(
                builder,
                options.connections,
                options.connect_timeout,
                options.call_timeout,
            )
            .await
            .map_err(|error| {
                if error.to_string().contains("cluster support disabled") {
                    ConnectError::NoCluster {
                        server: server.clone(),
                        source: error,
                    }
                } else {
                    failed(error)
                }
            })?;
            (Seen::of_cluster(&link).await.map_err(failed)?, link)
        }
    };
    if let Some(primary) = seen.replica_of {
        return Err(ConnectError::Replica { server, primary });
    }
    if seen.major < OLDEST_SERVER.0 {
        return Err(ConnectError::OldServer {
            server,
            version: seen.version,
            needed: OLDEST_SERVER.1,
        });
    }
    if options.require_durable && !seen.durability.is_durable() {
        return Err(ConnectError::NotDurable {
            report: seen.durability,
        });
    }
    let (high, _) = EngineId::random().as_uuid().as_u64_pair();
    let store = Store {
        server: link,
        space: Space::new(options.prefix, options.partitions),
        durability: seen.durability,
        value_max: seen.value_max,
        nonce: high,
        tries: AtomicU64::new(0),
        takeovers: Takeovers::default(),
    };
    schema::prepare(&store, &server, options.partitions).await?;
    Ok(store)
}

/// What a server, or a cluster's primaries, tell of themselves.
struct Seen {
    version: String,
    major: u32,
    is_cluster: bool,
    /// Where its primary is, as it says, if it is a replica.
    replica_of: Option<String>,
    durability: Durability,
    value_max: u64,
}

impl Seen {
    async fn of_one(connection: &mut impl ConnectionLike) -> RedisResult<Self> {
        let role = ask(connection, &redis::cmd("ROLE")).await?;
        let info = ask(connection, redis::cmd("INFO").arg("server")).await?;
        let config = ask(connection, &config_get()).await;
        let mut seen = Self::new(&text(info).unwrap_or_default());
        let mut role = elements(role).into_iter();
        if role.next().and_then(text).as_deref() == Some("slave") {
            let host = role.next().and_then(text).unwrap_or_default();
            let port = role.next().and_then(text).unwrap_or_default();
            seen.replica_of = Some(format!("{host}:{port}"));
        } else if role
            .nth(1)
            .is_some_and(|replicas| !elements(replicas).is_empty())
        {
            seen.durability.warn_of_failover("the server has replicas");
        }
        seen.judge(config)?;
        Ok(seen)
    }

    async fn of_cluster(server: &Server) -> RedisResult<Self> {
        let Some(mut connection) = server.cluster_connection() else {
            return Err(RedisError::from((
                ErrorKind::Client,
                "no connection to a cluster",
            )));
        };
        let primaries = || RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let infos = of_nodes(connection.route_command(info, primaries()).await?);
        let oldest = infos
            .into_iter()
            .map(|info| Self::new(&text(info).unwrap_or_default()))
            .min_by_key(|seen| seen.major);
        let mut seen = oldest.unwrap_or_else(|| Self::new(""));
        match connection.route_command(config_get(), primaries()).await {
            Ok(settings) => {
                for node in of_nodes(settings) {
                    seen.judge(Ok(node))?;
                }
            }
            Err(error) => seen.judge(Err(error))?,
        }
        seen.durability
            .warn_of_failover("a cluster fails over by itself");
        Ok(seen)
    }

    /// From the reply to INFO.
    fn new(info: &str) -> Self {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let version = field("redis_version").unwrap_or_else(|| "unknown".to_owned());
        Self {
            major: version
                .split('.')
                .next()
                .and_then(|major| major.parse().ok())
                .unwrap_or_default(),
            version,
            is_cluster: field("redis_mode").as_deref() == Some("cluster"),
            replica_of: None,
            durability: Durability::default(),
            value_max: 512 << 20,
        }
    }

    /// From the reply to CONFIG GET. That it is denied is no error.
    fn judge(&mut self, config: RedisResult<Value>) -> RedisResult<()> {
        let config = match config {
            Ok(config) => config,
            Err(error) if error.is_io_error() || error.is_timeout() => return Err(error),
            Err(_) => {
                self.durability.judge(None);
                return Ok(());
            }
        };
        let mut words = match config {
            Value::Map(pairs) => pairs
                .into_iter()
                .flat_map(|(name, value)| [name, value])
                .collect(),
            list => elements(list),
        }
        .into_iter()
        .filter_map(text);
        let mut settings = BTreeMap::new();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            settings.insert(name, value);
        }
        if let Some(max) = settings
            .get("proto-max-bulk-len")
            .and_then(|max| max.parse().ok())
        {
            self.value_max = self.value_max.min(max);
        }
        self.durability
            .judge((!settings.is_empty()).then_some(&settings));
        Ok(())
    }
}

/// An error of the server's is a reply as well.
async fn ask(connection: &mut impl ConnectionLike, command: &Cmd) -> RedisResult<Value> {
    connection
        .req_packed_command(command)
        .await?
        .extract_error()
}

fn config_get() -> Cmd {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg(&SETTINGS);
    command
}

/// The replies of several nodes, each under its address.
fn of_nodes(replies: Value) -> Vec<Value> {
    match replies {
        Value::Map(nodes) => nodes.into_iter().map(|(_, reply)| reply).collect(),
        one => vec![one],
    }
}
