//! The connections, and calls on them.
//!
//! Invariant: the lease's keeper has a connection of its own, so that it does not wait behind large replies; so have claims
//! and readers, and each writer. A connection on which a reply did not come in time, or that leads to a server which has
//! become a replica, is replaced: what is still under way on it is nobody's next answer.

use super::{
    error::{call_error, is_lost},
    request::Request,
};
use redis::{
    ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
};
use sagaz_core::store::StoreError;
use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    Keeper,
    Reader,
    Writer,
}

pub(super) struct Server {
    link: Link,
    pub(super) writers: usize,
    next_writer: AtomicUsize,
    pub(super) call_timeout: Duration,
}

enum Link {
    One(Box<One>),
    Cluster(Vec<ClusterConnection>),
}

struct One {
    client: redis::Client,
    config: ConnectionManagerConfig,
    lines: Vec<Mutex<Connection>>,
}

struct Connection {
    /// Grows with each replacement.
    generation: u64,
    manager: ConnectionManager,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("writers", &self.writers)
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Nothing is sent yet.
    pub(super) fn one(
        client: redis::Client,
        writers: usize,
        connect_timeout: Duration,
        call_timeout: Duration,
    ) -> RedisResult<Self> {
        // A call that fails says so at once, and the engine repeats it: waiting here would only hide it.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout(Some(call_timeout));
        let lines = (0..writers + 2)
            .map(|_| {
                let manager =
                    ConnectionManager::new_lazy_with_config(client.clone(), config.clone())?;
                Ok(Mutex::new(Connection {
                    generation: 0,
                    manager,
                }))
            })
            .collect::<RedisResult<_>>()?;
        Ok(Self {
            link: Link::One(Box::new(One {
                client,
                config,
                lines,
            })),
            writers,
            next_writer: AtomicUsize::new(0),
            call_timeout,
        })
    }

    pub(super) async fn cluster(
        builder: ClusterClientBuilder,
        writers: usize,
        connect_timeout: Duration,
        call_timeout: Duration,
    ) -> RedisResult<Self> {
        let client: ClusterClient = builder
            .connection_timeout(connect_timeout)
            .response_timeout(call_timeout)
            .overall_response_timeout(Some(call_timeout))
            .retries(3)
            .build()?;
        let mut lines = Vec::with_capacity(writers + 2);
        for _ in 0..writers + 2 {
            lines.push(client.get_async_connection().await?);
        }
        Ok(Self {
            link: Link::Cluster(lines),
            writers,
            next_writer: AtomicUsize::new(0),
            call_timeout,
        })
    }

    /// One connection that knows the cluster's nodes, for what concerns nodes and not keys.
    pub(super) fn cluster_connection(&self) -> Option<ClusterConnection> {
        match &self.link {
            Link::One(_) => None,
            Link::Cluster(lines) => lines.get(self.place(Line::Reader)).cloned(),
        }
    }

