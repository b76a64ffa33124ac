//! The connections, and calls on them.
//!
//! Invariant: writers and the lease's keeper have connections of their own, so that neither waits for readers or claims. A
//! call that does not come to its end in time, or is dropped, takes its connection with it: what the server makes of the
//! rest of it is nobody's next answer.

use super::{ConnectError, Options, error::store_error, schema};
use sagaz_core::store::StoreError;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Postgres as Server,
    pool::PoolConnection,
    postgres::{PgArguments, PgPool, PgPoolOptions},
    query::Query,
};
use std::{borrow::Cow, time::Duration};

/// The schema's name in every statement of this code.
const PLACEHOLDER: &str = "sagaz.";

#[derive(Debug)]
pub(super) struct Database {
    pub(super) schema: String,
    /// The schema as it stands in a statement, with a point after it; `None` if that is the placeholder.
    prefix: Option<String>,
    pub(super) writer_count: u32,
    call_timeout: Duration,
    prepared: bool,
    pub(super) writers: PgPool,
    pub(super) keeper: PgPool,
    pub(super) readers: PgPool,
}

impl Database {
    pub(super) async fn connect(options: Options) -> Result<Self, ConnectError> {
        let Options {
            connect,
            schema,
            writers,
            readers,
            call_timeout,
            prepared,
        } = options;
        schema::check_name(&schema)?;
        let connect = connect.disable_statement_logging();
        let pool = |connections: u32| {
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(call_timeout)
                .connect_lazy_with(connect.clone())
        };
        let database = Self {
            prefix: (schema != "sagaz").then(|| format!("\"{schema}\".")),
            schema,
            writer_count: writers,
            call_timeout,
            prepared,
            writers: pool(writers),
            keeper: pool(1),
            readers: pool(readers),
        };
        // One connection by itself, so that what is wrong is told in the server's words, and not as a pool's time-out.
        let first = tokio::time::timeout(call_timeout, connect.connect()).await;
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

    /// Makes a call on a connection of the pool.
    pub(super) async fn call<T>(
        &self,
        pool: &PgPool,
        call: impl AsyncFnOnce(&mut PoolConnection<Server>) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut connection = Leased(Some(pool.acquire().await.map_err(store_error)?));
        let Some(borrowed) = connection.0.as_mut() else {
            return Err(StoreError::transient("the connection is gone"));
        };
        let result = tokio::time::timeout(self.call_timeout, call(borrowed)).await;
        match result {
            Ok(Ok(value)) => {
                // Back to the pool: it is between two statements.
                drop(connection.0.take());
                Ok(value)
            }
            Ok(Err(error)) => Err(store_error(error)),
            Err(_) => Err(StoreError::transient(format!(
                "the database has not answered for {:?}",
                self.call_timeout
            ))),
        }
    }

    pub(super) async fn close(&self) {
        self.writers.close().await;
        self.keeper.close().await;
        self.readers.close().await;
    }
}

/// A connection that does not go back to its pool by being dropped.
struct Leased(Option<PoolConnection<Server>>);

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// The server and database, for messages; never the password.
fn server(connect: &sqlx::postgres::PgConnectOptions) -> String {
    let database = connect.get_database().unwrap_or(connect.get_username());
    format!("{}:{}/{database}", connect.get_host(), connect.get_port())
}
