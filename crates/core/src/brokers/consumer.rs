//! The loop of one model's queue road: connects, takes messages while there is room, publishes replies, and connects again.
//!
//! While one batch of replies is on its way to the broker the next is written, and while messages are read the next ones are
//! on their way; so every round trip is about many messages, and none is waited for that something could be done meanwhile.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::Result;
use crate::lifecycle::Shared;

use super::flights::{Flights, Letters, Post};
use super::message::{Delivery, Settled};
use super::nats::{self, Nats, Place};
use super::redis::{self, Redis};
use super::{Broker, Config, State, invalid};

/// Longest time that a broker may hold back an answer when there are no messages: a draining server waits for it.
const WAIT: Duration = Duration::from_millis(500);
/// How many times messages are asked for before the first have come.
pub(super) const AHEAD: usize = 2;
/// How often what waits is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long until a broker that is away is tried again: the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// After how long a connection counts as one that held.
const HELD: Duration = Duration::from_secs(1);

/// The brokers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nats,
    Redis,
}

impl Kind {
    /// The broker that a URL names.
    ///
    /// # Errors
    /// `setting_invalid`, without the URL: it may hold a password.
    pub fn of(url: &str) -> Result<Self> {
        match url.split_once(':').map_or("", |(scheme, _)| scheme) {
            "redis" | "rediss" | "valkey" | "valkeys" | "unix" | "redis+unix" | "valkey+unix" => {
                redis::client(url).map(|_| Self::Redis)
            }
            "nats" | "tls" => Place::read(url).map(|_| Self::Nats),
            _ => Err(invalid(
                "the setting queue names no broker we speak to",
                "for example redis://127.0.0.1:6379 or nats://127.0.0.1:4222",
            )),
        }
    }

    /// Whether a stream or subject may have that name.
    pub fn takes(self, name: &str) -> bool {
        match self {
            Self::Nats => nats::is_subject(name),
            Self::Redis => true,
        }
    }
}

/// A name for this process among the consumers of a group.
pub fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
    // A hasher is seeded at random.
    let random = RandomState::new().build_hasher().finish();
    format!("{}{host}-{}-{random:016x}", redis::PREFIX, std::process::id())
}

/// Runs all roads of a server until it has drained. The body of a thread.
pub fn work(roads: Vec<(Config, Arc<State>)>, shared: &Arc<Shared>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return shared.log.error(format_args!("the queue's thread does not start: {error}")),
    };
    let run = async |config, state| {
        let road = Road::new(config, state, shared.clone());
        match Kind::of(&road.config.url) {
            Ok(Kind::Nats) => road.run::<Nats>().await,
            Ok(Kind::Redis) => road.run::<Redis>().await,
            Err(error) => road.note(Some(&error)),
        }
    };
    let mut roads: FuturesUnordered<_> = roads.into_iter().map(|(config, state)| run(config, state)).collect();
    // No `LocalSet`: one runs a road that wakes itself many times over before it looks at the sockets.
    runtime.block_on(async { while roads.next().await.is_some() {} });
}

/// One model's road.
struct Road {
    config: Config,
    state: Arc<State>,
    shared: Arc<Shared>,
}

/// What a road keeps while connections come and go.
struct Kept<B: Broker> {
    flights: RefCell<Flights<B::Tag>>,
    post: UnboundedSender<Letters>,
    /// There is room for more, or there may be.
    room: Notify,
    /// Messages have come.
    come: Notify,
    /// Whether no more messages are asked for.
    has_fetched: Cell<bool>,
    /// What the broker's operator was told.
    advice: RefCell<Option<String>>,
}

impl Road {
    fn new(config: Config, state: Arc<State>, shared: Arc<Shared>) -> Self {
        Self { config, state, shared }
    }

    /// Notes whether the broker is there, and says so if it is news.
    fn note(&self, away: Option<&crate::error::Error>) {
        let (config, model) = (&self.config, &self.state.model);
        if self.state.note(away) {
            match away {
                Some(error) => self.shared.log.warning(format_args!("queue of {model}: {error}")),
                None => self.shared.log.info(format_args!(
                    "queue of {model}: connected, requests from {}, replies to {}",
                    config.requests, config.replies
                )),
            }
        }
    }

