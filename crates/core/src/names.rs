//! Names of models and aliases, and references such as `flights@3`: their one form.
//!
//! A name that passed here holds no separator and does not start with a dot, so it may become a path.

use crate::error::{Code, Error, Result};

/// Most bytes of a name.
pub const LIMIT_NAME_BYTES: usize = 128;

/// Whether `text` has a name's form: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= LIMIT_NAME_BYTES
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether `text` is all digits, and so means a version.
pub fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The folder of a registry in which servers keep asynchronous predictions.
const JOBS: &str = "jobs";

/// Checks a model's name.
///
/// # Errors
/// `name_invalid`.
pub fn check_name(text: &str) -> Result<()> {
    if text == JOBS {
        return Err(Error::new(Code::NameInvalid, "no model can be called \"jobs\": servers keep jobs in that folder")
            .hint("choose another name"));
    }
    if is_name(text) { Ok(()) } else { Err(invalid("model name", text)) }
}

/// Checks an alias: a name's form, and never all digits.
///
/// # Errors
/// `name_invalid`.
pub fn check_alias(text: &str) -> Result<()> {
    if !is_name(text) {
        return Err(invalid("alias", text));
    }
    if is_digits(text) {
        return Err(Error::new(Code::NameInvalid, format!("the alias \"{text}\" is all digits"))
            .hint("digits alone mean a version: put a letter in the alias"));
    }
    Ok(())
}

fn invalid(what: &str, text: &str) -> Error {
    Error::new(Code::NameInvalid, format!("\"{}\" is not a {what}", shorten(text)))
        .hint("use 1 to 128 ASCII letters, digits, periods, underscores and hyphens, the first a letter or digit")
}

/// Text for a message: its first 60 characters, control characters escaped.
pub fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

/// What comes after the `@` of a reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// A bare name: the newest version.
    Newest,
    Version(u64),
    Alias(String),
}

/// A model, or one version of it: `flights`, `flights@3`, `flights@champion`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    pub name: String,
    pub selector: Selector,
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// `name_invalid`; `unknown_version` for a number no version can have.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((name, rest)) = text.split_once('@') else {
            check_name(text)?;
            return Ok(Self { name: text.to_owned(), selector: Selector::Newest });
        };
        check_name(name)?;
        let selector = if is_digits(rest) {
            let version = rest.parse().ok().filter(|v| *v > 0 && !rest.starts_with('0')).ok_or_else(|| {
                Error::new(Code::UnknownVersion, format!("there is no version {} of \"{name}\"", shorten(rest)))
                    .hint("versions count from 1")
            })?;
            Selector::Version(version)
        } else {
            check_alias(rest)?;
            Selector::Alias(rest.to_owned())
        };
        Ok(Self { name: name.to_owned(), selector })
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.selector {
            Selector::Newest => write!(f, "{}", self.name),
            Selector::Version(version) => write!(f, "{}@{version}", self.name),
            Selector::Alias(alias) => write!(f, "{}@{alias}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for good in ["a", "A", "0", "flights", "Jobs", "jobs2", "my-model_2.1", &"x".repeat(128)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "jobs", ".", "..", ".a", "-a", "_a", "a/b", "a\\b", "a b", "ä", "a\0", "a@b", &"x".repeat(129)]
        {
            assert_eq!(check_name(bad).unwrap_err().code(), Code::NameInvalid, "{bad}");
        }
    }

    #[test]
    fn aliases_are_never_all_digits() {
        assert!(check_alias("champion").is_ok());
        assert!(check_alias("v1").is_ok());
        assert!(check_alias("007").is_err());
        assert!(check_alias("../x").is_err());
    }

    #[test]
    fn references_are_read_and_shown_alike() {
        for text in ["flights", "flights@3", "flights@champion"] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        }
        for (text, code) in [
            ("flights@", Code::NameInvalid),
            ("flights@0", Code::UnknownVersion),
            ("flights@03", Code::UnknownVersion),
            ("flights@99999999999999999999999", Code::UnknownVersion),
            ("@3", Code::NameInvalid),
            ("a/b@3", Code::NameInvalid),
            ("a@b@c", Code::NameInvalid),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err().code(), code, "{text}");
        }
    }
}
