//! Two runs, step by step.
//!
//! Owns what counts as a difference: another status or exit, a step that only one run has, another end or result of the same
//! step, and other artifacts. Time is told where it differs by much, and never makes two runs different: it always differs.
//! Memory is bounded by [`MAX_STEPS`].

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use serde::Serialize;

use super::alignment::{Pair, align};
use super::step::StepView;
use crate::agent::playbook::{REPORT_PATH, TOOL as PLAYBOOK_TOOL};
use crate::event::{ArtifactAdded, Event, EventType};
use crate::log::scan::{Hashes, parse_event, scan};
use crate::recordings::RunDir;

/// Most steps of one run that are compared.
pub const MAX_STEPS: usize = 50_000;

/// How many times as long counts as much.
pub const MUCH_LONGER: f64 = 2.0;

/// Shortest difference in milliseconds that is told: below it is noise.
pub const MIN_DIFFERENCE_MS: u64 = 100;

/// What a comparison needs of one run.
#[derive(Debug, Default)]
pub struct Side {
    steps: Vec<StepView>,
    /// Digest of each artifact, by path.
    artifacts: BTreeMap<String, String>,
    /// Steps beyond [`MAX_STEPS`].
    n_left_out: u64,
}

/// How two runs compare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// True when nothing that counts differs.
    pub same: bool,
    /// Steps that are alike in both.
    pub n_same: u64,
    /// What differs, in the order of the steps.
    pub steps: Vec<StepDifference>,
    /// Artifacts that differ, by path.
    pub artifacts: BTreeMap<String, ArtifactDifference>,
    /// False when the runs differ too much for their steps to be aligned.
    pub aligned: bool,
    /// Steps that were not compared because there were too many.
    pub n_left_out: u64,
}

/// How a step differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StepDifference {
    /// Only the first run has it.
    OnlyFirst {
        /// The step.
        step: StepView,
    },
    /// Only the second run has it.
    OnlySecond {
        /// The step.
        step: StepView,
    },
    /// Both have it, and it ended or answered otherwise, or took much longer.
    Changed {
        /// In the first run.
        first: Box<StepView>,
        /// In the second run.
        second: Box<StepView>,
        /// Whether it ended otherwise.
        end: bool,
        /// Whether it gave something else back.
        result: bool,
        /// How many times as long the second took, if that is much.
        duration_factor: Option<f64>,
    },
}

/// How an artifact differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactDifference {
    /// Only the first run has it.
    OnlyFirst,
    /// Only the second run has it.
    OnlySecond,
    /// Both have it with other content.
    Changed,
}

/// Reads what a comparison needs of a run.
///
/// # Errors
/// When a file of the log cannot be read.
pub fn read(run: &RunDir) -> io::Result<Side> {
    let mut side = Side::default();
    scan(run.as_fd(), Hashes::Trust, |head, line| {
        if !matches!(
            head.event_type(),
            Some(EventType::Action | EventType::Artifact)
        ) {
            return;
        }
        let event = parse_event(line);
        if let Some(Event::Action(action)) = &event {
            if side.steps.len() < MAX_STEPS {
                side.steps.push(StepView::of(action));
            } else {
                side.n_left_out += 1;
            }
        } else if let Some(Event::Artifact(added)) = event {
            side.artifact(added);
        }
    })?;
    Ok(side)
}

impl Side {
    /// What was withheld counts with its reason: a run that left a secret is not the same as one that did not. The report of
    /// a playbook counts by its presence: it has times, and says nothing else that the steps do not.
    fn artifact(&mut self, added: ArtifactAdded) {
        let is_playbook = self
            .steps
            .last()
            .is_some_and(|step| step.tool == PLAYBOOK_TOOL);
        let digest = match added.withheld {
            None if is_playbook && added.path == REPORT_PATH => String::new(),
            None => added.sha256,
            Some(reason) => format!("withheld: {}", reason.as_str()),
        };
        self.artifacts.insert(added.path, digest);
    }
}

/// Compares two runs; `is_same_end` says whether status and exit are the same.
pub fn compare(first: &Side, second: &Side, is_same_end: bool) -> Comparison {
    let signatures = |side: &Side| -> Vec<u64> {
        let steps = side.steps.iter();
        steps.map(|step| step.signature).collect()
    };
    let alignment = align(&signatures(first), &signatures(second));
    let mut n_same = 0;
    let mut steps = Vec::new();
    for pair in alignment.pairs {
        match pair {
            Pair::First(idx) => steps.extend(
                first
                    .steps
                    .get(idx)
                    .map(|step| StepDifference::OnlyFirst { step: step.clone() }),
            ),
            Pair::Second(idx) => steps.extend(
                second
                    .steps
                    .get(idx)
                    .map(|step| StepDifference::OnlySecond { step: step.clone() }),
            ),
            Pair::Both(a, b) => {
                if let (Some(a), Some(b)) = (first.steps.get(a), second.steps.get(b)) {
                    match difference(a, b) {
                        Some(difference) => steps.push(difference),
                        None => n_same += 1,
                    }
                }
            }
        }
    }
    let artifacts = artifact_differences(first, second);
    let n_left_out = first.n_left_out + second.n_left_out;
    let same = is_same_end
        && artifacts.is_empty()
        && n_left_out == 0
        && !steps.iter().any(StepDifference::counts);
    Comparison {
        same,
        n_same,
        steps,
        artifacts,
        aligned: alignment.is_whole,
        n_left_out,
    }
}

