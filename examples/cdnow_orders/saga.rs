//! The saga: how an order is processed, and how each step of it is undone. The rest of this example only feeds it,
//! misbehaves, and counts.
//!
//! ```text
//!                                 ┌─▶ print_label ──┐
//! reserve_stock ─▶ charge_payment ┤                 ├─▶ book_courier ─▶ send_confirmation
//!                                 └─▶ award_points ─┘      (pivot)
//! ```

use super::{
    orders::Order,
    services::{
        Courier, Label, Labels, Loyalty, Mail, Message, Payment, Payments, Points, Reservation,
        Service, ServiceError, Shipment, Stock,
    },
};
use sagaz::prelude::*;
use std::sync::Arc;

/// The services that an order needs. Each is somebody else's system: all that it offers is calls that can fail.
pub(crate) struct OrderProcessing {
    stock: Stock,
    payments: Payments,
    labels: Labels,
    loyalty: Loyalty,
    courier: Courier,
    mail: Mail,
}

#[saga(name = "order-processing", input = Order)]
impl OrderProcessing {
    /// `atomic`: this service answers in one piece, and an error means that nothing is reserved. So the outcome is always
    /// known, and the compensation below can insist on the reservation.
    #[step(atomic, retry(attempts = 5, initial = "20ms"))]
    async fn reserve_stock(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
    ) -> Result<Reservation, ServiceError> {
        self.stock
            .reserve(&ctx.idempotency_key(), order.number, order.quantity)
            .await
    }

    #[compensate("reserve_stock")]
    async fn release_stock(
        &self,
        ctx: &StepContext<'_>,
        reserve_stock: &Reservation,
    ) -> Result<(), ServiceError> {
        self.stock
            .release(&ctx.idempotency_key(), reserve_stock)
            .await
    }

    /// Not atomic, with a timeout: the money can have been taken even though no answer came. Trying again is safe, because
    /// the key is the same for every attempt, also for one in another process after a crash.
    ///
    /// When it completes, the payment is also an event: stored with the output or not at all, and told to others by a relay, if
    /// one runs (`examples/order_events`). The events of an order are told in their order.
    #[step(
        depends_on = ["reserve_stock"],
        timeout = "150ms",
        retry(attempts = 3, initial = "20ms"),
        emits = "payment.charged",
        key = order.number
    )]
    async fn charge_payment(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
    ) -> Result<Payment, ServiceError> {
        self.payments
            .charge(&ctx.idempotency_key(), order.number, order.cents)
            .await
    }

    /// After three attempts without an answer nobody knows whether the order was charged: then the payment is `None`. The
    /// compiler refuses a compensation of this step that takes `&Payment`.
    #[compensate(
        "charge_payment",
        timeout = "150ms",
        retry(forever, initial = "50ms", max = "2s"),
        emits = "payment.refunded",
        key = order.number
    )]
    async fn refund_payment(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        charge_payment: Option<&Payment>,
    ) -> Result<(), ServiceError> {
        match charge_payment {
            Some(payment) => self.payments.refund(&ctx.idempotency_key(), payment).await,
            None => {
                self.payments
                    .void(&ctx.idempotency_key(), order.number)
                    .await
            }
        }
    }

    /// Side by side with `award_points`, because both wait for the payment only.
    #[step(depends_on = ["charge_payment"], timeout = "150ms", retry(attempts = 3, initial = "20ms"))]
    async fn print_label(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
    ) -> Result<Label, ServiceError> {
        self.labels
            .print(&ctx.idempotency_key(), order.number)
            .await
    }

    /// Takes no label, and so needs none: the order's number is enough, whether a label was printed or not.
    #[compensate("print_label")]
    async fn void_label(&self, ctx: &StepContext<'_>, order: &Order) -> Result<(), ServiceError> {
        self.labels.void(&ctx.idempotency_key(), order.number).await
    }

    #[step(depends_on = ["charge_payment"], timeout = "150ms", retry(attempts = 3, initial = "20ms"))]
    async fn award_points(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        charge_payment: &Payment,
    ) -> Result<Points, ServiceError> {
        // A point for every whole dollar that was paid.
        self.loyalty
            .award(
                &ctx.idempotency_key(),
                order.number,
                charge_payment.cents / 100,
            )
            .await
    }

    #[compensate("award_points")]
    async fn revoke_points(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
    ) -> Result<(), ServiceError> {
        self.loyalty
            .revoke(&ctx.idempotency_key(), order.number)
            .await
    }

    /// The pivot: a parcel that the courier has taken does not come back, so from here on the order only goes forward. If
    /// the courier refuses, everything above is undone.
    #[step(
        pivot,
        depends_on = ["print_label", "award_points"],
        timeout = "150ms",
        retry(forever, initial = "20ms", max = "2s"),
        emits = "order.shipped",
        key = order.number
    )]
    async fn book_courier(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        print_label: &Label,
    ) -> Result<Shipment, ServiceError> {
        self.courier
            .book(&ctx.idempotency_key(), order.number, print_label)
            .await
    }

    /// After the pivot there is no way back, and so nothing to compensate: it is tried until it succeeds.
    #[step(depends_on = ["book_courier"], timeout = "150ms", retry(forever, initial = "20ms", max = "2s"))]
    async fn send_confirmation(
        &self,
        ctx: &StepContext<'_>,
        order: &Order,
        book_courier: &Shipment,
    ) -> Result<Message, ServiceError> {
        self.mail
            .send(&ctx.idempotency_key(), order.number, book_courier)
            .await
    }
}

impl OrderProcessing {
    /// With the services of these names.
    pub(crate) fn new(service: impl Fn(&'static str) -> Arc<dyn Service>) -> Self {
        Self {
            stock: Stock::at(service("stock")),
            payments: Payments::at(service("payments")),
            labels: Labels::at(service("labels")),
            loyalty: Loyalty::at(service("loyalty")),
            courier: Courier::at(service("courier")),
            mail: Mail::at(service("mail")),
        }
    }
}

/// Two questions decide what becomes of a failed attempt: may it be tried again, and did it have an effect?
impl IntoStepError for ServiceError {
    fn into_step_error(self) -> StepError {
        match self {
            // No, and no attempt with this key had one: the order is undone.
            Self::Refused(_) => StepError::permanent(self),
            // Yes, and this attempt surely had none.
            Self::Busy => StepError::retryable(self).clean(),
            // Yes, and who knows. What `?` does with every other error as well.
            Self::ConnectionLost => StepError::retryable(self),
        }
    }
}
