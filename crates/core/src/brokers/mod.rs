//! The queue road: requests come from a broker, share the batches of every other road, and are answered there.
//!
//! [`Broker`] is all that a broker must do; [`redis`] is one. [`message`] says what the headers of requests and replies mean,
//! [`flights`] is what is under way, and [`consumer`] is the loop of one model between its broker and its batcher.

mod consumer;
mod flights;
mod message;
mod nats;
mod redis;
mod state;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::lifecycle::Shared;
use crate::settings::{ServeSettings, Settings};

use message::{Delivery, Settled};
pub use state::{Outcome, State, render};
use tls::Tls;

/// The word of a setting that is not said.
const OFF: &str = "off";
/// What a setting says that follows from another.
const AUTO: &str = "auto";

/// What a model's queue road was told: where requests come from, and how they are treated.
///
/// Not to be shown: the URL may hold a password.
#[derive(Clone)]
pub(crate) struct Config {
    pub url: String,
    pub tls: Tls,
    /// The stream or subject that requests come from, and the one that replies go to.
    pub requests: String,
    pub replies: String,
    /// All servers of a group share the requests.
    pub group: String,
    /// This process's own name within the group.
    pub consumer: String,
    /// How often a message may be given out before it is a dead letter.
    pub attempts: u32,
    /// How long a message may be with a server that says nothing before another one gets it.
    pub ack_wait: Duration,
    /// What a `reply-to` must begin with; none is allowed without.
    pub reply_to: Option<String>,
    pub limit_body_bytes: usize,
}

impl Config {
    /// Where requests go that nobody can read.
    pub fn unprocessable(&self) -> String {
        format!("{}.unprocessable", self.requests)
    }

    /// Where requests go that could be read, and not be scored.
    pub fn failed(&self) -> String {
        format!("{}.failed", self.requests)
    }
}

/// A message that goes back to its broker.
#[derive(Debug, PartialEq)]
pub(crate) struct Returned<T> {
    pub tag: T,
    /// After how long it is to be given out again; a broker may do it sooner.
    pub delay: Duration,
}

/// What waits in a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Backlog {
    /// Messages that no server has taken yet.
    pub waiting: u64,
    /// Messages that some server has taken and not answered yet.
    pub pending: u64,
    /// Since when the oldest of either waits.
    pub oldest_age_s: f64,
}

/// A broker, connected. Every call is about many messages and costs as few round trips as the broker allows.
///
/// An error ends the connection: the loop makes another one. Nothing is lost by that: what was fetched and not settled is
/// settled over the next one, and a broker gives out again what nobody settles for `ack_wait`.
pub(crate) trait Broker: Sized {
    /// How the broker knows a message. As text it is the message's id, unless its sender chose one.
    type Tag: Clone + Eq + Hash + Display;

    /// Connects, and makes what has to be there: a group, a stream, a durable consumer.
    ///
    /// # Errors
    /// `queue_unavailable`, with the reason and without the password.
    async fn connect(config: &Config) -> Result<Self>;

    /// What its operator should know and change, if there is anything.
    fn advice(&self) -> Option<String> {
        None
    }

    /// Waits for at most `wait` for messages, and takes at most `most`; also those that another server died with.
    async fn fetch(&self, most: usize, wait: Duration) -> Result<Vec<Delivery<Self::Tag>>>;

    /// Publishes replies and dead letters, and acknowledges; nothing is acknowledged before its reply is out.
    ///
    /// Where the broker can, a message that was answered already is not answered again, nor one whose sender gave it the
    /// id of another: the reply's id is `Settled::message_id`, else the tag's text.
    async fn settle(&self, settled: &[Settled<Self::Tag>]) -> Result<()>;

    /// Gives messages back, to be given out again after a while, to whichever server.
    async fn nack(&self, returned: &[Returned<Self::Tag>]) -> Result<()>;

    /// Says that messages are still under way, before `ack_wait` is over.
    async fn extend(&self, tags: &[Self::Tag]) -> Result<()>;

    /// What waits.
    async fn backlog(&self) -> Result<Backlog>;

    /// Leaves the group: a name with nothing to its account is not kept.
    async fn close(self) -> Result<()>;
}