impl StepDifference {
    /// Whether it makes the runs different; another duration alone does not.
    pub fn counts(&self) -> bool {
        match self {
            Self::OnlyFirst { .. } | Self::OnlySecond { .. } => true,
            Self::Changed { end, result, .. } => *end || *result,
        }
    }
}

fn difference(first: &StepView, second: &StepView) -> Option<StepDifference> {
    let end = |step: &StepView| (step.success, step.cancelled, step.exit_code, step.signal);
    let is_other_end = end(first) != end(second) || first.error != second.error;
    let is_other_result = first.result_digest != second.result_digest;
    let duration_factor = factor(first.duration_ms, second.duration_ms);
    (is_other_end || is_other_result || duration_factor.is_some()).then(|| {
        StepDifference::Changed {
            first: Box::new(first.clone()),
            second: Box::new(second.clone()),
            end: is_other_end,
            result: is_other_result,
            duration_factor,
        }
    })
}

/// How many times as long the second took, if that is much more or much less.
#[expect(
    clippy::cast_precision_loss,
    reason = "a factor for people; milliseconds of a run are far below 2^52"
)]
fn factor(first_ms: Option<u64>, second_ms: Option<u64>) -> Option<f64> {
    let (first_ms, second_ms) = (first_ms?, second_ms?);
    if first_ms.abs_diff(second_ms) < MIN_DIFFERENCE_MS {
        return None;
    }
    let factor = second_ms.max(1) as f64 / first_ms.max(1) as f64;
    (factor >= MUCH_LONGER || factor <= 1.0 / MUCH_LONGER).then_some(factor)
}

fn artifact_differences(first: &Side, second: &Side) -> BTreeMap<String, ArtifactDifference> {
    let mut differences = BTreeMap::new();
    for (path, digest) in &first.artifacts {
        match second.artifacts.get(path) {
            None => {
                differences.insert(path.clone(), ArtifactDifference::OnlyFirst);
            }
            Some(other) if other != digest => {
                differences.insert(path.clone(), ArtifactDifference::Changed);
            }
            Some(_) => {}
        }
    }
    for path in second.artifacts.keys() {
        if !first.artifacts.contains_key(path) {
            differences.insert(path.clone(), ArtifactDifference::OnlySecond);
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Action, ToolKind};

    fn step(number: u64, input: &str, exit_code: i32, ms: u64, result: &str) -> StepView {
        StepView::of(&Action {
            step: number,
            timestamp: String::new(),
            tool: "sh".to_owned(),
            action: "run".to_owned(),
            input_summary: input.to_owned(),
            duration_ms: Some(ms),
            success: Some(exit_code == 0),
            result_text: Some(result.to_owned()),
            call_id: format!("c{number}"),
            kind: ToolKind::Execute,
            exit_code: Some(exit_code),
            ..Action::default()
        })
    }

    fn side(steps: Vec<StepView>, artifacts: &[(&str, &str)]) -> Side {
        let artifacts = artifacts.iter();
        Side {
            steps,
            artifacts: artifacts
                .map(|(path, digest)| ((*path).to_owned(), (*digest).to_owned()))
                .collect(),
            n_left_out: 0,
        }
    }

    #[test]
    fn runs_that_differ_in_time_alone_are_the_same() {
        let first = side(vec![step(1, "a", 0, 100, "x")], &[("f", "1")]);
        let second = side(vec![step(1, "a", 0, 1_000, "x")], &[("f", "1")]);
        let comparison = compare(&first, &second, true);
        assert!(comparison.same);
        assert!(matches!(
            &comparison.steps[..],
            [StepDifference::Changed { end: false, result: false, duration_factor: Some(factor), .. }]
                if (factor - 10.0).abs() < 0.01
        ));
        assert!(!compare(&first, &second, false).same);
    }

    #[test]
    fn every_difference_that_counts_is_told_with_its_step() {
        let first = side(
            vec![
                step(1, "a", 0, 1, "x"),
                step(2, "b", 0, 1, "y"),
                step(3, "c", 0, 1, "z"),
            ],
            &[("only-first", "1"), ("changed", "1"), ("same", "1")],
        );
        let second = side(
            vec![
                step(1, "a", 1, 1, "x"),
                step(2, "new", 0, 1, "n"),
                step(3, "c", 0, 1, "other"),
            ],
            &[("only-second", "1"), ("changed", "2"), ("same", "1")],
        );
        let comparison = compare(&first, &second, true);
        assert!(!comparison.same);
        let told: Vec<String> = comparison
            .steps
            .iter()
            .map(|difference| match difference {
                StepDifference::OnlyFirst { step } => format!("- {}", step.input_summary),
                StepDifference::OnlySecond { step } => format!("+ {}", step.input_summary),
                StepDifference::Changed {
                    first, end, result, ..
                } => {
                    format!("~ {} {end} {result}", first.input_summary)
                }
            })
            .collect();
        assert_eq!(told, ["~ a true false", "- b", "+ new", "~ c false true"]);
        assert_eq!(
            comparison.artifacts,
            BTreeMap::from([
                ("changed".to_owned(), ArtifactDifference::Changed),
                ("only-first".to_owned(), ArtifactDifference::OnlyFirst),
                ("only-second".to_owned(), ArtifactDifference::OnlySecond),
            ])
        );
    }
}
