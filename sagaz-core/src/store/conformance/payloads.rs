//! What goes in comes out: bytes, texts, numbers and durations.

use super::{Harness, fixture::*};
use crate::{
    codec::Payload,
    id::Token,
    store::{
        Accept, Accepted, Claim, DefinitionKey, Filter, InstanceState, Intervention, OperatorWrite,
        Progress, SagaStore, StepRow, StepState, StepWrite,
    },
};
use std::time::Duration;

/// Stores an instance with this input and a step with this output, and looks at both.
async fn assert_comes_back(harness: &impl Harness, payload: &Payload) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let accept = Accept {
        owner: Some(engine),
        input: payload.clone(),
        ..accept()
    };
    let id = store_accept(&store, &accept).await;
    let mut write = progress(
        id,
        Token {
            owner: engine,
            epoch: 1,
        },
        InstanceState::Executing,
    );
    write.steps.push(StepWrite {
        output: Some(payload.clone()),
        ..step("reserve", StepState::Completed)
    });
    store_progress(&store, &write).await;

    let second = harness.second(&store).await;
    let loaded = load(&second, id).await;
    store.retire(engine).await.unwrap();
    let (_, claimed) = claim_one(&second, id).await;
    for snapshot in [loaded, claimed] {
        // Compared without `assert_eq!`: a broken store would print half a megabyte.
        assert!(
            snapshot.input == *payload,
            "the input is another one: {:?}",
            snapshot.input
        );
        let output = &stored_step(&snapshot, "reserve").output;
        assert!(
            output.as_ref() == Some(payload),
            "the output is another one: {output:?}"
        );
    }
}

/// 512 KiB, in and out.
pub async fn a_large_payload_comes_back(harness: &impl Harness) {
    let text: String = ('a'..='z').cycle().take(512 * 1024 - 2).collect();
    assert_comes_back(harness, &json(&format!("\"{text}\""))).await;
}

/// No store looks into them.
pub async fn any_bytes_of_any_content_type_come_back(harness: &impl Harness) {
    let all_bytes: Vec<u8> = (0..=u8::MAX).rev().cycle().take(3 * 256).collect();
    for bytes in [all_bytes, Vec::new(), vec![0], b"{not json".to_vec()] {
        let content_type = "application/vnd.acme.order+cbor; charset=\"x\"".to_owned();
        assert_comes_back(
            harness,
            &Payload {
                content_type,
                bytes,
            },
        )
        .await;
    }
    assert_comes_back(harness, &json("null")).await;
}

/// Texts that trip up whoever builds statements, patterns or paths of them. No NUL: not every database has it in a text.
fn strange_strings() -> Vec<String> {
    let mut strings: Vec<String> = [
        "",
        " ",
        "  leading and trailing  ",
        "it's \"quoted\" `thrice`",
        "'; DROP TABLE saga_instance; --",
        "$1 ?1 :name @name %s {} {0} \\",
        "100%_",
        "line\nbreak\r\n\ttab",
        "naïve Ünïcödé ßẞ İı",
        "e\u{301} is not \u{e9}",
        "日本語 العربية עברית",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "\u{202e}right to left\u{202c}",
        "\u{1}\u{7f}\u{feff}\u{fffd}\u{10ffff}",
        "null",
        "[\"json\"]",
        "00123",
        "1e3",
    ]
    .map(str::to_owned)
    .to_vec();
    strings.push("very-long-".repeat(1_000));
    strings
}

/// In every field that holds a text.
pub async fn strange_strings_come_back(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    for text in strange_strings() {
        let definition = DefinitionKey {
            saga: text.clone(),
            version: 1,
            fingerprint: text.clone(),
        };
        store.define(&definition).await.unwrap();
        let accept = Accept {
            input_digest: text.clone(),
            owner: Some(engine),
            ..keyed(&store, &text, accept_of(definition.clone()))
        };
        let id = store_accept(&store, &accept).await;
        let again = Accept {
            id: store.new_id(&text, Some(&text)),
            ..accept.clone()
        };
        let existing = Accepted::Existing {
            id,
            input_digest: text.clone(),
        };
        assert_eq!(write_accept(&store, &again).await, existing, "{text:?}");

        let (mut failure, mut why) = (failure(&text), stuck(&text));
        (failure.step, why.step) = (Some(text.clone()), Some(text.clone()));
        let row = StepWrite {
            error: Some(text.clone()),
            ..completed(&text, "1")
        };
        let write = Progress {
            failure: Some(failure.clone()),
            stuck: Some(why.clone()),
            steps: vec![row],
            ..progress(
                id,
                Token {
                    owner: engine,
                    epoch: 1,
                },
                InstanceState::Stuck,
            )
        };
        store_progress(&store, &write).await;
        let snapshot = load(&store, id).await;
        let summary = &snapshot.summary;
        assert_eq!(
            (&summary.definition, &summary.start_key),
            (&definition, &Some(text.clone()))
        );
        assert_eq!(
            (&summary.failure, &summary.stuck),
            (&Some(failure), &Some(why))
        );
        assert_eq!(stored_step(&snapshot, &text).error, Some(text.clone()));

        let said = Intervention {
            action: text.clone(),
            who: text.clone(),
            why: text.clone(),
            at_ms: 0,
        };
        let decision = OperatorWrite {
            intervention: said.clone(),
            ..operator_write(id, 1, InstanceState::Executing)
        };
        assert!(store.operate(&decision).await.unwrap());
        let claim = Claim {
            runnable: vec![runnable(definition)],
            ..claim_by(engine)
        };
        let claimed = store.claim(&claim).await.unwrap();
        assert_eq!(ids(&claimed), [id], "{text:?}");
        assert_eq!(
            Intervention {
                at_ms: 0,
                ..claimed.instances[0].interventions[0].clone()
            },
            said
        );
    }
}

