//! Drafts: a version's number claimed, its files written, and then published all at once.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::files::{self, Lock, unusable};
use super::{Registry, entries, version_number};
use crate::bundle::manifest::{FILE_NAME, Manifest};
use crate::bundle::read::{Bundle, describe_file};
use crate::error::{Code, Error, Result};
use crate::{clock, names};

/// The folder of claimed names, which no model can be called.
const CLAIMS: &str = ".names";

/// A version whose number is claimed and which is not published yet.
#[derive(Clone, Debug)]
pub struct Draft {
    registry: Registry,
    name: String,
    version: u64,
    folder: PathBuf,
}

/// What the file of a claimed name says.
struct Claim {
    name: String,
    /// The highest version ever published, so that a number stays used when its folder is deleted.
    highest: u64,
}

impl Registry {
    /// Claims the next version number of a name, with a folder to write into. Makes the registry's
    /// folder, for this user alone, if it is not there.
    ///
    /// # Errors
    /// `name_invalid`, `name_conflict`, `registry_unusable`.
    pub fn draft(&self, name: &str) -> Result<Draft> {
        names::check_name(name)?;
        files::make_private_folder(&self.root).map_err(unusable("make", &self.root))?;
        let _lock = self.lock()?;
        let highest = self.claim(name)?;
        let model = self.root.join(name);
        files::make_folder(&model).map_err(unusable("make", &model))?;
        // Drafts of others count: their numbers are taken too.
        let taken = entries(&model, |text, _| version_number(text))?.into_iter().max().unwrap_or(0);
        let mut version = highest.max(taken);
        loop {
            version = version.checked_add(1).ok_or_else(|| {
                Error::new(Code::RegistryUnusable, format!("\"{name}\" has used up its version numbers"))
            })?;
            let folder = self.folder(name, version);
            if files::make_folder(&folder).map_err(unusable("make", &folder))? {
                return Ok(Draft { registry: self.clone(), name: name.to_owned(), version, folder });
            }
        }
    }

    /// The lock under which names and numbers are given out.
    fn lock(&self) -> Result<Lock> {
        let folder = self.root.join(CLAIMS);
        files::make_folder(&folder).map_err(unusable("make", &folder))?;
        let path = folder.join(".lock");
        files::lock(&path).map_err(unusable("lock", &path))
    }

    fn claim_path(&self, name: &str) -> PathBuf {
        self.root.join(CLAIMS).join(name.to_ascii_lowercase())
    }

    /// Claims a name against all others that differ only in case; gives its highest version so far.
    fn claim(&self, name: &str) -> Result<u64> {
        let conflict = |other: &str| {
            Error::new(Code::NameConflict, format!("\"{name}\" differs only in case from the model \"{other}\""))
                .hint(format!("save it as \"{other}\", or under another name"))
        };
        // Folders that were copied in by hand have no claim yet.
        if let Some(other) = self.names()?.iter().find(|n| *n != name && n.eq_ignore_ascii_case(name)) {
            return Err(conflict(other));
        }
        let path = self.claim_path(name);
        loop {
            match self.read_claim(name)? {
                Some(claim) if claim.name == name => return Ok(claim.highest),
                Some(claim) => return Err(conflict(&claim.name)),
                None => {}
            }
            // Exclusive even where the lock does not reach, such as another machine on a shared folder.
            match files::create_exclusively(&path, format!("{name}\n0\n").as_bytes()) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(unusable("write", &path)(e)),
                Ok(()) => return Ok(0),
            }
        }
    }

    fn read_claim(&self, name: &str) -> Result<Option<Claim>> {
        let path = self.claim_path(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unusable("read", &path)(e)),
        };
        let mut lines = text.lines();
        match (lines.next(), lines.next().map(str::parse)) {
            (Some(name), Some(Ok(highest))) if names::is_name(name) => {
                Ok(Some(Claim { name: name.to_owned(), highest }))
            }
            _ => Err(Error::new(Code::RegistryUnusable, format!("{} does not hold a name", path.display()))),
        }
    }
}

