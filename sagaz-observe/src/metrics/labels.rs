//! Labels whose values come from outside.

use super::registry::EVENT_TYPES_MAX;
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// What is not told apart.
pub(super) const OTHER: &str = "other";

/// The event types that are told apart: whoever can send events could else make any number of series.
#[derive(Debug, Default)]
pub(super) struct EventTypes(Mutex<BTreeSet<String>>);

impl EventTypes {
    /// The event type, if it is one of the first that were seen, and else `other`.
    pub(super) fn bounded(&self, event_type: &str) -> String {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(event_type) {
            if seen.len() >= EVENT_TYPES_MAX {
                return OTHER.to_owned();
            }
            seen.insert(event_type.to_owned());
        }
        event_type.to_owned()
    }

    /// The event type, if it is one of those that were seen, and else `other`: it takes no place.
    pub(super) fn known(&self, event_type: &str) -> String {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = seen.contains(event_type);
        if is_known { event_type } else { OTHER }.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_event_types_are_told_apart_than_the_bound() {
        let types = EventTypes::default();
        let seen: BTreeSet<String> = (0..10_000).map(|n| types.bounded(&n.to_string())).collect();
        assert_eq!(seen.len(), EVENT_TYPES_MAX + 1);
        assert_eq!(types.bounded("0"), "0");
        assert_eq!(types.bounded("9999"), OTHER);
        let types = EventTypes::default();
        assert_eq!(
            (types.known("a"), types.bounded("a"), types.known("a")),
            (OTHER.into(), "a".into(), "a".into())
        );
    }
}
