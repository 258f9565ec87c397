//! What is typed or piped into the run, on its way to the launch that reads it.
//!
//! Owns a thread that waits on standard input, and the settings of the terminal there: raw while a launch has a terminal of
//! its own, so that every key reaches it as a byte. The thread takes nothing more than the launch does, but for
//! [`CHUNK_BYTES`], so what is typed behind the end of the run is the shell's. Nothing of it is recorded.
//! Invariant: a terminal whose foreground belongs to somebody else is neither read nor changed.

use std::io::{self, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, pipe2, read, tcgetpgrp, write};

use super::tap::set_nonblocking;

/// Bytes taken from standard input at a time.
const CHUNK_BYTES: usize = 4096;

/// Pause before the next look when there is nowhere to write to, or the terminal is somebody else's, in milliseconds.
const LOOK_INTERVAL_MS: u16 = 100;

/// What a terminal takes as the end of the input at the beginning of a line (VEOF, termios(3)); elsewhere it takes two.
const END_OF_INPUT: &[u8] = &[4, 4];

/// Where input goes.
#[derive(Debug)]
pub(super) enum Sink {
    /// The master of the launch's terminal.
    Terminal(OwnedFd),
    /// The launch's standard input.
    Pipe(OwnedFd),
}

impl Sink {
    fn descriptor(&self) -> &OwnedFd {
        match self {
            Self::Terminal(descriptor) | Self::Pipe(descriptor) => descriptor,
        }
    }
}

/// The thread that reads; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Keyboard {
    /// A std lock: held for a write that does not block.
    sink: Arc<Mutex<Option<Sink>>>,
    /// Its closing is the order to end.
    order: OwnedFd,
    thread: JoinHandle<()>,
}

impl Keyboard {
    /// Begins to read, for `sink`.
    pub(super) fn start(sink: Sink) -> io::Result<Self> {
        set_nonblocking(sink.descriptor())?;
        let is_raw = matches!(sink, Sink::Terminal(_));
        let sink = Arc::new(Mutex::new(Some(sink)));
        let (ended, order) = pipe2(OFlag::O_CLOEXEC)?;
        let reader = Reader {
            sink: Arc::clone(&sink),
            ended,
            waiting: Vec::new(),
            has_ended: false,
        };
        let thread = std::thread::Builder::new()
            .name("keyboard".to_owned())
            .spawn(move || {
                // A background process that touches the terminal gets an error, and is not stopped.
                let mut unwanted = SigSet::empty();
                unwanted.add(Signal::SIGTTIN);
                unwanted.add(Signal::SIGTTOU);
                let _ = unwanted.thread_block();
                let saved = is_raw.then(make_raw).flatten();
                reader.run();
                if let Some(saved) = saved {
                    set(&saved);
                }
            })?;
        Ok(Self {
            sink,
            order,
            thread,
        })
    }

    /// Gives the input to another launch.
    pub(super) fn connect(&self, sink: Sink) {
        if set_nonblocking(sink.descriptor()).is_ok() {
            *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
        }
    }

    /// Ends the thread and waits for it.
    pub(super) fn end(self) {
        drop(self.order);
        let _ = self.thread.join();
    }
}

/// What the thread works with.
struct Reader {
    sink: Arc<Mutex<Option<Sink>>>,
    ended: OwnedFd,
    /// Read and not taken yet.
    waiting: Vec<u8>,
    has_ended: bool,
}

impl Reader {
    fn run(mut self) {
        let input = stdin();
        loop {
            let has_sink = self.deliver();
            let wants = !self.has_ended && self.waiting.is_empty() && has_sink;
            let for_input = if wants {
                PollFlags::POLLIN
            } else {
                PollFlags::empty()
            };
            let mut waiting = [
                PollFd::new(self.ended.as_fd(), PollFlags::POLLIN),
                PollFd::new(input.as_fd(), for_input),
            ];
            let is_idle = self.has_ended && self.waiting.is_empty();
            let timeout = if wants {
                PollTimeout::NONE
            } else {
                PollTimeout::from(LOOK_INTERVAL_MS)
            };
            // Where the input has ended, its descriptor would wake us for ever.
            let n_waiting = if wants && !is_idle { 2 } else { 1 };
            let polled = poll(waiting.get_mut(..n_waiting).unwrap_or_default(), timeout);
            if polled.is_err_and(|errno| errno != Errno::EINTR) {
                return;
            }
            let [ended, input_ready] = &waiting;
            if ended.any() == Some(true) {
                return;
            }
            if wants && input_ready.any() == Some(true) {
                self.take();
            }
        }
    }

    /// Reads what was typed.
    fn take(&mut self) {
        let mut chunk = [0; CHUNK_BYTES];
        match read(stdin(), &mut chunk) {
            Ok(0) => self.has_ended = true,
            Ok(n_read) => self
                .waiting
                .extend_from_slice(chunk.get(..n_read).unwrap_or_default()),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // The terminal is somebody else's for now, or was hung up: then a signal says so.
            Err(Errno::EIO) => {
                std::thread::park_timeout(std::time::Duration::from_millis(
                    LOOK_INTERVAL_MS.into(),
                ));
            }
            Err(_) => self.has_ended = true,
        }
    }

    /// Writes what waits, and the end of the input behind it; false when there is nowhere to write to.
    fn deliver(&mut self) -> bool {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        while let (Some(to), false) = (&*sink, self.waiting.is_empty()) {
            match write(to.descriptor(), &self.waiting) {
                Ok(n_written) => {
                    self.waiting.drain(..n_written);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return true,
                // Nobody reads there any more.
                Err(_) => *sink = None,
            }
        }
        if self.has_ended && self.waiting.is_empty() {
            if let Some(Sink::Terminal(terminal)) = &*sink {
                let _ = write(terminal, END_OF_INPUT);
            }
            *sink = None;
        }
        sink.is_some()
    }
}

/// Makes the terminal on standard input raw; gives its settings before, if it is one and ours.
fn make_raw() -> Option<Termios> {
    let saved = tcgetattr(stdin()).ok()?;
    let mut raw = saved.clone();
    cfmakeraw(&mut raw);
    set(&raw).then_some(saved)
}

/// Sets the settings of the terminal on standard input if its foreground is ours; says whether it did.
fn set(settings: &Termios) -> bool {
    let is_ours = tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp());
    is_ours && tcsetattr(stdin(), SetArg::TCSADRAIN, settings).is_ok()
}
