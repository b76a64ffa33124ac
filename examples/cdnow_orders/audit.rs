//! The audit: do the books of the services agree with what the store says of the sagas?
//!
//! The auditor takes nobody's word for what this process did. It reads what is stored of every saga through the library's public
//! interface, so from any store, puts it beside the books, and asks in SQL; so it is as strict after ten crashes as after none.
//! Each check is a query for what speaks against a statement, and finds nothing.
//!
//! It is stricter than the library promises in one case: a process that was paused for longer than its lease, and then goes
//! on, may finish an attempt that it had begun while another process has long gone on.

use crate::{orders::Order, report::dollars, run};
use futures_util::{StreamExt, TryStreamExt, stream};
use sagaz::{Snapshot, prelude::*, store::Store};
use serde_json::{Value, json};
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use std::{error::Error, path::Path};

/// A statement, and everything that speaks against it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) statement: String,
    pub(crate) faults: Vec<String>,
}

const PREPARE: &str = "
    -- Which step asks which service, and how far into the saga: labels and points are asked side by side.
    CREATE TEMP TABLE trade (service TEXT PRIMARY KEY, step TEXT, stage INTEGER);
    INSERT INTO trade VALUES
        ('stock', 'reserve_stock', 1),
        ('payments', 'charge_payment', 2),
        ('labels', 'print_label', 3),
        ('loyalty', 'award_points', 3),
        ('courier', 'book_courier', 4),
        ('mail', 'send_confirmation', 5);

    -- The orders that there are.
    CREATE TEMP TABLE ordered (order_no INTEGER PRIMARY KEY);

    -- How each order ended, and what each service has to hold for it if it completed.
    CREATE TEMP TABLE ending (state TEXT, order_no INTEGER, quantity INTEGER, cents INTEGER);
    CREATE INDEX ending_order ON ending (order_no);
    CREATE TEMP VIEW due AS
        SELECT order_no, service,
            CASE service WHEN 'stock' THEN quantity WHEN 'payments' THEN cents WHEN 'loyalty' THEN cents / 100 ELSE 1 END AS amount
        FROM ending JOIN trade WHERE state = 'completed';

    -- What each saga has stored of its steps.
    CREATE TEMP TABLE output (order_no INTEGER, step TEXT, serial INTEGER);
    CREATE INDEX output_order ON output (order_no);

    -- What each service holds: what it did and did not take back.
    CREATE TEMP VIEW held AS
        SELECT service, order_no, amount FROM entry
        WHERE NOT EXISTS (SELECT 1 FROM void WHERE void.service = entry.service AND void.order_no = entry.order_no);
";

/// JSON arrays to rows, many at a time.
const FILL: [&str; 3] = [
    "INSERT INTO ordered SELECT value FROM json_each(?)",
    "INSERT INTO ending SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)",
    "INSERT INTO output SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)",
];

const CHECKS: [(&str, &str); 8] = [
    (
        "every order has one saga, which has ended and needs no operator",
        "SELECT format('order %d: its saga is %s', order_no, state) FROM ending WHERE state NOT IN ('completed', 'rolled_back')
         UNION ALL
         SELECT format('order %d has no saga', order_no) FROM ordered WHERE order_no NOT IN (SELECT order_no FROM ending)
         UNION ALL
         SELECT format('order %d has %d sagas', order_no, count(*)) FROM ending GROUP BY order_no HAVING count(*) > 1",
    ),
    (
        "a completed order holds what it has to of each service",
        "SELECT format('order %d: %s does not hold %d', order_no, service, amount) FROM due
         WHERE NOT EXISTS (
             SELECT 1 FROM held
             WHERE held.order_no = due.order_no AND held.service = due.service AND held.amount = due.amount
         )",
    ),
    (
        "any other order holds nothing: no stock, charge, label, points, shipment, mail",
        "SELECT format('order %d: %s holds %d', order_no, service, amount) FROM held
         WHERE order_no NOT IN (SELECT order_no FROM ending WHERE state = 'completed')",
    ),
    (
        "nothing was charged, or done, twice",
        "SELECT format('order %d: %s did it %d times', order_no, service, count(*))
         FROM entry GROUP BY order_no, service HAVING count(*) > 1",
    ),
    (
        "what the sagas stored is what the services answered",
        "SELECT format('order %d: its saga has %s number %d', output.order_no, trade.service, output.serial)
         FROM output JOIN trade USING (step) LEFT JOIN entry USING (serial)
         WHERE entry.order_no IS NOT output.order_no OR entry.service IS NOT trade.service
         UNION ALL
         SELECT format('order %d: its saga lacks what %s answered', order_no, service) FROM due JOIN trade USING (service)
         WHERE NOT EXISTS (SELECT 1 FROM output WHERE output.order_no = due.order_no AND output.step = trade.step)",
    ),
    (
        "no step ran again after its output was stored",
        // A step begins when the outputs before it are stored: from its first request on, no earlier service is asked.
        "SELECT format('order %d: %s was asked after a later service: %s', order_no, service, key) FROM (
             SELECT order_no, service, key, stage, max(stage) OVER (PARTITION BY order_no ORDER BY seq) AS reached
             FROM call JOIN trade USING (service) WHERE NOT undo
         ) WHERE stage < reached",
    ),
    (
        "the last thing done was undone first",
        "SELECT format('order %d: %s was undone after an earlier service: %s', order_no, service, key) FROM (
             SELECT order_no, service, key, stage, min(stage) OVER (PARTITION BY order_no ORDER BY seq) AS reached
             FROM call JOIN trade USING (service) WHERE undo
         ) WHERE stage > reached",
    ),
    (
        "nothing was undone of a completed order",
        "SELECT format('order %d: %s', order_no, service) FROM void
         WHERE order_no IN (SELECT order_no FROM ending WHERE state = 'completed')",
    ),
];

