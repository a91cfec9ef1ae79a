//! The batcher's promises, as properties: whatever callers share a batch, each gets its own rows' answers.
//!
//! Runs on ONNX Runtime with the golden bundle of format 1; `MONORAIL_ORT_LIB` is the library's path.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use monorail_core::batcher::{Answer, Batcher, Call, Mailbox, Turn};
use monorail_core::bundle::Bundle;
use monorail_core::engine::model::Options;
use monorail_core::engine::{Engine, Model};
use monorail_core::error::{Code, Error, Result};
use monorail_core::log::{Level, Log};
use monorail_core::settings::Settings;
use monorail_core::values::json_in::JsonReader;
use monorail_core::values::{Outputs, RowBuffer, TensorBuffer};
use proptest::prelude::*;

/// The value of `distance` that [`Picky`] cannot stand.
const POISON: f64 = -13.0;
/// Longest wait for an answer before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn model() -> Model {
    let library =
        std::env::var_os("MONORAIL_ORT_LIB").expect("MONORAIL_ORT_LIB names libonnxruntime; use make test-rust");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/format/format_1");
    let (settings, (log, _)) = (Settings::default(), Log::stderr(Level::Error));
    let runtime = PathBuf::from(library);
    let options = Options { runtime: &runtime, settings: &settings, launch: None, log: &log, stop: &|| false };
    Model::load(Bundle::open(&folder).unwrap(), options).unwrap()
}

/// The real engine, but it fails on poisoned rows, notes each batch, and can be held.
struct Picky {
    inner: Box<dyn Engine>,
    batches: Arc<Mutex<Vec<usize>>>,
    gate: Arc<Mutex<()>>,
}

impl Engine for Picky {
    fn run(&self, rows: &RowBuffer, range: Range<usize>) -> Result<Outputs> {
        drop(self.gate.lock().unwrap());
        self.batches.lock().unwrap().push(range.len());
        let Some((TensorBuffer::F64(numbers), width)) = rows.tensor(2) else { panic!("the bundle has changed") };
        if numbers[range.start * width..range.end * width].iter().skip(1).step_by(width).any(|d| *d == POISON) {
            return Err(Error::new(Code::EngineFailed, "poison"));
        }
        self.inner.run(rows, range)
    }
}

struct Rig {
    batcher: Arc<Batcher>,
    batches: Arc<Mutex<Vec<usize>>>,
    gate: Arc<Mutex<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    post: Arc<Post>,
    answers: Receiver<(u64, Result<Answer>)>,
}

struct Post(Mutex<Sender<(u64, Result<Answer>)>>);

impl Mailbox for Post {
    fn deliver(&self, answers: Vec<(u64, Result<Answer>)>) {
        let sender = self.0.lock().unwrap();
        for answer in answers {
            sender.send(answer).unwrap();
        }
    }
}

impl Rig {
    fn new(threads: usize, max_batch_rows: usize, max_queue_rows: usize, row_wise: bool) -> Self {
        let mut model = model();
        let (batches, gate) = (Arc::default(), Arc::default());
        model.engine = Box::new(Picky { inner: model.engine, batches: Arc::clone(&batches), gate: Arc::clone(&gate) });
        model.manifest.row_wise = row_wise;
        let batcher = Arc::new(Batcher::new(Arc::new(model), max_batch_rows, max_queue_rows));
        let work = |_| {
            let batcher = batcher.clone();
            std::thread::spawn(move || batcher.work())
        };
        let threads = (0..threads).map(work).collect();
        let (sender, answers) = channel();
        Self { batcher, batches, gate, threads, post: Arc::new(Post(Mutex::new(sender))), answers }
    }

    /// Queues one turn of callers; each is a ticket and the distances of its rows.
    fn turn(&self, callers: &[(u64, Vec<f64>)], deadline: Option<Instant>) -> Vec<Arc<Call>> {
        let mut buffer = self.batcher.spare_buffer();
        let mut calls = Vec::new();
        for (ticket, distances) in callers {
            read(&self.batcher.model, distances, &mut buffer);
            calls.push((Call::new(self.post.clone(), *ticket, deadline), distances.len()));
        }
        let kept = calls.iter().map(|(call, _)| call.clone()).collect();
        self.batcher.push(Turn { buffer, calls });
        kept
    }

