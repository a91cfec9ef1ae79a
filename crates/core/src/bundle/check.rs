//! What the fields of a manifest must say about each other.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::manifest::{
    FILE_NAME, LIMIT_BUNDLE_BYTES, LIMIT_FILE_BYTES, LIMIT_FILES, LIMIT_FILES_1, LIMIT_GOLDEN_ROWS,
    LIMIT_MANIFEST_BYTES, Manifest, damaged,
};
use super::paths::check_paths;
use super::stage::{NativeStage, Stage, StageInput, WorkerStage};
use crate::error::{Code, Error, Result};
use crate::names;
use crate::signature::{Column, Kind, MAX_COLUMNS, Signature, check_columns};

/// What a file of a bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role<'a> {
    Graph,
    Golden,
    /// What tells the worker's process what to load.
    Program,
    /// The packages it needs.
    Lock,
    /// A file of the folder it finds, at this path there.
    LaidOut(&'a str),
}

/// Most bytes of a file; `None` is the role of one that is listed and not used.
pub(super) const fn limit_bytes(role: Option<Role<'_>>) -> u64 {
    match role {
        Some(Role::LaidOut(_)) => LIMIT_BUNDLE_BYTES,
        Some(Role::Program | Role::Lock) => LIMIT_MANIFEST_BYTES,
        Some(Role::Graph | Role::Golden) | None => LIMIT_FILE_BYTES,
    }
}

impl Manifest {
    /// Checks a published bundle's manifest.
    ///
    /// # Errors
    /// `signature_invalid`, `bundle_unsupported` for several stages, and `bundle_damaged` for all else.
    pub fn check(&self) -> Result<()> {
        self.check_draft()?;
        if self.version == 0 {
            return Err(damaged("has version 0"));
        }
        for file in self.roles()?.keys() {
            if !self.files.contains_key(*file) {
                return Err(damaged(format!("uses the file {file}, which its list of files lacks")));
            }
        }
        if self.data.as_ref().is_some_and(|d| !is_sha256(&d.sha256)) {
            return Err(damaged("has a data digest that is not 64 hexadecimal digits"));
        }
        if !(self.proof.passed || self.proof.unproven) {
            return Err(damaged("has a proof that failed, and does not say that the model is unproven"));
        }
        Ok(())
    }

    /// Checks everything but what only publishing knows: version, proof and the list of files.
    ///
    /// # Errors
    /// As [`Manifest::check`].
    pub fn check_draft(&self) -> Result<()> {
        if !names::is_name(&self.name) {
            return Err(damaged(format!("has a name of a form no model has: \"{}\"", names::shorten(&self.name))));
        }
        if !is_time(&self.created) {
            return Err(damaged("has a time `created` that is not YYYY-MM-DDTHH:MM:SSZ"));
        }
        self.signature.check()?;
        self.check_stages()?;
        if let Some(golden) = &self.golden
            && (golden.rows == 0 || golden.rows > LIMIT_GOLDEN_ROWS)
        {
            return Err(damaged(format!("has {} golden rows; 1 to {LIMIT_GOLDEN_ROWS} are allowed", golden.rows)));
        }
        self.check_files(&self.roles()?)
    }

    /// Checks which engines follow each other, and each stage by itself.
    fn check_stages(&self) -> Result<()> {
        match (self.format, self.stages.as_slice()) {
            (1, [Stage::Native(graph)]) => check_native(&self.signature, graph, None),
            (1, [_]) => Err(damaged("has a stage that format 1 does not have")),
            (2.., [Stage::Worker(worker)]) => check_worker(&self.signature, worker, false),
            (2.., [Stage::Worker(worker), Stage::Native(graph)]) => {
                check_worker(&self.signature, worker, true)?;
                check_native(&self.signature, graph, Some(&worker.columns))
            }
            (2.., [Stage::Native(_)]) => Err(damaged("has a graph alone, which is format 1")),
            (2.., [_, Stage::Worker(_), ..]) => Err(damaged("has a worker that is not its first stage")),
            (format, stages) => Err(Error::new(
                Code::BundleUnsupported,
                format!("{FILE_NAME} has {} stages, which this version does not read in format {format}", stages.len()),
            )),
        }
    }

