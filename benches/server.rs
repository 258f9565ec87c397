//! A measured server in a process of its own: this program started anew in a role.
//!
//! Owns the talk between the two: the server prints `port N`, then answers each line of its input with one line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::process::Memory;
use crate::{bare, broadcast, floor, stockade_server};

/// First argument of this program when it is to be a server.
pub(crate) const SERVE: &str = "serve";

/// What the load client asks of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Make so many events as fast as possible.
    Append(u64),
    /// Make so many finished actions as fast as possible.
    Actions(u64),
    /// Make so many events at a rate a second.
    Pace {
        /// How many.
        n_events: u64,
        /// How many a second.
        per_second: u64,
    },
    /// Take so many readers, for servers that cannot do so by themselves.
    Take(usize),
}

/// Is the server that the arguments name; returns at the end of its input.
pub(crate) fn serve(arguments: &[&str]) {
    match arguments {
        ["stockade", dir] => stockade_server::serve(dir.as_ref()),
        ["floor", frames_per_send] => floor::serve(frames_per_send.parse().expect("a number")),
        ["broadcast"] => broadcast::serve(),
        ["hyper", body] => bare::serve_hyper(body.as_ref()),
        ["axum", body] => bare::serve_axum(body.as_ref()),
        _ => panic!("no such server: {arguments:?}"),
    }
}

/// The server's side: answers orders until the input ends.
pub(crate) fn obey(port: u16, mut act: impl FnMut(Order) -> u64) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "port {port}").expect("write to the client");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("read from the client");
        let words: Vec<_> = line.split(' ').collect();
        let number = |idx: usize| words[idx].parse().expect("a number");
        let order = match words[0] {
            "append" => Order::Append(number(1)),
            "actions" => Order::Actions(number(1)),
            "pace" => Order::Pace {
                n_events: number(1),
                per_second: number(2),
            },
            "take" => Order::Take(words[1].parse().expect("a number")),
            _ => panic!("no such order: {line}"),
        };
        writeln!(output, "last {}", act(order)).expect("write to the client");
    }
}

/// The client's side of a running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) port: u16,
}

impl Server {
    /// Starts this program as the server that `role` names.
    pub(crate) fn start(role: &[&str]) -> Self {
        let program = std::env::current_exe().expect("the program has a path");
        let mut command = Command::new(program);
        command.arg(SERVE).args(role);
        if role.first() == Some(&"stockade") {
            // As the command line starts the supervisor; peers have what their users have.
            command.envs(stockade::cli::run::HEAP_SETTINGS);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a server");
        let input = child.stdin.take().expect("piped");
        let mut server = Self {
            output: BufReader::new(child.stdout.take().expect("piped")),
            input,
            child,
            port: 0,
        };
        server.port = u16::try_from(server.answer("port")).expect("a port");
        server
    }

    /// Gives an order without waiting for its end.
    pub(crate) fn begin(&mut self, order: Order) {
        let line = match order {
            Order::Append(n_events) => format!("append {n_events}\n"),
            Order::Actions(n_actions) => format!("actions {n_actions}\n"),
            Order::Pace {
                n_events,
                per_second,
            } => format!("pace {n_events} {per_second}\n"),
            Order::Take(n_readers) => format!("take {n_readers}\n"),
        };
        self.input
            .write_all(line.as_bytes())
            .expect("write to the server");
    }

    /// Waits for the end of the order; gives the number of the last event.
    pub(crate) fn end(&mut self) -> u64 {
        self.answer("last")
    }

    /// Gives an order and waits for its end.
    pub(crate) fn order(&mut self, order: Order) -> u64 {
        self.begin(order);
        self.end()
    }

    /// The server's memory.
    pub(crate) fn memory(&self) -> Memory {
        Memory::of(self.child.id())
    }

    /// Lets the peak of the server's memory begin anew.
    pub(crate) fn reset_peak(&self) {
        Memory::reset_peak(self.child.id());
    }

    fn answer(&mut self, word: &str) -> u64 {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("read from the server");
        let number = line
            .trim()
            .strip_prefix(word)
            .and_then(|n| n.trim().parse().ok());
        number.unwrap_or_else(|| panic!("the server said {line:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
