//! The batcher before an engine that is not always free, and that loses what it was given.
//!
//! Runs on the golden bundle of format 1, whose engine is replaced; `MONORAIL_ORT_LIB` is the runtime's path.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use monorail_core::batcher::{Answer, Batcher, Call, Mailbox, Turn};
use monorail_core::bundle::Bundle;
use monorail_core::engine::model::Options;
use monorail_core::engine::{Availability, Callers, Engine, Lease, Model};
use monorail_core::error::{Code, Error, Result};
use monorail_core::log::Log;
use monorail_core::settings::Settings;
use monorail_core::values::json_in::JsonReader;
use monorail_core::values::{Outputs, RowBuffer};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the engine does, and what it was asked.
#[derive(Default)]
struct State {
    free: usize,
    down: bool,
    idempotent: bool,
    /// How many more batches it loses.
    losses: usize,
    batches: Vec<usize>,
    deadlines: Vec<Option<Instant>>,
    tell: Option<Arc<dyn Fn() + Send + Sync>>,
}

struct Fickle {
    inner: Box<dyn Engine>,
    state: Arc<Mutex<State>>,
}

impl Engine for Fickle {
    fn run(&self, rows: &RowBuffer, range: Range<usize>) -> Result<Outputs> {
        self.inner.run(rows, range)
    }

    fn run_for(
        &self,
        rows: &RowBuffer,
        range: Range<usize>,
        _lease: &mut Lease,
        callers: &dyn Callers,
    ) -> Result<Outputs> {
        let mut state = self.state.lock().unwrap();
        state.batches.push(range.len());
        state.deadlines.push(callers.deadline());
        assert!(callers.wait());
        if state.losses > 0 {
            state.losses -= 1;
            return Err(Error::new(Code::WorkerLost, "it was lost"));
        }
        drop(state);
        self.inner.run(rows, range)
    }

    fn lease(&self, _waited: Duration) -> Availability {
        let mut state = self.state.lock().unwrap();
        if state.down {
            return Availability::Down(Error::new(Code::NotReady, "nobody is there"));
        }
        match state.free.checked_sub(1) {
            Some(left) => {
                state.free = left;
                Availability::Now(Lease::Here)
            }
            None => Availability::Later,
        }
    }

    fn on_free(&self, tell: Arc<dyn Fn() + Send + Sync>) {
        self.state.lock().unwrap().tell = Some(tell);
    }

    fn is_idempotent(&self) -> bool {
        self.state.lock().unwrap().idempotent
    }
}

struct Post(Mutex<Sender<(u64, Result<Answer>)>>);

impl Mailbox for Post {
    fn deliver(&self, answers: Vec<(u64, Result<Answer>)>) {
        let sender = self.0.lock().unwrap();
        answers.into_iter().for_each(|answer| sender.send(answer).unwrap());
    }
}

struct Rig {
    batcher: Arc<Batcher>,
    state: Arc<Mutex<State>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    post: Arc<Post>,
    answers: Receiver<(u64, Result<Answer>)>,
}

impl Rig {
    fn new(state: State) -> Self {
        let library = std::env::var_os("MONORAIL_ORT_LIB").expect("MONORAIL_ORT_LIB names libonnxruntime");
        let (runtime, settings, log) = (PathBuf::from(library), Settings::default(), Log::nowhere());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/format/format_1");
        let options = Options { runtime: &runtime, settings: &settings, launch: None, log: &log, stop: &|| false };
        let mut model = Model::load(Bundle::open(&folder).unwrap(), options).unwrap();
        let state = Arc::new(Mutex::new(state));
        model.engine = Box::new(Fickle { inner: model.engine, state: state.clone() });
        let batcher = Arc::new(Batcher::new(Arc::new(model), 1_024, usize::MAX));
        batcher.listen();
        let work = |_| {
            let batcher = batcher.clone();
            std::thread::spawn(move || batcher.work())
        };
        let threads = (0..3).map(work).collect();
        let (sender, answers) = channel();
        Self { batcher, state, threads, post: Arc::new(Post(Mutex::new(sender))), answers }
    }

    /// Queues one turn of callers: each has a number of rows.
    fn turn(&self, callers: &[(u64, usize)], deadline: Option<Instant>) -> Vec<Arc<Call>> {
        let mut buffer = self.batcher.spare_buffer();
        let row = r#"{"carrier":"UA","temp":1,"distance":2,"flag":true,"day":"2024-02-29","when":null,"vector":[1,2,3],"unused":1}"#;
        let mut calls = Vec::new();
        for (ticket, rows) in callers {
            let body = format!("[{}]", vec![row; *rows].join(","));
            JsonReader::default().read(body.as_bytes(), &self.batcher.model.plan, &mut buffer, usize::MAX).unwrap();
            calls.push((Call::new(self.post.clone(), *ticket, deadline), *rows));
        }
        let kept = calls.iter().map(|(call, _)| call.clone()).collect();
        self.batcher.push(Turn { buffer, calls });
        kept
    }

