//! A schema of a PostgreSQL server.

use super::{AnyError, Consumed, Entry, Place};
use crate::{
    order::Order,
    sagas::{Accounts, Shop, Told},
    world::World,
};
use sagaz::{
    Engine, EngineBuilder, Event, SagaId, outbox::HandlerError, postgres::Postgres,
    store::InboxStore,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

const SCHEMA: &str = "sagaz";

#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) url: String,
}

impl Schema {
    async fn connect(&self) -> Result<PgConnection, AnyError> {
        Ok(PgConnection::connect(&self.url).await?)
    }
}

impl Place for Schema {
    type Store = Postgres;

    async fn open(&self) -> Result<Postgres, AnyError> {
        let options = Postgres::options(&self.url)?.schema(SCHEMA);
        Ok(options.transactions_max(16).connect().await?)
    }

    async fn prepare(&self) -> Result<(), AnyError> {
        drop(self.open().await?);
        let create = format!(
            "CREATE TABLE {SCHEMA}.entry (
                 row bigint GENERATED ALWAYS AS IDENTITY, instance uuid NOT NULL, number bigint NOT NULL, what text NOT NULL
             );
             CREATE TABLE {SCHEMA}.consumed (event text NOT NULL, serial bigint NOT NULL)"
        );
        let mut connection = self.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut connection)
            .await?;
        Ok(())
    }

    fn register(&self, engine: EngineBuilder<Postgres>, world: &World) -> EngineBuilder<Postgres> {
        let insert = format!(
            "INSERT INTO {SCHEMA}.entry (instance, number, what) VALUES ($1, $2, $3) RETURNING row"
        );
        let world = world.clone();
        engine
            .register(Shop {
                world: world.clone(),
            })
            .register(Accounts { world, insert })
    }

    async fn start_entry(
        &self,
        engine: &Engine<Postgres>,
        order: Order,
    ) -> Result<SagaId, sagaz::Error> {
        let start = engine.start::<Accounts>(order).key(order.start_key());
        Ok(start.await?.id())
    }

    async fn consume(
        &self,
        event: &Event,
        tx: &mut <Postgres as InboxStore>::Tx,
    ) -> Result<(), HandlerError> {
        let told: Told = event.decode()?;
        let insert = format!("INSERT INTO {SCHEMA}.consumed (event, serial) VALUES ($1, $2)");
        sqlx::query(AssertSqlSafe(insert))
            .bind(event.event_id().to_string())
            .bind(i64::try_from(told.serial)?)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    async fn consumed(&self) -> Result<Vec<Consumed>, AnyError> {
        let mut connection = self.connect().await?;
        let select = format!("SELECT event, serial FROM {SCHEMA}.consumed");
        let rows = sqlx::query(AssertSqlSafe(select)).fetch_all(&mut connection);
        let consumed = rows.await?.into_iter().map(|row| {
            let serial: i64 = row.get(1);
            Consumed {
                event: row.get(0),
                serial: serial.cast_unsigned(),
            }
        });
        Ok(consumed.collect())
    }

    async fn entries(&self) -> Result<Option<Vec<Entry>>, AnyError> {
        let mut connection = self.connect().await?;
        let select = format!("SELECT instance, row, what FROM {SCHEMA}.entry ORDER BY row");
        let rows = sqlx::query(AssertSqlSafe(select)).fetch_all(&mut connection);
        let entries = rows.await?.into_iter().map(|row| {
            let id: uuid::Uuid = row.get(0);
            Entry {
                id: id.into(),
                row: row.get(1),
                what: row.get(2),
            }
        });
        Ok(Some(entries.collect()))
    }
}

impl Schema {
    /// Holds a snapshot, a transaction id, and rows of a few unfinished instances and of the outbox, until it is ended.
    pub(crate) async fn hold_rows(&self) -> Result<PgConnection, AnyError> {
        let mut connection = self.connect().await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ;
             SELECT count(*) FROM {SCHEMA}.saga_step;
             SELECT pg_current_xact_id();
             SELECT id FROM {SCHEMA}.saga_instance WHERE ended_at IS NULL LIMIT 3 FOR UPDATE SKIP LOCKED;
             SELECT seq FROM {SCHEMA}.outbox LIMIT 3 FOR UPDATE SKIP LOCKED"
        );
        sqlx::raw_sql(AssertSqlSafe(begin))
            .execute(&mut connection)
            .await?;
        Ok(connection)
    }
}
