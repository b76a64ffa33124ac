//! The world outside: services that keep honest books and misbehave in every way that services do.
//!
//! Honest: what is done once under a key is not done again, and what was taken back before it came is not done at all.
//! How a service misbehaves towards an order is decided by the seed alone, and how often by the requests in its books,
//! so that a run can be repeated and a killed process is not forgiven.

use crate::books::Books;
use serde::{Deserialize, Serialize};
use std::{future, time::Duration};
use tokio::time::sleep;

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
        let habits = Habits { refuses: 25, refusal: "out of stock", busy: 20, slow: 30, undo_fails: 100, ..Habits::PERFECT };
        Self(Desk::new(Service::Stock, habits, books, seed))
    }

    pub(crate) async fn reserve(&self, key: &str, order_no: u32, cds: u32) -> Result<Reservation, ServiceError> {
        let serial = self.0.perform(key, order_no, cds).await?;
        Ok(Reservation { serial, order_no })
    }

    pub(crate) async fn release(&self, key: &str, reservation: &Reservation) -> Result<(), ServiceError> {
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
        Self(Desk::new(Service::Payments, habits, books, seed))
    }

    pub(crate) async fn charge(&self, key: &str, order_no: u32, cents: u32) -> Result<Payment, ServiceError> {
        let serial = self.0.perform(key, order_no, cents).await?;
        Ok(Payment { serial, cents, order_no })
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
        Self(Desk::new(Service::Labels, habits, books, seed))
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
        let habits =
            Habits { slow: 30, loses_requests: 10, loses_answers: 10, never_answers: 3, undo_fails: 200, ..Habits::PERFECT };
        Self(Desk::new(Service::Loyalty, habits, books, seed))
    }

    pub(crate) async fn award(&self, key: &str, order_no: u32, points: u32) -> Result<Points, ServiceError> {
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
        Self(Desk::new(Service::Courier, habits, books, seed))
    }

    pub(crate) async fn book(&self, key: &str, order_no: u32, _label: &Label) -> Result<Shipment, ServiceError> {
        let serial = self.0.perform(key, order_no, 1).await?;
        Ok(Shipment { serial })
    }
}

impl Mail {
    pub(crate) fn new(books: &Books, seed: u64) -> Self {
        let habits = Habits { busy: 20, slow: 20, loses_requests: 10, loses_answers: 5, ..Habits::PERFECT };
        Self(Desk::new(Service::Mail, habits, books, seed))
    }

    pub(crate) async fn send(&self, key: &str, order_no: u32, _shipment: &Shipment) -> Result<Message, ServiceError> {
        let serial = self.0.perform(key, order_no, 1).await?;
        Ok(Message { serial })
    }
}

/// Names a service in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    Stock,
    Payments,
    Labels,
    Loyalty,
    Courier,
    Mail,
}

impl Service {
    pub(crate) const ALL: [Self; 6] =
        [Self::Stock, Self::Payments, Self::Labels, Self::Loyalty, Self::Courier, Self::Mail];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Payments => "payments",
            Self::Labels => "labels",
            Self::Loyalty => "loyalty",
            Self::Courier => "courier",
            Self::Mail => "mail",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, sqlx::Error> {
        let unknown = || sqlx::Error::Decode(format!("`{name}` is not a service").into());
        Self::ALL.into_iter().find(|service| service.name() == name).ok_or_else(unknown)
    }
}

/// Towards how many of 1,000 orders a service misbehaves, and how.
struct Habits {
    refuses: u64,
    refusal: &'static str,
    /// Turns the first two requests away.
    busy: u64,
    /// Answers, but takes its time.
    slow: u64,
    /// Loses the first two requests on their way in.
    loses_requests: u64,
    /// Does it, and loses the first answer on its way out: the caller waits until its timeout.
    loses_answers: u64,
    /// Does it, and loses three answers: as many as a caller who gives up after three attempts will wait for.
    never_answers: u64,
    /// Three requests hang on their way in, and arrive when the caller has long given up.
    answers_too_late: u64,
    /// Fails to undo anything for the first three requests.
    undo_fails: u64,
}