/// A server's queue roads: one thread for all its models.
pub struct Brokers {
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Brokers {
    /// Starts the roads of all models that have one, and says how they are. The broker need not be there yet.
    ///
    /// # Errors
    /// `setting_invalid`, or `internal` if no thread can be started.
    pub fn start(
        settings: &ServeSettings,
        models: &[&str],
        shared: &Arc<Shared>,
    ) -> Result<(Option<Self>, Vec<Arc<State>>)> {
        let roads: Vec<_> =
            plan(settings, models)?.into_iter().map(|(model, config)| (config, Arc::new(State::new(model)))).collect();
        let states = roads.iter().map(|(_, state)| state.clone()).collect();
        if roads.is_empty() {
            return Ok((None, states));
        }
        let shared = shared.clone();
        let thread = std::thread::Builder::new()
            .name("monorail-queue".to_owned())
            .spawn(move || consumer::work(roads, &shared))
            .map_err(|e| Error::new(Code::Internal, format!("no thread can be started: {e}")))?;
        Ok((Some(Self { thread: Mutex::new(Some(thread)) }), states))
    }

    /// Waits until what is under way is answered. The server must be draining, and its engines run until then.
    pub fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that panicked has acknowledged nothing that it did not answer.
        thread.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// The roads that the settings ask for, by model.
///
/// # Errors
/// `setting_invalid` if they contradict each other.
pub(crate) fn plan(settings: &ServeSettings, models: &[&str]) -> Result<BTreeMap<String, Config>> {
    let mut roads: BTreeMap<String, Config> = BTreeMap::new();
    if settings.serve.queue == OFF {
        return Ok(roads);
    }
    for &name in models {
        let own = settings.model(name);
        if own.requests == OFF || roads.contains_key(name) {
            continue;
        }
        let config = config(&settings.serve, own);
        check(name, &config, &roads)?;
        roads.insert(name.to_owned(), config);
    }
    if roads.is_empty() {
        return Err(invalid(
            "there is a queue, and no model has requests",
            "say --requests NAME, or under [models.NAME]",
        ));
    }
    Ok(roads)
}

fn config(serve: &Settings, own: &Settings) -> Config {
    Config {
        url: serve.queue.clone(),
        tls: Tls::from_settings(serve),
        requests: own.requests.clone(),
        replies: if own.replies == AUTO { format!("{}.replies", own.requests) } else { own.replies.clone() },
        group: serve.queue_group.clone(),
        consumer: consumer::name(),
        attempts: u32::try_from(serve.queue_attempts).unwrap_or(u32::MAX),
        ack_wait: Duration::from_secs_f64(serve.queue_ack_wait_s),
        reply_to: (serve.queue_reply_to != OFF).then(|| serve.queue_reply_to.clone()),
        limit_body_bytes: serve.limit_body_bytes,
    }
}

/// Refuses a road that others would take messages from.
fn check(name: &str, config: &Config, others: &BTreeMap<String, Config>) -> Result<()> {
    let kind = consumer::Kind::of(&config.url)?;
    config.tls.check(&config.url)?;
    if let Some(wrong) = [&config.requests, &config.replies].into_iter().find(|own| !kind.takes(own)) {
        return Err(invalid(
            format!("requests or replies of {name} cannot be called {wrong} in this broker"),
            "on NATS a subject is words with dots between, without * and >",
        ));
    }
    let written = [&config.replies, &config.unprocessable(), &config.failed()].map(String::clone);
    if written.contains(&config.requests) {
        return Err(invalid(
            format!("replies of {name} would go to {}, where its requests come from", config.requests),
            "give replies another name",
        ));
    }
    for (other, its) in others {
        if its.requests == config.requests {
            return Err(invalid(
                format!("{other} and {name} would both take requests from {}", its.requests),
                "give each model its own requests, under [models.NAME] of monorail.toml",
            ));
        }
        if written.contains(&its.requests)
            || [&its.replies, &its.unprocessable(), &its.failed()].contains(&&config.requests)
        {
            return Err(invalid(
                format!("replies of {other} and requests of {name}, or the other way about, have the same name"),
                "give each its own name",
            ));
        }
    }
    Ok(())
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>, hint: &'static str) -> Error {
    Error::new(Code::SettingInvalid, message).hint(hint)
}
