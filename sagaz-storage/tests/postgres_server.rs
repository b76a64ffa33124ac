//! What only a server with many sessions shows: fences between statements that overlap, killed sessions, other users'
//! transactions, and refusals.
#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "not every test uses all of it")]
#[path = "support/proxy.rs"]
mod proxy;
mod support;

/// By this name they are left out where there is no server.
mod postgres {
    use crate::proxy::Proxy;
    use crate::support::postgres::{connect, schema, store, url};
    use sagaz_core::{
        EngineId, Payload, SagaId, StepKind, Token,
        store::{
            Accept, Claim, Claimed, DefinitionKey, Filter, InstanceState, Progress, Retention,
            Runnable, SagaStore, StepState, StepWrite, Transacts, Write, Written,
        },
    };
    use sagaz_storage::postgres::{ConnectError, Postgres};
    use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row};
    use std::time::{Duration, Instant};

    const HOUR: Duration = Duration::from_hours(1);

    const PATIENCE: Duration = Duration::from_secs(10);

    fn definition() -> DefinitionKey {
        DefinitionKey {
            saga: "shop".to_owned(),
            version: 1,
            fingerprint: "graph".to_owned(),
        }
    }

    async fn engine(store: &Postgres) -> EngineId {
        let engine = EngineId::random();
        store.renew(engine, HOUR).await.unwrap();
        engine
    }

    fn accept(id: SagaId, owner: Option<EngineId>) -> Write {
        Write::Accept(Accept {
            id,
            definition: definition(),
            input: Payload {
                content_type: "application/json".to_owned(),
                bytes: b"{}".to_vec(),
            },
            input_digest: "digest".to_owned(),
            start_key: None,
            owner,
            deadline: None,
            trace: None,
        })
    }

    fn unowned(id: SagaId) -> Write {
        accept(id, None)
    }

    async fn owned(store: &Postgres, owner: EngineId) -> (SagaId, Token) {
        let id = SagaId::new();
        store.write(&[accept(id, Some(owner))]).await.unwrap();
        (id, Token { owner, epoch: 1 })
    }

    fn progress(id: SagaId, token: Token) -> Write {
        Write::Progress(Progress {
            id,
            token,
            state: InstanceState::Executing,
            pivot_passed: false,
            failure: None,
            stuck: None,
            release: None,
            sender: None,
            steps: vec![StepWrite {
                name: "charge".to_owned(),
                kind: StepKind::Compensatable,
                state: StepState::Completed,
                attempts: 1,
                undo_attempts: 0,
                recoveries: 0,
                output: None,
                error: None,
                wake: None,
                events: Vec::new(),
            }],
        })
    }

    fn claim(engine: EngineId) -> Claim {
        Claim {
            engine,
            runnable: vec![Runnable {
                key: definition(),
                accepts: Vec::new(),
                steps: Vec::new(),
            }],
            limit: 100,
            suspect: true,
            suspect_after: 2,
            poison_after: 2,
            suspect_delay: Duration::from_secs(1),
            suspect_delay_max: Duration::from_secs(1),
        }
    }

    async fn session() -> PgConnection {
        PgConnection::connect(&url()).await.expect("a session")
    }

    async fn run(session: &mut PgConnection, sql: String) {
        session.execute(AssertSqlSafe(sql)).await.expect("it runs");
    }

    /// Waits until as many sessions wait for a lock as are expected.
    async fn until_blocked(session: &mut PgConnection, schema: &str) {
        let began = Instant::now();
        loop {
            let row = sqlx::query(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1",
            )
            .bind(format!("%{schema}%"))
            .fetch_one(&mut *session)
            .await
            .unwrap();
            if row.get::<i64, _>(0) > 0 {
                return;
            }
            assert!(began.elapsed() < HOUR, "nobody waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A store behind a network of its own.
    async fn behind_a_network() -> (Postgres, Proxy) {
        let (before, after) = url()
            .split_once('@')
            .map(|(before, after)| (before.to_owned(), after.to_owned()))
            .unwrap();
        let (address, database) = after.split_once('/').unwrap();
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        let proxy = Proxy::start(port).await;
        let through = format!("{before}@127.0.0.1:{}/{database}", proxy.port);
        let options = Postgres::options(&through).unwrap().schema(schema());
        let options = options.writers(1).without_notifications();
        let store = options.call_timeout(Duration::from_secs(3)).connect();
        (store.await.unwrap(), proxy)
    }

    async fn until_stored(store: &Postgres, write: &Write) {
        let began = Instant::now();
        let written = loop {
            match store.write(std::slice::from_ref(write)).await {
                Ok(written) => break written,
                Err(error) => assert!(error.is_transient() && began.elapsed() < HOUR, "{error:?}"),
            }
        };
        assert!(
            matches!(written[..], [Written::Stored { .. }]),
            "{written:?}"
        );
    }

    /// A write whose reply did not come is written again, and the next one; then its first try arrives.
    #[tokio::test]
    async fn p7_a_try_that_arrives_late_takes_nothing_back() {
        let (store, proxy) = behind_a_network().await;
        let (id, token) = owned(&store, engine(&store).await).await;
        let first = progress(id, token);
        // From now on the connection knows the statement.
        until_stored(&store, &first).await;
        proxy.hold();
        let error = store.write(std::slice::from_ref(&first)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        proxy.let_new_ones_through();
        until_stored(&store, &first).await;
        let Write::Progress(mut next) = first else {
            unreachable!("it is progress")
        };
        next.state = InstanceState::Compensating;
        next.steps[0].state = StepState::Compensated;
        until_stored(&store, &Write::Progress(next)).await;
        assert!(
            proxy.release().await,
            "the first try has come and was answered"
        );
        let snapshot = store.load(id).await.unwrap().unwrap();
        assert_eq!(snapshot.summary.state, InstanceState::Compensating);
        assert_eq!(snapshot.steps[0].state, StepState::Compensated);
    }

    /// After a claim without a reply its engine claims again, and then looks at what it owns: nothing comes to it later.
    #[tokio::test]
    async fn p1_a_claim_whose_commit_comes_late_leaves_nothing_to_an_engine_that_has_looked() {
        let (store, proxy) = behind_a_network().await;
        let (asking, id) = (engine(&store).await, SagaId::new());
        let other = connect(store.schema()).await;
        other.write(&[unowned(id)]).await.unwrap();
        proxy.cut_from("COMMIT".to_owned());
        let error = store.claim(&claim(asking)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        proxy.let_new_ones_through();
        let began = Instant::now();
        let taken = loop {
            match store.claim(&claim(asking)).await {
                Ok(claimed) => break claimed.instances,
                Err(error) => assert!(
                    error.is_transient() && began.elapsed() < PATIENCE,
                    "{error}"
                ),
            }
        };
        let listed = store.list(&Filter::all()).await.unwrap().instances;
        let is_known = taken.iter().any(|it| it.summary.id == id)
            || listed.iter().any(|it| it.owner == Some(asking));
        // It is answered only if its session is still there.
        let _ = tokio::time::timeout(Duration::from_secs(1), proxy.release()).await;
        let owner = other.load(id).await.unwrap().unwrap().summary.owner;
        assert!(is_known || owner.is_none(), "nobody drives it");
    }

    /// A machine that is gone in the middle of a claim cannot say so: the server lets go of what it held.
    #[tokio::test]
    async fn p1_a_claim_that_is_cut_off_in_the_middle_keeps_no_instance_from_others() {
        let (store, proxy) = behind_a_network().await;
        let (cut_off, id) = (engine(&store).await, SagaId::new());
        let other = connect(store.schema()).await;
        let heir = engine(&other).await;
        other.write(&[unowned(id)]).await.unwrap();
        proxy.hold_from("COMMIT".to_owned());
        let error = store.claim(&claim(cut_off)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        let began = Instant::now();
        while other
            .claim(&claim(heir))
            .await
            .unwrap()
            .instances
            .is_empty()
        {
            assert!(began.elapsed() < PATIENCE, "it is held still");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A plain join on the epoch would write: it sees the row as it was when its statement began.
    #[tokio::test]
    async fn p7_a_write_that_waited_for_a_claim_changes_nothing() {
        let store = store().await;
        let schema = store.schema().to_owned();
        let (id, token) = owned(&store, engine(&store).await).await;
        // A claim by another engine, held open between its statement and its commit.
        let mut other = session().await;
        run(&mut other, "BEGIN".to_owned()).await;
        run(
            &mut other,
            format!("UPDATE {schema}.saga_instance SET epoch = 2, owner = gen_random_uuid()"),
        )
        .await;
        let writing = {
            let store = store.clone();
            tokio::spawn(async move { store.write(&[progress(id, token)]).await })
        };
        until_blocked(&mut session().await, &schema).await;
        run(&mut other, "COMMIT".to_owned()).await;
        assert_eq!(writing.await.unwrap().unwrap(), [Written::Lost]);
        let snapshot = store.load(id).await.unwrap().unwrap();
        assert_eq!(snapshot.summary.epoch, 2);
        assert_eq!(snapshot.summary.state, InstanceState::Pending);
        assert!(snapshot.steps.is_empty(), "{:?}", snapshot.steps);
    }

    /// The other way round: the owner's batch is under way when others want to claim.
    #[tokio::test]
    async fn p7_a_claim_leaves_alone_what_a_write_holds() {
        let store = store().await;
        let schema = store.schema().to_owned();
        let owner = engine(&store).await;
        let (held, _) = owned(&store, owner).await;
        let (free, _) = owned(&store, owner).await;
        let mut writer = session().await;
        run(&mut writer, "BEGIN".to_owned()).await;
        run(
            &mut writer,
            format!("SELECT 1 FROM {schema}.saga_instance WHERE id = '{held}' FOR NO KEY UPDATE"),
        )
        .await;
        store.retire(owner).await.unwrap();
        let next = engine(&store).await;
        let claimed = store.claim(&claim(next)).await.unwrap();
        let ids = |claimed: &Claimed| -> Vec<SagaId> {
            let instances = claimed.instances.iter();
            instances.map(|snapshot| snapshot.summary.id).collect()
        };
        assert_eq!(ids(&claimed), [free]);
        run(&mut writer, "COMMIT".to_owned()).await;
        let claimed = store.claim(&claim(next)).await.unwrap();
        assert_eq!(ids(&claimed), [held]);
    }

    /// The claimer has looked at the clock and found the owner dead; the owner's renewal waits for its claim.
    #[tokio::test]
    async fn p7_a_renewal_that_waited_for_a_takeover_tells_that_the_lease_had_lapsed() {
        let store = store().await;
        let schema = store.schema().to_owned();
        let owner = engine(&store).await;
        let mut other = session().await;
        run(&mut other, "BEGIN".to_owned()).await;
        run(
            &mut other,
            format!("UPDATE {schema}.saga_engine SET lease_until = '-infinity'"),
        )
        .await;
        let renewing = {
            let store = store.clone();
            tokio::spawn(async move { store.renew(owner, HOUR).await })
        };
        until_blocked(&mut session().await, &schema).await;
        run(&mut other, "COMMIT".to_owned()).await;
        assert!(renewing.await.unwrap().unwrap().lapsed);
        assert!(!store.renew(owner, HOUR).await.unwrap().lapsed);
    }

    #[tokio::test]
    async fn a_killed_session_is_no_business_error_and_the_next_call_has_a_new_one() {
        let store = store().await;
        let owner = engine(&store).await;
        let (id, token) = owned(&store, owner).await;
        let mut admin = session().await;
        let killed = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE $1 AND pid <> pg_backend_pid()",
        )
        .bind(format!("%{}%", store.schema()))
        .fetch_all(&mut admin)
        .await
        .unwrap();
        assert!(!killed.is_empty(), "there are sessions to kill");
        let began = Instant::now();
        loop {
            match store.write(&[progress(id, token)]).await {
                Ok(written) => {
                    assert!(
                        matches!(written[..], [Written::Stored { .. }]),
                        "{written:?}"
                    );
                    break;
                }
                Err(error) => assert!(error.is_transient() && began.elapsed() < HOUR, "{error:?}"),
            }
        }
        assert_eq!(store.load(id).await.unwrap().unwrap().steps.len(), 1);
    }

    #[tokio::test]
    async fn a_value_that_no_column_holds_is_a_refusal_and_its_neighbours_can_be_written() {
        let store = store().await;
        let owner = engine(&store).await;
        let (bad, bad_token) = owned(&store, owner).await;
        let (good, good_token) = owned(&store, owner).await;
        let mut write = progress(bad, bad_token);
        if let Write::Progress(progress) = &mut write {
            progress.steps[0].name = "a\0b".to_owned();
        }
        let batch = [write, progress(good, good_token)];
        let error = store.write(&batch).await.unwrap_err();
        assert!(error.is_refusal(), "{error:?}");
        let written = store.write(&batch[1..]).await.unwrap();
        assert!(matches!(written[..], [Written::Stored { .. }]));
    }

    #[tokio::test]
    async fn p8_what_cannot_be_read_is_stuck_and_harms_no_other() {
        let store = store().await;
        let schema = store.schema().to_owned();
        let owner = engine(&store).await;
        let (damaged, _) = owned(&store, owner).await;
        let (sound, _) = owned(&store, owner).await;
        let damage =
            format!("UPDATE {schema}.saga_instance SET failure = 'no JSON' WHERE id = '{damaged}'");
        run(&mut session().await, damage).await;
        store.retire(owner).await.unwrap();
        let claimed = store.claim(&claim(engine(&store).await)).await.unwrap();
        let ids: Vec<_> = claimed.instances.iter().map(|it| it.summary.id).collect();
        assert_eq!(ids, [sound]);
        let stuck = Filter::all().state(InstanceState::Stuck);
        let stuck = store.list(&stuck).await.unwrap();
        assert_eq!(stuck.instances[0].id, damaged);
    }

    #[tokio::test]
    async fn engines_that_connect_at_once_make_the_tables_once() {
        let schema = schema();
        let stores: Vec<_> = (0..4)
            .map(|_| {
                let schema = schema.clone();
                tokio::spawn(async move { connect(&schema).await })
            })
            .collect();
        for store in stores {
            engine(&store.await.unwrap()).await;
        }
    }

    fn options(schema: &str) -> sagaz_storage::postgres::Options {
        Postgres::options(&url()).unwrap().schema(schema)
    }

    #[tokio::test]
    async fn a_pool_tells_which_database_it_is() {
        let pool = PgPool::connect(&url()).await.unwrap();
        let create = "CREATE DATABASE of_a_pool";
        // Left by an earlier run.
        let _ = sqlx::raw_sql(create).execute(&pool).await;
        let options = pool
            .connect_options()
            .as_ref()
            .clone()
            .database("of_a_pool");
        let pool = PgPool::connect_lazy_with(options);
        let store = Postgres::of_pool(&pool).await.unwrap();
        let owner = engine(&store).await;
        let (id, _) = owned(&store, owner).await;
        let mut tx = pool.begin().await.unwrap();
        let cancel = "UPDATE sagaz.saga_instance SET cancel_requested = true WHERE id = $1";
        let cancel = sqlx::query(cancel).bind(id.as_uuid());
        assert_eq!(cancel.execute(&mut *tx).await.unwrap().rows_affected(), 1);
    }

    #[tokio::test]
    async fn statements_that_are_not_prepared_do_as_well() {
        let store = options(&schema()).prepared(false).connect().await.unwrap();
        let owner = engine(&store).await;
        let (id, token) = owned(&store, owner).await;
        store.write(&[progress(id, token)]).await.unwrap();
        store.retire(owner).await.unwrap();
        let claimed = store.claim(&claim(engine(&store).await)).await.unwrap();
        assert_eq!(claimed.instances.len(), 1);
    }

    /// What the server has counted in a schema.
    struct Counts {
        updates: i64,
        /// How often a table was read as a whole.
        scans: i64,
        /// How often an instance was looked up by its id.
        by_id: i64,
        /// How many entries of indexes were read. Not of the one on the owner: when many instances end, claims pass by dead
        /// entries for a moment.
        entries: i64,
    }

    /// Once the server tells what is waited for.
    async fn counts_once(
        session: &mut PgConnection,
        schema: &str,
        are_told: impl Fn(&Counts) -> bool,
    ) -> Counts {
        let began = Instant::now();
        loop {
            let counts = counts(session, schema).await;
            if are_told(&counts) {
                return counts;
            }
            assert!(
                began.elapsed() < HOUR,
                "the server does not tell its counts"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn counts(session: &mut PgConnection, schema: &str) -> Counts {
        let row = sqlx::query(
            "SELECT sum(n_tup_upd)::bigint, sum(seq_scan)::bigint,
                (SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = $1 AND indexrelname = 'saga_instance_pkey'),
                (SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE schemaname = $1
                    AND indexrelname <> 'saga_instance_owner')
            FROM pg_stat_user_tables WHERE schemaname = $1 AND relname IN ('saga_instance', 'saga_step')",
        )
        .bind(schema)
        .fetch_one(session)
        .await
        .unwrap();
        Counts {
            updates: row.get(0),
            scans: row.get(1),
            by_id: row.get(2),
            entries: row.get(3),
        }
    }

    /// Planned while the tables are empty, as after an installation, and never told that they have grown.
    #[tokio::test]
    async fn no_statement_reads_more_as_the_tables_grow() {
        reads_no_more_as_the_tables_grow(None).await;
    }

    /// Planned when the server had looked at tables with next to nothing in them, as after a quiet night.
    #[tokio::test]
    async fn no_statement_reads_more_as_tables_grow_that_the_server_knows_to_be_small() {
        for known in [0, 1, 3] {
            reads_no_more_as_the_tables_grow(Some(known)).await;
        }
    }

    async fn reads_no_more_as_the_tables_grow(known: Option<u32>) {
        const INSTANCES: i64 = 300;
        let store = store().await;
        let schema = store.schema().to_owned();
        let mut admin = session().await;
        let quiet = format!(
            "ALTER TABLE {schema}.saga_instance SET (autovacuum_enabled = off);
            ALTER TABLE {schema}.saga_step SET (autovacuum_enabled = off)"
        );
        sqlx::raw_sql(AssertSqlSafe(quiet))
            .execute(&mut admin)
            .await
            .unwrap();
        if let Some(known) = known {
            let few = engine(&store).await;
            for _ in 0..known {
                let (id, token) = owned(&store, few).await;
                store.write(&[progress(id, token)]).await.unwrap();
            }
            for table in ["saga_instance", "saga_step"] {
                run(&mut admin, format!("VACUUM ANALYZE {schema}.{table}")).await;
            }
        }
        let before = counts(&mut admin, &schema).await;
        let owner = engine(&store).await;
        store.define(&definition()).await.unwrap();
        store.backlog().await.unwrap();
        let mut all = Vec::new();
        for _ in 0..INSTANCES {
            all.push(owned(&store, owner).await);
        }
        // All of them are owned, so that an index on the owner has many entries for each.
        for state in [InstanceState::Executing, InstanceState::Completed] {
            for (id, token) in &all {
                let mut write = progress(*id, *token);
                if let Write::Progress(progress) = &mut write {
                    progress.state = state;
                }
                store.write(&[write]).await.unwrap();
                store.claim(&claim(owner)).await.unwrap();
            }
        }
        store.renew(owner, HOUR).await.unwrap();
        store.define(&definition()).await.unwrap();
        store
            .prune(Duration::ZERO, 10, Retention::Delete)
            .await
            .unwrap();
        store
            .prune(Duration::ZERO, 10, Retention::Archive)
            .await
            .unwrap();
        let stuck = Filter::all().state(InstanceState::Stuck);
        assert!(store.list(&stuck).await.unwrap().instances.is_empty());
        assert_eq!(
            store.backlog().await.unwrap().len(),
            usize::from(known.is_some_and(|few| few > 0))
        );
        // A session tells its counts when it ends, at the latest.
        store.close().await;
        // Two of each instance, and one of its step.
        let are_told = |it: &Counts| it.updates - before.updates >= 3 * INSTANCES;
        let after = counts_once(&mut admin, &schema, are_told).await;
        assert_eq!(after.scans, before.scans);
        let by_id = after.by_id - before.by_id;
        assert!(by_id >= 2 * INSTANCES, "{by_id} by id");
        let entries = after.entries - before.entries;
        assert!(
            entries < 40 * INSTANCES,
            "{entries} index entries for {INSTANCES} instances, {known:?} known"
        );
    }

    /// Whether its session is set up for that or not, and whatever the server knew of the tables.
    #[tokio::test]
    async fn the_backlog_reads_nothing_of_what_has_ended() {
        const ENDED: i64 = 20_000;
        for prepared in [true, false] {
            let schema = schema();
            let store = options(&schema).prepared(prepared).connect().await.unwrap();
            assert!(store.backlog().await.unwrap().is_empty());
            let mut admin = session().await;
            let fill = format!(
                "ALTER TABLE {schema}.saga_instance SET (autovacuum_enabled = off);
                INSERT INTO {schema}.saga_instance (id, saga, version, fingerprint, state, epoch, ended_at, input_digest, created_at,
                    updated_at, content_type, input_text)
                SELECT gen_random_uuid(), 'shop', 1, 'graph', 'completed', 1, now(), '', now(), now(), 'application/json', '{{}}'
                FROM generate_series(1, {ENDED})"
            );
            let fill = sqlx::raw_sql(AssertSqlSafe(fill));
            fill.execute(&mut admin).await.unwrap();
            let owner = engine(&store).await;
            for _ in 0..3 {
                owned(&store, owner).await;
            }
            let before = counts(&mut admin, &schema).await;
            for _ in 0..10 {
                let backlog = store.backlog().await.unwrap();
                assert_eq!(backlog.len(), 1);
                assert_eq!(backlog[0].instances, 3);
            }
            store.close().await;
            let are_told =
                |it: &Counts| it.entries - before.entries >= 30 || it.scans > before.scans;
            let after = counts_once(&mut admin, &schema, are_told).await;
            assert_eq!(after.scans, before.scans);
            let entries = after.entries - before.entries;
            assert!(entries < 100, "{entries} index entries for 3 instances");
        }
    }

    /// Engines of the release before go on meanwhile: what they have prepared keeps its meaning.
    #[tokio::test]
    async fn what_code_of_the_second_schema_writes_is_read() {
        let schema = schema();
        let mut old = session().await;
        let migrations = [
            include_str!("../migrations/postgres/0001_instances.sql"),
            include_str!("../migrations/postgres/0002_outbox.sql"),
        ];
        run(&mut old, format!("CREATE SCHEMA {schema}")).await;
        for migration in migrations {
            let migration = migration.replace("sagaz.", &format!("{schema}."));
            let migration = sqlx::raw_sql(AssertSqlSafe(migration));
            migration.execute(&mut old).await.unwrap();
        }
        let versions = format!(
            "INSERT INTO {schema}.saga_meta VALUES ('schema_version', '2'), ('oldest_code', '1')"
        );
        run(&mut old, versions).await;
        let write = format!(
            "INSERT INTO {schema}.saga_instance (id, saga, version, fingerprint, state, epoch, ended_at, input_digest, created_at,
                updated_at, content_type, input_text)
            VALUES ($1, 'shop', 1, 'graph', 'completed', 1, now(), '', now(), now(), 'application/json', '{{}}')"
        );
        let archive = format!(
            "WITH gone AS (DELETE FROM {schema}.saga_instance WHERE id = $1 RETURNING *), archived AS (
                INSERT INTO {schema}.saga_archive SELECT * FROM gone)
            SELECT count(*) FROM gone"
        );
        let [archived, kept, later] = [(); 3].map(|()| SagaId::new());
        for id in [archived, kept] {
            let write = sqlx::query(AssertSqlSafe(write.clone())).bind(id.as_uuid());
            write.execute(&mut old).await.unwrap();
        }
        let archive_old = async |old: &mut PgConnection, id: SagaId| {
            let archive = sqlx::query_scalar(AssertSqlSafe(archive.clone())).bind(id.as_uuid());
            let moved: i64 = archive.fetch_one(old).await.unwrap();
            assert_eq!(moved, 1);
        };
        archive_old(&mut old, archived).await;

        let store = connect(&schema).await;
        let write = sqlx::query(AssertSqlSafe(write)).bind(later.as_uuid());
        write.execute(&mut old).await.unwrap();
        for id in [kept, later] {
            let snapshot = store.load(id).await.unwrap().unwrap();
            assert_eq!(
                (snapshot.input.bytes, snapshot.trace),
                (b"{}".to_vec(), None)
            );
        }
        archive_old(&mut old, later).await;
        let moved = store.prune(Duration::ZERO, 10, Retention::Archive).await;
        assert_eq!(moved.unwrap(), 1);
        for id in [archived, kept, later] {
            let snapshot = store.archived(id).await.unwrap().unwrap();
            assert_eq!(
                (snapshot.input.bytes, snapshot.trace),
                (b"{}".to_vec(), None)
            );
        }
    }

    #[tokio::test]
    async fn without_notifications_nobody_listens() {
        let options = options(&schema()).without_notifications();
        let store = options.connect().await.unwrap();
        let news = tokio::time::timeout(Duration::from_millis(50), store.news());
        assert!(news.await.is_err(), "news from nowhere");
        let listens: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%' || $1 || '%'",
        )
        .bind(store.schema())
        .fetch_one(&mut session().await)
        .await
        .unwrap();
        assert_eq!(listens, 0);
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused() {
        let schema = schema();
        connect(&schema).await.close().await;
        let newer = format!("UPDATE {schema}.saga_meta SET value = '99'");
        run(&mut session().await, newer).await;
        let error = options(&schema).connect().await.unwrap_err();
        assert!(
            matches!(error, ConnectError::NewerSchema { schema: 99, .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn tables_of_somebody_else_are_left_alone() {
        let schema = schema();
        let make = format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.saga_step (mine int)");
        run(&mut session().await, make).await;
        let error = options(&schema).connect().await.unwrap_err();
        assert!(
            error.to_string().contains("has its own `saga_step`"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_schema_name_that_needs_quotes_is_refused() {
        for name in ["", "Sagas", "a b", "a\"; DROP TABLE x", "pg_sagas", "1st"] {
            let error = options(name).connect().await.unwrap_err();
            assert!(
                matches!(error, ConnectError::SchemaName { .. }),
                "{name}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_used_is_told_in_words_that_help() {
        let mut admin = session().await;
        let _ = admin.execute("CREATE ROLE poor LOGIN").await;
        let with = |from: &str, to: &str| url().replace(from, to);
        let refused = [
            ("mysql://localhost/shop".to_owned(), "cannot be read"),
            (
                // Not the user, whose name comes first.
                format!("{}/nowhere", url().trim_end_matches("/postgres")),
                "there is no database",
            ),
            (with("postgres@", "nobody@"), "refuses the user"),
            (with("postgres@", "poor@"), "lacks a privilege"),
            ("postgres://127.0.0.1:1/shop".to_owned(), "cannot reach"),
        ];
        for (url, words) in refused {
            let connected = match Postgres::options(&url) {
                Ok(options) => options.schema(schema()).connect().await,
                Err(error) => Err(error),
            };
            let error = connected.unwrap_err().to_string();
            assert!(error.contains(words), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_replica_is_refused() {
        let read_only = format!("{}?options=-c%20default_transaction_read_only%3Don", url());
        let options = Postgres::options(&read_only).unwrap().schema(schema());
        let error = options.connect().await.unwrap_err();
        assert!(matches!(error, ConnectError::ReadOnly { .. }), "{error}");
    }

    /// Somebody else's lock, or a connection that is half dead.
    #[tokio::test]
    async fn p1_a_write_in_a_transaction_is_given_up_in_time() {
        let options = Postgres::options(&url()).unwrap().schema(schema());
        let options = options.call_timeout(Duration::from_secs(3));
        let store = options.connect().await.unwrap();
        let (id, token) = owned(&store, engine(&store).await).await;
        let mut other = PgConnection::connect(&url()).await.unwrap();
        let mut lock = other.begin().await.unwrap();
        let hold = format!("SELECT 1 FROM {}.saga_instance FOR UPDATE", store.schema());
        lock.execute(AssertSqlSafe(hold)).await.unwrap();
        let (mut tx, _guard) = store.begin().await.unwrap();
        let write = progress(id, token);
        let written = store.write_in(&mut tx, &write);
        let written = tokio::time::timeout(Duration::from_secs(10), written).await;
        let error = written.expect("it is given up").unwrap_err();
        assert!(error.is_transient(), "{error}");
        drop(tx);
        lock.rollback().await.unwrap();
        let written = store.write(&[write]).await.unwrap();
        assert!(matches!(written[0], Written::Stored { .. }));
    }
}
