//! The floor of fan-out: one thread, frames encoded before the start, one send(2) for so many frames on each stream.
//!
//! It does no HTTP beyond a fixed head, keeps no history and writes no file: what is left is the cost of the sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use stockade::log::frame::push_sse;

use crate::frames::EventMaker;
use crate::server::{Order, obey};

/// Readers that may wait to be taken.
const MAX_READERS: usize = 8_192;

struct Reader {
    stream: TcpStream,
    /// Bytes of the burst that it has.
    sent: usize,
}

/// Serves with `frames_per_send` frames a call.
pub(crate) fn serve(frames_per_send: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    // Accepted at once: a crowd is larger than the queue of the kernel.
    let (accepted, taken) = std::sync::mpsc::sync_channel(MAX_READERS);
    let accepting =
        std::thread::Builder::new().spawn(move || while accepted.send(take(&listener)).is_ok() {});
    let line = EventMaker::new().line(100_000);
    let mut readers: Vec<Reader> = Vec::new();
    let mut last = 0;
    obey(port, |order| {
        match order {
            Order::Take(n_readers) => readers.extend(taken.iter().take(n_readers)),
            Order::Append(n_events) => {
                burst(&mut readers, &line, last, n_events, frames_per_send);
                last += n_events;
            }
            Order::Actions(_) | Order::Pace { .. } => panic!("the floor only bursts"),
        }
        last
    });
    // It accepts until the process ends.
    drop(accepting);
}

fn take(listener: &TcpListener) -> Reader {
    let (mut stream, _) = listener.accept().expect("accept");
    let mut request = [0; 1024];
    // The request is one small write of the client, so one read has it.
    let n_read = stream.read(&mut request).expect("read a request");
    assert!(request[..n_read].ends_with(b"\r\n\r\n"));
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        .expect("answer");
    stream.set_nonblocking(true).expect("nonblocking");
    stream.set_nodelay(true).expect("nodelay");
    Reader { stream, sent: 0 }
}

fn burst(readers: &mut [Reader], line: &[u8], after: u64, n_events: u64, frames_per_send: usize) {
    let mut frames = Vec::new();
    let mut ends = vec![0];
    for seq in after + 1..=after + n_events {
        let digits = seq.to_string();
        push_sse(digits.as_bytes(), b"action.output", line, &mut frames);
        ends.push(frames.len());
    }
    for reader in readers.iter_mut() {
        reader.sent = 0;
    }
    let n_steps = (ends.len() - 1).div_ceil(frames_per_send);
    for step in 1..=n_steps {
        let until = ends[(step * frames_per_send).min(ends.len() - 1)];
        for reader in readers.iter_mut() {
            reader.send(&frames[..until]);
        }
    }
    for reader in readers.iter_mut() {
        reader.finish(&frames);
    }
}

impl Reader {
    /// Sends what is new; what the kernel does not take now goes with the next call.
    fn send(&mut self, frames: &[u8]) {
        match self.stream.write(&frames[self.sent..]) {
            Ok(n_sent) => self.sent += n_sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("send: {error}"),
        }
    }

    fn finish(&mut self, frames: &[u8]) {
        while self.sent < frames.len() {
            let mut waited = [PollFd::new(self.stream.as_fd(), PollFlags::POLLOUT)];
            poll(&mut waited, PollTimeout::NONE).expect("poll");
            self.send(frames);
        }
    }
}
