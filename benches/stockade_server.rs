//! The measured server: the library's action log, status board and status API, put together as the supervisor does.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stockade::api::{self, Api, Auth, Limits, Listener, Reach, Readiness};
use stockade::control::Control;
use stockade::event::{Action, Event, ToolKind};
use stockade::log::{self, ActionLog, LogOptions, LogThreads, Source};
use stockade::recordings::{RunDir, Store};
use stockade::redact::Redactor;
use stockade::status::{StatusBoard, StatusFold};
use stockade::supervisor::{MAX_BLOCKING_THREADS, WORKER_THREADS};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::frames::{EventMaker, RUN_ID};
use crate::server::{Order, obey};

/// A log with a board as its observer, in a run directory of its own.
pub(crate) struct Record {
    pub(crate) log: ActionLog,
    pub(crate) source: Arc<Source>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) run: Arc<RunDir>,
    threads: LogThreads,
}

impl Record {
    /// Creates run [`RUN_ID`] in the recordings directory `dir`.
    pub(crate) fn create(dir: &Path, options: LogOptions) -> Self {
        let store = Store::open_or_create(dir).expect("a recordings directory");
        let run_id = RUN_ID.parse().expect("a run id");
        let run = store.create_run(&run_id).expect("a fresh run");
        let fold = StatusFold::new(run_id.clone());
        let board = Arc::new(StatusBoard::new(fold, now_ms()).expect("a status document"));
        let dir: OwnedFd = run
            .as_fd()
            .try_clone_to_owned()
            .expect("a second descriptor");
        // One declared secret, as most runs have: the redactor then searches for it and for its patterns.
        let secret = ("token".to_owned(), b"a-declared-secret-of-a-run".to_vec());
        let (log, source, threads) = log::create(
            dir,
            run_id,
            options,
            Redactor::new([secret]),
            Arc::clone(&board) as _,
        )
        .expect("a log");
        Self {
            log,
            source,
            board,
            run: Arc::new(run),
            threads,
        }
    }

    /// Ends the log's threads.
    pub(crate) fn close(self) {
        self.log.close();
        self.threads.join();
    }
}

/// The runtime of the supervisor.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Appends `n_events` as fast as the log takes them.
pub(crate) async fn append(log: &ActionLog, maker: &EventMaker, n_events: u64) -> u64 {
    let mut last = log.last_seq();
    for _ in 0..n_events {
        last = log.append(maker.event()).await.expect("the log is open");
    }
    last
}

/// Serves the log of a new run in `dir`.
pub(crate) fn serve(dir: &Path) {
    let runtime = runtime();
    let record = Record::create(dir, LogOptions::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (control, _calls) = Control::channel();
    let (_ready, readiness) = watch::channel(Readiness::Ready);
    let api = Api {
        source: Arc::clone(&record.source),
        board: Arc::clone(&record.board),
        control,
        run: Arc::clone(&record.run),
        auth: Auth::insecure(),
        readiness,
        metrics: Arc::default(),
        limits: Limits::default(),
    };
    let listener = Listener::Tcp {
        listener,
        reach: Reach::Private,
    };
    let tracker = TaskTracker::new();
    let shutdown = CancellationToken::new();
    let serving = api::serve(vec![listener], api, shutdown.clone(), tracker.clone());
    let serving = runtime.spawn(serving);
    let maker = EventMaker::new();
    obey(port, |order| runtime.block_on(act(&record, &maker, order)));
    shutdown.cancel();
    // Ended by the shutdown, whatever it says.
    let _ = runtime.block_on(serving);
    record.close();
}

async fn act(record: &Record, maker: &EventMaker, order: Order) -> u64 {
    let log = &record.log;
    match order {
        Order::Append(n_events) => append(log, maker, n_events).await,
        Order::Actions(n_actions) => {
            let from = record.board.latest(now_ms()).action_count;
            for step in from + 1..=from + n_actions {
                let event = Event::Action(Box::new(action(step)));
                log.append(event).await.expect("the log is open");
            }
            let last = log.last_seq();
            assert!(log.observed(last, Duration::from_secs(30)).await);
            last
        }
        Order::Pace {
            n_events,
            per_second,
        } => {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32_of(per_second));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for _ in 0..n_events {
                ticks.tick().await;
                log.append(maker.event()).await.expect("the log is open");
            }
            log.last_seq()
        }
        Order::Take(_) => log.last_seq(),
    }
}

fn u32_of(number: u64) -> u32 {
    u32::try_from(number).expect("a small number")
}

fn action(step: u64) -> Action {
    Action {
        step,
        timestamp: "2026-01-02T12:00:00.000Z".to_owned(),
        tool: "shell".to_owned(),
        action: "run".to_owned(),
        input_summary: "cargo test --workspace".to_owned(),
        duration_ms: Some(3),
        success: Some(true),
        result_text: Some("test result: ok. 12 passed; 0 failed".to_owned()),
        call_id: format!("call-{step}"),
        kind: ToolKind::Execute,
        exit_code: Some(0),
        ..Action::default()
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
