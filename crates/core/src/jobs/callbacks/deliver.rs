//! The thread that calls back: takes what is due from the store, host by host, and has the writer note what became of it.
//!
//! Each host has a lane of its own, narrow while the host is ailing, so that a slow one does not hold up the others. An
//! attempt counts once it is noted; one that a killed server was at is made again by the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::clock::now;
use crate::error::{Code, Result};
use crate::log::Log;

use super::super::job::Record;
use super::super::reader::Reader;
use super::super::relay::ReplyTo;
use super::super::writer::Command;
use super::call::{Caller, Refusal};
use super::rules::Rules;
use super::signing::Secrets;
use super::table::{self, Change, Due, Tried};
use super::{Bell, Counters, Event};

/// Attempts under way: of all hosts, of one, and of one whose last attempt failed.
const ALL: usize = 256;
const OF_HOST: usize = 32;
const OF_AILING: usize = 1;
/// Lanes kept in mind.
const LANES: usize = 4_096;
/// Threads that resolve names.
const RESOLVERS: usize = 32;
/// How long until the second attempt, at most; each further pause is twice as long, up to the longest.
const FIRST_PAUSE_S: f64 = 1.0;
const LONGEST_PAUSE_S: f64 = 14_400.0;
/// How long the thread sleeps at most, with nothing pending and with something.
const SLEEP_S: f64 = 60.0;
const SLEEP_PENDING_S: f64 = 1.0;
/// How long a server that stops waits for attempts under way.
const STOP: Duration = Duration::from_secs(2);
/// How long until a write that failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// What attempts share.
pub struct Desk {
    pub rules: Arc<Rules>,
    pub caller: Caller,
    pub secrets: Secrets,
    pub attempts: u32,
    pub writer: Sender<Command>,
    pub bell: Bell,
    pub counters: Arc<Counters>,
    pub log: Log,
}

#[derive(Default)]
struct Lane {
    flying: usize,
    ailing: bool,
}

pub struct Deliverer {
    desk: Arc<Desk>,
    reader: Reader,
    events: UnboundedReceiver<Event>,
    lanes: HashMap<String, Lane>,
    flying: HashSet<i64>,
    /// The host that was looked at last.
    last: String,
    counted: Option<Instant>,
}

impl Deliverer {
    pub fn new(desk: Arc<Desk>, reader: Reader, events: UnboundedReceiver<Event>) -> Self {
        Self { desk, reader, events, lanes: HashMap::new(), flying: HashSet::new(), last: String::new(), counted: None }
    }

