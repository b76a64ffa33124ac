//! Each check fails on evidence that was tampered with as a bug would do it, and on none that is right.

mod fixture;
mod tampering;

use super::*;
use fixture::{Fixture, PROCESS, fixture};

/// What is found when the evidence is tampered with.
fn found_wrong(tamper: impl FnOnce(&mut Fixture)) -> BTreeSet<Wrong> {
    let mut fixture = fixture();
    tamper(&mut fixture);
    let findings = audit(&fixture.evidence);
    findings.into_iter().map(|finding| finding.wrong).collect()
}

/// Finds this alone.
#[track_caller]
fn assert_found(wrong: Wrong, tamper: impl FnOnce(&mut Fixture)) {
    assert_eq!(found_wrong(tamper), BTreeSet::from([wrong]));
}

#[track_caller]
fn assert_right(tamper: impl FnOnce(&mut Fixture)) {
    assert_eq!(found_wrong(tamper), BTreeSet::new());
}

#[test]
fn what_is_right_is_found_to_be_so() {
    assert_right(|_| {});
}

#[test]
fn a_finding_says_its_promise_and_its_instance() {
    let mut it = fixture();
    let id = it.completed;
    it.evidence.strange_keys.push((id, "key".to_owned()));
    let findings = audit(&it.evidence);
    let [finding] = &findings[..] else {
        panic!("{findings:?}");
    };
    let words = finding.to_string();
    assert!(
        words.starts_with(&format!("P3: instance {id}: ")),
        "{words}"
    );
}

#[test]
fn deliveries_that_are_repeated_are_no_fault() {
    assert_right(|it| {
        let again = it.evidence.deliveries.clone();
        it.evidence.deliveries.extend(again);
    });
}

#[test]
fn p1_an_accepted_instance_that_is_gone() {
    let found = found_wrong(|it| {
        let gone = it.completed;
        it.evidence.instances.retain(|instance| instance.id != gone);
    });
    assert!(found.contains(&Wrong::AcceptedAndGone), "{found:?}");
    assert!(found.contains(&Wrong::NotStored), "{found:?}");
}

#[test]
fn p1_an_instance_that_is_still_under_way_has_not_ended() {
    assert_found(Wrong::NotEnded, |it| {
        let entry = it.entry;
        it.lose(entry, |what| matches!(what, What::Finished { .. }));
        it.instance(entry).state = InstanceState::Executing;
    });
}

#[test]
fn p2_a_step_may_run_again_by_a_process_that_had_been_stopped_meanwhile() {
    let (step, attempt) = (Step::Charge, 2);
    let tamper = |it: &mut Fixture, lasting_ms: u64| {
        let id = it.completed;
        let line = it.append(id, What::Called { step, attempt });
        line.process = 2;
        let at = line.at_ms;
        it.evidence.stops.push((2, 5, 5 + lasting_ms));
        assert!(at > 5 + lasting_ms);
    };
    assert_right(|it| tamper(it, 100));
    // That is long ago.
    assert_found(Wrong::CalledLate, |it| {
        tamper(it, 100);
        it.evidence.lines.last_mut().unwrap().at_ms += AFTER_STOP_MS;
    });
}

#[test]
fn p2_a_step_that_ran_while_others_were_undone() {
    assert_found(Wrong::CalledLate, |it| {
        let (id, step, attempt) = (it.rolled_back, Step::Dispatch, 2);
        it.append(id, What::Called { step, attempt });
    });
}

#[test]
fn p11_an_event_that_was_lost() {
    let found = found_wrong(|it| {
        let place = it.delivery(it.completed, Step::Charge, false);
        it.evidence.deliveries.remove(place);
        it.evidence.consumed.remove(place);
    });
    assert_eq!(found, BTreeSet::from([Wrong::NotOneEvent]));
}

#[test]
fn p11_undoes_of_an_instance_that_overtake_each_other() {
    assert_found(Wrong::OutOfOrder, |it| {
        let one = it.delivery(it.rolled_back, Step::Reserve, true);
        let other = it.delivery(it.rolled_back, Step::Charge, true);
        it.evidence.deliveries.swap(one, other);
    });
}

#[test]
fn p11_events_of_two_instances_that_overtake_each_other() {
    let tamper = |it: &mut Fixture| {
        let one = it.delivery(it.completed, Step::Dispatch, false);
        let late = it.evidence.deliveries.remove(one);
        it.evidence.deliveries.push(late);
        // It is the last of its own instance.
        let last = it.delivery(it.completed, Step::Confirm, false);
        let last = it.evidence.deliveries.remove(last);
        it.evidence.deliveries.push(last);
    };
    assert_found(Wrong::OutOfOrder, tamper);
    // Where the store promises no such order, that is right.
    assert_right(|it| {
        tamper(it);
        it.evidence.ordered_across_instances = false;
    });
}

#[test]
fn p11_an_effect_of_a_consumer_that_is_lost() {
    assert_found(Wrong::NotConsumedOnce, |it| {
        drop(it.evidence.consumed.pop());
    });
}

#[test]
fn an_empty_run_shows_nothing() {
    let found: BTreeSet<Wrong> = audit(&Evidence::default())
        .into_iter()
        .map(|finding| finding.wrong)
        .collect();
    let vacuous = [
        Wrong::NothingCompleted,
        Wrong::NothingPublished,
        Wrong::NothingTakenOver,
        Wrong::NothingDisturbed,
    ];
    assert_eq!(found, BTreeSet::from(vacuous));
}

#[test]
fn the_story_of_an_instance_has_its_rows_its_lines_its_events_and_the_faults_near_it() {
    let it = fixture();
    let fault = crate::faults::Injected {
        fault: crate::schedule::Fault::KillWorker { slot: 0 },
        began_ms: 20,
        ended_ms: 21,
        process: Some(PROCESS),
        note: String::new(),
    };
    let far = crate::faults::Injected {
        began_ms: 1_000_000,
        ended_ms: 1_000_000,
        process: Some(77),
        ..fault.clone()
    };
    let story = story(&it.evidence, &[fault, far], it.entry);
    for words in [
        "Completed",
        "Called { step: Settle",
        "FAULT worker killed",
        "delivered:",
        "row:",
    ] {
        assert!(story.contains(words), "no `{words}` in\n{story}");
    }
    assert!(!story.contains("process 77"), "{story}");
}
