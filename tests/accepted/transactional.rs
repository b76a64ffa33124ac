//! Steps that write in their store's transactions, in every way to say so.
#![expect(
    unused_qualifications,
    reason = "the type of a transaction is written in every way"
)]

use sagaz::{
    Engine, Memory, StepContext, StepError, compensate, saga, step,
    store::{self, memory::MemoryTransaction},
};

type Tx = MemoryTransaction;
type Outcome<T = u64> = Result<T, StepError>;

struct Shop;

#[saga(input = u64, on_failure = "fail_fast")]
impl Shop {
    #[step(timeout = "5s")]
    async fn order(&self, tx: &mut MemoryTransaction, input: &u64) -> Outcome {
        tx.set("order", input.to_string());
        Ok(*input)
    }

    // Its outcome is always known: neither the timeout nor a dropped attempt leaves a doubt.
    #[compensate("order")]
    async fn cancel(&self, order: &u64, _tx: &mut store::memory::MemoryTransaction) -> Outcome<()> {
        let _ = order;
        Ok(())
    }

    #[step(depends_on = [order], pivot)]
    async fn pay(&self, ctx: &StepContext<'_>, tx: &mut MemoryTransaction, order: u64) -> Outcome {
        tx.set(ctx.idempotency_key(), "paid");
        Ok(order)
    }

    #[step(depends_on = [pay], retry(forever))]
    async fn ship(&self, pay: &u64) -> Outcome {
        Ok(*pay)
    }
}

/// By an alias.
struct Other;

#[saga]
impl Other {
    #[step]
    async fn order(&self, tx: &mut Tx) -> Outcome {
        let _ = tx;
        Ok(1)
    }
}

#[test]
fn every_way_to_write_in_a_transaction_is_accepted() {
    let _ = Engine::builder(Memory::new())
        .register(Shop)
        .register(Other);
}
