//! Only the owner writes, and what it wrote it may write again.

use super::{Harness, fixture::*};
use crate::{
    id::{EngineId, SagaId, Token},
    store::{Accept, Claim, InstanceState, Progress, SagaStore, StepState, Wake, Write, Written},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A write that would change everything that a write can change.
fn sweeping(id: SagaId, token: Token) -> Progress {
    Progress {
        pivot_passed: true,
        failure: Some(failure("by a stranger")),
        stuck: Some(stuck("by a stranger")),
        release: Some(Wake::Now),
        steps: vec![
            completed("reserve", r#""forged""#),
            step("forged", StepState::Completed),
        ],
        ..progress(id, token, InstanceState::Stuck)
    }
}

/// Tries a write that is none of the owner's.
async fn assert_lost(store: &impl SagaStore, write: &Progress) {
    let before = picture(store, write.id).await;
    assert_eq!(write_progress(store, write).await, Written::Lost);
    assert_eq!(picture(store, write.id).await, before);
}

/// An instance with a stored step that has been claimed from its first owner; its id and both tokens.
async fn taken_over(store: &impl SagaStore) -> (SagaId, Token, Token) {
    let first = engine(store).await;
    let (id, former) = owned(store, first).await;
    let mut write = progress(id, former, InstanceState::Executing);
    write.steps.push(completed("reserve", "1"));
    store_progress(store, &write).await;
    store.retire(first).await.unwrap();
    let (_, snapshot) = claim_one(store, id).await;
    (id, former, snapshot.token().unwrap())
}

/// The owner's own engine, but an epoch that is over.
pub async fn p7_a_write_with_an_old_epoch_changes_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, _, token) = taken_over(&store).await;
    assert_eq!(token.epoch, 2);
    assert_lost(&store, &sweeping(id, Token { epoch: 1, ..token })).await;
    assert_lost(&store, &sweeping(id, Token { epoch: 0, ..token })).await;
}

/// The epoch's number alone is no proof.
pub async fn p7_a_write_of_another_owner_at_the_same_epoch_changes_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, former, token) = taken_over(&store).await;
    assert_lost(
        &store,
        &sweeping(
            id,
            Token {
                owner: former.owner,
                ..token
            },
        ),
    )
    .await;
    assert_lost(
        &store,
        &sweeping(
            id,
            Token {
                owner: EngineId::random(),
                ..token
            },
        ),
    )
    .await;
}

/// Nobody can have been given that token.
pub async fn p7_a_write_with_an_epoch_to_come_changes_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, _, token) = taken_over(&store).await;
    assert_lost(
        &store,
        &sweeping(
            id,
            Token {
                epoch: token.epoch + 1,
                ..token
            },
        ),
    )
    .await;
}

/// It was cut off, and comes back, through the handle of another process.
pub async fn p7_a_former_owners_write_changes_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, former, token) = taken_over(&store).await;
    let second = harness.second(&store).await;
    assert_lost(&second, &sweeping(id, former)).await;
    // Not even with a lease again.
    second.renew(former.owner, HOUR).await.unwrap();
    assert_lost(&second, &sweeping(id, former)).await;
    store_progress(&store, &progress(id, token, InstanceState::Executing)).await;
}

/// The same engine owned the instance before, and owns it now: what it wrote then is over.
pub async fn p7_an_engines_own_older_token_changes_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, older) = released(&store, engine, Wake::Now).await;
    let claimed = store.claim(&claim_by(engine)).await.unwrap();
    assert_eq!(ids(&claimed), [id]);
    assert_lost(&store, &sweeping(id, older)).await;
}

/// Whatever the token.
pub async fn p7_a_write_to_an_instance_that_nobody_ever_owned_is_lost(harness: &impl Harness) {
    let store = harness.open().await;
    let owner = engine(&store).await;
    let id = store_accept(&store, &accept()).await;
    for epoch in [0, 1] {
        assert_lost(&store, &sweeping(id, Token { owner, epoch })).await;
    }
}

/// And leaves no row behind.
pub async fn p7_a_write_to_an_unknown_instance_is_lost(harness: &impl Harness) {
    let store = harness.open().await;
    let owner = engine(&store).await;
    let id = SagaId::new();
    assert_eq!(
        write_progress(&store, &sweeping(id, Token { owner, epoch: 1 })).await,
        Written::Lost
    );
    assert!(store.load(id).await.unwrap().is_none());

    // An instance of that id that is accepted later has none of its steps.
    store_accept(&store, &Accept { id, ..accept() }).await;
    assert!(load(&store, id).await.steps.is_empty());
}

/// A finished output is offered until another owner is named.
pub async fn p7_the_end_of_a_lease_alone_drops_no_write(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    store.retire(engine).await.unwrap();
    let mut write = progress(id, token, InstanceState::Executing);
    write.steps.push(completed("reserve", "1"));
    store_progress(&store, &write).await;
    assert_eq!(load(&store, id).await.token(), Some(token));
}

