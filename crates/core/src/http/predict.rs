//! `POST /models/{name}/predict`: from the body's bytes to the answer's.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use crate::batcher::{Answer, deadline_exceeded};
use crate::catalog::Served;
use crate::error::{Code, Error, Result};
use crate::exchange::{self, Media};
use crate::values::json_in::{Form, JsonReader};

use super::connection::{Connection, Request};
use super::event_loop::Waiting;
use super::head::{Accept, Content};
use super::respond::Closing;
use super::routes;

/// Bodies over this many bytes are read, and answers over [`WIDE_VALUES`] written, beside the event loop, so that
/// other connections do not wait for them.
pub const WIDE_BYTES: usize = 256 * 1024;
const WIDE_VALUES: usize = 32 * 1024;
/// The status counted for a client that went away: the one nginx gives it.
pub const GONE: u16 = 499;

/// Answers a prediction into the connection's output; false if the client went away meanwhile.
pub async fn answer(
    connection: &mut Connection,
    request: &Request,
    found: Result<Arc<Served>>,
    closing: Closing,
) -> bool {
    let served = match found {
        Ok(served) => served,
        Err(error) => {
            let status = routes::refuse(connection, closing, false, &error, "");
            connection.event_loop.shared.metrics.unknown_model.count(status);
            routes::log_access(connection, request, status, 0);
            return true;
        }
    };
    let (status, rows) = match predict(connection, request, &served).await {
        Ok(Some(reply)) => (routes::succeed(connection, closing, false, reply.media_type, &reply.body), reply.rows),
        Ok(None) => (GONE, 0),
        Err(error) => (routes::refuse(connection, closing, false, &error, ""), 0),
    };
    let metrics = &served.batcher.metrics;
    metrics.requests.count(status);
    metrics.request_seconds.time(request.began.elapsed());
    routes::log_access(connection, request, status, rows);
    status != GONE
}

struct Reply {
    media_type: &'static str,
    body: Vec<u8>,
    rows: usize,
}

/// The whole way of a prediction; `None` if the client went away meanwhile.
async fn predict(connection: &mut Connection, request: &Request, served: &Arc<Served>) -> Result<Option<Reply>> {
    let (input, output) = media(request.head.content, request.head.accept)?;
    let deadline = request.head.timeout.map(|timeout| request.began + timeout);
    let (waiting, form) = read(connection, request, served, input, deadline).await?;
    let answer = match waiting {
        None => None,
        Some(waiting) => match wait(connection, waiting, deadline).await {
            None => return Ok(None),
            Some(answer) => Some(answer?),
        },
    };
    write(served, answer, output, form).await.map(Some)
}

/// How the body is read, and the answer written.
///
/// # Errors
/// `unsupported_media_type`, `not_acceptable`.
pub fn media(content: Content, accept: Accept) -> Result<(Media, Media)> {
    let unsupported =
        |what: &'static str, hint: &'static str| Err(Error::new(Code::UnsupportedMediaType, what).hint(hint));
    let input = match content {
        Content::Json => Media::Json,
        Content::Arrow => Media::Arrow,
        Content::Form => {
            return unsupported("the body is said to be a form", "with curl: -H 'Content-Type: application/json'");
        }
        Content::Encoded => return unsupported("the body is compressed", "send it without Content-Encoding"),
        Content::Other => {
            let hint = "use application/json or application/vnd.apache.arrow.stream";
            return unsupported("the body's content type is not one we read", hint);
        }
    };
    let output = match accept {
        Accept::Any => input,
        Accept::Json => Media::Json,
        Accept::Arrow => Media::Arrow,
        Accept::Neither => {
            return Err(Error::new(Code::NotAcceptable, "no answer can be given in a form that Accept allows")
                .hint("accept application/json or application/vnd.apache.arrow.stream"));
        }
    };
    Ok((input, output))
}

/// Reads the body's rows into the queue.
async fn read(
    connection: &Connection,
    request: &Request,
    served: &Arc<Served>,
    input: Media,
    deadline: Option<Instant>,
) -> Result<(Option<Waiting>, Form)> {
    let event_loop = &connection.event_loop;
    let body = connection.body(request);
    if body.len() <= WIDE_BYTES {
        return event_loop
            .stage(served, deadline, |reader, buffer| exchange::read(served, input, body, reader, buffer));
    }
    served.batcher.admit(0, 1)?;
    let (owner, body) = (served.clone(), body.to_vec());
    let (buffer, form) = beside(move || {
        let mut buffer = owner.batcher.model.plan.buffer();
        exchange::read(&owner, input, &body, &mut JsonReader::default(), &mut buffer).map(|(_, form)| (buffer, form))
    })
    .await?;
    Ok((event_loop.submit(served, deadline, buffer)?, form))
}

/// Runs work on a thread of its own.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::new(Code::Internal, "reading or writing a large body panicked")))
}

/// Waits for the answer; `None` if the client went away.
async fn wait(connection: &mut Connection, mut waiting: Waiting, deadline: Option<Instant>) -> Option<Result<Answer>> {
    let answered = poll_fn(|context| {
        if let Poll::Ready(answer) = waiting.poll_answer(context) {
            return Poll::Ready(Some(answer));
        }
        if connection.poll_gone(context) { Poll::Ready(None) } else { Poll::Pending }
    });
    match deadline {
        None => answered.await,
        Some(deadline) => match tokio::time::timeout_at(deadline.into(), answered).await {
            Ok(answer) => answer,
            Err(_) => Some(Err(deadline_exceeded())),
        },
    }
}

async fn write(served: &Arc<Served>, answer: Option<Answer>, output: Media, form: Form) -> Result<Reply> {
    let answer = answer.map_or_else(|| exchange::nothing(served), Ok)?;
    let (rows, media_type) = (answer.rows, output.name());
    let values = answer.rows * answer.outputs.columns.iter().map(|(_, width)| width).sum::<usize>();
    let body = if values <= WIDE_VALUES {
        exchange::write(served, &answer, output, form)?
    } else {
        let served = served.clone();
        beside(move || exchange::write(&served, &answer, output, form)).await?
    };
    Ok(Reply { media_type, body, rows })
}
