//! A bounded reader of protobuf messages: flat, without recursion, without copies.
//!
//! It is stricter than protobuf. A field that the schema does not list, that has another wire type, or
//! that is given twice where once is meant is a fault, because a second reader may take another one of
//! the two than we audited.

/// What is wrong with a graph, and where, once that is known.
#[derive(Debug)]
pub struct Fault {
    pub what: String,
    pub place: Option<String>,
}

/// Result with a [`Fault`].
pub type Checked<T> = Result<T, Fault>;

/// A fault whose place is added by the caller.
pub fn fault(what: impl Into<String>) -> Fault {
    Fault { what: what.into(), place: None }
}

impl Fault {
    /// Says where, unless something nearer has said it already.
    #[must_use]
    pub fn at(mut self, place: impl FnOnce() -> String) -> Self {
        self.place.get_or_insert_with(place);
        self
    }
}

/// The wire form of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Varint,
    Fixed32,
    Fixed64,
    Bytes,
}

/// A field of a message: its number, wire form, and whether it may be repeated.
pub struct Known(pub u32, pub Wire, pub bool);

/// The fields of a message.
pub struct Schema {
    pub name: &'static str,
    pub fields: &'static [Known],
}

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A number, whatever its wire form.
    Number(u64),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// A number as the signed one it stands for.
    pub fn int(self) -> i64 {
        match self {
            Value::Number(n) => n.cast_signed(),
            Value::Bytes(_) => 0,
        }
    }

    /// Bytes; empty for a number, which the schema rules out where this is called.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Number(_) => &[],
        }
    }

    /// A string.
    pub fn text(self) -> Checked<&'a str> {
        std::str::from_utf8(self.bytes()).map_err(|_| fault("a name is not UTF-8"))
    }
}

/// Reads the fields of one message, in order.
pub struct Fields<'a> {
    rest: &'a [u8],
    schema: &'static Schema,
    /// Bit n: the field n, which may be there once, was there.
    seen: u64,
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8], schema: &'static Schema) -> Self {
        Self { rest: bytes, schema, seen: 0 }
    }

    /// The next field: its number and value.
    pub fn next(&mut self) -> Checked<Option<(u32, Value<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let (number, wire) = (key >> 3, key & 7);
        let known = self.schema.fields.iter().find(|k| u64::from(k.0) == number);
        let Some(&Known(number, form, repeated)) = known else {
            return Err(fault(format!("{} has a field {number}, which is not ONNX as we know it", self.schema.name)));
        };
        let bit = 1_u64.checked_shl(number).unwrap_or(0);
        if !repeated && self.seen & bit != 0 {
            return Err(fault(format!("{} has its field {number} twice", self.schema.name)));
        }
        self.seen |= bit;
        let value = match (wire, form) {
            (0, Wire::Varint) => Value::Number(self.varint()?),
            (1, Wire::Fixed64) => Value::Number(u64::from_le_bytes(self.array()?)),
            (5, Wire::Fixed32) => Value::Number(u64::from(u32::from_le_bytes(self.array()?))),
            (2, Wire::Bytes) => Value::Bytes(self.slice()?),
            (2, _) if repeated => Value::Bytes(self.slice()?),
            _ => return Err(fault(format!("{} has its field {number} in another wire form", self.schema.name))),
        };
        Ok(Some((number, value)))
    }

    /// What is left to read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn varint(&mut self) -> Checked<u64> {
        let (value, rest) = varint(self.rest).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(value)
    }

    fn array<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*head)
    }

    fn slice(&mut self) -> Checked<&'a [u8]> {
        let bytes = usize::try_from(self.varint()?).map_err(|_| self.malformed())?;
        let (head, rest) = self.rest.split_at_checked(bytes).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(head)
    }

    fn malformed(&self) -> Fault {
        fault(format!("{} is not readable protobuf", self.schema.name))
    }
}

/// One varint and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        // The tenth byte holds the 64th bit alone.
        if i == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return bytes.split_at_checked(i + 1).map(|(_, rest)| (value, rest));
        }
    }
    None
}

