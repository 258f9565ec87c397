//! The environment of the workload: built from nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use stockade_sandbox::SCRATCH_DIRECTORIES;

/// Number of the descriptor on which a workload may report actions, one JSON object a line.
pub const ACTIONS_FD: i32 = 3;

/// The descriptor on which a workload is told of a stop, where it is told.
pub const CONTROL_FD: i32 = 4;

/// The variable that names it.
pub const CONTROL_FD_VARIABLE: &str = "STOCKADE_CONTROL_FD";

/// Name of the variable that says so.
pub const ACTIONS_FD_VARIABLE: &str = "STOCKADE_ACTIONS_FD";

/// Where programs are looked up, unless the description says otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of our own environment the workload sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherited {
    /// `HOME`, which only a workload without isolation shares.
    pub home: Option<String>,
    /// `LANG`.
    pub lang: Option<String>,
    /// `TERM`.
    pub term: Option<String>,
    /// `TZ`.
    pub tz: Option<String>,
    /// `TRACEPARENT` (W3C Trace Context).
    pub traceparent: Option<String>,
}

impl Inherited {
    /// What an environment has of it.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            home: variable("HOME"),
            lang: variable("LANG"),
            term: variable("TERM"),
            tz: variable("TZ"),
            traceparent: variable("TRACEPARENT").filter(|text| is_traceparent(text)),
        }
    }
}

/// Whether a text has the form of the header `traceparent` (W3C Trace Context, section 3.2): four fields of lower-case hex, with a
/// version that is allowed and ids that are not zero. What later versions put behind them is not taken.
pub fn is_traceparent(text: &str) -> bool {
    let fields: Vec<&str> = text.split('-').collect();
    let is_hex = |field: &str, length| {
        field.len() == length
            && field
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |field: &str| field.bytes().all(|byte| byte == b'0');
    match fields.as_slice() {
        [version, trace, parent, flags] => {
            is_hex(version, 2)
                && *version != "ff"
                && is_hex(trace, 32)
                && !is_zero(trace)
                && is_hex(parent, 16)
                && !is_zero(parent)
                && is_hex(flags, 2)
        }
        _ => false,
    }
}

/// Where temporary files go, where that is a directory of the run.
pub fn temporary(scratch: Option<&Path>) -> Option<(String, String)> {
    let [temporary, ..] = SCRATCH_DIRECTORIES;
    let path = scratch?.join(temporary);
    Some(("TMPDIR".to_owned(), path.display().to_string()))
}

/// Builds the environment; what the description declares stands above what is given to every workload.
pub fn build(
    home: &str,
    inherited: &Inherited,
    declared: impl IntoIterator<Item = (String, String)>,
) -> Vec<(OsString, OsString)> {
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOME".to_owned(), home.to_owned()),
        (
            "LANG".to_owned(),
            inherited
                .lang
                .clone()
                .unwrap_or_else(|| "C.UTF-8".to_owned()),
        ),
        (
            "TERM".to_owned(),
            inherited.term.clone().unwrap_or_else(|| "dumb".to_owned()),
        ),
        (ACTIONS_FD_VARIABLE.to_owned(), ACTIONS_FD.to_string()),
    ]);
    for (name, value) in [
        ("TZ", &inherited.tz),
        ("TRACEPARENT", &inherited.traceparent),
    ] {
        if let Some(value) = value {
            environment.insert(name.to_owned(), value.clone());
        }
    }
    environment.extend(declared);
    environment
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_inherited_but_what_is_named() {
        let declared = [
            ("PATH".to_owned(), "/opt/bin".to_owned()),
            ("TASK".to_owned(), "x".to_owned()),
        ];
        let built = build(
            "/home/agent",
            &Inherited {
                tz: Some("UTC".to_owned()),
                ..Inherited::default()
            },
            declared,
        );
        let expected = [
            ("HOME", "/home/agent"),
            ("LANG", "C.UTF-8"),
            ("PATH", "/opt/bin"),
            ("STOCKADE_ACTIONS_FD", "3"),
            ("TASK", "x"),
            ("TERM", "dumb"),
            ("TZ", "UTC"),
        ];
        assert_eq!(
            built,
            expected.map(|(name, value)| (OsString::from(name), OsString::from(value)))
        );
    }
}
