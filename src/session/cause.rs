//! Why a run is over: from what ended it to the words of the record.
//!
//! Owns the code, the sentence and the facts of each cause, and the limit that is recorded with it. It decides nothing about
//! how the run is taken down. Invariant: every end has exactly one cause.

use serde_json::json;

use super::guarded;
use super::{End, Session};
use crate::agent::Verdict;
use crate::control::{StopCall, StopCause, StopRequest};
use crate::event::{Event, Limit, LimitDecision, LimitRule};
use crate::run::{EndedBy, ErrorCode, Oom, Sender};

/// What the kernel itself sends for a key, and when the terminal goes away (termios(3)).
const FROM_TERMINAL: [i32; 3] = [nix::libc::SIGINT, nix::libc::SIGQUIT, nix::libc::SIGHUP];

/// What ended the run, in the words of the record.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) error: Option<(ErrorCode, String)>,
    /// Facts of the error, for machines.
    pub(super) details: Option<serde_json::Value>,
    /// The kill for memory behind it; that of the last process is in its exit.
    pub(super) oom: Option<Oom>,
    pub(super) by: EndedBy,
    pub(super) stop_signal: Option<i32>,
    pub(super) sender: Option<Sender>,
    pub(super) verdict: Verdict,
}

impl Session {
    /// Finds the cause, and records the limit behind it.
    pub(super) async fn cause_of(&mut self, end: End, call: &mut Option<StopCall>) -> Cause {
        let stopped_by = |rule, limit| {
            Event::Limit(Limit {
                rule,
                decision: LimitDecision::Stop,
                limit,
                detail: "the run is stopped".to_owned(),
            })
        };
        let failed = |code, by, message: String| Cause {
            error: Some((code, message)),
            details: None,
            oom: None,
            by,
            stop_signal: None,
            sender: None,
            verdict: Verdict::default(),
        };
        match end {
            End::Verdict(mut verdict) => Cause {
                error: verdict.error.take(),
                details: verdict
                    .limit
                    .map(|(rule, limit)| guarded::budget(rule, limit)),
                oom: None,
                by: match verdict.limit {
                    Some(_) => EndedBy::Limit,
                    None => EndedBy::Agent,
                },
                stop_signal: None,
                sender: None,
                verdict: *verdict,
            },
            End::Stop(stop) => {
                let cause = stopped(&stop.request);
                *call = Some(stop);
                cause
            }
            End::Deadline => {
                let seconds = self.settings.timeout.as_secs();
                self.recorder
                    .append(stopped_by(LimitRule::Timeout, seconds));
                failed(
                    ErrorCode::Timeout,
                    EndedBy::Deadline,
                    format!("the run reached timeout_seconds = {seconds}"),
                )
            }
            End::Idle => {
                let seconds = self.settings.idle_timeout.unwrap_or_default().as_secs();
                self.recorder
                    .append(stopped_by(LimitRule::IdleTimeout, seconds));
                let message = format!("nothing happened for idle_timeout_seconds = {seconds}");
                failed(ErrorCode::Timeout, EndedBy::Idle, message)
            }
            End::TooManySteps => {
                let steps = self.journal.max_steps();
                self.recorder.append(stopped_by(LimitRule::MaxSteps, steps));
                let message = format!("the agent did more than max_steps = {steps} actions");
                Cause {
                    details: Some(guarded::budget(LimitRule::MaxSteps, steps)),
                    ..failed(ErrorCode::BudgetExceeded, EndedBy::Limit, message)
                }
            }
            End::TooMuchOutput => {
                let bytes = self.budget.limit();
                self.recorder.append(stopped_by(LimitRule::Output, bytes));
                let message = format!("the workload wrote more than limits.output = {bytes} bytes");
                Cause {
                    details: Some(guarded::budget(LimitRule::Output, bytes)),
                    ..failed(ErrorCode::BudgetExceeded, EndedBy::Limit, message)
                }
            }
            End::Exceeded(exceeded) => {
                let (limit, code, message) = exceeded.words();
                let details = guarded::budget(limit.rule, limit.limit);
                self.recorder.append(Event::Limit(limit));
                Cause {
                    details: Some(details),
                    oom: exceeded.oom(),
                    ..failed(code, EndedBy::Limit, message)
                }
            }
            End::Blocked(guardrail) => {
                let (code, message) = guarded::error(&guardrail);
                Cause {
                    details: Some(guarded::details(&guardrail)),
                    ..failed(code, EndedBy::Limit, message)
                }
            }
            End::ServiceLost(lost) => Cause {
                details: Some(json!({"service": lost.service})),
                ..failed(
                    match lost.is_late {
                        true => ErrorCode::AgentFailed,
                        false => ErrorCode::SetupFailed,
                    },
                    EndedBy::Supervisor,
                    format!("the service {} is gone: {}", lost.service, lost.why),
                )
            },
            End::LogFailed(error) => failed(
                ErrorCode::RecordingsUnusable,
                EndedBy::Supervisor,
                format!("the log failed: {error}"),
            ),
            End::SandboxGone(error) => {
                let reading = self.workload.reading();
                match reading.and_then(|reading| self.limits.oom_of_sandbox(reading)) {
                    Some(oom) => Cause {
                        oom: Some(oom),
                        ..failed(
                            ErrorCode::OomKilled,
                            EndedBy::Limit,
                            format!(
                                "the workload took more than limits.memory = {} bytes, and its sandbox was killed",
                                oom.limit_bytes
                            ),
                        )
                    },
                    None => failed(
                        ErrorCode::SetupFailed,
                        EndedBy::Supervisor,
                        format!("the sandbox is gone: {error}"),
                    ),
                }
            }
        }
    }
}

fn stopped(request: &StopRequest) -> Cause {
    let (by, stop_signal, sender, who) = match request.cause {
        StopCause::Signal { signo, sender } => {
            let name = nix::sys::signal::Signal::try_from(signo)
                .map_or_else(|_| format!("signal {signo}"), |s| s.to_string());
            let from = match sender {
                Some(s) => format!(" from pid {} of uid {}", s.pid, s.uid),
                // The kernel's own: a key, or the terminal went away.
                None if FROM_TERMINAL.contains(&signo) => " from the terminal".to_owned(),
                None => String::new(),
            };
            (
                EndedBy::Signal,
                Some(signo),
                sender,
                format!("{name}{from}"),
            )
        }
        StopCause::Api => (
            EndedBy::Api,
            None,
            None,
            "a caller of the status API".to_owned(),
        ),
    };
    let why = request
        .reason
        .as_ref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    Cause {
        error: Some((
            ErrorCode::RunTerminated,
            format!("the run was stopped by {who}{why}"),
        )),
        details: None,
        oom: None,
        by,
        stop_signal,
        sender,
        verdict: Verdict::default(),
    }
}