/// How many numbers a repeated field's value holds, packed or not.
pub fn count_numbers(value: Value<'_>, wire: Wire) -> Checked<u64> {
    let Value::Bytes(bytes) = value else { return Ok(1) };
    let width = match wire {
        Wire::Fixed32 => 4,
        Wire::Fixed64 => 8,
        Wire::Varint | Wire::Bytes => {
            if bytes.last().is_some_and(|b| *b >= 0x80) {
                return Err(fault("a list of numbers is cut off"));
            }
            return Ok(bytes.iter().filter(|b| **b < 0x80).count() as u64);
        }
    };
    if bytes.len() % width != 0 {
        return Err(fault("a list of numbers is cut off"));
    }
    Ok((bytes.len() / width) as u64)
}

/// Appends the integers of a repeated field's value, packed or not; more than `limit` are a fault.
pub fn push_ints(value: Value<'_>, into: &mut Vec<i64>, limit: usize) -> Checked<()> {
    let mut rest = match value {
        Value::Number(n) => {
            into.push(n.cast_signed());
            &[]
        }
        Value::Bytes(bytes) => bytes,
    };
    while !rest.is_empty() {
        let (number, after) = varint(rest).ok_or_else(|| fault("a list of numbers is not readable"))?;
        into.push(number.cast_signed());
        rest = after;
        if into.len() > limit {
            break;
        }
    }
    if into.len() > limit {
        return Err(fault(format!("a list has more than {limit} numbers")));
    }
    Ok(())
}

/// Appends a field of bytes: a string, a message.
pub fn put_bytes(into: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(into, u64::from(number) << 3 | 2);
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

/// Appends a field that is a number.
pub fn put_number(into: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(into, u64::from(number) << 3);
    put_varint(into, value);
}

fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    let byte = |value: u64| (value & 0x7f) as u8;
    while value >= 0x80 {
        into.push(byte(value) | 0x80);
        value >>= 7;
    }
    into.push(byte(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = Schema {
        name: "Test",
        fields: &[Known(1, Wire::Varint, false), Known(2, Wire::Bytes, true), Known(3, Wire::Varint, true)],
    };

    fn read(bytes: &[u8]) -> Checked<Vec<u32>> {
        let mut fields = Fields::new(bytes, &SCHEMA);
        let mut numbers = Vec::new();
        while let Some((number, _)) = fields.next()? {
            numbers.push(number);
        }
        Ok(numbers)
    }

    #[test]
    fn reads_what_the_schema_lists() {
        assert_eq!(read(&[0x08, 5, 0x12, 2, b'a', b'b', 0x12, 0, 0x1a, 2, 1, 2, 0x18, 9]).unwrap(), [1, 2, 2, 3, 3]);
    }

    #[test]
    fn refuses_the_rest() {
        for (bytes, what) in [
            (&[0x08][..], "not readable"),
            (&[0x08, 0xff], "not readable"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "not readable"),
            (&[0x12, 5, 1], "not readable"),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "not readable"),
            (&[0x08, 1, 0x08, 2], "twice"),
            (&[0x20, 1], "not ONNX"),
            (&[0x00, 1], "not ONNX"),
            (&[0x0b, 1], "wire form"),
            (&[0x10, 1], "wire form"),
            (&[0x0a, 1, 1], "wire form"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.what.contains(what), "{bytes:?}: {}", error.what);
        }
    }

    #[test]
    fn counts_and_reads_packed_numbers() {
        assert_eq!(count_numbers(Value::Bytes(&[1, 0x80, 1, 2]), Wire::Varint).unwrap(), 3);
        assert_eq!(count_numbers(Value::Bytes(&[0; 16]), Wire::Fixed64).unwrap(), 2);
        assert!(count_numbers(Value::Bytes(&[0; 15]), Wire::Fixed64).is_err());
        assert!(count_numbers(Value::Bytes(&[0x80]), Wire::Varint).is_err());
        let mut ints = Vec::new();
        push_ints(Value::Bytes(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), &mut ints, 9)
            .unwrap();
        assert_eq!(ints, [1, -1]);
        assert!(push_ints(Value::Bytes(&[1; 10]), &mut ints, 9).is_err());
    }
}
