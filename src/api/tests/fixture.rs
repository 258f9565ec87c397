//! A served API over a real log in a temporary directory.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{
    Api, Auth, Drained, Limits, Listener, Metrics, Reach, Readiness, Scope, ServeError, serve,
};
use crate::control::{Control, StopCall};
use crate::event::action::ToolKind;
use crate::event::lifecycle::{Survivors, Usage};
use crate::event::{Action, Complete, Diagnostic, Event, Level, RunPhase};
use crate::log::{ActionLog, LogOptions, LogThreads, Source, create};
use crate::recordings::RunDir;
use crate::redact::Redactor;
use crate::run::{EndedBy, Outcome, Phase, RunId, Status};
use crate::status::{StatusBoard, StatusFold};

/// The longest that any test waits for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const READ_TOKEN: &str = "read-token-1";
pub(super) const CONTROL_TOKEN: &str = "control-token-1";

pub(super) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("nothing happened in time")
}

/// Waits until `is_so`, looking every few milliseconds.
pub(super) async fn until(is_so: impl Fn() -> bool) {
    patiently(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// How a fixture's API is made.
pub(super) struct Setup {
    pub(super) limits: Limits,
    pub(super) options: LogOptions,
    pub(super) auth: Auth,
    pub(super) reach: Reach,
    pub(super) socket: Option<Reach>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            options: LogOptions::default(),
            auth: tokens(),
            reach: Reach::Private,
            socket: None,
        }
    }
}

pub(super) fn tokens() -> Auth {
    Auth::new([
        (Scope::Read, READ_TOKEN.as_bytes()),
        (Scope::Control, CONTROL_TOKEN.as_bytes()),
    ])
    .unwrap()
}

pub(super) struct Fixture {
    pub(super) dir: tempfile::TempDir,
    pub(super) log: ActionLog,
    pub(super) source: Arc<Source>,
    pub(super) board: Arc<StatusBoard>,
    pub(super) calls: mpsc::Receiver<StopCall>,
    pub(super) readiness: watch::Sender<Readiness>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) address: SocketAddr,
    pub(super) socket: PathBuf,
    pub(super) shutdown: CancellationToken,
    pub(super) tracker: TaskTracker,
    pub(super) served: JoinHandle<Result<Drained, ServeError>>,
    _threads: LogThreads,
}

impl Fixture {
    pub(super) fn start() -> Self {
        Self::with(Setup::default())
    }

    pub(super) fn with(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let id: RunId = "run-1".parse().unwrap();
        let open = || -> OwnedFd { std::fs::File::open(dir.path()).unwrap().into() };
        let fold = StatusFold::new(id.clone());
        let board = Arc::new(StatusBoard::new(fold, 0).unwrap());
        let observer = Arc::clone(&board) as _;
        let (log, source, threads) = create(
            open(),
            id.clone(),
            setup.options,
            Redactor::default(),
            observer,
        )
        .unwrap();
        let (control, calls) = Control::channel();
        let (readiness, is_ready) = watch::channel(Readiness::Starting);
        let metrics = Arc::new(Metrics::default());
        let api = Api {
            source: Arc::clone(&source),
            board: Arc::clone(&board),
            control,
            run: Arc::new(RunDir::from_fd(open(), dir.path().to_owned(), id)),
            auth: setup.auth,
            readiness: is_ready,
            metrics: Arc::clone(&metrics),
            limits: setup.limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut listeners = vec![Listener::Tcp {
            listener,
            reach: setup.reach,
        }];
        let socket = dir.path().join("api.sock");
        if let Some(reach) = setup.socket {
            let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            listeners.push(Listener::Unix { listener, reach });
        }
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let serving = serve(listeners, api, shutdown.clone(), tracker.clone());
        let served = TaskTracker::new().spawn(serving);
        Self {
            dir,
            log,
            source,
            board,
            calls: calls.stops,
            readiness,
            metrics,
            address,
            socket,
            shutdown,
            tracker,
            served,
            _threads: threads,
        }
    }

    /// Appends and waits until readers see it.
    pub(super) async fn push(&self, event: Event) -> u64 {
        let seq = self.log.append(event).await.unwrap();
        self.published(seq).await;
        seq
    }

    pub(super) async fn published(&self, seq: u64) {
        let mut bounds = self.source.watch();
        patiently(bounds.wait_for(|bounds| bounds.published_seq >= seq))
            .await
            .unwrap();
    }

    pub(super) async fn begin(&self) {
        let phase = RunPhase {
            phase: Phase::Running,
            status: Status::Running,
            reason: None,
            listen: None,
        };
        self.push(Event::RunPhase(phase)).await;
    }

    /// Ends the run as the session does, but for `status.json`.
    pub(super) async fn complete(&self) -> u64 {
        let seq = self.log.append_terminal(complete()).unwrap();
        assert!(self.log.synced(seq, PATIENCE).await);
        until(|| {
            self.board
                .publish_terminal(crate::api::service::now_ms())
                .is_ok()
        })
        .await;
        self.log.publish_terminal();
        self.published(seq).await;
        seq
    }

    /// The lines of the log's file.
    pub(super) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("events.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Shuts down and waits for the end.
    pub(super) async fn shut_down(self) -> Drained {
        self.shutdown.cancel();
        let drained = patiently(self.served).await.unwrap().unwrap();
        self.tracker.close();
        patiently(self.tracker.wait()).await;
        assert!(self.tracker.is_empty());
        drained
    }
}

pub(super) fn note(text: impl Into<String>) -> Event {
    Event::Log(Diagnostic {
        level: Level::Info,
        message: text.into(),
        source: "agent".to_owned(),
    })
}

pub(super) fn action(step: u64) -> Event {
    action_of(step, None, "")
}

pub(super) fn action_of(step: u64, agent_step: Option<i64>, text: &str) -> Event {
    Event::Action(Box::new(Action {
        step,
        timestamp: "2026-11-22T11:02:57.123Z".to_owned(),
        tool: "browser_dom".to_owned(),
        action: "click".to_owned(),
        input_summary: format!("click {step}"),
        duration_ms: Some(100),
        success: Some(true),
        result_text: Some(text.to_owned()),
        call_id: format!("call-{step}"),
        kind: ToolKind::Execute,
        exit_code: Some(0),
        agent_step,
        ..Action::default()
    }))
}

pub(super) fn complete() -> Event {
    Event::Complete(Box::new(Complete {
        status: Status::Completed,
        outcome: Outcome {
            exit_code: Some(0),
            signal: None,
            by: EndedBy::Agent,
            reason: "the command ended".to_owned(),
            stop_signal: None,
            sender: None,
            oom: None,
        },
        error: None,
        result: Some("done".to_owned()),
        data: None,
        action_count: 0,
        duration_ms: 1,
        usage: Usage::default(),
        survivors: Survivors::default(),
    }))
}
