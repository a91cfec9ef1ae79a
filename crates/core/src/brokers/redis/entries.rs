//! Entries of Redis streams: ids, entries read into messages, messages written as fields.

use std::collections::HashMap;
use std::fmt;

use redis::{Cmd, RedisWrite, ToRedisArgs, Value};

use super::super::message::{Delivery, Headers, Publication};

/// The field of an entry that holds the body; all others are headers.
const BODY: &str = "body";

/// The id of an entry: milliseconds since 1970, and a number among those of the same millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    pub ms: u64,
    pub seq: u64,
}

impl EntryId {
    fn parse(text: &[u8]) -> Option<Self> {
        let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
    }

    fn text<'a>(&self, buffer: &'a mut [u8; 41]) -> &'a [u8] {
        use std::io::Write;
        let mut rest = buffer.as_mut_slice();
        // Two numbers of at most 20 digits always fit.
        let _ = write!(rest, "{}-{}", self.ms, self.seq);
        let left = rest.len();
        buffer.get(..41 - left).unwrap_or_default()
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl ToRedisArgs for EntryId {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(self.text(&mut [0; 41]));
    }
}

/// The text of a value that is some.
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        _ => None,
    }
}

/// An id as Redis gives it.
pub fn id(value: &Value) -> Option<EntryId> {
    match value {
        Value::BulkString(bytes) => EntryId::parse(bytes),
        Value::SimpleString(text) => EntryId::parse(text.as_bytes()),
        _ => None,
    }
}

/// A number as Redis gives it.
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

/// The elements of a value that is a list.
pub fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(),
        _ => Vec::new(),
    }
}

/// The fields of a value that says them by name.
pub fn named(value: Value) -> HashMap<String, Value> {
    let mut items = list(value).into_iter();
    let mut fields = HashMap::new();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        if let Some(key) = bytes(key).and_then(|key| String::from_utf8(key).ok()) {
            fields.insert(key, value);
        }
    }
    fields
}

/// The entries of the one stream that `XREADGROUP` was asked for.
pub fn of_stream(reply: Value) -> Vec<Value> {
    let entries = match reply {
        Value::Map(streams) => streams.into_iter().next().map(|(_, entries)| entries),
        reply => list(reply).into_iter().next().and_then(|stream| list(stream).into_iter().nth(1)),
    };
    entries.map(list).unwrap_or_default()
}

/// An entry as a message. One whose content was deleted is none.
pub fn delivery(entry: Value, attempts: impl FnOnce(EntryId) -> u32) -> Option<Delivery<EntryId>> {
    let mut parts = list(entry).into_iter();
    let tag = id(&parts.next()?)?;
    let fields = match parts.next()? {
        Value::Nil => return None,
        fields => list(fields),
    };
    let mut headers = Vec::with_capacity((fields.len() / 2).saturating_sub(1));
    let mut body = Vec::new();
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next().and_then(bytes), fields.next().and_then(bytes)) {
        if name.eq_ignore_ascii_case(BODY.as_bytes()) {
            body = value;
        } else {
            let name = String::from_utf8(name).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
            headers.push((name, value));
        }
    }
    Some(Delivery { tag, attempts: attempts(tag), headers: Headers(headers), body })
}

/// Appends the number of a message's fields and values, and these.
pub fn write_fields(command: &mut Cmd, publication: &Publication) {
    command.arg(publication.headers.len() * 2 + 2);
    for (name, value) in &publication.headers {
        command.arg(name.as_bytes()).arg(value.as_ref());
    }
    command.arg(BODY).arg(publication.body.as_slice());
}
