//! The loop of a consumer. It is one task: while a broker is waited for, what is being handled goes on.

use super::{
    Consumer,
    queue::{Queue, Work},
    watched::Watched,
};
use crate::{error::Error, inbox::end_of};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use sagaz_core::{
    Event, Retry,
    broker::{BrokerError, Delivery, Nack, Receipt, Subscriber},
    observe::{ConsumerEvent, End},
    store::Handled,
};
use std::{future, pin::pin, time::Duration};
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

/// What is done with events.
pub(super) trait Handles: Sync {
    fn handle(
        &self,
        event: &Event,
        watched: &Watched,
    ) -> impl Future<Output = Result<Verdict, Error>> + Send;

    /// Events that an operator gave back.
    fn retries(&self) -> impl Future<Output = Result<Vec<Event>, Error>> + Send {
        future::ready(Ok(Vec::new()))
    }

    /// Forgets what is old.
    fn prune(&self) -> impl Future<Output = Result<(), Error>> + Send {
        future::ready(Ok(()))
    }

    fn prune_interval(&self) -> Option<Duration> {
        None
    }
}

/// What became of an event.
#[derive(Debug)]
pub(super) enum Verdict {
    Over(Handled),
    /// It cannot be kept here.
    Refused(String),
}

/// An event that was handled.
struct Done {
    work: Work,
    result: Result<Verdict, Error>,
    took: Duration,
}

/// How long a broker that fails is left alone.
const BACKOFF: Retry = Retry {
    attempts: None,
    max: Duration::from_secs(5),
    ..Retry::BACKOFF
};

async fn handle<H: Handles>(watched: &Watched, handles: &H, work: Work) -> Done {
    let began = Instant::now();
    let scope = watched.begin(&work.event);
    let result = scope.around(handles.handle(&work.event, watched)).await;
    match &result {
        Ok(Verdict::Over(outcome)) => scope.end(&end_of(*outcome)),
        Ok(Verdict::Refused(reason)) => scope.end(&End::ill("refused", reason)),
        Err(error) => scope.end(&End::ill("failed", error)),
    }
    Done {
        work,
        result,
        took: began.elapsed(),
    }
}

/// Runs until it is stopped.
pub(super) async fn run<U: Subscriber, H: Handles>(
    consumer: Consumer<U>,
    watched: &Watched,
    handles: &H,
) -> Result<(), Error> {
    let ended = run_until_stopped(consumer, watched, handles).await;
    if let Err(error) = &ended {
        watched.ended(error);
    }
    ended
}

