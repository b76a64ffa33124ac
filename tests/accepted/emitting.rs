//! Events of steps, in every way to say so.

use sagaz::{
    Engine, Memory, Recover, StepContext, StepError, compensate, recover, saga, step,
    store::memory::MemoryTransaction,
};

type Outcome<T = u64> = Result<T, StepError>;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Order {
    id: u64,
    customer: String,
}

mod keys {
    pub(super) fn key_of_reserve(order: &super::Order) -> String {
        order.customer.clone()
    }

    pub(super) const SHOP: &str = "shop";
}

struct Shop {
    prefix: String,
}

impl Shop {
    fn key(&self, id: u64) -> String {
        format!("{}{id}", self.prefix)
    }

    fn of<A, B>(a: A, _: B) -> A {
        a
    }
}

#[saga(input = Order)]
impl Shop {
    #[step(emits = "stock.reserved", key = keys::key_of_reserve(order))]
    async fn reserve(&self) -> Outcome {
        Ok(1)
    }

    #[compensate("reserve", emits = "stock.released", key = reserve.is_some())]
    async fn release(&self, reserve: Option<&u64>) -> Outcome<()> {
        let _ = reserve;
        Ok(())
    }

    #[step(depends_on = [reserve], emits = "stock.checked", key = Self::of::<u64, ()>(*output, ()))]
    async fn r#type(&self, tx: &mut MemoryTransaction, input: Order) -> Outcome {
        tx.set("type", input.customer);
        Ok(input.id)
    }

    #[compensate("type", key = format!("{type}-{}", keys::SHOP, type = output.is_some()), emits = "stock.unchecked")]
    async fn untype(&self, tx: &mut MemoryTransaction, r#type: &u64) -> Outcome<()> {
        tx.set("type", r#type.to_string());
        Ok(())
    }

    #[step(depends_on = ["type"], pivot, retry(forever), timeout = "5s", emits = "paid", key = self.key(*r#type + *reserve))]
    async fn pay(&self, ctx: &StepContext, r#type: &u64) -> Outcome<String> {
        Ok(format!("{}{}", ctx.idempotency_key(), r#type))
    }

    #[step(depends_on = [pay], retry(attempts = 2), emits = "confirmed", key = { let output: &str = pay; output })]
    async fn confirm(&self) -> Outcome<()> {
        Ok(())
    }

    #[recover("confirm")]
    async fn by_hand(&self) -> Recover<()> {
        Recover::Use(())
    }
}

/// The saga and its keys come through a `macro_rules!`.
macro_rules! emitting {
    ($saga:ident, $event:literal, $key:expr) => {
        struct $saga;

        #[saga(input = Order)]
        impl $saga {
            #[step(no_compensation, emits = $event, key = $key)]
            async fn one(&self) -> Outcome {
                Ok(1)
            }

            #[step(no_compensation, depends_on = [one], emits = "two", key = output + one + order.id)]
            async fn two(&self) -> Outcome {
                Ok(1)
            }
        }
    };
}

emitting!(Made, "one", order.customer);

async fn register() {
    let engine = Engine::builder(Memory::new())
        .register(Shop {
            prefix: "shop-".to_owned(),
        })
        .register(Made);
    let _ = engine.start().await;
}

#[test]
fn every_way_to_emit_is_accepted() {
    drop(register());
}
