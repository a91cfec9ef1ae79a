//! A body that was left unread: pulled off the socket piece by piece, never held whole.

use tokio::io::AsyncWriteExt;

use crate::error::Result;
use crate::http::chunks::{Chunk, Chunks, job_too_large};
use crate::http::event_loop::Phase;
use crate::http::head::Framing;

use super::{Connection, End, GO_ON, Request};

/// Bytes of a body that are pulled at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// A body that is pulled off the socket.
pub struct Incoming {
    head: usize,
    left: Left,
    limit: usize,
    /// Bytes that have come.
    taken: usize,
}

impl Incoming {
    /// The body of a request, of so many bytes at most.
    ///
    /// # Errors
    /// `body_too_large`.
    pub fn new(request: &Request, limit: usize) -> Result<Self> {
        let left = match request.head.framing {
            Framing::Length(length) if length > limit => return Err(job_too_large(limit)),
            Framing::Length(length) => Left::Bytes(length),
            Framing::None => Left::Bytes(0),
            Framing::Chunked => Left::Chunks(Chunks::default()),
        };
        Ok(Self { head: request.head.length, left, limit, taken: 0 })
    }
}

/// How the end of a body is told.
enum Left {
    /// By so many bytes that are to come.
    Bytes(usize),
    Chunks(Chunks),
}

/// What came of pulling.
pub enum Pulled {
    Piece(Vec<u8>),
    End,
    /// The client went away.
    Gone,
}

impl Connection {
    /// Has a client that waits for it send its body; false if the client went away.
    pub async fn ask_for_body(&mut self, request: &Request) -> bool {
        let waits = request.head.expect_continue && self.input.len() == request.head.length;
        !waits || self.stream.write_all(GO_ON).await.is_ok()
    }

    /// Notes how much memory is held for what has been pulled; the next pull is refused if that is too much.
    pub fn note_aside(&mut self, bytes: usize) {
        self.aside = bytes;
    }

    /// Takes the next bytes of a body, about [`PIECE_BYTES`] or what is left of it.
    ///
    /// # Errors
    /// `malformed_request`, `body_too_large`, `overloaded`.
    pub async fn pull(&mut self, incoming: &mut Incoming) -> Result<Pulled> {
        let mut piece = Vec::new();
        loop {
            let ended = self.take_arrived(incoming, &mut piece)?;
            if piece.len() >= PIECE_BYTES || (ended && !piece.is_empty()) {
                incoming.taken += piece.len();
                self.set_phase(Phase::Working);
                return Ok(Pulled::Piece(piece));
            }
            if ended {
                self.set_phase(Phase::Working);
                return Ok(Pulled::End);
            }
            match self.fill_body(piece.len(), incoming.taken).await {
                Ok(()) => {}
                Err(End::Closed) => return Ok(Pulled::Gone),
                Err(End::Refused(error)) => return Err(error),
            }
        }
    }

    /// Moves what has come of a body behind `piece`; true at its end.
    fn take_arrived(&mut self, incoming: &mut Incoming, piece: &mut Vec<u8>) -> Result<bool> {
        let (mut at, mut ended) = (incoming.head, false);
        match &mut incoming.left {
            Left::Bytes(left) => {
                let arrived = self.input.get(at..).unwrap_or_default();
                let arrived = arrived.get(..arrived.len().min(*left)).unwrap_or_default();
                piece.extend_from_slice(arrived);
                at += arrived.len();
                *left -= arrived.len();
                ended = *left == 0;
            }
            Left::Chunks(chunks) => {
                while !ended {
                    match chunks.take(self.input.get(at..).unwrap_or_default(), piece, incoming.limit)? {
                        Chunk::Took(bytes) => at += bytes,
                        Chunk::More => break,
                        Chunk::End(bytes) => {
                            at += bytes;
                            ended = true;
                        }
                    }
                }
                if incoming.taken + piece.len() > incoming.limit {
                    return Err(job_too_large(incoming.limit));
                }
                if ended {
                    incoming.left = Left::Bytes(0);
                }
            }
        }
        self.input.drain(incoming.head..at);
        Ok(ended)
    }
}
