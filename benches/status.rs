//! Rows "status": `GET /status` on kept connections, beside servers that do nothing but send the same bytes.

use std::path::Path;

use crate::poller::{Load, get, poll};
use crate::report::{Report, Row, Target, median, requests};
use crate::scale::Scale;
use crate::server::{Order, Server};

/// Kept connections, one request under way on each.
const N_CONNECTIONS: usize = 64;

/// Actions of a short run.
const FEW_ACTIONS: u64 = 10;

/// Actions that the document shows at most; from there on its size is flat.
const SHOWN_ACTIONS: u64 = 100;

pub(crate) fn run(report: &mut Report, scale: &Scale, dir: &Path) {
    let recordings = dir.join("status");
    let mut server = Server::start(&["stockade", recordings.to_str().expect("an UTF-8 path")]);
    server.order(Order::Actions(FEW_ACTIONS));
    let short = beside(
        report,
        scale,
        dir,
        &server,
        "/status?actions=none",
        FEW_ACTIONS,
    );
    server.order(Order::Actions(SHOWN_ACTIONS - FEW_ACTIONS));
    let full = beside(report, scale, dir, &server, "/status", SHOWN_ACTIONS);
    server.order(Order::Actions(scale.n_actions - SHOWN_ACTIONS));
    for (path, early) in [("/status?actions=none", short), ("/status", full)] {
        let loads: Vec<_> = (0..scale.n_rounds)
            .map(|_| poll(server.port, path, N_CONNECTIONS, scale.load).requests_per_second)
            .collect();
        report.push(
            Row::new(
                "status",
                format!("GET {path}, {} actions", scale.n_actions),
                requests(median(&loads)),
            )
            .target(Target::Ratio(0.9))
            .beside("itself with few actions", early),
        );
    }
    drop(server);
    std::fs::remove_dir_all(recordings).expect("remove what we made");
}

/// Measures one form of the document; gives its requests a second.
fn beside(
    report: &mut Report,
    scale: &Scale,
    dir: &Path,
    server: &Server,
    path: &str,
    n_actions: u64,
) -> f64 {
    let body = get(server.port, path).expect("the status");
    let file = dir.join("body.json");
    std::fs::write(&file, &body).expect("write");
    let file = file.to_str().expect("an UTF-8 path");
    let axum = Server::start(&["axum", file]);
    let hyper = Server::start(&["hyper", file]);
    let load = |port| poll(port, path, N_CONNECTIONS, scale.load);
    // A first load of each, not counted: heaps and branch predictors are cold.
    for port in [server.port, axum.port, hyper.port] {
        poll(port, path, N_CONNECTIONS, scale.load / 10);
    }
    let mut loads: [Vec<Load>; 3] = Default::default();
    for _ in 0..scale.n_rounds {
        for (loads, port) in loads.iter_mut().zip([server.port, axum.port, hyper.port]) {
            loads.push(load(port));
        }
    }
    let rates = loads.each_ref().map(|loads| {
        median(
            &loads
                .iter()
                .map(|load| load.requests_per_second)
                .collect::<Vec<_>>(),
        )
    });
    let latency = loads[0]
        .iter()
        .min_by_key(|load| load.p99)
        .expect("a round");
    report.push(
        Row::new(
            "status",
            format!(
                "GET {path}, {n_actions} actions, {:.1} kB",
                body.len() as f64 / 1e3
            ),
            requests(rates[0]),
        )
        .target(Target::Ratio(1.0))
        .beside("bare axum, default runtime, same body", rates[1])
        .beside("bare hyper, one thread, same body", rates[2])
        .note(format!(
            "goal 0.9 of hyper; p50 {:.2} ms, p99 {:.2} ms",
            latency.p50.as_secs_f64() * 1e3,
            latency.p99.as_secs_f64() * 1e3
        )),
    );
    rates[0]
}
