//! The sagas: an order that asks services of others, and an entry that writes in the database of its store.
//!
//! ```text
//!            ┌─▶ charge ─┐
//! reserve ─▶ ┤           ├─▶ dispatch ─▶ confirm           enter ─▶ approve ─▶ settle
//!            └─▶ label ──┘   (pivot)                        (tx)               (tx)
//! ```
//!
//! Each attempt publishes what it did, under the serial of its own call: so an event of an attempt that was not stored is known from
//! one of an attempt that was.

use crate::{
    ledger::{Effect, Request},
    order::{Order, Step},
    world::World,
};
use sagaz::{Event, IntoStepError, StepContext, StepError, compensate, saga, step};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgTransaction};
use tokio::time::sleep;

/// What a step returns: the call in the ledger that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) serial: u64,
}

/// The data of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The call that it tells of.
    pub(crate) serial: u64,
}

#[derive(Debug)]
pub(crate) enum Trouble {
    Refused,
    Deaf,
    Other(StepError),
}

impl IntoStepError for Trouble {
    fn into_step_error(self) -> StepError {
        match self {
            Self::Refused => StepError::permanent("refused"),
            Self::Deaf => StepError::retryable("nobody answers"),
            Self::Other(error) => error,
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Other(StepError::retryable(error))
    }
}

type CallResult<T = Receipt> = Result<T, Trouble>;

/// Tells what this attempt has done, before it is sure that it completes.
fn tell(ctx: &StepContext<'_>, order: &Order, serial: u64) -> CallResult<()> {
    let what = if ctx.is_compensation() {
        "undone"
    } else {
        "done"
    };
    let mut event = Event::new(format!("{}.{what}", ctx.step()), &Told { serial });
    if let Some(key) = order.event_key() {
        event = event.key(key);
    }
    ctx.publish(event)
        .map_err(|error| Trouble::Other(StepError::permanent(error)))
}

/// An order, with services that are asked through the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    pub(crate) world: World,
}

impl Shop {
    async fn act(&self, ctx: &StepContext<'_>, order: &Order, step: Step) -> CallResult {
        let request = Request::of(ctx)?;
        let serial = self.world.call(request.clone()).await?;
        tell(ctx, order, serial)?;
        sleep(order.pause(step, false)).await;
        match self.world.take_effect(request, order, serial).await? {
            Effect::Done | Effect::Repeated => Ok(Receipt { serial }),
            // It comes after its undo: it has no effect, and never will.
            Effect::Refused => Err(Trouble::Refused),
        }
    }

    async fn undo(&self, ctx: &StepContext<'_>, order: &Order, step: Step) -> CallResult<()> {
        let request = Request::of(ctx)?;
        let serial = self.world.call_undo(request.clone()).await?;
        tell(ctx, order, serial)?;
        sleep(order.pause(step, true)).await;
        self.world.undo(request).await?;
        Ok(())
    }
}

#[saga(name = "order", input = Order)]
impl Shop {
    #[step(retry(attempts = 4, initial = "20ms"))]
    async fn reserve(&self, ctx: &StepContext<'_>, order: &Order) -> CallResult {
        self.act(ctx, order, Step::Reserve).await
    }

    #[compensate(reserve, retry(forever, initial = "20ms", max = "1s"))]
    async fn release(&self, ctx: &StepContext<'_>, order: &Order) -> CallResult<()> {
        self.undo(ctx, order, Step::Reserve).await
    }

    #[step(depends_on = [reserve], timeout = "1s", retry(attempts = 6, initial = "20ms"))]
    async fn charge(&self, ctx: &StepContext<'_>, order: &Order) -> CallResult {
        if order.is_charge_refused() {
            self.world.call(Request::of(ctx)?).await?;
            return Err(Trouble::Refused);
        }
        let receipt = self.act(ctx, order, Step::Charge).await?;
        if ctx.attempt() == 1 && order.is_charge_hidden() {
            // The money is taken, and the answer never comes.
            std::future::pending::<()>().await;
        }
        Ok(receipt)
    }

    #[compensate(charge, retry(forever, initial = "20ms", max = "1s"))]
    async fn refund(&self, ctx: &StepContext<'_>, order: &Order) -> CallResult<()> {
        if ctx.attempt() == 1 && order.is_undo_busy() {
            return Err(Trouble::Deaf);
        }
        self.undo(ctx, order, Step::Charge).await
    }

