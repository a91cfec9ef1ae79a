//! What is counted of jobs, for `/metrics`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::now;
use crate::metrics::head;

use super::job::State;
use super::running::Running;

/// Counters of a store's jobs. The writer counts, others read.
#[derive(Debug, Default)]
pub struct Tally {
    unfinished: AtomicU64,
    submitted: AtomicU64,
    /// By the number of the state.
    ended: [AtomicU64; State::ALL.len()],
    /// When the one came that has waited longest, as the bits of seconds since 1970; zero if none waits.
    oldest: AtomicU64,
}

impl Tally {
    pub fn set_unfinished(&self, count: u64) {
        self.unfinished.store(count, Ordering::Relaxed);
    }

    pub fn submitted(&self) {
        self.submitted.fetch_add(1, Ordering::Relaxed);
        self.retried();
    }

    pub fn retried(&self) {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
    }

    pub fn ended(&self, state: State) {
        self.unfinished.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = self.ended.get(state as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `created` of the one that has waited longest.
    pub fn set_oldest(&self, created: Option<f64>) {
        self.oldest.store(created.map_or(0, f64::to_bits), Ordering::Relaxed);
    }

    /// Writes Prometheus text.
    pub fn write(&self, text: &mut String, running: &Arc<Running>) {
        let (unfinished, running) = (self.unfinished.load(Ordering::Relaxed), running.count() as u64);
        head(text, "monorail_jobs_queued", "gauge", "Jobs that wait to be scored.");
        let _ = writeln!(text, "monorail_jobs_queued {}", unfinished.saturating_sub(running));
        head(text, "monorail_jobs_running", "gauge", "Jobs that are being scored.");
        let _ = writeln!(text, "monorail_jobs_running {running}");
        let oldest = match self.oldest.load(Ordering::Relaxed) {
            0 => 0.0,
            bits => (now() - f64::from_bits(bits)).max(0.0),
        };
        head(text, "monorail_jobs_oldest_seconds", "gauge", "Age of the oldest job that is due and has not ended.");
        let _ = writeln!(text, "monorail_jobs_oldest_seconds {oldest}");
        head(text, "monorail_jobs_submitted_total", "counter", "Jobs taken in.");
        let _ = writeln!(text, "monorail_jobs_submitted_total {}", self.submitted.load(Ordering::Relaxed));
        head(text, "monorail_jobs_ended_total", "counter", "Jobs that have ended, by state.");
        for (state, count) in State::ALL.iter().zip(&self.ended).filter(|(state, _)| state.has_ended()) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "monorail_jobs_ended_total{{state=\"{}\"}} {count}", state.as_str());
        }
    }
}
