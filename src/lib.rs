#![doc = include_str!("docs/crate.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub use sagaz_core::store::{
    CancelReply, Cursor, Filter, InstanceState, Page, Snapshot, StepRow, StepState, Summary,
    memory::Memory,
};
pub use sagaz_core::{
    AfterCommit, AttemptError, Codec, CodecError, CompensationDefinition, Definition, Engine,
    EngineBuilder, EngineId, Error, Event, EventId, EventParts, Failure, FailureReason, Graph,
    Handle, InProcess, Instance, IntoStepError, Json, Lifecycle, NotCompleted, Observer, OnFailure,
    Operator, Outcome, Payload, PublishError, Recover, Resolution, Retry, RunsOn, STEPS_MAX, Saga,
    SagaId, Start, StartIn, StepContext, StepDefinition, StepError, StepKind, Stuck, StuckReason,
    System, Token, broker, store,
};

pub use sagaz_brokers as brokers;
#[cfg(feature = "macros")]
pub use sagaz_macros::{compensate, recover, saga, step};
#[cfg(feature = "outbox")]
pub use sagaz_outbox as outbox;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sagaz_storage::barrier;
#[cfg(feature = "postgres")]
pub use sagaz_storage::postgres;
#[cfg(feature = "redis")]
pub use sagaz_storage::redis;
#[cfg(feature = "sqlite")]
pub use sagaz_storage::sqlite;
#[cfg(feature = "testing")]
pub use sagaz_testing as testing;

/// What happens to instances, engines, relays and consumers: for observers of your own and, with the features `tracing`, `metrics`
/// and `otel`, as spans, logs, metrics and health.
pub mod observe {
    pub use sagaz_core::observe::*;
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    pub use sagaz_observe::*;
}

/// What most programs need: `use sagaz::prelude::*`.
pub mod prelude {
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub use crate::barrier::{BarrierContext, BarrierError};
    pub use crate::{
        Engine, Filter, Handle, InstanceState, IntoStepError, Lifecycle, Observer, Outcome,
        Recover, Saga, SagaId, StepContext, StepError,
    };
    #[cfg(feature = "macros")]
    pub use crate::{compensate, recover, saga, step};
}

#[doc = include_str!("docs/compile_errors.md")]
pub mod compile_errors {}

#[cfg(feature = "conformance")]
pub use sagaz_core::{
    inbox_conformance, outbox_conformance, store_conformance, transaction_conformance,
};

#[doc(hidden)]
pub use sagaz_core::private as __private;
