//! Why there is no encrypted connection, which clients tell as any other trouble of the network.

use sagaz_core::broker::BrokerError;
use std::{error::Error, io, iter, sync::Arc};

/// The error, if it is that the two ends do not agree on how to encrypt, or on whose certificates to trust. `server`: its name, for
/// people.
pub(crate) fn trouble(error: &(dyn Error + 'static), server: &str) -> Option<BrokerError> {
    let mut causes = iter::successors(Some(error), |&error| error.source());
    causes.any(is_of_tls).then(|| {
        BrokerError::misused(format!(
            "there is no encrypted connection to {server}; look at the certificates on both sides, and whether both sides encrypt"
        ))
    })
}

/// What rustls says of a handshake, or of an alert from the other end.
fn is_of_tls(cause: &(dyn Error + 'static)) -> bool {
    // The client of Redis shares it.
    let cause = match cause.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(shared) => &**shared,
        None => cause,
    };
    let cause = cause.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
}
