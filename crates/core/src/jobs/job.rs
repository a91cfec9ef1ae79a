//! A job: what it asks for, the states it goes through, and how it is told in JSON.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::error::Error;
use crate::exchange::Media;

use super::callbacks::Destination;
use super::files::Spooled;

/// Longest result that is told within a job's record, in bytes; a longer one has an address of its own.
const LIMIT_INLINE_BYTES: usize = 64 * 1024;
/// Tries of what may heal by itself, and of what a server died over.
pub const ATTEMPTS: u32 = 6;
/// Tries after which a job is scored alone: should servers die over it, it takes no others with it.
pub const ATTEMPTS_TOGETHER: u32 = 2;

/// Where a job is on its way. The numbers of what has ended are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Queued = 0,
    Running = 1,
    Succeeded = 2,
    Failed = 3,
    Cancelled = 4,
    Expired = 5,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Expired];

    /// The state as programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The state that the store keeps as a number; what is under way, only memory knows.
    pub fn from_number(number: i64) -> Self {
        Self::ALL.into_iter().find(|state| state.has_ended() && *state as i64 == number).unwrap_or(Self::Queued)
    }

    /// A state by its word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing more happens to the job by itself.
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A job to be taken in.
#[derive(Debug)]
pub struct NewJob {
    /// The id, if the caller has chosen one.
    pub id: Option<String>,
    /// As the caller named it.
    pub model: String,
    pub input: Media,
    pub output: Media,
    pub body: Vec<u8>,
    /// The body instead, if it is large.
    pub file: Option<Spooled>,
    /// What tells this request from another one of the same id, if that was chosen.
    pub digest: Option<[u8; 32]>,
    pub rows: usize,
    /// Greater first.
    pub priority: i64,
    /// Seconds since 1970, as all times of jobs.
    pub not_before: Option<f64>,
    pub deadline: Option<f64>,
    /// How long it is kept after it has ended, in seconds.
    pub ttl_s: f64,
    /// Whom its end is told to.
    pub callback: Option<Destination>,
}

impl NewJob {
    /// The record of the job, just taken in.
    pub fn queued(&self, id: String, place: i64, created: f64) -> Record {
        Record {
            id,
            model: self.model.clone(),
            version: None,
            state: State::Queued,
            rows: self.rows as u64,
            rows_done: 0,
            priority: self.priority,
            attempts: 0,
            created,
            started: None,
            finished: None,
            not_before: self.not_before,
            deadline: self.deadline,
            expires: None,
            error: None,
            callback: None,
            place,
        }
    }
}

/// A job that was handed out to be scored.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub place: i64,
    /// Which claim handed it out.
    pub claim: u64,
    pub id: String,
    pub model: String,
    pub input: Media,
    pub output: Media,
    pub body: Vec<u8>,
    /// The name of its files, if its body is in one.
    pub file: Option<String>,
    pub attempts: u32,
    pub deadline: Option<f64>,
}

/// How a job that was handed out came back.
#[derive(Clone, Debug)]
pub struct Finished {
    pub place: i64,
    pub claim: u64,
    pub id: String,
    pub how: Ending,
}

#[derive(Clone, Debug)]
pub enum Ending {
    Succeeded {
        version: u64,
        body: Vec<u8>,
    },
    /// Its result is in its file, of so many bytes.
    Stored {
        version: u64,
        bytes: u64,
    },
    Failed(Error),
    /// Its deadline has passed.
    Expired,
    /// It is queued again and waits that while; whether that was one of its tries.
    Again {
        pause: Duration,
        counted: bool,
    },
}

/// A result as it was written; without bytes if it is in a file.
#[derive(Clone, Debug)]
pub struct Body {
    pub media: Media,
    pub bytes: Vec<u8>,
}

/// What is known of a job.
#[derive(Clone, Debug)]
pub struct Record {
    pub id: String,
    pub model: String,
    pub version: Option<u64>,
    pub state: State,
    pub rows: u64,
    /// Those of them that are scored.
    pub rows_done: u64,
    pub priority: i64,
    pub attempts: u32,
    pub created: f64,
    pub started: Option<f64>,
    pub finished: Option<f64>,
    pub not_before: Option<f64>,
    pub deadline: Option<f64>,
    pub expires: Option<f64>,
    /// The JSON of its error.
    pub error: Option<String>,
    /// What is told of its callback.
    pub callback: Option<Value>,
    /// Its place in the order of submission.
    pub place: i64,
}

/// A record as programs see it; its error, which is JSON already, comes behind.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    model: &'a str,
    version: Option<u64>,
    state: &'static str,
    rows: u64,
    rows_done: u64,
    priority: i64,
    attempts: u32,
    created: f64,
    started: Option<f64>,
    finished: Option<f64>,
    not_before: Option<f64>,
    deadline: Option<f64>,
    expires: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_url: Option<String>,
}

impl Record {
    /// Writes the record as programs see it.
    pub fn write(&self, text: &mut Vec<u8>) {
        let told = Told {
            id: &self.id,
            model: &self.model,
            version: self.version,
            state: self.state.as_str(),
            rows: self.rows,
            rows_done: self.rows_done,
            priority: self.priority,
            attempts: self.attempts,
            created: self.created,
            started: self.started,
            finished: self.finished,
            not_before: self.not_before,
            deadline: self.deadline,
            expires: self.expires,
            result_url: (self.state == State::Succeeded).then(|| format!("/jobs/{}/result", self.id)),
        };
        // Memory takes all, and nothing in it can fail to be JSON.
        let _ = serde_json::to_writer(&mut *text, &told);
        if let Some(error) = &self.error {
            put(text, "error", error.as_bytes());
        }
        if let Some(callback) = &self.callback {
            put(text, "callback", callback.to_string().as_bytes());
        }
    }

    /// The record as text, with its result in it if that is short JSON, to the letter as it was written.
    pub fn to_text(&self, result: Option<&Body>) -> Vec<u8> {
        let mut text = Vec::with_capacity(512);
        self.write(&mut text);
        if let Some(Body { media: Media::Json, bytes }) = result
            && (1..=LIMIT_INLINE_BYTES).contains(&bytes.len())
        {
            put(&mut text, "result", bytes);
        }
        text
    }
}

/// Adds a member, whose value is JSON already, to an object with members.
fn put(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.pop();
    text.extend_from_slice(format!(",\"{name}\":").as_bytes());
    text.extend_from_slice(value);
    text.push(b'}');
}
