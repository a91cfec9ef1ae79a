//! A server's life: bind, load, prove the golden rows, serve, drain, stop.
//!
//! A server has threads of its own and no state outside itself: two in one process do not meet. Event loops
//! and engine threads are apart, so that a slow engine call never keeps a health check waiting.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::batcher::Batcher;
use crate::bundle::Bundle;
use crate::catalog::Catalog;
use crate::engine::Model;
use crate::error::{Code, Error, Result};
use crate::http::connection;
use crate::http::event_loop::EventLoop;
use crate::log::{Level, Log};
use crate::metrics::{self, ServerMetrics};
use crate::settings::{ServeSettings, Settings};

/// How long nothing may be under way before a draining server counts as idle: a client that was just answered
/// may have sent its next request already.
const QUIET: Duration = Duration::from_millis(250);
/// How long connections that were open when the drain ended may still bring and finish what they have begun.
const LAST_CALL: Duration = Duration::from_millis(1_500);
const BACKLOG: i32 = 4_096;
/// Threads beside each event loop that read and write large bodies.
const WIDE_THREADS: usize = 2;

/// A model to serve: a version, where its bundle is, and the aliases that point at it.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct ModelSpec {
    pub name: String,
    pub version: u64,
    pub path: PathBuf,
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// Where in its life a server is. Only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Loading,
    Ready,
    /// Readiness is off; everything is still answered.
    Draining,
    /// No new connections; what is under way ends.
    Closing,
    Stopped,
}

/// What all threads of a server share.
pub struct Shared {
    pub settings: Settings,
    pub metrics: ServerMetrics,
    pub log: Log,
    stage: watch::Sender<Stage>,
    catalog: OnceLock<Catalog>,
    /// Connections with a request under way.
    busy: AtomicUsize,
    /// Connections open.
    open: AtomicUsize,
}

