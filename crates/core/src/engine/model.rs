//! A loaded model: its plan, its engine, and how its answers are written.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow_schema::{Schema, SchemaRef};

use crate::bundle::Bundle;
use crate::bundle::folder::WorkerFolder;
use crate::bundle::manifest::Manifest;
use crate::bundle::stage::{NativeStage, StageInput, WorkerStage};
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::settings::Settings;
use crate::signature::{Column, Output, Seen};
use crate::values::json_out::JsonWriter;
use crate::values::{Outputs, Plan, RowBuffer, UnknownColumns, arrow_out};

use super::native::Native;
use super::worker::{self, Launch, Then, WorkerEngine, Workers};
use super::{Engine, golden};

/// A model in memory, ready to score.
pub struct Model {
    pub manifest: Manifest,
    pub plan: Plan,
    pub engine: Box<dyn Engine>,
    /// Writes its answers as JSON.
    pub json: JsonWriter,
    /// The schema of its answers as Arrow.
    pub schema: SchemaRef,
    golden: Option<Vec<u8>>,
}

/// What loading a model needs besides its bundle.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The path of the ONNX Runtime library.
    pub runtime: &'a Path,
    pub settings: &'a Settings,
    /// How its workers are started; needed only where it has some.
    pub launch: Option<&'a Launch>,
    /// Where they and what they print are told of.
    pub log: &'a Log,
    /// Whether to give up, asked while workers come up.
    pub stop: &'a dyn Fn() -> bool,
}

impl Model {
    /// Loads an opened bundle, and starts its workers if it has some.
    ///
    /// # Errors
    /// `runtime_missing`, `graph_refused`, `signature_invalid`; `worker_failed` where its workers do not come up.
    pub fn load(bundle: Bundle, options: Options<'_>) -> Result<Self> {
        let Bundle { manifest, graph, worker, golden, .. } = bundle;
        let signature = &manifest.signature;
        let plan = Plan::new(&signature.inputs, manifest.first_inputs(), options.settings.unknown_columns)?;
        let native = |plan: &Plan| match (manifest.native(), &graph) {
            (Some(stage), Some(graph)) => load_graph(stage, &graph.bytes, options.runtime, plan, &signature.outputs),
            _ => Err(Error::new(Code::Internal, "a bundle without its graph")),
        };
        let workers = |gives: &Schema, stage: &WorkerStage, folder: Option<WorkerFolder>| {
            let (Some(folder), Some(launch)) = (folder, options.launch) else {
                return Err(Error::new(Code::Internal, "nothing says how the model's workers are started"));
            };
            let stage = worker::Stage {
                who: format!("{}@{}", manifest.name, manifest.version),
                columns: &signature.inputs,
                plan: &plan,
                gives: gives.clone(),
                is_idempotent: stage.idempotent,
                folder,
            };
            Workers::start(stage, launch.clone(), options.settings, options.log.clone(), options.stop)
        };
        let schema = arrow_out::schema(&signature.outputs);
        let engine: Box<dyn Engine> = match (manifest.worker(), manifest.native()) {
            (None, _) => Box::new(native(&plan)?),
            (Some(stage), None) => {
                let then = Then::Answer(signature.outputs.clone());
                Box::new(WorkerEngine::new(workers(&schema, stage, worker)?, then))
            }
            (Some(stage), Some(next)) => {
                let plan = between(&stage.columns, &next.inputs)?;
                let graph = native(&plan)?;
                let then = Then::Graph(Box::new((plan, graph)));
                Box::new(WorkerEngine::new(workers(&worker::columns_schema(&stage.columns), stage, worker)?, then))
            }
        };
        let json = JsonWriter::new(&manifest.name, manifest.version, &signature.outputs);
        Ok(Self { plan, engine, json, schema, golden, manifest })
    }

    /// Its outputs, in the signature's order.
    pub fn outputs(&self) -> &[Output] {
        &self.manifest.signature.outputs
    }

    /// Bytes of the buffers that one row and its answer take, strings aside.
    pub fn row_bytes(&self) -> usize {
        let inputs: usize = self.plan.inputs.iter().map(|i| i.kind.bytes() * i.width()).sum();
        let outputs: usize = self.outputs().iter().map(|o| o.kind.bytes() * o.width()).sum();
        inputs + outputs
    }

    /// Scores the golden rows again and compares them with the answers the bundle keeps.
    ///
    /// # Errors
    /// `bundle_damaged` if they cannot be read, `engine_failed` if they cannot be scored.
    pub fn check_golden(&self) -> Result<golden::Report> {
        let report = golden::check(self, self.golden.as_deref());
        // Golden rows are hard on purpose: what they hold is not traffic.
        self.plan.reset_counts();
        report
    }

    /// Scores all rows of a buffer, in batches of at most `max_batch_rows`, on up to `threads` threads.
    ///
    /// A model that is not row-wise is scored in one batch. Answers do not depend on `threads`.
    ///
    /// # Errors
    /// `engine_failed` for the first batch that cannot be scored.
    pub fn score(&self, rows: &RowBuffer, max_batch_rows: usize, threads: usize) -> Result<Outputs> {
        let total = rows.rows();
        let step = if self.manifest.row_wise { max_batch_rows.max(1) } else { total.max(1) };
        let batches = total.div_ceil(step);
        if batches <= 1 {
            return self.engine.run(rows, 0..total);
        }
        let range = |batch: usize| -> Range<usize> { batch * step..((batch + 1) * step).min(total) };
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<Option<Result<Outputs>>>> = Mutex::new((0..batches).map(|_| None).collect());
        let work = || {
            loop {
                let batch = next.fetch_add(1, Ordering::Relaxed);
                if batch >= batches {
                    return;
                }
                let answer = self.engine.run(rows, range(batch));
                if answer.is_err() {
                    next.store(batches, Ordering::Relaxed);
                }
                if let Some(place) = done.lock().unwrap_or_else(PoisonError::into_inner).get_mut(batch) {
                    *place = Some(answer);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(batches) {
                scope.spawn(work);
            }
            work();
        });
        let mut all: Option<Outputs> = None;
        for answer in done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten() {
            let answer = answer?;
            match &mut all {
                None => all = Some(answer),
                Some(all) => all.extend(&answer, 0..answer.rows),
            }
        }
        all.ok_or_else(|| Error::new(Code::Internal, "no batch was scored"))
    }
}

fn load_graph(stage: &NativeStage, graph: &[u8], runtime: &Path, plan: &Plan, wanted: &[Output]) -> Result<Native> {
    let mut outputs = Vec::with_capacity(wanted.len());
    for output in wanted {
        let stage = stage.outputs.iter().find(|o| o.name == output.name).ok_or_else(|| {
            Error::new(Code::SignatureInvalid, format!("no stage gives the output \"{}\"", output.name))
        })?;
        outputs.push((stage, output));
    }
    Native::load(graph, runtime, plan, &outputs)
}

/// Where a worker's columns go in the inputs of the graph after it. What it gives may be infinite: only callers are
/// held to what the reference had.
fn between(columns: &[Column], inputs: &[StageInput]) -> Result<Plan> {
    let mut columns = columns.to_vec();
    for column in &mut columns {
        column.seen = Some(Seen { infinity: true, ..Seen::default() });
    }
    Plan::new(&columns, inputs, UnknownColumns::Ignore)
}
