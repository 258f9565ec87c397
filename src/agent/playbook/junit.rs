//! The report of a playbook in the form that test tools read.
//!
//! Owns the JUnit document: one test case for each execution of a step; failed attempts of a step that succeeded in the end
//! are `flakyFailure`, those of one that failed `rerunFailure` (Maven Surefire). Invariant: the document is well-formed XML
//! 1.0 of at most about [`MAX_REPORT_BYTES`], whatever the steps wrote.

use std::time::Duration;

/// Largest report, in bytes; what does not fit is left out and counted.
pub const MAX_REPORT_BYTES: usize = 1536 * 1024;

/// Most output that one attempt has in the report, in bytes of the beginning and of the end.
const OUTPUT_BYTES: (usize, usize) = (2 * 1024, 6 * 1024);

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempted {
    pub(super) failure: Option<String>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Attempted {
    /// An attempt with as much of its output as a report holds.
    pub(super) fn new(failure: Option<String>, stdout: &str, stderr: &str) -> Self {
        Self {
            failure,
            stdout: shortened(stdout),
            stderr: shortened(stderr),
        }
    }
}

/// One execution of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) duration: Duration,
    /// In order; empty for a step that was skipped.
    pub(super) attempts: Vec<Attempted>,
    /// Why it was skipped.
    pub(super) skipped: Option<String>,
}

/// Writes the report.
pub(super) fn report(playbook: &str, cases: &[Case]) -> String {
    let failures = cases.iter().filter(|case| has_failed(case)).count();
    let skipped = cases.iter().filter(|case| case.skipped.is_some()).count();
    let time: Duration = cases.iter().map(|case| case.duration).sum();
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{}\"",
        cases.len(),
        seconds(time)
    );
    let name = attribute(playbook);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{name}\" {counts}>\n  <testsuite name=\"{name}\" {counts}>\n"
    );
    let mut n_left_out = 0_usize;
    for case in cases {
        let written = case_text(&name, case);
        if out.len() + written.len() > MAX_REPORT_BYTES {
            n_left_out += 1;
        } else {
            out.push_str(&written);
        }
    }
    if n_left_out > 0 {
        out.push_str(&format!(
            "    <!-- {n_left_out} test cases were left out: the report has reached its limit -->\n"
        ));
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn has_failed(case: &Case) -> bool {
    case.attempts
        .last()
        .is_some_and(|attempt| attempt.failure.is_some())
}

fn case_text(suite: &str, case: &Case) -> String {
    let mut out = format!(
        "    <testcase name=\"{}\" classname=\"{suite}\" time=\"{}\">\n",
        attribute(&case.id),
        seconds(case.duration)
    );
    if case.name != case.id {
        out.push_str(&format!(
            "      <properties><property name=\"name\" value=\"{}\"/></properties>\n",
            attribute(&case.name)
        ));
    }
    if let Some(why) = &case.skipped {
        out.push_str(&format!(
            "      <skipped message=\"{}\"/>\n",
            attribute(why)
        ));
    }
    if let Some((last, earlier)) = case.attempts.split_last() {
        let earlier_element = match &last.failure {
            Some(failure) => {
                let failure = attribute(failure);
                out.push_str(&format!(
                    "      <failure message=\"{failure}\" type=\"failed\"/>\n"
                ));
                "rerunFailure"
            }
            None => "flakyFailure",
        };
        for attempt in earlier {
            let failure = attribute(attempt.failure.as_deref().unwrap_or_default());
            out.push_str(&format!(
                "      <{earlier_element} message=\"{failure}\" type=\"failed\">\n"
            ));
            push_output(&mut out, attempt);
            out.push_str(&format!("      </{earlier_element}>\n"));
        }
        push_output(&mut out, last);
    }
    out.push_str("    </testcase>\n");
    out
}

fn push_output(out: &mut String, attempt: &Attempted) {
    for (element, text) in [
        ("system-out", &attempt.stdout),
        ("system-err", &attempt.stderr),
    ] {
        if !text.is_empty() {
            out.push_str(&format!("      <{element}>{}</{element}>\n", content(text)));
        }
    }
}

fn shortened(text: &str) -> String {
    let mut clip = crate::text::Clip::new(OUTPUT_BYTES.0, OUTPUT_BYTES.1);
    clip.push(text);
    clip.finish().text
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// Text between tags. XML 1.0 has no way to write most control characters (section 2.2), so U+FFFD stands for them.
fn content(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A literal one is read as a line feed (section 2.11).
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(character),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

/// Text in an attribute, where line feeds and tabs would be read as spaces (section 3.3.3).
fn attribute(text: &str) -> String {
    content(text)
        .replace('"', "&quot;")
        .replace('\n', "&#10;")
        .replace('\t', "&#9;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: &str, failures: &[Option<&str>]) -> Case {
        let attempts = failures
            .iter()
            .map(|failure| Attempted::new(failure.map(str::to_owned), "out", ""))
            .collect();
        Case {
            id: id.to_owned(),
            name: id.to_owned(),
            duration: Duration::from_millis(1_500),
            attempts,
            skipped: None,
        }
    }

    #[test]
    fn each_attempt_is_visible_and_the_last_one_decides() {
        let skipped = Case {
            skipped: Some("its condition does not hold".to_owned()),
            ..case("third", &[])
        };
        let cases = [
            case("first", &[Some("exit 1"), None]),
            case("second", &[Some("exit 2"), Some("exit 3")]),
            skipped,
        ];
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="p" tests="3" failures="1" errors="0" skipped="1" time="4.500">
  <testsuite name="p" tests="3" failures="1" errors="0" skipped="1" time="4.500">
    <testcase name="first" classname="p" time="1.500">
      <flakyFailure message="exit 1" type="failed">
      <system-out>out</system-out>
      </flakyFailure>
      <system-out>out</system-out>
    </testcase>
    <testcase name="second" classname="p" time="1.500">
      <failure message="exit 3" type="failed"/>
      <rerunFailure message="exit 2" type="failed">
      <system-out>out</system-out>
      </rerunFailure>
      <system-out>out</system-out>
    </testcase>
    <testcase name="third" classname="p" time="1.500">
      <skipped message="its condition does not hold"/>
    </testcase>
  </testsuite>
</testsuites>
"#;
        assert_eq!(report("p", &cases), expected);
    }

    #[test]
    fn whatever_a_step_writes_the_report_stays_xml() {
        let odd = "]]> <a b='\"&\r\n\t\u{1b}[0m\0\u{ffff}é";
        assert_eq!(
            content(odd),
            "]]&gt; &lt;a b='\"&amp;&#13;\n\t\u{fffd}[0m\u{fffd}\u{fffd}é"
        );
        assert_eq!(attribute("a\"\n\tb"), "a&quot;&#10;&#9;b");
    }

    #[test]
    fn a_report_is_bounded_and_says_what_is_missing() {
        let loud = || Attempted::new(Some("x".repeat(500)), &"<".repeat(20_000), "");
        let cases: Vec<_> = (0..500)
            .map(|number| Case {
                attempts: vec![loud(), loud()],
                ..case(&format!("s{number}"), &[])
            })
            .collect();
        let report = report("p", &cases);
        assert!(report.len() < MAX_REPORT_BYTES + 1_000);
        assert!(report.contains("tests=\"500\"") && report.contains("test cases were left out"));
        assert!(report.ends_with("</testsuites>\n"));
    }
}
