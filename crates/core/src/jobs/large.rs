//! A job whose body is a file: read, scored and answered part by part, on a thread of its own.
//!
//! Its parts are batches like those of everybody else, a few at a time, so that others are scored in between. What it has
//! written is its result only once its end is in the store: a job that is cut short begins anew.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;

use crate::batcher::{self, Answer, Call, Mailbox, Turn};
use crate::catalog::Served;
use crate::clock;
use crate::error::{Code, Error, Heals, Result};
use crate::exchange::Media;
use crate::log::Log;
use crate::values::arrow_stream::StreamReader;
use crate::values::json_out::JsonWriter;
use crate::values::{arrow_in, arrow_out};

use super::files::{Files, io_failed};
use super::job::{ATTEMPTS, Claimed, Ending};
use super::running::Parts;

/// Rows of one job under way at a time.
const AHEAD_ROWS: usize = 4_096;
/// Bytes of the body read at a time.
const READ_BYTES: usize = 256 * 1024;
/// How long a part waits before it is tried again, and how long a job waits for room on the disk.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a job waits whose result the disk did not take.
const DISK_PAUSE: Duration = Duration::from_secs(1);
/// How often a job that waits looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

/// A large job, handed out.
pub struct Task {
    pub job: Claimed,
    pub name: String,
    pub served: Arc<Served>,
    pub files: Arc<Files>,
    pub parts: Arc<Parts>,
    /// Whether the server stops.
    pub stopping: Arc<AtomicBool>,
    /// Most bytes of one record batch.
    pub limit_batch_bytes: usize,
    pub log: Log,
}

/// Why a job is not scored to its end.
enum Cut {
    /// The server stops, or nobody wants the job any more.
    Unwanted,
    /// The disk does not take the result.
    Disk(Error),
    Failed(Error),
}

impl From<Error> for Cut {
    fn from(error: Error) -> Self {
        Cut::Failed(error)
    }
}

impl Cut {
    /// What went wrong with the file of the result.
    fn of_result(error: Error) -> Self {
        match error.code() {
            Code::JobStoreFull | Code::JobStoreFailed => Cut::Disk(error),
            _ => Cut::Failed(error),
        }
    }
}

type Letter = (u64, Result<Answer>);

/// Takes answers from engine threads to the job's own.
struct Post(Sender<Letter>);

impl Mailbox for Post {
    fn deliver(&self, answers: Vec<Letter>) {
        // A job that was cut short wants no answers.
        answers.into_iter().for_each(|letter| drop(self.0.send(letter)));
    }
}

/// Scores a job. The work of a thread.
pub fn score(task: &Task) -> Ending {
    let path = task.files.result(&task.name);
    let done = Scoring::new(task, &path).and_then(Scoring::run);
    match done {
        Ok(bytes) => Ending::Stored { version: task.served.version, bytes },
        Err(cut) => {
            task.files.remove_now(&path);
            match cut {
                Cut::Unwanted => Ending::Again { pause: Duration::ZERO, counted: false },
                // As other answers do it waits until the disk takes it, however long that is.
                Cut::Disk(error) => {
                    task.log.error(format_args!("job {}: {error}", task.job.id));
                    Ending::Again { pause: DISK_PAUSE, counted: false }
                }
                Cut::Failed(error) if error.code() == Code::DeadlineExceeded => Ending::Expired,
                Cut::Failed(error) => Ending::Failed(error),
            }
        }
    }
}

/// A part that an engine has.
struct Flight {
    part: RecordBatch,
    call: Arc<Call>,
    first_row: usize,
    tries: u32,
}

struct Scoring<'a> {
    task: &'a Task,
    deadline: Option<Instant>,
    post: Arc<Post>,
    letters: Receiver<Letter>,
    flights: HashMap<u64, Flight>,
    /// Parts that wait, each with its number.
    waiting: VecDeque<(u64, Flight)>,
    /// Answers that have come before those of earlier parts.
    early: BTreeMap<u64, Answer>,
    next_part: u64,
    /// The part whose answer is written next.
    next_answer: u64,
    rows: usize,
    output: Output,
}

