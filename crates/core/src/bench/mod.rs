//! The load generator behind `monorail bench`: keep-alive connections, each sending one request after
//! the other, on one thread.
//!
//! It is a closed loop: a connection waits for its answer, so that a slow server is asked less. Its
//! percentiles are therefore those that this many waiting callers see.

mod connection;
mod histogram;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::error::{Code, Error, Result};
use crate::names::{Reference, shorten};
use connection::{Connection, Failure, Head, Target};
use histogram::Histogram;

/// Most connections at once.
pub const LIMIT_CONNECTIONS: usize = 10_000;
/// Longest warm-up.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long answers may take to arrive after the end.
const GRACE: Duration = Duration::from_secs(5);
/// How long the first answer may take.
const FIRST: Duration = Duration::from_secs(30);
/// Pause of a connection that could not be made.
const RECONNECT: Duration = Duration::from_millis(20);

/// What to do.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server: `http://HOST:PORT`.
    pub url: String,
    /// The model, perhaps with `@version` or `@alias`.
    pub name: String,
    /// Bodies, which each connection takes in turn.
    pub bodies: Vec<Vec<u8>>,
    pub content_type: String,
    pub connections: usize,
    /// How long to measure; a warm-up of a tenth of it, at most half a second, goes before.
    pub duration: Duration,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Requests answered 200.
    pub requests: u64,
    /// Requests answered otherwise or not at all.
    pub errors: u64,
    /// The same by status; `connection`, `protocol` and `timeout` had none.
    pub errors_by_status: BTreeMap<String, u64>,
    pub seconds: f64,
    pub requests_per_s: f64,
    /// Null where `/metrics` does not tell.
    pub rows_per_s: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p999_ms: Option<f64>,
    pub max_ms: Option<f64>,
    /// Null where `/metrics` does not tell.
    pub mean_batch_rows: Option<f64>,
    /// Bytes of the answers, heads included.
    pub received_bytes: u64,
}

/// What the connections count together.
#[derive(Default)]
struct Counts {
    times: Histogram,
    errors: BTreeMap<String, u64>,
    received_bytes: u64,
    /// Answers with status 200, those of the warm-up included.
    answered: u64,
}

/// What all connections share.
struct Shared {
    address: SocketAddr,
    /// Whole requests, heads included.
    requests: Vec<Vec<u8>>,
    /// When measuring begins and ends.
    window: (Instant, Instant),
    counts: Mutex<Counts>,
}

/// Loads a server and measures it. `interrupted` is asked ten times a second whether to give up.
///
/// # Errors
/// `unreachable`; `setting_invalid` for a load that cannot be; what the server answers to the first
/// request, if that is an error; `internal` if it was interrupted or there is no thread to be had.
pub fn run(load: &Load, mut interrupted: impl FnMut() -> bool) -> Result<Report> {
    check(load)?;
    let target = Target::parse(&load.url)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Code::Internal, format!("no event loop: {e}")))?;
    runtime.block_on(async {
        let requests: Vec<Vec<u8>> = load.bodies.iter().map(|body| request(&target, load, body)).collect();
        let address = first_answer(&target, &requests).await?;
        let before = metrics(&target, address, &load.name).await;
        let start = Instant::now() + (load.duration / 10).min(WARM_UP);
        let end = start + load.duration;
        let shared = Arc::new(Shared { address, requests, window: (start, end), counts: Mutex::default() });
        let mut tasks = JoinSet::new();
        for number in 0..load.connections {
            let first = number * shared.requests.len() / load.connections;
            tasks.spawn(connection_loop(Arc::clone(&shared), first));
        }
        while Instant::now() < end {
            if interrupted() {
                return Err(Error::new(Code::Internal, "the load was interrupted"));
            }
            tokio::time::sleep(Duration::from_millis(100).min(end - Instant::now().min(end))).await;
        }
        let late = async { while tasks.join_next().await.is_some() {} };
        let is_late = tokio::time::timeout(GRACE, late).await.is_err();
        let unanswered = if is_late { tasks.len() as u64 } else { 0 };
        tasks.abort_all();
        let after = metrics(&target, address, &load.name).await;
        let mut counts = std::mem::take(&mut *shared.counts.lock().unwrap_or_else(PoisonError::into_inner));
        if unanswered > 0 {
            counts.errors.insert("timeout".to_owned(), unanswered);
        }
        Ok(report(load, counts, before.zip(after)))
    })
}