    async fn run<B: Broker>(self) {
        let (post, mut letters) = unbounded_channel();
        let flights =
            Flights::new(self.config.clone(), self.state.clone(), self.shared.clone(), Arc::new(Post(post.clone())));
        let kept: Kept<B> = Kept {
            flights: RefCell::new(flights),
            post,
            room: Notify::new(),
            come: Notify::new(),
            has_fetched: Cell::new(false),
            advice: RefCell::default(),
        };
        let mut sending = Vec::new();
        let mut pause = FIRST_PAUSE;
        let mut over = pin!(self.until_over());
        loop {
            let began = Instant::now();
            let ended = {
                let mut connected = pin!(self.connected(&kept, &mut letters, &mut sending));
                poll_fn(|context| match over.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(Ok(())),
                    Poll::Pending => connected.as_mut().poll(context),
                })
                .await
            };
            let Err(error) = ended else { return };
            self.note(Some(&error));
            // Nothing is under way that a broker that is away would have to hear of.
            if self.shared.is_draining() && kept.flights.borrow().is_empty() {
                return;
            }
            pause = if began.elapsed() > HELD { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
            self.pause(jittered(pause)).await;
        }
    }

    /// Waits for so long, or until the server is on its way out and there is no time to lose.
    async fn pause(&self, pause: Duration) {
        if self.shared.is_draining() {
            return tokio::time::sleep(pause.min(FIRST_PAUSE)).await;
        }
        // Either is fine.
        drop(tokio::time::timeout(pause, self.shared.until_draining()).await);
    }

    /// Until a stopping server has no more time for what is under way.
    async fn until_over(&self) {
        self.shared.until_draining().await;
        let drain = Duration::from_secs_f64(self.shared.settings.drain_s).max(LOOK);
        drop(tokio::time::timeout(drain, self.shared.until_stopped()).await);
    }

    /// One connection: ends well when the server has drained.
    async fn connected<B: Broker>(
        &self,
        kept: &Kept<B>,
        letters: &mut UnboundedReceiver<Letters>,
        sending: &mut Vec<Settled<B::Tag>>,
    ) -> Result<()> {
        let broker = B::connect(&self.config).await?;
        // It is there when it takes what waits for it: one that is full is not.
        if !sending.is_empty() {
            broker.settle(sending).await?;
            kept.flights.borrow_mut().done(sending);
            sending.clear();
        }
        self.note(None);
        let advice = broker.advice();
        if kept.advice.replace(advice.clone()) != advice {
            advice
                .iter()
                .for_each(|text| self.shared.log.warning(format_args!("queue of {}: {text}", self.state.model)));
        }
        {
            let mut fetching = pin!(self.fetch(&broker, kept));
            let mut settling = pin!(settle(&broker, kept, letters, sending));
            let mut keeping = pin!(self.keep(&broker, kept));
            let mut starting = pin!(self.start(kept));
            poll_fn(|context| {
                let ends =
                    [fetching.as_mut().poll(context), keeping.as_mut().poll(context), starting.as_mut().poll(context)];
                for ended in ends {
                    if ended.is_ready() {
                        return ended;
                    }
                }
                settling.as_mut().poll(context)
            })
            .await?;
        }
        broker.close().await
    }