async fn run_until_stopped<U: Subscriber, H: Handles>(
    mut consumer: Consumer<U>,
    watched: &Watched,
    handles: &H,
) -> Result<(), Error> {
    let mut stop = consumer.stop.subscribe();
    let mut queue = Queue::default();
    let mut in_hand = FuturesUnordered::new();
    let mut next_retries = Instant::now();
    let mut failures = 0;
    let mut receive_from = Instant::now();
    let mut chores = Box::pin(prune(watched, handles));
    loop {
        while queue.in_hand() < consumer.config.keys_max
            && let Some(work) = queue.next()
        {
            in_hand.push(handle(watched, handles, work));
        }
        let has_room = queue.held() < consumer.config.held_max;
        // Acknowledgements need the subscriber, and so does the next message: one after the other.
        select! {
            // In this order: a stop is heard however much comes in, and what has ended makes room before more is taken in.
            biased;
            () = stopped(&mut stop) => break,
            Some(done) = in_hand.next(), if !in_hand.is_empty() => {
                settle_all(&mut consumer, watched, vec![done], &mut in_hand, &mut queue).await?;
            }
            () = sleep_until(next_retries) => {
                let mut ended = Vec::new();
                let retries = beside(handles.retries(), &mut in_hand, &mut ended).await;
                match retries {
                    Ok(events) => {
                        for event in events {
                            queue.push(Work { event, receipt: None });
                        }
                    }
                    Err(error) => watched.tell(&ConsumerEvent::StoreFailed { error: &error }),
                }
                next_retries = Instant::now() + consumer.config.retries_interval;
                settle_all(&mut consumer, watched, ended, &mut in_hand, &mut queue).await?;
            }
            delivery = receive(&mut consumer.subscriber, receive_from), if has_room => {
                match delivery {
                    Ok(delivery) => {
                        failures = 0;
                        watched.broker_answered();
                        let mut ended = Vec::new();
                        let accepted = accept(&mut consumer, watched, delivery, &mut queue);
                        beside(accepted, &mut in_hand, &mut ended).await;
                        settle_all(&mut consumer, watched, ended, &mut in_hand, &mut queue).await?;
                    }
                    Err(error) if error.is_misuse() => return Err(error.into()),
                    Err(error) => {
                        watched.broker_failed(&error);
                        failures += 1;
                        receive_from = Instant::now() + BACKOFF.delay(failures, fastrand::f64());
                    }
                }
            }
            () = &mut chores => {}
        }
    }
    // Nobody polls it any more, and what it holds in the store is what handlers may wait for.
    drop(chores);
    // What waits is delivered again to somebody else, and so is what is not settled in time.
    let grace = consumer.config.shutdown_grace;
    let finish = async {
        while let Some(done) = in_hand.next().await {
            settle_all(&mut consumer, watched, vec![done], &mut in_hand, &mut queue).await?;
        }
        Ok(())
    };
    timeout(grace, finish).await.unwrap_or(Ok(()))
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The consumer has the other end.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn receive<U: Subscriber>(
    subscriber: &mut U,
    not_before: Instant,
) -> Result<Delivery, BrokerError> {
    sleep_until(not_before).await;
    subscriber.receive().await
}

/// What a call gives, while what is in hand goes on.
async fn beside<T>(
    call: impl Future<Output = T>,
    in_hand: &mut FuturesUnordered<impl Future<Output = Done>>,
    ended: &mut Vec<Done>,
) -> T {
    let mut call = pin!(call.fuse());
    loop {
        select! {
            // The call first: what ends beside it waits for it anyway.
            biased;
            result = &mut call => return result,
            Some(done) = in_hand.next(), if !in_hand.is_empty() => ended.push(done),
        }
    }
}

/// Takes a message in.
async fn accept<U: Subscriber>(
    consumer: &mut Consumer<U>,
    watched: &Watched,
    delivery: Delivery,
    queue: &mut Queue,
) {
    let receipt = delivery.receipt;
    let event = match delivery.event {
        Ok(event) => event,
        Err(malformed) => {
            watched.tell(&ConsumerEvent::Malformed {
                from: &delivery.from,
                malformed: &malformed,
            });
            return nack(consumer, watched, receipt).await;
        }
    };
    let only = consumer.config.only.as_ref();
    if only.is_some_and(|only| !only.contains(event.event_type())) {
        watched.tell(&ConsumerEvent::Skipped {
            event_type: event.event_type(),
        });
        return ack(consumer, watched, receipt).await;
    }
    queue.push(Work {
        event,
        receipt: Some(receipt),
    });
}

/// Tells the broker what came of events, and of those that end meanwhile.
async fn settle_all<U: Subscriber>(
    consumer: &mut Consumer<U>,
    watched: &Watched,
    mut ended: Vec<Done>,
    in_hand: &mut FuturesUnordered<impl Future<Output = Done>>,
    queue: &mut Queue,
) -> Result<(), Error> {
    while let Some(done) = ended.pop() {
        let settled = settle(consumer, watched, done, queue);
        beside(settled, in_hand, &mut ended).await?;
    }
    Ok(())
}

/// Tells the broker what came of an event.
async fn settle<U: Subscriber>(
    consumer: &mut Consumer<U>,
    watched: &Watched,
    done: Done,
    queue: &mut Queue,
) -> Result<(), Error> {
    let Done { work, result, took } = done;
    queue.done(&work);
    let event_type = work.event.event_type();
    match result? {
        Verdict::Over(handled) => {
            watched.tell(&ConsumerEvent::Handled {
                event_type,
                handled,
                took,
            });
            if let Some(receipt) = work.receipt {
                ack(consumer, watched, receipt).await;
            }
        }
        Verdict::Refused(error) => {
            watched.tell(&ConsumerEvent::Refused {
                event_type,
                error: &error,
            });
            if let Some(receipt) = work.receipt {
                nack(consumer, watched, receipt).await;
            }
        }
    }
    Ok(())
}

/// A message whose acknowledgement fails comes again.
async fn ack<U: Subscriber>(consumer: &mut Consumer<U>, watched: &Watched, receipt: Receipt) {
    if let Err(error) = consumer.subscriber.ack(receipt).await {
        watched.tell(&ConsumerEvent::BrokerFailed { error: &error });
    }
}

async fn nack<U: Subscriber>(consumer: &mut Consumer<U>, watched: &Watched, receipt: Receipt) {
    let nacked = consumer.subscriber.nack(receipt, Nack::DeadLetter).await;
    if let Err(error) = nacked {
        watched.tell(&ConsumerEvent::BrokerFailed { error: &error });
    }
}

/// Forgets what is old, now and then, for ever.
async fn prune<H: Handles>(watched: &Watched, handles: &H) {
    let Some(interval) = handles.prune_interval() else {
        return future::pending().await;
    };
    loop {
        sleep(interval.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        if let Err(error) = handles.prune().await {
            watched.tell(&ConsumerEvent::StoreFailed { error: &error });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sagaz_core::{
        System,
        observe::{ConsumerIdentity, Observer, Probe},
    };
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };
    use tokio::sync::Mutex;

    /// Gives one event, after a while, and then nothing.
    struct One(Option<Event>);

    impl System for One {
        fn system(&self) -> &'static str {
            "memory"
        }
    }

    impl Subscriber for One {
        async fn receive(&mut self) -> Result<Delivery, BrokerError> {
            sleep(Duration::from_millis(100)).await;
            match self.0.take() {
                Some(event) => Ok(Delivery::new(Ok(event), "topic", Receipt(1))),
                None => future::pending().await,
            }
        }

        async fn ack(&mut self, _: Receipt) -> Result<(), BrokerError> {
            Ok(())
        }

        async fn nack(&mut self, _: Receipt, _: Nack) -> Result<(), BrokerError> {
            Ok(())
        }
    }

    /// A store with one place to write, which old records are removed from most of the time.
    #[derive(Default)]
    struct OneWriter {
        turn: Mutex<()>,
        handled: AtomicU32,
    }

    impl Handles for OneWriter {
        async fn handle(&self, _: &Event, _: &Watched) -> Result<Verdict, Error> {
            let _turn = self.turn.lock().await;
            self.handled.fetch_add(1, Ordering::Relaxed);
            Ok(Verdict::Over(Handled::Done))
        }

        async fn prune(&self) -> Result<(), Error> {
            let _turn = self.turn.lock().await;
            sleep(Duration::from_hours(1)).await;
            Ok(())
        }

        fn prune_interval(&self) -> Option<Duration> {
            Some(Duration::from_millis(1))
        }
    }

    /// A broker that lets nobody in.
    struct Closed;

    impl System for Closed {
        fn system(&self) -> &'static str {
            "memory"
        }
    }

    impl Subscriber for Closed {
        async fn receive(&mut self) -> Result<Delivery, BrokerError> {
            Err(BrokerError::misused("the password is wrong"))
        }

        async fn ack(&mut self, _: Receipt) -> Result<(), BrokerError> {
            Ok(())
        }

        async fn nack(&mut self, _: Receipt, _: Nack) -> Result<(), BrokerError> {
            Ok(())
        }
    }

    /// Remembers how consumers end.
    #[derive(Default)]
    struct Ends(std::sync::Mutex<Vec<String>>);

    impl Observer for Ends {
        fn consumer(&self, consumer: &ConsumerIdentity<'_>, event: &ConsumerEvent<'_>) {
            if let ConsumerEvent::Ended { .. } = event {
                self.0
                    .lock()
                    .unwrap()
                    .push(format!("{} told", consumer.consumer));
            }
        }

        fn watch(&self, probe: Probe) {
            if let Probe::Ended { consumer, .. } = probe {
                self.0.lock().unwrap().push(format!("{consumer} kept"));
            }
        }
    }

    #[tokio::test]
    async fn a_consumer_that_cannot_go_on_is_seen_though_nobody_waits_for_it() {
        let ends = Arc::new(Ends::default());
        let consumer = Consumer::new(Closed).observer(Arc::clone(&ends) as _);
        let watched = Watched::new(&consumer, "view".to_owned(), None);
        let ended = run(consumer, &watched, &OneWriter::default()).await;
        assert!(ended.is_err());
        assert_eq!(*ends.0.lock().unwrap(), ["view told", "view kept"]);
    }

    /// Gives two events, and never hears that one of them was handled.
    struct Deaf(Vec<Event>);

    impl System for Deaf {
        fn system(&self) -> &'static str {
            "memory"
        }
    }

    impl Subscriber for Deaf {
        async fn receive(&mut self) -> Result<Delivery, BrokerError> {
            match self.0.pop() {
                Some(event) => Ok(Delivery::new(Ok(event), "topic", Receipt(1))),
                None => future::pending().await,
            }
        }

        async fn ack(&mut self, _: Receipt) -> Result<(), BrokerError> {
            future::pending().await
        }

        async fn nack(&mut self, _: Receipt, _: Nack) -> Result<(), BrokerError> {
            future::pending().await
        }
    }

    /// A handler that takes as many seconds as the event says.
    #[derive(Default)]
    struct Seconds {
        handled: AtomicU32,
    }

    impl Handles for Seconds {
        async fn handle(&self, event: &Event, _: &Watched) -> Result<Verdict, Error> {
            sleep(Duration::from_secs(event.decode().unwrap())).await;
            self.handled.fetch_add(1, Ordering::Relaxed);
            Ok(Verdict::Over(Handled::Done))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_is_stopped_waits_for_a_deaf_broker_no_longer_than_its_grace() {
        let event = |seconds: u64| {
            let event = Event::new("order.placed", &seconds).source("/shop");
            event.key(format!("order-{seconds}"))
        };
        let grace = Duration::from_secs(10);
        let consumer = Consumer::new(Deaf(vec![event(5), event(2)])).shutdown_grace(grace);
        let stop = consumer.stop_handle();
        let later = async {
            sleep(Duration::from_secs(1)).await;
            stop.stop();
        };
        let handles = Seconds::default();
        let watched = Watched::new(&consumer, "view".to_owned(), None);
        let began = Instant::now();
        let both = async { tokio::join!(run(consumer, &watched, &handles), later) };
        let (ran, ()) = timeout(Duration::from_hours(1), both).await.unwrap();
        ran.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(1) + grace);
        // The other one has gone on, though the broker never took note of the first.
        assert_eq!(handles.handled.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_is_stopped_holds_up_nothing_that_it_has_begun() {
        let store = OneWriter::default();
        let event = Event::new("order.placed", &1).source("/shop");
        let consumer = Consumer::new(One(Some(event)));
        let stop = consumer.stop_handle();
        let later = async {
            sleep(Duration::from_secs(1)).await;
            stop.stop();
        };
        // Old records are being removed when the event comes.
        let watched = Watched::new(&consumer, "view".to_owned(), None);
        let (ran, ()) = tokio::join!(run(consumer, &watched, &store), later);
        ran.unwrap();
        assert_eq!(store.handled.load(Ordering::Relaxed), 1);
    }
}