    /// What each file that has a use is for.
    ///
    /// # Errors
    /// `bundle_damaged` for a file with two uses.
    pub(super) fn roles(&self) -> Result<BTreeMap<&str, Role<'_>>> {
        let mut uses: Vec<(&str, Role<'_>)> = Vec::new();
        for stage in &self.stages {
            match stage {
                Stage::Native(stage) => uses.push((&stage.graph, Role::Graph)),
                Stage::Worker(stage) => {
                    uses.push((&stage.program, Role::Program));
                    uses.extend(stage.lock.iter().map(|file| (file.as_str(), Role::Lock)));
                    uses.extend(stage.files.iter().map(|(path, file)| (file.as_str(), Role::LaidOut(path))));
                }
            }
        }
        uses.extend(self.golden.iter().map(|golden| (golden.file.as_str(), Role::Golden)));
        let mut roles = BTreeMap::new();
        for (file, role) in uses {
            check_file_name(file)?;
            if roles.insert(file, role).is_some() {
                return Err(damaged(format!("uses the file {file} for two things")));
            }
        }
        Ok(roles)
    }

    fn check_files(&self, roles: &BTreeMap<&str, Role<'_>>) -> Result<()> {
        let limit = if self.format == 1 { LIMIT_FILES_1 } else { LIMIT_FILES };
        if self.files.len() > limit {
            return Err(damaged(format!("lists more than {limit} files")));
        }
        let bytes = self.files.values().fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
        if bytes > LIMIT_BUNDLE_BYTES {
            return Err(damaged(format!("lists files of more than {LIMIT_BUNDLE_BYTES} bytes")));
        }
        let mut seen = HashSet::new();
        for (file, entry) in &self.files {
            check_file_name(file)?;
            if !seen.insert(file.to_ascii_lowercase()) {
                return Err(damaged(format!("lists the file {file} twice, in upper and lower case")));
            }
            if !is_sha256(&entry.sha256) {
                return Err(damaged(format!("has a digest of {file} that is not 64 lower-case hexadecimal digits")));
            }
            let limit = limit_bytes(roles.get(file.as_str()).copied());
            if entry.bytes > limit {
                return Err(damaged(format!("lists {file} with more than {limit} bytes")));
            }
        }
        Ok(())
    }
}

/// The element type a column has in the graph.
///
/// Floats stay, with NaN for null. Nullable booleans and integers are float64 with NaN for null. Dates
/// and timestamps are int64, text is string; their nulls travel in a second input.
pub fn graph_element(column: &Column) -> Kind {
    match column.kind {
        Kind::Date32 | Kind::Timestamp => Kind::Int64,
        Kind::String | Kind::Dictionary => Kind::String,
        Kind::Tensor => column.element(),
        Kind::Float32 | Kind::Float64 => column.kind,
        _ if column.nullable => Kind::Float64,
        _ => column.kind,
    }
}

/// Whether a column's nulls travel in a second, boolean input of the graph.
pub fn has_valid_input(column: &Column) -> bool {
    column.nullable && matches!(column.kind, Kind::String | Kind::Dictionary | Kind::Date32 | Kind::Timestamp)
}

/// Checks a graph's stage; `columns` are those of the worker before it.
fn check_native(signature: &Signature, stage: &NativeStage, columns: Option<&[Column]>) -> Result<()> {
    check_inputs(columns.unwrap_or(&signature.inputs), &stage.inputs)?;
    check_outputs(signature, stage)
}

/// Checks a worker's stage; a graph that follows reads its columns.
fn check_worker(signature: &Signature, stage: &WorkerStage, is_followed: bool) -> Result<()> {
    check_inputs(&signature.inputs, &stage.inputs)?;
    check_paths(stage.files.keys())?;
    if is_followed == stage.columns.is_empty() {
        let what =
            if is_followed { "lacks columns for the graph after it" } else { "has columns and no graph after it" };
        return Err(damaged(format!("has a worker that {what}")));
    }
    check_columns(&stage.columns)?;
    match stage.columns.iter().find(|column| column.seen.is_some()) {
        Some(column) => Err(damaged(format!("says what training saw of the worker's column \"{}\"", column.name))),
        None => Ok(()),
    }
}

