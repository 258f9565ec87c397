//! The usual server of its kind: axum's `Sse` over a tokio broadcast channel, and a history behind a lock.
//!
//! Settings as such servers have them: the default multi-thread runtime, one clone and one serde_json encoding a reader and
//! event, snapshot of the history after subscribing, duplicates dropped by id. Only the ring is larger than usual
//! ([`RING_EVENTS`], so that it cannot lag here; with the usual 1,024 it loses events in these bursts). Nothing is written
//! to a file and no hash is kept, so it does less work.

use std::convert::Infallible;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::frames::EventMaker;
use crate::server::{Order, obey};

/// Events that a reader may be behind.
const RING_EVENTS: usize = 131_072;

#[derive(Debug, Clone, Serialize)]
struct Entry {
    seq: u64,
    ts: String,
    #[serde(rename = "type")]
    kind: String,
    run_id: String,
    step: u64,
    stream: String,
    text: String,
}

struct Shared {
    history: RwLock<Vec<Entry>>,
    channel: broadcast::Sender<Entry>,
}

/// Serves `GET /events`.
pub(crate) fn serve() {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the peer that has the fault for which the channel is banned"
    )]
    let (channel, _) = broadcast::channel(RING_EVENTS);
    let shared = Arc::new(Shared {
        history: RwLock::default(),
        channel,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let router = axum::Router::new()
        .route("/events", get(events))
        .with_state(Arc::clone(&shared));
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let serving = runtime.spawn(async move { axum::serve(listener, router).await });
    let maker = EventMaker::new();
    obey(port, |order| match order {
        Order::Append(n_events) => {
            for _ in 0..n_events {
                shared.append(&maker);
            }
            shared.last_seq()
        }
        Order::Pace {
            n_events,
            per_second,
        } => runtime.block_on(async {
            let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second as f64));
            for _ in 0..n_events {
                ticks.tick().await;
                shared.append(&maker);
            }
            shared.last_seq()
        }),
        Order::Actions(_) | Order::Take(_) => shared.last_seq(),
    });
    serving.abort();
}

impl Shared {
    fn append(&self, maker: &EventMaker) {
        let mut history = self.history.write().expect("no holder panics");
        let entry = Entry {
            seq: history.len() as u64 + 1,
            ts: "2026-11-22T11:02:57.123Z".to_owned(),
            kind: "action.output".to_owned(),
            run_id: "bench".to_owned(),
            step: 1,
            stream: "stdout".to_owned(),
            // As long as our line: the padding stands for the hash.
            text: format!("{} {}", maker.text(), "=".repeat(80)),
        };
        history.push(entry.clone());
        drop(history);
        // Without readers there is nobody to tell.
        let _ = self.channel.send(entry);
    }

    fn last_seq(&self) -> u64 {
        self.history.read().expect("no holder panics").len() as u64
    }
}

async fn events(
    State(shared): State<Arc<Shared>>,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let receiver = shared.channel.subscribe();
    let snapshot = shared.history.read().expect("no holder panics").clone();
    let last = snapshot.len() as u64;
    let live = stream::unfold(receiver, |mut receiver| async move {
        // A reader that lags goes on, as in most such servers; the check of the readers would show it.
        loop {
            match receiver.recv().await {
                Ok(entry) => return Some((entry, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    let live = live.filter(move |entry| std::future::ready(entry.seq > last));
    let frames = stream::iter(snapshot).chain(live).map(|entry| {
        let event = SseEvent::default()
            .id(entry.seq.to_string())
            .event(&entry.kind);
        Ok(event.json_data(&entry).expect("an entry is JSON"))
    });
    Sse::new(frames)
}
