//! What a guest says: through the `log` interface, stdout or stderr. Bounded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use purlin_domain::{
    Json,
    clock::Clock,
    log::{LogLevel, LogLine, escape_control},
};

/// Longest line; what is longer is cut.
const LINE_BYTES_MAX: usize = 8 << 10;
/// What a line costs beside its text, so that empty lines are bounded too.
const LINE_BYTES_COST: usize = 64;

/// The log of one invocation, shared between the host interface and the standard streams.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Buffer>>);

struct Buffer {
    lines: Vec<LogLine>,
    bytes: usize,
    bytes_max: usize,
    dropped: u64,
    clock: Arc<dyn Clock>,
}

impl Log {
    pub(crate) fn new(bytes_max: usize, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Mutex::new(Buffer { lines: Vec::new(), bytes: 0, bytes_max, dropped: 0, clock })))
    }

    /// Add a line; dropped and counted once the log is full.
    pub(crate) fn write(&self, level: LogLevel, message: &str, fields: Json) {
        let mut buffer = self.lock();
        // Cut before as well, since a guest may hand in megabytes.
        let begun = beginning(message);
        let escaped = escape_control(begun);
        let mut kept = beginning(&escaped).to_owned();
        if begun.len() < message.len() || kept.len() < escaped.len() {
            kept.push('…');
        }
        let fields_bytes = if fields.is_null() { 0 } else { fields.to_string().len() };
        let bytes = kept.len() + fields_bytes + LINE_BYTES_COST;
        if buffer.bytes + bytes > buffer.bytes_max {
            buffer.dropped += 1;
            return;
        }
        buffer.bytes += bytes;
        let time = buffer.clock.now();
        buffer.lines.push(LogLine { time, level, message: kept, fields });
    }

    /// Bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Everything that was written, with a last line about what was not kept.
    pub(crate) fn take(&self) -> Vec<LogLine> {
        let mut buffer = self.lock();
        let mut lines = std::mem::take(&mut buffer.lines);
        if buffer.dropped > 0 {
            let message =
                format!("{} more lines were dropped: the log limit of one invocation was met", buffer.dropped);
            let time = buffer.clock.now();
            lines.push(LogLine { time, level: LogLevel::Warn, message, fields: Json::Null });
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As much of a text as a line may have.
fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LINE_BYTES_MAX)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use purlin_domain::clock::SystemClock;

    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_as_it_was_and_as_it_is_escaped() {
        let log = Log::new(64 << 10, Arc::new(SystemClock));
        for text in ["ä".repeat(LINE_BYTES_MAX), "\u{1b}".repeat(LINE_BYTES_MAX / 2), "x".repeat(LINE_BYTES_MAX)] {
            log.write(LogLevel::Info, &text, Json::Null);
        }
        let lengths: Vec<(usize, bool)> =
            log.take().iter().map(|line| (line.message.len(), line.message.ends_with('…'))).collect();
        let cut = (LINE_BYTES_MAX + '…'.len_utf8(), true);
        assert_eq!(lengths, [cut, cut, (LINE_BYTES_MAX, false)]);
    }

    #[test]
    fn a_full_log_drops_and_counts() {
        let log = Log::new(1_000, Arc::new(SystemClock));
        for _ in 0..100 {
            log.write(LogLevel::Info, "0123456789\n", Json::Null);
        }
        let lines = log.take();
        assert_eq!(lines.first().unwrap().message, "0123456789\\n");
        assert_eq!(lines.len(), 14);
        assert!(lines.last().unwrap().message.starts_with("87 more lines"));
    }
}
