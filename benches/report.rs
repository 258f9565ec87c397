//! The table: our figure, its target, and the ratio to each thing measured beside it in the same run.

use std::fmt::{self, Write};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    EventsPerSecond,
    RequestsPerSecond,
    Milliseconds,
    Mebibytes,
    /// 10^6 bytes, as sizes of files are given.
    Megabytes,
}

/// A measured figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) unit: Unit,
}

/// What DESIGN section 10 asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// At least so many times the first thing beside it.
    Ratio(f64),
    /// At most so many times the first thing beside it.
    RatioAtMost(f64),
    /// The row is there to compare with.
    None,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) section: &'static str,
    pub(crate) what: String,
    pub(crate) ours: Figure,
    pub(crate) target: Target,
    /// Floors and peers of the same run.
    pub(crate) beside: Vec<(String, Figure)>,
    /// What the first of them was on the quiet machine on which the target was set.
    quiet: Option<f64>,
    /// What else is to be said.
    pub(crate) note: String,
}

/// The rows so far, and what was not run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) absent: Vec<String>,
}

impl Report {
    /// Adds a row and prints it.
    pub(crate) fn push(&mut self, row: Row) {
        println!("{}", row.line());
        self.rows.push(row);
    }

    /// Notes something that was not measured, and why.
    pub(crate) fn absent(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("  not run: {what}");
        self.absent.push(what);
    }

    /// The rows as a table of Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = "| what | ours | target | | ours / beside (beside) | note |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
        for row in &self.rows {
            // Writing to a String cannot fail.
            let _ = writeln!(
                table,
                "| {}: {} | {} | {} | {} | {} | {} |",
                row.section,
                row.what,
                row.ours,
                row.target_text(),
                row.verdict().unwrap_or(""),
                row.ratios().join("; "),
                row.note
            );
        }
        table
    }

    /// Rows whose target was missed.
    pub(crate) fn n_missed(&self) -> usize {
        self.rows
            .iter()
            .filter(|row| row.verdict() == Some("MISSED"))
            .count()
    }
}

impl Row {
    pub(crate) fn new(section: &'static str, what: impl Into<String>, ours: Figure) -> Self {
        Self {
            section,
            what: what.into(),
            ours,
            target: Target::None,
            beside: Vec::new(),
            quiet: None,
            note: String::new(),
        }
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    pub(crate) fn beside(mut self, name: impl Into<String>, value: f64) -> Self {
        let unit = self.ours.unit;
        self.beside.push((name.into(), Figure { value, unit }));
        self
    }

    /// Says what the first thing beside it was on the quiet machine, so that the target can be scaled to this one.
    pub(crate) fn quiet_floor(mut self, value: f64) -> Self {
        self.quiet = Some(value);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn is_met(&self, scale: f64) -> Option<bool> {
        let first = self.beside.first().map(|(_, figure)| figure.value);
        Some(match self.target {
            Target::AtLeast(least) => self.ours.value >= least * scale,
            Target::AtMost(most) => self.ours.value <= most * scale,
            Target::Ratio(least) => self.ours.value >= least * first?,
            Target::RatioAtMost(most) => self.ours.value <= most * first?,
            Target::None => return None,
        })
    }

    /// How this machine stands to the quiet one, by the floor of the row.
    fn machine_scale(&self) -> f64 {
        match (self.quiet, self.beside.first()) {
            (Some(quiet), Some((_, floor))) => floor.value / quiet,
            _ => 1.0,
        }
    }

    fn verdict(&self) -> Option<&'static str> {
        if self.is_met(1.0)? {
            return Some("met");
        }
        let is_met = self.is_met(self.machine_scale())?;
        Some(if is_met { "met, scaled" } else { "MISSED" })
    }

    fn target_text(&self) -> String {
        let figure = |value| Figure {
            value,
            unit: self.ours.unit,
        };
        match self.target {
            Target::AtLeast(least) => format!(">= {}", figure(least)),
            Target::AtMost(most) => format!("<= {}", figure(most)),
            Target::Ratio(least) => format!(">= {least} x the first beside"),
            Target::RatioAtMost(most) => format!("<= {most} x the first beside"),
            Target::None => String::new(),
        }
    }

    fn ratios(&self) -> Vec<String> {
        let ratio = |(name, figure): &(String, Figure)| {
            format!("{:.2} {name} ({figure})", self.ours.value / figure.value)
        };
        self.beside.iter().map(ratio).collect()
    }

    fn line(&self) -> String {
        let mut line = format!("  {:<12} {:<52} {:>14}", self.section, self.what, self.ours);
        if let Some(verdict) = self.verdict() {
            // Writing to a String cannot fail.
            let _ = write!(line, "  {:<22} {verdict}", self.target_text());
        }
        for ratio in self.ratios() {
            line.push_str("\n      ");
            line.push_str(&ratio);
        }
        if !self.note.is_empty() {
            line.push_str("\n      ");
            line.push_str(&self.note);
        }
        line
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        let text = match self.unit {
            Unit::EventsPerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Unit::EventsPerSecond | Unit::RequestsPerSecond => format!("{:.1} k/s", value / 1e3),
            Unit::Milliseconds => format!("{value:.3} ms"),
            Unit::Mebibytes => format!("{value:.1} MiB"),
            Unit::Megabytes => format!("{value:.2} MB"),
        };
        f.pad(&text)
    }
}

pub(crate) fn per_second(value: f64) -> Figure {
    Figure {
        value,
        unit: Unit::EventsPerSecond,
    }
}

pub(crate) fn requests(value: f64) -> Figure {
    Figure {
        value,
        unit: Unit::RequestsPerSecond,
    }
}

pub(crate) fn millis(value: f64) -> Figure {
    Figure {
        value,
        unit: Unit::Milliseconds,
    }
}

pub(crate) fn mebibytes(n_bytes: u64) -> Figure {
    Figure {
        value: to_mebibytes(n_bytes),
        unit: Unit::Mebibytes,
    }
}

pub(crate) fn to_mebibytes(n_bytes: u64) -> f64 {
    n_bytes as f64 / (1024.0 * 1024.0)
}

/// The middle value; the mean of the two middle ones hides no outlier either, so the upper one is taken.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 50)
}

/// The value below which `percent` of all lie.
pub(crate) fn quantile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let idx = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(idx).copied().unwrap_or(f64::NAN)
}
