//! Lists and counts.

use super::{Harness, fixture::*};
use crate::{
    id::{SagaId, Token},
    store::{Accept, Cursor, Filter, InstanceState, Page, SagaStore, Summary, Write},
};
use std::time::Duration;

/// Stores so many instances in few batches; returns their ids, newest first.
async fn fill(store: &impl SagaStore, accepts: impl IntoIterator<Item = Accept>) -> Vec<SagaId> {
    let batch: Vec<_> = accepts.into_iter().map(Write::Accept).collect();
    for part in batch.chunks(128) {
        write(store, part).await;
    }
    let mut ids: Vec<_> = batch.iter().map(Write::id).collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids
}

fn page_ids(page: &Page) -> Vec<SagaId> {
    page.instances.iter().map(|summary| summary.id).collect()
}

/// Every page, one after the other; each but the last is full.
async fn all_pages(store: &impl SagaStore, filter: &Filter) -> Vec<Page> {
    let mut pages = Vec::new();
    let mut filter = filter.clone();
    loop {
        let page = store.list(&filter).await.unwrap();
        let next = page.next;
        pages.push(page);
        let Some(cursor) = next else { return pages };
        assert_eq!(
            pages.last().unwrap().instances.len(),
            filter.page_len() as usize
        );
        assert!(pages.len() < 1_000, "paging does not end");
        filter = filter.after(cursor);
    }
}

/// Without a next one.
pub async fn an_empty_store_has_an_empty_page(harness: &impl Harness) {
    let store = harness.open().await;
    let filters = [
        Filter::all(),
        Filter::all().saga(SAGA),
        Filter::all().after(Cursor(SagaId::new())),
    ];
    for filter in filters {
        let page = store.list(&filter).await.unwrap();
        assert!(page.instances.is_empty() && page.next.is_none(), "{page:?}");
    }
    assert!(store.count().await.unwrap().is_empty());
}

/// By their ids, in whatever order they were stored; each as `load` tells it.
pub async fn instances_are_listed_newest_first(harness: &impl Harness) {
    let store = harness.open().await;
    let mut accepts: Vec<_> = (0..6)
        .map(|n| accept_with_key(&store, &format!("order-{n}")))
        .collect();
    accepts.swap(0, 5);
    accepts.swap(1, 3);
    let newest_first = fill(&store, accepts).await;
    let engine = engine(&store).await;
    store.claim(&claim_by(engine)).await.unwrap();
    let token = Token {
        owner: engine,
        epoch: 1,
    };
    let mut write = progress(newest_first[2], token, InstanceState::Stuck);
    write.failure = Some(failure("declined"));
    store_progress(&store, &write).await;

    let page = store.list(&Filter::all()).await.unwrap();
    assert_eq!(page_ids(&page), newest_first);
    assert_eq!(page.next, None);
    for listed in page.instances {
        assert_eq!(listed, load(&store, listed.id).await.summary);
    }
}

/// None is missing and none comes twice, whatever the length of a page.
pub async fn p12_pages_cover_everything_once(harness: &impl Harness) {
    let store = harness.open().await;
    let newest_first = fill(&store, (0..250).map(|_| accept())).await;
    for (limit, lengths) in [
        (100, vec![100, 100, 50]),
        (0, vec![100, 100, 50]),
        (249, vec![249, 1]),
        (300, vec![250]),
    ] {
        let pages = all_pages(&store, &Filter::all().limit(limit)).await;
        assert_eq!(
            pages
                .iter()
                .map(|page| page.instances.len())
                .collect::<Vec<_>>(),
            lengths
        );
        assert_eq!(
            pages.iter().flat_map(page_ids).collect::<Vec<_>>(),
            newest_first
        );
    }
    // A place is a place in time, whether or not an instance is there.
    let newer_than_all = store
        .list(&Filter::all().after(Cursor(SagaId::new())).limit(1))
        .await
        .unwrap();
    assert_eq!(page_ids(&newer_than_all), newest_first[..1]);
    let from_the_middle = store
        .list(&Filter::all().after(Cursor(newest_first[99])).limit(3))
        .await
        .unwrap();
    assert_eq!(page_ids(&from_the_middle), newest_first[100..103]);
}

/// Nobody has to ask for an empty page.
pub async fn a_last_page_that_is_full_has_no_next(harness: &impl Harness) {
    let store = harness.open().await;
    let newest_first = fill(&store, (0..6).map(|_| accept())).await;
    let pages = all_pages(&store, &Filter::all().limit(3)).await;
    assert_eq!(
        pages.iter().map(page_ids).collect::<Vec<_>>(),
        [&newest_first[..3], &newest_first[3..]]
    );
}

