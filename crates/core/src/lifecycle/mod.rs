//! A server's life: bind, load, prove the golden rows, serve, drain, stop.
//!
//! A server has threads of its own and no state outside itself: two in one process do not meet. Event loops
//! and engine threads are apart, so that a slow engine call never keeps a health check waiting.

mod loops;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::batcher::Batcher;
use crate::brokers::{self, Brokers};
use crate::bundle::{Bundle, Purpose};
use crate::catalog::Catalog;
use crate::engine::Model;
use crate::engine::model::Options;
use crate::engine::worker::Launch;
use crate::error::{Code, Error, Result};
use crate::jobs::Jobs;
use crate::log::{Level, Log};
use crate::metrics::{self, ServerMetrics};
use crate::settings::{ServeSettings, Settings};

/// What stands before the folder of a job store that nobody asked for by its path.
const AUTO_JOBS: &str = "auto:";
const BACKLOG: i32 = 4_096;
/// Most bytes of the buffers that one request's rows and answers take, strings aside.
const LIMIT_REQUEST_BYTES: usize = 256 << 20;

/// A model to serve: a version, where its bundle is, and the aliases that point at it.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct ModelSpec {
    pub name: String,
    pub version: u64,
    pub path: PathBuf,
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Whether code in it may run.
    #[serde(default)]
    pub trusted: bool,
    /// How its workers are started, if it has some: the JSON of a [`Launch`].
    #[serde(default)]
    pub worker: Option<String>,
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
    jobs: OnceLock<Result<Arc<Jobs>>>,
    /// How the queue roads are.
    roads: OnceLock<Vec<Arc<brokers::State>>>,
    /// Connections with a request under way.
    busy: AtomicUsize,
    /// Connections open.
    open: AtomicUsize,
    /// Bytes of large bodies and answers that connections hold.
    held_bytes: AtomicUsize,
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

    /// Waits until the server is on its way out.
    pub async fn until_draining(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.stage.subscribe().wait_for(|now| *now >= Stage::Draining).await;
    }

    /// Waits until the server stops at once.
    pub async fn until_stopped(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.stage.subscribe().wait_for(|now| *now >= Stage::Stopped).await;
    }

    /// The models.
    ///
    /// # Errors
    /// `not_ready` while they are being loaded.
    pub fn catalog(&self) -> Result<&Catalog> {
        self.catalog.get().ok_or_else(loading)
    }

    /// The asynchronous predictions.
    ///
    /// # Errors
    /// `not_ready` while the models are being loaded, `jobs_unavailable`.
    pub fn jobs(&self) -> Result<Arc<Jobs>> {
        match self.jobs.get() {
            Some(jobs) => jobs.clone(),
            None if self.stage() == Stage::Loading => Err(loading()),
            None => Err(no_jobs()),
        }
    }

    /// Whether the server wants new work.
    ///
    /// # Errors
    /// `not_ready`, `draining`, or `queue_unavailable` while a broker is away.
    pub fn ready(&self) -> Result<()> {
        match self.stage() {
            Stage::Ready => self.roads.get().into_iter().flatten().try_for_each(|road| road.ready()),
            Stage::Loading => Err(loading()),
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

    /// Accounts for a connection that held `before` bytes and now holds `now`; false if that is too much.
    pub fn hold_bytes(&self, before: usize, now: usize) -> bool {
        let others = self.held_bytes.fetch_sub(before, Ordering::Relaxed).saturating_sub(before);
        self.held_bytes.fetch_add(now, Ordering::Relaxed);
        others.saturating_add(now) <= self.settings.limit_buffered_bytes
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
                workers: s.batcher.model.engine.workers(),
            })
            .collect();
        let mut text = metrics::render(&self.metrics, &shown, self.ready().is_ok(), self.log.dropped());
        if let Some(Ok(jobs)) = self.jobs.get() {
            jobs.write_metrics(&mut text);
        }
        brokers::render(&mut text, self.roads.get().map(Vec::as_slice).unwrap_or_default());
        text
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
    /// Binds, and starts to load the models; [`Server::ready_within`] says when they are there.
    ///
    /// `runtime` is the path of the ONNX Runtime library.
    ///
    /// # Errors
    /// `address_in_use` if the address cannot be had, `setting_invalid` if queue roads contradict each other.
    pub fn start(models: Vec<ModelSpec>, settings: ServeSettings, runtime: PathBuf) -> Result<Self> {
        let names: Vec<&str> = models.iter().map(|spec| spec.name.as_str()).collect();
        brokers::plan(&settings, &names)?;
        let listener = bind(&settings.serve)?;
        let address = listener.local_addr().map_err(|e| unusable(&settings.serve, &e))?;
        let (log, _) = Log::stderr(Level::Info);
        let shared = Arc::new(Shared {
            settings: settings.serve.clone(),
            metrics: ServerMetrics::default(),
            log,
            stage: watch::Sender::new(Stage::Loading),
            catalog: OnceLock::new(),
            jobs: OnceLock::new(),
            roads: OnceLock::new(),
            busy: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
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

    /// Waits until every model is loaded and its golden rows have matched, for at most `timeout`; `None` if they
    /// are not there by then, or what kept a model from loading: the server stops then.
    pub fn ready_within(&self, timeout: Duration) -> Option<Result<()>> {
        let (state, changed) = &*self.outcome;
        let waiting = |outcome: &mut Outcome| outcome.loaded.is_none() && !outcome.stopped;
        let state = changed.wait_timeout_while(lock(state), timeout, waiting).unwrap_or_else(PoisonError::into_inner).0;
        match &state.loaded {
            None if state.stopped => Some(Err(Error::new(Code::Draining, "the server was stopped while loading"))),
            loaded => loaded.clone(),
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
        let loops = loops::start(&self.shared, listener, threads);
        let mut engines = Vec::new();
        let loaded = loops.as_ref().map_err(Clone::clone).and_then(|_| self.load(threads, &mut engines));
        let loaded = loaded.and_then(|()| self.start_jobs()).and_then(|()| self.start_roads());
        if let Err(error) = &loaded {
            self.shared.log.error(format_args!("{error}"));
            self.shared.advance(Stage::Stopped);
        } else {
            self.shared.advance(Stage::Ready);
        }
        let roads = loaded.as_ref().ok().and_then(Option::as_ref).cloned();
        self.tell(|outcome| outcome.loaded = Some(loaded.map(drop)));
        for thread in loops.unwrap_or_default() {
            let _ = thread.join();
        }
        if let Some(Ok(jobs)) = self.shared.jobs.get() {
            jobs.stop();
        }
        roads.into_iter().for_each(|roads| roads.stop());
        for (batcher, _) in &engines {
            batcher.close();
        }
        // Workers are there until the last thread that uses them has ended; then they end side by side.
        let served: Vec<_> = engines.into_iter().map(|(batcher, thread)| (batcher, thread.join())).collect();
        for wait in [false, true] {
            for (batcher, _) in &served {
                batcher.model.engine.end(wait);
            }
        }
        self.tell(|outcome| outcome.stopped = true);
    }

    /// Opens the job store. One that another server has is no reason not to serve, unless it was asked for by its path.
    fn start_jobs(&self) -> Result<()> {
        let settings = &self.shared.settings;
        let (is_own, folder) = match settings.jobs.strip_prefix(AUTO_JOBS) {
            Some(folder) => (true, folder),
            None => (false, settings.jobs.as_str()),
        };
        if matches!(folder, "auto" | "off") {
            return Ok(());
        }
        let jobs = Jobs::start(Path::new(folder), &self.shared).map(Arc::new);
        if let Err(error) = &jobs {
            if !is_own || error.code() == Code::SettingInvalid {
                return Err(error.clone());
            }
            self.shared.log.warning(format_args!("{error}; predictions online go on"));
        }
        // Nobody else sets it.
        let _ = self.shared.jobs.set(jobs);
        Ok(())
    }

    /// Starts the queue roads that the settings ask for.
    fn start_roads(&self) -> Result<Option<Arc<Brokers>>> {
        let names: Vec<&str> = self.models.iter().map(|spec| spec.name.as_str()).collect();
        let (brokers, states) = Brokers::start(&self.settings, &names, &self.shared)?;
        // Nobody else sets it.
        let _ = self.shared.roads.set(states);
        Ok(brokers.map(Arc::new))
    }

    fn tell(&self, change: impl FnOnce(&mut Outcome)) {
        let (state, changed) = &*self.outcome;
        change(&mut lock(state));
        changed.notify_all();
    }

    /// Loads every model, checks its golden rows, and starts its engine threads.
    fn load(&self, threads: usize, engines: &mut Vec<(Arc<Batcher>, JoinHandle<()>)>) -> Result<()> {
        let mut catalog = Catalog::default();
        for spec in &self.models {
            if catalog.versions(&spec.name).iter().any(|served| served.version == spec.version) {
                let message = format!("{}@{} is given twice", spec.name, spec.version);
                return Err(Error::new(Code::VersionExists, message).hint("serve each version once"));
            }
            let settings = self.settings.model(&spec.name);
            let began = Instant::now();
            let model = load_model(spec, settings, &self.runtime, &self.shared)?;
            let golden = model.check_golden()?.require(&spec.name, spec.version)?;
            if golden.rows == 0 {
                self.shared.log.warning(format_args!(
                    "{}@{} keeps no golden rows: nothing shows that it answers here as it did when it was saved",
                    spec.name, spec.version
                ));
            }
            let batcher = Batcher::new(Arc::new(model), settings.max_batch_rows, settings.max_queue_rows);
            let batcher = Arc::new(batcher);
            batcher.listen();
            let threads = batcher.model.engine.parallel(threads);
            for _ in 0..threads {
                let worker = batcher.clone();
                let thread = std::thread::Builder::new()
                    .name("monorail-engine".to_owned())
                    .spawn(move || worker.work())
                    .map_err(|e| Error::new(Code::Internal, format!("no thread can be started: {e}")))?;
                engines.push((batcher.clone(), thread));
            }
            // A row's buffers are made before its values are known, so they bound the rows too.
            let limit_rows = settings.limit_rows.min(LIMIT_REQUEST_BYTES / batcher.model.row_bytes().max(1));
            catalog.add(spec.name.clone(), spec.version, spec.aliases.clone(), batcher, limit_rows.max(1));
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

fn loading() -> Error {
    Error::new(Code::NotReady, "the models are still being loaded").hint("wait for GET /health/ready to say 200")
}

fn no_jobs() -> Error {
    Error::new(Code::JobsUnavailable, "this server keeps no jobs").hint("start it with --jobs PATH")
}

fn load_model(spec: &ModelSpec, settings: &Settings, runtime: &Path, shared: &Shared) -> Result<Model> {
    let bundle = Bundle::open_for(&spec.path, Purpose::Run { trusted: spec.trusted, scratch: None })?;
    let launch = spec.worker.as_deref().map(Launch::from_json).transpose()?;
    // A drain while models are loaded has nothing to wait for: the loops have ended by then.
    let (launch, stop) = (launch.as_ref(), || shared.stage() >= Stage::Closing);
    Model::load(bundle, Options { runtime, settings, launch, log: &shared.log, stop: &stop })
}
