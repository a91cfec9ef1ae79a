//! NATS JetStream: a durable pull consumer shares the requests, replies are published side by side and awaited together.
//!
//! Messages are pulled ahead of what is asked for, over one subscription that lives as long as the connection: a fetch
//! that is given up loses none. A reply carries `Nats-Msg-Id`, so that the broker drops a second one; a request is
//! acknowledged once its reply is stored. The client's own way to connect again is not used: who we are to the broker
//! (pulls under way, acknowledgements on the wire) is not known after a cut, so the road begins anew.

mod messages;
mod place;
mod streams;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, AckKind};
use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Mutex, watch};
use tokio::task::coop;
use tokio::time::{timeout, timeout_at};

use super::message::{Delivery, Publication, Settled, Target};
use super::{Backlog, Broker, Config, Returned};
use crate::clock::now;
use crate::error::{Error, Result};

use messages::{Stored, Tag};
pub use place::Place;
pub use streams::is_subject;

/// The least version of the broker.
const LEAST: (i64, i64) = (2, 10);
/// How long the broker keeps a pull whose messages have not come yet, and how often it says that it does.
const PULL: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long an answer may take. A network that swallows everything is noticed by it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// Messages that are published before their acknowledgements are awaited.
const PUBLISHED: usize = 1_024;
/// Names that requests asked for, of which it is remembered whether a stream keeps what goes there.
const NAMES: usize = 1_024;
/// Places where a caller waits for one reply, and that no stream keeps.
const INBOX: &str = "_INBOX.";

/// A connection to NATS, and the consumer that gives out requests.
pub struct Nats {
    config: Config,
    place: Place,
    client: Client,
    jetstream: jetstream::Context,
    stream: Stream<()>,
    consumer: PullConsumer,
    /// What ids of replies are unique in.
    scope: String,
    replies: Subject,
    /// Where pulled messages come, and those of them that nobody has fetched yet.
    inbox: Subject,
    pulled: Mutex<Subscriber>,
    ready: RefCell<VecDeque<Delivery<Tag>>>,
    /// Messages that were asked for and have not come.
    asked: Cell<usize>,
    /// When the broker last said anything about a pull.
    heard: Cell<Instant>,
    /// Where acknowledgements of what we publish come: under the number of the round, and of the message in it.
    receipts: Subject,
    stored: Mutex<Subscriber>,
    round: Cell<u64>,
    /// Whether a stream keeps what goes to a name that a request asked for.
    kept: RefCell<HashMap<String, bool>>,
    /// Why the connection is gone, once it is.
    gone: watch::Receiver<Option<String>>,
}

impl Broker for Nats {
    type Tag = Tag;

    async fn connect(config: &Config) -> Result<Self> {
        let place = Place::read(&config.url)?;
        let (is_gone, gone) = watch::channel(None);
        let client = place.connect(config, is_gone).await?;
        let (major, minor) = LEAST;
        if !client.is_server_compatible(major, minor, 0) {
            let message = format!("is {}, and too old: use {major}.{minor} or later", client.server_info().version);
            return Err(place.error(&message));
        }
        let jetstream = jetstream::new(client.clone());
        let (stream, consumer) = streams::ensure(&jetstream, config, &place).await?;
        let inbox = Subject::from(client.new_inbox());
        let receipts = Subject::from(client.new_inbox());
        let pulled = client.subscribe(inbox.clone()).await.map_err(|error| place.fault(&error))?;
        let stored = client.subscribe(format!("{receipts}.*.*")).await.map_err(|error| place.fault(&error))?;
        Ok(Self {
            scope: format!("{}.{}", config.requests, config.group),
            replies: Subject::from(config.replies.as_str()),
            config: config.clone(),
            place,
            client,
            jetstream,
            stream,
            consumer,
            inbox,
            pulled: Mutex::new(pulled),
            ready: RefCell::default(),
            asked: Cell::new(0),
            heard: Cell::new(Instant::now()),
            receipts,
            stored: Mutex::new(stored),
            round: Cell::new(0),
            kept: RefCell::default(),
            gone,
        })
    }

