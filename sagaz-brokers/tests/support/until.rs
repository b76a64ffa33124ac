//! Publishing until it ends as a test wants it to: on a busy machine the time for a confirmation is over now and then, whatever else is the
//! case.

use sagaz_core::broker::BrokerError;
use std::time::{Duration, Instant};

/// Longer than any machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn until(
    publish: impl AsyncFn() -> Result<(), BrokerError>,
    is_wanted: impl Fn(&Result<(), BrokerError>) -> bool,
) {
    let began = Instant::now();
    loop {
        let end = publish().await;
        if is_wanted(&end) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{end:?}");
    }
}

pub(crate) fn is_unavailable(end: &Result<(), BrokerError>) -> bool {
    end.as_ref().is_err_and(BrokerError::is_unavailable)
}
