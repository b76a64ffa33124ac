//! The core of `sagaz`: graph, state machine, engine and the store traits. No I/O.
//!
//! Use the [`sagaz`](https://docs.rs/sagaz) crate, which re-exports what is public here.

pub mod broker;
mod codec;
mod context;
mod definition;
mod driver;
mod engine;
mod error;
mod event;
mod graph;
mod id;
pub mod observe;
mod outcome;
#[doc(hidden)]
pub mod private;
mod published;
mod retry;
mod run;
mod saga;
mod state;
mod step_error;
pub mod store;
mod system;
mod transactor;

pub use codec::{Codec, CodecError, Json, Payload};
pub use context::StepContext;
pub use definition::{
    CompensationDefinition, Definition, OnFailure, STEPS_MAX, StepDefinition, StepKind,
};
pub use engine::{
    AfterCommit, Engine, EngineBuilder, Handle, Operator, Resolution, Start, StartIn,
};
pub use error::Error;
pub use event::{
    EVENT_ATTRIBUTES_MAX, EVENT_TEXT_MAX, Event, EventId, EventParts, PublishError, SAGA_ATTRIBUTE,
    STEP_ATTRIBUTE,
};
pub use graph::Graph;
pub use id::{EngineId, SagaId, Token};
pub use observe::{AttemptError, Instance, Lifecycle, Observer};
pub use outcome::{Failure, FailureReason, NotCompleted, Outcome, Stuck, StuckReason};
pub use retry::Retry;
pub use saga::{InProcess, RunsOn, Saga};
pub use step_error::{IntoStepError, Recover, StepError};
pub use system::System;
