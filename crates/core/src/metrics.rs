//! Counters and histograms, and their Prometheus text. Names and labels are API.
//!
//! Everything here is a relaxed atomic: a request adds a handful of numbers and takes no lock.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::worker::Counters;
use crate::values::Plan;

/// Upper bounds of the time histograms, in seconds.
const SECONDS: [f64; 16] =
    [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of the batch histogram, in rows.
const ROWS: [f64; 16] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 65536.0];
/// Statuses that predictions may have; any other counts as the last.
const STATUSES: [u16; 15] = [200, 400, 403, 404, 405, 406, 413, 415, 422, 431, 499, 500, 503, 504, 0];

/// A histogram with 16 bounds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; 17],
    /// Seconds are summed in nanoseconds, rows as they are.
    sum: AtomicU64,
}

impl Histogram {
    fn add(&self, bounds: &[f64; 16], value: f64, sum: u64) {
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }

    /// Adds a duration to a histogram of seconds.
    pub fn time(&self, elapsed: Duration) {
        self.add(&SECONDS, elapsed.as_secs_f64(), u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a batch to a histogram of rows.
    #[expect(clippy::cast_precision_loss, reason = "only compared with bounds")]
    pub fn rows(&self, rows: usize) {
        self.add(&ROWS, rows as f64, rows as u64);
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus text is in doubles")]
    fn write(&self, text: &mut String, name: &str, labels: &str, bounds: &[f64; 16], unit: f64) {
        let mut total = 0;
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            total += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        total += self.buckets.last().map_or(0, |b| b.load(Ordering::Relaxed));
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", self.sum.load(Ordering::Relaxed) as f64 / unit);
        let _ = writeln!(text, "{name}_count{{{labels}}} {total}");
    }
}

/// Requests by status.
#[derive(Debug, Default)]
pub struct Statuses([AtomicU64; STATUSES.len()]);

impl Statuses {
    /// Counts one answer.
    pub fn count(&self, status: u16) {
        let place = STATUSES.iter().position(|s| *s == status).unwrap_or(STATUSES.len() - 1);
        if let Some(count) = self.0.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn write(&self, text: &mut String, labels: &str, road: &str) {
        for (count, status) in self.0.iter().zip(STATUSES) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let _ =
                    writeln!(text, "monorail_requests_total{{{labels},road=\"{road}\",status=\"{status}\"}} {count}");
            }
        }
    }
}

/// What is counted for one version of a model.
#[derive(Debug, Default)]
pub struct ModelMetrics {
    pub requests: Statuses,
    /// Those that came from a broker.
    pub queue_requests: Statuses,
    /// From the end of a request's head to its answer.
    pub request_seconds: Histogram,
    /// From the end of its turn to the engine.
    pub queue_seconds: Histogram,
    /// One call of the engine.
    pub engine_seconds: Histogram,
    pub batch_rows: Histogram,
}

/// What is counted for the whole server.
#[derive(Debug, Default)]
pub struct ServerMetrics {
    /// Predictions asked of a model that is not there: its name is no label.
    pub unknown_model: Statuses,
}

/// One model, as the text shows it.
pub struct Shown<'a> {
    pub name: &'a str,
    pub version: u64,
    pub metrics: &'a ModelMetrics,
    pub plan: &'a Plan,
    pub queue_rows: usize,
    /// Of a model that has workers.
    pub workers: Option<&'a Counters>,
}

/// The text of `/metrics`, in Prometheus' exposition format 0.0.4.
pub fn render(server: &ServerMetrics, models: &[Shown], ready: bool, dropped_lines: u64) -> String {
    let mut text = String::with_capacity(4_096);
    let labels: Vec<String> =
        models.iter().map(|m| format!("model=\"{}\",version=\"{}\"", m.name, m.version)).collect();
    let models: Vec<_> = models.iter().zip(&labels).collect();
    head(&mut text, "monorail_requests_total", "counter", "Requests answered, by status.");
    for (model, labels) in &models {
        model.metrics.requests.write(&mut text, labels, "http");
        model.metrics.queue_requests.write(&mut text, labels, "queue");
    }
    server.unknown_model.write(&mut text, "model=\"_unknown\",version=\"\"", "http");
    type Pick = fn(&ModelMetrics) -> &Histogram;
    let histograms: [(&str, &str, Pick, &[f64; 16], f64); 4] = [
        (
            "monorail_request_seconds",
            "Time from a request's head to its answer.",
            |m| &m.request_seconds,
            &SECONDS,
            1e9,
        ),
        ("monorail_queue_seconds", "Time a request's rows waited for the engine.", |m| &m.queue_seconds, &SECONDS, 1e9),
        ("monorail_engine_seconds", "Time of one call of the engine.", |m| &m.engine_seconds, &SECONDS, 1e9),
        ("monorail_batch_rows", "Rows of one call of the engine.", |m| &m.batch_rows, &ROWS, 1.0),
    ];
    for (name, help, pick, bounds, unit) in histograms {
        head(&mut text, name, "histogram", help);
        for (model, labels) in &models {
            pick(model.metrics).write(&mut text, name, labels, bounds, unit);
        }
    }
    head(&mut text, "monorail_queue_rows", "gauge", "Rows waiting for the engine.");
    for (model, labels) in &models {
        let _ = writeln!(text, "monorail_queue_rows{{{labels}}} {}", model.queue_rows);
    }
    write_workers(&mut text, &models);
    head(&mut text, "monorail_unseen_categories_total", "counter", "Strings that no category of the reference equals.");
    for (model, labels) in &models {
        for column in model.plan.columns.iter().filter(|c| c.counts().0) {
            let name = escaped(&column.name);
            let _ =
                writeln!(text, "monorail_unseen_categories_total{{{labels},column=\"{name}\"}} {}", column.unseen());
        }
    }
    head(&mut text, "monorail_out_of_range_total", "counter", "Numbers outside the reference's range.");
    for (model, labels) in &models {
        for column in model.plan.columns.iter().filter(|c| c.counts().1) {
            let name = escaped(&column.name);
            let _ = writeln!(text, "monorail_out_of_range_total{{{labels},column=\"{name}\"}} {}", column.outside());
        }
    }
    head(&mut text, "monorail_ready", "gauge", "1 while the server takes new work.");
    let _ = writeln!(text, "monorail_ready {}", u8::from(ready));
    head(&mut text, "monorail_log_lines_dropped_total", "counter", "Log lines dropped because stderr was slow.");
    let _ = writeln!(text, "monorail_log_lines_dropped_total {dropped_lines}");
    text
}

fn write_workers(text: &mut String, models: &[(&Shown, &String)]) {
    let with_workers = || models.iter().filter_map(|(model, labels)| Some((model.workers?, labels)));
    head(text, "monorail_workers", "gauge", "Worker processes that are ready.");
    for (workers, labels) in with_workers() {
        let _ = writeln!(text, "monorail_workers{{{labels}}} {}", workers.workers());
    }
    head(text, "monorail_worker_restarts_total", "counter", "Worker processes that were replaced, by reason.");
    for (workers, labels) in with_workers() {
        workers.write_restarts(text, labels);
    }
}

/// Begins a metric.
pub fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value, escaped as the format asks.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative() {
        let histogram = Histogram::default();
        histogram.rows(1);
        histogram.rows(3);
        histogram.rows(1_000_000);
        let mut text = String::new();
        histogram.write(&mut text, "n", "a=\"b\"", &ROWS, 1.0);
        assert!(text.contains("n_bucket{a=\"b\",le=\"1\"} 1\n"), "{text}");
        assert!(text.contains("n_bucket{a=\"b\",le=\"4\"} 2\n"));
        assert!(text.contains("n_bucket{a=\"b\",le=\"65536\"} 2\n"));
        assert!(text.contains("n_bucket{a=\"b\",le=\"+Inf\"} 3\n"));
        assert!(text.contains("n_sum{a=\"b\"} 1000004\nn_count{a=\"b\"} 3\n"));
    }
}
