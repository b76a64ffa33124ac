//! The services, as their clients see them: what can be asked, and what is answered. Who answers is behind a trait: `desk.rs`, where
//! they misbehave, or books in memory, where a test makes them.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What every service of this shop can do. A repeated key does nothing again, and gives what was given first.
pub(crate) trait Service: Send + Sync {
    /// Does it, and gives the serial number of what was done.
    fn perform<'a>(
        &'a self,
        key: &'a str,
        order_no: u32,
        amount: u32,
    ) -> BoxFuture<'a, Result<i64, ServiceError>>;

    /// Takes back whatever was done for this order, and refuses what has yet to come.
    fn undo<'a>(&'a self, key: &'a str, order_no: u32) -> BoxFuture<'a, Result<(), ServiceError>>;
}

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

pub(crate) struct Stock(Arc<dyn Service>);
pub(crate) struct Payments(Arc<dyn Service>);
pub(crate) struct Labels(Arc<dyn Service>);
pub(crate) struct Loyalty(Arc<dyn Service>);
pub(crate) struct Courier(Arc<dyn Service>);
pub(crate) struct Mail(Arc<dyn Service>);

impl Stock {
    pub(crate) fn at(service: Arc<dyn Service>) -> Self {
        Self(service)
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
    pub(crate) fn at(service: Arc<dyn Service>) -> Self {
        Self(service)
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
    pub(crate) fn at(service: Arc<dyn Service>) -> Self {
        Self(service)
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
    pub(crate) fn at(service: Arc<dyn Service>) -> Self {
        Self(service)
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
    pub(crate) fn at(service: Arc<dyn Service>) -> Self {
        Self(service)
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
    pub(crate) fn at(service: Arc<dyn Service>) -> Self {
        Self(service)
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
