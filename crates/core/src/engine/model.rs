//! A loaded model: its plan, its engine, and how its answers are written.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow_schema::SchemaRef;

use crate::bundle::Bundle;
use crate::bundle::manifest::Manifest;
use crate::bundle::stage::Stage;
use crate::error::{Code, Error, Result};
use crate::signature::Output;
use crate::values::json_out::JsonWriter;
use crate::values::{Outputs, Plan, RowBuffer, UnknownColumns, arrow_out};

use super::native::Native;
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

impl Model {
    /// Loads an opened bundle; `runtime` is the path of the ONNX Runtime library.
    ///
    /// # Errors
    /// `runtime_missing`, `graph_refused`, `signature_invalid`; `bundle_unsupported` for a worker.
    pub fn load(bundle: Bundle, runtime: &Path, unknown_columns: UnknownColumns) -> Result<Self> {
        let Bundle { manifest, graph, golden, .. } = bundle;
        let ([Stage::Native(stage)], Some(graph)) = (manifest.stages.as_slice(), graph) else {
            return Err(Error::new(Code::BundleUnsupported, "this version runs no workers"));
        };
        let plan = Plan::new(&manifest.signature.inputs, &stage.inputs, unknown_columns)?;
        let mut outputs = Vec::with_capacity(manifest.signature.outputs.len());
        for output in &manifest.signature.outputs {
            let stage = stage.outputs.iter().find(|o| o.name == output.name).ok_or_else(|| {
                Error::new(Code::SignatureInvalid, format!("no stage gives the output \"{}\"", output.name))
            })?;
            outputs.push((stage, output));
        }
        let engine = Box::new(Native::load(&graph.bytes, runtime, &plan, &outputs)?);
        let json = JsonWriter::new(&manifest.name, manifest.version, &manifest.signature.outputs);
        let schema = arrow_out::schema(&manifest.signature.outputs);
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
