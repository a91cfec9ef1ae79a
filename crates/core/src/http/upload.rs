//! A job's body that may be larger than a request's: taken off the socket in pieces, into memory while it is short, else into
//! a file.

use std::sync::Arc;

use sha2::Sha256;

use crate::catalog::Served;
use crate::error::Result;
use crate::jobs::Jobs;
use crate::jobs::files::{SPOOL_BYTES, Spooled};
use crate::jobs::spool::{Limits, Spool};

use super::connection::{Connection, Incoming, Pulled, Request};
use super::head::Framing;
use super::predict::beside;

/// A body that has come whole.
pub enum Upload {
    /// In memory, not judged yet.
    Short(Vec<u8>),
    /// In a file, judged.
    Long { file: Spooled, digest: [u8; 32], rows: usize },
}

/// Takes a body that was left unread; `None` if the client went away. `digest` is of what stands before it.
///
/// # Errors
/// Those of its rows; `body_too_large`, `too_many_rows`, `job_store_full`, `job_store_failed`.
pub async fn take(
    connection: &mut Connection,
    request: &Request,
    jobs: &Arc<Jobs>,
    served: &Arc<Served>,
    digest: Sha256,
) -> Result<Option<Upload>> {
    let settings = &connection.event_loop.shared.settings;
    let limits = Limits { batch_bytes: settings.limit_body_bytes, rows: settings.limit_job_rows };
    let limit = settings.limit_job_body_bytes;
    let begin = |bytes: usize| {
        let (files, served, digest) = (jobs.files.clone(), served.clone(), digest.clone());
        beside(move || Spool::begin(&files, served, bytes as u64, limits, digest))
    };
    let mut incoming = Incoming::new(request, limit)?;
    let mut spool = match request.head.framing {
        // There is room for all of it before the client is told to send it.
        Framing::Length(bytes) => Some(begin(bytes).await?),
        _ => None,
    };
    if !connection.ask_for_body(request).await {
        return Ok(None);
    }
    let mut short = Vec::new();
    loop {
        let mut piece = match connection.pull(&mut incoming).await? {
            Pulled::Gone => return Ok(None),
            Pulled::End => break,
            Pulled::Piece(piece) => piece,
        };
        if spool.is_none() && short.len() + piece.len() <= SPOOL_BYTES {
            short.append(&mut piece);
            continue;
        }
        if !short.is_empty() {
            short.append(&mut piece);
            piece = std::mem::take(&mut short);
        }
        let mut taking = match spool.take() {
            Some(spool) => spool,
            None => begin(piece.len()).await?,
        };
        let taken = beside(move || taking.take(&piece).map(|()| taking)).await?;
        connection.note_aside(taken.held_bytes());
        spool = Some(taken);
    }
    let Some(spool) = spool else { return Ok(Some(Upload::Short(short))) };
    let whole = beside(move || spool.finish()).await?;
    Ok(Some(Upload::Long { file: whole.file, digest: whole.digest, rows: whole.rows }))
}