    /// Makes the engine free so many times.
    fn free(&self, times: usize) {
        for _ in 0..times {
            self.state.lock().unwrap().free += 1;
            let tell = self.state.lock().unwrap().tell.clone().unwrap();
            tell();
        }
    }

    /// What each of so many callers got: rows, or the code of an error.
    fn answers(&self, count: usize) -> BTreeMap<u64, std::result::Result<usize, Code>> {
        let one = |_| self.answers.recv_timeout(PATIENCE).expect("an answer for every caller");
        (0..count).map(one).map(|(t, a)| (t, a.map(|a| a.rows).map_err(|e| e.code()))).collect()
    }

    fn end(self) -> State {
        self.batcher.close();
        self.threads.into_iter().for_each(|t| t.join().unwrap());
        assert!(self.answers.try_recv().is_err(), "nobody is answered twice");
        std::mem::take(&mut *self.state.lock().unwrap())
    }
}

#[test]
fn rows_gather_until_a_lease_is_to_be_had() {
    let rig = Rig::new(State::default());
    for ticket in 0..20 {
        rig.turn(&[(ticket, 2)], None);
    }
    assert_eq!(rig.batcher.queue_rows(), 40);
    assert!(rig.answers.try_recv().is_err());
    rig.free(1);
    assert!(rig.answers(20).values().all(|rows| *rows == Ok(2)));
    assert_eq!(rig.end().batches, [40]);
}

#[test]
fn a_lease_is_not_kept_by_rows_that_nobody_wants() {
    let rig = Rig::new(State::default());
    let gone = rig.turn(&[(0, 5)], None);
    rig.turn(&[(1, 5)], Some(Instant::now()));
    rig.batcher.cancel(&gone[0]);
    rig.free(1);
    assert_eq!(rig.answers(1)[&1], Err(Code::DeadlineExceeded));
    rig.turn(&[(2, 5)], None);
    rig.free(1);
    assert_eq!(rig.answers(1)[&2], Ok(5));
    assert_eq!(rig.end().batches, [5]);
}

#[test]
fn what_was_lost_runs_again_only_where_it_may() {
    let all = [(0, 1), (1, 2), (2, 3)];
    let rig = Rig::new(State { losses: 1, ..State::default() });
    rig.turn(&all, None);
    rig.free(1);
    assert!(rig.answers(3).values().all(|answer| *answer == Err(Code::WorkerLost)));
    assert_eq!(rig.end().batches, [6], "once");

    let rig = Rig::new(State { losses: 1, idempotent: true, ..State::default() });
    rig.turn(&all, None);
    rig.free(1);
    assert_eq!(rig.answers(3).into_values().collect::<Vec<_>>(), [Ok(1), Ok(2), Ok(3)]);
    assert_eq!(rig.end().batches, [6, 1, 2, 3], "each caller alone");

    // One caller alone gets one more try, and no third.
    let rig = Rig::new(State { losses: 2, idempotent: true, ..State::default() });
    rig.turn(&[(0, 4)], None);
    rig.free(1);
    assert_eq!(rig.answers(1)[&0], Err(Code::WorkerLost));
    assert_eq!(rig.end().batches, [4, 4]);
}

#[test]
fn where_nobody_is_there_all_who_wait_are_told() {
    let rig = Rig::new(State::default());
    rig.turn(&[(0, 1), (1, 2)], None);
    rig.state.lock().unwrap().down = true;
    rig.free(1);
    assert!(rig.answers(2).values().all(|answer| *answer == Err(Code::NotReady)));
    rig.state.lock().unwrap().down = false;
    rig.turn(&[(2, 3)], None);
    assert_eq!(rig.answers(1)[&2], Ok(3));
    assert_eq!(rig.end().batches, [3]);
}

#[test]
fn an_engine_is_told_how_long_the_most_patient_waits() {
    let rig = Rig::new(State::default());
    let (soon, late) = (Instant::now() + PATIENCE, Instant::now() + 2 * PATIENCE);
    rig.turn(&[(0, 1)], Some(late));
    rig.turn(&[(1, 1)], Some(soon));
    rig.free(1);
    rig.answers(2);
    rig.turn(&[(2, 1)], Some(soon));
    rig.turn(&[(3, 1)], None);
    rig.free(1);
    rig.answers(2);
    assert_eq!(rig.end().deadlines, [Some(late), None]);
}
