//! Evidence of a run without faults, to be tampered with.

use super::super::*;
use crate::order::Kind;

/// A completed order that was taken over, one that was rolled back because the courier refused, an entry, and one that was not approved.
pub(super) struct Fixture {
    pub(super) evidence: Evidence,
    pub(super) completed: SagaId,
    pub(super) rolled_back: SagaId,
    pub(super) entry: SagaId,
    pub(super) reversed: SagaId,
}

/// Builds evidence as a run without faults gives it.
struct Builder {
    evidence: Evidence,
    row: i64,
}

pub(super) const PROCESS: u32 = 1;

impl Builder {
    fn line(&mut self, id: SagaId, what: What) -> u64 {
        add_line(&mut self.evidence, id, what).serial
    }

    /// The first order that chance has made so.
    fn order(&mut self, is_wanted: impl Fn(&Order) -> bool) -> (Order, SagaId) {
        let number = (1..10_000).find(|number| {
            is_wanted(&Order::new(9, *number, true)) && !self.evidence.orders.contains_key(number)
        });
        let order = Order::new(9, number.unwrap(), true);
        let id = SagaId::new();
        self.evidence.orders.insert(order.number, order);
        self.evidence.accepted.insert(order.number, vec![id]);
        self.line(
            id,
            What::Accepted {
                number: order.number,
            },
        );
        (order, id)
    }

    fn book(&mut self, id: SagaId, step: Step, order: &Order, undone: bool) {
        let booking = booking(id, step, order, undone);
        self.evidence.books.insert(key(id, step), booking);
    }

    fn tell(&mut self, id: SagaId, step: Step, undo: bool, serial: u64) {
        add_event(&mut self.evidence, id, step, undo, serial);
    }

    /// A step that completes.
    fn step(&mut self, id: SagaId, step: Step, order: &Order) -> StoredStep {
        let serial = self.line(id, What::Called { step, attempt: 1 });
        if step.has_effect_in_ledger() {
            self.line(id, What::Done { step, call: serial });
            self.book(id, step, order, false);
        }
        let row = step.is_transactional().then(|| self.write(id, step.name()));
        self.tell(id, step, false, serial);
        StoredStep {
            step,
            state: StepState::Completed,
            output: Some(Output { serial, row }),
        }
    }

    fn write(&mut self, id: SagaId, what: &str) -> i64 {
        self.row += 1;
        let entry = Entry {
            id,
            row: self.row,
            what: what.to_owned(),
        };
        self.evidence.entries.get_or_insert_default().push(entry);
        self.row
    }

    fn undo(&mut self, id: SagaId, stored: &mut StoredStep, order: &Order) {
        let step = stored.step;
        let serial = self.line(id, What::UndoCalled { step, attempt: 1 });
        let was_there = true;
        self.line(id, What::Undone { step, was_there });
        if step.has_effect_in_ledger() {
            self.book(id, step, order, true);
        } else {
            self.write(id, &format!("{step}.undone"));
        }
        self.tell(id, step, true, serial);
        stored.state = StepState::Compensated;
    }

    fn instance(&mut self, id: SagaId, order: Order, steps: Vec<StoredStep>, completed: bool) {
        self.line(id, What::Finished { completed });
        self.evidence.instances.push(Instance {
            id,
            start_key: Some(order.start_key()),
            order,
            saga: order.saga.name().to_owned(),
            state: if completed {
                InstanceState::Completed
            } else {
                InstanceState::RolledBack
            },
            updated_ms: self.evidence.lines.len() as u64 * 10,
            owners: 1,
            steps,
        });
    }
}

fn add_line(evidence: &mut Evidence, id: SagaId, what: What) -> &mut Line {
    let serial = evidence.lines.last().map_or(1, |line| line.serial + 1);
    evidence.lines.push_mut(Line {
        serial,
        at_ms: serial * 10,
        process: PROCESS,
        id,
        what,
    })
}

fn add_event(evidence: &mut Evidence, id: SagaId, step: Step, undo: bool, serial: u64) {
    let event = format!("event-{}", evidence.deliveries.len());
    evidence.deliveries.push(Delivery {
        event: event.clone(),
        key: "shared".to_owned(),
        id,
        step,
        undo,
        serial,
    });
    evidence.consumed.push(Consumed { event, serial });
}

/// The idempotency key of a step.
pub(super) fn key(id: SagaId, step: Step) -> String {
    format!("{id}/{step}")
}

pub(super) fn booking(id: SagaId, step: Step, order: &Order, undone: bool) -> Booking {
    Booking {
        id,
        step,
        cents: order.cents,
        pieces: order.pieces,
        undone,
    }
}

