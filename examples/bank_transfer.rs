//! Money moves between two PostgreSQL databases that share no transaction. Then an audit of both.
//!
//! ```sh
//! cargo run --release --features postgres --example bank_transfer -- --server postgres://postgres@localhost/postgres
//! ```
//!
//! `bank_home` is the database of the sagas: its steps take `tx`, and commit together with their records. `bank_abroad` is
//! a participant with a database of its own: what happens there is behind a barrier, which tells a repeated request from a
//! new one, and a request that comes too late. The way abroad loses requests and replies.
//!
//! Kill it at any moment and start it again: it goes on, and no cent is lost or made.

#![expect(clippy::print_stdout, reason = "what it did is printed")]

use clap::Parser;
use futures_util::{TryStreamExt, stream};
use sagaz::{barrier::ParticipantConnection, postgres::Postgres, prelude::*};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, PgTransaction, Row};
use std::{error::Error, process::ExitCode, time::Duration};

/// How many accounts each bank has, and how much is on each at first.
const ACCOUNTS: i64 = 20;
const CENTS: i64 = 100_000;

/// Every so many accounts abroad is closed, and takes no money.
const CLOSED: i64 = 7;

/// Moves money between two databases, over a way that loses requests and replies, and audits both.
#[derive(Parser)]
struct Args {
    /// A PostgreSQL server on which the databases `bank_home` and `bank_abroad` may be made
    #[arg(long, value_name = "URL")]
    server: String,
    /// How many transfers there are in all
    #[arg(long, default_value_t = 500)]
    transfers: i64,
    /// Decides who pays whom, and what is lost on the way
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Delete both databases, and begin anew
    #[arg(long)]
    fresh: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Transfer {
    number: i64,
    from: i64,
    to: i64,
    cents: i64,
}

impl Transfer {
    fn of(number: i64, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ number.unsigned_abs() << 20);
        Self {
            number,
            from: rng.i64(0..ACCOUNTS),
            to: rng.i64(0..ACCOUNTS),
            // Some are more than anybody has.
            cents: rng.i64(1..CENTS / 20) * if rng.u8(0..20) == 0 { 50 } else { 1 },
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum BankError {
    #[error("account {0} has not that much")]
    TooLittle(i64),
    #[error("account {0} is closed")]
    Closed(i64),
    #[error("the request, or the reply to it, was lost")]
    Lost,
    #[error(transparent)]
    Barrier(#[from] BarrierError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl IntoStepError for BankError {
    fn into_step_error(self) -> StepError {
        match self {
            Self::TooLittle(_) | Self::Closed(_) => StepError::permanent(self),
            Self::Barrier(error) => error.into_step_error(),
            Self::Lost | Self::Database(_) => StepError::retryable(self),
        }
    }
}

struct TransferMoney {
    abroad: PgPool,
    seed: u64,
}

impl TransferMoney {
    /// Whether something is lost on this trip.
    fn loses(&self, ctx: &StepContext<'_>, transfer: &Transfer, place: u64) -> bool {
        let trip = u64::from(ctx.attempt()) << 8 | place << 1 | u64::from(ctx.is_compensation());
        let mut rng =
            fastrand::Rng::with_seed(self.seed ^ transfer.number.unsigned_abs() << 24 ^ trip);
        rng.u64(..) % 10 < 3
    }
}

#[saga(name = "transfer-money", input = Transfer)]
impl TransferMoney {
    // The money, the output and the record of the step: one commit.
    #[step]
    async fn debit(
        &self,
        tx: &mut PgTransaction<'_>,
        transfer: &Transfer,
    ) -> Result<i64, BankError> {
        let sql =
            "UPDATE account SET cents = cents - $2 WHERE id = $1 AND cents >= $2 RETURNING cents";
        let left = sqlx::query_scalar(sql)
            .bind(transfer.from)
            .bind(transfer.cents);
        let left = left.fetch_optional(&mut **tx).await?;
        left.ok_or(BankError::TooLittle(transfer.from))
    }

    #[compensate("debit")]
    async fn give_back(
        &self,
        tx: &mut PgTransaction<'_>,
        transfer: &Transfer,
    ) -> Result<(), BankError> {
        let sql = "UPDATE account SET cents = cents + $2 WHERE id = $1";
        let back = sqlx::query(sql).bind(transfer.from).bind(transfer.cents);
        back.execute(&mut **tx).await?;
        mark(tx, transfer, "refused").await
    }

    #[step(depends_on = ["debit"], timeout = "5s", retry(attempts = 3, initial = "20ms"))]
    async fn credit(&self, ctx: &StepContext<'_>, transfer: &Transfer) -> Result<i64, BankError> {
        if self.loses(ctx, transfer, 1) {
            return Err(BankError::Lost);
        }
        let mut tx = self.abroad.begin().await?;
        let credited = ctx
            .barrier(&mut tx, async |tx| credit(tx, transfer).await)
            .await?;
        tx.commit().await?;
        if self.loses(ctx, transfer, 2) {
            return Err(BankError::Lost);
        }
        Ok(credited)
    }

    // Whether the money arrived, the barrier knows, also where nobody here does.
    #[compensate("credit")]
    async fn take_back(&self, ctx: &StepContext<'_>, transfer: &Transfer) -> Result<(), BankError> {
        let mut tx = self.abroad.begin().await?;
        let taken = ctx.undo_barrier(&mut tx, async |tx, _: Option<i64>| {
            let sql = "UPDATE account SET cents = cents - $2 WHERE id = $1";
            let take = sqlx::query(sql).bind(transfer.to).bind(transfer.cents);
            take.execute(tx).await?;
            Ok::<_, BankError>(())
        });
        taken.await?;
        tx.commit().await?;
        if self.loses(ctx, transfer, 3) {
            Err(BankError::Lost)
        } else {
            Ok(())
        }
    }

    #[step(depends_on = ["credit"])]
    async fn close(
        &self,
        tx: &mut PgTransaction<'_>,
        transfer: &Transfer,
    ) -> Result<(), BankError> {
        mark(tx, transfer, "done").await
    }
}

async fn credit(tx: &mut PgConnection, transfer: &Transfer) -> Result<i64, BankError> {
    let sql = "UPDATE account SET cents = cents + $2 WHERE id = $1 AND NOT closed RETURNING cents";
    let sum = sqlx::query_scalar(sql)
        .bind(transfer.to)
        .bind(transfer.cents);
    sum.fetch_optional(tx)
        .await?
        .ok_or(BankError::Closed(transfer.to))
}

async fn mark(
    tx: &mut PgTransaction<'_>,
    transfer: &Transfer,
    state: &str,
) -> Result<(), BankError> {
    let mark = sqlx::query("UPDATE transfer SET state = $2 WHERE number = $1");
    mark.bind(transfer.number)
        .bind(state)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprint!("bank_transfer: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::from(2)
        }
    }
}

async fn run(args: Args) -> Result<bool, Box<dyn Error>> {
    // Says clearly what is wrong with the server, before anything is made.
    let home = database(&args, "bank_home").await?;
    let abroad = database(&args, "bank_abroad").await?;
    let store = Postgres::connect(&home).await?;
    let (home, abroad) = (
        PgPool::connect(&home).await?,
        PgPool::connect(&abroad).await?,
    );
    // The two belong together, and to one seed: whatever was interrupted, they do not begin with each other's past.
    let begun = open_bank(
        &home,
        true,
        &format!("{} with --seed {}", fastrand::u64(..), args.seed),
    )
    .await?;
    let with_it = open_bank(&abroad, false, &begun).await?;
    if begun != with_it || !begun.ends_with(&format!("--seed {}", args.seed)) {
        return Err("bank_home and bank_abroad were begun apart, or with another --seed; --fresh begins anew".into());
    }
    let saga = TransferMoney {
        abroad: abroad.clone(),
        seed: args.seed,
    };
    let engine = Engine::builder(store)
        .register(saga)
        .lease(Duration::from_secs(3))
        .start()
        .await?;

    let outcomes: Vec<_> = stream::iter((0..args.transfers).map(Ok))
        .map_ok(async |number| order(&engine, &home, Transfer::of(number, args.seed)).await)
        .try_buffer_unordered(64)
        .try_collect()
        .await?;
    let done = outcomes.iter().filter(|is_done| **is_done).count();
    println!(
        "{} transfers: {done} done, {} refused",
        outcomes.len(),
        outcomes.len() - done
    );
    engine.shutdown().await;
    audit(&home, &abroad, args.seed).await
}

/// What a web server would do with a request: the transfer's row and the start of its saga are one commit.
async fn order(
    engine: &Engine<Postgres>,
    home: &PgPool,
    transfer: Transfer,
) -> Result<bool, Box<dyn Error>> {
    let mut tx = home.begin().await?;
    let sql = "INSERT INTO transfer (number, state) VALUES ($1, 'open') ON CONFLICT DO NOTHING";
    sqlx::query(sql)
        .bind(transfer.number)
        .execute(&mut *tx)
        .await?;
    let key = format!("transfer {}", transfer.number);
    let handle = engine
        .start_in::<TransferMoney>(&mut tx, transfer)
        .key(key)
        .await?;
    tx.commit().await?;
    match handle.outcome().await? {
        Outcome::Completed(_) => Ok(true),
        Outcome::RolledBack(_) => Ok(false),
        Outcome::Stuck(stuck) => {
            Err(format!("instance {} is stuck: {stuck:?}", handle.id()).into())
        }
    }
}

/// The URL of a database on the server, which is made if it is not there.
async fn database(args: &Args, name: &str) -> Result<String, Box<dyn Error>> {
    let (server, parameters) = args.server.split_once('?').unwrap_or((&args.server, ""));
    let address = server
        .split_once("://")
        .filter(|(scheme, _)| scheme.starts_with("postgres"));
    let (scheme, address) =
        address.ok_or("--server: write `postgres://user:password@host:5432/database`")?;
    let address = address
        .split_once('/')
        .map_or(address, |(address, _)| address);
    let mut admin = PgConnection::connect(&args.server)
        .await
        .map_err(|error| format!("cannot connect to --server: {error}"))?;
    if args.fresh {
        let drop = AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        sqlx::raw_sql(drop).execute(&mut admin).await?;
    }
    let exists = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(name);
    if exists.fetch_optional(&mut admin).await?.is_none() {
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut admin).await?;
    }
    Ok(format!("{scheme}://{address}/{name}?{parameters}"))
}

/// Gives what the bank was begun as.
async fn open_bank(bank: &PgPool, is_home: bool, beginning: &str) -> Result<String, sqlx::Error> {
    let mut tx = bank.begin().await?;
    let tables = "CREATE TABLE IF NOT EXISTS beginning (one bool PRIMARY KEY, name text NOT NULL);
        CREATE TABLE IF NOT EXISTS account (
            id bigint PRIMARY KEY, cents bigint NOT NULL CHECK (cents >= 0), closed boolean NOT NULL);
        CREATE TABLE IF NOT EXISTS transfer (number bigint PRIMARY KEY, state text NOT NULL)";
    sqlx::raw_sql(tables).execute(&mut *tx).await?;
    let accounts = "INSERT INTO account
        SELECT id, $2, NOT $3 AND id % $4 = 0 FROM generate_series(0, $1 - 1) AS id ON CONFLICT DO NOTHING";
    let accounts = sqlx::query(accounts)
        .bind(ACCOUNTS)
        .bind(CENTS)
        .bind(is_home)
        .bind(CLOSED);
    accounts.execute(&mut *tx).await?;
    let begin = "INSERT INTO beginning VALUES (true, $1) ON CONFLICT DO NOTHING";
    let begin = sqlx::query(begin).bind(beginning);
    begin.execute(&mut *tx).await?;
    let name = sqlx::query_scalar("SELECT name FROM beginning");
    let name = name.fetch_one(&mut *tx).await?;
    tx.commit().await?;
    if !is_home {
        bank.acquire().await?.create_barrier().await?;
    }
    Ok(name)
}

/// Whether every account is what the transfers that are done make of it.
async fn audit(home: &PgPool, abroad: &PgPool, seed: u64) -> Result<bool, Box<dyn Error>> {
    let accounts = usize::try_from(ACCOUNTS)?;
    let mut wanted = [vec![CENTS; accounts], vec![CENTS; accounts]];
    let transfers =
        sqlx::query("SELECT number, state FROM transfer ORDER BY number").fetch_all(home);
    for row in transfers.await? {
        let transfer = Transfer::of(row.try_get("number")?, seed);
        if row.try_get::<&str, _>("state")? == "done" {
            wanted[0][usize::try_from(transfer.from)?] -= transfer.cents;
            wanted[1][usize::try_from(transfer.to)?] += transfer.cents;
        }
    }
    let mut is_right = true;
    for (bank, (name, wanted)) in [home, abroad]
        .into_iter()
        .zip(["home", "abroad"].into_iter().zip(&wanted))
    {
        let accounts =
            sqlx::query_scalar::<_, i64>("SELECT cents FROM account ORDER BY id").fetch_all(bank);
        for (id, (cents, wanted)) in accounts.await?.into_iter().zip(wanted).enumerate() {
            if cents != *wanted {
                println!("account {id} {name} has {cents} cents, and {wanted} by the transfers");
                is_right = false;
            }
        }
    }
    let sql = "SELECT state, count(*) FROM saga_barrier GROUP BY state ORDER BY state";
    for row in sqlx::query(sql).fetch_all(abroad).await? {
        println!(
            "barrier: {} {}",
            row.try_get::<i64, _>(1)?,
            row.try_get::<&str, _>(0)?
        );
    }
    println!(
        "{}",
        if is_right {
            "the books balance"
        } else {
            "THE BOOKS DO NOT BALANCE"
        }
    );
    Ok(is_right)
}
