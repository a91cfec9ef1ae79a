//! The stages of a model: what runs, in order, and what each needs.
//!
//! A model is one graph, one worker, or a worker whose columns a graph reads. What the fields must say about
//! each other is in [`super::check`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use crate::signature::{Column, Kind};

/// One step of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "engine", rename_all = "lowercase")]
pub enum Stage {
    /// A graph, in this process.
    Native(NativeStage),
    /// The model's own code, in a Python process.
    Worker(WorkerStage),
}

impl Stage {
    /// How rows enter it: its inputs, in order.
    pub fn inputs(&self) -> &[StageInput] {
        match self {
            Stage::Native(stage) => &stage.inputs,
            Stage::Worker(stage) => &stage.inputs,
        }
    }
}

/// A step that is a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NativeStage {
    /// The file that holds the graph.
    pub graph: String,
    pub inputs: Vec<StageInput>,
    pub outputs: Vec<StageOutput>,
    /// The versions of operator sets the graph uses, by domain (`ai.onnx` for the default one).
    pub opsets: BTreeMap<String, u64>,
    /// The least versions of the runtimes that can run it.
    #[serde(default)]
    pub runtime: BTreeMap<String, String>,
}

/// A step that is a Python process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerStage {
    /// The file that tells the process what to load; nobody else reads it.
    pub program: String,
    pub inputs: Vec<StageInput>,
    /// What it gives to the graph after it; empty where it gives the signature's outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// The files of the folder the process finds: relative path there to file of the bundle.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Whether a batch may run again after the process that had it was lost.
    #[serde(default)]
    pub idempotent: bool,
    /// The file with the packages it needs, versions and hashes.
    #[serde(default)]
    pub lock: Option<String>,
    /// Why it is not a graph, one line for people.
    #[serde(default)]
    pub reason: String,
}

/// One input of a stage: either columns, or the validity of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageInput {
    /// The stage's name for it.
    pub name: String,
    /// The tensor's element type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The columns in it, in order; empty where `valid` is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The column whose validity (true: there, false: null) this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<String>,
}

/// One output of the signature and where the graph has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageOutput {
    /// The signature's name for it.
    pub name: String,
    /// The graph's name for it.
    pub graph_output: String,
}

/// What answers for a model, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// A graph alone.
    Native,
    /// A Python process alone.
    Worker,
    /// A Python process, then a graph.
    Mixed,
}

impl EngineKind {
    /// The word `GET /models/{name}` and `Model.engine` use.
    pub const fn as_str(self) -> &'static str {
        match self {
            EngineKind::Native => "native",
            EngineKind::Worker => "worker",
            EngineKind::Mixed => "mixed",
        }
    }
}

impl Manifest {
    /// What answers for the model.
    pub fn engine(&self) -> EngineKind {
        match (self.worker(), self.native()) {
            (None, _) => EngineKind::Native,
            (Some(_), None) => EngineKind::Worker,
            (Some(_), Some(_)) => EngineKind::Mixed,
        }
    }

    /// Whether running the model runs code that came with it.
    pub fn needs_trust(&self) -> bool {
        self.worker().is_some()
    }

    /// The graph's stage, if there is one.
    pub fn native(&self) -> Option<&NativeStage> {
        self.stages.iter().find_map(|stage| match stage {
            Stage::Native(stage) => Some(stage),
            Stage::Worker(_) => None,
        })
    }

    /// The worker's stage, if there is one.
    pub fn worker(&self) -> Option<&WorkerStage> {
        self.stages.iter().find_map(|stage| match stage {
            Stage::Worker(stage) => Some(stage),
            Stage::Native(_) => None,
        })
    }

    /// How a caller's rows enter the model: the first stage's inputs, over the signature's columns.
    pub fn first_inputs(&self) -> &[StageInput] {
        self.stages.first().map_or(&[], Stage::inputs)
    }

    /// The columns that the graph's inputs name: the worker's, where there is one before it, or the signature's.
    pub fn graph_columns(&self) -> &[Column] {
        self.worker().map_or(&self.signature.inputs, |stage| &stage.columns)
    }
}