    /// The replies, in the order of the requests; an error if one of them failed.
    pub(super) async fn ask(
        &self,
        line: Line,
        requests: &[Request<'_>],
    ) -> Result<Vec<Value>, StoreError> {
        let replies = self.try_ask(line, requests).await.map_err(call_error)?;
        replies
            .into_iter()
            .map(|reply| match reply {
                Value::ServerError(error) => Err(call_error(error.into())),
                reply => Ok(reply),
            })
            .collect()
    }

    /// The reply to a single request.
    pub(super) async fn ask_one(
        &self,
        line: Line,
        request: Request<'_>,
    ) -> Result<Value, StoreError> {
        let replies = self.ask(line, &[request]).await?;
        Ok(replies.into_iter().next().unwrap_or(Value::Nil))
    }

    /// Each reply may be an error of its own.
    pub(super) async fn try_ask(
        &self,
        line: Line,
        requests: &[Request<'_>],
    ) -> RedisResult<Vec<Value>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let place = self.place(line);
        let all: Vec<usize> = (0..requests.len()).collect();
        let mut replies = self.send(place, requests, &all, false).await?;
        // A server that was restarted, has failed over, or was told to forget its scripts.
        let unknown: Vec<usize> = (0..requests.len())
            .filter(|at| replies.get(*at).is_some_and(is_unknown_script))
            .collect();
        if !unknown.is_empty() {
            let again = self.send(place, requests, &unknown, true).await?;
            for (at, reply) in unknown.into_iter().zip(again) {
                replies[at] = reply;
            }
        }
        Ok(replies)
    }

    /// Sends the chosen requests. `with_texts`: the first use of each script carries its text, from which the server knows it
    /// for those behind.
    async fn send(
        &self,
        place: usize,
        requests: &[Request<'_>],
        chosen: &[usize],
        with_texts: bool,
    ) -> RedisResult<Vec<Value>> {
        let pipeline = |chosen: &[usize]| {
            let mut pipeline = Pipeline::with_capacity(chosen.len());
            let mut known: Vec<&str> = Vec::new();
            for at in chosen {
                let request = &requests[*at];
                let script = request.script_of().map(|script| script.text);
                let is_new =
                    script.is_some_and(|text| !known.iter().any(|it| std::ptr::eq(*it, text)));
                known.extend(script.filter(|_| is_new));
                pipeline.add_command(request.to_cmd(with_texts && is_new));
            }
            pipeline
        };
        match &self.link {
            Link::One(one) => {
                let (generation, mut manager) = {
                    let line = one.lines[place]
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    (line.generation, line.manager.clone())
                };
                let pipeline = pipeline(chosen);
                let sent = manager.req_packed_commands(&pipeline, 0, chosen.len());
                let replies = tokio::time::timeout(self.call_timeout, sent)
                    .await
                    .unwrap_or_else(|_| Err(unanswered()));
                let is_lost = match &replies {
                    Ok(replies) => replies.iter().any(leads_astray),
                    Err(error) => is_lost(error),
                };
                if is_lost {
                    self.replace(place, generation)?;
                }
                replies
            }
            Link::Cluster(lines) => {
                let mut slots: Vec<(&str, Vec<usize>)> = Vec::new();
                for at in chosen {
                    let slot = requests[*at].slot();
                    match slots.iter_mut().find(|(known, _)| *known == slot) {
                        Some((_, of_slot)) => of_slot.push(*at),
                        None => slots.push((slot, vec![*at])),
                    }
                }
                let calls = slots.iter().map(|(_, of_slot)| {
                    let mut connection = lines[place].clone();
                    let pipeline = pipeline(of_slot);
                    async move {
                        connection
                            .req_packed_commands(&pipeline, 0, of_slot.len())
                            .await
                    }
                });
                let calls = futures_util::future::try_join_all(calls);
                let replies = tokio::time::timeout(self.call_timeout, calls)
                    .await
                    .unwrap_or_else(|_| Err(unanswered()))?;
                let mut sorted: Vec<(usize, Value)> = slots
                    .into_iter()
                    .zip(replies)
                    .flat_map(|((_, of_slot), replies)| of_slot.into_iter().zip(replies))
                    .collect();
                sorted.sort_unstable_by_key(|(at, _)| *at);
                Ok(sorted.into_iter().map(|(_, reply)| reply).collect())
            }
        }
    }

    /// A new connection in the place of one that is no longer good, unless somebody was faster.
    fn replace(&self, place: usize, generation: u64) -> RedisResult<()> {
        let Link::One(one) = &self.link else {
            return Ok(());
        };
        let manager =
            ConnectionManager::new_lazy_with_config(one.client.clone(), one.config.clone())?;
        let mut line = one.lines[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if line.generation == generation {
            *line = Connection {
                generation: generation + 1,
                manager,
            };
        }
        Ok(())
    }

    fn place(&self, line: Line) -> usize {
        match line {
            Line::Keeper => 0,
            Line::Reader => 1,
            Line::Writer => {
                2 + self.next_writer.fetch_add(1, Ordering::Relaxed) % self.writers.max(1)
            }
        }
    }
}

fn unanswered() -> RedisError {
    let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "no reply in time");
    RedisError::from(error)
}

fn is_unknown_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

/// The server behind this connection is no longer the one to write to.
fn leads_astray(reply: &Value) -> bool {
    let Value::ServerError(error) = reply else {
        return false;
    };
    matches!(
        RedisError::from(error.clone()).kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    )
}
