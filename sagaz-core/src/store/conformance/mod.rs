//! The rules that every store keeps, as tests.
//!
//! Implement [`Harness`] for your store and let [`store_conformance!`](crate::store_conformance) make one test of each
//! rule; a test is named after the promise or the rule that it defends. A rule waits for conditions, never for a time,
//! and lets leases end by [`retire`](super::SagaStore::retire) wherever the passing of time itself is not the point.
//!
//! Not here: speed, durability and what a killed process leaves behind; only a test with real processes shows that.
//!
//! ```
//! use sagaz_core::store::{conformance::Harness, memory::Memory};
//!
//! struct InMemory;
//!
//! impl Harness for InMemory {
//!     type Store = Memory;
//!
//!     async fn open(&self) -> Memory {
//!         Memory::new()
//!     }
//!
//!     async fn second(&self, store: &Memory) -> Memory {
//!         store.clone()
//!     }
//! }
//!
//! sagaz_core::store_conformance!(InMemory);
//! ```
#![cfg_attr(
    not(test), // Clippy lets tests do it.
    expect(clippy::wildcard_imports, reason = "the rules of every theme are written in the words of the fixture")
)]
#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a rule that is broken panics"
)]

pub mod accept;
pub mod cancel;
pub mod claim;
pub mod dead_letters;
pub mod definitions;
pub mod fence;
pub mod inbox;
pub mod lanes;
pub mod leases;
pub mod list;
pub mod marks;
pub mod operate;
pub mod outbox;
pub mod payloads;
pub mod progress;
pub mod prune;
pub mod senders;
pub mod suspects;
pub mod transactions;

mod fixture;

use super::SagaStore;
use std::time::Duration;

/// Makes the stores that the rules are tried on.
pub trait Harness {
    /// The store.
    type Store: SagaStore;

    /// A new, empty store, apart from all others.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Another handle on the same data, sharing as little with the first as another process would.
    fn second(&self, store: &Self::Store) -> impl Future<Output = Self::Store> + Send;

    /// A lease that a rule can wait for to end. Shorter than is safe for an engine, but longer than a call takes.
    fn lease_short(&self) -> Duration {
        Duration::from_millis(200)
    }
}

