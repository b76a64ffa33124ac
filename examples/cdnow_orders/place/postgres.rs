//! A PostgreSQL database, in which this example has a schema of its own.

use crate::{
    files,
    run::{LEASE, SAGA},
};
use sagaz::postgres::{ConnectError, Postgres};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use std::{error::Error, path::Path, str::FromStr};

/// Nothing else is ever in it, so `--fresh` may drop it.
const SCHEMA: &str = "cdnow_orders";

#[derive(Clone, Debug)]
pub(crate) struct Server {
    url: String,
    schema: String,
    options: Box<PgConnectOptions>,
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Eq for Server {}

impl FromStr for Server {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        // The store's own look comes first, because sqlx makes a database of any text.
        let _ = Postgres::options(url).map_err(|error| super::in_full(&error))?;
        let options = url
            .parse()
            .map_err(|error: sqlx::Error| super::in_full(&error))?;
        Ok(Self {
            url: url.to_owned(),
            schema: SCHEMA.to_owned(),
            options: Box::new(options),
        })
    }
}

impl Server {
    /// The store; empty, and without its books, if they are named.
    pub(crate) async fn open(&self, fresh: Option<&Path>) -> Result<Postgres, Box<dyn Error>> {
        if let Some(books) = fresh {
            self.drop_schema(books).await?;
        }
        Ok(self.connect().await?)
    }

    async fn connect(&self) -> Result<Postgres, ConnectError> {
        let options = Postgres::options(&self.url)?;
        options.schema(&self.schema).connect().await
    }

    /// A name for files that belong to this database.
    pub(crate) fn file_stem(&self) -> String {
        let options = &self.options;
        let name = format!(
            "postgres-{}-{}-{}",
            options.get_host(),
            options.get_port(),
            options
                .get_database()
                .unwrap_or_else(|| options.get_username())
        );
        super::file_name(&name)
    }

    /// Drops the schema and deletes the books, unless it holds sagas of others, anything that is not a table of the sagas, or is in use. All or
    /// nothing: it is one transaction.
    async fn drop_schema(&self, books: &Path) -> Result<(), Box<dyn Error>> {
        // Tells what is wrong with the server, and brings the tables to the form that the queries below know.
        self.connect().await?.close().await;
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let mut transaction = connection.begin().await?;
        let schema = &self.schema;
        let refuse = |why: &str| format!("the schema `{schema}` is not dropped: {why}");
        let in_schema = |query: &'static str| AssertSqlSafe(query.replace("{schema}", schema));
        // So that none begins after it was looked for.
        transaction
            .execute(sqlx::raw_sql(in_schema(
                "LOCK TABLE {schema}.saga_engine, {schema}.saga_instance",
            )))
            .await?;
        let others: bool = sqlx::query_scalar(in_schema(
            "SELECT EXISTS (SELECT 1 FROM {schema}.saga_instance WHERE saga <> $1)",
        ))
        .bind(SAGA)
        .fetch_one(&mut *transaction)
        .await?;
        if others {
            return Err(refuse("it holds sagas of another program").into());
        }
        let engines: i64 = sqlx::query_scalar(in_schema(
            "SELECT count(*) FROM {schema}.saga_engine WHERE lease_until > clock_timestamp()",
        ))
        .fetch_one(&mut *transaction)
        .await?;
        if engines > 0 {
            return Err(refuse(&format!(
                "a process is at work in it; stop it first (one that was killed counts as at work for {LEASE:?})"
            ))
            .into());
        }
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
             WHERE table_schema = $1 AND (table_name LIKE 'saga\\_%' OR table_name LIKE 'outbox%'
                OR table_name IN ('dead_letter', 'consumer_inbox'))",
        )
        .bind(schema)
        .fetch_all(&mut *transaction)
        .await?;
        // Without CASCADE, so that whatever else is in it, or needs it, keeps it.
        let drop = format!(
            "DROP TABLE {}; DROP SEQUENCE IF EXISTS {schema}.outbox_seq; DROP SCHEMA {schema}",
            tables.join(", ")
        );
        transaction
            .execute(sqlx::raw_sql(AssertSqlSafe(drop)))
            .await
            .map_err(|error| refuse(&format!("{error}; drop it by hand if you want")))?;
        files::delete_database(books)?;
        transaction.commit().await?;
        Ok(connection.close().await?)
    }
}

// By the name of this module they are left out where there is no server.
#[cfg(test)]
mod tests {
    use crate::{
        books::Books, desk, orders::Order, place::postgres::Server, saga::OrderProcessing,
    };
    use sagaz::prelude::*;
    use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
    use std::{fs, path::Path, time::UNIX_EPOCH};

    /// In a schema that nobody else has.
    fn server() -> Server {
        let url = std::env::var("SAGAZ_TEST_POSTGRES_URL");
        let url = url.expect("`cargo xtask test` starts a server and sets SAGAZ_TEST_POSTGRES_URL");
        let mut server: Server = url.parse().unwrap();
        let now = UNIX_EPOCH.elapsed().unwrap().as_nanos();
        server.schema = format!("cdnow_{}_{now}", std::process::id());
        server
    }

    async fn execute(server: &Server, sql: &str) {
        let mut connection = PgConnection::connect(&server.url).await.unwrap();
        let sql = sql.replace("{schema}", &server.schema);
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await
            .unwrap();
    }

    async fn refusal(server: &Server, books: &Path) -> String {
        server.drop_schema(books).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn fresh_drops_the_schema_of_this_example_and_nothing_of_others() {
        let server = server();
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept.db");
        fs::write(&kept, "").unwrap();
        let books = Books::open(&folder.path().join("books.db")).await.unwrap();
        let engine = Engine::builder(server.open(None).await.unwrap())
            .register(desk::shop(&books, 1))
            .start()
            .await
            .unwrap();
        let order = Order {
            number: 1,
            customer: 1,
            date: "1997-01-01".into(),
            quantity: 1,
            cents: 100,
        };
        let handle = engine.start::<OrderProcessing>(order).await.unwrap();
        assert!(!handle.outcome().await.unwrap().is_stuck());
        assert!(refusal(&server, &kept).await.contains("at work"));
        engine.shutdown().await;

        execute(&server, "UPDATE {schema}.saga_instance SET saga = 'theirs'").await;
        assert!(refusal(&server, &kept).await.contains("another program"));
        execute(
                &server,
                "UPDATE {schema}.saga_instance SET saga = 'order-processing'; CREATE TABLE {schema}.theirs ()",
            )
            .await;
        assert!(refusal(&server, &kept).await.contains("by hand"));
        let page = engine.list(Filter::all()).await.unwrap();
        assert_eq!(page.instances.len(), 1, "nothing was dropped so far");
        assert!(kept.exists(), "nor were books deleted");

        execute(&server, "DROP TABLE {schema}.theirs").await;
        let store = server.open(Some(&kept)).await.unwrap();
        let engine = Engine::builder(store)
            .register(desk::shop(&books, 1))
            .start()
            .await
            .unwrap();
        let page = engine.list(Filter::all()).await.unwrap();
        assert_eq!((page.instances.len(), kept.exists()), (0, false));
        engine.shutdown().await;
        server.drop_schema(&kept).await.unwrap();
    }
}
