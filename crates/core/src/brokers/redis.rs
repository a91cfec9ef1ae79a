//! Redis Streams: a consumer group shares the requests, one script answers and acknowledges many at once.
//!
//! A message that nobody says anything about for `ack_wait` is claimed by another server. One that was given back has its
//! idle time set so that it is claimed when its pause is over: nothing about it is known outside Redis.

mod entries;
mod server;
mod settling;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind,
    TlsCertificates, Value, cmd,
};

use super::consumer::AHEAD;
use super::message::{Delivery, Settled};
use super::{Backlog, Broker, Config, Returned, Tls, state, tls};
use crate::error::{Code, Error, Result};

use entries::{EntryId, bytes, delivery, id, list, named, number, of_stream};
use server::{About, are_together};
use settling::{ANSWER, Digests, SETTLE};

const LEAVE: &str = include_str!("redis/leave.lua");
/// How the names of our consumers begin.
pub const PREFIX: &str = "monorail-";
/// How long a connection and an answer may take. A network that swallows everything is noticed by the latter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// Longest time between two looks for messages that nobody says anything about.
const CLAIM_PAUSE: Duration = Duration::from_secs(5);
/// Entries looked at by one such look.
const CLAIM: usize = 512;
/// How often an entry may have been given out and still be claimed together with others.
const SHARED_TIMES: u64 = 2;

pub struct Redis {
    config: Config,
    place: String,
    password: Option<String>,
    /// Connections that messages come over, those on which none are asked for now. More than one: Redis sends a connection
    /// a part of what it is to get, and sees to others then.
    free: RefCell<Vec<MultiplexedConnection>>,
    /// The one for all else, on which nothing waits.
    working: MultiplexedConnection,
    digests: RefCell<Digests>,
    leave: RefCell<String>,
    about: About,
    /// When to look for messages that nobody says anything about, and for names that nobody uses.
    claim_at: Cell<Instant>,
    leave_at: Cell<Instant>,
}

impl Broker for Redis {
    type Tag = EntryId;

    async fn connect(config: &Config) -> Result<Self> {
        let client = secured(client(&config.url)?, &config.tls)?;
        let place = client.get_connection_info().addr().to_string();
        let password = client.get_connection_info().redis_settings().password().map(str::to_owned);
        let timeouts = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let connect = async || {
            let connection = client.get_multiplexed_async_connection_with_config(&timeouts).await;
            connection.map_err(|error| fault(&error, &place, password.as_deref()))
        };
        let working = connect().await?;
        let mut free = Vec::with_capacity(AHEAD);
        for _ in 0..AHEAD {
            free.push(connect().await?);
        }
        let now = Instant::now();
        let mut redis = Self {
            config: config.clone(),
            place,
            password,
            free: RefCell::new(free),
            working,
            digests: RefCell::default(),
            leave: RefCell::default(),
            about: About::default(),
            claim_at: Cell::new(now),
            leave_at: Cell::new(now + config.ack_wait),
        };
        redis.about = redis.check_server().await?;
        redis.check_streams().await?;
        redis.join().await?;
        redis.load().await?;
        Ok(redis)
    }

    fn advice(&self) -> Option<String> {
        let policy = self.about.evicts()?;
        Some(format!(
            "Redis at {} throws keys away when it is full (maxmemory-policy {policy}), with all messages that they hold; \
             set it to noeviction",
            self.place
        ))
    }