/// Makes a `#[tokio::test]` of each rule: `store_conformance!(MyHarness::new())`. The expression is evaluated anew for
/// each test. The crate that uses it needs `tokio` with `macros` and `rt`.
#[macro_export]
macro_rules! store_conformance {
    ($harness:expr) => {
        $crate::store_conformance! { @each $harness;
            accept: p1_what_was_accepted_is_stored,
            accept: the_trace_of_an_instance_goes_with_it,
            accept: an_accept_with_an_owner_begins_at_epoch_1,
            accept: an_accept_may_be_repeated,
            accept: a_repeated_accept_takes_nothing_back,
            accept: p10_a_start_key_names_one_instance_of_a_saga,
            accept: p10_a_start_key_of_the_same_batch_counts,
            accept: p10_a_start_key_lives_as_long_as_its_instance,
            accept: p10_concurrent_starts_with_one_key_give_one_instance,
            accept: an_instance_that_was_never_accepted_is_not_found,
            accept: replies_are_in_the_order_of_the_batch,
            accept: an_empty_batch_changes_nothing,
            accept: a_client_whose_clock_is_wrong_disturbs_nothing,
            fence: p7_a_write_with_an_old_epoch_changes_nothing,
            fence: p7_a_write_of_another_owner_at_the_same_epoch_changes_nothing,
            fence: p7_a_write_with_an_epoch_to_come_changes_nothing,
            fence: p7_a_former_owners_write_changes_nothing,
            fence: p7_an_engines_own_older_token_changes_nothing,
            fence: p7_a_write_to_an_instance_that_nobody_ever_owned_is_lost,
            fence: p7_a_write_to_an_unknown_instance_is_lost,
            fence: p7_the_end_of_a_lease_alone_drops_no_write,
            fence: a_lost_write_does_not_disturb_its_neighbours,
            fence: a_write_may_be_repeated,
            fence: a_write_that_gave_the_instance_up_may_be_repeated,
            fence: p7_a_repeat_after_the_next_claim_is_lost,
            fence: p7_writes_that_race_a_takeover_come_before_it_or_are_lost,
            progress: p2_a_stored_output_stays,
            progress: a_step_row_replaces_the_old_one,
            progress: other_steps_stay_as_they_were,
            progress: every_step_state_and_kind_can_be_stored,
            progress: a_failure_once_stored_stays,
            progress: why_it_is_stuck_is_stored_as_it_is,
            progress: that_the_pivot_is_passed_is_stored,
            progress: a_write_is_dated,
            progress: p1_a_released_instance_is_due_at_once,
            progress: p1_a_released_instance_becomes_due_after_its_delay,
            progress: p8_an_ended_instance_belongs_to_nobody_and_is_not_claimed,
            claim: a_claim_takes_what_nobody_owns,
            claim: a_claimer_without_a_lease_gets_nothing,
            claim: p7_the_instances_of_a_live_engine_are_not_claimed,
            claim: p1_the_instances_of_a_dead_engine_are_claimed,
            claim: a_claim_takes_no_more_than_its_limit,
            claim: what_is_due_longest_is_claimed_first,
            claim: p8_what_an_engine_cannot_run_is_left_untouched,
            claim: p7_two_engines_that_race_share_no_instance,
            claim: a_claim_tells_the_next_wake_up,
            claim: the_next_wake_up_is_of_what_the_engine_can_run,
            claim: a_claimed_instance_comes_with_all_that_is_stored,
            claim: a_released_instance_does_not_count_as_taken_over,
            claim: news_may_be_dropped_and_missed,
            leases: p1_a_lease_ends_by_the_stores_clock,
            leases: a_renewed_lease_goes_on,
            leases: a_renewal_can_shorten_a_lease,
            leases: a_renewal_counts_the_other_live_engines,
            leases: p7_a_renewal_tells_that_the_lease_had_lapsed,
            leases: retiring_twice_or_without_a_lease_is_harmless,
            leases: the_bounds_of_a_store_fit_each_other,
            suspects: p8_after_two_takeovers_without_a_stored_step_it_is_a_suspect,
            suspects: a_claim_takes_one_suspect_at_most,
            suspects: a_suspect_needs_room_for_it_and_no_other,
            suspects: a_suspect_whose_owner_died_is_postponed,
            suspects: a_suspect_is_postponed_no_longer_than_the_bound,
            suspects: a_postponed_suspect_runs_again,
            suspects: p8_poison_becomes_stuck,
            suspects: a_stored_step_clears_the_takeovers,
            suspects: a_step_that_is_only_begun_does_not_clear_the_takeovers,
            suspects: graceful_releases_never_count,
            cancel: the_owner_hears_of_a_request_with_its_next_write,
            cancel: the_owner_hears_of_a_request_with_its_next_renewal,
            cancel: a_request_makes_an_instance_that_nobody_owns_due,
            cancel: a_request_may_be_repeated,
            cancel: an_instance_that_is_being_undone_can_be_asked,
            cancel: p6_a_request_after_the_pivot_is_refused,
            cancel: a_request_to_what_has_ended_or_is_stuck_is_refused,
            cancel: a_request_to_an_unknown_instance_finds_nothing,
            operate: p8_a_decision_sets_a_stuck_instance_going,
            operate: a_decision_at_another_epoch_changes_nothing,
            operate: only_a_stuck_instance_can_be_operated,
            operate: a_decision_is_applied_once,
            operate: p7_of_two_decisions_at_once_one_is_applied,
            operate: p7_a_write_from_before_a_decision_is_lost,
            operate: a_decision_replaces_steps_and_keeps_outputs,
            operate: a_decision_can_end_an_instance,
            operate: interventions_are_listed_oldest_first,
            definitions: p9_a_definition_may_be_recorded_again,
            definitions: p9_another_graph_under_a_version_in_use_is_a_conflict,
            definitions: p9_another_graph_replaces_one_without_unfinished_instances,
            definitions: p9_another_version_or_saga_is_no_conflict,
            definitions: p9_only_the_same_fingerprint_is_claimed,
            definitions: p9_an_older_version_is_taken_only_where_it_is_accepted,
            definitions: p9_an_older_version_that_fits_is_taken_under_the_new_one,
            definitions: p9_an_older_version_with_an_unknown_step_is_left_untouched,
            definitions: p9_an_older_version_with_a_step_of_another_kind_is_left_untouched,
            definitions: p9_an_older_version_without_a_new_dependency_is_left_untouched,
            list: an_empty_store_has_an_empty_page,
            list: instances_are_listed_newest_first,
            list: p12_pages_cover_everything_once,
            list: a_last_page_that_is_full_has_no_next,
            list: filters_hold_on_every_page,
            list: the_age_of_an_instance_can_be_asked_for,
            list: p12_no_page_is_longer_than_its_bound,
            list: instances_are_counted_by_saga_and_state,
            list: the_backlog_is_what_has_not_ended,
            prune: p12_an_ended_instance_is_removed_after_its_age,
            prune: the_age_counts_from_the_end,
            prune: p8_only_ended_instances_are_removed,
            prune: no_more_than_the_limit_is_removed,
            prune: p10_a_start_key_goes_with_its_instance,
            prune: the_steps_go_with_their_instance,
            prune: an_archived_instance_is_kept_as_it_was,
            payloads: a_large_payload_comes_back,
            payloads: any_bytes_of_any_content_type_come_back,
            payloads: strange_strings_come_back,
            payloads: strange_names_are_found_exactly,
            payloads: the_largest_numbers_come_back,
            payloads: a_deadline_counts_down,
            payloads: a_wake_up_counts_down,
        }
    };
    (@each $harness:expr; $($theme:ident: $rule:ident,)+) => {
        $(
            #[::tokio::test]
            async fn $rule() {
                $crate::store::conformance::$theme::$rule(&$harness).await;
            }
        )+
    };
}
