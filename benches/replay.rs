//! Rows "replay": a long log, read from the file by one reader and by many, with the server's memory watched.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stockade::log::frame::push_sse;

use crate::frames::{EventMaker, Faults};
use crate::machine::find_program;
use crate::readers::Readers;
use crate::report::{Report, Row, Target, mebibytes, per_second, to_mebibytes};
use crate::scale::Scale;
use crate::server::{Order, Server};

/// Memory that a replay may take, whatever the length of the log, and for each reader (DESIGN section 10).
const BASE_MIB: f64 = 25.0;
const READER_BYTES: f64 = 25_000.0;

/// Frames a second of nginx on the machine on which the targets were set: one reader, and many.
const QUIET_NGINX_1: f64 = 5.3e6;
const QUIET_NGINX_MANY: f64 = 8.6e6;

pub(crate) fn run(report: &mut Report, scale: &Scale, dir: &Path) {
    let n_events = scale.n_replayed;
    let recordings = dir.join("replay");
    let mut server = Server::start(&["stockade", recordings.to_str().expect("an UTF-8 path")]);
    let last = server.order(Order::Append(n_events));
    let nginx = Nginx::start(dir, n_events);
    if nginx.is_none() {
        report.absent("nginx (static file by sendfile) beside the replay: no nginx on the PATH");
    }
    let broadcast = broadcast_rate(scale);
    for n_readers in scale.replays {
        let before = server.memory();
        server.reset_peak();
        let rate = replay(server.port, "/events", *n_readers, last);
        let peak = server.memory().peak;
        let mut row = Row::new(
            "replay",
            format!("{n_events} events to {n_readers} readers"),
            per_second(rate),
        )
        .target(Target::AtLeast(4e6))
        .note("goal 6 M/s");
        if let Some(nginx) = &nginx {
            let rate = replay(nginx.port, "/events.sse", *n_readers, n_events);
            let quiet_floor = if *n_readers == 1 {
                QUIET_NGINX_1
            } else {
                QUIET_NGINX_MANY
            };
            row = row
                .beside("nginx, sendfile of the same frames", rate)
                .quiet_floor(quiet_floor);
        }
        if *n_readers == 1 {
            row = row.beside(
                "broadcast-channel axum server, a tenth of the events",
                broadcast,
            );
        }
        report.push(row);
        let limit = BASE_MIB + *n_readers as f64 * READER_BYTES / (1024.0 * 1024.0);
        report.push(
            Row::new(
                "replay",
                format!("peak memory of the server, {n_readers} readers"),
                mebibytes(peak),
            )
            .target(Target::AtMost(limit))
            .note(format!("{:.1} MiB before", to_mebibytes(before.rss))),
        );
    }
    drop((server, nginx));
    std::fs::remove_dir_all(recordings).expect("remove what we made");
}

/// Delivered events a second, from the first connect to the last event of the last reader.
fn replay(port: u16, path: &str, n_readers: usize, last: u64) -> f64 {
    let began = Instant::now();
    let mut readers = Readers::open(port, path, n_readers, 0);
    let ended = readers.read_to(last);
    assert_eq!(
        readers.faults(),
        Faults::default(),
        "a stream has gaps or doubles"
    );
    last as f64 * n_readers as f64 / ended.duration_since(began).as_secs_f64()
}

fn broadcast_rate(scale: &Scale) -> f64 {
    let mut server = Server::start(&["broadcast"]);
    let last = server.order(Order::Append(scale.n_replayed / 10));
    replay(server.port, "/events", 1, last)
}

/// nginx with one worker that serves the same frames as a file.
struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    fn start(dir: &Path, n_events: u64) -> Option<Self> {
        let program = find_program("nginx")?;
        let dir = dir.join("nginx");
        std::fs::create_dir(&dir).expect("a directory");
        let maker = EventMaker::new();
        let file = std::fs::File::create_new(dir.join("events.sse")).expect("a fresh file");
        let mut file = std::io::BufWriter::new(file);
        let mut frame = Vec::new();
        for seq in 1..=n_events {
            frame.clear();
            let digits = seq.to_string();
            push_sse(
                digits.as_bytes(),
                b"action.output",
                &maker.line(seq),
                &mut frame,
            );
            file.write_all(&frame).expect("write");
        }
        file.flush().expect("write");
        let port = free_port();
        let configuration = format!(
            "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {dir}/b;\n\
             proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             server {{ listen 127.0.0.1:{port}; root {dir}; }} }}\n",
            dir = dir.display()
        );
        let path = dir.join("nginx.conf");
        std::fs::write(&path, configuration).expect("write");
        let child = Command::new(program)
            .arg("-c")
            .arg(&path)
            .arg("-e")
            .arg(dir.join("error.log"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start nginx");
        wait_for(port);
        Some(Self { child, port })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Waits until somebody listens.
pub(crate) fn wait_for(port: u16) {
    let began = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "nobody listens on {port}"
        );
        std::thread::yield_now();
    }
}