fn check(load: &Load) -> Result<()> {
    Reference::parse(&load.name)?;
    let wrong = |what: String| Err(Error::new(Code::SettingInvalid, what));
    if load.bodies.is_empty() {
        return wrong("there are no bodies to send".to_owned());
    }
    if !(1..=LIMIT_CONNECTIONS).contains(&load.connections) {
        return wrong(format!("connections is {}; it must be from 1 to {LIMIT_CONNECTIONS}", load.connections));
    }
    if load.duration < Duration::from_millis(1) || load.duration > Duration::from_secs(86_400) {
        return wrong("seconds must be from 0.001 to 86400".to_owned());
    }
    if load.content_type.bytes().any(|b| b < b' ' || b == 0x7f) {
        return wrong("the content type holds control characters".to_owned());
    }
    Ok(())
}

fn request(target: &Target, load: &Load, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {}/models/{}/predict HTTP/1.1\r\nHost: {}\r\nUser-Agent: monorail-bench\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        target.prefix,
        load.name,
        target.host,
        load.content_type,
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Sends the first request, so that a load of nothing but errors is not started. Gives the address
/// that answered.
async fn first_answer(target: &Target, requests: &[Vec<u8>]) -> Result<SocketAddr> {
    let unreachable = |what: String| {
        Error::new(Code::Unreachable, format!("the server at {} does not answer: {what}", target.host))
            .hint("is it running, and is this its address?")
    };
    let addresses = target.addresses().map_err(|e| unreachable(e.to_string()))?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        let answer = async {
            let mut connection = Connection::open(address).await?;
            let head = connection.exchange(requests.first().map_or(&[][..], Vec::as_slice)).await?;
            Ok::<_, Failure>((head, connection))
        };
        match tokio::time::timeout(FIRST, answer).await {
            Ok(Ok((head, _))) if head.status == 200 => return Ok(address),
            Ok(Ok((head, connection))) => return Err(refusal(head, connection.body(head))),
            Ok(Err(Failure::Connection(error))) => why = error.to_string(),
            Ok(Err(Failure::Protocol)) => why = "it does not speak HTTP/1.1 as we know it".to_owned(),
            Err(_) => why = format!("nothing within {} s", FIRST.as_secs()),
        }
    }
    Err(unreachable(why))
}

/// The error that an answer tells of.
fn refusal(head: Head, body: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Answer {
        error: Told,
    }
    #[derive(Deserialize)]
    struct Told {
        code: String,
        message: String,
        hint: Option<String>,
    }
    let told = serde_json::from_slice::<Answer>(body).map(|a| a.error).ok();
    let code = told.as_ref().and_then(|t| Code::ALL.iter().find(|c| c.as_str() == t.code));
    match (code, told) {
        (Some(&code), Some(told)) => {
            let error = Error::new(code, told.message);
            match told.hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        _ => {
            let body = shorten(&String::from_utf8_lossy(body));
            Error::new(Code::Unreachable, format!("the server answers the first request with {}: {body}", head.status))
        }
    }
}

/// One connection's work until the end.
async fn connection_loop(shared: Arc<Shared>, first: usize) {
    let (start, end) = shared.window;
    let mut connection = None;
    for request in shared.requests.iter().cycle().skip(first) {
        let sent = Instant::now();
        if sent >= end {
            return;
        }
        let answer = answer(&mut connection, shared.address, request).await;
        let now = Instant::now();
        let is_measured = sent >= start && now <= end;
        let failed = matches!(answer, Err(Failure::Connection(_)));
        shared.counts.lock().unwrap_or_else(PoisonError::into_inner).add(answer, now - sent, is_measured);
        if failed {
            tokio::time::sleep(RECONNECT).await;
        }
    }
}

/// Sends one request over the connection, which is made where there is none.
async fn answer(kept: &mut Option<Connection>, address: SocketAddr, request: &[u8]) -> Result<Head, Failure> {
    // Taken out, so that a connection that fails is not used again.
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(address).await?,
    };
    let head = connection.exchange(request).await?;
    if head.keeps_alive {
        *kept = Some(connection);
    }
    Ok(head)
}

impl Counts {
    fn add(&mut self, answer: Result<Head, Failure>, time: Duration, is_measured: bool) {
        if matches!(answer, Ok(Head { status: 200, .. })) {
            self.answered += 1;
        }
        if !is_measured {
            return;
        }
        let error = match answer {
            Ok(head) => {
                self.received_bytes += (head.bytes + head.body_bytes) as u64;
                if head.status == 200 {
                    self.times.add(time);
                    return;
                }
                head.status.to_string()
            }
            Err(Failure::Connection(_)) => "connection".to_owned(),
            Err(Failure::Protocol) => "protocol".to_owned(),
        };
        *self.errors.entry(error).or_default() += 1;
    }
}