    async fn fetch(&self, most: usize, wait: Duration) -> Result<Vec<Delivery<Tag>>> {
        let mut pulled = self.pulled.lock().await;
        let until = tokio::time::Instant::now() + wait;
        self.gather(&mut pulled, most)?;
        while self.ready.borrow().is_empty() {
            self.pull(most).await?;
            match timeout_at(until, self.next(&mut pulled)).await {
                Err(_) => break,
                Ok(message) => self.take(message?)?,
            }
            // What has come with it goes with it, and what the connection reads meanwhile.
            while self.gather(&mut pulled, most)? {
                tokio::task::yield_now().await;
            }
        }
        if self.ready.borrow().is_empty() && self.asked.get() > 0 && self.heard.get().elapsed() > HEARTBEAT * 3 {
            return Err(self.place.silent());
        }
        self.pull(most).await?;
        let mut ready = self.ready.borrow_mut();
        let count = most.min(ready.len());
        Ok(ready.drain(..count).collect())
    }

    async fn settle(&self, settled: &[Settled<Tag>]) -> Result<()> {
        for some in settled.chunks(PUBLISHED) {
            self.publish(some).await?;
            for one in some {
                let kind = if one.dead_letter.is_some() { AckKind::Term } else { AckKind::Ack };
                self.acknowledge(&one.tag, kind).await?;
            }
        }
        Ok(())
    }

    async fn nack(&self, returned: &[Returned<Tag>]) -> Result<()> {
        for one in returned {
            self.acknowledge(&one.tag, AckKind::Nak(Some(one.delay))).await?;
        }
        Ok(())
    }

