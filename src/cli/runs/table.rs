//! The table of runs, for people.
//!
//! Pure. Owns the columns and their widths. Invariant: of what a server says nothing but text gets into a cell, and no cell
//! is longer than its bound.

use crate::client::listing::Row;
use crate::log::stamp::Millis;
use crate::progress::clean::{fit, summary, width};
use crate::progress::paint::{Colours, Tone};
use crate::progress::quantity;

/// Names of the columns.
const NAMES: [&str; 7] = [
    "RUN", "STATUS", "ERROR", "ACTIONS", "STARTED", "DURATION", "LABELS",
];

/// Longest word of a status or an error, in characters; ours have about 20.
const MAX_WORD_CHARS: usize = 32;

/// Longest text of the labels, in characters; `--json` has all of them.
const MAX_LABELS_CHARS: usize = 200;

/// Blanks between two columns.
const GAP: &str = "  ";

/// What stands in a cell that has nothing.
const NOTHING: &str = "-";

/// A table.
pub(super) struct Table {
    rows: Vec<[String; NAMES.len()]>,
}

impl Table {
    /// Makes the cells; what has not ended lasts until `now`.
    pub(super) fn new(runs: &[Row], now: Millis) -> Self {
        Self {
            rows: runs.iter().map(|run| cells(run, now)).collect(),
        }
    }

    /// The lines: columns as wide as their widest cell, the labels cut where the terminal ends.
    pub(super) fn lines(&self, colours: Colours, columns: Option<usize>) -> Vec<String> {
        let mut widths = NAMES.map(width);
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        let line = |cells: &[String; NAMES.len()]| {
            let mut line = String::new();
            for (cell, widest) in cells.iter().zip(widths) {
                if !line.is_empty() {
                    line.push_str(GAP);
                }
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', widest.saturating_sub(width(cell))));
            }
            let line = line.trim_end();
            columns.map_or(line.to_owned(), |columns| fit(line, columns))
        };
        let names = line(&NAMES.map(str::to_owned));
        std::iter::once(colours.paint(Tone::Quiet, &names))
            .chain(self.rows.iter().map(line))
            .collect()
    }
}

/// A run with no more of its texts than a table shows.
pub(super) fn clipped(mut run: Row) -> Row {
    for word in [
        &mut run.status,
        &mut run.error_code,
        &mut run.started_at,
        &mut run.ended_at,
    ] {
        *word = word.as_deref().map(|word| summary(word, MAX_WORD_CHARS));
    }
    let mut n_chars = 0;
    run.labels.retain(|name, value| {
        let is_shown = n_chars <= MAX_LABELS_CHARS;
        *value = summary(value, MAX_LABELS_CHARS);
        n_chars += name.chars().count() + value.chars().count();
        is_shown
    });
    run
}

fn cells(run: &Row, now: Millis) -> [String; NAMES.len()] {
    let word = |word: &Option<String>| {
        let word = word.as_deref().filter(|word| !word.is_empty());
        word.map_or(NOTHING.to_owned(), |word| summary(word, MAX_WORD_CHARS))
    };
    let labels: Vec<String> = run
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let began = run.started_at.as_deref().and_then(moment);
    let ended = run.ended_at.as_deref().and_then(moment);
    let lasted = began.map(|began| {
        let ms = ended.unwrap_or(now.0).saturating_sub(began);
        quantity::duration(u64::try_from(ms).unwrap_or(0))
    });
    let whole_seconds = |ms: i64| {
        let stamp = Millis(ms).to_rfc3339();
        let seconds = stamp.split_once('.').map(|(seconds, _)| seconds);
        format!("{}Z", seconds.unwrap_or(&stamp))
    };
    [
        run.run_id.as_str().to_owned(),
        word(&run.status),
        word(&run.error_code),
        run.action_count
            .map_or(NOTHING.to_owned(), |count| count.to_string()),
        began.map_or(NOTHING.to_owned(), whole_seconds),
        lasted.unwrap_or(NOTHING.to_owned()),
        summary(&labels.join(","), MAX_LABELS_CHARS),
    ]
}

/// Milliseconds since 1970; none for what is no time.
fn moment(stamp: &str) -> Option<i64> {
    let stamp: jiff::Timestamp = stamp.parse().ok()?;
    Some(stamp.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Row {
        serde_json::from_str(json).unwrap()
    }

    fn lines(rows: &[Row], columns: Option<usize>) -> Vec<String> {
        let now = Millis(moment("2026-11-22T11:00:07Z").unwrap());
        Table::new(rows, now).lines(Colours::None, columns)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            row(
                r#"{"run_id":"fox","status":"failed","error_code":"LOST","action_count":12,"started_at":"2026-11-22T11:00:00.000Z",
                "ended_at":"2026-11-22T11:01:05.000Z","labels":{"job":"日本","team":"red"}}"#,
            ),
            row(
                r#"{"run_id":"a-longer-name","status":"running","error_code":null,"action_count":0,
                "started_at":"2026-11-22T11:00:00.500Z","labels":{}}"#,
            ),
            row(r#"{"run_id":"new","status":"starting","action_count":null}"#),
        ];
        assert_eq!(
            lines(&rows, None),
            [
                "RUN            STATUS    ERROR  ACTIONS  STARTED               DURATION  LABELS",
                "fox            failed    LOST   12       2026-11-22T11:00:00Z  1:05      job=日本,team=red",
                "a-longer-name  running   -      0        2026-11-22T11:00:00Z  6.5 s",
                "new            starting  -      -        -                     -",
            ]
        );
        for line in lines(&rows, Some(40)) {
            assert!(width(&line) <= 40, "{line}");
        }
        assert_eq!(lines(&[], None).len(), 1);
    }

    #[test]
    fn nothing_of_a_server_moves_the_cursor_or_fills_the_memory() {
        let evil = "\u{1b}[2J\u{9b}1;1H\r\n\u{7}\u{202e}";
        let many: Vec<String> = (0..10_000).map(|n| format!("\"l{n}\":\"{n}\"")).collect();
        let mut run = row(&format!(
            "{{\"run_id\":\"fox\",\"labels\":{{{}}}}}",
            many.join(",")
        ));
        run.status = Some(evil.repeat(1_000));
        run.error_code = Some(format!("E{evil}"));
        run.started_at = Some(evil.to_owned());
        run.ended_at = Some("9999999-99-99".to_owned());
        run.labels.insert(evil.to_owned(), evil.to_owned());
        let run = clipped(run);
        assert!(run.labels.len() <= MAX_LABELS_CHARS, "{}", run.labels.len());
        for line in lines(&[run], None) {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.chars().count() < 400, "{line:?}");
        }
    }
}
