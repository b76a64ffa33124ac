//! A consumer: what it writes for an event is there once, however often the event is delivered and whenever the consumer dies.

use crate::Place;
use sagaz::{
    Event,
    brokers::{AnySubscriber, Options, Routes, Subscription},
    outbox::{Consumer, HandlerError, Inbox, InboxCounts, StopHandle},
    sqlite::Sqlite,
};
use serde::Deserialize;
use sqlx::{Sqlite as Database, SqlitePool, Transaction};
use std::{error::Error, process::ExitCode, time::Duration};
use tokio::io::AsyncReadExt;

/// Where all events of this example go. On RabbitMQ it is an exchange, which gives each consumer's queue a copy; a queue alone would
/// be shared by the consumers.
fn topic(place: &Place) -> &'static str {
    if place.broker.starts_with("amqp") {
        "order-events/all"
    } else {
        "order-events"
    }
}

/// What a consumer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// What was paid for each order.
    Billing,
    /// Which orders are on their way.
    Shipping,
}

impl Role {
    pub(crate) const ALL: [Self; 2] = [Self::Billing, Self::Shipping];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Billing => "billing",
            Self::Shipping => "shipping",
        }
    }

    fn types(self) -> &'static [&'static str] {
        match self {
            Self::Billing => &["payment.charged", "payment.refunded"],
            Self::Shipping => &["order.shipped"],
        }
    }
}

pub(crate) fn options(place: &Place) -> Result<Options, Box<dyn Error>> {
    let routes = Routes::all_to(topic(place))?;
    Ok(Options::new().declare(true).routes(routes))
}

/// Each consumer is a group of its own: both are given every event.
pub(crate) async fn subscribe(place: &Place, role: Role) -> Result<AnySubscriber, Box<dyn Error>> {
    // What a killed consumer had not acknowledged is given to its successor after this, where the broker does not see that it is dead.
    let subscription =
        Subscription::new(role.name(), [topic(place)]).redeliver_after(Duration::from_secs(8));
    Ok(options(place)?
        .subscribe(&place.broker, subscription)
        .await?)
}

/// What the read model is, and the file that it is in.
const VIEW: &str = "CREATE TABLE IF NOT EXISTS order_view (
    order_no INTEGER PRIMARY KEY, paid_cents INTEGER NOT NULL DEFAULT 0, shipped INTEGER NOT NULL DEFAULT 0
)";

pub(crate) async fn open_view(place: &Place) -> Result<SqlitePool, Box<dyn Error>> {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(place.folder.join("view.db"))
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(10))
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::raw_sql(VIEW).execute(&pool).await?;
    Ok(pool)
}

/// The data of `payment.charged`: of what the step gave, what this consumer needs.
#[derive(Deserialize)]
struct Payment {
    cents: u32,
}

/// What an event means for the read model. It is written in the transaction that also records that the event was handled.
async fn apply(event: &Event, tx: &mut Transaction<'static, Database>) -> Result<(), HandlerError> {
    let order: i64 = event
        .ordering_key()
        .ok_or("the event has no key")?
        .parse()?;
    let (column, value) = match event.event_type() {
        "payment.charged" => ("paid_cents", event.decode::<Payment>()?.cents),
        "payment.refunded" => ("paid_cents", 0),
        "order.shipped" => ("shipped", 1),
        other => return Err(format!("nobody has said what `{other}` means").into()),
    };
    let upsert = format!(
        "INSERT INTO order_view (order_no, {column}) VALUES (?1, ?2) ON CONFLICT (order_no) DO UPDATE SET {column} = ?2"
    );
    sqlx::query(sqlx::AssertSqlSafe(upsert))
        .bind(order)
        .bind(value)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A consumer that is ready to run.
pub(crate) struct Ready {
    consumer: Consumer<AnySubscriber>,
    inbox: Inbox<Sqlite>,
}

impl Ready {
    pub(crate) async fn new(place: &Place, role: Role) -> Result<Self, Box<dyn Error>> {
        open_view(place).await?.close().await;
        let store = Sqlite::open(place.folder.join("view.db")).await?;
        let subscriber = subscribe(place, role).await?;
        Ok(Self {
            consumer: Consumer::new(subscriber).only(role.types().iter().copied()),
            inbox: Inbox::builder(store, role.name()).build()?,
        })
    }

    pub(crate) fn stop_handle(&self) -> StopHandle {
        self.consumer.stop_handle()
    }

    /// Until it is stopped; then tells how many events met which end.
    pub(crate) async fn run(self) -> Result<InboxCounts, sagaz::outbox::Error> {
        let inbox = self.inbox.clone();
        let running = self
            .consumer
            .run(self.inbox, |event, tx| Box::pin(apply(event, tx)));
        running.await?;
        Ok(inbox.counts())
    }
}

/// The body of a consumer process: until its standard input ends, with the process that started it.
pub(crate) async fn process(place: &Place, role: Role) -> Result<ExitCode, Box<dyn Error>> {
    let ready = Ready::new(place, role).await?;
    let stop = ready.stop_handle();
    let running = tokio::spawn(ready.run());
    let mut byte = [0];
    // Nothing is ever written.
    let _ = tokio::io::stdin().read(&mut byte).await;
    stop.stop();
    let counts = running.await??;
    eprintln!("{}: {}", role.name(), told(counts));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn told(counts: InboxCounts) -> String {
    format!(
        "{} events handled, {} more deliveries of them skipped, {} dead letters",
        counts.handled, counts.duplicates, counts.dead
    )
}
