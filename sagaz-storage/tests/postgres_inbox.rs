//! What only a server with many sessions shows of the inbox.
#![cfg(feature = "postgres")]

mod support;

/// By this name they are left out where there is no server.
mod postgres {
    use crate::support::{
        postgres::{schema, store, url},
        postgres_events::{event, until_blocked},
    };
    use sagaz_core::store::{Begun, CommitError, InboxStore};
    use sagaz_storage::postgres::Postgres;
    use std::time::{Duration, Instant};

    /// The first ends its transaction; then it is the other's turn, or a duplicate.
    #[tokio::test]
    async fn p11_a_handling_waits_for_another_of_the_same_event() {
        let store = store().await;
        let (rolled_back, committed) = (event("a", 1), event("a", 2));
        for (message, commits) in [(rolled_back, false), (committed, true)] {
            let Begun::New(first) = store.begin_handling("mail", &message).await.unwrap() else {
                panic!("nobody has handled it");
            };
            let second = {
                let (store, message) = (store.clone(), message.clone());
                tokio::spawn(async move { store.begin_handling("mail", &message).await })
            };
            until_blocked(store.schema()).await;
            if commits {
                store.finish_handling(first).await.unwrap();
            } else {
                drop(first);
            }
            let second = second.await.unwrap().unwrap();
            assert_eq!(matches!(second, Begun::Duplicate), commits);
        }
    }

    /// There are as many as there may be; the next one waits for its turn.
    #[tokio::test]
    async fn p12_handlings_wait_for_one_another_however_long_it_takes() {
        let options = Postgres::options(&url()).unwrap().schema(schema());
        let options = options
            .transactions_max(1)
            .call_timeout(Duration::from_secs(2));
        let store = options.connect().await.unwrap();
        let one = store.begin_handling("mail", &event("a", 1)).await.unwrap();
        let waiting = {
            let store = store.clone();
            tokio::spawn(async move { store.begin_handling("mail", &event("a", 2)).await })
        };
        // Longer than any call takes.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            assert!(!waiting.is_finished());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(one);
        assert!(matches!(waiting.await.unwrap().unwrap(), Begun::New(_)));
    }

    #[tokio::test]
    async fn p11_a_handler_that_ended_its_transaction_is_told() {
        let store = store().await;
        let Begun::New(mut tx) = store.begin_handling("mail", &event("a", 1)).await.unwrap() else {
            panic!("nobody has handled it");
        };
        sqlx::raw_sql("COMMIT").execute(&mut *tx).await.unwrap();
        let error = store.finish_handling(tx).await.unwrap_err();
        let CommitError::RolledBack(error) = error else {
            panic!("{error:?}");
        };
        assert!(error.to_string().contains("leave the end"), "{error}");
    }
}