    fn answers(&self, count: usize) -> HashMap<u64, Result<Answer>> {
        let mut all = HashMap::new();
        for _ in 0..count {
            let (ticket, answer) = self.answers.recv_timeout(PATIENCE).expect("an answer for every caller");
            assert!(all.insert(ticket, answer).is_none(), "one answer each");
        }
        all
    }

    /// What the engine says of these rows by themselves, one by one.
    fn alone(&self, distances: &[f64]) -> Vec<f64> {
        let model = model();
        let mut buffer = model.plan.buffer();
        read(&model, distances, &mut buffer);
        (0..distances.len())
            .flat_map(|row| probabilities(&model.engine.run(&buffer, row..row + 1).unwrap(), 0, 1))
            .collect()
    }

    fn end(self) {
        assert_eq!(self.batcher.queue_rows(), 0, "nothing waits once all is answered");
        self.batcher.close();
        self.threads.into_iter().for_each(|t| t.join().unwrap());
        assert!(self.answers.try_recv().is_err(), "nobody is answered twice");
    }
}

fn read(model: &Model, distances: &[f64], buffer: &mut RowBuffer) {
    let row = |d: &f64| {
        format!(
            r#"{{"carrier":"UA","temp":{},"distance":{d},"flag":{},"day":"2024-02-29","when":null,"vector":[1,2,{}],"unused":1}}"#,
            d / 8.0,
            d % 2.0 == 0.0,
            d / 64.0
        )
    };
    let body = format!("[{}]", distances.iter().map(row).collect::<Vec<_>>().join(","));
    JsonReader::default().read(body.as_bytes(), &model.plan, buffer, usize::MAX).unwrap();
}

fn probabilities(outputs: &Outputs, start: usize, rows: usize) -> Vec<f64> {
    let (column, width) = &outputs.columns[1];
    let monorail_core::values::OutputBuffer::F64(values) = column else { panic!("the bundle has changed") };
    values[start * width..(start + rows) * width].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn everybody_gets_their_own_rows(
        turns in prop::collection::vec(prop::collection::vec((1_usize..40, prop::bool::weighted(0.1)), 1..12), 1..8),
        threads in 1_usize..3,
        max_batch_rows in 1_usize..64,
        row_wise: bool,
    ) {
        let rig = Rig::new(threads, max_batch_rows, usize::MAX, row_wise);
        let held = rig.gate.lock().unwrap();
        let (mut ticket, mut next, mut all) = (0, 0_u32, HashMap::new());
        for turn in &turns {
            let mut callers = Vec::new();
            for (rows, poisoned) in turn {
                let mut distances: Vec<f64> = (0..*rows).map(|_| { next += 1; f64::from(next) }).collect();
                if *poisoned {
                    distances[rows / 2] = POISON;
                }
                callers.push((ticket, distances));
                ticket += 1;
            }
            rig.turn(&callers, None);
            all.extend(callers);
        }
        drop(held);
        for (ticket, answer) in rig.answers(all.len()) {
            let distances = &all[&ticket];
            if distances.contains(&POISON) {
                prop_assert_eq!(answer.unwrap_err().code(), Code::EngineFailed);
            } else {
                let answer = answer.unwrap();
                prop_assert_eq!(answer.rows, distances.len());
                let got = probabilities(&answer.outputs, answer.start, answer.rows);
                for (got, alone) in got.iter().zip(rig.alone(distances)) {
                    prop_assert!((got - alone).abs() <= 1e-12, "{} {}", got, alone);
                }
            }
        }
        if row_wise {
            prop_assert!(rig.batches.lock().unwrap().iter().all(|rows| *rows <= max_batch_rows));
        } else {
            // Never shared: every call of the engine was one caller's rows, all of them.
            let mut sizes: Vec<_> = all.values().map(Vec::len).collect();
            let mut batches = rig.batches.lock().unwrap().clone();
            sizes.sort_unstable();
            batches.sort_unstable();
            prop_assert_eq!(sizes, batches);
        }
        rig.end();
    }
}

