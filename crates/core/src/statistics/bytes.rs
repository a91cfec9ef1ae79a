//! States as bytes: little-endian words behind a letter that says what they are.

use crate::error::{Code, Error, Result};

/// Writes a state.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Begins one of this kind.
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn word(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn double(&mut self, value: f64) {
        self.word(value.to_bits());
    }

    pub(super) fn wide(&mut self, value: i128) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Reads one that [`Writer`] wrote.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins, if it is of this kind.
    pub(super) fn new(bytes: &'a [u8], kind: u8) -> Result<Self> {
        let mut reader = Self(bytes);
        if reader.byte()? == kind { Ok(reader) } else { Err(damaged()) }
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| damaged())
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn word(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things that follow, each of this many bytes at least.
    pub(super) fn length(&mut self, each: usize) -> Result<usize> {
        let length = usize::try_from(self.word()?).map_err(|_| damaged())?;
        if length.checked_mul(each).is_some_and(|bytes| bytes <= self.0.len()) { Ok(length) } else { Err(damaged()) }
    }

    pub(super) fn double(&mut self) -> Result<f64> {
        Ok(f64::from_bits(self.word()?))
    }

    pub(super) fn wide(&mut self) -> Result<i128> {
        Ok(i128::from_le_bytes(self.array()?))
    }

    /// Ends; nothing may be left.
    pub(super) fn done(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged()) }
    }
}

#[cold]
pub(super) fn damaged() -> Error {
    Error::new(Code::Internal, "the bytes of a statistic are not what was written")
}
