//! The routes of jobs: submit, look, wait, fetch, cancel, try again, list.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::catalog::Served;
use crate::clock::now;
use crate::error::{Code, Error, Result};
use crate::exchange::{self, Media};
use crate::jobs::Jobs;
use crate::jobs::ids;
use crate::jobs::job::{Body, NewJob, State};
use crate::values::json_in::JsonReader;

use super::connection::{Connection, Request};
use super::predict::{WIDE_BYTES, beside, media};
use super::respond::{self, Closing, Frame, JSON, Length};
use super::upload::{self, Upload};
use super::{download, events, query, routes};

/// Longest wait for a job's end, in seconds.
const LIMIT_WAIT_S: f64 = 60.0;
/// Longest time that a job may be put off, wait or be kept, in seconds.
const LIMIT_LATER_S: f64 = 1e9;
const LIMIT_PRIORITY: f64 = 1_000.0;
/// Jobs of a page, unless the caller says how many.
const PAGE: usize = 100;
const LIMIT_PAGE: f64 = 1_000.0;

/// What a path means for jobs.
#[derive(Debug, PartialEq)]
pub enum Action<'a> {
    Submit(&'a str),
    Show(&'a str),
    Result(&'a str),
    Cancel(&'a str),
    Retry(&'a str),
    CallBack(&'a str),
    List,
}

/// An answer that is no error.
pub struct Reply {
    status: u16,
    media_type: &'static str,
    location: Option<String>,
    body: Vec<u8>,
    /// The body instead, if it is a file, and its bytes.
    file: Option<(File, u64)>,
}

/// Answers into the connection's output and gives the status; `None` if the client went away meanwhile.
///
/// `extra` is more header lines of an answer that is no error, each after a line break.
pub async fn answer(
    connection: &mut Connection,
    request: &Request,
    action: &Action<'_>,
    closing: Closing,
    head_only: bool,
    extra: &str,
) -> Option<u16> {
    if let Action::Show(id) = action
        && request.head.wants_events()
    {
        return match events::stream(connection, request, id, closing, head_only).await {
            Ok(done) => done,
            Err(error) => Some(routes::refuse(connection, closing, head_only, &error, "")),
        };
    }
    let found = match act(connection, request, action).await {
        Ok(reply) => Ok(reply?),
        Err(error) => Err(error),
    };
    let event_loop = connection.event_loop.clone();
    let date = event_loop.date().clone();
    let frame = Frame { closing, head_only, request_id: &connection.request_id, date: &date };
    let sending = match found {
        Ok(reply) => {
            let location = reply.location.map(|path| format!("\r\nlocation: {path}{extra}")).unwrap_or_default();
            let Some((file, bytes)) = reply.file else {
                respond::answer(&mut connection.output, &frame, reply.status, reply.media_type, &location, &reply.body);
                return Some(reply.status);
            };
            let length = Length::Bytes(bytes);
            respond::head(&mut connection.output, &frame, reply.status, reply.media_type, &location, length);
            (reply.status, file, bytes)
        }
        Err(error) => return Some(respond::error(&mut connection.output, &frame, &error, "")),
    };
    let (status, file, bytes) = sending;
    if head_only || download::send(connection, file, bytes).await { Some(status) } else { None }
}

async fn act(connection: &mut Connection, request: &Request, action: &Action<'_>) -> Result<Option<Reply>> {
    let jobs = connection.event_loop.shared.jobs()?;
    let query = connection.query(&request.head).to_owned();
    let event_loop = connection.event_loop.clone();
    let relay = &event_loop.relay;
    let record = match action {
        Action::Submit(reference) => return submit(connection, request, &jobs, reference, &query).await,
        Action::Show(id) => return show(connection, &jobs, id, &query).await,
        Action::List => return list(jobs, &query).await.map(Some),
        Action::Result(id) => {
            query::values(&query, [])?;
            return result(jobs, id).await.map(Some);
        }
        Action::Cancel(id) => {
            query::values(&query, [])?;
            jobs.cancel(id, relay).await?
        }
        Action::Retry(id) => {
            query::values(&query, [])?;
            jobs.retry(id, relay).await?
        }
        Action::CallBack(id) => {
            query::values(&query, [])?;
            jobs.call_back(id, relay).await?
        }
    };
    let status = if matches!(action, Action::Retry(_) | Action::CallBack(_)) { 202 } else { 200 };
    Ok(Some(told(status, record.to_text(None), None)))
}

/// Judges the rows as a prediction would, and has the job kept.
async fn submit(
    connection: &mut Connection,
    request: &Request,
    jobs: &Arc<Jobs>,
    reference: &str,
    query: &str,
) -> Result<Option<Reply>> {
    let shared = connection.event_loop.shared.clone();
    let served = shared.catalog()?.find(reference)?.clone();
    let (input, output) = media(request.head.content, request.head.accept)?;
    let [id, priority, deadline_s, not_before_s, ttl_s, callback] =
        query::values(query, ["id", "priority", "deadline_s", "not_before_s", "ttl_s", "callback_url"])?;
    let callback = callback.map(|url| jobs.check_callback(&url)).transpose()?;
    id.as_deref().map_or(Ok(()), ids::check)?;
    let later = |name, value: Option<String>| query::number(name, value.as_deref(), 0.0, LIMIT_LATER_S);
    let priority = query::number("priority", priority.as_deref(), -LIMIT_PRIORITY, LIMIT_PRIORITY)?.unwrap_or(0.0);
    if priority.fract() != 0.0 {
        return Err(malformed("priority in the query is no whole number"));
    }
    let (deadline, not_before) = (later("deadline_s", deadline_s)?, later("not_before_s", not_before_s)?);
    let ttl_s = later("ttl_s", ttl_s)?.unwrap_or(shared.settings.job_ttl_s);
    let begun = || begun(reference, input, output);
    let upload = if request.is_unread() {
        upload::take(connection, request, jobs, &served, begun()).await?
    } else {
        Some(Upload::Short(connection.body(request).to_vec()))
    };
    let (rows, body, file, digest) = match upload {
        None => return Ok(None),
        Some(Upload::Long { file, digest, rows }) => (rows, Vec::new(), Some(file), id.is_some().then_some(digest)),
        Some(Upload::Short(body)) => {
            let (rows, body) = judged(&served, input, body).await?;
            let digest = id.is_some().then(|| begun().chain_update(&body).finalize().into());
            (rows, body, None, digest)
        }
    };
    let digest = digest.map(|digest| whole(digest, callback.as_ref().map(|to| to.url.as_str())));
    let job = NewJob {
        id,
        model: reference.to_owned(),
        input,
        output,
        digest,
        body,
        file,
        rows,
        #[expect(clippy::cast_possible_truncation, reason = "a thousand at most")]
        priority: priority as i64,
        not_before: not_before.map(|wait| now() + wait),
        deadline: deadline.map(|wait| now() + wait),
        ttl_s,
        callback,
    };
    let record = jobs.submit(job, &connection.event_loop.relay).await?;
    Ok(Some(told(202, record.to_text(None), Some(format!("/jobs/{}", record.id)))))
}

/// What tells this request from another one of the same id, as far as it stands before the body.
fn begun(reference: &str, input: Media, output: Media) -> Sha256 {
    let mut digest = Sha256::new();
    for part in [reference.as_bytes(), input.name().as_bytes(), output.name().as_bytes()] {
        digest.update(part);
        digest.update([0]);
    }
    digest
}

/// All that tells it: the digest up to the end of its body, and where to tell of its end.
fn whole(digest: [u8; 32], callback_url: Option<&str>) -> [u8; 32] {
    match callback_url {
        None => digest,
        Some(url) => Sha256::new().chain_update(digest).chain_update(url).finalize().into(),
    }
}

/// Reads the rows as they will be read when they are scored, so that bad input is refused at once.
async fn judged(served: &Arc<Served>, input: Media, body: Vec<u8>) -> Result<(usize, Vec<u8>)> {
    let (owner, length) = (served.clone(), body.len());
    let judge = move || {
        let mut buffer = owner.batcher.spare_buffer();
        let read = exchange::read(&owner, input, &body, &mut JsonReader::default(), &mut buffer);
        owner.batcher.give_back(buffer);
        read.map(|(rows, _)| (rows, body))
    };
    if length <= WIDE_BYTES { judge() } else { beside(judge).await }
}

/// A job's record, once it has ended or the wait is over; `None` if the client went away.
async fn show(connection: &mut Connection, jobs: &Arc<Jobs>, id: &str, query: &str) -> Result<Option<Reply>> {
    let [wait_s] = query::values(query, ["wait_s"])?;
    let wait_s = query::number("wait_s", wait_s.as_deref(), 0.0, LIMIT_WAIT_S)?.unwrap_or(0.0);
    let mut until = Instant::now() + Duration::from_secs_f64(wait_s);
    let shared = connection.event_loop.shared.clone();
    loop {
        // Watched before it is looked at, so that no end is missed.
        let ended = jobs.watch(id);
        let (owner, wanted) = (jobs.clone(), id.to_owned());
        let (record, result) = beside(move || owner.find(&wanted)).await?;
        if record.state.has_ended() || Instant::now() >= until {
            return Ok(Some(told(200, record.to_text(result.as_ref()), None)));
        }
        let mut ended = pin!(tokio::time::timeout_at(until.into(), ended));
        let mut draining = pin!(shared.until_draining());
        let stays = poll_fn(|context| {
            // A server that stops waits for nobody who waits for it.
            let stops = draining.as_mut().poll(context).is_ready();
            until = if stops { Instant::now() } else { until };
            if stops || ended.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            if connection.poll_gone(context) { Poll::Ready(false) } else { Poll::Pending }
        });
        if !stays.await {
            return Ok(None);
        }
    }
}

/// The prediction's own answer.
async fn result(jobs: Arc<Jobs>, id: &str) -> Result<Reply> {
    let (owner, id) = (jobs.clone(), id.to_owned());
    let (record, result) = beside(move || owner.find(&id)).await?;
    match (record.state, result) {
        (State::Succeeded, Some(Body { media, bytes })) => {
            let file = match bytes.is_empty() {
                true => Some(beside(move || jobs.open_result(record.place)).await?),
                false => None,
            };
            Ok(Reply { status: 200, media_type: media.name(), location: None, body: bytes, file })
        }
        (State::Cancelled, _) => Err(Error::new(Code::JobCancelled, "the job was cancelled")),
        (State::Expired, _) => {
            Err(Error::new(Code::DeadlineExceeded, "the job's deadline passed before it was scored"))
        }
        (State::Failed, _) => {
            let error: Value =
                record.error.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            let word = error.get("code").and_then(Value::as_str);
            let code = Code::ALL.iter().find(|code| word == Some(code.as_str())).unwrap_or(&Code::Internal);
            Ok(told(code.status(), json!({"error": error}).to_string().into_bytes(), None))
        }
        (state, _) => Err(Error::new(Code::JobUnfinished, format!("the job is {}", state.as_str()))
            .hint("wait for it with GET /jobs/{id}?wait_s=30")),
    }
}

async fn list(jobs: Arc<Jobs>, query: &str) -> Result<Reply> {
    let [state, model, limit, after] = query::values(query, ["state", "model", "limit", "after"])?;
    let state = match state.as_deref().map(State::from_word) {
        Some(None) => {
            let words: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
            return Err(malformed("the query's state is none that a job has").hint(words.join(", ")));
        }
        state => state.flatten(),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to a thousand")]
    let limit = query::number("limit", limit.as_deref(), 1.0, LIMIT_PAGE)?.map_or(PAGE, |limit| limit as usize);
    let before = match after.as_deref().map(str::parse::<i64>) {
        Some(Err(_)) => return Err(malformed("the query's after is not what an earlier page gave as next")),
        Some(Ok(place)) => place,
        None => i64::MAX,
    };
    let found = beside(move || jobs.list(state, model.as_deref(), before, limit + 1)).await?;
    let next = found.get(limit).and_then(|_| found.get(limit - 1)).map(|record| record.place.to_string());
    let mut text = b"{\"jobs\":[".to_vec();
    for (count, record) in found.iter().take(limit).enumerate() {
        text.extend_from_slice(if count > 0 { b"," } else { b"" });
        record.write(&mut text);
    }
    text.extend_from_slice(format!("],\"next\":{}}}", json!(next)).as_bytes());
    Ok(told(200, text, None))
}

fn malformed(message: &'static str) -> Error {
    Error::new(Code::MalformedRequest, message)
}

fn told(status: u16, body: Vec<u8>, location: Option<String>) -> Reply {
    Reply { status, media_type: JSON, location, body, file: None }
}
