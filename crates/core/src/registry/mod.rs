//! The registry: bundles under `name@version` and aliases, in a folder.
//!
//! ```text
//! <registry>/<name>/<version>/bundle.json    a version exists once this file does
//! <registry>/<name>/aliases/<alias>          text: the version it points at
//! <registry>/.names/<name in lower case>     text: the name as written, and its highest version
//! <registry>/.names/.lock                    held while names and numbers are given out
//! ```
//!
//! Names come into paths only after [`names`](crate::names) has checked them, and links are not followed
//! below the registry's folder.

mod draft;
mod files;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bundle::manifest::{FILE_NAME, LIMIT_MANIFEST_BYTES};
use crate::bundle::read::read_file;
use crate::error::{Code, Error, Result};
use crate::names::{self, Reference, Selector};
use crate::suggest;

pub use draft::Draft;
use files::unusable;

/// The name of a registry's folder where nobody gives another.
pub const FOLDER_NAME: &str = ".monorail";
/// The folder of a model's aliases, which no version can be called.
const ALIASES: &str = "aliases";

/// Where the registry is: the folder given, else the one of `MONORAIL_REGISTRY` (`variable`), else the
/// nearest `.monorail/` upwards from `here`, else `.monorail/` in `here`, which the first save makes.
pub fn find_root(given: Option<&Path>, variable: Option<&OsStr>, here: &Path) -> PathBuf {
    if let Some(path) = given {
        return here.join(path);
    }
    if let Some(path) = variable.filter(|v| !v.is_empty()) {
        return here.join(path);
    }
    let nearest = here.ancestors().map(|folder| folder.join(FOLDER_NAME)).find(|folder| folder.is_dir());
    nearest.unwrap_or_else(|| here.join(FOLDER_NAME))
}

/// A folder of bundles.
#[derive(Clone, Debug)]
pub struct Registry {
    root: PathBuf,
}

/// One version, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub name: String,
    pub version: u64,
    /// The bundle's folder.
    pub folder: PathBuf,
}

/// A model and what there is of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub name: String,
    pub versions: Vec<ListedVersion>,
    pub aliases: BTreeMap<String, u64>,
}

/// A version, and when it was saved (empty if its manifest does not say).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedVersion {
    pub version: u64,
    pub created: String,
}

impl Registry {
    /// The registry in `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the folder is this user's and nobody else may enter it, so that code in it may run.
    pub fn is_trusted(&self) -> bool {
        // SAFETY: `geteuid` takes nothing, cannot fail and touches no memory.
        let user = unsafe { libc::geteuid() };
        fs::symlink_metadata(&self.root).is_ok_and(|m| m.is_dir() && m.uid() == user && m.mode() & 0o777 == 0o700)
    }

