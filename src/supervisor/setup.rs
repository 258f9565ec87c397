//! From the hand-over of the command line to the parts of a run.
//!
//! Owns the translation of the run description into the words of log, sandbox, session and API. It decides nothing that the
//! description does not say.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stockade_sandbox as sandbox;
use zeroize::Zeroizing;

use super::early_end::EarlyEnd;
use super::egress;
use crate::agent::{Agent, CommandAgent, JsonlAgent, PlaybookAgent};
use crate::api::{Auth, AuthError, Scope};
use crate::description::credentials::Expose;
use crate::description::hand_over::{HandOver, HandOverError};
use crate::description::settings::{Adapter, Durability, Isolation, OnError, OnFull};
use crate::description::sight::Sight;
use crate::description::supervisor::{Authentication, SupervisorOptions};
use crate::description::{PlaybookRun, RunDescription};
use crate::guardrail::Watch;
use crate::log::{self, LogOptions, Millis};
use crate::playbook::{Playbook, PlaybookErrors};
use crate::progress::mode::{Doors, Passthrough};
use crate::recordings::RunDir;
use crate::recordings::claim::{Claim, ClaimAnswer};
use crate::recordings::termination::TerminationMessage;
use crate::redact::Redactor;
use crate::run::ErrorCode;
use crate::session::artifacts::Artifacts;
use crate::session::console::Console;
use crate::session::environment::{self, Inherited};
use crate::session::journal::Journal;
use crate::session::recorder::{OnDisk, Recorder};
use crate::session::result::Wanted;
use crate::session::workload::chain;
use crate::session::{OnLogFailure, Settings};
use crate::status::fold::{Described, StatusFold};

/// Largest hand-over that is read, in bytes; descriptions are far smaller.
const MAX_HAND_OVER_BYTES: u64 = 64 * 1024 * 1024;

/// The program that every process of ours is started from: the one that runs.
pub const SELF: &str = "/proc/self/exe";

