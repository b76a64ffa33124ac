//! The connections, and calls on them.
//!
//! Invariant: writers, the lease's keeper and claims have connections of their own, so that none waits for another, or for
//! people who read. A call that does not come to its end in time, or is dropped, takes its connection with it: what the server makes of the
//! rest of it is nobody's next answer.

use super::{
    ConnectError, Options,
    claim::Claiming,
    columns::Tries,
    connections::Connections,
    error::{is_lost, store_error},
    news::{self, News},
    schema,
    write::{Held, Keys},
};
use sagaz_core::store::StoreError;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Postgres as Server,
    postgres::{PgArguments, PgConnection, PgPool, PgPoolOptions},
    query::Query,
};
use std::{borrow::Cow, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// The schema's name in every statement of this code.
const PLACEHOLDER: &str = "sagaz.";

#[derive(Debug)]
pub(super) struct Database {
    pub(super) schema: String,
    /// The schema as it stands in a statement, with a point after it; `None` if that is the placeholder.
    prefix: Option<String>,
    pub(super) writer_count: u32,
    pub(super) call_timeout: Duration,
    pub(super) prepared: bool,
    pub(super) writers: Connections,
    pub(super) keeper: Connections,
    pub(super) claimer: Connections,
    pub(super) readers: Connections,
    /// For what publishes events.
    pub(super) relays: Connections,
    /// For transactions that steps write in. Of sqlx's kind, because the steps' code holds them.
    pub(super) transactions: PgPool,
    /// Held as long as one of them is open. They are waited for here, and not at the pool, which gives up.
    pub(super) turns: Arc<Semaphore>,
    /// For transactions of handlers, likewise.
    pub(super) handlers: PgPool,
    pub(super) handler_count: u32,
    pub(super) news: News,
    pub(super) held: Held,
    pub(super) keys: Keys,
    pub(super) tries: Tries,
    pub(super) claiming: Claiming,
}

/// What the planner is told. Statements are prepared once, maybe while the tables
/// are still empty: a plan that reads a whole table is then the cheapest, and would be used while it grows. So there is one
/// plan for each, through the indexes and row by row, in the order of what is asked for, whatever the statistics say; and
/// it is made once, because that takes longer than to carry it out.
const PLANNING: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Behind a pooler, where a session's settings are not ours: who is gone in the middle holds no rows for long.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 60000";

/// How long a batch waits for a row that somebody else holds: longer than a claim or a cancel does.
const LOCK_TIMEOUT: &str = "1500ms";

/// One to read events, one to say what became of them, and one for senders.
const RELAYS: u32 = 3;

impl Database {
    pub(super) async fn connect(options: Options) -> Result<Self, ConnectError> {
        let Options {
            connect,
            schema,
            writers,
            readers,
            transactions,
            call_timeout,
            prepared,
            notifications,
        } = options;
        schema::check_name(&schema)?;
        // No number here has a fraction, and a pooler may refuse the setting.
        let connect = connect.disable_statement_logging().extra_float_digits(None);
        // A session behind a pooler in transaction mode is not ours to set; there each call is planned by itself.
        let planned = if prepared {
            // What nobody waits for any longer is given up by the server too, or sessions that wait for a lock pile up there.
            // And who is gone in the middle of a transaction, and could not say so, holds no rows for long.
            let patience = ["statement_timeout", "idle_in_transaction_session_timeout"]
                .map(|setting| (setting, call_timeout.as_millis().to_string()));
            connect.clone().options(PLANNING).options(patience)
        } else {
            connect.clone()
        };
        let writing = if prepared {
            planned.clone().options([("lock_timeout", LOCK_TIMEOUT)])
        } else {
            planned.clone()
        };
        let news = news::address(notifications, &connect, prepared);
        let pool = PgPoolOptions::new()
            .max_connections(transactions)
            .test_before_acquire(false)
            .acquire_timeout(call_timeout);
        let database = Self {
            held: Held::default(),
            keys: Keys::default(),
            tries: Tries::new(),
            claiming: Claiming::default(),
            news: News::new(news.map(ConnectOptions::disable_statement_logging), &schema),
            prefix: (schema != "sagaz").then(|| format!("\"{schema}\".")),
            schema,
            writer_count: writers,
            call_timeout,
            prepared,
            writers: Connections::new(writing, writers),
            keeper: Connections::new(planned.clone(), 1),
            claimer: Connections::new(planned.clone(), 1),
            readers: Connections::new(planned.clone(), readers),
            relays: Connections::new(planned.clone(), RELAYS),
            turns: Arc::new(Semaphore::new(transactions as usize)),
            transactions: pool.clone().connect_lazy_with(connect.clone()),
            handler_count: transactions,
            handlers: pool.connect_lazy_with(connect.clone()),
        };
        // One connection by itself, so that what is wrong is told in the server's words, and not as a time-out.
        let first = tokio::time::timeout(call_timeout, planned.connect()).await;
        let mut first = first
            .map_err(|_| ConnectError::Silent {
                server: server(&connect),
            })?
            .map_err(|error| ConnectError::new(&server(&connect), error))?;
        schema::prepare(&mut first, &database)
            .await
            .map_err(|error| error.at(&server(&connect)))?;
        Ok(database)
    }

    /// A statement with the schema's name in it.
    pub(super) fn sql(&self, statement: &'static str) -> AssertSqlSafe<Cow<'static, str>> {
        AssertSqlSafe(match &self.prefix {
            None => Cow::Borrowed(statement),
            // The name is checked when the store is connected.
            Some(prefix) => Cow::Owned(statement.replace(PLACEHOLDER, prefix)),
        })
    }

    pub(super) fn query(&self, statement: &'static str) -> Query<'static, Server, PgArguments> {
        sqlx::query(self.sql(statement)).persistent(self.prepared)
    }

    /// Makes a call on one of these connections.
    pub(super) async fn call<T>(
        &self,
        connections: &Connections,
        call: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        // A statement that is not prepared is parsed and carried out in two round trips, which a pooler would give to two
        // servers if they were not of one transaction.
        let begin = (!self.prepared).then_some(BEGIN);
        self.call_in(connections, begin, call).await
    }

    /// Makes a call in a transaction that begins with this statement, if it is given.
    pub(super) async fn call_in<T>(
        &self,
        connections: &Connections,
        begin: Option<&'static str>,
        call: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let in_time = tokio::time::timeout(self.call_timeout, async {
            let mut lent = connections.take().await?;
            let result = match begin {
                None => call(&mut lent.connection).await?,
                Some(begin) => {
                    let mut transaction = lent.connection.begin_with(begin).await?;
                    let result = call(&mut transaction).await?;
                    transaction.commit().await?;
                    result
                }
            };
            lent.give_back();
            Ok(result)
        });
        match in_time.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if is_lost(&error) {
                    connections.forget();
                }
                Err(store_error(error))
            }
            Err(_) => Err(StoreError::transient(format!(
                "the database has not answered for {:?}",
                self.call_timeout
            ))),
        }
    }

    pub(super) async fn close(&self) {
        self.news.close().await;
        self.writers.close().await;
        self.keeper.close().await;
        self.claimer.close().await;
        self.readers.close().await;
        self.relays.close().await;
        self.turns.close();
        self.transactions.close().await;
        self.handlers.close().await;
    }
}

/// The server and database, for messages; never the password.
pub(super) fn server(connect: &sqlx::postgres::PgConnectOptions) -> String {
    let database = connect.get_database().unwrap_or(connect.get_username());
    format!("{}:{}/{database}", connect.get_host(), connect.get_port())
}
