//! Asynchronous predictions: taken in durably, scored with everybody else's rows, kept until they are fetched.
//!
//! [`job`] says what a job is, [`ids`] what it is called. [`store`] keeps them in one file, [`writer`] is the thread that writes it, [`reader`] looks into
//! it, and [`checkpoint`] and [`disk`] keep that quick; [`window`] and [`running`] are what memory knows beside the disk, and [`claim`] hands out from there, noting in
//! [`under_way`] what it hands out. [`run`] is the thread that has them scored: a job goes through the same reading, queue and
//! engine as a request online. Large bodies and results are [`files`] beside the store: [`spool`] takes them in, [`large_jobs`]
//! has them scored, [`large`] scores one. [`callbacks`] tells of a job's end.

mod callbacks;
mod checkpoint;
mod claim;
mod disk;
pub mod files;
mod folder;
pub mod ids;
pub mod job;
mod large;
mod large_jobs;
mod reader;
pub mod relay;
mod room;
mod run;
mod running;
pub mod spool;
mod store;
mod tally;
mod under_way;
mod window;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::error::{Code, Error, Result};
use crate::lifecycle::Shared;

use callbacks::{Callbacks, Change, Destination};
use files::Files;
use job::{Body, NewJob, Record, State};
use reader::Reader;
use relay::{Relay, ReplyTo};
use run::{Event, Post, Runner};
use running::Running;
use store::Store;
use tally::Tally;
use writer::{Command, Watchers, Writer, stopped};

