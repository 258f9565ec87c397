//! The structured result that the description asks for: where it is, and whether it has the form that was asked for.
//!
//! Owns the reading and the checking of it, behind the end of the workload. It follows no link, waits for no pipe and reads
//! no more than [`MAX_RESULT_BYTES`]. Invariant: a run whose result is missing, unreadable or of another form never
//! completes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use super::result_lines::{Found, ResultLine};
use crate::agent::exact::first_inexact;
use crate::agent::{MAX_LINE_BYTES, ResultFile, Verdict};
use crate::description::settings::Output;
use crate::recordings::directory::open_beneath;
use crate::recordings::path::RelativePath;
use crate::redact::{Redaction, Redactor};
use crate::schema::{Checked, Schema};

/// Largest result, in bytes: that of a line.
pub const MAX_RESULT_BYTES: usize = MAX_LINE_BYTES;

/// Longest time for reading and checking a result; both take milliseconds on a disk that answers.
pub const RESULT_LIMIT: Duration = Duration::from_secs(3);

/// Largest result that stands in a summary, in bytes: a quarter of what the terminal event holds.
const MAX_SUMMARY_RESULT_BYTES: usize = 16 * 1024;

/// The artifact that a result of another form becomes.
const REJECTED: &str = "output-rejected.json";

/// The result that is asked for.
#[derive(Debug)]
pub struct Wanted {
    schema: Option<Schema>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Line(ResultLine),
    File {
        path: RelativePath,
        workspace: OwnedFd,
        /// What was there before the run.
        before: Option<Stamp>,
    },
}

/// What tells a file from the same one before it was written: its inode and the time of its last change, which no process
/// can set (inode(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed_at: (i64, i64),
    size: u64,
}

/// Why a result is none.
#[derive(Debug)]
pub(super) struct Invalid {
    /// One sentence.
    pub(super) message: String,
    /// Path, place in the schema and reason of each violation that is told.
    pub(super) violations: Vec<[String; 3]>,
    pub(super) n_violations: u64,
}

impl Invalid {
    fn because(message: String) -> Self {
        Self {
            message,
            violations: Vec::new(),
            n_violations: 0,
        }
    }

    /// The facts for machines; each text goes through `text`, which redacts and cuts it.
    pub(super) fn details(&self, text: impl Fn(String) -> String) -> Value {
        let violation = |[path, schema, reason]: &[String; 3]| json!({"path": text(path.clone()), "schema": text(schema.clone()), "reason": reason});
        let violations: Vec<Value> = self.violations.iter().map(violation).collect();
        json!({"violations": violations, "violation_count": self.n_violations})
    }
}

impl Wanted {
    /// What is asked for, before the workload starts.
    ///
    /// # Errors
    /// When the schema or the workspace, which were checked before, cannot be used any more.
    pub fn begin(output: &Output, workspace: &Path) -> io::Result<Self> {
        let schema = output.schema.as_ref().map(Schema::compile).transpose();
        let place = match &output.file {
            None => Place::Line(ResultLine::default()),
            Some(path) => {
                let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let workspace = nix::fcntl::open(workspace, flags, Mode::empty())?;
                let path = RelativePath::parse(path).map_err(io::Error::other)?;
                let before = open(&workspace, &path).and_then(|file| stamp(&file));
                Place::File {
                    path,
                    workspace,
                    before: before.ok(),
                }
            }
        };
        Ok(Self {
            schema: schema.map_err(io::Error::other)?,
            place,
        })
    }

    /// Where the pumps put the line that they find; none when it is a file that is asked for.
    pub(super) fn line(&self) -> Option<&ResultLine> {
        match &self.place {
            Place::Line(line) => Some(line),
            Place::File { .. } => None,
        }
    }