/// Why the supervisor cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum InheritanceError {
    /// The hand-over could not be read.
    #[error("cannot read the hand-over of the command line")]
    Read(#[source] io::Error),
    /// The hand-over could not be understood.
    #[error("cannot understand the hand-over of the command line")]
    Parse(#[source] HandOverError),
}

/// What the supervisor is born with.
#[derive(Debug)]
pub struct Inheritance {
    /// Description and options.
    pub hand_over: HandOver,
    /// Channel to the guardian.
    pub guardian: OwnedFd,
    /// The run's directory.
    pub run_dir: RunDir,
    /// The run's lock.
    pub lock: OwnedFd,
    /// What the launch helper is started from.
    pub program: PathBuf,
    /// What the workload may see of our environment.
    pub inherited: Inherited,
    /// Where stdout and stderr lead.
    pub doors: Doors,
}

impl Inheritance {
    /// Reads the hand-over and this process's own environment, once.
    ///
    /// # Errors
    /// When the hand-over is not one of ours.
    pub fn read(
        guardian: OwnedFd,
        run_dir: OwnedFd,
        spec: OwnedFd,
        lock: OwnedFd,
    ) -> Result<Self, InheritanceError> {
        let spec = File::from(spec);
        let n_bytes = spec
            .metadata()
            .map_err(InheritanceError::Read)?
            .len()
            .min(MAX_HAND_OVER_BYTES);
        let mut bytes = Zeroizing::new(vec![0; usize::try_from(n_bytes).unwrap_or(0)]);
        spec.read_exact_at(&mut bytes, 0)
            .map_err(InheritanceError::Read)?;
        let hand_over = HandOver::from_bytes(&bytes).map_err(InheritanceError::Parse)?;
        let path = hand_over
            .options
            .recordings
            .join(hand_over.description.run_id.as_str());
        let run_dir = RunDir::from_fd(run_dir, path, hand_over.description.run_id.clone());
        let inherited = Inherited::of(|name| std::env::var(name).ok());
        Ok(Self {
            hand_over,
            guardian,
            run_dir,
            lock,
            program: PathBuf::from(SELF),
            inherited,
            doors: Doors::here(
                std::env::var_os("NO_COLOR").as_deref(),
                std::env::var_os("TERM").as_deref(),
            ),
        })
    }
}

/// A redactor for everything that the description and the options keep secret.
pub fn redactor(description: &RunDescription, options: &SupervisorOptions) -> Redactor {
    let declared = description.secrets();
    let declared = declared.map(|(name, secret)| (name.to_owned(), secret.expose()));
    let tokens = [
        ("token", &options.token),
        ("read-token", &options.read_token),
    ];
    let tokens = tokens
        .into_iter()
        .filter_map(|(name, token)| Some((name.to_owned(), token.as_ref()?.expose())));
    Redactor::new(
        declared
            .chain(tokens)
            .map(|(name, secret)| (name, secret.as_bytes().to_vec())),
    )
}

/// What the workload sees of this host's files.
pub fn sight(description: &RunDescription) -> Sight {
    let shown = description.shown();
    Sight::of(description.isolation, &description.workspace, &shown)
}

/// Names this process as the run's supervisor.
///
/// # Errors
/// When the claim cannot be written.
pub fn claim(run_dir: &RunDir) -> Result<ClaimAnswer, String> {
    let claim = Claim::of_this_process(run_dir.id().clone(), Millis::now().to_rfc3339());
    let claim = claim.map_err(|error| error.to_string())?;
    claim.take(run_dir).map_err(|error| chain(&error))
}

/// The status before the first event.
pub fn fold(description: &RunDescription, redactor: &Redactor) -> StatusFold {
    let redacted = |text: &String| redactor.redact_text(text).into_owned();
    let labels = description.labels.iter();
    let described = Described {
        labels: labels
            .map(|(name, value)| (redacted(name), redacted(value)))
            .collect(),
        resumed_from: description.resumed_from().cloned(),
    };
    StatusFold::with_description(description.run_id.clone(), described)
}

/// Settings of the action log.
pub fn log_options(description: &RunDescription) -> LogOptions {
    let recording = &description.recording;
    LogOptions {
        durability: match recording.durability {
            Durability::Written => log::Durability::Written,
            Durability::Durable => log::Durability::Durable,
        },
        on_full: match recording.on_full {
            OnFull::Pause => log::OnFull::Pause,
            OnFull::Fail => log::OnFull::Fail,
        },
        segment_bytes: recording.segment_bytes,
        ..LogOptions::default()
    }
}

/// The home directory of the workload; with directories of the run, theirs.
pub fn home_of_workload(
    description: &RunDescription,
    inherited: &Inherited,
    scratch: Option<&Path>,
) -> String {
    let [_, home, _] = sandbox::SCRATCH_DIRECTORIES;
    match (description.isolation, scratch) {
        (_, Some(scratch)) => scratch.join(home).display().to_string(),
        (Isolation::Full | Isolation::Container, None) => sandbox::HOME.to_owned(),
        (Isolation::None, None) => inherited.home.clone().unwrap_or_else(|| "/".to_owned()),
    }
}

/// What the preset sets, and the PATH that it makes.
pub fn variables_of_preset(description: &RunDescription) -> impl Iterator<Item = (String, String)> {
    let preset = &description.preset;
    let path = (!preset.path.is_empty()).then(|| {
        let own = preset.path.iter().map(String::as_str);
        let all: Vec<_> = own.chain([environment::DEFAULT_PATH]).collect();
        ("PATH".to_owned(), all.join(":"))
    });
    preset.env.clone().into_iter().chain(path)
}

/// Bounds and environment of the session.
pub fn settings(
    description: &RunDescription,
    inherited: &Inherited,
    began: tokio::time::Instant,
    scratch: Option<&Path>,
    proxy: Option<SocketAddr>,
) -> Settings {
    let home = home_of_workload(description, inherited, scratch);
    let task = description
        .task
        .iter()
        .map(|task| ("STOCKADE_TASK".to_owned(), task.clone()));
    let run_id = [("STOCKADE_RUN_ID".to_owned(), description.run_id.to_string())];
    let declared = description
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let credentials = description
        .credentials
        .iter()
        .filter(|(_, credential)| credential.expose == Expose::Env);
    let credentials =
        credentials.map(|(name, credential)| (name.clone(), credential.secret.expose().to_owned()));
    Settings {
        began,
        timeout: description.timeout,
        idle_timeout: description.idle_timeout,
        grace: description.grace,
        stop_message: description.stop_message,
        on_log_failure: match description.recording.on_error {
            OnError::Stop => OnLogFailure::Stop,
            OnError::Continue => OnLogFailure::Continue,
        },
        environment: environment::build(
            &home,
            inherited,
            run_id
                .into_iter()
                .chain(environment::temporary(scratch))
                .chain(egress::variables(description, proxy))
                .chain(task)
                .chain(variables_of_preset(description))
                .chain(declared)
                .chain(credentials),
        ),
        directory: description.chdir.clone(),
        passthrough: Passthrough::BOTH,
        result: None,
        hooks: description.hooks.clone(),
        console: Console::of(description),
    }
}

/// The result that the description asks for, before the workload can give it.
///
/// # Errors
/// When the workspace cannot be opened.
pub fn result(description: &RunDescription) -> Result<Option<Arc<Wanted>>, EarlyEnd> {
    let Some(output) = &description.output else {
        return Ok(None);
    };
    match Wanted::begin(output, &description.workspace) {
        Ok(wanted) => Ok(Some(Arc::new(wanted))),
        Err(error) => {
            let message = format!("the workspace cannot be opened: {}", chain(&error));
            Err(EarlyEnd::new(ErrorCode::SetupFailed, message))
        }
    }
}

/// What writes the agent's side of the log.
pub fn journal(
    description: &RunDescription,
    recorder: &Recorder,
    run_dir: &Arc<RunDir>,
    redactor: &Redactor,
) -> Journal {
    Journal::new(
        recorder.log().clone(),
        Artifacts::new(Arc::clone(run_dir), redactor.clone()),
        redactor.clone(),
        u64::from(description.max_steps),
        Watch::new(description.guardrails),
    )
    .watching_attempts(description.guardrails_of_attempts().map(Watch::new))
}

/// The playbook of the run, read from the description, if it has one.
///
/// # Errors
/// When it is none to this build, though it was one to the build that handed it over.
pub fn playbook(description: &RunDescription) -> Result<Option<Playbook>, PlaybookErrors> {
    let run = description.playbook.as_ref();
    run.map(PlaybookRun::playbook).transpose()
}

/// The agent that the description names, of which `playbook` is the playbook.
pub fn agent(description: &RunDescription, playbook: Option<Playbook>) -> Box<dyn Agent> {
    if let (Some(run), Some(playbook)) = (&description.playbook, playbook) {
        let from_step = run.from_step.as_deref();
        let from = from_step.and_then(|id| playbook.step_idx(id)).unwrap_or(0);
        let agent =
            PlaybookAgent::new(playbook, run.arguments.clone(), from).resumed(run.earlier_states());
        return Box::new(agent);
    }
    match description.adapter {
        Adapter::None => Box::new(CommandAgent::new(description.command.clone())),
        Adapter::Jsonl => Box::new(JsonlAgent::new(description.command.clone())),
    }
}

/// Who may ask the status API.
///
/// # Errors
/// When a token cannot be used.
pub fn auth(options: &SupervisorOptions) -> Result<Auth, AuthError> {
    if options.authentication == Authentication::Waived {
        return Ok(Auth::insecure());
    }
    let token = options
        .token
        .as_ref()
        .map(|token| (Scope::Control, token.expose().as_bytes()));
    let read_token = options
        .read_token
        .as_ref()
        .map(|token| (Scope::Read, token.expose().as_bytes()));
    Auth::new(token.into_iter().chain(read_token))
}

/// Says as much as can be said of a run whose recordings cannot be used: `status.json` if that at least can be written, and
/// the termination log. Says whether `status.json` is there.
pub fn report_unusable(hand_over: &HandOver, run_dir: &RunDir, error: &str) -> OnDisk {
    let end = EarlyEnd::new(ErrorCode::RecordingsUnusable, error.to_owned());
    let (complete, _) = end.into_complete(Duration::ZERO);
    let redactor = redactor(&hand_over.description, &hand_over.options);
    let mut fold = fold(&hand_over.description, &redactor);
    let event = crate::event::Event::Complete(Box::new(complete));
    fold.apply(0, &Millis::now().to_rfc3339(), &event);
    fold.set_recordings_health(crate::status::document::RecordingsHealth::bad(error));
    let document = fold.document(crate::session::recorder::now_ms());
    let written = document
        .encode()
        .map_err(|e| e.to_string())
        .and_then(|bytes| run_dir.write_status(&bytes).map_err(|e| chain(&e)));
    let on_disk = match written {
        Ok(()) => OnDisk::Yes,
        Err(error) => {
            tracing::error!(error, "status.json was not written");
            OnDisk::No
        }
    };
    if let Some(message) = TerminationMessage::of(&document, 125)
        && let Err(error) = message.deliver(&hand_over.options.termination_log)
    {
        tracing::warn!(error = chain(&error), "the termination log was not written");
    }
    on_disk
}

/// A descriptor of the run's directory for another owner.
///
/// # Errors
/// As dup(2).
pub fn directory_of(run_dir: &RunDir) -> io::Result<OwnedFd> {
    run_dir.as_fd().try_clone_to_owned()
}