impl Habits {
    const PERFECT: Self = Self {
        refuses: 0,
        refusal: "",
        busy: 0,
        slow: 0,
        loses_requests: 0,
        loses_answers: 0,
        never_answers: 0,
        answers_too_late: 0,
        undo_fails: 0,
    };
}

/// How a service treats one order.
#[derive(Clone, Copy)]
enum Mood {
    Good,
    Refuses,
    Busy,
    Slow,
    LosesRequests,
    LosesAnswers { first: u32 },
    TooLate,
}

const TOO_LATE: Duration = Duration::from_secs(3);

/// Where requests to a service arrive.
struct Desk {
    service: Service,
    habits: Habits,
    books: Books,
    seed: u64,
}

impl Desk {
    fn new(service: Service, habits: Habits, books: &Books, seed: u64) -> Self {
        Self { service, habits, books: books.clone(), seed }
    }

    /// The serial number of what was done.
    async fn perform(&self, key: &str, order_no: u32, amount: u32) -> Result<i64, ServiceError> {
        let nth = self.books.arrive(self.service, order_no, key, false).await.map_err(broken)?;
        let mood = self.mood(order_no);
        match mood {
            Mood::Refuses => return Err(ServiceError::Refused(self.habits.refusal)),
            Mood::Busy if nth <= 2 => return Err(ServiceError::Busy),
            Mood::LosesRequests if nth <= 2 => return Err(ServiceError::ConnectionLost),
            Mood::Slow => sleep(Duration::from_millis(5 + self.dice(order_no, "pace") % 45)).await,
            Mood::TooLate if nth <= 3 => {
                let (books, service, key) = (self.books.clone(), self.service, key.to_owned());
                tokio::spawn(async move {
                    sleep(TOO_LATE).await;
                    books.enter(service, order_no, &key, amount).await
                });
                return future::pending().await;
            }
            _ => {}
        }
        let serial = self.books.enter(self.service, order_no, key, amount).await.map_err(broken)?;
        match mood {
            // It is in the books by now, and nobody hears of it.
            Mood::LosesAnswers { first } if nth <= first => future::pending().await,
            _ => serial.ok_or(ServiceError::Refused("it was taken back before it came")),
        }
    }

    async fn undo(&self, key: &str, order_no: u32) -> Result<(), ServiceError> {
        let nth = self.books.arrive(self.service, order_no, key, true).await.map_err(broken)?;
        if nth <= 3 && self.dice(order_no, "undo") % 1_000 < self.habits.undo_fails {
            return Err(ServiceError::ConnectionLost);
        }
        self.books.void(self.service, order_no).await.map_err(broken)
    }

    fn mood(&self, order_no: u32) -> Mood {
        let habits = &self.habits;
        let mut dice = self.dice(order_no, "mood") % 1_000;
        for (share, mood) in [
            (habits.refuses, Mood::Refuses),
            (habits.busy, Mood::Busy),
            (habits.slow, Mood::Slow),
            (habits.loses_requests, Mood::LosesRequests),
            (habits.loses_answers, Mood::LosesAnswers { first: 1 }),
            (habits.never_answers, Mood::LosesAnswers { first: 3 }),
            (habits.answers_too_late, Mood::TooLate),
        ] {
            if dice < share {
                return mood;
            }
            dice -= share;
        }
        Mood::Good
    }

    /// The same number in every run with this seed.
    fn dice(&self, order_no: u32, throw: &str) -> u64 {
        let what = [self.service.name(), throw].concat();
        digest(what.bytes().chain(self.seed.to_le_bytes()).chain(order_no.to_le_bytes()))
    }
}

/// The books are the service: if they cannot be written, nobody knows what happened.
fn broken(_: sqlx::Error) -> ServiceError {
    ServiceError::ConnectionLost
}

/// FNV-1a, then a mix of all bits: the same in every release of Rust, unlike the hashers of the standard library.
pub(crate) fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let fnv = bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
