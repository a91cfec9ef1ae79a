//! The log: lines on stderr, written by one thread, that never hold up who logs.
//!
//! A line that finds the channel full is dropped and counted; the writer says how many when it is
//! through with the rest. There is no global logger: whoever logs holds a handle.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;

/// Lines that may wait for the writer.
const QUEUE_LINES: usize = 8_192;
/// Most bytes of a line; the rest is cut off.
const LIMIT_LINE_BYTES: usize = 8 << 10;
/// Bytes after which waiting lines are written, however many more wait.
const LIMIT_WRITE_BYTES: usize = 64 << 10;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    /// The word in a line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// A handle to a log; clones write to the same one.
#[derive(Clone, Debug)]
pub struct Log {
    least: Level,
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

/// The writer's thread, to be waited for at the end.
#[derive(Debug)]
pub struct Writer(Option<JoinHandle<()>>);

impl Writer {
    /// Waits until every line is written; all handles must be dropped, or it waits for them.
    pub fn join(self) {
        if let Some(thread) = self.0 {
            // A writer that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

/// A request, for its line in the log.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub status: u16,
    pub rows: u64,
    pub body_bytes: u64,
    pub elapsed: Duration,
    pub request_id: &'a str,
}

impl Log {
    /// A log of lines that matter at least so much, on stderr.
    pub fn stderr(least: Level) -> (Self, Writer) {
        Self::new(least, QUEUE_LINES, std::io::stderr())
    }

    /// A log that nobody reads.
    pub fn nowhere() -> Self {
        Self { least: Level::Error, lines: sync_channel(0).0, dropped: Arc::default() }
    }

    /// A log on another stream, of which `queue_lines` may wait.
    pub fn new(least: Level, queue_lines: usize, stream: impl Write + Send + 'static) -> (Self, Writer) {
        let (lines, waiting) = sync_channel(queue_lines);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Self { least, lines, dropped: Arc::clone(&dropped) };
        let thread = std::thread::Builder::new()
            .name("monorail-log".to_owned())
            .spawn(move || write_lines(&waiting, &dropped, stream));
        // Without a thread there is no log: lines are dropped and counted.
        (log, Writer(thread.ok()))
    }

    /// Whether a line of this level is written, for lines that cost something to make.
    pub fn is_on(&self, level: Level) -> bool {
        level >= self.least
    }

    /// Logs a line. Never waits.
    pub fn line(&self, level: Level, message: fmt::Arguments<'_>) {
        if !self.is_on(level) {
            return;
        }
        let mut line = start(level.as_str());
        // Writing to a string cannot fail; what a message's own `Display` fails at is left out.
        let _ = line.write_fmt(message);
        self.send(line);
    }

    /// Logs for whoever runs the server.
    pub fn info(&self, message: fmt::Arguments<'_>) {
        self.line(Level::Info, message);
    }

    /// Logs what is wrong but does not stop the work.
    pub fn warning(&self, message: fmt::Arguments<'_>) {
        self.line(Level::Warning, message);
    }

    /// Logs what stops the work.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.line(Level::Error, message);
    }

    /// Logs what a worker printed, whatever the level: it is the model's to say how much.
    pub fn printed(&self, who: &str, text: &str) {
        let mut line = start(Level::Info.as_str());
        let _ = write!(line, "{who} printed: {text}");
        self.send(line);
    }

    /// Logs a request, whatever the level.
    pub fn access(&self, access: &Access<'_>) {
        let Access { method, path, status, rows, body_bytes, elapsed, request_id } = *access;
        let mut line = start("access");
        let millis = elapsed.as_secs_f64() * 1e3;
        let _ = write!(
            line,
            "{method} {path} {status} rows={rows} body_bytes={body_bytes} elapsed_ms={millis:.3} request_id={request_id}"
        );
        self.send(line);
    }

    /// Lines dropped so far, because the stream was slower than the log.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn send(&self, mut line: String) {
        finish(&mut line);
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A line's time and kind.
fn start(kind: &str) -> String {
    let mut line = String::with_capacity(160);
    clock::push_utc_now(&mut line);
    line.push(' ');
    line.push_str(kind);
    line.push(' ');
    line
}

/// Makes one line of a text: whatever a client sent, it cannot forge another line or move the cursor.
fn finish(line: &mut String) {
    if line.len() > LIMIT_LINE_BYTES {
        let end = (0..=LIMIT_LINE_BYTES).rev().find(|n| line.is_char_boundary(*n)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    if line.chars().any(char::is_control) {
        let mut escaped = String::with_capacity(line.len() + 16);
        for c in line.chars() {
            if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
        }
        *line = escaped;
    }
    line.push('\n');
}

/// Writes until every handle is dropped. Returns early if the stream fails; lines are then counted as
/// dropped, since nobody receives them.
fn write_lines(waiting: &Receiver<String>, dropped: &AtomicU64, mut stream: impl Write) {
    let mut reported = 0;
    while let Ok(mut text) = waiting.recv() {
        // Together in one write where several wait: a busy access log is then one call for many lines.
        let mut is_behind = false;
        while let Ok(line) = waiting.try_recv() {
            text.push_str(&line);
            is_behind = text.len() > LIMIT_WRITE_BYTES;
            if is_behind {
                break;
            }
        }
        // A line is dropped only while the channel is full, so that it is enough to look after emptying it.
        let dropped = dropped.load(Ordering::Relaxed);
        if dropped > reported && !is_behind {
            let mut line = start(Level::Warning.as_str());
            let _ = write!(line, "{} log lines were dropped, {dropped} in all", dropped - reported);
            finish(&mut line);
            text.push_str(&line);
            reported = dropped;
        }
        if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// A stream that hands over what is written, and waits for leave before each write.
    struct Gated {
        entered: Sender<()>,
        written: Sender<String>,
        leave: Receiver<()>,
    }

    /// A log to such a stream, and the other ends of its channels.
    struct Test {
        log: Log,
        writer: Writer,
        entered: Receiver<()>,
        read: Receiver<String>,
        leave: Sender<()>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.entered.send(());
            self.leave.recv().map_err(|_| std::io::ErrorKind::BrokenPipe)?;
            let _ = self.written.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn gated(queue_lines: usize) -> Test {
        let ((entered_, entered), (written, read), (leave, leave_)) = (channel(), channel(), channel());
        let (log, writer) = Log::new(Level::Info, queue_lines, Gated { entered: entered_, written, leave: leave_ });
        Test { log, writer, entered, read, leave }
    }

    #[test]
    fn lines_have_time_level_and_message() {
        let Test { log, writer, read, leave, .. } = gated(8);
        leave.send(()).unwrap();
        log.line(Level::Debug, format_args!("not shown"));
        log.info(format_args!("{} is ready", "flights"));
        let line = read.recv().unwrap();
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), rest), (24, "info flights is ready\n"));
        drop((log, leave));
        writer.join();
    }

    #[test]
    fn a_line_stays_one_line() {
        let Test { log, writer, read, leave, .. } = gated(8);
        leave.send(()).unwrap();
        log.warning(format_args!("a\nb\x1b[2J{}", "ü".repeat(LIMIT_LINE_BYTES)));
        let line = read.recv().unwrap();
        assert!(line.contains("a\\nb\\u{1b}[2Jü") && line.ends_with("…\n"), "{line}");
        assert_eq!(line.lines().count(), 1);
        assert!(line.len() < LIMIT_LINE_BYTES + 32);
        drop((log, leave));
        writer.join();
    }

    #[test]
    fn a_slow_stream_drops_and_counts_and_says_so() {
        let Test { log, writer, entered, read, leave } = gated(4);
        log.info(format_args!("first"));
        entered.recv().unwrap();
        // The writer waits in its first write: four lines wait, the rest are dropped.
        for i in 0..100 {
            log.info(format_args!("line {i}"));
        }
        assert_eq!(log.dropped(), 96);
        for _ in 0..10 {
            leave.send(()).unwrap();
        }
        drop(log);
        writer.join();
        let text: String = read.try_iter().collect();
        assert_eq!(text.matches(" info ").count(), 5, "{text}");
        assert!(text.ends_with("warning 96 log lines were dropped, 96 in all\n"), "{text}");
    }

    #[test]
    fn a_closed_stream_is_no_fault_of_who_logs() {
        let Test { log, writer, leave, .. } = gated(4);
        drop(leave);
        for i in 0..100 {
            log.error(format_args!("line {i}"));
        }
        drop(log.clone());
        drop(log);
        writer.join();
    }

    #[test]
    fn a_request_is_one_line() {
        let Test { log, writer, read, leave, .. } = gated(4);
        leave.send(()).unwrap();
        log.access(&Access {
            method: "POST",
            path: "/models/flights/predict",
            status: 200,
            rows: 3,
            body_bytes: 120,
            elapsed: Duration::from_micros(1_234),
            request_id: "abc",
        });
        let line = read.recv().unwrap();
        let expected =
            "access POST /models/flights/predict 200 rows=3 body_bytes=120 elapsed_ms=1.234 request_id=abc\n";
        assert_eq!(line.split_once(' ').unwrap().1, expected);
        drop((log, leave));
        writer.join();
    }
}