impl Shared {
    fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Moves on to `stage`, unless that is behind already.
    fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let forward = stage > *now;
            if forward {
                *now = stage;
            }
            forward
        });
    }

    /// Whether the server is on its way out.
    pub fn is_draining(&self) -> bool {
        self.stage() >= Stage::Draining
    }

    /// The models.
    ///
    /// # Errors
    /// `not_ready` while they are being loaded.
    pub fn catalog(&self) -> Result<&Catalog> {
        self.catalog.get().ok_or_else(|| {
            Error::new(Code::NotReady, "the models are still being loaded")
                .hint("wait for GET /health/ready to say 200")
        })
    }

    /// Whether the server wants new work.
    ///
    /// # Errors
    /// `not_ready` or `draining`.
    pub fn ready(&self) -> Result<()> {
        match self.stage() {
            Stage::Ready => Ok(()),
            Stage::Loading => self.catalog().map(|_| ()),
            _ => Err(Error::new(Code::Draining, "the server is stopping").hint("use another replica")),
        }
    }

    /// Counts a connection in or out of those with a request under way.
    pub fn count_busy(&self, busy: bool) {
        if busy {
            self.busy.fetch_add(1, Ordering::Relaxed);
        } else {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The text of `/metrics`.
    pub fn render_metrics(&self) -> String {
        let served = self.catalog.get().map(Catalog::all).unwrap_or_default();
        let shown: Vec<_> = served
            .iter()
            .map(|s| metrics::Shown {
                name: &s.name,
                version: s.version,
                metrics: &s.batcher.metrics,
                plan: &s.batcher.model.plan,
                queue_rows: s.batcher.queue_rows(),
            })
            .collect();
        metrics::render(&self.metrics, &shown, self.ready().is_ok(), self.log.dropped())
    }
}

/// How a server came up, or why it did not.
#[derive(Default)]
struct Outcome {
    loaded: Option<Result<()>>,
    stopped: bool,
}

/// A running server. Dropped, it stops at once.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    outcome: Arc<(Mutex<Outcome>, Condvar)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Binds, and starts to load the models; [`Server::wait_ready`] says when they are there.
    ///
    /// `runtime` is the path of the ONNX Runtime library.
    ///
    /// # Errors
    /// `address_in_use` if the address cannot be had.
    pub fn start(models: Vec<ModelSpec>, settings: ServeSettings, runtime: PathBuf) -> Result<Self> {
        let listener = bind(&settings.serve)?;
        let address = listener.local_addr().map_err(|e| unusable(&settings.serve, &e))?;
        let (log, _) = Log::stderr(Level::Info);
        let shared = Arc::new(Shared {
            settings: settings.serve.clone(),
            metrics: ServerMetrics::default(),
            log,
            stage: watch::Sender::new(Stage::Loading),
            catalog: OnceLock::new(),
            busy: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let outcome: Arc<(Mutex<Outcome>, Condvar)> = Arc::default();
        let server = Self { address, shared: shared.clone(), outcome: outcome.clone() };
        let keeper = Keeper { shared, outcome, settings, models, runtime };
        std::thread::Builder::new()
            .name("monorail-server".to_owned())
            .spawn(move || keeper.run(listener))
            .map_err(|e| Error::new(Code::Internal, format!("no thread can be started: {e}")))?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `/metrics` answers.
    pub fn metrics(&self) -> String {
        self.shared.render_metrics()
    }

    /// Waits until every model is loaded and its golden rows have matched.
    ///
    /// # Errors
    /// What kept a model from loading; the server stops then.
    pub fn wait_ready(&self) -> Result<()> {
        let (state, changed) = &*self.outcome;
        let mut state = lock(state);
        loop {
            match &state.loaded {
                Some(outcome) => return outcome.clone(),
                None if state.stopped => {
                    return Err(Error::new(Code::Draining, "the server was stopped while loading"));
                }
                None => state = changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Turns readiness off, answers until idle or `drain_s` is over, then stops. Returns at once.
    pub fn begin_drain(&self) {
        self.shared.advance(Stage::Draining);
    }

    /// Stops at once. Returns at once.
    pub fn stop(&self) {
        self.shared.advance(Stage::Stopped);
    }

    /// Waits until it has stopped, for at most `timeout`; false if it has not.
    pub fn join(&self, timeout: Option<Duration>) -> bool {
        let (state, changed) = &*self.outcome;
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let mut state = lock(state);
        while !state.stopped {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        self.join(None);
    }
}

fn bind(settings: &Settings) -> Result<TcpListener> {
    let address = (settings.host.as_str(), settings.port)
        .to_socket_addrs()
        .map_err(|e| unusable(settings, &e))?
        .next()
        .ok_or_else(|| unusable(settings, &std::io::Error::other("it is no address")))?;
    let listen = || -> std::io::Result<TcpListener> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    listen().map_err(|e| unusable(settings, &e))
}

fn unusable(settings: &Settings, why: &std::io::Error) -> Error {
    Error::new(Code::AddressInUse, format!("cannot listen on {}:{}: {why}", settings.host, settings.port))
        .hint("choose another --port, 0 for a free one, or another --host")
}

/// The thread that starts all others and waits for them.
struct Keeper {
    shared: Arc<Shared>,
    outcome: Arc<(Mutex<Outcome>, Condvar)>,
    settings: ServeSettings,
    models: Vec<ModelSpec>,
    runtime: PathBuf,
}

impl Keeper {
    fn run(self, listener: TcpListener) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.shared.settings.threads == 0 { cores } else { self.shared.settings.threads };
        let loops = start_loops(&self.shared, listener, threads);
        let mut engines = Vec::new();
        let loaded = loops.as_ref().map_err(Clone::clone).and_then(|_| self.load(threads, &mut engines));
        if let Err(error) = &loaded {
            self.shared.log.error(format_args!("{error}"));
            self.shared.advance(Stage::Stopped);
        } else {
            self.shared.advance(Stage::Ready);
        }
        self.tell(|outcome| outcome.loaded = Some(loaded));
        for thread in loops.unwrap_or_default() {
            let _ = thread.join();
        }
        for served in self.shared.catalog.get().map(Catalog::all).unwrap_or_default() {
            served.batcher.close();
        }
        for thread in engines {
            let _ = thread.join();
        }
        self.tell(|outcome| outcome.stopped = true);
    }

    fn tell(&self, change: impl FnOnce(&mut Outcome)) {
        let (state, changed) = &*self.outcome;
        change(&mut lock(state));
        changed.notify_all();
    }

    /// Loads every model, checks its golden rows, and starts its engine threads.
    fn load(&self, threads: usize, engines: &mut Vec<JoinHandle<()>>) -> Result<()> {
        let mut catalog = Catalog::default();
        for spec in &self.models {
            let settings = self.settings.model(&spec.name);
            let began = Instant::now();
            let model = load_model(spec, settings, &self.runtime)?;
            let golden = model.check_golden()?.require(&spec.name, spec.version)?;
            if golden.rows == 0 {
                self.shared.log.warning(format_args!(
                    "{}@{} keeps no golden rows: nothing shows that it answers here as it did when it was saved",
                    spec.name, spec.version
                ));
            }
            let batcher = Arc::new(Batcher::new(Arc::new(model), settings.max_batch_rows, settings.max_queue_rows));
            for _ in 0..threads {
                let batcher = batcher.clone();
                let thread = std::thread::Builder::new()
                    .name("monorail-engine".to_owned())
                    .spawn(move || batcher.work())
                    .map_err(|e| Error::new(Code::Internal, format!("no thread can be started: {e}")))?;
                engines.push(thread);
            }
            catalog.add(spec.name.clone(), spec.version, spec.aliases.clone(), batcher, settings.limit_rows);
            self.shared.log.info(format_args!(
                "{}@{} loaded in {} ms, {} golden rows matched",
                spec.name,
                spec.version,
                began.elapsed().as_millis(),
                golden.rows
            ));
        }
        // Nobody else sets it.
        let _ = self.shared.catalog.set(catalog);
        Ok(())
    }
}

fn load_model(spec: &ModelSpec, settings: &Settings, runtime: &Path) -> Result<Model> {
    Model::load(Bundle::open(&spec.path)?, runtime, settings.unknown_columns)
}

/// Starts the event loops: the first accepts, and deals connections out in turn.
fn start_loops(shared: &Arc<Shared>, listener: TcpListener, threads: usize) -> Result<Vec<JoinHandle<()>>> {
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
    for to in loops.iter().cycle() {
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
