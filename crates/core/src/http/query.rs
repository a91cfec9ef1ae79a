//! The query of a path: `name=value` pairs, each known and given once.

use std::borrow::Cow;

use crate::error::{Code, Error, Result};

/// Undoes percent-escapes; `None` where they are no UTF-8.
pub fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            rest = after;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The values of a query, in the order of the names a route knows.
///
/// # Errors
/// `malformed_request` for another name, one that is given twice, and what cannot be read.
pub fn values<const N: usize>(query: &str, known: [&str; N]) -> Result<[Option<String>; N]> {
    let mut found = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = known.iter().position(|each| *each == name).and_then(|at| found.get_mut(at));
        let value =
            decoded(value).ok_or_else(|| malformed(format!("the value of {name} in the query cannot be read")))?;
        match place {
            None => {
                let hint = format!("known are {}", known.join(", "));
                return Err(
                    malformed(format!("the query has a {}, which this path does not know", shown(name))).hint(hint)
                );
            }
            Some(Some(_)) => return Err(malformed(format!("the query gives {name} twice"))),
            Some(place) => *place = Some(value.into_owned()),
        }
    }
    Ok(found)
}

/// A number of a query, within bounds.
///
/// # Errors
/// `malformed_request`.
pub fn number(name: &str, value: Option<&str>, least: f64, most: f64) -> Result<Option<f64>> {
    let Some(value) = value else { return Ok(None) };
    let number = value.parse::<f64>().ok().filter(|number| (least..=most).contains(number));
    number.map(Some).ok_or_else(|| malformed(format!("{name} in the query is no number from {least} to {most}")))
}

fn shown(name: &str) -> String {
    crate::names::shorten(name)
}

fn malformed(message: String) -> Error {
    Error::new(Code::MalformedRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read() {
        let [id, wait] = values("id=a%2Fb&wait_s=2", ["id", "wait_s"]).unwrap();
        assert_eq!((id.as_deref(), wait.as_deref()), (Some("a/b"), Some("2")));
        assert_eq!(values("", ["id"]).unwrap(), [None]);
        assert_eq!(number("wait_s", Some("2"), 0.0, 60.0).unwrap(), Some(2.0));
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        for query in ["id=a&id=b", "other=1", "id=%ff", "id=%4"] {
            assert_eq!(values(query, ["id"]).unwrap_err().code(), Code::MalformedRequest, "{query}");
        }
        for value in ["", "x", "NaN", "-1", "61", "inf"] {
            assert!(number("wait_s", Some(value), 0.0, 60.0).is_err(), "{value}");
        }
    }
}
