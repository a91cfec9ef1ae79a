//! The event loops' threads: accept connections, deal them out, and end when the drain does.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use crate::error::{Code, Error, Result};
use crate::http::connection;
use crate::http::event_loop::EventLoop;

use super::{Shared, Stage};

/// How long nothing may be under way before a draining server counts as idle: a client that was just answered
/// may have sent its next request already.
const QUIET: Duration = Duration::from_millis(250);
/// How long connections that were open when the drain ended may still bring and finish what they have begun.
const LAST_CALL: Duration = Duration::from_millis(1_500);
/// Most connections still taken from the kernel when the drain is over.
const LAST_ACCEPTS: usize = 4_096;
/// Threads beside each event loop that read and write large bodies.
const WIDE_THREADS: usize = 2;

/// Starts the event loops: the first accepts, and deals connections out in turn.
pub(super) fn start(shared: &Arc<Shared>, listener: TcpListener, threads: usize) -> Result<Vec<JoinHandle<()>>> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads.max(1)).map(|_| unbounded_channel()).unzip();
    let mut listener = Some((listener, senders));
    let mut handles = Vec::with_capacity(threads);
    for receiver in receivers {
        let (shared, accepting) = (shared.clone(), listener.take());
        let handle = std::thread::Builder::new()
            .name("monorail-loop".to_owned())
            .spawn(move || run_loop(shared, accepting, receiver))
            .map_err(|e| Error::new(Code::Internal, format!("no thread can be started: {e}")))?;
        handles.push(handle);
    }
    Ok(handles)
}

type Dealt = (TcpListener, Vec<UnboundedSender<std::net::TcpStream>>);

fn run_loop(shared: Arc<Shared>, accepting: Option<Dealt>, receiver: UnboundedReceiver<std::net::TcpStream>) {
    let runtime =
        match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(WIDE_THREADS).build() {
            Ok(runtime) => runtime,
            Err(error) => {
                shared.log.error(format_args!("an event loop does not start: {error}"));
                return shared.advance(Stage::Stopped);
            }
        };
    let local = LocalSet::new();
    let event_loop = EventLoop::new(shared.clone());
    local.spawn_local(event_loop.clone().flush_turns());
    local.spawn_local(event_loop.clone().take_answers());
    local.spawn_local(event_loop.relay.clone().run());
    local.spawn_local(event_loop.clone().sweep());
    local.spawn_local(take_connections(event_loop.clone(), receiver));
    let end = local.run_until(async {
        match accepting {
            Some((listener, senders)) => accept(&shared, listener, senders).await,
            None => reached(&shared, Stage::Closing).await,
        }
        last_call(&shared, &event_loop).await;
    });
    runtime.block_on(end);
    drop(local);
    runtime.shutdown_background();
}

/// Waits until the server is at `stage` or beyond.
async fn reached(shared: &Shared, stage: Stage) {
    // The sender lives in `shared`, so waiting cannot fail.
    let _ = shared.stage.subscribe().wait_for(|now| *now >= stage).await;
}

/// Starts a task for every connection dealt to this loop.
async fn take_connections(event_loop: Rc<EventLoop>, mut receiver: UnboundedReceiver<std::net::TcpStream>) {
    while let Some(stream) = receiver.recv().await {
        let Ok(stream) = tokio::net::TcpStream::from_std(stream) else {
            event_loop.shared.open.fetch_sub(1, Ordering::Relaxed);
            continue;
        };
        let (key, progress) = event_loop.enter();
        let guard = Entered { event_loop: event_loop.clone(), key };
        let task = tokio::task::spawn_local({
            let event_loop = event_loop.clone();
            async move {
                let _guard = guard;
                connection::run(stream, event_loop, progress).await;
            }
        });
        event_loop.set_abort(key, task.abort_handle());
    }
}

/// A connection counted as open until it is dropped, however its task ends.
struct Entered {
    event_loop: Rc<EventLoop>,
    key: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.event_loop.leave(self.key);
        self.event_loop.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts connections and deals them out until the drain is over.
async fn accept(shared: &Arc<Shared>, listener: TcpListener, loops: Vec<UnboundedSender<std::net::TcpStream>>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => Rc::new(listener),
        Err(error) => {
            shared.log.error(format_args!("the listener cannot be used: {error}"));
            return shared.advance(Stage::Stopped);
        }
    };
    let dealing = tokio::task::spawn_local(deal(shared.clone(), listener.clone(), loops.clone()));
    drained(shared).await;
    dealing.abort();
    // What the kernel has accepted on our behalf is ours to answer.
    for to in loops.iter().cycle().take(LAST_ACCEPTS) {
        match tokio::time::timeout(Duration::from_millis(1), listener.accept()).await {
            Ok(Ok((stream, _))) => hand_over(shared, stream, to),
            _ => break,
        }
    }
    shared.advance(Stage::Closing);
}

/// Deals accepted connections out to the loops in turn, for ever.
async fn deal(
    shared: Arc<Shared>,
    listener: Rc<tokio::net::TcpListener>,
    loops: Vec<UnboundedSender<std::net::TcpStream>>,
) {
    for to in loops.iter().cycle() {
        while shared.open.load(Ordering::Relaxed) >= shared.settings.max_connections {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    // Out of descriptors, most likely: those who wait are served as others leave.
                    shared.log.warning(format_args!("a connection cannot be accepted: {error}"));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        hand_over(&shared, stream, to);
    }
}

fn hand_over(shared: &Shared, stream: tokio::net::TcpStream, to: &UnboundedSender<std::net::TcpStream>) {
    // Small answers go out at once; a socket that cannot do that is slower, not wrong.
    let _ = stream.set_nodelay(true);
    if let Ok(stream) = stream.into_std() {
        shared.open.fetch_add(1, Ordering::Relaxed);
        if to.send(stream).is_err() {
            shared.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Waits for a drain to begin, and then until the server is idle or `drain_s` is over.
async fn drained(shared: &Shared) {
    reached(shared, Stage::Draining).await;
    if shared.stage() >= Stage::Closing {
        return;
    }
    shared.log.info(format_args!("draining: readiness is off, what comes is still answered"));
    let began = Instant::now();
    let mut quiet_since = began;
    while began.elapsed().as_secs_f64() < shared.settings.drain_s && shared.stage() < Stage::Closing {
        let now = Instant::now();
        if shared.busy.load(Ordering::Relaxed) > 0 {
            quiet_since = now;
        } else if now.saturating_duration_since(quiet_since) >= QUIET {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets this loop's connections end what they have begun, then closes the rest.
async fn last_call(shared: &Shared, event_loop: &EventLoop) {
    let began = Instant::now();
    let mut first = true;
    while shared.stage() < Stage::Stopped && began.elapsed() < LAST_CALL {
        tokio::time::sleep(Duration::from_millis(if first { 50 } else { 5 })).await;
        first = false;
        if shared.busy.load(Ordering::Relaxed) == 0 {
            break;
        }
    }
    event_loop.close_idle();
}