#[test]
fn rows_that_gather_while_the_engine_is_busy_share_a_batch() {
    let rig = Rig::new(1, 1_024, usize::MAX, true);
    let held = rig.gate.lock().unwrap();
    for ticket in 0..64 {
        rig.turn(&[(ticket, vec![f64::from(u32::try_from(ticket).unwrap())])], None);
    }
    drop(held);
    rig.answers(64);
    // The thread took the first turn, perhaps more, before it was held up; all others came at once.
    assert!(rig.batches.lock().unwrap().len() <= 2, "{:?}", rig.batches.lock().unwrap());
    rig.end();
}

#[test]
fn a_large_request_lets_others_in_between() {
    let rig = Rig::new(1, 10, usize::MAX, true);
    let held = rig.gate.lock().unwrap();
    rig.turn(&[(0, vec![1.0; 100])], None);
    rig.turn(&[(1, vec![2.0; 3])], None);
    drop(held);
    let (first, answer) = rig.answers.recv_timeout(PATIENCE).unwrap();
    assert_eq!((first, answer.unwrap().rows), (1, 3), "the small request does not wait for the large one's end");
    assert_eq!(rig.answers(1)[&0].as_ref().unwrap().rows, 100);
    rig.end();
}

#[test]
fn who_has_gone_or_come_too_late_costs_the_engine_nothing() {
    let rig = Rig::new(1, 1_024, usize::MAX, true);
    let held = rig.gate.lock().unwrap();
    rig.turn(&[(0, vec![1.0])], None);
    while rig.batcher.queue_rows() > 0 {
        std::thread::yield_now();
    }
    let gone = rig.turn(&[(1, vec![2.0; 7]), (2, vec![3.0; 2])], None);
    rig.turn(&[(3, vec![4.0; 5])], Some(Instant::now()));
    assert_eq!(rig.batcher.queue_rows(), 14);
    rig.batcher.cancel(&gone[0]);
    assert_eq!(rig.batcher.queue_rows(), 7, "cancelled rows leave the queue at once");
    drop(held);
    let mut answers = rig.answers(3);
    assert_eq!(answers.remove(&3).unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(answers.remove(&2).unwrap().unwrap().rows, 2);
    assert_eq!(rig.batches.lock().unwrap().iter().sum::<usize>(), 3);
    rig.end();
}

#[test]
fn a_full_queue_refuses_and_an_empty_one_takes_any_request() {
    let rig = Rig::new(1, 4, 10, true);
    rig.batcher.admit(0, 1_000).unwrap();
    let held = rig.gate.lock().unwrap();
    rig.turn(&[(0, vec![1.0; 4])], None);
    while rig.batcher.queue_rows() > 0 {
        std::thread::yield_now();
    }
    rig.turn(&[(1, vec![1.0; 3]), (2, vec![1.0; 3]), (3, vec![1.0; 3])], None);
    rig.batcher.admit(0, 1).unwrap();
    assert_eq!(rig.batcher.admit(0, 2).unwrap_err().code(), Code::Overloaded);
    assert_eq!(rig.batcher.admit(1, 1).unwrap_err().code(), Code::Overloaded);
    drop(held);
    rig.answers(4);
    rig.end();
}

#[test]
fn large_requests_do_not_keep_small_ones_out() {
    let rig = Rig::new(1, 4, 10, true);
    let held = rig.gate.lock().unwrap();
    rig.turn(&[(0, vec![1.0; 100])], None);
    while rig.batcher.queue_rows() > 0 {
        std::thread::yield_now();
    }
    rig.turn(&[(1, vec![2.0; 500])], None);
    assert_eq!(rig.batcher.queue_rows(), 500);
    rig.batcher.admit(0, 4).unwrap();
    assert_eq!(rig.batcher.admit(0, 5).unwrap_err().code(), Code::Overloaded, "but a second large one has to wait");
    drop(held);
    rig.answers(2);
    rig.batcher.admit(0, 500).unwrap();
    rig.end();
}
