//! The world outside the faults: it hands out orders to clients and keeps the ledger, for all worker processes, over a socket that
//! nothing disturbs.
//!
//! Invariant: an order that a process took and did not acknowledge is given to another one, so that every order is started by
//! somebody, and some by two.

mod client;
mod server;

pub(crate) use client::World;
pub(crate) use server::Server;

use crate::{
    ledger::{Effect, Request, What},
    order::Order,
};
use sagaz::SagaId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a worker says, a line each.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    /// The answer has the same.
    nth: u64,
    ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// Who it is: said first.
    Process(u32),
    /// The next order to start.
    Order,
    /// A start was acknowledged.
    Accepted(u32, SagaId),
    /// A start failed, or its answer never came; another client has to see to it.
    GiveBack(u32),
    Call(Request),
    Effect(Request, Order, u64),
    CallUndo(Request),
    Undo(Request),
    /// What became of an instance, as its worker saw it.
    Note(SagaId, What),
    /// How often what happened since the last time.
    Count(BTreeMap<String, u64>),
    /// Something that people should know.
    Tell(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Answered {
    nth: u64,
    answer: Answer,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    Order(Order),
    Serial(u64),
    Effect(Effect),
}
