//! The load generator against a small server of known behaviour.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use monorail_core::bench::{Load, run};
use monorail_core::error::Code;

/// Answers every request with what `answer` says of its number, path and body.
fn serve(answer: impl Fn(u64, &str, &[u8]) -> String + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicU64::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            std::thread::spawn(move || answer_all(&stream.unwrap(), &*answer, &count));
        }
    });
    url
}

/// Serves one connection until it ends.
fn answer_all(stream: &TcpStream, answer: &dyn Fn(u64, &str, &[u8]) -> String, count: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let path = first.split(' ').nth(1).unwrap().to_owned();
        let text = answer(count.fetch_add(1, Ordering::Relaxed), &path, &body);
        if (&*stream).write_all(text.as_bytes()).is_err() || text.contains("Connection: close") || text.is_empty() {
            return;
        }
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn load(url: &str) -> Load {
    Load {
        url: url.to_owned(),
        name: "flights@champion".to_owned(),
        bodies: vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()],
        content_type: "application/json".to_owned(),
        connections: 4,
        duration: Duration::from_millis(300),
    }
}

#[test]
fn measures_a_server() {
    let seen = Arc::new([const { AtomicU64::new(0) }; 3]);
    let rows = Arc::new(AtomicU64::new(0));
    let (seen_, rows_) = (Arc::clone(&seen), Arc::clone(&rows));
    let url = serve(move |_, path, body| {
        if path == "/metrics" {
            let rows = rows_.load(Ordering::Relaxed);
            let labels = "{model=\"flights\",version=\"1\"}";
            return ok(&format!(
                "monorail_batch_rows_sum{labels} {rows}\nmonorail_batch_rows_count{labels} {}\n",
                rows / 2
            ));
        }
        assert_eq!(path, "/models/flights@champion/predict");
        seen_[["one", "two", "three"].iter().position(|b| b.as_bytes() == body).unwrap()]
            .fetch_add(1, Ordering::Relaxed);
        rows_.fetch_add(2, Ordering::Relaxed);
        ok("{}")
    });
    let report = run(&load(&url), || false).unwrap();
    assert!(report.requests > 100, "{report:?}");
    assert_eq!((report.errors, report.errors_by_status.len()), (0, 0));
    assert!(report.p50_ms <= report.p90_ms && report.p90_ms <= report.p99_ms && report.p99_ms <= report.max_ms);
    assert!(report.p50_ms.unwrap() > 0.0);
    assert!((report.mean_batch_rows.unwrap() - 2.0).abs() < 0.1, "{report:?}");
    assert!((report.rows_per_s.unwrap() / report.requests_per_s - 2.0).abs() < 0.1, "{report:?}");
    assert_eq!(report.received_bytes, report.requests * ok("{}").len() as u64);
    let seen: Vec<u64> = seen.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    assert!(seen.iter().all(|n| *n > seen.iter().sum::<u64>() / 4), "bodies are not taken in turn: {seen:?}");
}

#[test]
fn counts_errors_by_status_and_goes_on() {
    let url = serve(|number, path, _| match number {
        _ if path == "/metrics" => "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
        n if n % 10 == 5 => "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy".to_owned(),
        n if n % 10 == 7 => String::new(),
        _ => ok("{}"),
    });
    let report = run(&load(&url), || false).unwrap();
    assert!(report.requests > 0 && report.errors_by_status["503"] > 0 && report.errors_by_status["connection"] > 0);
    assert_eq!(report.errors, report.errors_by_status.values().sum::<u64>());
    assert_eq!((report.mean_batch_rows, report.rows_per_s), (None, None));
}

#[test]
fn the_first_refusal_is_the_error() {
    let body = r#"{"error": {"code": "unknown_model", "message": "no model \"flights\"", "hint": "look again"}}"#;
    let url = serve(move |_, _, _| format!("HTTP/1.1 404 No\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let error = run(&load(&url), || false).unwrap_err();
    assert_eq!((error.code(), error.parts().hint.as_deref()), (Code::UnknownModel, Some("look again")));
    let url = serve(|_, _, _| "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops".to_owned());
    let error = run(&load(&url), || false).unwrap_err();
    assert!(error.to_string().contains("500: oops"), "{error}");
}

#[test]
fn an_interruption_ends_it() {
    let url = serve(|_, _, _| ok("{}"));
    let long = Load { duration: Duration::from_secs(3_600), ..load(&url) };
    let mut asked = 0;
    let error = run(&long, || {
        asked += 1;
        asked > 1
    });
    assert_eq!(error.unwrap_err().code(), Code::Internal);
}
