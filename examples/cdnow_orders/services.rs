//! The services, as their clients see them: what can be asked, and what is answered. How they misbehave is in `desk.rs`.

use crate::{
    books::Books,
    desk::{Desk, Habits},
};
use serde::{Deserialize, Serialize};

/// What was reserved.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reservation {
    pub(crate) serial: i64,
    order_no: u32,
}

/// What was charged.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) serial: i64,
    pub(crate) cents: u32,
    order_no: u32,
}

/// A label on a parcel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Label {
    pub(crate) serial: i64,
}

/// Loyalty points on a customer's account.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Points {
    pub(crate) serial: i64,
}

/// A parcel on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shipment {
    pub(crate) serial: i64,
}

/// A mail that was sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) serial: i64,
}

/// What a service answers if not with a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// For good, and nothing was done.
    #[error("{0}")]
    Refused(&'static str),
    /// It did not even look at the request.
    #[error("the service is busy")]
    Busy,
    /// Before it did anything, or after?
    #[error("the connection was lost")]
    ConnectionLost,
}

pub(crate) struct Stock(Desk);
pub(crate) struct Payments(Desk);
pub(crate) struct Labels(Desk);
pub(crate) struct Loyalty(Desk);
pub(crate) struct Courier(Desk);
pub(crate) struct Mail(Desk);

impl Stock {
    pub(crate) fn new(books: &Books, seed: u64) -> Self {
        let habits = Habits {
            refuses: 25,
            refusal: "out of stock",
            busy: 20,
            slow: 30,
            undo_fails: 100,
            ..Habits::PERFECT
        };
        Self(Desk::new("stock", habits, books, seed))
    }

    pub(crate) async fn reserve(
        &self,
        key: &str,
        order_no: u32,
        cds: u32,
    ) -> Result<Reservation, ServiceError> {
        let serial = self.0.perform(key, order_no, cds).await?;
        Ok(Reservation { serial, order_no })
    }

    pub(crate) async fn release(
        &self,
        key: &str,
        reservation: &Reservation,
    ) -> Result<(), ServiceError> {
        self.0.undo(key, reservation.order_no).await
    }
}

impl Payments {
    pub(crate) fn new(books: &Books, seed: u64) -> Self {
        let habits = Habits {
            refuses: 40,
            refusal: "the card was declined",
            busy: 10,
            slow: 30,
            loses_requests: 20,
            loses_answers: 20,
            never_answers: 8,
            answers_too_late: 4,
            undo_fails: 300,
        };
        Self(Desk::new("payments", habits, books, seed))
    }

    pub(crate) async fn charge(
        &self,
        key: &str,
        order_no: u32,
        cents: u32,
    ) -> Result<Payment, ServiceError> {
        let serial = self.0.perform(key, order_no, cents).await?;
        Ok(Payment {
            serial,
            cents,
            order_no,
        })
    }

    pub(crate) async fn refund(&self, key: &str, payment: &Payment) -> Result<(), ServiceError> {
        self.0.undo(key, payment.order_no).await
    }

    /// Refunds a charge that may or may not have happened, and refuses it if it has yet to come.
    pub(crate) async fn void(&self, key: &str, order_no: u32) -> Result<(), ServiceError> {
        self.0.undo(key, order_no).await
    }
}

impl Labels {
    pub(crate) fn new(books: &Books, seed: u64) -> Self {
        let habits = Habits {
            refuses: 5,
            refusal: "the address cannot be printed",
            slow: 30,
            loses_requests: 10,
            loses_answers: 10,
            undo_fails: 50,
            ..Habits::PERFECT
        };
        Self(Desk::new("labels", habits, books, seed))
    }

    pub(crate) async fn print(&self, key: &str, order_no: u32) -> Result<Label, ServiceError> {
        let serial = self.0.perform(key, order_no, 1).await?;
        Ok(Label { serial })
    }

    pub(crate) async fn void(&self, key: &str, order_no: u32) -> Result<(), ServiceError> {
        self.0.undo(key, order_no).await
    }
}

impl Loyalty {
    pub(crate) fn new(books: &Books, seed: u64) -> Self {
        let habits = Habits {
            slow: 30,
            loses_requests: 10,
            loses_answers: 10,
            never_answers: 3,
            undo_fails: 200,
            ..Habits::PERFECT
        };
        Self(Desk::new("loyalty", habits, books, seed))
    }

    pub(crate) async fn award(
        &self,
        key: &str,
        order_no: u32,
        points: u32,
    ) -> Result<Points, ServiceError> {
        let serial = self.0.perform(key, order_no, points).await?;
        Ok(Points { serial })
    }

    pub(crate) async fn revoke(&self, key: &str, order_no: u32) -> Result<(), ServiceError> {
        self.0.undo(key, order_no).await
    }
}

impl Courier {
    pub(crate) fn new(books: &Books, seed: u64) -> Self {
        let habits = Habits {
            refuses: 15,
            refusal: "no courier goes there",
            slow: 50,
            loses_requests: 10,
            loses_answers: 20,
            never_answers: 2,
            ..Habits::PERFECT
        };
        Self(Desk::new("courier", habits, books, seed))
    }

    pub(crate) async fn book(
        &self,
        key: &str,
        order_no: u32,
        _label: &Label,
    ) -> Result<Shipment, ServiceError> {
        let serial = self.0.perform(key, order_no, 1).await?;
        Ok(Shipment { serial })
    }
}

impl Mail {
    pub(crate) fn new(books: &Books, seed: u64) -> Self {
        let habits = Habits {
            busy: 20,
            slow: 20,
            loses_requests: 10,
            loses_answers: 5,
            ..Habits::PERFECT
        };
        Self(Desk::new("mail", habits, books, seed))
    }

    pub(crate) async fn send(
        &self,
        key: &str,
        order_no: u32,
        _shipment: &Shipment,
    ) -> Result<Message, ServiceError> {
        let serial = self.0.perform(key, order_no, 1).await?;
        Ok(Message { serial })
    }
}