pub(super) fn fixture() -> Fixture {
    let mut builder = Builder {
        evidence: Evidence {
            ordered_across_instances: true,
            planned: BTreeSet::from([FaultKind::KillWorker, FaultKind::Cut]),
            carried_out: BTreeSet::from([FaultKind::KillWorker, FaultKind::Cut]),
            ..Evidence::default()
        },
        row: 0,
    };
    let is_order = |order: &Order| order.saga == Kind::Order && !order.is_charge_refused();
    let (order, completed) = builder.order(is_order);
    builder.line(completed, What::Claimed { taken_over: true });
    let steps = Kind::Order.steps().iter();
    let steps = steps.map(|step| builder.step(completed, *step, &order));
    let steps = steps.collect();
    builder.instance(completed, order, steps, true);

    // The courier refuses.
    let (order, rolled_back) = builder.order(is_order);
    let steps = [Step::Reserve, Step::Charge, Step::Label];
    let mut steps = steps.map(|step| builder.step(rolled_back, step, &order));
    let step = Step::Dispatch;
    builder.line(rolled_back, What::Called { step, attempt: 1 });
    for stored in steps.iter_mut().rev() {
        builder.undo(rolled_back, stored, &order);
    }
    builder.instance(rolled_back, order, steps.into(), false);

    let (order, entry) = builder.order(|order| order.saga == Kind::Entry);
    let steps = Kind::Entry.steps().iter();
    let steps = steps.map(|step| builder.step(entry, *step, &order));
    let steps = steps.collect();
    builder.instance(entry, order, steps, true);

    // Nobody approves.
    let (order, reversed) = builder.order(|order| order.saga == Kind::Entry);
    let mut enter = builder.step(reversed, Step::Enter, &order);
    let step = Step::Approve;
    builder.line(reversed, What::Called { step, attempt: 1 });
    builder.undo(reversed, &mut enter, &order);
    builder.instance(reversed, order, vec![enter], false);
    Fixture {
        evidence: builder.evidence,
        completed,
        rolled_back,
        entry,
        reversed,
    }
}

impl Fixture {
    pub(super) fn instance(&mut self, id: SagaId) -> &mut Instance {
        let mut instances = self.evidence.instances.iter_mut();
        instances.find(|it| it.id == id).unwrap()
    }

    pub(super) fn stored(&mut self, id: SagaId, step: Step) -> &mut StoredStep {
        let mut steps = self.instance(id).steps.iter_mut();
        steps.find(|it| it.step == step).unwrap()
    }

    /// One more line, at the end.
    pub(super) fn append(&mut self, id: SagaId, what: What) -> &mut Line {
        add_line(&mut self.evidence, id, what)
    }

    /// The ledger has lost a line.
    pub(super) fn lose(&mut self, id: SagaId, is_lost: impl Fn(&What) -> bool) {
        let before = self.evidence.lines.len();
        let lines = &mut self.evidence.lines;
        lines.retain(|line| line.id != id || !is_lost(&line.what));
        assert_eq!(lines.len(), before - 1);
    }

    pub(super) fn booking(&mut self, id: SagaId, step: Step) -> &mut Booking {
        self.evidence.books.get_mut(&key(id, step)).unwrap()
    }

    /// One more event, which the consumer got too.
    pub(super) fn publish(&mut self, id: SagaId, step: Step, serial: u64) {
        add_event(&mut self.evidence, id, step, false, serial);
    }

    /// A run that had nothing else.
    pub(super) fn keep_only(&mut self, id: SagaId) {
        let evidence = &mut self.evidence;
        evidence.instances.retain(|it| it.id == id);
        evidence.accepted.retain(|_, ids| ids.contains(&id));
        let accepted = &evidence.accepted;
        evidence.orders.retain(|it, _| accepted.contains_key(it));
        evidence.lines.retain(|it| it.id == id);
        evidence.books.retain(|_, it| it.id == id);
        evidence.deliveries.retain(|it| it.id == id);
        let events: BTreeSet<&str> = evidence.deliveries.iter().map(|it| &*it.event).collect();
        evidence.consumed.retain(|it| events.contains(&*it.event));
        evidence.entries = Some(Vec::new());
    }

    pub(super) fn delivery(&mut self, id: SagaId, step: Step, undo: bool) -> usize {
        let deliveries = self.evidence.deliveries.iter();
        deliveries
            .clone()
            .position(|it| (it.id, it.step, it.undo) == (id, step, undo))
            .unwrap()
    }
}