/// By saga, by one state or by several, and by both.
pub async fn filters_hold_on_every_page(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let sagas = [SAGA, "returns"];
    let accepts: Vec<_> = (0..250)
        .map(|n| Accept {
            owner: Some(engine),
            ..accept_of(definition(sagas[n % 2]))
        })
        .collect();
    let mut batch = Vec::new();
    for (n, accept) in accepts.iter().enumerate() {
        let state = InstanceState::ALL[n % InstanceState::ALL.len()];
        if state != InstanceState::Pending {
            batch.push(Write::Progress(progress(
                accept.id,
                Token {
                    owner: engine,
                    epoch: 1,
                },
                state,
            )));
        }
    }
    fill(&store, accepts).await;
    write(&store, &batch).await;

    let everything: Vec<Summary> = all_pages(&store, &Filter::all())
        .await
        .into_iter()
        .flat_map(|page| page.instances)
        .collect();
    assert_eq!(everything.len(), 250);
    let two = [InstanceState::Stuck, InstanceState::Executing];
    for saga in [None, Some(SAGA), Some("returns"), Some("unknown")] {
        for states in [&[][..], &InstanceState::ALL[..], &two[..], &two[..1]] {
            let filter = Filter {
                saga: saga.map(str::to_owned),
                states: states.to_vec(),
                limit: 7,
                ..Filter::all()
            };
            let pages = all_pages(&store, &filter).await;
            let found: Vec<_> = pages.into_iter().flat_map(|page| page.instances).collect();
            let expected: Vec<_> = everything
                .iter()
                .filter(|it| saga.is_none_or(|saga| it.definition.saga == saga))
                .filter(|it| states.is_empty() || states.contains(&it.state))
                .cloned()
                .collect();
            assert_eq!(found, expected, "{saga:?} {states:?}");
        }
    }
}

/// By the store's clock.
pub async fn the_age_of_an_instance_can_be_asked_for(harness: &impl Harness) {
    let store = harness.open().await;
    let id = store_accept(&store, &accept()).await;
    let page = store.list(&Filter::all().older_than(HOUR)).await.unwrap();
    assert!(page.instances.is_empty() && page.next.is_none());
    let old = Filter::all().older_than(Duration::from_millis(20));
    let page = until("it is old", async || {
        let page = store.list(&old).await.unwrap();
        (!page.instances.is_empty()).then_some(page)
    })
    .await;
    assert_eq!(page_ids(&page), [id]);
}

/// Whatever is asked for.
pub async fn p12_no_page_is_longer_than_its_bound(harness: &impl Harness) {
    let store = harness.open().await;
    let newest_first = fill(&store, (0..1_001).map(|_| accept())).await;
    let pages = all_pages(&store, &Filter::all().limit(u32::MAX)).await;
    assert_eq!(
        pages
            .iter()
            .map(|page| page.instances.len())
            .collect::<Vec<_>>(),
        [1_000, 1]
    );
    assert_eq!(
        pages.iter().flat_map(page_ids).collect::<Vec<_>>(),
        newest_first
    );
}

/// Those of which there are none may be absent.
pub async fn instances_are_counted_by_saga_and_state(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let mut expected = Vec::new();
    for (number, state) in (1..).zip(InstanceState::ALL) {
        for _ in 0..number {
            in_state(&store, engine, state).await;
        }
        expected.push((SAGA.to_owned(), state, number));
    }
    store_accept(&store, &accept_of(definition("returns"))).await;
    expected.push(("returns".to_owned(), InstanceState::Pending, 1));
    let mut counts = store.count().await.unwrap();
    counts.retain(|(_, _, count)| *count > 0);
    counts.sort_unstable();
    assert_eq!(counts, expected);
}

/// By saga and state, with the age of the oldest; what has ended is not in it.
pub async fn the_backlog_is_what_has_not_ended(harness: &impl Harness) {
    let store = harness.open().await;
    assert!(store.backlog().await.unwrap().is_empty());
    let first = store_accept(&store, &accept()).await;
    until("the first is the oldest", async || {
        let oldest = store.backlog().await.unwrap().first()?.oldest;
        (oldest >= Duration::from_millis(20)).then_some(())
    })
    .await;
    let engine = engine(&store).await;
    let states = [
        InstanceState::Executing,
        InstanceState::Compensating,
        InstanceState::Stuck,
        InstanceState::Stuck,
        InstanceState::Completed,
        InstanceState::RolledBack,
    ];
    for state in states {
        in_state(&store, engine, state).await;
    }
    let other = accept_of(definition("shipping"));
    store_accept(&store, &other).await;
    store_accept(&store, &accept()).await;

    let mut backlog = store.backlog().await.unwrap();
    backlog.sort_by(|a, b| (&a.saga, a.state).cmp(&(&b.saga, b.state)));
    let counts: Vec<_> = backlog
        .iter()
        .map(|it| (it.saga.as_str(), it.state, it.instances))
        .collect();
    let expected = [
        (SAGA, InstanceState::Pending, 2),
        (SAGA, InstanceState::Executing, 1),
        (SAGA, InstanceState::Compensating, 1),
        (SAGA, InstanceState::Stuck, 2),
        ("shipping", InstanceState::Pending, 1),
    ];
    assert_eq!(counts, expected);
    let of_first = backlog[0].oldest;
    assert!(
        backlog[1..].iter().all(|it| it.oldest < of_first),
        "instance {first} is the oldest: {backlog:?}"
    );
    assert!(of_first < HOUR);
}
