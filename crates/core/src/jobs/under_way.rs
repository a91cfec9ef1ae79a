//! What was handed out, in a file of its own: a server that starts after one that died learns from it what that one died over.
//!
//! Places of jobs, eight bytes each, the least significant first. Written before the jobs are handed out and never synced: a
//! process's death leaves it whole, and at the machine's death no job is to blame. Places whose jobs have ended mean nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Result, Seek, Write};
use std::path::Path;

/// Length of the file above which what has ended is left out.
const LIMIT_BYTES: usize = 1 << 20;

pub struct UnderWay {
    file: File,
    length: usize,
}

impl UnderWay {
    /// Opens the file in a store's folder, with the places that are in it.
    pub fn open(folder: &Path) -> Result<(Self, Vec<i64>)> {
        let path = folder.join("under_way");
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut found = Vec::new();
        file.read_to_end(&mut found)?;
        let places = found.as_chunks().0.iter().map(|place| i64::from_le_bytes(*place)).collect();
        Ok((Self { file, length: found.len() }, places))
    }

    /// Adds places; `all` gives those that are still of interest, should the file have grown long.
    pub fn add(&mut self, places: impl Iterator<Item = i64>, all: impl FnOnce() -> Vec<i64>) -> Result<()> {
        if self.length >= LIMIT_BYTES {
            self.write_anew(&all())?;
        }
        let bytes: Vec<u8> = places.flat_map(i64::to_le_bytes).collect();
        self.length += bytes.len();
        self.file.write_all(&bytes)
    }

    /// Keeps these places only.
    pub fn write_anew(&mut self, places: &[i64]) -> Result<()> {
        self.file.rewind()?;
        let bytes: Vec<u8> = places.iter().flat_map(|place| place.to_le_bytes()).collect();
        self.file.write_all(&bytes)?;
        self.file.set_len(bytes.len() as u64)?;
        self.length = bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_after_a_death_and_stays_short() {
        let folder = tempfile::tempdir().unwrap();
        let (mut under_way, found) = UnderWay::open(folder.path()).unwrap();
        assert!(found.is_empty());
        under_way.add([3, 4].into_iter(), Vec::new).unwrap();
        under_way.add([5].into_iter(), Vec::new).unwrap();
        let (mut under_way, found) = UnderWay::open(folder.path()).unwrap();
        assert_eq!(found, [3, 4, 5]);
        for place in 0..200_000 {
            under_way.add([place].into_iter(), || vec![7]).unwrap();
        }
        let (mut under_way, found) = UnderWay::open(folder.path()).unwrap();
        assert!(found.len() * 8 <= LIMIT_BYTES && found.last() == Some(&199_999));
        under_way.write_anew(&[]).unwrap();
        assert!(UnderWay::open(folder.path()).unwrap().1.is_empty());
    }
}
