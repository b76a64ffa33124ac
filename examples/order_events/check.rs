//! Whether the read model is what the services' books say.

use crate::{Place, consume};
use sagaz::InstanceState;
use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};
use std::{collections::BTreeMap, error::Error};

/// What was paid, and whether it was shipped, by order.
pub(crate) type View = BTreeMap<i64, (i64, bool)>;

/// How the orders have ended, in words.
pub(crate) fn ended(counts: &[(String, InstanceState, u64)]) -> String {
    let of = |wanted| {
        let counts = counts.iter().filter(|(_, state, _)| *state == wanted);
        counts.map(|(.., instances)| instances).sum::<u64>()
    };
    format!(
        "{} completed, {} rolled back, {} stuck",
        of(InstanceState::Completed),
        of(InstanceState::RolledBack),
        of(InstanceState::Stuck)
    )
}

async fn open(place: &Place, file: &str) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(place.folder.join(file))
        .read_only(true);
    SqlitePool::connect_with(options).await
}

/// How many events the broker has, by the store's archive.
pub(crate) async fn published(place: &Place) -> Result<i64, Box<dyn Error>> {
    let pool = open(place, "orders.db").await?;
    let count = sqlx::query_scalar("SELECT count(*) FROM saga_outbox_archive");
    let published = count.fetch_one(&pool).await?;
    pool.close().await;
    Ok(published)
}

/// What the services really did and did not take back.
pub(crate) async fn books(place: &Place) -> Result<View, Box<dyn Error>> {
    let pool = open(place, "books.db").await?;
    let held: Vec<(i64, i64, bool)> = sqlx::query_as(
        "SELECT order_no, sum(CASE service WHEN 'payments' THEN amount ELSE 0 END), max(service = 'courier')
         FROM entry WHERE service IN ('payments', 'courier') AND NOT EXISTS (
             SELECT 1 FROM void WHERE void.service = entry.service AND void.order_no = entry.order_no
         ) GROUP BY order_no",
    )
    .fetch_all(&pool)
    .await?;
    pool.close().await;
    Ok(significant(held))
}

/// What the consumers have written.
pub(crate) async fn view(pool: &SqlitePool) -> Result<View, Box<dyn Error>> {
    let rows = sqlx::query_as("SELECT order_no, paid_cents, shipped FROM order_view");
    Ok(significant(rows.fetch_all(pool).await?))
}

fn significant(rows: Vec<(i64, i64, bool)>) -> View {
    let rows = rows.into_iter();
    rows.filter(|(_, paid, shipped)| *paid != 0 || *shipped)
        .map(|(order, paid, shipped)| (order, (paid, shipped)))
        .collect()
}

/// Prints the comparison; whether they agree.
pub(crate) async fn compare(place: &Place) -> Result<bool, Box<dyn Error>> {
    let pool = consume::open_view(place).await?;
    let (books, view) = (books(place).await?, view(&pool).await?);
    let orders = books.keys().chain(view.keys());
    let mut differing: Vec<_> = orders
        .filter(|order| books.get(order) != view.get(order))
        .collect();
    differing.sort_unstable();
    differing.dedup();
    for order in differing.iter().take(10) {
        println!(
            "order {order}: the books say {:?}, the read model {:?}",
            books.get(order),
            view.get(order)
        );
    }
    let paid: i64 = view.values().map(|(paid, _)| paid).sum();
    let shipped = view.values().filter(|(_, shipped)| *shipped).count();
    println!(
        "the read model: {shipped} orders shipped, {}.{:02} paid; {}",
        paid / 100,
        paid % 100,
        if differing.is_empty() {
            "as in the books"
        } else {
            "NOT as in the books"
        }
    );
    Ok(differing.is_empty())
}