    /// Finds and checks the result of a run that is about to complete, and puts it into the verdict.
    ///
    /// It is redacted before it is checked, as everything that goes on record: what is told of it has names of its parts.
    pub(super) async fn take(
        self: Arc<Self>,
        redactor: Redactor,
        verdict: &mut Verdict,
    ) -> Result<(), Invalid> {
        let beside = verdict.beside;
        let reported = match (beside, verdict.inexact.take()) {
            // What the agent has of its own is not what is asked for.
            (Some(_), _) => None,
            (None, Some(inexact)) if self.line().is_some() => {
                verdict.data = None;
                let message = format!("the result that the agent reported: {inexact}");
                return Err(Invalid::because(message));
            }
            (None, _) => verdict.data.take(),
        };
        let work = tokio::task::spawn_blocking(move || {
            let data = self.find(reported).map_err(|why| Box::new((why, None)))?;
            let data = redacted(&redactor, data);
            match self.check(&data) {
                Ok(()) => Ok(data),
                Err(why) => Err(Box::new((why, Some(data)))),
            }
        });
        let too_slow = "the output could not be read and checked in time";
        match tokio::time::timeout(RESULT_LIMIT, work).await {
            Ok(Ok(Ok(data))) => {
                match beside {
                    None => verdict.data = Some(data),
                    Some(name) => put_beside(verdict, name, data),
                }
                Ok(())
            }
            Ok(Ok(Err(refusal))) => {
                let (why, rejected) = *refusal;
                // It stands nowhere else, and must not be taken for a result.
                verdict.files.extend(rejected.map(|data| ResultFile {
                    path: REJECTED,
                    media_type: "application/json",
                    text: data.to_string(),
                }));
                Err(why)
            }
            Ok(Err(_)) | Err(_) => Err(Invalid::because(too_slow.to_owned())),
        }
    }

    fn find(&self, reported: Option<Value>) -> Result<Value, Invalid> {
        let (what, bytes) = match (&self.place, reported) {
            (Place::Line(_), Some(data)) => return Ok(data),
            (Place::Line(line), None) => match line.take() {
                Some(Found::Json(line)) => ("the last JSON line of the output".to_owned(), line),
                Some(Found::TooLong) => {
                    let message = format!(
                        "the last JSON line of the output is longer than {MAX_LINE_BYTES} bytes"
                    );
                    return Err(Invalid::because(message));
                }
                Some(Found::Torn) => {
                    let message = "the output is not whole: the last line of standard output that begins as a JSON object is none";
                    return Err(Invalid::because(message.to_owned()));
                }
                None => {
                    let message = "the output is missing: no line of standard output is a JSON object or array";
                    return Err(Invalid::because(message.to_owned()));
                }
            },
            (
                Place::File {
                    path,
                    workspace,
                    before,
                },
                _,
            ) => {
                let what = format!("the output file {path}");
                let bytes = read(workspace, path, *before)
                    .map_err(|why| Invalid::because(format!("{what} {why}")))?;
                (what, bytes)
            }
        };
        let data = serde_json::from_slice(&bytes)
            .map_err(|error| Invalid::because(format!("{what} is no JSON: {error}")))?;
        match first_inexact(&bytes) {
            None => Ok(data),
            Some(inexact) => Err(Invalid::because(format!("{what}: {inexact}"))),
        }
    }

    fn check(&self, data: &Value) -> Result<(), Invalid> {
        let Some(schema) = &self.schema else {
            return Ok(());
        };
        let Checked {
            violations,
            n_violations,
        } = schema.check(data);
        let Some(first) = violations.first() else {
            return Ok(());
        };
        let more = match n_violations.saturating_sub(1) {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        Err(Invalid {
            message: format!("the output is not what output_schema asks for: {first}{more}"),
            violations: violations
                .into_iter()
                .map(|violation| [violation.path, violation.schema, violation.reason])
                .collect(),
            n_violations,
        })
    }
}

/// Puts the result into what the agent has of its own, and into the summary if that keeps it small.
fn put_beside(verdict: &mut Verdict, name: &str, data: Value) {
    if let Some(Value::Object(summary)) = verdict.summary.as_deref_mut()
        && data.to_string().len() <= MAX_SUMMARY_RESULT_BYTES
    {
        summary.insert(name.to_owned(), data.clone());
    }
    match &mut verdict.data {
        Some(Value::Object(own)) => {
            own.insert(name.to_owned(), data);
        }
        own => *own = Some(json!({ name: data })),
    }
}

fn redacted(redactor: &Redactor, data: Value) -> Value {
    // The keys of the outermost object are taken for ours.
    let mut payload = json!({ "data": data }).to_string().into_bytes();
    match redactor.redact_json_object(&mut payload) {
        Redaction::Untouched => data,
        Redaction::Changed => {
            let mut whole: Option<Value> = serde_json::from_slice(&payload).ok();
            let data = whole.as_mut().and_then(|whole| whole.get_mut("data"));
            data.map(Value::take).unwrap_or_default()
        }
    }
}

/// Opens what is at the path, without waiting for a writer if it is a pipe.
fn open(workspace: &OwnedFd, path: &RelativePath) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    Ok(File::from(open_beneath(workspace.as_fd(), path, flags)?))
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    Ok(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        changed_at: (metadata.ctime(), metadata.ctime_nsec()),
        size: metadata.size(),
    })
}