pub(crate) async fn audit<S: Store>(
    engine: &Engine<S>,
    orders: &[Order],
    books: &Path,
) -> Result<Vec<Finding>, Box<dyn Error>> {
    // Its own tables are in memory; the books are only read.
    let options = SqliteConnectOptions::new()
        .filename(books)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("temp_store", "MEMORY");
    let mut auditor = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql(PREPARE).execute(&mut auditor).await?;
    let (endings, outputs) = read_sagas(engine).await?;
    let ordered = orders.iter().map(|order| json!(order.number)).collect();
    for (fill, rows) in FILL.into_iter().zip([ordered, endings, outputs]) {
        sqlx::query(fill)
            .bind(Value::Array(rows).to_string())
            .execute(&mut auditor)
            .await?;
    }

    let mut findings = vec![money(&mut auditor).await?];
    for (statement, query) in CHECKS {
        let faults = sqlx::query_scalar(query).fetch_all(&mut auditor).await?;
        findings.push(Finding {
            statement: statement.to_owned(),
            faults,
        });
    }
    auditor.close().await?;
    Ok(findings)
}

/// Some instances are read at once, each with its steps.
const READ_AT_ONCE: usize = 8;

/// Of every saga how it ended, and of every step that has one its output.
async fn read_sagas<S: Store>(
    engine: &Engine<S>,
) -> Result<(Vec<Value>, Vec<Value>), Box<dyn Error>> {
    let sagas = run::list(engine, Filter::all()).await?;
    let snapshots: Vec<Option<Snapshot>> = stream::iter(sagas)
        .map(async |saga| engine.inspect(saga.id).await)
        .buffer_unordered(READ_AT_ONCE)
        .try_collect()
        .await?;
    let (mut endings, mut outputs) = (Vec::new(), Vec::new());
    for saga in snapshots.into_iter().flatten() {
        let order: Order = serde_json::from_slice(&saga.input.bytes)?;
        endings.push(json!([
            saga.summary.state.to_string(),
            order.number,
            order.quantity,
            order.cents
        ]));
        for step in &saga.steps {
            if let Some(output) = &step.output {
                let output: Value = serde_json::from_slice(&output.bytes)?;
                outputs.push(json!([order.number, step.name, output["serial"]]));
            }
        }
    }
    Ok((endings, outputs))
}

