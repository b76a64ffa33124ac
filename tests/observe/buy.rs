//! What is observed: a saga that publishes, and one that an event starts.

use sagaz::{Event, StepContext, StepError, compensate, saga, step};
use serde::{Deserialize, Serialize};
use std::future;

/// What a purchase is. The card is nobody's business.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Purchase {
    pub(crate) number: u32,
    pub(crate) card: String,
}

impl Purchase {
    pub(crate) fn number_7() -> Self {
        Self {
            number: 7,
            card: CARD.to_owned(),
        }
    }
}

pub(crate) const CARD: &str = "4111-1111-1111-1111";

/// What was charged; also the data of the event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) number: u32,
    pub(crate) receipt: String,
}

pub(crate) const RECEIPT: &str = "receipt-of-nobody-else";

/// Buys something. A process that `hangs` does so in the third step.
pub(crate) struct Buy {
    pub(crate) hangs: bool,
}

#[saga(name = "buy", input = Purchase)]
impl Buy {
    #[step(no_compensation)]
    async fn reserve(&self, purchase: &Purchase) -> Result<u32, StepError> {
        ask_the_warehouse().await;
        Ok(purchase.number)
    }

    #[step(depends_on = ["reserve"], retry(attempts = 3, initial = "10ms"))]
    async fn charge(
        &self,
        ctx: &StepContext<'_>,
        purchase: &Purchase,
        reserve: &u32,
    ) -> Result<Payment, StepError> {
        tracing::info!(bank = "north", "asking the bank");
        if ctx.attempt() == 1 {
            return Err(StepError::retryable("the bank is busy"));
        }
        let payment = Payment {
            number: *reserve,
            receipt: format!("{RECEIPT} {}", purchase.card),
        };
        ctx.publish(Event::new("payment.charged", &payment))
            .map_err(StepError::permanent)?;
        Ok(payment)
    }

    #[compensate("charge")]
    async fn refund(&self, _purchase: &Purchase) -> Result<(), StepError> {
        Ok(())
    }

    #[step(depends_on = ["charge"], no_compensation)]
    async fn book(&self, charge: &Payment) -> Result<u32, StepError> {
        if self.hangs {
            future::pending::<()>().await;
        }
        Ok(charge.number)
    }

    #[step(depends_on = ["book"], no_compensation)]
    async fn confirm(&self, book: &u32) -> Result<u32, StepError> {
        Ok(*book)
    }
}

#[tracing::instrument]
async fn ask_the_warehouse() {
    tokio::task::yield_now().await;
}

/// What a purchase that was paid for needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Parcel(u32);

impl From<Payment> for Parcel {
    fn from(payment: Payment) -> Self {
        Self(payment.number)
    }
}

/// Ships what was bought.
pub(crate) struct Ship;

#[saga(name = "ship", input = Parcel)]
impl Ship {
    #[step(no_compensation)]
    async fn pack(&self, parcel: &Parcel) -> Result<u32, StepError> {
        Ok(parcel.0)
    }
}