/// Batches are of many instances.
pub async fn a_lost_write_does_not_disturb_its_neighbours(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (mut batch, mut mine, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..6 {
        let (id, token) = owned(&store, engine).await;
        let is_lost = n % 2 == 1;
        let token = if is_lost {
            Token { epoch: 7, ..token }
        } else {
            token
        };
        let mut write = progress(id, token, InstanceState::Executing);
        write.steps.push(completed("reserve", "1"));
        batch.push(Write::Progress(write));
        if is_lost {
            lost.push(id);
        } else {
            mine.push(id);
        }
    }
    let written = write(&store, &batch).await;
    for (n, written) in written.iter().enumerate() {
        assert_eq!(
            *written == Written::Lost,
            n % 2 == 1,
            "write {n}: {written:?}"
        );
    }
    for id in mine {
        assert_eq!(
            stored_step(&load(&store, id).await, "reserve").output,
            Some(json("1"))
        );
    }
    for id in lost {
        let snapshot = load(&store, id).await;
        assert_eq!(
            (snapshot.summary.state, snapshot.steps.len()),
            (InstanceState::Pending, 0)
        );
    }
}

/// Its reply can be lost.
pub async fn a_write_may_be_repeated(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    let mut write = progress(id, token, InstanceState::Executing);
    write.steps.push(completed("reserve", "1"));
    for _ in 0..3 {
        store_progress(&store, &write).await;
    }
    let snapshot = load(&store, id).await;
    assert_eq!(snapshot.token(), Some(token));
    assert_eq!(snapshot.steps.len(), 1);
    assert_eq!(stored_step(&snapshot, "reserve").output, Some(json("1")));
}

/// Then nobody owns it any more, but the token is still the last one, and the repeat changes nothing.
pub async fn a_write_that_gave_the_instance_up_may_be_repeated(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let released =
        [Wake::Now, Wake::After(HOUR)].map(|wake| (InstanceState::Executing, Some(wake)));
    let ended = [
        InstanceState::Completed,
        InstanceState::RolledBack,
        InstanceState::Stuck,
    ]
    .map(|state| (state, None));
    for (state, release) in released.into_iter().chain(ended) {
        let (id, token) = owned(&store, engine).await;
        let mut write = Progress {
            release,
            ..progress(id, token, state)
        };
        write.steps.push(completed("reserve", "1"));
        store_progress(&store, &write).await;
        let before = picture(&store, id).await;
        store_progress(&store, &write).await;
        assert_eq!(picture(&store, id).await, before, "{state}");
    }
}

/// The instance has gone on.
pub async fn p7_a_repeat_after_the_next_claim_is_lost(harness: &impl Harness) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let (id, token) = owned(&store, first).await;
    let release = Progress {
        release: Some(Wake::After(Duration::ZERO)),
        steps: vec![completed("reserve", "1")],
        ..progress(id, token, InstanceState::Executing)
    };
    store_progress(&store, &release).await;
    let second = engine(&store).await;
    claim_until_taken(&store, &claim_by(second), id).await;
    assert_lost(&store, &release).await;
    assert_eq!(load(&store, id).await.summary.owner, Some(second));
}

/// An owner whose lease has ended still writes, while another engine takes over: each of its writes comes before the takeover,
/// which then finds it, or is lost.
pub async fn p7_writes_that_race_a_takeover_come_before_it_or_are_lost(harness: &impl Harness) {
    let first = Arc::new(harness.open().await);
    let second = harness.second(&first).await;
    let owner = engine(&*first).await;
    let mut instances = Vec::new();
    for _ in 0..60 {
        instances.push(owned(&*first, owner).await);
    }
    first.retire(owner).await.unwrap();
    let writing = {
        let (store, instances) = (Arc::clone(&first), instances.clone());
        tokio::spawn(async move {
            let mut all = Vec::new();
            for part in instances.chunks(4) {
                let batch: Vec<_> = part
                    .iter()
                    .map(|(id, token)| {
                        let mut write = progress(*id, *token, InstanceState::Executing);
                        write.steps.push(completed("reserve", "1"));
                        Write::Progress(write)
                    })
                    .collect();
                all.extend(write(&*store, &batch).await);
            }
            all
        })
    };
    let heir = engine(&second).await;
    let claim = Claim {
        limit: 7,
        ..claim_by(heir)
    };
    let mut taken = BTreeMap::new();
    until("all of them are taken", async || {
        match second.claim(&claim).await {
            Ok(claimed) => {
                for snapshot in claimed.instances {
                    taken.insert(snapshot.summary.id, snapshot.steps.len());
                }
            }
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
        (taken.len() == instances.len()).then_some(())
    })
    .await;
    for ((id, _), written) in instances.iter().zip(writing.await.unwrap()) {
        let steps = usize::from(written != Written::Lost);
        assert_eq!(taken[id], steps, "what the heir was told: {written:?}");
        let snapshot = load(&*first, *id).await;
        assert_eq!(snapshot.steps.len(), steps, "{written:?}");
        assert_eq!(snapshot.summary.owner, Some(heir));
    }
}