    /// Calls back until it is told to stop. The body of a thread.
    pub fn work(self) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(RESOLVERS).build();
        match runtime {
            Ok(runtime) => {
                let log = self.desk.log.clone();
                log.info(format_args!(
                    "callbacks are signed with the secrets at {}",
                    self.desk.secrets.path().display()
                ));
                runtime.block_on(self.run());
                // A name that is still being resolved is nobody's any more.
                runtime.shutdown_background();
            }
            Err(error) => self.desk.log.error(format_args!("nobody is called back: {error}")),
        }
    }

    async fn run(mut self) {
        loop {
            let wait = match self.look() {
                Ok(next) => next,
                Err(error) => {
                    self.desk.log.error(format_args!("{error}"));
                    Some(now() + SLEEP_PENDING_S)
                }
            };
            let longest =
                if self.desk.counters.pending.load(Ordering::Relaxed) > 0 { SLEEP_PENDING_S } else { SLEEP_S };
            let wait = wait.map_or(longest, |at| (at - now()).clamp(0.0, longest));
            if let Ok(event) = timeout(Duration::from_secs_f64(wait), self.events.recv()).await {
                let mut event = event;
                loop {
                    match event {
                        Some(Event::Rung) => {}
                        Some(Event::Landed { place, host, why }) => self.land(place, &host, why.as_deref()),
                        Some(Event::Stop) | None => return self.stop().await,
                    }
                    match self.events.try_recv() {
                        Ok(next) => event = Some(next),
                        Err(_) => break,
                    }
                }
            }
        }
    }

    /// Waits a little for attempts under way; what has not ended by then is made again by the next server.
    async fn stop(mut self) {
        let all_landed = async {
            while !self.flying.is_empty() {
                match self.events.recv().await {
                    Some(Event::Landed { place, .. }) => _ = self.flying.remove(&place),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        let _ = timeout(STOP, all_landed).await;
    }

    fn land(&mut self, place: i64, host: &str, why: Option<&str>) {
        self.flying.remove(&place);
        if let Some(lane) = self.lanes.get_mut(host) {
            lane.flying = lane.flying.saturating_sub(1);
            match (lane.ailing, why) {
                (false, Some(why)) => self.desk.log.warning(format_args!("callbacks to {host} fail: {why}")),
                (true, None) => self.desk.log.info(format_args!("callbacks to {host} are taken again")),
                _ => {}
            }
            lane.ailing = why.is_some();
            if lane.flying == 0 && (!lane.ailing || self.lanes.len() > LANES) {
                self.lanes.remove(host);
            }
        }
    }

    /// Starts what is due, as far as there is room; gives when the next is.
    fn look(&mut self) -> Result<Option<f64>> {
        self.desk.bell.still();
        let (at, began) = (now(), self.last.clone());
        let (mut next, mut wrapped) = (None::<f64>, false);
        // Once around, from the host after the last one.
        loop {
            let Some(host) = table::next_host(&self.reader.connection, &self.last)? else {
                if wrapped || began.is_empty() {
                    break;
                }
                (wrapped, self.last) = (true, String::new());
                continue;
            };
            if wrapped && host > began || self.flying.len() >= ALL {
                break;
            }
            self.last.clone_from(&host);
            if self.serve(&host, at)? {
                let later = table::next_due(&self.reader.connection, &host, at)?;
                next = match (next, later) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
            }
        }
        self.count()?;
        Ok(next)
    }

    /// Starts what is due at a host; whether its lane has room for more.
    fn serve(&mut self, host: &str, at: f64) -> Result<bool> {
        let (flying, ailing) = self.lanes.get(host).map_or((0, false), |lane| (lane.flying, lane.ailing));
        let width = if ailing { OF_AILING } else { OF_HOST };
        let mut room = width.saturating_sub(flying).min(ALL.saturating_sub(self.flying.len()));
        // Those under way are due as well.
        let limit = flying + room;
        let mut all = table::due(&self.reader.connection, host, (f64::MIN, at), limit)?;
        // Nothing waits longer than this, unless the clock was put back.
        all.extend(table::due(&self.reader.connection, host, (at + LONGEST_PAUSE_S, f64::MAX), limit)?);
        for due in all {
            if room > 0 && !self.flying.contains(&due.place) && self.start(due)? {
                room -= 1;
            }
        }
        Ok(room > 0)
    }

    /// Starts an attempt, if there is still what it tells of.
    fn start(&mut self, due: Due) -> Result<bool> {
        let (record, result) = match self.reader.job(&due.job) {
            Err(error) if error.code() == Code::UnknownJob => return Ok(false),
            found => found?,
        };
        if !record.state.has_ended() {
            return Ok(false);
        }
        let head = format!(
            "{{\"type\":\"job.{}\",\"timestamp\":\"{}\",\"data\":",
            record.state.as_str(),
            clock::utc(record.finished.unwrap_or_default())
        );
        let body = [head.as_bytes(), &record.to_text(result.as_ref()), b"}"].concat();
        self.lanes.entry(due.host.clone()).or_default().flying += 1;
        self.flying.insert(due.place);
        tokio::spawn(deliver(self.desk.clone(), due, body));
        Ok(true)
    }

    /// Counts what is pending, now and then.
    fn count(&mut self) -> Result<()> {
        let recent = |at: Instant| at.elapsed().as_secs_f64() < SLEEP_PENDING_S / 2.0;
        let pending = &self.desk.counters.pending;
        if self.counted.is_some_and(recent) && pending.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        pending.store(table::pending(&self.reader.connection)?, Ordering::Relaxed);
        self.counted = Some(Instant::now());
        Ok(())
    }
}

/// Makes one attempt, and has it noted.
async fn deliver(desk: Arc<Desk>, due: Due, body: Vec<u8>) {
    let Due { place, job, url, host, event, attempts } = due;
    let attempts = attempts.saturating_add(1);
    let done = attempt(&desk, &url, &event, &body).await;
    let refused = done.as_ref().err().map(|refusal| refusal.why.clone());
    let (how, counter) = match done {
        Ok(()) => (Tried::Delivered, &desk.counters.delivered),
        Err(Refusal { why, gone, .. }) if gone || attempts >= desk.attempts => {
            desk.log.warning(format_args!("the end of job {job} is told to nobody any more: {host}: {why}"));
            (Tried::Dead { why }, &desk.counters.dead)
        }
        Err(Refusal { why, wait_s, .. }) => {
            (Tried::Failed { due: now() + pause_s(attempts, wait_s), why }, &desk.counters.failed)
        }
    };
    counter.fetch_add(1, Ordering::Relaxed);
    note(&desk, Change::Tried { job, event, attempts, how }).await;
    desk.bell.send(Event::Landed { place, host, why: refused });
}

async fn attempt(desk: &Desk, url: &str, event: &str, body: &[u8]) -> Result<(), Refusal> {
    let address = desk.rules.check(url).map_err(|error| error.parts().message.to_string())?;
    if let Err(error) = desk.secrets.refresh() {
        desk.log.warning(format_args!("{error}; the secrets known before are used"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds since 1970")]
    let timestamp = now() as u64;
    let signature = desk.secrets.sign(&address.host.text(), event, timestamp, body);
    let fields = format!("webhook-id: {event}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n");
    desk.caller.call(&desk.rules, &address, &fields, body).await
}

/// Has the writer note a change, however long the disk does not take it.
async fn note(desk: &Desk, change: Change) {
    loop {
        let (sender, receiver) = oneshot::channel::<Result<Record>>();
        if desk.writer.send(Command::Callback(change.clone(), ReplyTo { relay: None, answer: sender })).is_err() {
            return;
        }
        match receiver.await {
            Ok(Err(error)) if matches!(error.code(), Code::JobStoreFailed | Code::JobStoreFull) => sleep(PAUSE).await,
            _ => return,
        }
    }
}

/// How long to wait after so many attempts: between half and all of a time that doubles, and as long as the other end asks.
fn pause_s(attempts: u32, asked_s: Option<f64>) -> f64 {
    let doubled = FIRST_PAUSE_S * f64::from(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
    let mut random = [0; 4];
    // Without random bytes all wait equally long: worse, but no failure.
    let _ = SystemRandom::new().fill(&mut random);
    let share = f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX);
    let pause = doubled.min(LONGEST_PAUSE_S) * (0.5 + share / 2.0);
    asked_s.map_or(pause, |asked| pause.max(asked.min(LONGEST_PAUSE_S)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        for attempts in 1..=64 {
            let most = 2_f64.powi(i32::try_from(attempts).unwrap() - 1).min(LONGEST_PAUSE_S);
            let pause = pause_s(attempts, None);
            assert!((most / 2.0..=most).contains(&pause), "{attempts}: {pause}");
        }
        assert!((30.0..=30.1).contains(&pause_s(1, Some(30.0))));
        assert!(pause_s(10, Some(0.0)) >= 256.0);
        assert!(pause_s(1, Some(1e9)) <= LONGEST_PAUSE_S);
        let spread: HashSet<u64> = (0..20).map(|_| pause_s(10, None).to_bits()).collect();
        assert!(spread.len() > 10, "all wait equally long");
    }
}
