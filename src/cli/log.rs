//! Log lines: where they go and what they look like.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogLevel};

/// Begins logging to stderr. `RUST_LOG`, if it is set and understood, decides instead of `level`.
pub fn start(format: LogFormat, level: LogLevel) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(name(level)));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Lines);
    let result = match format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_target(false).try_init(),
    };
    result.expect("logging begins once in a process");
}

fn name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

/// Makes every event exactly one line: whatever a field holds, no control byte of it reaches the log.
#[derive(Debug, Clone, Copy)]
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<io::StderrLock<'static>>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(io::stderr().lock())
    }
}

/// Takes one whole event per call of `write_all`.
#[derive(Debug)]
struct Line<W>(W);

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        if !text.iter().any(u8::is_ascii_control) {
            self.0.write_all(event)?;
            return Ok(event.len());
        }
        let mut line = Vec::with_capacity(event.len() + 16);
        for byte in text {
            if byte.is_ascii_control() {
                write!(line, "\\x{byte:02x}")?;
            } else {
                line.push(*byte);
            }
        }
        line.extend_from_slice(&event[text.len()..]);
        self.0.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let table: [(&[u8], &[u8]); 5] = [
            (b"plain\n", b"plain\n"),
            (b"a\r\nb\n", b"a\\x0d\\x0ab\n"),
            (b"\x1b[31mred\0\n", b"\\x1b[31mred\\x00\n"),
            ("ä\n".as_bytes(), "ä\n".as_bytes()),
            (b"no end", b"no end"),
        ];
        for (event, want) in table {
            let mut out = Vec::new();
            Line(&mut out).write_all(event).expect("a vector takes all");
            assert_eq!(out, want, "{}", event.escape_ascii());
        }
    }
}