    async fn fetch(&self, most: usize, wait: Duration) -> Result<Vec<Delivery<EntryId>>> {
        let until_claim = self.claim_at.get().saturating_duration_since(Instant::now());
        if until_claim == Duration::ZERO {
            let claimed = self.claim(most).await?;
            if !claimed.is_empty() {
                return Ok(claimed);
            }
        }
        // At least a millisecond: none means for ever.
        let block = wait.min(self.claim_at.get().saturating_duration_since(Instant::now())).as_millis().max(1);
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.config.group).arg(&self.config.consumer).arg("COUNT").arg(most);
        read.arg("BLOCK")
            .arg(u64::try_from(block).unwrap_or(u64::MAX))
            .arg("STREAMS")
            .arg(&self.config.requests)
            .arg(">");
        let free = self.free.borrow_mut().pop();
        // Messages are asked for `AHEAD` times at once, no more; who asked before would get them first.
        let Some(mut connection) = free else { return Ok(Vec::new()) };
        let reply = read.query_async(&mut connection).await.map_err(|error| self.fault(&error))?;
        self.free.borrow_mut().push(connection);
        Ok(of_stream(reply).into_iter().filter_map(|entry| delivery(entry, |_| 1)).collect())
    }

    async fn settle(&self, settled: &[Settled<EntryId>]) -> Result<()> {
        let calls = self.calls(settled);
        match self.pipe(&calls).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                // Redis was started anew, or somebody emptied its scripts. What was settled is not settled twice.
                self.load().await?;
                self.pipe(&self.calls(settled)).await
            }
            done => done,
        }
        .map(drop)
        .map_err(|error| self.fault(&error))
    }

    async fn nack(&self, returned: &[Returned<EntryId>]) -> Result<()> {
        let now = Instant::now();
        let mut pipeline = Pipeline::new();
        for one in returned {
            let delay = one.delay.min(self.config.ack_wait);
            self.claim_at.set(self.claim_at.get().min(now + delay));
            // Idle for so long that it is claimed when the pause is over.
            let idle = millis(self.config.ack_wait - delay);
            self.own(&mut pipeline).arg(one.tag).arg("IDLE").arg(idle).arg("JUSTID").ignore();
        }
        self.pipe(&pipeline).await.map(drop).map_err(|error| self.fault(&error))
    }

    async fn extend(&self, tags: &[EntryId]) -> Result<()> {
        if tags.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::new();
        self.own(&mut pipeline).arg(tags).arg("JUSTID").ignore();
        self.pipe(&pipeline).await.map(drop).map_err(|error| self.fault(&error))
    }

    async fn backlog(&self) -> Result<Backlog> {
        let mut pipeline = Pipeline::new();
        let requests = &self.config.requests;
        pipeline.cmd("XINFO").arg("GROUPS").arg(requests).cmd("XLEN").arg(requests);
        pipeline.cmd("XPENDING").arg(requests).arg(&self.config.group).cmd("TIME");
        let mut replies = self.pipe(&pipeline).await.map_err(|error| self.fault(&error))?.into_iter();
        let mut next = || replies.next().unwrap_or_default();
        let (groups, length) = (list(next()), number(&next()).unwrap_or(0));
        let (account, time) = (list(next()), list(next()));
        let is_alone = groups.len() == 1;
        let is_ours = |fields: &HashMap<String, Value>| matches!(fields.get("name"), Some(Value::BulkString(name)) if name == self.config.group.as_bytes());
        let ours = groups.into_iter().map(named).find(is_ours).unwrap_or_default();
        let pending = ours.get("pending").and_then(number).unwrap_or(0);
        // Entries are deleted when they are answered, unless other groups read them too: then the group knows its lag.
        let left = length.saturating_sub(pending);
        let waiting = if is_alone { left } else { ours.get("lag").and_then(number).unwrap_or(left) };
        let mut oldest = account.get(1).and_then(id).map(|id| id.ms);
        if waiting > 0
            && let Some(last) = ours.get("last-delivered-id").and_then(id)
        {
            let mut range = cmd("XRANGE");
            range.arg(requests).arg(format!("({last}")).arg("+").arg("COUNT").arg(1);
            let first = list(self.ask(&range).await?).into_iter().next().map(list).unwrap_or_default();
            let first = first.first().and_then(id).map(|id| id.ms);
            oldest = oldest.into_iter().chain(first).min();
        }
        let now_ms =
            time.first().and_then(number).unwrap_or(0) * 1_000 + time.get(1).and_then(number).unwrap_or(0) / 1_000;
        let age = oldest.map_or(Duration::ZERO, |oldest| Duration::from_millis(now_ms.saturating_sub(oldest)));
        Ok(Backlog { waiting, pending, oldest_age_s: age.as_secs_f64() })
    }

    async fn close(self) -> Result<()> {
        self.leave(&self.config.consumer, Duration::ZERO).await
    }
}

impl Redis {
    /// Refuses a server that is too old, or a cluster that keeps our names apart. One that does not say what it is, is taken as it is.
    async fn check_server(&self) -> Result<About> {
        let info: std::result::Result<Value, _> = cmd("INFO").query_async(&mut self.working.clone()).await;
        let about = match info {
            Ok(info) => bytes(info).map(|info| About::read(&String::from_utf8_lossy(&info))).unwrap_or_default(),
            // A right that a user need not have.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => About::default(),
            Err(error) => return Err(self.fault(&error)),
        };
        if let Some(version) = about.too_old() {
            let message = format!("Redis at {} is {version}, and too old", self.place);
            return Err(Error::new(Code::QueueUnavailable, message).hint("use Redis 6.2 or later, or Valkey"));
        }
        let Config { requests, replies, reply_to, .. } = &self.config;
        if about.is_cluster && !are_together([requests, replies].into_iter().chain(reply_to).map(String::as_str)) {
            let message = format!("Redis at {} is a cluster, and keeps {requests} and {replies} apart", self.place);
            return Err(Error::new(Code::QueueUnavailable, message)
                .hint("give requests, replies and queue_reply_to the same part in braces, such as {rent}.in"));
        }
        Ok(about)
    }

