//! `GET /jobs/{id}` as a stream of events: the job's record at each change, up to its end.
//!
//! A stream is asked for more only when its client has taken the last event, so a slow one holds nothing.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Result;
use crate::jobs::Jobs;
use crate::jobs::job::{Body, Record, State};

use super::connection::{Connection, Request};
use super::predict::beside;
use super::query;
use super::respond::{self, Closing, EVENTS, Frame, Length};

/// How often progress is looked at, and told at most.
const TICK: Duration = Duration::from_millis(250);
/// After how long without an event the client is told that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What that says: a comment, which clients pass over.
const ALIVE: &[u8] = b": waiting\n\n";

type Found = (Record, Option<Body>);

/// Streams a job's events, and gives the status; `None` if the client went away, or the store did.
///
/// # Errors
/// `unknown_job`, `overloaded`, `job_store_failed`, before anything was sent.
pub async fn stream(
    connection: &mut Connection,
    request: &Request,
    id: &str,
    closing: Closing,
    head_only: bool,
) -> Result<Option<u16>> {
    let jobs = connection.event_loop.shared.jobs()?;
    query::values(connection.query(&request.head), [])?;
    let _entered = jobs.enter_stream()?;
    // Watched before it is looked at, so that no end is missed.
    let ended = jobs.watch(id);
    let found = find(&jobs, id).await?;
    let length = if request.head.old { Length::UntilClose } else { Length::Chunks };
    let closing = if request.head.old { Closing::Now } else { closing };
    if closing == Closing::Now {
        connection.end_after_answer();
    }
    {
        let event_loop = connection.event_loop.clone();
        let frame = Frame { closing, head_only, request_id: &connection.request_id, date: &event_loop.date() };
        respond::head(&mut connection.output, &frame, 200, EVENTS, "\r\ncache-control: no-store", length);
    }
    if head_only {
        return Ok(Some(200));
    }
    Ok(tell(connection, &jobs, ended, found, length).await.map(|()| 200))
}

/// Tells of every change until the job has ended or the server stops.
async fn tell(
    connection: &mut Connection,
    jobs: &Arc<Jobs>,
    mut ended: oneshot::Receiver<()>,
    mut found: Found,
    length: Length,
) -> Option<()> {
    let (mut told, mut number, mut told_at) = (Vec::new(), 0_u64, Instant::now());
    loop {
        let (record, result) = &found;
        let text = record.to_text(result.as_ref());
        if text != told {
            number += 1;
            let mut event = format!("id: {number}\nevent: job\ndata: ").into_bytes();
            event.extend_from_slice(&text);
            event.extend_from_slice(b"\n\n");
            respond::chunk(&mut connection.output, length, &event);
            (told, told_at) = (text, Instant::now());
        } else if told_at.elapsed() >= HEARTBEAT {
            respond::chunk(&mut connection.output, length, ALIVE);
            told_at = Instant::now();
        }
        if record.state.has_ended() {
            break;
        }
        if !connection.output.is_empty() && !connection.flush().await {
            return None;
        }
        let looks = match wait(connection, &mut ended).await {
            Woken::Gone => return None,
            Woken::Draining => break,
            Woken::Ended => true,
            Woken::Tick => note_progress(jobs, &mut found.0),
        };
        if looks {
            let id = found.0.id.clone();
            ended = jobs.watch(&id);
            // The head is sent: a store that fails now can only be told by an end that is none.
            found = find(jobs, &id).await.ok()?;
        }
    }
    respond::last_chunk(&mut connection.output, length);
    Some(())
}

/// Takes what its runner knows of a job; true if that says that its state has changed.
fn note_progress(jobs: &Jobs, record: &mut Record) -> bool {
    match (record.state, jobs.rows_done(record.place)) {
        (State::Running, Some(rows_done)) => {
            record.rows_done = rows_done;
            false
        }
        (State::Running, None) | (_, Some(_)) => true,
        (_, None) => false,
    }
}

async fn find(jobs: &Arc<Jobs>, id: &str) -> Result<Found> {
    let (owner, id) = (jobs.clone(), id.to_owned());
    beside(move || owner.find(&id)).await
}

/// Why a wait is over.
enum Woken {
    Gone,
    Draining,
    Ended,
    Tick,
}

async fn wait(connection: &mut Connection, ended: &mut oneshot::Receiver<()>) -> Woken {
    let shared = connection.event_loop.shared.clone();
    let (mut draining, mut tick) = (pin!(shared.until_draining()), pin!(tokio::time::sleep(TICK)));
    poll_fn(|context| {
        if connection.poll_gone(context) {
            return Poll::Ready(Woken::Gone);
        }
        if pin!(&mut *ended).poll(context).is_ready() {
            return Poll::Ready(Woken::Ended);
        }
        if draining.as_mut().poll(context).is_ready() {
            return Poll::Ready(Woken::Draining);
        }
        tick.as_mut().poll(context).map(|()| Woken::Tick)
    })
    .await
}
