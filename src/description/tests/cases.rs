//! Cases of broken descriptions in a text: arguments, environment, file and the errors that they give.

use super::{Resolved, resolve_args};

/// One case.
#[derive(Default)]
pub(super) struct Case<'a> {
    /// Arguments of `stockade run`.
    pub(super) args: &'a str,
    /// Variables of the environment.
    pub(super) environment: Vec<(&'a str, &'a str)>,
    /// The text of `run.toml`.
    pub(super) file: String,
    /// One error a line.
    pub(super) expected: Vec<&'a str>,
}

impl Case<'_> {
    /// What comes of it.
    pub(super) fn resolved(&self) -> Resolved {
        resolve_args(self.args, &self.environment, &self.file)
    }

    /// The errors that it gives, one a line.
    pub(super) fn faults(&self) -> String {
        match self.resolved() {
            Ok(_) => "no error".to_owned(),
            Err(errors) => errors.to_string(),
        }
    }
}

/// The cases of a text whose first lines say how they are written.
pub(super) fn cases(text: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for line in text.lines() {
        let (mark, rest) = line.split_at(line.len().min(2));
        if mark.trim() == "$" {
            cases.push(Case::default());
        }
        let case = cases.last_mut();
        match (mark.trim(), case) {
            ("$", Some(case)) => case.args = rest,
            ("@", Some(case)) => case.environment.push(rest.split_once('=').unwrap()),
            ("|", Some(case)) => case.file.push_str(&format!("{rest}\n")),
            (">", Some(case)) => case.expected.push(rest),
            ("#" | "", _) => {}
            _ => panic!("a line that is no part of a case: {line}"),
        }
    }
    cases
}

/// The text with the errors that its cases give in the place of those that it has.
pub(super) fn blessed(text: &str) -> String {
    let mut faults = cases(text).into_iter().map(|case| case.faults());
    let mut blessed = String::new();
    let mut is_open = false;
    let mut close = |is_open: &mut bool, blessed: &mut String| {
        if std::mem::take(is_open) {
            for fault in faults.next().unwrap().lines() {
                blessed.push_str(&format!("> {fault}\n"));
            }
        }
    };
    for line in text.lines().filter(|line| !line.starts_with("> ")) {
        if line.is_empty() {
            close(&mut is_open, &mut blessed);
        }
        is_open |= line.trim_end() == "$" || line.starts_with("$ ");
        blessed.push_str(&format!("{line}\n"));
    }
    close(&mut is_open, &mut blessed);
    blessed
}
