//! The conductor's end.

use super::{Answer, Answered, Ask, Said};
use crate::{
    ledger::{Ledger, What},
    order::Order,
};
use sagaz::SagaId;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Notify, mpsc},
};

/// How things stand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) issued: usize,
    pub(crate) accepted: usize,
    pub(crate) waiting: usize,
    pub(crate) finished: usize,
}

#[derive(Debug, Default)]
struct Inner {
    ledger: Ledger,
    /// All orders that were handed out or wait to be.
    orders: BTreeMap<u32, Order>,
    queue: VecDeque<u32>,
    accepted: HashMap<u32, Vec<SagaId>>,
    finished: HashSet<SagaId>,
    counts: BTreeMap<String, u64>,
    told: Vec<String>,
}

/// The world, for all processes.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    inner: Arc<Mutex<Inner>>,
    news: Arc<Notify>,
}

/// What is left at the end.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) ledger: Ledger,
    pub(crate) orders: BTreeMap<u32, Order>,
    pub(crate) accepted: HashMap<u32, Vec<SagaId>>,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) told: Vec<String>,
}

impl Server {
    pub(crate) fn listen(socket: &Path, ledger: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let server = Self {
            inner: Arc::new(Mutex::new(Inner {
                ledger: Ledger::in_file(ledger)?,
                ..Inner::default()
            })),
            news: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        Ok(server)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is an order to start, by two clients at once if it says so.
    pub(crate) fn issue(&self, order: Order) {
        let mut inner = self.inner();
        inner.orders.insert(order.number, order);
        inner.queue.push_back(order.number);
        if order.is_started_twice() {
            inner.queue.push_back(order.number);
        }
        drop(inner);
        self.news.notify_waiters();
    }

    pub(crate) fn counts(&self) -> Counts {
        let inner = self.inner();
        Counts {
            issued: inner.orders.len(),
            accepted: inner.accepted.len(),
            waiting: inner.queue.len(),
            finished: inner.finished.len(),
        }
    }

    pub(crate) fn lines(&self) -> usize {
        self.inner().ledger.len()
    }

    /// What was told since the last time.
    pub(crate) fn take_told(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().told)
    }

    pub(crate) fn close(&self) -> Left {
        let inner = std::mem::take(&mut *self.inner());
        Left {
            ledger: inner.ledger,
            orders: inner.orders,
            accepted: inner.accepted,
            counts: inner.counts,
            told: inner.told,
        }
    }

    async fn serve(self, stream: UnixStream) {
        let (from, mut to) = stream.into_split();
        let (answer, mut answers) = mpsc::unbounded_channel::<Answered>();
        tokio::spawn(async move {
            while let Some(answered) = answers.recv().await {
                let Ok(mut line) = serde_json::to_vec(&answered) else {
                    continue;
                };
                line.push(b'\n');
                // It was killed; whoever reads finds that out.
                let _ = to.write_all(&line).await;
            }
        });
        let taken = Arc::new(Mutex::new(Vec::new()));
        let mut process = 0;
        let mut lines = BufReader::new(from).lines();
        let mut waiting = tokio::task::JoinSet::new();
        while let Ok(Some(line)) = lines.next_line().await {
            // The last line of a process that was killed may be half a line.
            let Ok(said) = serde_json::from_str::<Said>(&line) else {
                continue;
            };
            let nth = said.nth;
            if let Ask::Order = said.ask {
                let (server, taken, answer) = (self.clone(), Arc::clone(&taken), answer.clone());
                waiting.spawn(async move {
                    let order = server.next(&taken).await;
                    let answer_is = Answer::Order(order);
                    let _ = answer.send(Answered {
                        nth,
                        answer: answer_is,
                    });
                });
                continue;
            }
            if let Ask::Process(number) = said.ask {
                process = number;
            }
            let is_over = match &said.ask {
                Ask::Accepted(number, _) | Ask::GiveBack(number) => Some(*number),
                _ => None,
            };
            let said_is = self.answer(process, said.ask);
            if let Some(number) = is_over {
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(place) = taken.iter().position(|it| *it == number) {
                    taken.swap_remove(place);
                }
            }
            let _ = answer.send(Answered {
                nth,
                answer: said_is,
            });
        }
        waiting.shutdown().await;
        // Its clients are gone, and were not answered: others start what they had.
        let taken = std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
        self.inner().queue.extend(taken);
        self.news.notify_waiters();
    }

    async fn next(&self, taken: &Mutex<Vec<u32>>) -> Order {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            // From here on it is told.
            news.as_mut().enable();
            if let Some(order) = self.pop(taken) {
                return order;
            }
            news.await;
        }
    }

    fn pop(&self, taken: &Mutex<Vec<u32>>) -> Option<Order> {
        let mut inner = self.inner();
        let number = inner.queue.pop_front()?;
        taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(number);
        inner.orders.get(&number).copied()
    }

    fn answer(&self, process: u32, ask: Ask) -> Answer {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let ledger = &mut inner.ledger;
        match ask {
            Ask::Process(_) | Ask::Order => {}
            Ask::Accepted(number, id) => {
                inner.accepted.entry(number).or_default().push(id);
                ledger.write(process, id, What::Accepted { number });
            }
            Ask::GiveBack(number) => {
                inner.queue.push_back(number);
                self.news.notify_waiters();
            }
            Ask::Call(request) => return Answer::Serial(ledger.call(process, &request)),
            Ask::Effect(request, order, call) => {
                return Answer::Effect(ledger.take_effect(process, &request, &order, call));
            }
            Ask::CallUndo(request) => return Answer::Serial(ledger.call_undo(process, &request)),
            Ask::Undo(request) => ledger.undo(process, &request),
            Ask::Note(id, what) => {
                if let What::Finished { .. } = what {
                    inner.finished.insert(id);
                }
                ledger.write(process, id, what);
            }
            Ask::Count(counts) => {
                for (what, count) in counts {
                    *inner.counts.entry(what).or_default() += count;
                }
            }
            Ask::Tell(words) => inner.told.push(format!("process {process}: {words}")),
        }
        Answer::Done
    }
}
