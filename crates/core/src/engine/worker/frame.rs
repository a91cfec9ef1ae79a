//! Frames: the fixed 32 bytes that server and worker send each other. What the worker's side is, is in
//! `python/monorail/worker/channel.py`; the two must agree, and a test has them talk.
//!
//! No frame holds an object of any kind: numbers, and for a few of them text behind it. Rows lie in shared memory.

/// Bytes of a frame.
pub const FRAME_BYTES: usize = 32;
/// Most bytes of text behind a frame from a worker.
pub const LIMIT_TEXT_BYTES: u64 = 64 << 10;
/// Set by a worker: the model keeps the question's memory, so that the next one needs another.
pub const FLAG_KEPT: u32 = 1;
/// Set by a worker in a failure: its code was interrupted as asked.
pub const FLAG_INTERRUPTED: u32 = 2;
/// Set in a frame that hands memory over: it is for answers.
pub const FLAG_ANSWERS: u32 = 4;

macro_rules! kinds {
    ($($name:ident = $number:literal, $what:literal;)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $(#[doc = $what] $name,)* }

        impl Kind {
            const fn number(self) -> u32 { match self { $(Kind::$name => $number,)* } }

            const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Kind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    Start = 1, "To the worker, first: `size` bytes of fields follow, each with its length in 4 bytes.";
    Memory = 2, "To the worker, with a descriptor: shared memory of `size` bytes.";
    Batch = 3, "To the worker: a record batch message of `size` bytes, `rows` rows.";
    Ping = 4, "To the worker while it is idle.";
    Ready = 65, "To the server: the model is loaded.";
    Refused = 66, "To the server: the model cannot be loaded; `size` bytes of text follow.";
    Answer = 67, "To the server: a record batch message of `size` bytes.";
    Failed = 68, "To the server: the model's code raised; `size` bytes of text follow.";
    Grow = 69, "To the server: the answer needs memory of `size` bytes.";
    Pong = 70, "To the server: from the work loop.";
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub flags: u32,
    /// Which batch, or which ping, it is about.
    pub sequence: u64,
    pub size: u64,
    pub rows: u64,
}

impl Frame {
    /// A frame without flags.
    pub const fn new(kind: Kind, sequence: u64, size: u64, rows: u64) -> Self {
        Self { kind, flags: 0, sequence, size, rows }
    }

    /// Its bytes, little-endian.
    pub fn to_bytes(self) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        let head = (u64::from(self.flags) << 32 | u64::from(self.kind.number())).to_le_bytes();
        let parts = [head, self.sequence.to_le_bytes(), self.size.to_le_bytes(), self.rows.to_le_bytes()];
        for (place, part) in bytes.chunks_exact_mut(8).zip(parts) {
            place.copy_from_slice(&part);
        }
        bytes
    }

    /// The frame that bytes hold; `None` if no frame does.
    pub fn from_bytes(bytes: &[u8; FRAME_BYTES]) -> Option<Self> {
        let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        let (head, sequence, size, rows) = (words.next()?, words.next()?, words.next()?, words.next()?);
        #[expect(clippy::cast_possible_truncation, reason = "the word's two halves")]
        let (kind, flags) = (Kind::from_number(head as u32)?, (head >> 32) as u32);
        Some(Self { kind, flags, sequence, size, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire_and_strangers_do_not() {
        let frame = Frame { kind: Kind::Answer, flags: FLAG_KEPT, sequence: u64::MAX - 1, size: 1 << 40, rows: 7 };
        let bytes = frame.to_bytes();
        assert_eq!(Frame::from_bytes(&bytes), Some(frame));
        assert_eq!(bytes[..8], [67, 0, 0, 0, 1, 0, 0, 0]);
        let mut other = bytes;
        other[1] = 1;
        assert_eq!(Frame::from_bytes(&other), None);
        assert_eq!(Frame::from_bytes(&[0; FRAME_BYTES]), None);
    }
}
