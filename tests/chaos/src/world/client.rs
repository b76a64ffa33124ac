//! The worker's end.

use super::{Answer, Answered, Ask, Said};
use crate::{
    ledger::{Effect, Request, What},
    order::Order,
};
use sagaz::{SagaId, StepContext};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{mpsc, oneshot},
};

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// What a worker knows of the world. A clone is the same connection.
#[derive(Clone, Debug)]
pub(crate) struct World {
    said: mpsc::UnboundedSender<Said>,
    waiting: Waiting,
    nth: Arc<AtomicU64>,
}

impl World {
    /// The connection of a process. It ends with the process, or with the conductor.
    pub(crate) async fn connect(socket: &Path, process: u32) -> io::Result<Self> {
        let (from, mut to) = UnixStream::connect(socket).await?.into_split();
        let (said, mut to_say) = mpsc::unbounded_channel::<Said>();
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(said) = to_say.recv().await {
                let Ok(mut line) = serde_json::to_vec(&said) else {
                    continue;
                };
                line.push(b'\n');
                if to.write_all(&line).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(answered) = serde_json::from_str::<Answered>(&line) else {
                    continue;
                };
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(waiting) = answers.remove(&answered.nth) {
                    let _ = waiting.send(answered.answer);
                }
            }
        });
        let world = Self {
            said,
            waiting,
            nth: Arc::default(),
        };
        world.ask(Ask::Process(process)).await?;
        Ok(world)
    }

    async fn ask(&self, ask: Ask) -> io::Result<Answer> {
        let nth = self.nth.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(nth, answer);
        let gone = || io::Error::other("the conductor has gone");
        self.said.send(Said { nth, ask }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    async fn done(&self, ask: Ask) -> io::Result<()> {
        self.ask(ask).await.map(drop)
    }

    /// The next order to start, when there is one.
    pub(crate) async fn order(&self) -> io::Result<Order> {
        match self.ask(Ask::Order).await? {
            Answer::Order(order) => Ok(order),
            other => Err(strange(&other)),
        }
    }

    pub(crate) async fn accepted(&self, number: u32, id: SagaId) -> io::Result<()> {
        self.done(Ask::Accepted(number, id)).await
    }

    pub(crate) async fn give_back(&self, number: u32) -> io::Result<()> {
        self.done(Ask::GiveBack(number)).await
    }

    /// An attempt begins; the serial of its line.
    pub(crate) async fn call(&self, request: Request) -> io::Result<u64> {
        match self.ask(Ask::Call(request)).await? {
            Answer::Serial(serial) => Ok(serial),
            other => Err(strange(&other)),
        }
    }

    pub(crate) async fn take_effect(
        &self,
        request: Request,
        order: &Order,
        call: u64,
    ) -> io::Result<Effect> {
        match self.ask(Ask::Effect(request, *order, call)).await? {
            Answer::Effect(effect) => Ok(effect),
            other => Err(strange(&other)),
        }
    }

    pub(crate) async fn call_undo(&self, request: Request) -> io::Result<u64> {
        match self.ask(Ask::CallUndo(request)).await? {
            Answer::Serial(serial) => Ok(serial),
            other => Err(strange(&other)),
        }
    }

    pub(crate) async fn undo(&self, request: Request) -> io::Result<()> {
        self.done(Ask::Undo(request)).await
    }

    /// Does not wait for an answer, so that observers can say it.
    pub(crate) fn note(&self, id: SagaId, what: What) {
        self.say(Ask::Note(id, what));
    }

    pub(crate) fn count(&self, counts: BTreeMap<String, u64>) {
        self.say(Ask::Count(counts));
    }

    pub(crate) fn tell(&self, words: impl Into<String>) {
        self.say(Ask::Tell(words.into()));
    }

    fn say(&self, ask: Ask) {
        let nth = self.nth.fetch_add(1, Ordering::Relaxed);
        // Nobody hears it when the conductor has gone.
        let _ = self.said.send(Said { nth, ask });
    }
}

impl Request {
    /// What an attempt asks for.
    pub(crate) fn of(ctx: &StepContext<'_>) -> io::Result<Self> {
        let step = crate::order::Step::parse(ctx.step());
        Ok(Self {
            id: ctx.saga_id(),
            step: step.ok_or_else(|| io::Error::other("the ledger does not know this step"))?,
            key: ctx.idempotency_key(),
            attempt: ctx.attempt(),
        })
    }
}

fn strange(answer: &Answer) -> io::Error {
    io::Error::other(format!("the conductor answered {answer:?}"))
}
