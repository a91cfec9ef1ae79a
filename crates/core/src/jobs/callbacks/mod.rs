//! Callbacks: a job's end is told to the address its submitter gave, signed, until it is taken or given up.
//!
//! [`address`] reads URLs, [`rules`] judges them, [`signing`] signs, [`call`] makes one attempt, [`table`] keeps what is to be
//! told, in the jobs' own store, and [`deliver`] is the thread that does it.

mod address;
mod call;
mod deliver;
mod rules;
mod signing;
mod table;

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::error::{Code, Error, Result};
use crate::lifecycle::Shared;

use super::reader::Reader;
use super::store::Store;
use super::writer::Command;

use call::Caller;
use deliver::{Deliverer, Desk};
use rules::Rules;
use signing::Secrets;

pub use rules::refused_all;
pub use table::{Change, Destination, find, insert};

/// What the thread hears of.
#[derive(Debug)]
pub enum Event {
    /// Jobs have ended.
    Rung,
    /// An attempt is over, and noted; why it failed, if it did.
    Landed {
        place: i64,
        host: String,
        why: Option<String>,
    },
    Stop,
}

/// Wakes the thread that calls back.
#[derive(Clone)]
pub struct Bell {
    sender: UnboundedSender<Event>,
    rung: Arc<AtomicBool>,
}

impl Bell {
    /// Says that there may be something to tell; once is enough until it is heard.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.send(Event::Rung);
        }
    }

    /// It was heard: what comes from now on is told anew.
    fn still(&self) {
        self.rung.store(false, Ordering::Release);
    }

    fn send(&self, event: Event) {
        // A thread that has gone hears nothing; the next server looks at the store.
        drop(self.sender.send(event));
    }
}

/// What is counted.
#[derive(Default)]
pub struct Counters {
    delivered: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    pending: AtomicU64,
}

/// A server's callbacks.
pub struct Callbacks {
    rules: Arc<Rules>,
    bell: Bell,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Callbacks {
    /// Starts to call back what the store in a folder has to tell; `None` where no host is allowed.
    ///
    /// # Errors
    /// `setting_invalid`, `job_store_failed`, `internal`.
    pub fn start(folder: &Path, store: &Store, shared: &Shared, writer: &Sender<Command>) -> Result<Option<Self>> {
        let settings = &shared.settings;
        let Some(rules) = Rules::from_settings(settings)?.map(Arc::new) else {
            return table::rest(&store.connection).map(|()| None);
        };
        let (caller, secrets) = (Caller::from_settings(settings)?, Secrets::open(settings, folder)?);
        table::prepare(&store.connection)?;
        let (sender, events) = unbounded_channel();
        let bell = Bell { sender, rung: Arc::default() };
        let counters: Arc<Counters> = Arc::default();
        let desk = Desk {
            rules: rules.clone(),
            caller,
            secrets,
            attempts: u32::try_from(settings.callback_attempts).unwrap_or(u32::MAX),
            writer: writer.clone(),
            bell: bell.clone(),
            counters: counters.clone(),
            log: shared.log.clone(),
        };
        let deliverer = Deliverer::new(Arc::new(desk), Reader::open(folder, store)?, events);
        let thread = std::thread::Builder::new()
            .name("monorail-callback".to_owned())
            .spawn(move || deliverer.work())
            .map_err(|e| Error::new(Code::Internal, format!("no thread can be started: {e}")))?;
        Ok(Some(Self { rules, bell, counters, thread: Mutex::new(Some(thread)) }))
    }

    /// What wakes it.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Judges a URL that a submitter gave.
    ///
    /// # Errors
    /// `callback_refused`.
    pub fn check(&self, url: &str) -> Result<Destination> {
        let address = self.rules.check(url)?;
        Ok(Destination { url: url.to_owned(), host: address.authority() })
    }

    /// Makes no further attempts, and waits a little for those under way. The writer must run until then.
    pub fn stop(&self) {
        self.bell.send(Event::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.into_iter().for_each(|thread| drop(thread.join()));
    }

    /// Appends its part of `/metrics`.
    pub fn write_metrics(&self, text: &mut String) {
        let Counters { delivered, failed, dead, pending } = &*self.counters;
        text.push_str(
            "# HELP monorail_callbacks_total Attempts to call back, by outcome.\n# TYPE monorail_callbacks_total counter\n",
        );
        for (outcome, count) in [("delivered", delivered), ("failed", failed), ("dead", dead)] {
            let count = count.load(Ordering::Relaxed);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "monorail_callbacks_total{{outcome=\"{outcome}\"}} {count}");
        }
        text.push_str(
            "# HELP monorail_callbacks_pending Ended jobs whose end is still to be told.\n# TYPE monorail_callbacks_pending gauge\n",
        );
        let _ = writeln!(text, "monorail_callbacks_pending {}", pending.load(Ordering::Relaxed));
    }
}