/// Rows and batches of a model, as `/metrics` counts them over all its versions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Batches {
    rows: f64,
    batches: f64,
}

/// Asks for the metrics; `None` where there are none of ours.
async fn metrics(target: &Target, address: SocketAddr, name: &str) -> Option<Batches> {
    let request =
        format!("GET {}/metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.prefix, target.host);
    let exchange = async {
        let mut connection = Connection::open(address).await.ok()?;
        let head = connection.exchange(request.as_bytes()).await.ok()?;
        let text = String::from_utf8_lossy(connection.body(head)).into_owned();
        (head.status == 200).then_some(text)
    };
    let text = tokio::time::timeout(GRACE, exchange).await.ok()??;
    batches(&text, name.split('@').next().unwrap_or(name))
}

fn batches(text: &str, name: &str) -> Option<Batches> {
    let label = format!("model=\"{name}\"");
    let sum = |metric: &str| -> Option<f64> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{')?.split_once("} "));
        let values = lines.filter(|(labels, _)| labels.split(',').any(|l| l == label));
        values
            .map(|(_, value)| value.trim().parse::<f64>().ok())
            .try_fold(None, |total, value| Some(Some(total.unwrap_or(0.0) + value?)))?
    };
    Some(Batches { rows: sum("monorail_batch_rows_sum")?, batches: sum("monorail_batch_rows_count")? })
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn report(load: &Load, counts: Counts, batches: Option<(Batches, Batches)>) -> Report {
    let seconds = load.duration.as_secs_f64();
    let requests = counts.times.total();
    let requests_per_s = requests as f64 / seconds;
    let grown = batches
        .map(|(before, after)| Batches { rows: after.rows - before.rows, batches: after.batches - before.batches });
    let grown = grown.filter(|g| g.batches > 0.0 && g.rows > 0.0 && counts.answered > 0);
    Report {
        requests,
        errors: counts.errors.values().sum(),
        errors_by_status: counts.errors,
        seconds,
        requests_per_s,
        rows_per_s: grown.map(|g| requests_per_s * g.rows / counts.answered as f64),
        p50_ms: counts.times.quantile_ms(0.5),
        p90_ms: counts.times.quantile_ms(0.9),
        p99_ms: counts.times.quantile_ms(0.99),
        p999_ms: counts.times.quantile_ms(0.999),
        max_ms: counts.times.max_ms(),
        mean_batch_rows: grown.map(|g| g.rows / g.batches),
        received_bytes: counts.received_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_batches_of_one_model() {
        let text = "# HELP monorail_batch_rows x\n\
            monorail_batch_rows_bucket{model=\"flights\",version=\"1\",le=\"1\"} 3\n\
            monorail_batch_rows_sum{model=\"flights\",version=\"1\"} 100\n\
            monorail_batch_rows_sum{model=\"flights\",version=\"2\"} 20\n\
            monorail_batch_rows_sum{model=\"other\",version=\"2\"} 7000\n\
            monorail_batch_rows_count{model=\"flights\",version=\"1\"} 10\n\
            monorail_batch_rows_count{model=\"flights\",version=\"2\"} 5\n";
        assert_eq!(batches(text, "flights"), Some(Batches { rows: 120.0, batches: 15.0 }));
        assert_eq!(batches(text, "flight"), None);
        assert_eq!(batches("", "flights"), None);
    }

    #[test]
    fn a_load_that_cannot_be_is_refused() {
        let load = Load {
            url: "http://127.0.0.1:1".to_owned(),
            name: "flights".to_owned(),
            bodies: vec![b"{}".to_vec()],
            content_type: "application/json".to_owned(),
            connections: 1,
            duration: Duration::from_secs(1),
        };
        let code = |load: &Load| run(load, || false).unwrap_err().code();
        assert_eq!(code(&Load { connections: 0, ..load.clone() }), Code::SettingInvalid);
        assert_eq!(code(&Load { bodies: Vec::new(), ..load.clone() }), Code::SettingInvalid);
        assert_eq!(code(&Load { name: "a b".to_owned(), ..load.clone() }), Code::NameInvalid);
        assert_eq!(code(&Load { content_type: "a\r\nb".to_owned(), ..load.clone() }), Code::SettingInvalid);
        assert_eq!(code(&Load { url: "https://a".to_owned(), ..load.clone() }), Code::SettingInvalid);
        assert_eq!(code(&load), Code::Unreachable);
    }
}
