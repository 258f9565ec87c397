//! The list of the runs of a control plane: one page of it, as it came and as it is read.
//!
//! Pure. Owns what of a run the list tells, and the bounds on what a server may send. Invariant: a page takes no more memory
//! than a few times its bytes, whatever stands in it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::run::RunId;

/// Runs that are asked for at a time: a run has at most 64 labels, so a page of the longest has about 4 MiB.
pub const PAGE_RUNS: usize = 50;

/// Largest run of a list, in bytes; the labels of the largest of ours have about 80 KiB.
pub const MAX_RUN_BYTES: usize = 256 * 1024;

/// Which runs are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those with this status.
    pub status: Option<String>,
    /// Only those with this label: `NAME=VALUE`, or `NAME` with any value.
    pub label: Option<String>,
}

/// A page.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// The runs, newest first, each as it came.
    #[serde(deserialize_with = "at_most_a_page")]
    pub runs: Vec<Box<RawValue>>,
    /// Behind which the next page begins; none at the end.
    #[serde(default)]
    pub next: Option<RunId>,
}

/// A run as the list tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// The run.
    pub run_id: RunId,
    /// The word of its status.
    #[serde(default)]
    pub status: Option<String>,
    /// Why it did not complete.
    #[serde(default)]
    pub error_code: Option<String>,
    /// Its actions.
    #[serde(default)]
    pub action_count: Option<u64>,
    /// When it began, RFC 3339.
    #[serde(default)]
    pub started_at: Option<String>,
    /// When it ended, RFC 3339.
    #[serde(default)]
    pub ended_at: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Filter {
    /// The path that gives a page of at most `n_runs`.
    pub fn path(&self, n_runs: usize, after: Option<&RunId>) -> String {
        let mut path = format!("/runs?limit={}", n_runs.min(PAGE_RUNS));
        let given = [("status", &self.status), ("label", &self.label)];
        for (name, value) in given {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        if let Some(after) = after {
            path.push_str(&format!("&after={after}"));
        }
        path
    }
}

impl Row {
    /// Reads a run of a page.
    ///
    /// # Errors
    /// When it is too large, or no run.
    pub fn read(run: &RawValue) -> Result<Self, serde_json::Error> {
        if run.get().len() > MAX_RUN_BYTES {
            return Err(serde_json::Error::custom(format_args!(
                "a run of the list has more than {MAX_RUN_BYTES} bytes"
            )));
        }
        serde_json::from_str(run.get())
    }
}

/// A value of a query (RFC 3986, section 2.3: what is unreserved stays as it is).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn at_most_a_page<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Box<RawValue>>, D::Error> {
    struct Runs;

    impl<'de> Visitor<'de> for Runs {
        type Value = Vec<Box<RawValue>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {PAGE_RUNS} runs")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut runs = Vec::new();
            while let Some(run) = list.next_element()? {
                if runs.len() == PAGE_RUNS {
                    return Err(A::Error::invalid_length(runs.len() + 1, &self));
                }
                runs.push(run);
            }
            Ok(runs)
        }
    }

    deserializer.deserialize_seq(Runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_sent_as_it_was_given_whatever_stands_in_it() {
        let filter = Filter {
            status: Some("failed".to_owned()),
            label: Some("team=red & blue?ü\n".to_owned()),
        };
        let after: RunId = "fox-1".parse().unwrap();
        assert_eq!(
            filter.path(7, Some(&after)),
            "/runs?limit=7&status=failed&label=team%3Dred%20%26%20blue%3F%C3%BC%0A&after=fox-1"
        );
        assert_eq!(Filter::default().path(1_000, None), "/runs?limit=50");
    }

    #[test]
    fn a_page_of_ours_is_read_and_one_that_never_ends_is_not() {
        let page = br#"{"runs":[{"run_id":"fox","status":"failed","phase":"finished","error_code":"LOST","action_count":null,
            "labels":{"team":"red"},"status_url":"/runs/fox"}],"next":"fox"}"#;
        let page: Page = serde_json::from_slice(page).unwrap();
        let row = Row::read(&page.runs[0]).unwrap();
        assert_eq!(
            (row.run_id.as_str(), row.error_code.as_deref()),
            ("fox", Some("LOST"))
        );
        assert_eq!(row.labels["team"], "red");
        assert_eq!(page.next.unwrap().as_str(), "fox");
        for wrong in [
            format!("{{\"runs\":[{}0]}}", "0,".repeat(PAGE_RUNS)),
            "{\"runs\":[],\"next\":\"../x\"}".to_owned(),
            "{\"runs\":{}}".to_owned(),
            "[]".to_owned(),
        ] {
            assert!(serde_json::from_str::<Page>(&wrong).is_err(), "{wrong}");
        }
        let large = format!(
            "{{\"run_id\":\"fox\",\"x\":\"{}\"}}",
            "x".repeat(MAX_RUN_BYTES)
        );
        let large = RawValue::from_string(large).unwrap();
        assert!(Row::read(&large).is_err());
        let hostile = RawValue::from_string("{\"run_id\":\"fox\\u001b[2J\"}".to_owned()).unwrap();
        assert!(Row::read(&hostile).is_err());
    }
}
