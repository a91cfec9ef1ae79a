//! What each path means, and the answers that need no engine.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

use crate::catalog::{Catalog, Served};
use crate::error::{Code, Error, Result};
use crate::log::Access;

use super::connection::{Connection, Request};
use super::head::{Head, Method};
use super::jobs::{self, Action};
use super::predict;
use super::query::decoded;
use super::respond::{self, Closing, Frame, JSON};

/// A path of this server.
#[derive(Debug, PartialEq)]
enum Route<'a> {
    Live,
    Ready,
    Metrics,
    Models,
    Model(Cow<'a, str>),
    Predict(Cow<'a, str>),
    /// `/models/{name}/jobs`.
    ModelJobs(Cow<'a, str>),
    /// `/jobs`.
    Jobs,
    /// `/jobs/{id}`, and what follows it.
    Job(&'a str, &'a str),
    Unknown,
}

fn route(path: &str) -> Route<'_> {
    if let Some(rest) = path.strip_prefix("/models/") {
        return match rest.split_once('/') {
            Some((reference, "predict")) => decoded(reference).map_or(Route::Unknown, Route::Predict),
            Some((reference, "jobs")) => decoded(reference).map_or(Route::Unknown, Route::ModelJobs),
            None if !rest.is_empty() => decoded(rest).map_or(Route::Unknown, Route::Model),
            _ => Route::Unknown,
        };
    }
    if let Some(rest) = path.strip_prefix("/jobs/") {
        let (id, rest) = rest.split_once('/').map_or((rest, None), |(id, rest)| (id, Some(rest)));
        return match rest {
            None if !id.is_empty() => Route::Job(id, ""),
            Some(rest @ ("result" | "retry" | "callback")) if !id.is_empty() => Route::Job(id, rest),
            _ => Route::Unknown,
        };
    }
    match path {
        "/jobs" => Route::Jobs,
        "/health/live" | "/v2/health/live" => Route::Live,
        "/health/ready" | "/v2/health/ready" => Route::Ready,
        "/metrics" => Route::Metrics,
        "/models" => Route::Models,
        _ => Route::Unknown,
    }
}

/// Whether a request is the submission of a job whose rows can be scored part by part.
pub fn takes_large(connection: &Connection, head: &Head) -> bool {
    let shared = &connection.event_loop.shared;
    let Route::ModelJobs(reference) = route(connection.path(head)) else { return false };
    let found = shared.jobs().and_then(|_| shared.catalog()?.find(&reference));
    found.is_ok_and(|served| served.batcher.model.manifest.row_wise)
}

/// Answers a request into the connection's output; false if the client went away meanwhile.
pub async fn answer(connection: &mut Connection, request: &Request, close: bool) -> bool {
    let head = &request.head;
    let closing = Closing::of(close, head.old);
    let head_only = head.method == Method::Head;
    let found = match route(connection.path(head)) {
        Route::Predict(_) if head.method == Method::Post && head.respond_async => {
            return answer_job(connection, request, closing).await;
        }
        Route::Predict(reference) if head.method == Method::Post => {
            let shared = connection.event_loop.shared.clone();
            let found = shared.catalog().and_then(|catalog| catalog.find(&reference).cloned());
            return predict::answer(connection, request, found, closing).await;
        }
        Route::Predict(_) => Err((method_not_allowed("POST"), "\r\nallow: POST")),
        Route::ModelJobs(_) | Route::Jobs | Route::Job(..) => return answer_job(connection, request, closing).await,
        Route::Unknown => Err((unknown_route(), "")),
        _ if !matches!(head.method, Method::Get | Method::Head) => {
            Err((method_not_allowed("GET"), "\r\nallow: GET, HEAD"))
        }
        other => plain(connection, &other).map_err(|error| (error, "")),
    };
    let status = match &found {
        Ok((media_type, body)) => succeed(connection, closing, head_only, media_type, body),
        Err((error, extra)) => refuse(connection, closing, head_only, error, extra),
    };
    log_access(connection, request, status, 0);
    true
}

/// Answers on the routes of jobs; false if the client went away meanwhile.
async fn answer_job(connection: &mut Connection, request: &Request, closing: Closing) -> bool {
    let head = &request.head;
    let (method, path) = (head.method, connection.path(head).to_owned());
    let route = route(&path);
    let (reads, head_only) = (matches!(method, Method::Get | Method::Head), method == Method::Head);
    let mut extra = "";
    let action = match &route {
        Route::Predict(reference) => {
            extra = "\r\npreference-applied: respond-async";
            Ok(Action::Submit(reference))
        }
        Route::ModelJobs(reference) if method == Method::Post => Ok(Action::Submit(reference)),
        Route::ModelJobs(_) => Err(("POST", "\r\nallow: POST")),
        Route::Job(id, "result") if reads => Ok(Action::Result(id)),
        Route::Job(id, "") if reads => Ok(Action::Show(id)),
        Route::Job(id, "") if method == Method::Delete => Ok(Action::Cancel(id)),
        Route::Job(id, "retry") if method == Method::Post => Ok(Action::Retry(id)),
        Route::Job(id, "callback") if method == Method::Post => Ok(Action::CallBack(id)),
        Route::Job(_, "retry" | "callback") => Err(("POST", "\r\nallow: POST")),
        Route::Job(_, "") => Err(("GET or DELETE", "\r\nallow: GET, HEAD, DELETE")),
        Route::Jobs if reads => Ok(Action::List),
        _ => Err(("GET", "\r\nallow: GET, HEAD")),
    };
    let status = match action {
        Ok(action) => jobs::answer(connection, request, &action, closing, head_only, extra).await,
        Err((method, allowed)) => Some(refuse(connection, closing, head_only, &method_not_allowed(method), allowed)),
    };
    let gone = status.is_none();
    log_access(connection, request, status.unwrap_or(predict::GONE), 0);
    !gone
}

/// Appends an answer of 200 to the connection's output.
pub fn succeed(connection: &mut Connection, closing: Closing, head_only: bool, media_type: &str, body: &[u8]) -> u16 {
    let event_loop = connection.event_loop.clone();
    let frame = Frame { closing, head_only, request_id: &connection.request_id, date: &event_loop.date() };
    respond::answer(&mut connection.output, &frame, 200, media_type, "", body);
    200
}

/// Appends an error's answer to the connection's output, and gives its status.
pub fn refuse(connection: &mut Connection, closing: Closing, head_only: bool, error: &Error, extra: &str) -> u16 {
    let event_loop = connection.event_loop.clone();
    let frame = Frame { closing, head_only, request_id: &connection.request_id, date: &event_loop.date() };
    respond::error(&mut connection.output, &frame, error, extra)
}

/// Writes the access log's line, if there is an access log.
pub fn log_access(connection: &Connection, request: &Request, status: u16, rows: usize) {
    let shared = &connection.event_loop.shared;
    if shared.settings.access_log {
        let method = match request.head.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Delete => "DELETE",
            Method::Other => "-",
        };
        shared.log.access(&Access {
            method,
            path: connection.path(&request.head),
            status,
            rows: rows as u64,
            body_bytes: connection.body(request).len() as u64,
            elapsed: request.began.elapsed(),
            request_id: &connection.request_id,
        });
    }
}

