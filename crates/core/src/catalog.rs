//! The models a server has loaded: several versions of a name side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batcher::Batcher;
use crate::error::{Code, Error, Result};
use crate::names;

/// One version of a model, served.
pub struct Served {
    /// Its place in the catalog.
    pub index: usize,
    pub name: String,
    pub version: u64,
    /// The aliases that pointed at it when it was loaded.
    pub aliases: Vec<String>,
    pub batcher: Arc<Batcher>,
    /// Most rows of one request.
    pub limit_rows: usize,
}

/// All that is served.
#[derive(Default)]
pub struct Catalog {
    served: Vec<Arc<Served>>,
    /// Per name, places in `served`, by version.
    names: BTreeMap<String, Vec<usize>>,
}

impl Catalog {
    /// Adds a version.
    pub fn add(&mut self, name: String, version: u64, aliases: Vec<String>, batcher: Arc<Batcher>, limit_rows: usize) {
        let index = self.served.len();
        let versions = self.names.entry(name.clone()).or_default();
        versions.push(index);
        self.served.push(Arc::new(Served { index, name, version, aliases, batcher, limit_rows }));
        versions.sort_by_key(|&i| self.served.get(i).map(|s| s.version));
    }

    /// Number of versions, of all names.
    pub fn len(&self) -> usize {
        self.served.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.served.is_empty()
    }

    /// Every version, in the order they were added.
    pub fn all(&self) -> &[Arc<Served>] {
        &self.served
    }

    /// Every name with its versions, oldest first.
    pub fn names(&self) -> impl Iterator<Item = (&str, Vec<&Arc<Served>>)> {
        self.names
            .iter()
            .map(|(name, places)| (name.as_str(), places.iter().filter_map(|&i| self.served.get(i)).collect()))
    }

    /// The versions of one name, oldest first.
    pub fn versions(&self, name: &str) -> Vec<&Arc<Served>> {
        self.names.get(name).into_iter().flatten().filter_map(|&i| self.served.get(i)).collect()
    }

    /// Finds `name` (the newest version), `name@version` or `name@alias`.
    ///
    /// # Errors
    /// `unknown_model` or `unknown_version`.
    pub fn find(&self, reference: &str) -> Result<&Arc<Served>> {
        let (name, selector) = match reference.split_once('@') {
            Some((name, selector)) => (name, Some(selector)),
            None => (reference, None),
        };
        let Some(places) = self.names.get(name) else {
            return Err(Error::new(Code::UnknownModel, "no model of that name is served")
                .hint("`GET /models` lists the models"));
        };
        let mut versions = places.iter().rev().filter_map(|&i| self.served.get(i));
        let found = match selector {
            None => versions.next(),
            Some(digits) if names::is_digits(digits) => {
                let version = digits.parse().ok();
                versions.find(|s| Some(s.version) == version)
            }
            Some(alias) => versions.find(|s| s.aliases.iter().any(|a| a == alias)),
        };
        found.ok_or_else(|| {
            Error::new(Code::UnknownVersion, "the model is served, but not that version or alias")
                .hint("`GET /models` lists the versions; a server has those it was started with")
        })
    }
}
