//! What looks odd and is right: names of ours taken by the user, aliases of any name and shape, conditions that are none.
#![deny(warnings)]
#![expect(
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::needless_arbitrary_self_type,
    clippy::unused_self,
    reason = "odd on purpose: what these are against is what a user may write"
)]
#![forbid(unsafe_code)]

use sagaz::{Saga, StepContext, StepError, compensate, saga, step};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShopStep(pub u8);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShopOutputs;

type Answer = Result<ShopStep, StepError>;
type Checked<E> = Result<ShopOutputs, E>;
type Page<T> = Result<Vec<T>, StepError>;

pub struct Shop;

#[saga(input = ShopOutputs)]
impl Shop {
    fn log(&self, answer: &Answer) -> bool {
        answer.is_ok()
    }

    #[cfg_attr(all(), doc = "step compensate recover")]
    #[step(no_compensation)]
    async fn answer(self: &Self) -> Answer {
        let answer = Ok(ShopStep(1));
        let _ = self.log(&answer);
        answer
    }

    #[step(no_compensation, depends_on = "answer")]
    async fn check(&self, answer: ShopStep) -> Checked<&'static str> {
        if answer.0 > 9 {
            Err("too many")
        } else {
            Ok(ShopOutputs)
        }
    }

    #[step(no_compensation, depends_on = [check])]
    async fn page(&self, shop_outputs: &ShopOutputs, check: &ShopOutputs) -> Page<u8> {
        let _ = (shop_outputs, check);
        Ok(vec![1])
    }

    #[step(no_compensation, depends_on = [page, "gen"])]
    async fn sum(&self, page: Vec<u8>, r#gen: &u8) -> Result<u8, StepError> {
        Ok(page.iter().sum::<u8>() + r#gen)
    }

    #[step(no_compensation)]
    async fn r#gen(&self) -> Result<u8, StepError> {
        Ok(1)
    }

    #[step(atomic, depends_on = [sum])]
    async fn maybe(&self) -> Result<std::option::Option<u8>, StepError> {
        Ok(None)
    }

    #[compensate(maybe)]
    async fn forget(&self, maybe: Option<u8>) -> Result<&'static str, StepError> {
        let _ = maybe;
        Ok("forgotten")
    }

    #[step(no_compensation, depends_on = [maybe])]
    async fn _private(&self) -> Result<u8, StepError> {
        Ok(1)
    }

    #[step(no_compensation, depends_on = ["_private"])]
    async fn last(
        &self,
        _private: &u8,
        #[from(shop_outputs)] input: ShopOutputs,
    ) -> Result<(), StepError> {
        let _ = input;
        Ok(())
    }
}

/// A type parameter of ours could hide it.
struct P;

#[saga]
#[allow(deprecated)]
impl P {
    #[step(no_compensation)]
    async fn only(&self) -> Result<old::Old, StepError> {
        Ok(old::Old)
    }
}

mod old {
    #[deprecated]
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct Old;
}

macro_rules! with_context {
    ($context:ty) => {
        struct WithContext;

        #[saga]
        impl WithContext {
            #[step(no_compensation)]
            async fn only(&self, ctx: $context) -> Result<u32, StepError> {
                Ok(ctx.attempt())
            }
        }
    };
}

with_context!(&StepContext);

#[test]
fn odd_sagas_that_are_right_are_accepted() {
    fn count<G: Saga>(_: &G) -> usize {
        G::DEFINITION.steps.len()
    }
    assert_eq!(count(&Shop), 8);
    assert_eq!(count(&P) + count(&WithContext), 2);
}
