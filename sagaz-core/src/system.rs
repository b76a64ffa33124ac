//! What stores and brokers are called.

/// A store or a broker, as metrics and traces name it.
pub trait System {
    /// Its name, as OpenTelemetry has it in [`db.system.name`] or [`messaging.system`] if it is there: `postgresql`, `kafka`.
    ///
    /// [`db.system.name`]: https://opentelemetry.io/docs/specs/semconv/registry/attributes/db/
    /// [`messaging.system`]: https://opentelemetry.io/docs/specs/semconv/registry/attributes/messaging/
    fn system(&self) -> &'static str;
}

impl<S: System> System for std::sync::Arc<S> {
    fn system(&self) -> &'static str {
        S::system(self)
    }
}
