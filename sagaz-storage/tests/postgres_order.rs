//! Everything at once: transactions that overlap on a few keys and are rolled back, steps that publish under the same keys, with
//! senders and without, and relays that take over from one another. Whatever was committed is delivered once, and each key in the order of its
//! commits.
#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

/// By this name they are left out where there is no server.
mod postgres {
    use crate::support::{
        postgres::{connect, schema, url},
        postgres_events::{HOUR, engine, event, number, owned, publishing},
    };
    use sagaz_core::store::{
        AppendsIn, Fate, Fetch, KeyFetch, Lane, Mark, OutboxEvent, OutboxStore, SagaStore, Sender,
        SentEvents, WorkerId, Written,
    };
    use sagaz_storage::postgres::Postgres;
    use sqlx::{PgPool, postgres::PgPoolOptions};
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, AtomicU32, Ordering},
        },
    };
    use tokio::task::JoinSet;

    const KEYS: u32 = 4;
    const APPENDERS: u32 = 6;
    const PUBLISHERS: u32 = 4;
    const ROUNDS: u32 = 50;

    /// What is known of the truth.
    #[derive(Default)]
    struct Books {
        /// Numbers by key, in the order in which transactions held the key, without those that were rolled back.
        appended: Mutex<BTreeMap<String, Vec<u32>>>,
        published: Mutex<BTreeSet<u32>>,
        /// By key: places and numbers, in the order of delivery.
        delivered: Mutex<BTreeMap<String, Vec<(u64, u32)>>>,
        next: AtomicU32,
    }

    impl Books {
        fn number(&self) -> u32 {
            self.next.fetch_add(1, Ordering::Relaxed)
        }

        fn deliver(&self, key: &str, seq: u64, number: u32) {
            let mut delivered = self.delivered.lock().unwrap();
            delivered
                .entry(key.to_owned())
                .or_default()
                .push((seq, number));
        }
    }

    /// Not random: as varied as is needed, and the same each time.
    fn dice(of: u32, sides: u32) -> u32 {
        (of.wrapping_mul(2_654_435_761) >> 7) % sides
    }

    async fn append(store: Postgres, pool: PgPool, books: Arc<Books>, keys: Vec<String>) {
        for _ in 0..ROUNDS {
            let seed = books.number();
            let mut tx = pool.begin().await.unwrap();
            let mut held = Vec::new();
            // In one order, so that they wait for each other and do not deadlock.
            for (at, key) in keys.iter().enumerate() {
                let at = u32::try_from(at).unwrap();
                if dice(seed.wrapping_add(at), 2) == 0 {
                    continue;
                }
                let number = books.number();
                store.append_in(&mut tx, &event(key, number)).await.unwrap();
                let mut appended = books.appended.lock().unwrap();
                appended.entry(key.clone()).or_default().push(number);
                held.push((key, number));
            }
            let pause = f64::from(dice(seed, 4)) / 1_000.0;
            sqlx::query("SELECT pg_sleep($1)")
                .bind(pause)
                .execute(&mut *tx)
                .await
                .unwrap();
            if dice(seed, 5) == 0 {
                for (key, number) in held {
                    let mut appended = books.appended.lock().unwrap();
                    appended.get_mut(key).unwrap().retain(|it| *it != number);
                }
                tx.rollback().await.unwrap();
            } else {
                tx.commit().await.unwrap();
            }
        }
    }

    async fn publish(store: Postgres, books: Arc<Books>, keys: Vec<String>, sends: bool) {
        let instance = owned(&store, engine(&store).await).await;
        let sender = Sender {
            id: WorkerId::random(),
            lease: HOUR,
        };
        for round in 0..ROUNDS {
            let seed = books.number();
            let own = instance.0.to_string();
            let key = match usize::try_from(dice(seed, KEYS + 1)).unwrap() {
                at if at < keys.len() => &keys[at],
                _ => &own,
            };
            let numbers = [books.number(), books.number()];
            let events = numbers.map(|number| event(key, number));
            let step = format!("step-{round}");
            let sender = sends.then_some(sender);
            let write = publishing(instance, &step, &events, sender);
            loop {
                let written = store.write(std::slice::from_ref(&write)).await.unwrap();
                match written[0] {
                    Written::Stored { .. } => break,
                    Written::Busy => tokio::task::yield_now().await,
                    ref other => panic!("{other:?}"),
                }
            }
            books.published.lock().unwrap().extend(numbers);
            let Some(sender) = sender else { continue };
            let ids = events.map(|event| event.event_id().clone());
            let heads = store.heads(sender.id, &ids).await.unwrap();
            let mut settled = Vec::new();
            for (id, place) in heads {
                let was_sent = dice(seed, 3) > 0;
                let at = ids.iter().position(|it| *it == id).unwrap();
                if was_sent {
                    books.deliver(key, place.seq, numbers[at]);
                }
                settled.push((place, was_sent));
            }
            let settled = store.settle_heads(sender.id, &settled, SentEvents::Delete);
            settled.await.unwrap();
        }
    }

    /// Delivers the head of each key, when it need not wait.
    struct Relay {
        id: WorkerId,
        lanes: Vec<(Lane, u64)>,
        unsettled: Vec<u64>,
        keys: BTreeMap<String, BTreeMap<u64, OutboxEvent>>,
    }

    impl Relay {
        async fn new(store: &Postgres) -> Self {
            let id = WorkerId::random();
            let lanes = store.attend(id, HOUR, 64).await.unwrap().lanes;
            assert_eq!(lanes.len(), 64);
            Self {
                id,
                lanes: lanes.into_iter().map(|lane| (lane, 0)).collect(),
                unsettled: Vec::new(),
                keys: BTreeMap::new(),
            }
        }

        async fn turn(&mut self, store: &Postgres, books: &Books) {
            // What waits is looked at anew: its sender may have sent it, or left it.
            let waiting = self.keys.iter().filter_map(|(key, events)| {
                let first = events.values().next()?;
                Some(KeyFetch {
                    lane: self.lanes[usize::from(first.place.lane)].0,
                    key: key.clone(),
                    from: first.place.seq,
                })
            });
            let fetch = Fetch {
                worker: self.id,
                lanes: self.lanes.clone(),
                unsettled: self.unsettled.clone(),
                keys: waiting.collect(),
                limit: 640,
            };
            let fetched = store.fetch(&fetch).await.unwrap();
            for ((_, after), next) in self.lanes.iter_mut().zip(fetched.after) {
                *after = next.unwrap();
            }
            self.unsettled = fetched.unsettled;
            // What was read again replaces what was known of these keys.
            self.keys.clear();
            let mut marks = Vec::new();
            for event in fetched.events {
                let key = event.event.ordering_key().unwrap().to_owned();
                let of_key = self.keys.entry(key).or_default();
                of_key.insert(event.place.seq, event);
            }
            for (key, events) in &mut self.keys {
                while let Some(first) = events.first_entry() {
                    let event = first.get();
                    if event.wait.is_some() {
                        break;
                    }
                    books.deliver(key, event.place.seq, number(event));
                    marks.push(Mark {
                        lane: self.lanes[usize::from(event.place.lane)].0,
                        seq: event.place.seq,
                        fate: Fate::Sent,
                    });
                    first.remove();
                }
            }
            self.keys.retain(|_, events| !events.is_empty());
            let lost = store.mark(self.id, &marks, SentEvents::Delete).await;
            assert!(lost.unwrap().is_empty());
        }
    }

    async fn relay(store: Postgres, books: Arc<Books>, is_over: Arc<AtomicBool>) {
        let mut relay = Relay::new(&store).await;
        for turn in 1.. {
            let was_over = is_over.load(Ordering::Acquire);
            relay.turn(&store, &books).await;
            if was_over && store.outbox_stats().await.unwrap().pending == 0 {
                return;
            }
            if turn % 37 == 0 {
                store.release(relay.id, None).await.unwrap();
                relay = Relay::new(&store).await;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p11_first_deliveries_of_a_key_are_in_the_order_of_its_commits() {
        let schema = schema();
        let options = Postgres::options(&url()).unwrap().schema(&schema);
        let stores = [
            options.clone().writers(2).connect().await.unwrap(),
            options.connect().await.unwrap(),
        ];
        let pool = PgPoolOptions::new().max_connections(APPENDERS);
        let pool = pool.connect(&url()).await.unwrap();
        let books = Arc::new(Books::default());
        let mut keys: Vec<_> = (1..KEYS).map(|n| format!("key-{n}")).collect();
        // One of them is the id of an instance.
        keys.push(
            owned(&stores[0], engine(&stores[0]).await)
                .await
                .0
                .to_string(),
        );
        let is_over = Arc::new(AtomicBool::new(false));
        let relaying = tokio::spawn(relay(
            connect(&schema).await,
            Arc::clone(&books),
            Arc::clone(&is_over),
        ));
        let mut tasks = JoinSet::new();
        for n in 0..APPENDERS {
            let store = stores[n as usize % 2].clone();
            tasks.spawn(append(
                store,
                pool.clone(),
                Arc::clone(&books),
                keys.clone(),
            ));
        }
        for n in 0..PUBLISHERS {
            let store = stores[n as usize % 2].clone();
            tasks.spawn(publish(store, Arc::clone(&books), keys.clone(), n < 2));
        }
        tasks.join_all().await;
        is_over.store(true, Ordering::Release);
        relaying.await.unwrap();

        let delivered = books.delivered.lock().unwrap();
        let appended = books.appended.lock().unwrap();
        let mut expected = books.published.lock().unwrap().clone();
        for (key, deliveries) in &*delivered {
            let places: Vec<_> = deliveries.iter().map(|(seq, _)| seq).collect();
            assert!(places.is_sorted_by(|a, b| a < b), "{key}: {places:?}");
        }
        for (key, numbers) in &*appended {
            let of_key: BTreeSet<_> = numbers.iter().collect();
            let deliveries = delivered[key].iter().map(|(_, number)| number);
            let deliveries: Vec<_> = deliveries.filter(|it| of_key.contains(it)).collect();
            assert_eq!(deliveries, numbers.iter().collect::<Vec<_>>(), "{key}");
            expected.extend(numbers);
        }
        let mut all: Vec<_> = delivered.values().flatten().map(|(_, n)| *n).collect();
        all.sort_unstable();
        assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
    }
}