/// A name is no pattern, and case, accents and spaces matter.
pub async fn strange_names_are_found_exactly(harness: &impl Harness) {
    let store = harness.open().await;
    let mut names = strange_strings();
    names.extend(
        [
            "Name", "name", "name ", "nam_", "nam%", "n.me", "%", "_", "*",
        ]
        .map(str::to_owned),
    );
    let mut accepted = Vec::new();
    for name in &names {
        let accept = keyed(&store, name, accept_of(definition(name)));
        accepted.push((name, store_accept(&store, &accept).await));
    }
    for (name, id) in accepted {
        assert_eq!(store.find(name, name).await.unwrap(), Some(id), "{name:?}");
        let page = store.list(&Filter::all().saga(name)).await.unwrap();
        let found: Vec<_> = page.instances.iter().map(|summary| summary.id).collect();
        assert_eq!(found, [id], "{name:?}");
    }
    assert_eq!(store.find("NAME", "NAME").await.unwrap(), None);
    let counts = store.count().await.unwrap();
    assert_eq!(
        counts.iter().filter(|(_, _, count)| *count == 1).count(),
        names.len()
    );
}

/// Of every column that counts.
pub async fn the_largest_numbers_come_back(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let definition = DefinitionKey {
        version: u32::MAX,
        ..definition(SAGA)
    };
    store.define(&definition).await.unwrap();
    let far = HOUR * 24 * 36_500;
    let accept = Accept {
        owner: Some(engine),
        deadline: Some(far),
        ..accept_of(definition.clone())
    };
    let id = store_accept(&store, &accept).await;
    let mut write = progress(
        id,
        Token {
            owner: engine,
            epoch: 1,
        },
        InstanceState::Executing,
    );
    write.steps.push(StepWrite {
        attempts: u32::MAX,
        undo_attempts: u32::MAX,
        recoveries: u32::MAX,
        wake: Some(far),
        ..step("reserve", StepState::Failed)
    });
    store_progress(&store, &write).await;
    let snapshot = load(&store, id).await;
    assert_eq!(snapshot.summary.definition, definition);
    let StepRow {
        attempts,
        undo_attempts,
        recoveries,
        wake,
        ..
    } = stored_step(&snapshot, "reserve");
    assert_eq!(
        (*attempts, *undo_attempts, *recoveries),
        (u32::MAX, u32::MAX, u32::MAX)
    );
    for left in [snapshot.deadline, *wake] {
        assert_left(left, far);
    }
}

/// From the acceptance on, through claims, down to nothing.
pub async fn a_deadline_counts_down(harness: &impl Harness) {
    let store = harness.open().await;
    let without = store_accept(&store, &accept()).await;
    assert_eq!(load(&store, without).await.deadline, None);

    let long = store_accept(
        &store,
        &Accept {
            deadline: Some(HOUR),
            ..accept()
        },
    )
    .await;
    let first = load(&store, long).await.deadline.unwrap();
    assert_left(Some(first), HOUR);
    until("less is left", async || {
        (load(&store, long).await.deadline.unwrap() < first).then_some(())
    })
    .await;
    let engine = engine(&store).await;
    let snapshot = claim_until_taken(&store, &claim_by(engine), long).await;
    assert!(snapshot.deadline.unwrap() < first);

    let short = store_accept(
        &store,
        &Accept {
            deadline: Some(Duration::from_millis(30)),
            ..accept()
        },
    )
    .await;
    until("nothing is left", async || {
        (load(&store, short).await.deadline? == Duration::ZERO).then_some(())
    })
    .await;
}

/// From the write on, down to nothing; the row keeps it until it is replaced.
pub async fn a_wake_up_counts_down(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    let waits = |name: &str, wake| StepWrite {
        wake: Some(wake),
        ..step(name, StepState::Unknown)
    };
    let mut write = progress(id, token, InstanceState::Executing);
    write.steps = vec![
        waits("long", HOUR),
        waits("short", Duration::from_millis(30)),
        completed("none", "1"),
    ];
    store_progress(&store, &write).await;

    let snapshot = load(&store, id).await;
    assert_eq!(stored_step(&snapshot, "none").wake, None);
    let first = stored_step(&snapshot, "long").wake.unwrap();
    assert_left(Some(first), HOUR);
    let last = until("nothing is left", async || {
        let snapshot = load(&store, id).await;
        (stored_step(&snapshot, "short").wake? == Duration::ZERO).then_some(snapshot)
    })
    .await;
    assert!(stored_step(&last, "long").wake.unwrap() < first);
}
