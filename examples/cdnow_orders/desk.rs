//! Where requests to a service arrive, and where it misbehaves.
//!
//! The books are honest: what is done once under a key is not done again, and what was taken back before it came is not
//! done at all. How a service misbehaves towards an order is decided by the seed alone, and how often by the requests in
//! its books, so that a run can be repeated, and a new process meets what its predecessor left.

use crate::{
    books::Books,
    saga::OrderProcessing,
    services::{Service, ServiceError},
};
use futures_util::{FutureExt, future::BoxFuture};
use std::{future, sync::Arc, time::Duration};
use tokio::time::sleep;

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
    service: &'static str,
    habits: Habits,
    books: Books,
    seed: u64,
}

/// The saga, with services that have these books.
pub(crate) fn shop(books: &Books, seed: u64) -> OrderProcessing {
    OrderProcessing::new(|service| {
        Arc::new(Desk {
            service,
            habits: habits(service),
            books: books.clone(),
            seed,
        })
    })
}

/// How each of them misbehaves.
fn habits(service: &str) -> Habits {
    match service {
        "stock" => Habits {
            refuses: 25,
            refusal: "out of stock",
            busy: 20,
            slow: 30,
            undo_fails: 100,
            ..Habits::PERFECT
        },
        "payments" => Habits {
            refuses: 40,
            refusal: "the card was declined",
            busy: 10,
            slow: 30,
            loses_requests: 20,
            loses_answers: 20,
            never_answers: 8,
            answers_too_late: 4,
            undo_fails: 300,
        },
        "labels" => Habits {
            refuses: 5,
            refusal: "the address cannot be printed",
            slow: 30,
            loses_requests: 10,
            loses_answers: 10,
            undo_fails: 50,
            ..Habits::PERFECT
        },
        "loyalty" => Habits {
            slow: 30,
            loses_requests: 10,
            loses_answers: 10,
            never_answers: 3,
            undo_fails: 200,
            ..Habits::PERFECT
        },
        "courier" => Habits {
            refuses: 15,
            refusal: "no courier goes there",
            slow: 50,
            loses_requests: 10,
            loses_answers: 20,
            never_answers: 2,
            ..Habits::PERFECT
        },
        "mail" => Habits {
            busy: 20,
            slow: 20,
            loses_requests: 10,
            loses_answers: 5,
            ..Habits::PERFECT
        },
        other => unreachable!("there is no service {other}"),
    }
}

impl Service for Desk {
    fn perform<'a>(
        &'a self,
        key: &'a str,
        order_no: u32,
        amount: u32,
    ) -> BoxFuture<'a, Result<i64, ServiceError>> {
        self.answer(key, order_no, amount).boxed()
    }

    fn undo<'a>(&'a self, key: &'a str, order_no: u32) -> BoxFuture<'a, Result<(), ServiceError>> {
        self.take_back(key, order_no).boxed()
    }
}

impl Desk {
    /// The serial number of what was done.
    async fn answer(&self, key: &str, order_no: u32, amount: u32) -> Result<i64, ServiceError> {
        let nth = self
            .books
            .arrive(self.service, order_no, key, false)
            .await
            .map_err(broken)?;
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
        let serial = self
            .books
            .enter(self.service, order_no, key, amount)
            .await
            .map_err(broken)?;
        match mood {
            // It is in the books by now, and nobody hears of it.
            Mood::LosesAnswers { first } if nth <= first => future::pending().await,
            _ => serial.ok_or(ServiceError::Refused("it was taken back before it came")),
        }
    }

    async fn take_back(&self, key: &str, order_no: u32) -> Result<(), ServiceError> {
        let nth = self
            .books
            .arrive(self.service, order_no, key, true)
            .await
            .map_err(broken)?;
        if nth <= 3 && self.dice(order_no, "undo") % 1_000 < self.habits.undo_fails {
            return Err(ServiceError::ConnectionLost);
        }
        self.books
            .void(self.service, order_no)
            .await
            .map_err(broken)
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
        let what = [self.service, throw].concat();
        digest(
            what.bytes()
                .chain(self.seed.to_le_bytes())
                .chain(order_no.to_le_bytes()),
        )
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
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
