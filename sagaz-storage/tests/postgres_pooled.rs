//! The rules of every store, on PostgreSQL behind `PgBouncer` in transaction mode.
#![cfg(feature = "postgres")]

mod support;

use sagaz_core::store::conformance::{Harness, inbox::InboxHarness};
use sagaz_storage::postgres::{Options, Postgres};
use sqlx::{Connection, PgConnection, PgTransaction};
use std::{sync::OnceLock, time::Duration};
use support::{
    postgres::{schema, url},
    private::Bouncer,
};

/// One for all tests; it ends with the process.
fn bouncer() -> &'static Bouncer {
    static BOUNCER: OnceLock<Bouncer> = OnceLock::new();
    BOUNCER.get_or_init(|| Bouncer::new(&url()))
}

fn options(schema: &str) -> Options {
    Postgres::options(&bouncer().url)
        .expect("the URL is one of PostgreSQL")
        .schema(schema)
        .prepared(false)
}

async fn connect(options: Options) -> Postgres {
    options.connect().await.expect("a store")
}

/// With what its rows in the table of the application have before their keys.
struct Pooled(String);

impl Harness for Pooled {
    type Store = Postgres;

    async fn open(&self) -> Postgres {
        connect(options(&schema())).await
    }

    async fn second(&self, store: &Postgres) -> Postgres {
        connect(options(store.schema())).await
    }

    fn lease_short(&self) -> Duration {
        Duration::from_secs(1)
    }
}

impl InboxHarness for Pooled {
    async fn put(&self, tx: &mut PgTransaction<'static>, key: &str) {
        for sql in [
            "SELECT pg_advisory_xact_lock(4712)",
            "CREATE TABLE IF NOT EXISTS behind_a_pooler (key text)",
        ] {
            let done = sqlx::raw_sql(sql).execute(&mut **tx).await;
            done.expect("it is done");
        }
        let insert = sqlx::query("INSERT INTO behind_a_pooler VALUES ($1)").persistent(false);
        let key = format!("{}/{key}", self.0);
        insert.bind(key).execute(&mut **tx).await.expect("a row");
    }

    async fn has(&self, _: &Postgres, key: &str) -> bool {
        let mut connection = PgConnection::connect(&url()).await.expect("a session");
        let found = sqlx::query("SELECT 1 FROM behind_a_pooler WHERE key = $1");
        let found = found.bind(format!("{}/{key}", self.0));
        let found = found.fetch_optional(&mut connection).await;
        found.is_ok_and(|row| row.is_some())
    }
}

/// By this name they are left out where there is no `PgBouncer`.
mod pgbouncer {
    use super::{Pooled, connect, options, schema, url};
    use sagaz_core::{EngineId, store::SagaStore};
    use sagaz_storage::postgres::Postgres;
    use std::time::Duration;

    sagaz_core::store_conformance!(Pooled(schema()));
    sagaz_core::outbox_conformance!(Pooled(schema()));
    sagaz_core::inbox_conformance!(Pooled(schema()));

    /// Nobody can listen through it.
    #[tokio::test]
    async fn news_go_by_a_url_of_their_own() {
        let schema = schema();
        let with_news = || options(&schema).notifications(&url());
        let store = connect(with_news().expect("a URL")).await;
        let other = connect(with_news().expect("a URL")).await;
        let patience = Duration::from_secs(30);
        let heard = tokio::time::timeout(patience, store.news());
        heard.await.expect("once, when it listens");
        other.retire(EngineId::random()).await.expect("it retires");
        let heard = tokio::time::timeout(patience, store.news());
        heard.await.expect("when the other has told");
    }

    /// It says so when it connects, and not in the middle of the work.
    #[tokio::test]
    async fn settings_of_a_session_are_refused_in_words_that_help() {
        let options = Postgres::options(&super::bouncer().url).expect("a URL");
        let error = options.schema(schema()).connect().await;
        let error = error.expect_err("it is no session of ours");
        assert!(error.to_string().contains("prepared(false)"), "{error}");
    }
}