    /// Every model with at least one version, sorted by name.
    ///
    /// # Errors
    /// `registry_unusable`.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut models = Vec::new();
        for name in self.names()? {
            let versions = self.versions(&name)?;
            if versions.is_empty() {
                continue;
            }
            let aliases = self.aliases(&name)?;
            let versions = versions
                .into_iter()
                .map(|version| ListedVersion { version, created: created(&self.folder(&name, version)) })
                .collect();
            models.push(Listed { name, versions, aliases });
        }
        Ok(models)
    }

    /// Finds a version: `flights` (the newest), `flights@3` or `flights@champion`.
    ///
    /// # Errors
    /// `name_invalid`, `unknown_model`, `unknown_version` with what there is in the hint, `registry_unusable`.
    pub fn resolve(&self, reference: &str) -> Result<Resolved> {
        let reference = Reference::parse(reference)?;
        let name = reference.name;
        let versions = self.published(&name)?;
        let missing = |what: String| -> Error {
            let aliases = self.aliases(&name).unwrap_or_default();
            Error::new(Code::UnknownVersion, format!("\"{name}\" has no {what}")).hint(there_is(&versions, &aliases))
        };
        let version = match reference.selector {
            Selector::Newest => *versions.last().ok_or_else(|| missing("version".to_owned()))?,
            Selector::Version(version) if versions.contains(&version) => version,
            Selector::Version(version) => return Err(missing(format!("version {version}"))),
            Selector::Alias(alias) => {
                let Some(&version) = self.aliases(&name)?.get(&alias) else {
                    return Err(missing(format!("alias \"{alias}\"")));
                };
                if !versions.contains(&version) {
                    return Err(missing(format!("version {version}, to which the alias \"{alias}\" points")));
                }
                version
            }
        };
        Ok(Resolved { folder: self.folder(&name, version), name, version })
    }

    /// Points an alias at a version, whatever it pointed at before.
    ///
    /// # Errors
    /// `name_invalid`, `unknown_model`, `unknown_version`, `registry_unusable`.
    pub fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<()> {
        names::check_alias(alias)?;
        self.resolve(&format!("{name}@{version}"))?;
        let folder = self.root.join(name).join(ALIASES);
        files::make_folder(&folder).map_err(unusable("make", &folder))?;
        let path = folder.join(alias);
        files::replace(&path, format!("{version}\n").as_bytes()).map_err(unusable("write", &path))
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// `name_invalid`, `unknown_model`, `unknown_version` if there is no such alias, `registry_unusable`.
    pub fn remove_alias(&self, name: &str, alias: &str) -> Result<()> {
        names::check_alias(alias)?;
        let versions = self.published(name)?;
        let aliases = self.aliases(name)?;
        if !aliases.contains_key(alias) {
            let error = Error::new(Code::UnknownVersion, format!("\"{name}\" has no alias \"{alias}\""));
            return Err(error.hint(there_is(&versions, &aliases)));
        }
        let path = self.root.join(name).join(ALIASES).join(alias);
        fs::remove_file(&path).map_err(unusable("remove", &path))
    }

    /// The folder of a version; `name` has been checked.
    fn folder(&self, name: &str, version: u64) -> PathBuf {
        self.root.join(name).join(version.to_string())
    }

    /// The names that have a folder, exactly as written, sorted.
    fn names(&self) -> Result<Vec<String>> {
        entries(&self.root, |text, kind| (kind.is_dir() && names::is_name(text)).then(|| text.to_owned()))
    }

    /// The versions that exist, least first; none for a name that does not exist.
    fn versions(&self, name: &str) -> Result<Vec<u64>> {
        let folder = self.root.join(name);
        let numbers = entries(&folder, |text, kind| if kind.is_dir() { version_number(text) } else { None })?;
        let exists = |v: &u64| fs::symlink_metadata(folder.join(v.to_string()).join(FILE_NAME)).is_ok();
        Ok(numbers.into_iter().filter(exists).collect())
    }

    /// As [`Registry::versions`], of a name that must exist and is not checked yet.
    fn published(&self, name: &str) -> Result<Vec<u64>> {
        names::check_name(name)?;
        let names = self.names()?;
        // Asking for the folder itself would find another case of the name on some file systems.
        let versions = if names.iter().any(|n| n == name) { self.versions(name)? } else { Vec::new() };
        if !versions.is_empty() {
            return Ok(versions);
        }
        let hint = match suggest::nearest(name, names.iter().map(String::as_str)) {
            Some(near) if near != name => format!("did you mean \"{near}\"?"),
            _ => "`monorail list` shows the models there are".to_owned(),
        };
        let message = format!("there is no model \"{name}\" in the registry {}", self.root.display());
        Err(Error::new(Code::UnknownModel, message).hint(hint))
    }

    /// The aliases of a name that has been checked.
    fn aliases(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let folder = self.root.join(name).join(ALIASES);
        let aliases = entries(&folder, |text, kind| {
            (kind.is_file() && names::check_alias(text).is_ok()).then(|| text.to_owned())
        })?;
        let mut found = BTreeMap::new();
        for alias in aliases {
            let path = folder.join(&alias);
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let version = version_number(text.trim()).ok_or_else(|| {
                        Error::new(Code::RegistryUnusable, format!("{} does not hold a version", path.display()))
                    })?;
                    found.insert(alias, version);
                }
                // Removed since it was listed.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(unusable("read", &path)(e)),
            }
        }
        Ok(found)
    }
}

/// The entries of a folder that `pick` picks, sorted; none if there is no such folder.
fn entries<T: Ord>(folder: &Path, pick: impl Fn(&str, fs::FileType) -> Option<T>) -> Result<Vec<T>> {
    let list = match fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unusable("list", folder)(e)),
    };
    let mut picked = Vec::new();
    for entry in list {
        let entry = entry.map_err(unusable("list", folder))?;
        let kind = entry.file_type().map_err(unusable("look at", &entry.path()))?;
        if let Some(text) = entry.file_name().to_str() {
            picked.extend(pick(text, kind));
        }
    }
    picked.sort_unstable();
    Ok(picked)
}

/// A version's number, written in its one form.
fn version_number(text: &str) -> Option<u64> {
    if !names::is_digits(text) || text.starts_with('0') {
        return None;
    }
    text.parse().ok()
}

/// When a version was saved, read leniently: a listing must not fail because of one bundle.
fn created(folder: &Path) -> String {
    #[derive(Deserialize)]
    struct Created {
        created: String,
    }
    // As a bundle's file is opened: no link is followed, and no writer of a pipe is waited for.
    let bytes = read_file(folder, FILE_NAME, LIMIT_MANIFEST_BYTES).unwrap_or_default();
    serde_json::from_slice::<Created>(&bytes).map(|c| c.created).unwrap_or_default()
}

/// What there is of a model, in words.
fn there_is(versions: &[u64], aliases: &BTreeMap<String, u64>) -> String {
    let shown: Vec<String> = versions.iter().rev().take(5).map(u64::to_string).collect();
    let more = if versions.len() > shown.len() { " and older" } else { "" };
    let aliases: Vec<String> = aliases.iter().take(10).map(|(a, v)| format!("{a} ({v})")).collect();
    let aliases = if aliases.is_empty() { "no aliases".to_owned() } else { format!("aliases {}", aliases.join(", ")) };
    format!("there are the versions {}{more}, and {aliases}", shown.join(", "))
}
