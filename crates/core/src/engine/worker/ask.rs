//! One batch: a question to a worker, and the wait for its answer.
//!
//! While it waits, the server looks up every few milliseconds: has the process ended, is it over its time, has the
//! deadline passed, does anybody still wait?

use std::ops::Range;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;

use crate::engine::Callers;
use crate::values::RowBuffer;

use super::channel::{Heard, SLICE};
use super::frame::{FLAG_INTERRUPTED, FLAG_KEPT, Frame, Kind};
use super::memory::{Memory, Use};
use super::process::Process;
use super::question::Unwritable;
use super::{Reason, Spec};

/// How long code that was interrupted may take to come back.
const GRACE: Duration = Duration::from_secs(1);
/// Most bytes of one answer.
const LIMIT_ANSWER_BYTES: u64 = 1 << 30;

/// Why a batch has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The model's code raised this. The worker lives on.
    Raised(String),
    /// Nobody waits any more. The worker lives on.
    GivenUp,
    /// The rows fit into no message. The worker has not seen them.
    Unwritable(Unwritable),
    /// The worker ended before it had the rows.
    Unsent,
    /// The worker is of no use any more.
    Lost(Reason, String),
}

impl Process {
    /// Has the worker score some rows.
    ///
    /// # Errors
    /// Why it has not. After [`Failure::Lost`] and [`Failure::Unsent`] it is to be killed.
    pub fn ask(
        &mut self,
        spec: &Spec,
        rows: &RowBuffer,
        range: &Range<usize>,
        callers: &dyn Callers,
    ) -> Result<RecordBatch, Failure> {
        self.sequence += 1;
        self.put_question(spec, rows, range)?;
        let mut watch = Watch::new(spec, callers);
        loop {
            match self.channel.receive() {
                Heard::Frame(frame) => {
                    if let Some(answer) = self.heard(&frame, range.len(), watch.interrupted.is_some()) {
                        return answer;
                    }
                }
                Heard::Silence => {}
                Heard::Closed => return Err(Failure::Lost(Reason::Died, self.why_gone())),
                Heard::Garbled => return Err(garbled("does not keep to the protocol")),
            }
            watch.look_up(self, spec)?;
        }
    }

    fn put_question(&mut self, spec: &Spec, rows: &RowBuffer, range: &Range<usize>) -> Result<(), Failure> {
        let bytes = spec.questions.bytes(rows, range).ok_or(Failure::Unwritable(Unwritable::Plan))?;
        if self.questions.as_ref().is_none_or(|memory| memory.len() < bytes) {
            let memory = Memory::new(Use::Questions, bytes).map_err(|_| Failure::Unwritable(Unwritable::Memory))?;
            self.share(Use::Questions, memory).map_err(|_| Failure::Unsent)?;
        }
        let Some(memory) = &mut self.questions else { return Err(Failure::Unwritable(Unwritable::Plan)) };
        memory.set_word(0);
        let size = spec.questions.write(rows, range, memory.bytes_mut()).map_err(Failure::Unwritable)?;
        let frame = Frame::new(Kind::Batch, self.sequence, size as u64, range.len() as u64);
        self.channel.send(&frame, None).map_err(|_| Failure::Unsent)?;
        self.batches += 1;
        Ok(())
    }

    /// What a frame means to the batch; `None` if it goes on.
    fn heard(&mut self, frame: &Frame, rows: usize, interrupted: bool) -> Option<Result<RecordBatch, Failure>> {
        match frame.kind {
            Kind::Pong => return None,
            _ if frame.sequence != self.sequence => {}
            Kind::Answer => return Some(self.take_answer(frame, rows)),
            Kind::Failed => {
                let text = self.text(frame.size);
                self.forget_kept(frame);
                let given_up = interrupted && frame.flags & FLAG_INTERRUPTED != 0;
                return Some(Err(if given_up { Failure::GivenUp } else { Failure::Raised(text) }));
            }
            Kind::Grow if frame.size <= LIMIT_ANSWER_BYTES => {
                let bytes = usize::try_from(frame.size).unwrap_or(usize::MAX);
                return match Memory::new(Use::Answers, bytes).and_then(|memory| self.share(Use::Answers, memory)) {
                    Ok(()) => None,
                    Err(error) => Some(Err(Failure::Lost(Reason::Died, format!("has no room to answer: {error}")))),
                };
            }
            Kind::Grow => return Some(Err(garbled("wants to answer with more than a gigabyte"))),
            _ => {}
        }
        Some(Err(garbled("does not keep to the protocol")))
    }

    fn take_answer(&mut self, frame: &Frame, rows: usize) -> Result<RecordBatch, Failure> {
        let copy = usize::try_from(frame.size).ok().zip(self.answers.as_ref()).and_then(|(n, memory)| memory.copy(n));
        let Some(message) = copy else { return Err(garbled("answers from memory it does not have")) };
        self.forget_kept(frame);
        let batch = self.reader.read(message, rows);
        batch.map_err(|what| garbled(&format!("gave an answer that cannot be read: {what}")))
    }

    /// The model has kept the question: what it keeps must not change under it.
    fn forget_kept(&mut self, frame: &Frame) {
        if frame.flags & FLAG_KEPT != 0 {
            self.questions = None;
        }
    }
}

fn garbled(what: &str) -> Failure {
    Failure::Lost(Reason::Garbled, what.to_owned())
}

/// What is looked at while a batch is under way.
struct Watch<'a> {
    callers: &'a dyn Callers,
    began: Instant,
    next: Instant,
    interrupted: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(spec: &Spec, callers: &'a dyn Callers) -> Self {
        let began = Instant::now();
        // A timeout below a slice is looked for at the first chance.
        let next = began + SLICE.min(spec.batch_timeout());
        Self { callers, began, next, interrupted: None }
    }

    fn look_up(&mut self, process: &mut Process, spec: &Spec) -> Result<(), Failure> {
        let now = Instant::now();
        if now < self.next {
            return Ok(());
        }
        self.next = now + SLICE;
        // A child of its own may hold the channel open: the end of the channel is not all there is to see.
        if process.has_ended() && process.channel.is_quiet() {
            return Err(Failure::Lost(Reason::Died, process.why_gone()));
        }
        let cap = spec.settings.worker_memory_bytes;
        if cap > 0 && process.resident_bytes() > cap.saturating_mul(2) {
            return Err(Failure::Lost(Reason::Memory, format!("took over twice its {cap} bytes of memory")));
        }
        if let Some(since) = self.interrupted {
            if now.saturating_duration_since(since) > GRACE {
                let what = "did not stop when nobody waited any more";
                return Err(Failure::Lost(Reason::Abandoned, what.to_owned()));
            }
        } else if now.saturating_duration_since(self.began) > spec.batch_timeout() {
            process.show_where_it_is();
            let limit = spec.settings.worker_timeout_s;
            return Err(Failure::Lost(Reason::Stuck, format!("was stuck: it took over {limit} s for one batch")));
        } else if !self.callers.wait() || self.callers.deadline().is_some_and(|deadline| deadline <= now) {
            if let Some(memory) = &process.questions {
                memory.set_word(process.sequence);
            }
            process.interrupt();
            self.interrupted = Some(now);
        }
        Ok(())
    }
}