    #[step(depends_on = [reserve], retry(attempts = 3, initial = "20ms"))]
    async fn label(&self, ctx: &StepContext<'_>, order: &Order) -> CallResult {
        if order.is_label_deaf() {
            self.world.call(Request::of(ctx)?).await?;
            return Err(Trouble::Deaf);
        }
        self.act(ctx, order, Step::Label).await
    }

    #[compensate(label, retry(forever, initial = "20ms", max = "1s"))]
    async fn void(&self, ctx: &StepContext<'_>, order: &Order) -> CallResult<()> {
        self.undo(ctx, order, Step::Label).await
    }

    #[step(depends_on = [charge, label], pivot, retry(forever, initial = "20ms", max = "1s"))]
    async fn dispatch(&self, ctx: &StepContext<'_>, order: &Order) -> CallResult {
        if order.is_dispatch_refused() {
            self.world.call(Request::of(ctx)?).await?;
            return Err(Trouble::Refused);
        }
        self.act(ctx, order, Step::Dispatch).await
    }

    #[step(depends_on = [dispatch], retry(forever, initial = "20ms", max = "1s"))]
    async fn confirm(&self, ctx: &StepContext<'_>, order: &Order) -> CallResult {
        if ctx.attempt() <= order.busy_confirms() {
            self.world.call(Request::of(ctx)?).await?;
            return Err(Trouble::Deaf);
        }
        self.act(ctx, order, Step::Confirm).await
    }
}

/// What transactional steps return: the row that they wrote, and the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) serial: u64,
    pub(crate) row: i64,
}

/// An entry, in a table beside those of its PostgreSQL store.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    pub(crate) world: World,
    /// A statement that adds a line, and says its number.
    pub(crate) insert: String,
}

impl Accounts {
    async fn add(
        &self,
        ctx: &StepContext<'_>,
        tx: &mut PgTransaction<'_>,
        order: &Order,
        step: Step,
    ) -> CallResult<Written> {
        let request = Request::of(ctx)?;
        let is_undo = ctx.is_compensation();
        let serial = if is_undo {
            self.world.call_undo(request).await?
        } else {
            self.world.call(request).await?
        };
        tell(ctx, order, serial)?;
        let what = if is_undo {
            format!("{step}.undone")
        } else {
            step.to_string()
        };
        let row = sqlx::query_scalar(AssertSqlSafe(self.insert.clone()))
            .bind(ctx.saga_id().as_uuid())
            .bind(i64::from(order.number))
            .bind(what)
            .fetch_one(&mut **tx)
            .await
            .map_err(|error| Trouble::Other(StepError::retryable(error)))?;
        // So that many a process is killed, and the server crashes, between this write and its commit.
        sleep(order.pause(step, is_undo)).await;
        Ok(Written { serial, row })
    }
}

#[saga(name = "entry", input = Order)]
impl Accounts {
    #[step(timeout = "5s", retry(attempts = 30, initial = "50ms", max = "1s"))]
    async fn enter(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        tx: &mut PgTransaction<'_>,
    ) -> CallResult<Written> {
        self.add(ctx, tx, order, Step::Enter).await
    }

    #[compensate(enter, timeout = "5s", retry(forever, initial = "50ms", max = "1s"))]
    async fn reverse(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        tx: &mut PgTransaction<'_>,
    ) -> CallResult<()> {
        self.add(ctx, tx, order, Step::Enter).await.map(drop)
    }

    #[step(depends_on = [enter], no_compensation)]
    async fn approve(&self, ctx: &StepContext<'_>, order: &Order) -> CallResult {
        let serial = self.world.call(Request::of(ctx)?).await?;
        tell(ctx, order, serial)?;
        sleep(order.pause(Step::Approve, false)).await;
        if order.is_approval_refused() {
            Err(Trouble::Refused)
        } else {
            Ok(Receipt { serial })
        }
    }

    #[step(
        depends_on = [approve],
        timeout = "5s",
        retry(attempts = 30, initial = "50ms", max = "1s")
    )]
    async fn settle(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        tx: &mut PgTransaction<'_>,
    ) -> CallResult<Written> {
        self.add(ctx, tx, order, Step::Settle).await
    }

    /// A cancel that comes while the last step runs lets it end, and then undoes everything.
    #[compensate(settle, timeout = "5s", retry(forever, initial = "50ms", max = "1s"))]
    async fn unsettle(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        tx: &mut PgTransaction<'_>,
    ) -> CallResult<()> {
        self.add(ctx, tx, order, Step::Settle).await.map(drop)
    }
}
