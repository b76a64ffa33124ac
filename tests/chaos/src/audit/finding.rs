//! What an audit can find, by the promises that are not kept then.

use sagaz::SagaId;
use std::fmt;

/// One table: each thing that can be wrong, what it means, and the promise that is broken by it.
macro_rules! wrongs {
    ($($(#[$doc:meta])* $name:ident: $promise:literal,)*) => {
        /// Something that should not be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Wrong {
            $($(#[$doc])* $name,)*
        }

        impl Wrong {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The promise, as reports name it.
            pub(crate) fn promise(self) -> &'static str {
                match self {
                    $(Self::$name => $promise,)*
                }
            }
        }
    };
}

wrongs! {
    /// Nobody acknowledged an order.
    NeverAccepted: "P1",
    /// What was acknowledged is not there.
    AcceptedAndGone: "P1",
    /// The ledger knows an instance, and the store does not.
    NotStored: "P1",
    /// Neither completed nor rolled back.
    NotEnded: "P1",
    /// The output is of no call of the step.
    OutputOfNoCall: "P2",
    /// There is an output of a step that has not completed.
    OutputOfNoEnd: "P2",
    /// Completed, without an output.
    NoOutput: "P2",
    /// A step began before its inputs were made.
    BeganEarly: "P2",
    /// A step was called when it was over, or when unwinding had begun.
    CalledLate: "P2",
    /// An idempotency key changed, or is that of something else.
    StrangeKey: "P3",
    /// What has no compensation was undone.
    UndoneWithoutCompensation: "P4",
    /// Undone before what depends on it.
    UndoneEarly: "P4",
    /// What surely had no effect was undone.
    UndoneForNothing: "P4",
    /// Compensated, and nobody undid it.
    NobodyUndid: "P4",
    /// Rolled back after its pivot had its effect.
    ReturnedAfterPivot: "P6",
    /// Past the pivot or completed, and something was undone.
    UndoneAfterPivot: "P6",
    /// A worker was told another end than the stored one.
    OtherEnd: "P7",
    /// The input is none of the orders.
    StrangeInput: "P10",
    /// It is not under the key and the saga of its order.
    StrangeStartKey: "P10",
    /// An order has several instances.
    TwoInstances: "P10",
    /// What is stored was published under no id, or under several.
    NotOneEvent: "P11",
    /// An event tells of another attempt than the stored one.
    EventOfAnotherAttempt: "P11",
    /// What is not stored was published.
    EventOfNothing: "P11",
    /// A message is no event of this run.
    Malformed: "P11",
    /// Events of a key came in another order than that of their commits.
    OutOfOrder: "P11",
    /// The consumer did not write for an event exactly once.
    NotConsumedOnce: "P11",
    /// The consumer wrote for an event that nobody else got.
    ConsumedUnknown: "P11",
    /// A broker or the consumer would not take an event.
    DeadLetter: "P11",
    /// Events wait to be published.
    LeftInOutbox: "P11",
    /// What came last was not waited for.
    NotDrained: "P11",
    /// The effect of a completed order is not in force.
    EffectLost: "books",
    /// An effect of an order that did not complete is in force.
    EffectLeft: "books",
    /// A step had its effect several times.
    EffectTwice: "books",
    /// A booking is of another amount than its order.
    AmountDiffers: "books",
    /// What is in force in all is not what the completed orders owe.
    TotalDiffers: "books",
    /// An effect of no instance.
    EffectForNobody: "books",
    /// Transactional steps wrote something else than what is stored.
    RowsDiffer: "transactional steps",
    /// Rows of no entry.
    RowsForNobody: "transactional steps",
    /// A worker ended by itself.
    WorkerDied: "workers",
    /// A worker that was told to end did not do so in good order.
    WorkerEndedBadly: "workers",
    /// No instance completed: the run shows nothing.
    NothingCompleted: "run",
    /// No event came: the run shows nothing.
    NothingPublished: "run",
    /// No instance was taken over: the run shows nothing.
    NothingTakenOver: "run",
    /// No fault took place: the run shows nothing.
    NothingDisturbed: "run",
    /// A kind of fault was planned, and never took place.
    FaultMissed: "run",
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) wrong: Wrong,
    pub(crate) id: Option<SagaId>,
    words: String,
}

impl Finding {
    pub(super) fn of(wrong: Wrong, id: SagaId, words: impl Into<String>) -> Self {
        Self {
            wrong,
            id: Some(id),
            words: words.into(),
        }
    }

    pub(super) fn of_all(wrong: Wrong, words: impl Into<String>) -> Self {
        Self {
            wrong,
            id: None,
            words: words.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promise = self.wrong.promise();
        match self.id {
            Some(id) => write!(f, "{promise}: instance {id}: {}", self.words),
            None => write!(f, "{promise}: {}", self.words),
        }
    }
}