/// Writes the access log's line of what could not be read as a request.
pub fn log_refusal(connection: &Connection, status: u16) {
    let shared = &connection.event_loop.shared;
    if shared.settings.access_log {
        let request_id = &connection.request_id;
        let elapsed = Duration::ZERO;
        shared.log.access(&Access { method: "-", path: "-", status, rows: 0, body_bytes: 0, elapsed, request_id });
    }
}

type Body = (&'static str, Vec<u8>);

/// The answers that only read.
fn plain(connection: &Connection, route: &Route) -> Result<Body> {
    let shared = &connection.event_loop.shared;
    let json = |value: Value| Ok((JSON, value.to_string().into_bytes()));
    match route {
        Route::Live => json(json!({"live": true})),
        Route::Ready => shared.ready().and_then(|()| json(json!({"ready": true}))),
        Route::Metrics => Ok(("text/plain; version=0.0.4; charset=utf-8", shared.render_metrics().into_bytes())),
        Route::Models => json(list(shared.catalog()?)),
        Route::Model(reference) => {
            let catalog = shared.catalog()?;
            json(describe(catalog, catalog.find(reference)?))
        }
        _ => Err(unknown_route()),
    }
}

fn list(catalog: &Catalog) -> Value {
    let models: Vec<Value> = catalog
        .names()
        .map(|(name, versions)| json!({"name": name, "versions": numbers(&versions), "aliases": aliases(&versions), "engine": engine(versions.last().copied())}))
        .collect();
    json!({ "models": models })
}

/// One model: its signature, but none of what training saw.
fn describe(catalog: &Catalog, served: &Served) -> Value {
    let manifest = &served.batcher.model.manifest;
    let versions = catalog.versions(&served.name);
    let proof = &manifest.proof;
    json!({
        "name": served.name,
        "version": served.version,
        "versions": numbers(&versions),
        "aliases": aliases(&versions),
        "engine": manifest.engine().as_str(),
        "row_wise": manifest.row_wise,
        "created": manifest.created,
        "signature": manifest.signature.public(),
        "proof": {
            "passed": proof.passed,
            "unproven": proof.unproven,
            "rows": proof.rows,
            "hard_rows": proof.hard_rows,
            "label_mismatches": proof.label_mismatches,
            "worst_difference": proof.worst_difference,
        },
        "metrics": manifest.metrics,
        "tags": manifest.tags,
    })
}

fn numbers(versions: &[&std::sync::Arc<Served>]) -> Vec<u64> {
    versions.iter().map(|s| s.version).collect()
}

fn aliases(versions: &[&std::sync::Arc<Served>]) -> Value {
    versions.iter().flat_map(|s| s.aliases.iter().map(|a| (a.clone(), Value::from(s.version)))).collect()
}

fn engine(served: Option<&std::sync::Arc<Served>>) -> Option<&'static str> {
    served.map(|s| s.batcher.model.manifest.engine().as_str())
}

fn unknown_route() -> Error {
    Error::new(Code::UnknownRoute, "there is no such path")
        .hint("predictions are at POST /models/{name}/predict; also GET /models, /jobs, /health/ready, /metrics")
}

fn method_not_allowed(allowed: &str) -> Error {
    Error::new(Code::MethodNotAllowed, "the path does not take this method").hint(format!("use {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        assert_eq!(route("/models/flights/predict"), Route::Predict("flights".into()));
        assert_eq!(route("/models/flights%40champion/predict"), Route::Predict("flights@champion".into()));
        assert_eq!(route("/models/flights@3"), Route::Model("flights@3".into()));
        assert_eq!(route("/v2/health/live"), Route::Live);
        for unknown in
            ["/models/", "/models/a/b", "/models/a/predict/", "/", "//models", "/models/%ff/predict", "/models/%4"]
        {
            assert_eq!(route(unknown), Route::Unknown, "{unknown}");
        }
    }
}
