//! What a worker prints: lines of the server's log, and never more of them than the log can take.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::log::Log;

/// Most bytes of a line; the rest of it is left out.
const LIMIT_LINE_BYTES: usize = 4 << 10;
/// Lines that may come at once.
const BURST_LINES: u32 = 400;
/// Lines a second after that.
const LINES_PER_S: u32 = 100;

/// Reads a worker's output until it ends, and logs it line by line. The body of a thread.
pub fn log_lines(mut stream: impl Read, log: &Log, who: &str) {
    let mut lines = Lines { line: Vec::new(), allowed: BURST_LINES, since: Instant::now(), left_out: 0 };
    let mut bytes = [0; 8 << 10];
    loop {
        let got = match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for &byte in bytes.get(..got).unwrap_or_default() {
            lines.take(byte, log, who);
        }
    }
    if !lines.line.is_empty() {
        lines.end(log, who);
    }
    lines.say_left_out(log, who);
}

struct Lines {
    line: Vec<u8>,
    allowed: u32,
    since: Instant,
    left_out: u64,
}

impl Lines {
    fn take(&mut self, byte: u8, log: &Log, who: &str) {
        match byte {
            b'\n' => self.end(log, who),
            _ if self.line.len() < LIMIT_LINE_BYTES => self.line.push(byte),
            _ => {}
        }
    }

    fn end(&mut self, log: &Log, who: &str) {
        if self.allowed == 0 {
            let earned = self.since.elapsed().as_millis() * u128::from(LINES_PER_S) / 1_000;
            self.allowed = u32::try_from(earned).unwrap_or(BURST_LINES).min(BURST_LINES);
            if self.allowed > 0 {
                self.since = Instant::now();
                self.say_left_out(log, who);
            }
        } else if self.since.elapsed() > Duration::from_secs(10) {
            (self.allowed, self.since) = (BURST_LINES, Instant::now());
        }
        if self.allowed > 0 {
            self.allowed -= 1;
            let text = String::from_utf8_lossy(&self.line);
            log.printed(who, text.trim_end());
        } else {
            self.left_out += 1;
        }
        self.line.clear();
    }

    fn say_left_out(&mut self, log: &Log, who: &str) {
        if self.left_out > 0 {
            log.warning(format_args!("{who} printed {} lines that are left out: it prints too much", self.left_out));
            self.left_out = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Level;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_is_cut_and_said() {
        let sink = Sink::default();
        let (log, writer) = Log::new(Level::Info, 10_000, sink.clone());
        let mut text = "hello\n".repeat(5_000);
        text.push_str(&"x".repeat(1 << 20));
        log_lines(text.as_bytes(), &log, "flights@3: worker 7");
        drop(log);
        writer.join();
        let said = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let shown = said.matches("worker 7 printed: hello").count();
        assert!((400..500).contains(&shown), "{shown}");
        let left_out: usize = said
            .lines()
            .filter_map(|line| {
                line.split_once("printed ")?.1.split_once(" lines that are left out")?.0.parse::<usize>().ok()
            })
            .sum();
        assert!(left_out + shown + 1 >= 5_000, "{said}");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let sink = Sink::default();
        let (log, writer) = Log::new(Level::Info, 10, sink.clone());
        log_lines(format!("{}\nlast", "ü".repeat(1 << 20)).as_bytes(), &log, "w");
        drop(log);
        writer.join();
        let said = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(said.len() < 10_000 && said.ends_with("w printed: last\n"), "{said}");
    }
}
