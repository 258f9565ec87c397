//! Bare servers that answer every request with the same bytes: hyper on one thread, axum as its documentation starts it.

use std::convert::Infallible;
use std::path::Path;

use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, LocalSet};

use crate::server::obey;

/// hyper, HTTP/1.1, one thread for everything; the answer's body is the file `body`.
pub(crate) fn serve_hyper(body: &Path) {
    let body = Bytes::from(std::fs::read(body).expect("the body"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("nonblocking");
    let serving = std::thread::Builder::new().spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                stream.set_nodelay(true).expect("nodelay");
                let body = body.clone();
                let answer = service_fn(move |_: Request<Incoming>| {
                    let body = Full::new(body.clone());
                    let response = Response::builder()
                        .header(CONTENT_TYPE, "application/json")
                        .body(body);
                    async move { Ok::<_, Infallible>(response.expect("a response")) }
                });
                connections.spawn_local(
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
                );
            }
        });
    });
    obey(port, |_| 0);
    // It serves until the process ends.
    drop(serving);
}

/// axum, default multi-thread runtime; the answer's body is the file `body`.
pub(crate) fn serve_axum(body: &Path) {
    let body = Bytes::from(std::fs::read(body).expect("the body"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let router = axum::Router::new().route(
        "/status",
        get(move || {
            let body = body.clone();
            async move { ([(CONTENT_TYPE, "application/json")], body) }
        }),
    );
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let serving = runtime.spawn(async move { axum::serve(listener, router).await });
    obey(port, |_| 0);
    serving.abort();
}
