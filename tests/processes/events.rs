//! Whether what was published is what was done: an event for each output that is stored, and for each undo, once.

use crate::{audit::instances, worker::Purchase};
use sagaz::{
    Event, Saga, SagaId, Snapshot, StepContext, StepError, StepState,
    store::{Fetch, OutboxStore, Store, WorkerId},
};
use std::{collections::BTreeMap, time::Duration};

/// Tells what this attempt has done, before it is sure that it completes.
pub(crate) fn tell(ctx: &StepContext<'_>, purchase: &Purchase) -> Result<(), StepError> {
    let what = if ctx.is_compensation() {
        "undone"
    } else {
        "done"
    };
    let event = Event::new(format!("{}.{what}", ctx.step()), &purchase.number);
    // The keys of some are shared by many, those of others are their own, or the instance's.
    let event = match purchase.number % 3 {
        0 => event.key(purchase.number),
        1 => event.key(purchase.number % 40),
        _ => event,
    };
    Ok(ctx.publish(event)?)
}

/// Everything in the outbox: nobody has sent anything.
async fn outbox(store: &impl OutboxStore) -> Vec<Event> {
    let worker = WorkerId::random();
    let lanes = store
        .attend(worker, Duration::from_hours(1), store.lanes())
        .await;
    let lanes = lanes.unwrap().lanes;
    assert_eq!(lanes.len(), usize::from(store.lanes()), "no relay has run");
    let mut fetch = Fetch {
        worker,
        lanes: lanes.into_iter().map(|lane| (lane, 0)).collect(),
        unsettled: Vec::new(),
        keys: Vec::new(),
        limit: 2_000,
    };
    let mut events = Vec::new();
    loop {
        let fetched = store.fetch(&fetch).await.unwrap();
        events.extend(fetched.events.into_iter().map(|it| it.event));
        for ((_, after), next) in fetch.lanes.iter_mut().zip(fetched.after) {
            *after = next.unwrap();
        }
        fetch.unsettled = fetched.unsettled;
        if !fetched.more {
            return events;
        }
    }
}

/// The types of all events, by the instance that published them.
pub(crate) struct Told(BTreeMap<SagaId, Vec<String>>);

impl Told {
    pub(crate) async fn read(store: &impl OutboxStore) -> Self {
        let mut told: BTreeMap<SagaId, Vec<String>> = BTreeMap::new();
        for event in outbox(store).await {
            let id = event.saga_id().unwrap();
            told.entry(id)
                .or_default()
                .push(event.event_type().to_owned());
        }
        Self(told)
    }

    /// Those of one saga are what its instances did.
    pub(crate) async fn audit<G: Saga>(&mut self, store: &impl Store) {
        let mut events = 0;
        for instance in instances::<G>(store).await {
            let told = self.0.remove(&instance.summary.id).unwrap_or_default();
            events += told.len();
            check(&instance, told);
        }
        eprintln!("{events} events of `{}`", G::DEFINITION.name);
        assert!(events > 0, "they publish");
    }

    pub(crate) fn finish(self) {
        assert!(self.0.is_empty(), "events of no instance: {:?}", self.0);
    }
}

fn check(instance: &Snapshot, told: Vec<String>) {
    let id = instance.summary.id;
    let place = |event: &str| told.iter().position(|it| it == event);
    let mut expected = Vec::new();
    for row in &instance.steps {
        let (done, undone) = (format!("{}.done", row.name), format!("{}.undone", row.name));
        if let (Some(done), Some(undone)) = (place(&done), place(&undone)) {
            assert!(
                done < undone,
                "instance {id}: `{}` is undone before it is done: {told:?}",
                row.name
            );
        }
        if row.output.is_some() {
            expected.push(done);
        }
        if row.state == StepState::Compensated {
            expected.push(undone);
        }
    }
    let mut told = told;
    told.sort();
    expected.sort();
    assert_eq!(told, expected, "P11: instance {id}: {:#?}", instance.steps);
}
