//! An answer that is a file: sent in pieces, each when the client has taken the last one.

use std::fs::File;
use std::io::Read;

use crate::error::{Code, Error};

use super::connection::Connection;
use super::predict::beside;

/// Bytes held of a file at a time.
const PIECE_BYTES: u64 = 256 * 1024;

/// Sends so many bytes of a file behind the answer's head; false if the client went away, or the file is shorter.
pub async fn send(connection: &mut Connection, file: File, bytes: u64) -> bool {
    let (mut file, mut left) = (file, bytes);
    while left > 0 {
        let read = beside(move || {
            let mut piece = Vec::new();
            let mut part = Read::by_ref(&mut file).take(left.min(PIECE_BYTES));
            part.read_to_end(&mut piece).map_err(|e| Error::new(Code::JobStoreFailed, e.to_string()))?;
            Ok((file, piece))
        });
        // The head is sent: what fails now can only be told by an end that comes too early.
        let Ok((next, piece)) = read.await else { return false };
        if piece.is_empty() {
            return false;
        }
        (file, left) = (next, left.saturating_sub(piece.len() as u64));
        connection.output.extend_from_slice(&piece);
        if !connection.flush().await {
            return false;
        }
    }
    true
}