impl<'a> Scoring<'a> {
    fn new(task: &'a Task, path: &Path) -> Result<Self, Cut> {
        let deadline = clock::instant(task.job.deadline).map_err(|_| batcher::deadline_exceeded())?;
        // What an earlier try has left is counted no more.
        task.files.remove_now(path);
        let output = Output::begin(task, path).map_err(Cut::of_result)?;
        let (sender, letters) = channel();
        Ok(Self {
            task,
            deadline,
            post: Arc::new(Post(sender)),
            letters,
            flights: HashMap::new(),
            waiting: VecDeque::new(),
            early: BTreeMap::new(),
            next_part: 0,
            next_answer: 0,
            rows: 0,
            output,
        })
    }

    /// Scores all parts, and gives the bytes of the result, which is on the disk then.
    fn run(mut self) -> Result<u64, Cut> {
        let path = self.task.files.body(&self.task.name);
        let mut body = File::open(&path).map_err(|e| io_failed(&path, &e))?;
        let mut reader = StreamReader::new(self.task.limit_batch_bytes);
        let (mut bytes, mut batches) = (vec![0; READ_BYTES], Vec::new());
        loop {
            let read = body.read(&mut bytes).map_err(|e| io_failed(&path, &e))?;
            if read == 0 {
                break;
            }
            reader.take(bytes.get(..read).unwrap_or_default(), |batch| {
                batches.push(batch.clone());
                Ok(())
            })?;
            for batch in batches.drain(..) {
                self.take(&batch)?;
            }
        }
        reader.finish()?;
        while self.next_answer < self.next_part {
            self.hear()?;
        }
        self.output.end()?;
        self.flush()?;
        self.output.settle(self.task).map_err(Cut::of_result)
    }

    /// Writes what was added, as soon as there is room.
    fn flush(&mut self) -> Result<(), Cut> {
        let mut waits = false;
        while !self.output.flush(self.task).map_err(Cut::of_result)? {
            if !waits {
                let id = &self.task.job.id;
                self.task
                    .log
                    .warning(format_args!("the job store's disk is full: the result of job {id} waits for room"));
            }
            waits = true;
            std::thread::sleep(PAUSE);
            self.check()?;
        }
        Ok(())
    }

    /// Has a record batch scored, in parts of a batch of the engine.
    fn take(&mut self, batch: &RecordBatch) -> Result<(), Cut> {
        let most = self.task.served.batcher.max_batch_rows().min(AHEAD_ROWS);
        let ahead = (AHEAD_ROWS / most).max(2);
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = most.min(batch.num_rows() - start);
            let call = Call::new(self.post.clone(), self.next_part, self.deadline);
            let flight = Flight { part: batch.slice(start, rows), call, first_row: self.rows, tries: 0 };
            self.waiting.push_back((self.next_part, flight));
            self.next_part += 1;
            self.rows += rows;
            start += rows;
            self.push()?;
            while self.flights.len() + self.waiting.len() >= ahead {
                self.hear()?;
            }
        }
        Ok(())
    }

    /// Puts the parts that wait in the model's queue, as far as it takes them.
    fn push(&mut self) -> Result<(), Cut> {
        let batcher = &self.task.served.batcher;
        while let Some((number, flight)) = self.waiting.pop_front() {
            if batcher.admit(0, flight.part.num_rows()).is_err() {
                self.waiting.push_front((number, flight));
                break;
            }
            let mut buffer = batcher.spare_buffer();
            let rows = arrow_in::read_part(&flight.part, flight.first_row, &batcher.model.plan, &mut buffer)?;
            let calls = vec![(flight.call.clone(), rows)];
            self.flights.insert(number, flight);
            batcher.push(Turn { buffer, calls });
        }
        Ok(())
    }

    /// Waits for an answer, and writes what comes next.
    fn hear(&mut self) -> Result<(), Cut> {
        let letter = match self.letters.recv_timeout(LOOK) {
            Ok(letter) => Some(letter),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(Cut::Unwanted),
        };
        self.check()?;
        if let Some((number, answer)) = letter
            && let Some(flight) = self.flights.remove(&number)
        {
            match answer {
                Ok(answer) => drop(self.early.insert(number, answer)),
                Err(error) => self.again(number, flight, error)?,
            }
        }
        self.push()?;
        while let Some(answer) = self.early.remove(&self.next_answer) {
            self.next_answer += 1;
            self.output.add(self.task, &answer)?;
            self.flush()?;
            self.task.parts.advance(answer.rows as u64);
        }
        Ok(())
    }

    /// Tries a part again that failed of what may heal by itself.
    fn again(&mut self, number: u64, mut flight: Flight, error: Error) -> Result<(), Cut> {
        let Some(heals) = error.code().heals() else { return Err(error.into()) };
        flight.tries += u32::from(heals != Heals::Busy);
        if flight.tries >= ATTEMPTS {
            return Err(error.into());
        }
        for _ in 0..1_u32 << flight.tries {
            std::thread::sleep(PAUSE);
            self.check()?;
        }
        self.waiting.push_front((number, flight));
        Ok(())
    }

    fn check(&self) -> Result<(), Cut> {
        if self.task.stopping.load(Ordering::Relaxed) || self.task.parts.is_unwanted() {
            return Err(Cut::Unwanted);
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(batcher::deadline_exceeded().into());
        }
        Ok(())
    }
}

