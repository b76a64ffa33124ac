//! The saga of the introduction.
#![deny(warnings, clippy::all, clippy::pedantic)]
#![forbid(unsafe_code)]

use sagaz::{IntoStepError, Saga, StepContext, StepError, compensate, saga, step};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    sku: String,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reservation(String);

#[derive(Debug, Serialize, Deserialize)]
struct Payment(String);

#[derive(Debug, Serialize, Deserialize)]
struct Shipment(u64);

#[derive(Debug, thiserror::Error)]
#[error("out of stock")]
struct StockError;

#[derive(Debug)]
enum PaymentError {
    Declined,
}

impl IntoStepError for PaymentError {
    fn into_step_error(self) -> StepError {
        match self {
            Self::Declined => StepError::permanent("declined"),
        }
    }
}

#[derive(Clone)]
struct OrderProcessing {
    warehouse: String,
}

#[saga(name = "order-processing", input = Order)]
impl OrderProcessing {
    #[step(atomic)]
    async fn reserve_inventory(&self, order: &Order) -> Result<Reservation, StockError> {
        if order.sku.is_empty() {
            Err(StockError)
        } else {
            Ok(Reservation(format!("{}/{}", self.warehouse, order.sku)))
        }
    }

    #[compensate("reserve_inventory")]
    async fn release_inventory(&self, reserve_inventory: &Reservation) -> Result<(), StockError> {
        if reserve_inventory.0.is_empty() {
            Err(StockError)
        } else {
            Ok(())
        }
    }

    #[step(depends_on = ["reserve_inventory"], timeout = "30s", retry(attempts = 5, initial = "200ms", max = "10s"))]
    async fn charge_payment(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        reserve_inventory: &Reservation,
    ) -> Result<Payment, PaymentError> {
        if order.cents == 0 {
            return Err(PaymentError::Declined);
        }
        Ok(Payment(format!(
            "{} {}",
            ctx.idempotency_key(),
            reserve_inventory.0
        )))
    }

    #[compensate("charge_payment")]
    async fn refund_payment(
        &self,
        ctx: &StepContext<'_>,
        charge_payment: Option<&Payment>,
    ) -> Result<(), PaymentError> {
        let _ = (ctx.attempt(), charge_payment.map(|payment| &payment.0));
        Ok(())
    }

    #[step(depends_on = ["charge_payment"], pivot, retry(attempts = 8, initial = "1s"))]
    async fn book_courier(&self, order: &Order) -> Result<Shipment, StockError> {
        Ok(Shipment(order.cents))
    }

    #[step(depends_on = ["book_courier"], retry(forever))]
    async fn confirm(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        book_courier: &Shipment,
    ) -> Result<(), StepError> {
        let _ = (ctx.step(), &order.sku, book_courier.0);
        Ok(())
    }
}

#[test]
fn the_order_of_the_documentation_is_accepted() {
    let saga = OrderProcessing {
        warehouse: "north".into(),
    };
    let definition = saga.definition();
    assert_eq!(definition.name, "order-processing");
    assert_eq!(definition.steps.len(), 4);
}