async fn money(auditor: &mut SqliteConnection) -> Result<Finding, sqlx::Error> {
    let (captured, completed): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT ifnull(sum(amount), 0) FROM held WHERE service = 'payments'),
                (SELECT ifnull(sum(cents), 0) FROM ending WHERE state = 'completed')",
    )
    .fetch_one(auditor)
    .await?;
    let (captured, completed) = (captured.cast_unsigned(), completed.cast_unsigned());
    let difference = format!("they differ by {}", dollars(captured.abs_diff(completed)));
    Ok(Finding {
        statement: format!(
            "captured {} = completed orders {}",
            dollars(captured),
            dollars(completed)
        ),
        faults: if captured == completed {
            Vec::new()
        } else {
            vec![difference]
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{books::Books, desk, saga::OrderProcessing};
    use sagaz::sqlite::Sqlite;

    const ORDERS: u32 = 60;

    /// The statements that have faults when some of 60 orders were processed, and then this SQL was applied to the books and
    /// the store.
    async fn refuted_after(started: usize, tampering: &'static str) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let (store_path, books_path) = (
            folder.path().join("orders.db"),
            folder.path().join("books.db"),
        );
        let books = Books::open(&books_path).await.unwrap();
        let store = Sqlite::open(&store_path).await.unwrap();
        let saga = desk::shop(&books, 5);
        let engine = Engine::builder(store).register(saga).start().await.unwrap();
        let order = |number| Order {
            number,
            customer: 1,
            date: "1997-01-01".into(),
            quantity: 2,
            cents: 1_000 + number,
        };
        let orders: Vec<Order> = (1..=ORDERS).map(order).collect();
        let mut handles = Vec::new();
        for order in orders.iter().take(started).cloned() {
            handles.push(engine.start::<OrderProcessing>(order).await.unwrap());
        }
        let mut rolled_back = 0;
        for handle in handles {
            rolled_back += u32::from(handle.outcome().await.unwrap().is_rolled_back());
        }
        assert!(
            rolled_back > 0,
            "with this seed some orders are rolled back"
        );

        let options = SqliteConnectOptions::new().filename(&books_path);
        let mut forger = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query("ATTACH ? AS store")
            .bind(store_path.to_str())
            .execute(&mut forger)
            .await
            .unwrap();
        sqlx::raw_sql(tampering).execute(&mut forger).await.unwrap();
        let findings = audit(&engine, &orders, &books_path).await.unwrap();
        engine.shutdown().await;
        findings
            .into_iter()
            .filter(|finding| !finding.faults.is_empty())
            .collect()
    }

    async fn assert_refuted(tampering: &'static str, statements: &[&str]) {
        assert_found(&refuted_after(ORDERS as usize, tampering).await, statements);
    }

    fn assert_found(refuted: &[Finding], statements: &[&str]) {
        let matches = refuted.len() == statements.len()
            && refuted
                .iter()
                .zip(statements)
                .all(|(finding, statement)| finding.statement.starts_with(statement));
        assert!(matches, "{refuted:#?}");
    }

    #[tokio::test]
    async fn honest_books_balance() {
        assert_refuted("", &[]).await;
    }

    #[tokio::test]
    async fn an_order_without_a_saga_is_found() {
        let refuted = refuted_after(ORDERS as usize - 1, "").await;
        assert_found(&refuted, &["every order has one saga"]);
        assert_eq!(refuted[0].faults, ["order 60 has no saga"]);
    }

    #[tokio::test]
    async fn a_charge_that_is_left_is_found() {
        assert_refuted(
            "DELETE FROM void WHERE service = 'payments'",
            &["captured", "any other order holds nothing"],
        )
        .await;
    }

    #[tokio::test]
    async fn a_second_charge_is_found() {
        let tampering = "INSERT INTO entry (service, order_no, key, amount)
            SELECT service, order_no, 'again', amount FROM entry WHERE service = 'payments' AND order_no = 1";
        assert_refuted(
            tampering,
            &["captured", "nothing was charged, or done, twice"],
        )
        .await;
    }

    #[tokio::test]
    async fn a_wrong_amount_is_found() {
        let tampering = "UPDATE entry SET amount = 3 WHERE service = 'stock' AND order_no = 1";
        assert_refuted(tampering, &["a completed order holds"]).await;
    }

    #[tokio::test]
    async fn an_undone_step_of_a_completed_order_is_found() {
        let tampering = "INSERT INTO void (service, order_no) VALUES ('labels', 1)";
        assert_refuted(
            tampering,
            &[
                "a completed order holds",
                "nothing was undone of a completed order",
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn a_step_that_ran_again_is_found() {
        let tampering = "INSERT INTO call (service, order_no, key, undo, nth) VALUES ('payments', 1, 'again', 0, 2)";
        assert_refuted(tampering, &["no step ran again"]).await;
    }

    #[tokio::test]
    async fn undoing_in_the_wrong_order_is_found() {
        let tampering = "INSERT INTO call (service, order_no, key, undo, nth)
            SELECT 'labels', order_no, 'late', 1, 1 FROM void WHERE service = 'stock' LIMIT 1";
        assert_refuted(tampering, &["the last thing done was undone first"]).await;
    }

    #[tokio::test]
    async fn an_output_that_the_service_never_gave_is_found() {
        let tampering = "UPDATE entry SET serial = serial + 10000 WHERE service = 'labels'";
        assert_refuted(tampering, &["what the sagas stored"]).await;
    }

    #[tokio::test]
    async fn an_output_that_the_store_has_lost_is_found() {
        let tampering = "DELETE FROM store.saga_step WHERE name = 'print_label'";
        assert_refuted(tampering, &["what the sagas stored"]).await;
    }
}