impl Drop for Scoring<'_> {
    fn drop(&mut self) {
        for flight in self.flights.values() {
            self.task.served.batcher.cancel(&flight.call);
        }
    }
}

/// The file of a result, part by part in the form that was asked for.
struct Output {
    file: File,
    written: u64,
    /// What is to be written next.
    pending: Vec<u8>,
    /// What makes Arrow of the parts; JSON has none.
    arrow: Option<StreamWriter<Vec<u8>>>,
    is_first: bool,
}

impl Output {
    fn begin(task: &Task, path: &Path) -> Result<Self> {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.map_err(|e| io_failed(path, &e))?;
        let model = &task.served.batcher.model;
        let mut pending = Vec::new();
        let arrow = match task.job.output {
            Media::Arrow => Some(StreamWriter::try_new(Vec::new(), &model.schema).map_err(arrow_out::fault)?),
            Media::Json => {
                model.json.begin(&mut pending);
                None
            }
        };
        Ok(Self { file, written: 0, pending, arrow, is_first: true })
    }

    /// Adds the next rows.
    fn add(&mut self, task: &Task, answer: &Answer) -> Result<()> {
        let model = &task.served.batcher.model;
        match &mut self.arrow {
            Some(writer) => {
                let rows = answer.outputs.slice(answer.start..answer.start + answer.rows);
                writer.write(&arrow_out::batch(&model.schema, rows)?).map_err(arrow_out::fault)?;
                self.pending.append(writer.get_mut());
            }
            None => model.json.part(&mut self.pending, &answer.outputs, answer.start, answer.rows, self.is_first),
        }
        self.is_first = false;
        Ok(())
    }

    /// Writes what was added; false if there is no room on the disk.
    fn flush(&mut self, task: &Task) -> Result<bool> {
        if !task.files.make_room(self.pending.len() as u64) {
            return Ok(false);
        }
        let bytes = self.pending.len() as u64;
        if let Err(error) = self.file.write_all_at(&self.pending, self.written) {
            task.files.give_room(bytes);
            // What was written of it is counted nowhere; it is written over if this fails.
            drop(self.file.set_len(self.written));
            let error = io_failed(&task.files.result(&task.name), &error);
            // Others were faster, or there is a quota.
            return if error.code() == Code::JobStoreFull { Ok(false) } else { Err(error) };
        }
        self.written += bytes;
        self.pending.clear();
        Ok(true)
    }

    /// Adds what stands behind the rows.
    fn end(&mut self) -> Result<()> {
        match &mut self.arrow {
            Some(writer) => {
                writer.finish().map_err(arrow_out::fault)?;
                self.pending.append(writer.get_mut());
            }
            None => JsonWriter::end(&mut self.pending),
        }
        Ok(())
    }

    /// Forces the file to the disk, and gives its bytes.
    fn settle(&self, task: &Task) -> Result<u64> {
        self.file.sync_all().map_err(|e| io_failed(&task.files.result(&task.name), &e))?;
        task.files.sync()?;
        Ok(self.written)
    }
}
