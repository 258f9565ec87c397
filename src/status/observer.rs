//! The board as the log's observer: the status says what the log says, in the log's order.

use super::StatusBoard;
use super::document::LogHead;
use crate::log::{Observer, Written};

impl Observer for StatusBoard {
    fn written(&self, written: Written) {
        for entry in &written.entries {
            self.apply(entry.seq, &entry.at.to_rfc3339(), &entry.event);
        }
        self.advance(written.last_seq, written.output_bytes);
        self.set_log_head(LogHead {
            seq: written.last_seq,
            head: written.head.to_hex(),
        });
    }
}