    /// Refuses names that hold something else than a stream.
    async fn check_streams(&self) -> Result<()> {
        let config = &self.config;
        for name in [&config.requests, &config.replies, &config.unprocessable(), &config.failed()] {
            let kind = match self.ask(cmd("TYPE").arg(name)).await? {
                Value::SimpleString(kind) => kind,
                _ => continue,
            };
            if !matches!(kind.as_str(), "none" | "stream") {
                let message = format!("{name} at {} is a {kind}, and no stream", self.place);
                return Err(Error::new(Code::QueueUnavailable, message).hint("give requests or replies another name"));
            }
        }
        Ok(())
    }

    /// Makes the stream and the group if they are not there; all that is in the stream is for the group then.
    async fn join(&self) -> Result<()> {
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(&self.config.requests).arg(&self.config.group).arg("0").arg("MKSTREAM");
        match create.query_async::<Value>(&mut self.working.clone()).await {
            // One that is full makes none, and what it has can be answered, which makes room.
            Err(error) if error.code() == Some("OOM") && self.has_group().await? => Ok(()),
            Err(error) if error.code() != Some("BUSYGROUP") => Err(self.fault(&error)),
            _ => Ok(()),
        }
    }

    async fn has_group(&self) -> Result<bool> {
        let requests = &self.config.requests;
        if self.ask(cmd("TYPE").arg(requests)).await? == Value::SimpleString("none".to_owned()) {
            return Ok(false);
        }
        let groups = list(self.ask(cmd("XINFO").arg("GROUPS").arg(requests)).await?);
        let own = Value::BulkString(self.config.group.clone().into_bytes());
        Ok(groups.into_iter().map(named).any(|group| group.get("name") == Some(&own)))
    }

    async fn load(&self) -> Result<()> {
        let digests = Digests { settle: self.digest(SETTLE).await?, answer: self.digest(ANSWER).await? };
        self.digests.replace(digests);
        self.leave.replace(self.digest(LEAVE).await?);
        Ok(())
    }

    /// Has Redis keep a script; gives what it knows it by.
    async fn digest(&self, script: &str) -> Result<String> {
        match self.ask(cmd("SCRIPT").arg("LOAD").arg(script)).await? {
            Value::BulkString(digest) => Ok(String::from_utf8_lossy(&digest).into_owned()),
            _ => Err(Error::new(Code::QueueUnavailable, format!("Redis at {} takes no scripts", self.place))),
        }
    }

    fn calls(&self, settled: &[Settled<EntryId>]) -> Pipeline {
        settling::calls(&self.config, &self.digests.borrow(), settled)
    }

    /// A command of the connection on which nothing waits.
    async fn ask(&self, command: &Cmd) -> Result<Value> {
        command.query_async(&mut self.working.clone()).await.map_err(|error| self.fault(&error))
    }

