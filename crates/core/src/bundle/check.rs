//! What the fields of a manifest must say about each other.

use std::collections::{HashMap, HashSet};

use super::manifest::{
    FILE_NAME, LIMIT_FILE_BYTES, LIMIT_FILES, LIMIT_GOLDEN_ROWS, Manifest, Stage, StageInput, damaged,
};
use crate::error::{Code, Error, Result};
use crate::names;
use crate::signature::{Column, Kind, MAX_COLUMNS, Signature};

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
        for file in self.stages.iter().map(|s| &s.graph).chain(self.golden.iter().map(|g| &g.file)) {
            if !self.files.contains_key(file) {
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
        let [stage] = self.stages.as_slice() else {
            return Err(Error::new(
                Code::BundleUnsupported,
                format!("{FILE_NAME} has {} stages; this version reads one", self.stages.len()),
            ));
        };
        check_inputs(&self.signature, stage)?;
        check_outputs(&self.signature, stage)?;
        check_file_name(&stage.graph)?;
        if let Some(golden) = &self.golden {
            check_file_name(&golden.file)?;
            if golden.rows == 0 || golden.rows > LIMIT_GOLDEN_ROWS {
                return Err(damaged(format!("has {} golden rows; 1 to {LIMIT_GOLDEN_ROWS} are allowed", golden.rows)));
            }
            if golden.file == stage.graph {
                return Err(damaged("keeps its golden rows in the file of its graph"));
            }
        }
        self.check_files()
    }

    fn check_files(&self) -> Result<()> {
        if self.files.len() > LIMIT_FILES {
            return Err(damaged(format!("lists more than {LIMIT_FILES} files")));
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
            if entry.bytes > LIMIT_FILE_BYTES {
                return Err(damaged(format!("lists {file} with more than {LIMIT_FILE_BYTES} bytes")));
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

fn check_inputs(signature: &Signature, stage: &Stage) -> Result<()> {
    if stage.inputs.len() > 2 * MAX_COLUMNS {
        return Err(damaged(format!("has more than {} graph inputs", 2 * MAX_COLUMNS)));
    }
    let columns: HashMap<&str, &Column> = signature.inputs.iter().map(|c| (c.name.as_str(), c)).collect();
    let (mut names, mut used, mut valid) = (HashSet::new(), HashSet::new(), HashSet::new());
    for input in &stage.inputs {
        if !names.insert(input.name.as_str()) {
            return Err(damaged(format!("has the graph input \"{}\" twice", input.name)));
        }
        for name in &input.columns {
            let column = find(&columns, name, input)?;
            check_column(column, input)?;
            if !used.insert(name.as_str()) {
                return Err(damaged(format!("feeds the column \"{name}\" into the graph twice")));
            }
        }
        match &input.valid {
            None if input.columns.is_empty() => {
                return Err(damaged(format!("has the graph input \"{}\" with neither columns nor valid", input.name)));
            }
            None => {}
            Some(_) if !input.columns.is_empty() => {
                return Err(damaged(format!("has the graph input \"{}\" with both columns and valid", input.name)));
            }
            Some(name) => {
                let column = find(&columns, name, input)?;
                if !has_valid_input(column) || input.kind != Kind::Bool {
                    return Err(damaged(format!(
                        "has the graph input \"{}\", which is not a boolean for a nullable string, date or timestamp",
                        input.name
                    )));
                }
                if !valid.insert(name.as_str()) {
                    return Err(damaged(format!("has two inputs with the validity of the column \"{name}\"")));
                }
            }
        }
    }
    for column in &signature.inputs {
        let name = column.name.as_str();
        if has_valid_input(column) && used.contains(name) != valid.contains(name) {
            return Err(damaged(format!(
                "must feed the nullable column \"{name}\" and its validity both into the graph, or neither"
            )));
        }
    }
    Ok(())
}

fn find<'a>(columns: &HashMap<&str, &'a Column>, name: &str, input: &StageInput) -> Result<&'a Column> {
    columns.get(name).copied().ok_or_else(|| {
        damaged(format!("feeds \"{name}\" into the graph input \"{}\", but the signature lacks it", input.name))
    })
}

/// Checks one column against the input it is in.
fn check_column(column: &Column, input: &StageInput) -> Result<()> {
    let element = graph_element(column);
    if element != input.kind {
        return Err(damaged(format!(
            "has the graph input \"{}\" as {}; the column \"{}\" in it is {}",
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

fn check_outputs(signature: &Signature, stage: &Stage) -> Result<()> {
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
