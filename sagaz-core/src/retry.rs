//! How often and when an attempt is made again.

use std::time::Duration;

/// A retry policy: exponential backoff with jitter.
///
/// The delay before attempt *n* + 1 is `initial * factor^(n - 1)`, at most `max`, and then a random share of up to
/// `jitter` of it is taken off, so that many instances that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Attempts in all, the first included; `None` is for ever.
    pub attempts: Option<u32>,
    /// The delay after the first attempt.
    pub initial: Duration,
    /// No delay is longer.
    pub max: Duration,
    /// By how much each delay is longer than the one before it.
    pub factor: f64,
    /// The share of a delay, 0 to 1, that chance may take off.
    pub jitter: f64,
}

impl Retry {
    /// One attempt and no retry: the default of a step.
    pub const NONE: Self = Self {
        attempts: Some(1),
        ..Self::BACKOFF
    };

    /// The default of a compensation: an undo that gives up needs an operator, so it does not give up early. About two
    /// hours in all.
    pub const COMPENSATION: Self = Self {
        attempts: Some(30),
        max: Duration::from_mins(5),
        ..Self::BACKOFF
    };

    /// What `retry(..)` fills in where it is silent: 5 attempts, from 200 ms doubling to 30 s, half of it chance.
    pub const BACKOFF: Self = Self {
        attempts: Some(5),
        initial: Duration::from_millis(200),
        max: Duration::from_secs(30),
        factor: 2.0,
        jitter: 0.5,
    };

    /// Whether one more attempt follows attempt number `attempt` (the first is 1).
    #[must_use]
    pub const fn again_after(&self, attempt: u32) -> bool {
        match self.attempts {
            None => true,
            Some(attempts) => attempt < attempts,
        }
    }

    /// The delay after attempt number `attempt` (the first is 1); `chance` is a random number from 0 to 1.
    #[must_use]
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let capped = seconds.min(self.max.as_secs_f64());
        let jittered = capped * (1.0 - self.jitter.clamp(0.0, 1.0) * chance.clamp(0.0, 1.0));
        Duration::try_from_secs_f64(jittered).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Retry = Retry {
        jitter: 0.0,
        ..Retry::BACKOFF
    };

    #[test]
    fn delays_double_up_to_the_maximum() {
        let delays: Vec<_> = [1, 2, 3, 9, 4_000_000_000]
            .map(|attempt| EXACT.delay(attempt, 0.5).as_millis())
            .into();
        assert_eq!(delays, [200, 400, 800, 30_000, 30_000]);
    }

    #[test]
    fn jitter_only_shortens_a_delay() {
        assert_eq!(Retry::BACKOFF.delay(1, 0.0), Duration::from_millis(200));
        assert_eq!(Retry::BACKOFF.delay(1, 1.0), Duration::from_millis(100));
    }

    #[test]
    fn the_first_attempt_counts() {
        assert!(!Retry::NONE.again_after(1));
        assert!(EXACT.again_after(4));
        assert!(!EXACT.again_after(5));
        assert!(
            Retry {
                attempts: None,
                ..EXACT
            }
            .again_after(u32::MAX)
        );
    }
}
