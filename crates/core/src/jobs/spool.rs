//! A large body on its way in: written to a file as it comes, and judged part by part.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::catalog::Served;
use crate::error::{Code, Error, Result};
use crate::values::arrow_stream::StreamReader;
use crate::values::{RowBuffer, arrow_in};

use super::files::{Files, Spooled};

/// Rows judged at a time.
const PART_ROWS: usize = 8_192;

/// A body of which a part has come.
pub struct Spool {
    spooled: Spooled,
    file: File,
    written: u64,
    digest: Sha256,
    stream: StreamReader,
    judge: Judge,
}

/// A body that has come whole, and is on the disk.
pub struct Whole {
    pub file: Spooled,
    pub digest: [u8; 32],
    pub rows: usize,
}

/// What of a body is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one record batch, in bytes.
    pub batch_bytes: usize,
    /// Of all rows.
    pub rows: usize,
}

impl Spool {
    /// Begins a body of at least so many bytes, for which there is room then. `digest` is of what stands before it.
    ///
    /// # Errors
    /// `job_store_full`, `job_store_failed`.
    pub fn begin(files: &Arc<Files>, served: Arc<Served>, bytes: u64, limits: Limits, digest: Sha256) -> Result<Self> {
        let (spooled, file) = files.begin(bytes)?;
        let stream = StreamReader::new(limits.batch_bytes);
        let judge = Judge { buffer: served.batcher.spare_buffer(), served, rows: 0, limit_rows: limits.rows };
        Ok(Self { spooled, file, written: 0, digest, stream, judge })
    }

    /// Takes the next bytes. Writes the disk.
    ///
    /// # Errors
    /// Those of the rows; `body_too_large`, `too_many_rows`, `job_store_full`, `job_store_failed`.
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.written + bytes.len() as u64;
        if written > self.spooled.bytes() {
            self.spooled.reserve(written - self.spooled.bytes())?;
        }
        self.digest.update(bytes);
        let judge = &mut self.judge;
        self.stream.take(bytes, |batch| judge.take(batch))?;
        self.file.write_all(bytes).map_err(|e| self.spooled.failed(&e))?;
        self.written = written;
        Ok(())
    }

    /// Bytes of it that are in memory.
    pub fn held_bytes(&self) -> usize {
        self.stream.held_bytes()
    }

    /// Ends the body, which is on the disk then.
    ///
    /// # Errors
    /// As [`Spool::take`].
    pub fn finish(mut self) -> Result<Whole> {
        let schema = self.stream.finish()?;
        if self.judge.rows == 0 {
            // No row shows whether the columns fit; the schema does.
            let plan = &self.judge.served.batcher.model.plan;
            arrow_in::read_batches(&schema, &[], plan, &mut self.judge.buffer, 0)?;
        }
        self.spooled.settle(&self.file)?;
        let rows = self.judge.rows;
        self.judge.served.batcher.give_back(self.judge.buffer);
        Ok(Whole { file: self.spooled, digest: self.digest.finalize().into(), rows })
    }
}

/// Reads rows as they will be read when they are scored, and forgets them.
struct Judge {
    served: Arc<Served>,
    buffer: RowBuffer,
    rows: usize,
    limit_rows: usize,
}

impl Judge {
    fn take(&mut self, batch: &arrow_array::RecordBatch) -> Result<()> {
        if batch.num_rows() > self.limit_rows.saturating_sub(self.rows) {
            let message = format!("the job has more than {} rows", self.limit_rows);
            return Err(Error::new(Code::TooManyRows, message).hint("submit several jobs, or raise limit_job_rows"));
        }
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = PART_ROWS.min(batch.num_rows() - start);
            let plan = &self.served.batcher.model.plan;
            arrow_in::read_part(&batch.slice(start, rows), self.rows, plan, &mut self.buffer)?;
            self.buffer.clear();
            self.rows += rows;
            start += rows;
        }
        Ok(())
    }
}