    async fn extend(&self, tags: &[Tag]) -> Result<()> {
        // Those that were pulled and wait for room are with us too.
        if let Ok(mut pulled) = self.pulled.try_lock() {
            self.gather(&mut pulled, usize::MAX)?;
        }
        let waiting: Vec<_> = self.ready.borrow().iter().map(|delivery| delivery.tag.clone()).collect();
        for tag in tags.iter().chain(&waiting) {
            self.acknowledge(tag, AckKind::Progress).await?;
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog> {
        let info = self.consumer.get_info().await.map_err(|error| self.place.fault(&error))?;
        let mut backlog =
            Backlog { waiting: info.num_pending, pending: info.num_ack_pending as u64, oldest_age_s: 0.0 };
        if backlog.waiting > 0 || backlog.pending > 0 {
            let first = info.ack_floor.stream_sequence + 1;
            match self.stream.get_first_raw_message_by_subject(&self.config.requests, first).await {
                Ok(oldest) => {
                    let published = Duration::from_nanos(messages::nanoseconds(oldest.time.unix_timestamp_nanos()));
                    backlog.oldest_age_s = (now() - published.as_secs_f64()).max(0.0);
                }
                // It was answered meanwhile.
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(self.place.fault(&error)),
            }
        }
        Ok(backlog)
    }

    async fn close(self) -> Result<()> {
        // What is pulled and not fetched is for another server, at once.
        let mut pulled = self.pulled.lock().await;
        pulled.drain().await.map_err(|error| self.place.fault(&error))?;
        while let Ok(Some(message)) = timeout(ANSWER_TIMEOUT, pulled.next()).await {
            self.take(message)?;
        }
        let left: Vec<_> = self.ready.borrow_mut().drain(..).collect();
        for delivery in left {
            self.acknowledge(&delivery.tag, AckKind::Nak(None)).await?;
        }
        self.client.flush().await.map_err(|error| self.place.fault(&error))
    }
}

impl Nats {
    /// Asks for messages, so that `most` are on their way. Half of that is enough: each request costs something.
    async fn pull(&self, most: usize) -> Result<()> {
        let coming = self.asked.get() + self.ready.borrow().len();
        if coming > most / 2 {
            return Ok(());
        }
        let batch = most - coming;
        if self.asked.get() == 0 {
            self.heard.set(Instant::now());
        }
        // Before it is sent: given up half-way, it may be on its way.
        self.asked.set(self.asked.get() + batch);
        let pull = BatchConfig { batch, expires: Some(PULL), idle_heartbeat: HEARTBEAT, ..BatchConfig::default() };
        self.consumer.request_batch(pull, self.inbox.clone()).await.map_err(|error| self.place.fault(&error))
    }

    /// The next message of a subscription.
    async fn next(&self, subscriber: &mut Subscriber) -> Result<Message> {
        let mut gone = self.gone.clone();
        tokio::select! {
            biased;
            message = subscriber.next() => message.ok_or_else(|| self.lost()),
            _ = gone.wait_for(Option::is_some) => Err(self.lost()),
        }
    }

    fn lost(&self) -> Error {
        self.place.lost(self.gone.borrow().as_deref())
    }

    /// Takes what the connection has read already, up to `most` messages; whether there was anything.
    fn gather(&self, pulled: &mut Subscriber, most: usize) -> Result<bool> {
        let mut is_more = false;
        while self.ready.borrow().len() < most
            && let Some(message) = coop::unconstrained(pulled.next()).now_or_never()
        {
            self.take(message.ok_or_else(|| self.lost())?)?;
            is_more = true;
        }
        Ok(is_more)
    }

    /// A message of the subscription of pulls: one that was asked for, or a word about a pull.
    fn take(&self, message: Message) -> Result<()> {
        self.heard.set(Instant::now());
        let Some(status) = message.status.filter(|status| *status != async_nats::StatusCode::OK) else {
            self.asked.set(self.asked.get().saturating_sub(1));
            // What has no place in a stream is none of ours.
            self.ready.borrow_mut().extend(messages::delivery(message));
            return Ok(());
        };
        if status == async_nats::StatusCode::IDLE_HEARTBEAT {
            return Ok(());
        }
        // The pull has ended; of its messages so many do not come any more.
        let left = messages::left_of_pull(&message);
        self.asked.set(left.map_or(0, |left| self.asked.get().saturating_sub(left)));
        match message.description.as_deref() {
            Some(reason) if reason.eq_ignore_ascii_case("Consumer Deleted") => Err(self.place.lost(Some(reason))),
            _ => Ok(()),
        }
    }

    /// Publishes the replies and dead letters of some messages, and waits until all are stored.
    async fn publish(&self, settled: &[Settled<Tag>]) -> Result<()> {
        let mut stored = self.stored.lock().await;
        let publications: Vec<_> = settled
            .iter()
            .flat_map(|one| {
                std::iter::once(&one.reply).chain(&one.dead_letter).map(move |publication| (one, publication))
            })
            .collect();
        if self.publish_plain(&mut stored, &publications).await? {
            return Ok(());
        }
        let round = self.next_round();
        let mut awaited = Awaited::new(publications.len());
        for (number, (one, publication)) in publications.iter().enumerate() {
            let fits = messages::size(publication, &self.scope) <= self.client.max_payload();
            let sent = if fits {
                self.send(one, publication, round, number).await?
            } else {
                self.send(one, &messages::too_large(one, publication), round, number).await?
            };
            if sent {
                awaited.expect(number);
            }
        }
        while awaited.left > 0 {
            let message = self.receipt(&mut stored).await?;
            let Some((of, number)) = messages::receipt(&message.subject) else { continue };
            // A round that was given up may still be answered.
            let Some((one, publication)) = publications.get(number).filter(|_| of == round) else { continue };
            match messages::stored(&message) {
                Stored::Yes => awaited.done(number),
                // A place that a request asked for and that takes nothing holds up nobody else.
                Stored::No(_) if matches!(publication.to, Target::Named(_)) && awaited.is_first(number) => {
                    let publication = Publication { to: Target::Replies, ..Publication::clone(publication) };
                    self.send(one, &publication, round, number).await?;
                }
                Stored::No(reason) => return Err(self.place.says(&reason)),
                // The stream takes no message of that size, and says so once more if it takes none at all.
                Stored::TooLarge if awaited.is_first(number) => {
                    self.send(one, &messages::too_large(one, publication), round, number).await?;
                }
                Stored::TooLarge => return Err(self.place.says("a stream takes no messages")),
            }
        }
        Ok(())
    }

    /// Publishes what goes where all replies go, and waits until the broker has stored as many; whether it has stored all.
    ///
    /// All acknowledgements come under one subject, since the broker looks up each subject that it has not just seen. Which
    /// message it is that one is not stored for cannot be told then. All are published once more in that case, and the broker
    /// drops those that it has.
    async fn publish_plain(&self, stored: &mut Subscriber, publications: &[Sent<'_>]) -> Result<bool> {
        let is_plain = |publication: &Publication| {
            publication.to == Target::Replies && messages::size(publication, &self.scope) <= self.client.max_payload()
        };
        if !publications.iter().all(|(_, publication)| is_plain(publication)) {
            return Ok(false);
        }
        let round = self.next_round();
        for (one, publication) in publications {
            self.send(one, publication, round, 0).await?;
        }
        let mut left = publications.len();
        while left > 0 {
            let message = self.receipt(stored).await?;
            if messages::receipt(&message.subject).is_some_and(|(of, _)| of == round) {
                match messages::stored(&message) {
                    Stored::Yes => left -= 1,
                    Stored::TooLarge | Stored::No(_) => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    fn next_round(&self) -> u64 {
        let round = self.round.get() + 1;
        self.round.set(round);
        round
    }

    /// The next acknowledgement of what was published.
    async fn receipt(&self, stored: &mut Subscriber) -> Result<Message> {
        match coop::unconstrained(stored.next()).now_or_never() {
            Some(message) => message.ok_or_else(|| self.lost()),
            None => timeout(ANSWER_TIMEOUT, self.next(stored)).await.map_err(|_| self.place.silent())?,
        }
    }

    /// Publishes a message; whether the broker says when it is stored.
    async fn send(&self, settled: &Settled<Tag>, publication: &Publication, round: u64, number: usize) -> Result<bool> {
        let (subject, is_kept) = match &publication.to {
            Target::Replies => (self.replies.clone(), true),
            Target::Unprocessable => (self.config.unprocessable().into(), true),
            Target::Failed => (self.config.failed().into(), true),
            // What is no subject is answered where all replies are.
            Target::Named(name) if !streams::is_subject(name) => (self.replies.clone(), true),
            Target::Named(name) => (Subject::from(name.as_str()), self.is_kept(name).await?),
        };
        let headers = messages::headers(settled, publication, &self.scope);
        let body = Bytes::copy_from_slice(&publication.body);
        if is_kept {
            let receipt = format!("{}.{round}.{number}", self.receipts);
            self.client.publish_with_reply_and_headers(subject, receipt, headers, body).await
        } else {
            self.client.publish_with_headers(subject, headers, body).await
        }
        .map_err(|error| self.place.fault(&error))?;
        Ok(is_kept)
    }

    /// Whether a stream keeps what goes to a name that a request asked for. Where none does, somebody waits there, or
    /// nobody: the broker does not say.
    async fn is_kept(&self, name: &str) -> Result<bool> {
        if name.starts_with(INBOX) {
            return Ok(false);
        }
        if let Some(known) = self.kept.borrow().get(name) {
            return Ok(*known);
        }
        let is_kept = streams::of_subject(&self.jetstream, name, &self.place).await?.is_some();
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= NAMES {
            kept.clear();
        }
        kept.insert(name.to_owned(), is_kept);
        Ok(is_kept)
    }

    async fn acknowledge(&self, tag: &Tag, kind: AckKind) -> Result<()> {
        self.client.publish(tag.ack.clone(), kind.into()).await.map_err(|error| self.place.fault(&error))
    }
}

/// A message to publish, and what it settles.
type Sent<'a> = (&'a Settled<Tag>, &'a Publication);

/// What of a round has not been acknowledged.
struct Awaited {
    open: Vec<bool>,
    again: HashSet<usize>,
    left: usize,
}

impl Awaited {
    fn new(most: usize) -> Self {
        Self { open: vec![false; most], again: HashSet::new(), left: 0 }
    }

    fn expect(&mut self, number: usize) {
        if let Some(open) = self.open.get_mut(number) {
            *open = true;
            self.left += 1;
        }
    }

    fn done(&mut self, number: usize) {
        if self.open.get_mut(number).is_some_and(std::mem::take) {
            self.left -= 1;
        }
    }

    /// Whether this message has not been published once more already.
    fn is_first(&mut self, number: usize) -> bool {
        self.again.insert(number)
    }
}