    async fn pipe(&self, pipeline: &Pipeline) -> std::result::Result<Vec<Value>, RedisError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        pipeline.query_async(&mut self.working.clone()).await
    }

    /// Begins a claim of what is ours already.
    fn own<'a>(&self, pipeline: &'a mut Pipeline) -> &'a mut Pipeline {
        let config = &self.config;
        pipeline.cmd("XCLAIM").arg(&config.requests).arg(&config.group).arg(&config.consumer).arg(0)
    }

    /// Takes over messages that nobody has said anything about for `ack_wait`.
    ///
    /// What servers have ended over before is taken one by one: claimed together with others it would count against them.
    async fn claim(&self, most: usize) -> Result<Vec<Delivery<EntryId>>> {
        let config = &self.config;
        let (now, idle) = (Instant::now(), millis(config.ack_wait));
        self.claim_at.set(now + (config.ack_wait / 4).min(CLAIM_PAUSE));
        let mut look = cmd("XPENDING");
        look.arg(&config.requests).arg(&config.group).arg("IDLE").arg(idle).arg("-").arg("+").arg(CLAIM.min(most));
        let found = list(self.ask(&look).await?);
        if found.len() == CLAIM.min(most) {
            self.claim_at.set(now);
        }
        let mut times: HashMap<EntryId, u64> = HashMap::new();
        let mut suspect = None;
        for entry in found {
            let fields = list(entry);
            let (Some(tag), Some(count)) = (fields.first().and_then(id), fields.get(3).and_then(number)) else {
                continue;
            };
            if count < SHARED_TIMES {
                times.insert(tag, count);
            } else if suspect.is_none() {
                suspect = Some((tag, count));
            } else {
                self.claim_at.set(now);
            }
        }
        if times.is_empty() {
            times.extend(suspect);
        } else if suspect.is_some() {
            self.claim_at.set(now);
        }
        let claimed = if times.is_empty() { Vec::new() } else { self.take_over(&times, idle).await? };
        if self.leave_at.get() <= now {
            self.leave_at.set(now + config.ack_wait);
            self.leave(PREFIX, config.ack_wait * 4).await?;
        }
        Ok(claimed)
    }

    async fn take_over(&self, times: &HashMap<EntryId, u64>, idle: u64) -> Result<Vec<Delivery<EntryId>>> {
        let config = &self.config;
        let mut tags: Vec<EntryId> = times.keys().copied().collect();
        tags.sort_unstable();
        let mut take = cmd("XCLAIM");
        take.arg(&config.requests).arg(&config.group).arg(&config.consumer).arg(idle).arg(&tags);
        let entries = list(self.ask(&take).await?);
        let attempts = |tag| times.get(&tag).map_or(1, |count| u32::try_from(*count).unwrap_or(u32::MAX - 1) + 1);
        if entries.contains(&Value::Nil) {
            self.forget_deleted(&tags).await?;
        }
        Ok(entries.into_iter().filter_map(|entry| delivery(entry, attempts)).collect())
    }

    /// Acknowledges entries that somebody deleted: Redis before 7.0 keeps them pending for ever.
    async fn forget_deleted(&self, tags: &[EntryId]) -> Result<()> {
        for tag in tags {
            let mut range = cmd("XRANGE");
            range.arg(&self.config.requests).arg(tag).arg(tag);
            if list(self.ask(&range).await?).is_empty() {
                self.ask(cmd("XACK").arg(&self.config.requests).arg(&self.config.group).arg(tag)).await?;
            }
        }
        Ok(())
    }

    /// Deletes names of consumers that begin so, have nothing to their account and have been idle for so long.
    async fn leave(&self, prefix: &str, idle: Duration) -> Result<()> {
        let mut call = cmd("EVALSHA");
        call.arg(self.leave.borrow().as_str()).arg(1).arg(&self.config.requests);
        call.arg(&self.config.group).arg(prefix).arg(millis(idle));
        match call.query_async::<Value>(&mut self.working.clone()).await {
            // Tidiness is no reason to make another connection; the next one has the script.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => Ok(()),
            Err(error) => Err(self.fault(&error)),
            Ok(_) => Ok(()),
        }
    }

    fn fault(&self, error: &RedisError) -> Error {
        fault(error, &self.place, self.password.as_deref())
    }
}

/// A client for the setting `queue`, which is not shown: it may hold a password.
pub fn client(url: &str) -> Result<Client> {
    Client::open(url).map_err(|_| {
        Error::new(Code::SettingInvalid, "the setting queue is no URL of Redis")
            .hint("write redis://HOST:PORT/DATABASE, or redis://USER:PASSWORD@HOST:PORT; rediss:// is TLS")
    })
}

/// A client that knows the broker by the authorities of the settings, and shows it our certificate.
fn secured(client: Client, tls: &Tls) -> Result<Client> {
    if !tls.is_asked() {
        return Ok(client);
    }
    let pem = tls.load()?;
    let own = pem.own.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    let certificates = TlsCertificates { client_tls: own, root_cert: pem.authorities };
    Client::build_with_tls(client.get_connection_info().clone(), certificates)
        .map_err(|error| Error::new(Code::QueueUnavailable, error.to_string()).hint(state::HINT))
}

/// A failure of Redis or on the way there, without the password.
fn fault(error: &RedisError, place: &str, password: Option<&str>) -> Error {
    let what = match error.kind() {
        ErrorKind::Io if tls::is_refused(&error.to_string()) => {
            return tls::refused("Redis", place, &error.to_string());
        }
        ErrorKind::Io if error.is_timeout() => format!("Redis at {place} does not answer in time"),
        ErrorKind::Io => format!("Redis at {place} cannot be reached: {error}"),
        ErrorKind::AuthenticationFailed => format!("Redis at {place} refuses the user or the password"),
        _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => {
            format!("Redis at {place} asks for another user or password")
        }
        _ => format!("Redis at {place} says: {error}"),
    };
    // Redis repeats what it was sent where it does not know a command.
    let what =
        password.filter(|password| !password.is_empty()).map_or(what.clone(), |secret| what.replace(secret, "***"));
    Error::new(Code::QueueUnavailable, what).hint(state::HINT)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
