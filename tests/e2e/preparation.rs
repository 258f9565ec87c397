//! A run that still reads its description: it can be stopped and suspended like any program, and leaves nothing.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::harness::need::need;
use crate::harness::run::kill;
use crate::harness::{RunBuilder, until};

/// A run that waits for its description, which this side holds open.
struct Preparing {
    child: Child,
    description: File,
    builder: RunBuilder,
}

impl Preparing {
    /// Starts one behind the words of `wrapper`, and waits until it reads.
    fn start(wrapper: &[OsString], flags: &[&str]) -> Self {
        let mut builder = RunBuilder::sh("true");
        let path = builder
            .workspace()
            .parent()
            .unwrap()
            .join("description.toml");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        builder = builder.flag("--config").flag(&path);
        for flag in flags {
            builder = builder.flag(*flag);
        }
        let plain = builder.command();
        let mut words = wrapper.to_vec();
        words.push(plain.get_program().to_owned());
        words.extend(plain.get_args().map(OsString::from));
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let description = until("the run opens its description", || {
            OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
                .ok()
        });
        Self {
            child,
            description,
            builder,
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn ended(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().unwrap())
    }

    fn assert_left_nothing(&self) {
        assert!(!self.builder.recordings().exists());
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_stop_while_the_description_is_read_ends_the_process_and_leaves_nothing() {
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
    ] {
        for flags in [&[][..], &["--dry-run"]] {
            let mut run = Preparing::start(&[], flags);
            kill(run.pid(), signal);
            assert_eq!(run.ended().signal(), Some(signal as i32), "{flags:?}");
            run.assert_left_nothing();
        }
    }
}

#[test]
fn as_pid_1_a_stop_while_the_description_is_read_exits_with_its_number() {
    let Some(unshare) = need("unshare") else {
        return;
    };
    let mut wrapper = vec![unshare.into_os_string()];
    wrapper.extend(["-Urpf", "--kill-child"].map(OsString::from));
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut run = Preparing::start(&wrapper, &[]);
        let pid = run.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        kill(children.unwrap().trim().parse().unwrap(), signal);
        assert_eq!(run.ended().code(), Some(code), "{signal}");
        run.assert_left_nothing();
    }
}

#[test]
fn a_run_that_is_suspended_while_it_reads_goes_on_afterwards() {
    let mut run = Preparing::start(&[], &[]);
    kill(run.pid(), Signal::SIGTSTP);
    let stat = format!("/proc/{}/stat", run.pid());
    until("the process is suspended", || {
        let stat = std::fs::read_to_string(&stat).unwrap();
        stat.contains(") T ").then_some(())
    });
    kill(run.pid(), Signal::SIGCONT);
    // Signals that mean nothing before a run are held back and harm nobody.
    kill(run.pid(), Signal::SIGUSR1);
    writeln!(run.description, "grace_seconds = 2").unwrap();
    run.description = File::open("/dev/null").unwrap();
    assert_eq!(run.ended().code(), Some(0));
    assert!(run.builder.recordings().join("run/status.json").exists());
}
