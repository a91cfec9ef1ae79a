//! Paths of the files a worker finds: relative, plain, and the same on every file system.

use std::collections::HashMap;

use super::manifest::damaged;
use crate::error::Result;
use crate::names::shorten;

/// Most components of a path.
const LIMIT_DEPTH: usize = 16;
/// Most bytes of one component.
const LIMIT_COMPONENT_BYTES: usize = 255;

/// Checks that each path stays in its folder, and that all of them can be there at once, also where case does
/// not count.
///
/// # Errors
/// `bundle_damaged`, with the path named.
pub fn check_paths<'a>(paths: impl Iterator<Item = &'a String>) -> Result<()> {
    // What is at a path in lower case: how it is written, and whether it is a file.
    let mut taken: HashMap<String, (&'a str, bool)> = HashMap::new();
    for path in paths {
        check_path(path)?;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let (here, is_file) = (path.get(..end).unwrap_or(path), end == path.len());
            match taken.insert(here.to_lowercase(), (here, is_file)) {
                None => {}
                Some((other, false)) if !is_file && other == here => {}
                Some((other, _)) if other != here => {
                    return Err(damaged(format!(
                        "lays out \"{}\" and \"{}\", which differ only in case",
                        shorten(other),
                        shorten(here)
                    )));
                }
                Some(_) => {
                    return Err(damaged(format!("lays out \"{}\" both as a file and as a folder", shorten(here))));
                }
            }
        }
    }
    Ok(())
}

fn check_path(path: &str) -> Result<()> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= LIMIT_COMPONENT_BYTES;
    if path.split('/').all(plain) && path.split('/').count() <= LIMIT_DEPTH && !path.contains(['\0', '\\']) {
        return Ok(());
    }
    Err(damaged(format!("lays out a file at a path that is not plain: \"{}\"", shorten(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(paths: &[&str]) -> Result<()> {
        let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
        check_paths(paths.iter())
    }

    #[test]
    fn plain_paths_pass() {
        let deep = ["d"; LIMIT_DEPTH].join("/");
        check(&["model.pkl", "files/a.bin", "files/b/c", ".hidden", "Ä b\n", "...", &deep, &"x".repeat(255)]).unwrap();
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        let deep = ["d"; LIMIT_DEPTH + 1].join("/");
        let long = "ä".repeat(128);
        for path in ["", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", "./a", "a/.", "a//b", "a/", "a\\b", "a\0b"]
            .into_iter()
            .chain([deep.as_str(), long.as_str()])
        {
            let error = check(&[path]).unwrap_err();
            assert!(error.to_string().contains("not plain"), "{path:?}: {error}");
        }
    }

    #[test]
    fn paths_that_cannot_be_there_together_are_refused() {
        for (paths, words) in [
            (["a", "A"], "only in case"),
            (["Files/a", "files/b"], "only in case"),
            (["x/ä", "x/Ä"], "only in case"),
            (["a", "a/b"], "as a folder"),
            (["a/b", "a"], "as a folder"),
            (["A", "a/b"], "only in case"),
        ] {
            let error = check(&paths).unwrap_err();
            assert!(error.to_string().contains(words), "{paths:?}: {error}");
        }
    }
}
