//! Log lines on stderr: constant messages with fields, for people or as JSON, never with a payload or a secret.

use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::description::supervisor::{LogFormat, LogLevel};
use crate::progress::held::HeldLines;
use crate::redact::Redactor;

/// Writes each line to stderr, redacted, or gives it to the view that has the terminal.
#[derive(Debug, Clone)]
struct RedactedStderr {
    redactor: Redactor,
    held: HeldLines,
}

/// Gathers one line, so that it is redacted whole and written with one call.
#[derive(Debug)]
struct Line {
    redactor: Redactor,
    held: HeldLines,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = self.redactor.redact_bytes(&self.bytes);
        if !self.held.take_in(&String::from_utf8_lossy(&line)) {
            // A closed stderr loses log lines and nothing else.
            let _ = io::stderr().write_all(&line);
        }
    }
}

impl<'a> MakeWriter<'a> for RedactedStderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            redactor: self.redactor.clone(),
            held: self.held.clone(),
            bytes: Vec::with_capacity(256),
        }
    }
}

/// Installs the subscriber of this process; a second call changes nothing.
pub fn install(format: LogFormat, level: LogLevel, redactor: &Redactor, held: &HeldLines) {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(RedactedStderr {
            redactor: redactor.clone(),
            held: held.clone(),
        });
    // Only a second installation fails, and then the first stands.
    let _ = match format {
        LogFormat::Human => builder.compact().finish().try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .finish()
            .try_init(),
    };
}
