//! What is written around a saga does not get in its way: the library under another name, names of ours taken by the user,
//! attributes of others on the steps, and lints that allow nothing.
#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    let_underscore_drop,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unused_lifetimes,
    unused_results,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use sagas::{StepContext, StepError, compensate as saga_compensate, saga, step as saga_step};

/// A name that is a type of the library's too.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome(pub u32);

/// Hides a type that generated code could mean.
pub type Option = Outcome;

/// Likewise.
pub type Vec = Outcome;

pub mod stock {
    //! Types that are named by their paths.

    /// What is held.
    #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    pub struct Hold(pub u32);
}

/// The error of every step.
#[derive(Debug)]
pub struct Trouble;

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("trouble")
    }
}

impl std::error::Error for Trouble {}

/// Hides the one of the prelude, and has another shape.
pub type Result<T> = std::result::Result<T, Trouble>;

/// An alias whose name says nothing.
pub type Fallible = std::result::Result<Outcome, Trouble>;

/// A saga with everything around it.
#[derive(Clone, Copy, Debug)]
pub struct Shop {
    /// What a step gives.
    pub price: u32,
}

#[saga(crate = sagas, input = crate::Outcome)]
impl Shop {
    /// An ordinary method among the steps.
    #[must_use]
    pub fn doubled(&self) -> u32 {
        self.price * 2
    }

    /// Documented, instrumented, and with an attribute of another.
    ///
    /// # Errors
    ///
    /// Never.
    #[tracing::instrument(skip_all)]
    #[inline]
    #[saga_step(atomic)]
    pub async fn reserve(&self, input: &Outcome) -> Fallible {
        Ok(Outcome(input.0 + self.doubled()))
    }

    #[saga_compensate(reserve)]
    #[tracing::instrument(skip_all)]
    async fn release(&self, ctx: &StepContext, reserve: &Outcome) -> Result<()> {
        let _: (u32, &Outcome) = (ctx.attempt(), reserve);
        Ok(())
    }

    #[sagas::step(no_compensation, depends_on = ["reserve"], timeout = "5s")]
    #[cfg_attr(not(test), inline)]
    async fn r#match(&self, reserve: Option) -> Result<crate::stock::Hold> {
        Ok(self::stock::Hold(reserve.0))
    }

    #[saga_step(no_compensation, depends_on = r#match, retry(attempts = 2))]
    async fn ship(&self, r#match: &crate::stock::Hold, _reserve: &Vec) -> Result<u64> {
        Ok(u64::from(r#match.0))
    }
}

/// A second one in the same module.
#[derive(Clone, Copy, Debug)]
pub struct Other;

#[saga(crate = sagas)]
impl Other {
    #[::sagas::step(no_compensation)]
    async fn only(&self) -> std::result::Result<(), StepError> {
        Ok(())
    }
}

/// Steps that write in the transactions of their store.
#[derive(Clone, Copy, Debug)]
pub struct Writing;

#[saga(crate = sagas)]
impl Writing {
    #[tracing::instrument(skip_all)]
    #[saga_step(emits = "order.placed", key = self.key(*output))]
    async fn order(&self, tx: &mut sagas::store::memory::MemoryTransaction) -> Result<u8> {
        tx.set("order", "1");
        Ok(1)
    }

    #[tracing::instrument(skip_all)]
    #[saga_compensate(order, emits = "order.cancelled", key = format!("{order:?}"))]
    async fn cancel(
        &self,
        _tx: &mut sagas::store::memory::MemoryTransaction,
        order: &u8,
    ) -> Result<()> {
        let _: &u8 = order;
        Ok(())
    }

    #[saga_step(no_compensation, depends_on = [order], emits = "order.told", key = Self::doubled(*order) + (1))]
    async fn tell(&self) -> Result<u8> {
        Ok(1)
    }

    fn key(self, order: u8) -> String {
        format!("{self:?}/{order}")
    }

    const fn doubled(order: u8) -> u8 {
        order * 2
    }
}

/// One in the body of a function.
#[must_use]
pub fn in_a_function() -> &'static str {
    struct Inner;

    #[saga(crate = ::sagas)]
    impl Inner {
        #[sagas::step(no_compensation)]
        async fn only(&self) -> Result<u8> {
            Ok(1)
        }
    }
    <Inner as sagas::Saga>::DEFINITION.name
}

macro_rules! numbered {
    ($name:ident: $($step:ident = $value:literal after [$($before:ident),*]),*) => {
        /// Made by a `macro_rules!`.
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        #[saga(crate = sagas)]
        impl $name {
            $(
                #[saga_step(no_compensation, depends_on = [$($before),*])]
                async fn $step(&self $(, $before: &u32)*) -> Result<u32> {
                    Ok($value $(+ $before)*)
                }
            )*
        }
    };
}

numbered!(Sum: one = 1 after [], two = 2 after [one], three = 3 after [one, two]);

#[cfg(test)]
mod tests {
    use super::*;
    use sagas::Saga;

    #[tokio::test]
    async fn a_saga_runs_whatever_the_library_is_called() {
        let run = Shop { price: 2 }.run(Outcome(1)).await;
        let sagas::Outcome::Completed(outputs) = run else {
            unreachable!("{run:?}")
        };
        assert_eq!((outputs.r#match, outputs.ship), (stock::Hold(5), 5));
        assert_eq!(in_a_function(), "inner");
        assert_eq!(Other::DEFINITION.steps.len(), 1);
    }

    #[tokio::test]
    async fn steps_can_come_through_a_macro() {
        let run = Sum.run(()).await;
        let sagas::Outcome::Completed(outputs) = run else {
            unreachable!("{run:?}")
        };
        assert_eq!((outputs.one, outputs.two, outputs.three), (1, 3, 7));
    }
}