fn check_inputs(among: &[Column], inputs: &[StageInput]) -> Result<()> {
    if inputs.len() > 2 * MAX_COLUMNS {
        return Err(damaged(format!("has a stage of more than {} inputs", 2 * MAX_COLUMNS)));
    }
    let columns: HashMap<&str, &Column> = among.iter().map(|c| (c.name.as_str(), c)).collect();
    let (mut names, mut used, mut valid) = (HashSet::new(), HashSet::new(), HashSet::new());
    for input in inputs {
        if !names.insert(input.name.as_str()) {
            return Err(damaged(format!("has the input \"{}\" twice", input.name)));
        }
        for name in &input.columns {
            let column = find(&columns, name, input)?;
            check_column(column, input)?;
            if !used.insert(name.as_str()) {
                return Err(damaged(format!("feeds the column \"{name}\" into a stage twice")));
            }
        }
        match &input.valid {
            None if input.columns.is_empty() => {
                return Err(damaged(format!("has the input \"{}\" with neither columns nor valid", input.name)));
            }
            None => {}
            Some(_) if !input.columns.is_empty() => {
                return Err(damaged(format!("has the input \"{}\" with both columns and valid", input.name)));
            }
            Some(name) => {
                let column = find(&columns, name, input)?;
                if !has_valid_input(column) || input.kind != Kind::Bool {
                    return Err(damaged(format!(
                        "has the input \"{}\", which is not a boolean for a nullable string, date or timestamp",
                        input.name
                    )));
                }
                if !valid.insert(name.as_str()) {
                    return Err(damaged(format!("has two inputs with the validity of the column \"{name}\"")));
                }
            }
        }
    }
    for column in among {
        let name = column.name.as_str();
        if has_valid_input(column) && used.contains(name) != valid.contains(name) {
            return Err(damaged(format!(
                "must feed the nullable column \"{name}\" and its validity both into a stage, or neither"
            )));
        }
    }
    Ok(())
}

fn find<'a>(columns: &HashMap<&str, &'a Column>, name: &str, input: &StageInput) -> Result<&'a Column> {
    columns.get(name).copied().ok_or_else(|| {
        damaged(format!("feeds \"{name}\" into the input \"{}\", but there is no such column", input.name))
    })
}

/// Checks one column against the input it is in.
fn check_column(column: &Column, input: &StageInput) -> Result<()> {
    let element = graph_element(column);
    if element != input.kind {
        return Err(damaged(format!(
            "has the input \"{}\" as {}; the column \"{}\" in it is {}",
            input.name,
            input.kind.as_str(),
            column.name,
            element.as_str()
        )));
    }
    let packable = column.kind == Kind::Bool || column.kind.is_integer() || column.kind.is_float();
    if input.columns.len() > 1 && !packable {
        return Err(damaged(format!(
            "packs the column \"{}\" with others into \"{}\"; only numbers are packed",
            column.name, input.name
        )));
    }
    Ok(())
}

fn check_outputs(signature: &Signature, stage: &NativeStage) -> Result<()> {
    let mut mapped = HashSet::new();
    for output in &stage.outputs {
        if !mapped.insert(output.name.as_str()) {
            return Err(damaged(format!("maps the output \"{}\" twice", output.name)));
        }
    }
    for output in &signature.outputs {
        if !mapped.remove(output.name.as_str()) {
            return Err(damaged(format!("maps no graph output to the output \"{}\"", output.name)));
        }
    }
    match mapped.into_iter().next() {
        Some(name) => Err(damaged(format!("maps the output \"{name}\", which the signature lacks"))),
        None => Ok(()),
    }
}

/// Checks that a file's name is plain, so that it stays in its folder on every system.
///
/// # Errors
/// `bundle_damaged`.
pub fn check_file_name(name: &str) -> Result<()> {
    if names::is_name(name) && !name.eq_ignore_ascii_case(FILE_NAME) {
        return Ok(());
    }
    Err(damaged(format!("names a file that is not plain: \"{}\"", names::shorten(name))))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether `text` has the form `YYYY-MM-DDTHH:MM:SSZ`.
fn is_time(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00Z";
    text.len() == form.len()
        && text.bytes().zip(form).all(|(b, &f)| if f == b'0' { b.is_ascii_digit() } else { b == f })
}