    /// Takes messages while there is room for them and the server is not draining.
    ///
    /// While there are more than come at once, the next are asked for before the last have come: the broker never waits.
    async fn fetch<B: Broker>(&self, broker: &B, kept: &Kept<B>) -> Result<()> {
        let ask = async |most: usize| (most, broker.fetch(most, WAIT).await);
        // Whichever comes first: the other may wait for messages that nobody has sent yet.
        let mut coming = FuturesUnordered::new();
        let (mut asked, mut is_flowing) = (0, false);
        while !self.shared.is_draining() {
            let room = kept.flights.borrow().room(asked);
            match room {
                Ok(most) if coming.is_empty() || is_flowing && coming.len() < AHEAD => {
                    asked += most;
                    coming.push(ask(most));
                    continue;
                }
                Err(Some(Duration::ZERO)) if coming.is_empty() => {
                    kept.flights.borrow_mut().retry(false);
                    kept.wake();
                }
                // However it ends, there may be room.
                Err(wait) if coming.is_empty() => {
                    drop(tokio::time::timeout(wait.unwrap_or(WAIT), kept.room.notified()).await);
                }
                _ => {}
            }
            // There may be room for more before they have come.
            let mut room = pin!(kept.room.notified());
            let come = poll_fn(|context| match coming.poll_next_unpin(context) {
                Poll::Pending => room.as_mut().poll(context).map(|()| None),
                come => come,
            });
            if let Some((most, deliveries)) = come.await {
                asked -= most;
                is_flowing = kept.take(deliveries?) >= most;
            }
        }
        while let Some((_, deliveries)) = coming.next().await {
            kept.take(deliveries?);
        }
        while kept.flights.borrow_mut().start_some() {}
        kept.has_fetched.set(true);
        kept.flights.borrow_mut().retry(true);
        kept.wake();
        pending().await
    }

    /// Reads messages that have come, some at a time: what has ended is sent in between.
    async fn start<B: Broker>(&self, kept: &Kept<B>) -> Result<()> {
        loop {
            if kept.flights.borrow_mut().start_some() {
                kept.wake();
                tokio::task::yield_now().await;
            } else {
                kept.come.notified().await;
            }
        }
    }

    /// Says that messages are under way, and looks at what waits.
    async fn keep<B: Broker>(&self, broker: &B, kept: &Kept<B>) -> Result<()> {
        let every = self.config.ack_wait / 3;
        let mut extended = Instant::now();
        loop {
            self.state.note_backlog(broker.backlog().await?);
            tokio::time::sleep(every.min(LOOK)).await;
            if extended.elapsed() + every.min(LOOK) >= every {
                extended = Instant::now();
                let held = kept.flights.borrow().held();
                broker.extend(&held).await?;
            }
        }
    }
}

impl<B: Broker> Kept<B> {
    /// Takes messages that have come; how many.
    fn take(&self, deliveries: Vec<Delivery<B::Tag>>) -> usize {
        let count = deliveries.len();
        if count > 0 {
            self.flights.borrow_mut().take(deliveries);
            self.come.notify_one();
        }
        count
    }

    /// Has it looked whether something has ended.
    fn wake(&self) {
        // The receiver lives as long as the road.
        drop(self.post.send(Vec::new()));
    }
}

/// Publishes what has ended, and writes the next replies meanwhile. Ends when the server has drained.
async fn settle<B: Broker>(
    broker: &B,
    kept: &Kept<B>,
    letters: &mut UnboundedReceiver<Letters>,
    sending: &mut Vec<Settled<B::Tag>>,
) -> Result<()> {
    loop {
        let returned = kept.flights.borrow_mut().take_returned();
        if !returned.is_empty() {
            broker.nack(&returned).await?;
        }
        if sending.is_empty() {
            *sending = kept.flights.borrow_mut().take_settled();
        }
        if sending.is_empty() {
            if kept.has_fetched.get() && kept.flights.borrow().is_empty() {
                return Ok(());
            }
            if let Some(answers) = letters.recv().await {
                kept.flights.borrow_mut().land(answers);
            }
            kept.room.notify_one();
            continue;
        }
        {
            let mut settling = pin!(broker.settle(sending));
            poll_fn(|context| {
                while let Poll::Ready(Some(answers)) = letters.poll_recv(context) {
                    kept.flights.borrow_mut().land(answers);
                }
                settling.as_mut().poll(context)
            })
            .await?;
        }
        kept.flights.borrow_mut().done(sending);
        sending.clear();
        kept.room.notify_one();
    }
}

/// From half of a time to all of it, at random: servers that lost their broker together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1_000;
    pause / 2 + pause * u32::try_from(random).unwrap_or(0) / 2_000
}
