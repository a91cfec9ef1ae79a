//! How a queue road is: connected or why not, what waits, and what became of its messages. Names and labels are API.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Code, Error, Result};

use super::Backlog;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// The input's own fault: an error reply, and a dead letter.
    Unprocessable,
    /// The engine failed on it, or it was tried too often: an error reply, and a dead letter.
    Failed,
    /// Its deadline passed: an error reply.
    Expired,
}

const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Answered, "answered"),
    (Outcome::Unprocessable, "unprocessable"),
    (Outcome::Failed, "failed"),
    (Outcome::Expired, "expired"),
];

/// How one model's road is.
#[derive(Debug)]
pub struct State {
    pub model: String,
    /// Why the broker cannot be had; none while it can.
    away: Mutex<Option<Error>>,
    outcomes: [AtomicU64; OUTCOMES.len()],
    retried: AtomicU64,
    waiting: AtomicU64,
    pending: AtomicU64,
    oldest_age_ms: AtomicU64,
}

impl State {
    /// Of a road that is not connected yet.
    pub(crate) fn new(model: String) -> Self {
        let away = Error::new(Code::QueueUnavailable, "the broker has not answered yet").hint(HINT);
        Self {
            model,
            away: Mutex::new(Some(away)),
            outcomes: Default::default(),
            retried: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            oldest_age_ms: AtomicU64::new(0),
        }
    }

    /// Whether the broker is there.
    ///
    /// # Errors
    /// `queue_unavailable`, with the reason.
    pub fn ready(&self) -> Result<()> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Notes whether the broker is there; true if that is news.
    pub(crate) fn note(&self, away: Option<&Error>) -> bool {
        let mut now = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let news = now.as_ref().map(|error| &error.parts().message) != away.map(|error| &error.parts().message);
        *now = away.cloned();
        news
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        if let Some(place) = OUTCOMES.iter().position(|(own, _)| *own == outcome)
            && let Some(count) = self.outcomes.get(place)
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_retried(&self, messages: usize) {
        self.retried.fetch_add(messages as u64, Ordering::Relaxed);
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an age, clamped, and shown in milliseconds"
    )]
    pub(crate) fn note_backlog(&self, backlog: Backlog) {
        self.waiting.store(backlog.waiting, Ordering::Relaxed);
        self.pending.store(backlog.pending, Ordering::Relaxed);
        self.oldest_age_ms.store((backlog.oldest_age_s.clamp(0.0, 1e12) * 1e3) as u64, Ordering::Relaxed);
    }
}

/// What to do about a broker that is away.
pub(crate) const HINT: &str = "start the broker, or mend the setting queue; the server goes on trying";

/// Appends the metrics of all roads.
#[expect(clippy::cast_precision_loss, reason = "Prometheus text is in doubles")]
pub fn render(text: &mut String, roads: &[std::sync::Arc<State>]) {
    if roads.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let head = |text: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    head(text, "monorail_broker_messages_total", "counter", "Messages from the broker that have ended, by outcome.");
    for road in roads {
        for (count, (_, word)) in road.outcomes.iter().zip(OUTCOMES) {
            let (model, count) = (&road.model, count.load(Ordering::Relaxed));
            let _ = writeln!(text, "monorail_broker_messages_total{{model=\"{model}\",outcome=\"{word}\"}} {count}");
        }
    }
    head(text, "monorail_broker_retries_total", "counter", "Messages given back to the broker, to be tried again.");
    for road in roads {
        let count = road.retried.load(Ordering::Relaxed);
        let _ = writeln!(text, "monorail_broker_retries_total{{model=\"{}\"}} {count}", road.model);
    }
    type Gauge = (&'static str, &'static str, fn(&State) -> f64);
    let gauges: [Gauge; 4] = [
        ("monorail_broker_lag_messages", "Messages in the broker that no server has taken.", |road| {
            road.waiting.load(Ordering::Relaxed) as f64
        }),
        ("monorail_broker_pending_messages", "Messages that a server has taken, and that are not answered.", |road| {
            road.pending.load(Ordering::Relaxed) as f64
        }),
        ("monorail_broker_oldest_age_seconds", "Age of the oldest message that is not answered.", |road| {
            road.oldest_age_ms.load(Ordering::Relaxed) as f64 / 1e3
        }),
        ("monorail_broker_connected", "1 while the broker is there.", |road| f64::from(u8::from(road.ready().is_ok()))),
    ];
    for (name, help, value) in gauges {
        head(text, name, "gauge", help);
        for road in roads {
            let _ = writeln!(text, "{name}{{model=\"{}\"}} {}", road.model, value(road));
        }
    }
}
