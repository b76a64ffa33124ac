//! The rules of every store, on PostgreSQL behind `PgBouncer` in transaction mode.
#![cfg(feature = "postgres")]

mod support;

use sagaz_core::store::conformance::Harness;
use sagaz_storage::postgres::{Options, Postgres};
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

struct Pooled;

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

/// By this name they are left out where there is no `PgBouncer`.
mod pgbouncer {
    use super::{Pooled, connect, options, schema, url};
    use sagaz_core::{EngineId, store::SagaStore};
    use sagaz_storage::postgres::Postgres;
    use std::time::Duration;

    sagaz_core::store_conformance!(Pooled);

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