/// A stream of events, counted among those that are open.
pub struct Streaming(Arc<Jobs>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A server's jobs.
pub struct Jobs {
    writer: Sender<Command>,
    runner: Sender<Event>,
    reader: Mutex<Reader>,
    watchers: Arc<Watchers>,
    running: Arc<Running>,
    tally: Arc<Tally>,
    callbacks: Option<Callbacks>,
    /// Large bodies and results.
    pub files: Arc<Files>,
    streams: AtomicUsize,
    limit_streams: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Jobs {
    /// Opens the store in a folder and goes on with what waits there.
    ///
    /// # Errors
    /// `jobs_unavailable`, `setting_invalid`, `internal`.
    pub fn start(folder: &Path, shared: &Arc<Shared>) -> Result<Self> {
        let (running, tally): (Arc<Running>, Arc<Tally>) = Default::default();
        let store = Store::open(folder, shared.settings.limit_jobs_bytes as u64, running.clone(), tally.clone())?;
        let (files, reader) = (store.files.clone(), Mutex::new(Reader::open(folder, &store)?));
        let ((writer, commands), (runner, events)) = (channel(), channel());
        let watchers: Arc<Watchers> = Arc::default();
        let called: Arc<AtomicBool> = Arc::default();
        let callbacks = Callbacks::start(folder, &store, shared, &writer)?;
        let writing = Writer {
            store,
            commands,
            runner: runner.clone(),
            called: called.clone(),
            watchers: watchers.clone(),
            bell: callbacks.as_ref().map(Callbacks::bell),
            log: shared.log.clone(),
        };
        let post = Arc::new(Post(runner.clone()));
        let runs = Runner::new(shared.clone(), events, writer.clone(), post, called, running.clone(), files.clone());
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(|e| Error::new(Code::Internal, format!("no thread can be started: {e}")))
        };
        let threads = vec![
            spawn("monorail-runner", Box::new(move || runs.work()))?,
            spawn("monorail-writer", Box::new(move || writing.work()))?,
        ];
        let (streams, limit_streams) = (AtomicUsize::new(0), shared.settings.limit_job_streams);
        let threads = Mutex::new(threads);
        Ok(Self { writer, runner, reader, watchers, running, tally, callbacks, files, streams, limit_streams, threads })
    }

    /// Takes a job in; it is on the disk once this answers. `relay` is the caller's event loop's.
    ///
    /// # Errors
    /// `job_conflict`, `job_store_full`, `job_store_failed`, `draining`.
    pub async fn submit(&self, job: NewJob, relay: &Arc<Relay>) -> Result<Record> {
        let told = job.callback.as_ref().map(Destination::waiting);
        let mut record = self.ask(relay, |reply_to| Command::Submit(Box::new(job), reply_to)).await?;
        if !record.state.has_ended() {
            record.callback = told;
        }
        Ok(record)
    }

    /// Cancels a job that has not ended.
    ///
    /// # Errors
    /// `unknown_job`, `job_store_failed`, `draining`.
    pub async fn cancel(&self, id: &str, relay: &Arc<Relay>) -> Result<Record> {
        self.ask(relay, |reply_to| Command::Cancel(id.to_owned(), reply_to)).await
    }

    /// Queues a job again that failed, expired or was cancelled.
    ///
    /// # Errors
    /// `unknown_job`, `job_conflict`, `job_store_failed`, `draining`.
    pub async fn retry(&self, id: &str, relay: &Arc<Relay>) -> Result<Record> {
        self.ask(relay, |reply_to| Command::Retry(id.to_owned(), reply_to)).await
    }

    /// Judges where a job's end is to be told.
    ///
    /// # Errors
    /// `callback_refused`.
    pub fn check_callback(&self, url: &str) -> Result<Destination> {
        self.callbacks.as_ref().ok_or_else(callbacks::refused_all)?.check(url)
    }

    /// Tells of a job's end once more.
    ///
    /// # Errors
    /// `unknown_job`, `job_conflict`, `callback_refused`, `job_store_failed`, `draining`.
    pub async fn call_back(&self, id: &str, relay: &Arc<Relay>) -> Result<Record> {
        let callbacks = self.callbacks.as_ref().ok_or_else(callbacks::refused_all)?;
        let record =
            self.ask(relay, |reply_to| Command::Callback(Change::Again { job: id.to_owned() }, reply_to)).await?;
        callbacks.bell().ring();
        Ok(record)
    }

    async fn ask(&self, relay: &Arc<Relay>, command: impl FnOnce(ReplyTo) -> Command) -> Result<Record> {
        let (answer, receiver) = oneshot::channel();
        self.writer.send(command(ReplyTo { relay: Some(relay.clone()), answer })).map_err(|_| stopped())?;
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// A job's record and result. Reads the disk.
    ///
    /// # Errors
    /// `unknown_job`, `job_store_failed`.
    pub fn find(&self, id: &str) -> Result<(Record, Option<Body>)> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut record, result) = reader.job(id)?;
        if self.callbacks.is_some() {
            record.callback = callbacks::find(&reader.connection, record.place)?;
        }
        Ok((record, result))
    }

    /// Jobs, newest first. Reads the disk.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn list(&self, state: Option<State>, model: Option<&str>, before: i64, limit: usize) -> Result<Vec<Record>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).list(state, model, before, limit)
    }

    /// The file of a job's result, opened, and its bytes. Reads the disk.
    ///
    /// # Errors
    /// `unknown_job` if it is gone by now, `job_store_failed`.
    pub fn open_result(&self, place: i64) -> Result<(File, u64)> {
        let name = self.reader.lock().unwrap_or_else(PoisonError::into_inner).file(place)?;
        let path = self.files.result(&name.ok_or_else(store::unknown)?);
        let file = File::open(&path).map_err(|e| files::io_failed(&path, &e))?;
        let bytes = file.metadata().map_err(|e| files::io_failed(&path, &e))?.len();
        Ok((file, bytes))
    }

    /// How many rows are scored of the job at a place; `None` if it is not under way.
    pub fn rows_done(&self, place: i64) -> Option<u64> {
        self.running.get(place).map(|run| run.rows_done)
    }

    /// Counts a stream of events in, until what this gives is dropped.
    ///
    /// # Errors
    /// `overloaded`.
    pub fn enter_stream(self: &Arc<Self>) -> Result<Streaming> {
        let before = self.streams.fetch_add(1, Ordering::Relaxed);
        let entered = Streaming(self.clone());
        if before >= self.limit_streams {
            return Err(Error::new(Code::Overloaded, format!("{before} streams of events are open already"))
                .hint("wait with GET /jobs/{id}?wait_s=30, or raise limit_job_streams"));
        }
        Ok(entered)
    }

    /// Hears of a job's end; whoever looks at the job after this misses none.
    pub fn watch(&self, id: &str) -> oneshot::Receiver<()> {
        self.watchers.watch(id)
    }

    /// Writes what is counted, as Prometheus text.
    pub fn write_metrics(&self, text: &mut String) {
        self.tally.write(text, &self.running);
        self.callbacks.iter().for_each(|callbacks| callbacks.write_metrics(text));
    }

    /// Starts no more jobs, waits for those under way and for what is to be written. The engines must run until then.
    pub fn stop(&self) {
        drop(self.runner.send(Event::Stop));
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect::<Vec<_>>();
        let writing = threads.pop();
        threads.into_iter().for_each(|thread| drop(thread.join()));
        self.callbacks.iter().for_each(Callbacks::stop);
        drop(self.writer.send(Command::Stop));
        writing.into_iter().for_each(|thread| drop(thread.join()));
    }
}
