//! Where requests to a service arrive, and where it misbehaves.
//!
//! The books are honest: what is done once under a key is not done again, and what was taken back before it came is not
//! done at all. How a service misbehaves towards an order is decided by the seed alone, and how often by the requests in
//! its books, so that a run can be repeated, and a new process meets what its predecessor left.

use crate::{books::Books, services::ServiceError};
use std::{future, time::Duration};
use tokio::time::sleep;

/// Towards how many of 1,000 orders a service misbehaves, and how.
pub(crate) struct Habits {
    pub(crate) refuses: u64,
    pub(crate) refusal: &'static str,
    /// Turns the first two requests away.
    pub(crate) busy: u64,
    /// Answers, but takes its time.
    pub(crate) slow: u64,
    /// Loses the first two requests on their way in.
    pub(crate) loses_requests: u64,
    /// Does it, and loses the first answer on its way out: the caller waits until its timeout.
    pub(crate) loses_answers: u64,
    /// Does it, and loses three answers: as many as a caller who gives up after three attempts will wait for.
    pub(crate) never_answers: u64,
    /// Three requests hang on their way in, and arrive when the caller has long given up.
    pub(crate) answers_too_late: u64,
    /// Fails to undo anything for the first three requests.
    pub(crate) undo_fails: u64,
}

impl Habits {
    pub(crate) const PERFECT: Self = Self {
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
pub(crate) struct Desk {
    service: &'static str,
    habits: Habits,
    books: Books,
    seed: u64,
}

impl Desk {
    pub(crate) fn new(service: &'static str, habits: Habits, books: &Books, seed: u64) -> Self {
        Self {
            service,
            habits,
            books: books.clone(),
            seed,
        }
    }

    /// The serial number of what was done.
    pub(crate) async fn perform(
        &self,
        key: &str,
        order_no: u32,
        amount: u32,
    ) -> Result<i64, ServiceError> {
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

    pub(crate) async fn undo(&self, key: &str, order_no: u32) -> Result<(), ServiceError> {
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
