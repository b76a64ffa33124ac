//! What is written in a transaction counts with the rest of it, and is fenced as every write is.

use super::{Harness, fixture::*};
use crate::{
    id::{SagaId, Token},
    store::{
        Accept, Accepted, CommitError, InstanceState, Progress, SagaStore, Settled, Snapshot,
        StepState, Transacts, Write, Written,
    },
};

/// Also says how the code of a step writes in a transaction.
pub trait TransactionHarness: Harness<Store: Transacts<Self::Tx>> {
    /// The transaction.
    type Tx: Send + 'static;

    /// Writes a row of the application's own, under this key.
    fn put(&self, tx: &mut Self::Tx, key: &str) -> impl Future<Output = ()> + Send;

    /// Whether that row is committed.
    fn has(&self, store: &Self::Store, key: &str) -> impl Future<Output = bool> + Send;

    /// Whether a settlement waits for an open transaction. One in memory has no connection that could break while it is open.
    fn settlement_waits(&self) -> bool {
        true
    }
}

/// Makes a `#[tokio::test]` of each rule about transactions: see [`store_conformance!`](crate::store_conformance).
#[macro_export]
macro_rules! transaction_conformance {
    ($harness:expr) => {
        $crate::store_conformance! { @each $harness;
            transactions: p2_what_a_transaction_writes_counts_when_it_is_committed,
            transactions: p2_a_transaction_that_is_dropped_leaves_nothing,
            transactions: p7_a_former_owner_writes_in_vain_in_a_transaction_as_well,
            transactions: p7_nobody_takes_what_an_open_transaction_writes,
            transactions: a_commit_in_doubt_is_settled_by_what_is_stored,
            transactions: a_settlement_waits_for_the_end_of_the_transaction,
            transactions: a_commit_that_ended_the_instance_is_settled_as_well,
            transactions: p1_what_is_accepted_in_a_transaction_is_there_when_it_is_committed,
            transactions: what_is_accepted_in_a_transaction_that_is_dropped_never_was,
            transactions: p10_a_start_key_counts_in_a_transaction,
            transactions: p10_of_two_transactions_with_one_key_one_starts_it,
            transactions: a_cancel_is_told_in_a_transaction,
        }
    };
}

type Open<H> = (
    <H as TransactionHarness>::Tx,
    <<H as Harness>::Store as Transacts<<H as TransactionHarness>::Tx>>::Guard,
);

/// Begins, again while the store is busy.
async fn begin<H: TransactionHarness>(store: &H::Store) -> Open<H> {
    until("a transaction begins", async || match store.begin().await {
        Ok(open) => Some(open),
        Err(error) if error.is_transient() => None,
        Err(error) => panic!("a transaction cannot begin: {error:?}"),
    })
    .await
}

async fn settle<Tx>(store: &impl Transacts<Tx>, progress: &Progress) -> Settled {
    until("it is settled", async || {
        match store.settle(progress).await {
            Ok(settled) => Some(settled),
            Err(error) if error.is_transient() => None,
            Err(error) => panic!("it cannot be settled: {error:?}"),
        }
    })
    .await
}

fn reserved(id: SagaId, token: Token) -> Progress {
    Progress {
        steps: vec![completed("reserve", "1")],
        ..progress(id, token, InstanceState::Executing)
    }
}

async fn write_in<Tx>(store: &impl Transacts<Tx>, tx: &mut Tx, progress: &Progress) -> Written {
    let write = Write::Progress(progress.clone());
    store.write_in(tx, &write).await.unwrap()
}

async fn accept_in<Tx>(store: &impl Transacts<Tx>, tx: &mut Tx, accept: &Accept) -> Accepted {
    let write = Write::Accept(accept.clone());
    match store.write_in(tx, &write).await.unwrap() {
        Written::Accepted(accepted) => accepted,
        other => panic!("the reply to an accept is {other:?}"),
    }
}

fn has_reserved(snapshot: &Snapshot) -> bool {
    let mut steps = snapshot.steps.iter();
    steps.any(|step| step.name == "reserve" && step.state == StepState::Completed)
}

/// Claims until the instance is taken, also while the store is busy.
async fn taken(store: &impl SagaStore, id: SagaId) -> Snapshot {
    let engine = until("a lease", async || {
        let engine = crate::EngineId::random();
        store.renew(engine, HOUR).await.ok().map(|_| engine)
    })
    .await;
    until("the instance is claimed", async || {
        let claimed = store.claim(&claim_by(engine)).await.ok()?;
        let mut instances = claimed.instances.into_iter();
        instances.find(|snapshot| snapshot.summary.id == id)
    })
    .await
}

