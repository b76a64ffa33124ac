//! A saga whose steps write in the database of the store, in the transactions that store their outputs: each effect is there
//! exactly once, without a key and without anything that looks for a repetition.

use crate::{
    events::tell,
    places::{Place, Schema},
    worker::{Buy, CallResult, Purchase, Trouble, purchases},
};
use sagaz::{Filter, InstanceState, Saga, StepContext, compensate, saga, step, store::SagaStore};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgTransaction, Row};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// One purchase of so many is booked.
pub(crate) const ONE_OF: u32 = 5;

/// Those that are booked.
pub(crate) fn booked(count: u32) -> impl Iterator<Item = Purchase> {
    purchases(count / ONE_OF)
}

pub(crate) struct Book {
    /// Statements that add a line, and say its number.
    insert: String,
}

impl Book {
    /// With the table of entries in the schema of the sagas.
    pub(crate) async fn on(place: &Schema) -> Self {
        let table = format!("{}.entry", place.name);
        // Workers that begin at the same time must not make it side by side.
        let create = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(17);
             CREATE TABLE IF NOT EXISTS {table} (
                 id bigint GENERATED ALWAYS AS IDENTITY, number bigint NOT NULL, what text NOT NULL
             );
             COMMIT"
        );
        let mut connection = connect(place).await;
        let create = sqlx::raw_sql(AssertSqlSafe(create));
        connection.execute(create).await.unwrap();
        Self {
            insert: format!("INSERT INTO {table} (number, what) VALUES ($1, $2) RETURNING id"),
        }
    }

    async fn add(
        &self,
        tx: &mut PgTransaction<'_>,
        purchase: &Purchase,
        what: &str,
    ) -> CallResult<i64> {
        let added = sqlx::query_scalar(AssertSqlSafe(self.insert.clone()))
            .bind(i64::from(purchase.number))
            .bind(what.to_owned())
            .fetch_one(&mut **tx)
            .await
            .map_err(|_| Trouble::Unreachable);
        // So that many a process is killed, and the server crashes, between this write and its commit.
        sleep(Duration::from_millis(Buy::dice(purchase.number, 8, 40))).await;
        added
    }
}

#[saga(name = "book", input = Purchase)]
impl Book {
    #[step(retry(attempts = 20, initial = "50ms", max = "1s"))]
    async fn enter(
        &self,
        ctx: &StepContext<'_>,
        purchase: &Purchase,
        tx: &mut PgTransaction<'_>,
    ) -> CallResult<i64> {
        tell(ctx, purchase).expect("such an event can be published");
        self.add(tx, purchase, "enter").await
    }

    #[compensate(enter, retry(forever, initial = "50ms", max = "1s"))]
    async fn reverse(
        &self,
        ctx: &StepContext<'_>,
        purchase: &Purchase,
        tx: &mut PgTransaction<'_>,
    ) -> CallResult<()> {
        tell(ctx, purchase).expect("such an event can be published");
        self.add(tx, purchase, "reverse").await.map(|_| ())
    }

    #[step(depends_on = [enter], no_compensation)]
    async fn approve(&self, ctx: &StepContext<'_>, purchase: &Purchase) -> CallResult<()> {
        tell(ctx, purchase).expect("such an event can be published");
        sleep(Duration::from_millis(Buy::dice(purchase.number, 6, 40))).await;
        match Buy::dice(purchase.number, 7, 8) {
            0 => Err(Trouble::Refused),
            _ => Ok(()),
        }
    }

    #[step(depends_on = [approve], retry(attempts = 20, initial = "50ms", max = "1s"))]
    async fn settle(
        &self,
        ctx: &StepContext<'_>,
        purchase: &Purchase,
        tx: &mut PgTransaction<'_>,
    ) -> CallResult<i64> {
        tell(ctx, purchase).expect("such an event can be published");
        self.add(tx, purchase, "settle").await
    }
}

async fn connect(place: &Schema) -> PgConnection {
    // That it answers is known after this.
    drop(place.open().await);
    PgConnection::connect(&place.url).await.unwrap()
}

/// What is entered is what the instances say, each of it once.
pub(crate) async fn audit_book(place: &Schema, count: u32) {
    let mut connection = connect(place).await;
    let query = format!(
        "SELECT number, what, id FROM {}.entry ORDER BY id",
        place.name
    );
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut connection);
    let mut entries: BTreeMap<i64, Vec<(String, i64)>> = BTreeMap::new();
    for row in rows.await.unwrap() {
        let entry = (row.get("what"), row.get("id"));
        entries.entry(row.get("number")).or_default().push(entry);
    }

    let store = place.open().await;
    let mut filter = Filter::all().saga(Book::DEFINITION.name).limit(1_000);
    let (mut ended, mut reversed) = (0, 0);
    loop {
        let page = store.list(&filter).await.unwrap();
        for summary in page.instances {
            let id = summary.id;
            let instance = store.load(id).await.unwrap().unwrap();
            let purchase: Purchase = serde_json::from_slice(&instance.input.bytes).unwrap();
            let entries = entries.remove(&i64::from(purchase.number));
            let (what, numbers): (Vec<_>, Vec<_>) = entries.unwrap_or_default().into_iter().unzip();
            match summary.state {
                InstanceState::Completed => {
                    assert_eq!(what, ["enter", "settle"], "instance {id}");
                    let stored = ["enter", "settle"].map(|step| {
                        let row = instance.steps.iter().find(|row| row.name == step);
                        let output = row.and_then(|row| row.output.as_ref()).unwrap();
                        serde_json::from_slice::<i64>(&output.bytes).unwrap()
                    });
                    assert_eq!(numbers, stored, "instance {id}");
                }
                InstanceState::RolledBack => {
                    assert!(
                        what == ["enter", "reverse"] || what.is_empty(),
                        "instance {id}: {what:?}"
                    );
                    reversed += 1;
                }
                state => panic!("instance {id} is {state}"),
            }
            ended += 1;
        }
        match page.next {
            Some(next) => filter = filter.after(next),
            None => break,
        }
    }
    assert_eq!(entries.len(), 0, "entries of no instance: {entries:?}");
    assert_eq!(ended, booked(count).count(), "one instance a start key");
    assert!(reversed > 0, "with these purchases some are reversed");
}