impl Draft {
    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version claimed.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The folder to write the bundle's files into.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Publishes what was written: fills in `name`, `version`, `files` and, where they are missing,
    /// `created` and `monorail`; audits all of it; writes `bundle.json` last and exclusively.
    ///
    /// # Errors
    /// `bundle_damaged`, `bundle_unsupported`, `graph_refused`, `signature_invalid` for what was written;
    /// `version_exists` if it was published already; `registry_unusable`.
    pub fn publish(&self, manifest_json: &str) -> Result<Manifest> {
        let mut fields: Map<String, Value> = serde_json::from_str(manifest_json)
            .map_err(|e| Error::new(Code::BundleDamaged, format!("{FILE_NAME} cannot be read: {e}")))?;
        fields.insert("name".to_owned(), self.name.clone().into());
        fields.insert("version".to_owned(), self.version.into());
        fields.insert("files".to_owned(), self.describe_files()?.into());
        fields.entry("created").or_insert_with(|| clock::utc_now().into());
        fields.entry("monorail").or_insert_with(|| env!("CARGO_PKG_VERSION").into());
        let mut text = serde_json::to_string_pretty(&fields)
            .map_err(|e| Error::new(Code::Internal, format!("{FILE_NAME} cannot be written: {e}")))?;
        text.push('\n');
        let bundle = Bundle::from_manifest(&self.folder, text)?;
        let path = self.folder.join(FILE_NAME);
        {
            let _lock = self.registry.lock()?;
            self.raise_highest()?;
            files::create_exclusively(&path, bundle.manifest_json.as_bytes()).map_err(|e| match e.kind() {
                ErrorKind::AlreadyExists => {
                    Error::new(Code::VersionExists, format!("{}@{} is published already", self.name, self.version))
                }
                _ => unusable("write", &path)(e),
            })?;
        }
        for folder in self.folder.ancestors().skip(1).take(2) {
            files::sync_folder(folder).map_err(unusable("sync", folder))?;
        }
        Ok(bundle.manifest)
    }

    /// Gives up: removes the folder, and the name if nothing else is under it. A number that was not
    /// published may be given out again.
    ///
    /// # Errors
    /// `version_exists` if it was published, `registry_unusable`.
    pub fn discard(&self) -> Result<()> {
        let _lock = self.registry.lock()?;
        if fs::symlink_metadata(self.folder.join(FILE_NAME)).is_ok() {
            let message = format!("{}@{} is published and cannot be discarded", self.name, self.version);
            return Err(Error::new(Code::VersionExists, message));
        }
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(unusable("remove", &self.folder)(e)),
            _ => {}
        }
        let never_published = self.registry.read_claim(&self.name)?.is_some_and(|c| c.highest == 0);
        // Only an empty folder can be removed so, and nobody adds to it while we hold the lock.
        if never_published && fs::remove_dir(self.registry.root.join(&self.name)).is_ok() {
            let path = self.registry.claim_path(&self.name);
            fs::remove_file(&path).map_err(unusable("remove", &path))?;
        }
        Ok(())
    }

    /// Notes that this version's number is used for good.
    fn raise_highest(&self) -> Result<()> {
        let highest = self.registry.read_claim(&self.name)?.map_or(0, |c| c.highest).max(self.version);
        let path = self.registry.claim_path(&self.name);
        files::replace(&path, format!("{}\n{highest}\n", self.name).as_bytes()).map_err(unusable("write", &path))
    }

    /// Size and digest of every file written, each synced, so that the manifest never outlives one.
    fn describe_files(&self) -> Result<Map<String, Value>> {
        let names = entries(&self.folder, |text, _| (text != FILE_NAME).then(|| text.to_owned()))?;
        let mut files = Map::new();
        for name in names {
            let entry = describe_file(&self.folder, &name)?;
            let path = self.folder.join(&name);
            fs::File::open(&path).and_then(|f| f.sync_all()).map_err(unusable("sync", &path))?;
            files.insert(name, serde_json::json!({ "sha256": entry.sha256, "bytes": entry.bytes }));
        }
        Ok(files)
    }
}