/// Not before, and then all of it.
pub async fn p2_what_a_transaction_writes_counts_when_it_is_committed<H: TransactionHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let (mut tx, guard) = begin::<H>(&store).await;
    harness.put(&mut tx, "a").await;
    assert_stored(&write_in(&store, &mut tx, &reserved(id, token)).await);
    assert!(!has_reserved(&load(&store, id).await));
    store.commit(tx).await.unwrap();
    drop(guard);
    let snapshot = load(&store, id).await;
    assert_eq!(
        stored_step(&snapshot, "reserve").output,
        completed("reserve", "1").output
    );
    assert_eq!(snapshot.summary.state, InstanceState::Executing);
    assert!(harness.has(&store, "a").await);
    // As after every write, the owner goes on.
    store_progress(&store, &progress(id, token, InstanceState::Completed)).await;
}

/// Neither the application's row nor the step's, and no lock.
pub async fn p2_a_transaction_that_is_dropped_leaves_nothing<H: TransactionHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let before = picture(&store, id).await;
    let (mut tx, guard) = begin::<H>(&store).await;
    harness.put(&mut tx, "a").await;
    assert_stored(&write_in(&store, &mut tx, &reserved(id, token)).await);
    drop(tx);
    drop(guard);
    assert_eq!(picture(&store, id).await, before);
    // Nothing of it holds anybody up.
    store_progress(&store, &reserved(id, token)).await;
    assert!(!harness.has(&store, "a").await);
}

/// The token is judged in the transaction.
pub async fn p7_a_former_owner_writes_in_vain_in_a_transaction_as_well<H: TransactionHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let (id, token) = owned(&store, first).await;
    let (mut tx, guard) = begin::<H>(&store).await;
    harness.put(&mut tx, "a").await;
    drop(tx);
    drop(guard);
    store.retire(first).await.unwrap();
    claim_one(&store, id).await;
    let before = picture(&store, id).await;
    let (mut tx, guard) = begin::<H>(&store).await;
    assert_eq!(
        write_in(&store, &mut tx, &reserved(id, token)).await,
        Written::Lost
    );
    drop(tx);
    drop(guard);
    assert_eq!(picture(&store, id).await, before);
}

/// From the write to the end of the transaction, the instance has its owner: a claim that comes in between finds what is
/// committed, or nothing.
pub async fn p7_nobody_takes_what_an_open_transaction_writes<H: TransactionHarness>(harness: &H) {
    let store = harness.open().await;
    let second = harness.second(&store).await;
    let first = engine(&store).await;
    let (id, token) = owned(&store, first).await;
    store.retire(first).await.unwrap();
    let (mut tx, guard) = begin::<H>(&store).await;
    assert_stored(&write_in(&store, &mut tx, &reserved(id, token)).await);
    let commit = async {
        // The claims have their chance.
        for _ in 0..3 {
            load(&store, id).await;
        }
        store.commit(tx).await.unwrap();
        drop(guard);
    };
    let (snapshot, ()) = tokio::join!(taken(&second, id), commit);
    assert!(has_reserved(&snapshot), "taken before the commit");
    assert_eq!(snapshot.summary.epoch, 2);
}

/// Committed, rolled back, or another owner's.
pub async fn a_commit_in_doubt_is_settled_by_what_is_stored<H: TransactionHarness>(harness: &H) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let (id, token) = owned(&store, first).await;
    let written = reserved(id, token);
    assert_eq!(settle::<H::Tx>(&store, &written).await, Settled::RolledBack);
    let (mut tx, guard) = begin::<H>(&store).await;
    assert_stored(&write_in(&store, &mut tx, &written).await);
    store.commit(tx).await.unwrap();
    drop(guard);
    let committed = Settled::Committed {
        cancel_requested: false,
    };
    assert_eq!(settle::<H::Tx>(&store, &written).await, committed);
    store.retire(first).await.unwrap();
    claim_one(&store, id).await;
    assert_eq!(settle::<H::Tx>(&store, &written).await, Settled::Lost);
    let unknown = reserved(SagaId::new(), token);
    assert_eq!(settle::<H::Tx>(&store, &unknown).await, Settled::Lost);
}

/// Asked from a second connection while the first still holds the transaction, as after a broken connection.
pub async fn a_settlement_waits_for_the_end_of_the_transaction<H: TransactionHarness>(harness: &H) {
    for commits in [true, false] {
        let store = harness.open().await;
        let second = harness.second(&store).await;
        let (id, token) = owned(&store, engine(&store).await).await;
        let written = reserved(id, token);
        let (mut tx, guard) = begin::<H>(&store).await;
        assert_stored(&write_in(&store, &mut tx, &written).await);
        let end = async {
            for _ in 0..3 {
                load(&store, id).await;
            }
            if commits {
                store.commit(tx).await.unwrap();
            } else {
                drop(tx);
            }
            drop(guard);
        };
        if harness.settlement_waits() {
            let (settled, ()) = tokio::join!(settle::<H::Tx>(&second, &written), end);
            let wanted = if commits {
                Settled::Committed {
                    cancel_requested: false,
                }
            } else {
                Settled::RolledBack
            };
            assert_eq!(settled, wanted);
        } else {
            end.await;
        }
    }
}