/// Reads the file; says in one clause why not.
fn read(
    workspace: &OwnedFd,
    path: &RelativePath,
    before: Option<Stamp>,
) -> Result<Vec<u8>, String> {
    let file = open(workspace, path).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ENOENT) => "is missing".to_owned(),
        Some(nix::libc::ELOOP) => {
            "is a link, or lies behind one; links are not followed".to_owned()
        }
        _ => format!("cannot be opened: {error}"),
    })?;
    let cannot_read = |error: io::Error| format!("cannot be read: {error}");
    if !file.metadata().map_err(cannot_read)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    if Some(stamp(&file).map_err(cannot_read)?) == before {
        return Err("was there before the run and was not written by it".to_owned());
    }
    let mut bytes = Vec::new();
    let limit = MAX_RESULT_BYTES as u64 + 1;
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(cannot_read)?;
    if bytes.len() > MAX_RESULT_BYTES {
        return Err(format!("is larger than {MAX_RESULT_BYTES} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn wanted(directory: &Path, schema: Value) -> Wanted {
        let output = Output {
            schema: Some(schema),
            file: Some("out/result.json".to_owned()),
        };
        Wanted::begin(&output, directory).unwrap()
    }

    /// What is found after `change` has worked in an empty workspace with a directory `out`.
    fn found(change: impl FnOnce(&Path)) -> Result<Value, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("out")).unwrap();
        let wanted = wanted(directory.path(), json!(true));
        change(directory.path());
        wanted.find(None).map_err(|why| why.message)
    }

    #[test]
    fn a_file_is_read_beneath_the_workspace_and_nothing_else_is() {
        let write = |text: &'static [u8]| {
            move |at: &Path| std::fs::write(at.join("out/result.json"), text).unwrap()
        };
        assert_eq!(found(write(b" {\"a\": 1}\n")), Ok(json!({"a": 1})));
        assert_eq!(found(write(b"3")), Ok(json!(3)));
        let refused = |change: &dyn Fn(&Path), why: &str| {
            let error = found(change).unwrap_err();
            assert!(
                error.starts_with("the output file out/result.json "),
                "{error}"
            );
            assert!(error.contains(why), "{error}");
        };
        refused(&|_| {}, "is missing");
        refused(&write(b""), "is no JSON");
        refused(&write(b"{\"a\":"), "is no JSON");
        refused(&write(b"\xff"), "is no JSON");
        refused(
            &|at| std::fs::create_dir(at.join("out/result.json")).unwrap(),
            "no regular file",
        );
        refused(
            &|at| {
                std::fs::write(at.join("secret.json"), "{}").unwrap();
                symlink("../secret.json", at.join("out/result.json")).unwrap();
            },
            "links are not followed",
        );
        refused(
            &|at| {
                std::fs::rename(at.join("out"), at.join("other")).unwrap();
                std::fs::write(at.join("other/result.json"), "{}").unwrap();
                symlink("other", at.join("out")).unwrap();
            },
            "links are not followed",
        );
        // Nobody ever writes to it.
        refused(
            &|at| nix::unistd::mkfifo(&at.join("out/result.json"), Mode::S_IRWXU).unwrap(),
            "no regular file",
        );
        refused(
            &|at| {
                std::fs::write(at.join("out/result.json"), vec![b' '; MAX_RESULT_BYTES + 1])
                    .unwrap()
            },
            "is larger than",
        );
    }

    #[test]
    fn a_file_of_an_earlier_run_is_no_result_until_it_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("out")).unwrap();
        let path = directory.path().join("out/result.json");
        std::fs::write(&path, "{}").unwrap();
        let begun = wanted(directory.path(), json!(true));
        let error = begun.find(None).unwrap_err().message;
        assert!(
            error.ends_with("was there before the run and was not written by it"),
            "{error}"
        );
        std::fs::write(&path, "[]").unwrap();
        assert_eq!(begun.find(None).unwrap(), json!([]));
        let begun = wanted(directory.path(), json!(true));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "[]").unwrap();
        assert_eq!(begun.find(None).unwrap(), json!([]));
    }

    #[test]
    fn what_the_agent_reported_wins_over_a_line_and_never_over_a_file() {
        let output = Output {
            schema: None,
            file: None,
        };
        let line = Wanted::begin(&output, Path::new("/")).unwrap();
        assert_eq!(line.find(Some(json!(1))).unwrap(), json!(1));
        assert!(line.find(None).is_err());
        assert!(found(|_| {}).is_err());
        let directory = tempfile::tempdir().unwrap();
        let file = wanted(directory.path(), json!(true));
        assert!(file.find(Some(json!(1))).is_err());
    }
}