/// Then nobody owns it any more, and the write was the last owner's.
pub async fn a_commit_that_ended_the_instance_is_settled_as_well<H: TransactionHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let last = Progress {
        state: InstanceState::Completed,
        ..reserved(id, token)
    };
    let (mut tx, guard) = begin::<H>(&store).await;
    assert_stored(&write_in(&store, &mut tx, &last).await);
    store.commit(tx).await.unwrap();
    drop(guard);
    let committed = Settled::Committed {
        cancel_requested: false,
    };
    assert_eq!(settle::<H::Tx>(&store, &last).await, committed);
    let summary = load(&store, id).await.summary;
    assert_eq!(
        (summary.state, summary.owner),
        (InstanceState::Completed, None)
    );
}

/// Not before; and then it is due.
pub async fn p1_what_is_accepted_in_a_transaction_is_there_when_it_is_committed<
    H: TransactionHarness,
>(
    harness: &H,
) {
    let store = harness.open().await;
    let accept = accept();
    let (mut tx, guard) = begin::<H>(&store).await;
    harness.put(&mut tx, "a").await;
    assert_eq!(accept_in(&store, &mut tx, &accept).await, Accepted::New);
    assert!(store.load(accept.id).await.unwrap().is_none());
    store.commit(tx).await.unwrap();
    drop(guard);
    assert!(harness.has(&store, "a").await);
    let (_, snapshot) = claim_one(&store, accept.id).await;
    assert_eq!(snapshot.input, accept.input);
}

/// Its start key is free again.
pub async fn what_is_accepted_in_a_transaction_that_is_dropped_never_was<H: TransactionHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let accept = accept_with_key(&store, "key");
    let (mut tx, guard) = begin::<H>(&store).await;
    assert_eq!(accept_in(&store, &mut tx, &accept).await, Accepted::New);
    drop(tx);
    drop(guard);
    store_accept(&store, &accept_with_key(&store, "key")).await;
    assert!(store.load(accept.id).await.unwrap().is_none());
}

/// It gives the instance that has it, and the transaction goes on.
pub async fn p10_a_start_key_counts_in_a_transaction<H: TransactionHarness>(harness: &H) {
    let store = harness.open().await;
    let first = accept_with_key(&store, "key");
    store_accept(&store, &first).await;
    let (mut tx, guard) = begin::<H>(&store).await;
    let existing = Accepted::Existing {
        id: first.id,
        input_digest: first.input_digest.clone(),
    };
    assert_eq!(
        accept_in(&store, &mut tx, &accept_with_key(&store, "key")).await,
        existing
    );
    // The transaction goes on.
    harness.put(&mut tx, "a").await;
    let other = accept_with_key(&store, "other key");
    assert_eq!(accept_in(&store, &mut tx, &other).await, Accepted::New);
    store.commit(tx).await.unwrap();
    drop(guard);
    assert!(harness.has(&store, "a").await);
    load(&store, other.id).await;
}

/// The other gives way, or hears of the first.
pub async fn p10_of_two_transactions_with_one_key_one_starts_it<H: TransactionHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let second = harness.second(&store).await;
    let start = async |store: &H::Store| {
        let accept = accept_with_key(store, "key");
        let (mut tx, guard) = begin::<H>(store).await;
        let accepted = accept_in(store, &mut tx, &accept).await;
        let committed = store.commit(tx).await;
        drop(guard);
        match committed {
            Ok(()) => accepted == Accepted::New,
            Err(CommitError::RolledBack(_)) => false,
            Err(CommitError::InDoubt(error)) => panic!("a commit is in doubt: {error:?}"),
        }
    };
    let started = tokio::join!(start(&store), start(&second));
    assert!(started.0 ^ started.1, "{started:?}");
}

/// As with every write.
pub async fn a_cancel_is_told_in_a_transaction<H: TransactionHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    store.request_cancel(id).await.unwrap();
    let (mut tx, guard) = begin::<H>(&store).await;
    let told = Written::Stored {
        cancel_requested: true,
    };
    assert_eq!(write_in(&store, &mut tx, &reserved(id, token)).await, told);
    store.commit(tx).await.unwrap();
    drop(guard);
}
