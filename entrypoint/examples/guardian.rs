//! A stand-in for the `stockade` binary: the real guardian between a fake CLI, a fake supervisor and a fake `finalize`.
//!
//! ```text
//! guardian launch RUN_DIR [guardian flags] -- step...   as `stockade run`: prepares the run, then execs itself
//! guardian guardian ...                                 the guardian
//! guardian supervisor ... step...                       does the steps, see `supervisor`
//! guardian finalize ...                                 writes its command line to RUN_DIR/finalized, see `finalize`
//! guardian zombies N                                    leaves N dead children behind
//! ```

use std::error::Error;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid};
use stockade_entrypoint::message::{MAX_MESSAGE_BYTES, ToGuardian, ToSupervisor};
use stockade_entrypoint::{GUARDIAN_FD, GuardianArguments, LOCK_FD, RUN_DIR_FD, SPEC_FD};
use stockade_entrypoint::{block_signals, guardian_main, take_descriptor};

/// What can go wrong in a fake.
type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let result = match mode.to_str() {
        Some("launch") => launch(arguments),
        Some("guardian") => return guardian_main(arguments),
        Some("supervisor") => supervisor(
            &arguments
                .skip(8)
                .map(|step| step.to_string_lossy().into_owned())
                .collect::<Vec<_>>(),
        ),
        Some("finalize") => finalize(
            &arguments
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>(),
        ),
        Some("zombies") => leave_zombies(arguments),
        _ => Err("unknown mode".into()),
    };
    result.unwrap_or_else(|error| {
        // A fake that fails is seen by its exit code; the reason helps whoever reads the test's output.
        let _ = writeln!(std::io::stderr(), "fake: {error}");
        ExitCode::from(99)
    })
}

/// Does what the CLI does: holds back signals, prepares the run's directory, takes the lock, becomes the guardian.
fn launch(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    block_signals()?;
    let path = PathBuf::from(arguments.next().ok_or("no run directory")?);
    std::fs::write(path.join("status.json"), "running")?;
    std::fs::write(path.join("status.crashed"), "crashed")?;
    std::fs::write(path.join("spec.json"), "{}")?;
    let run_dir = File::open(&path)?;
    let spec = File::open(path.join("spec.json"))?;
    let lock = File::create(path.join("run.lock"))?;
    lock.try_lock()?;
    for file in [&run_dir, &spec, &lock] {
        fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    let mut words = vec![
        "--run-dir-fd".into(),
        run_dir.as_raw_fd().to_string().into(),
    ];
    words.extend(["--lock-fd".into(), lock.as_raw_fd().to_string().into()]);
    words.extend(["--spec-fd".into(), spec.as_raw_fd().to_string().into()]);
    words.extend(arguments);
    // The way of the real CLI: through the type that both sides share.
    let words = GuardianArguments::parse(words)?.encode();
    Err(Command::new("/proc/self/exe")
        .arg("guardian")
        .args(words)
        .exec()
        .into())
}

/// The fake supervisor's view of its run.
struct Run {
    guardian: OwnedFd,
    directory: PathBuf,
    /// Kept open for the life of the process.
    _held: [OwnedFd; 3],
}

impl Run {
    /// Takes over the four descriptors.
    fn take() -> Result<Self, Failure> {
        let guardian = take_descriptor(GUARDIAN_FD)?;
        let run_dir = take_descriptor(RUN_DIR_FD)?;
        let directory = std::fs::read_link(format!("/proc/self/fd/{RUN_DIR_FD}"))?;
        Ok(Self {
            guardian,
            directory,
            _held: [
                run_dir,
                take_descriptor(SPEC_FD)?,
                take_descriptor(LOCK_FD)?,
            ],
        })
    }

    /// Says a word to the guardian.
    fn say(&self, text: &str) -> Result<(), Failure> {
        send(
            self.guardian.as_raw_fd(),
            text.as_bytes(),
            MsgFlags::MSG_NOSIGNAL,
        )?;
        Ok(())
    }

    /// Waits for the next message and appends it to the file `messages`.
    fn hear(&self) -> Result<ToSupervisor, Failure> {
        let mut datagram = [0; MAX_MESSAGE_BYTES];
        let length = recv(self.guardian.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
        let datagram = datagram.get(..length).unwrap_or_default();
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.directory.join("messages"))?;
        file.write_all(&[datagram, b"\n"].concat())?;
        Ok(ToSupervisor::parse(datagram)?)
    }

    /// Leaves a mark that a test can wait for.
    fn mark(&self, name: &str, content: &str) -> Result<(), Failure> {
        let hidden = self.directory.join(format!(".{name}"));
        std::fs::write(&hidden, content)?;
        Ok(std::fs::rename(hidden, self.directory.join(name))?)
    }
}

/// Does the steps in order.
///
/// `say:TEXT` sends a message, `talk:TEXT` sends one every 50 ms for ever, `alive:N` answers N questions of the watchdog,
/// `asked:N` hears as many without an answer, `until:SIGNAL` hears messages until that signal, `swept` until the answer to a sweep, `deaf`
/// does nothing for ever, `mark:NAME` makes a file (with pid, working directory and the open descriptors), `orphans:N`
/// starts N daemons, `zombies:N` has N dead children handed to the guardian, `sleeper` starts a child and marks its pid,
/// `sweep-keeping-sleeper` asks for a sweep that spares it, `gate:NAME` waits for a file, `die:SIGNAL` raises, `exit:CODE` exits.
fn supervisor(steps: &[String]) -> Result<ExitCode, Failure> {
    let run = Run::take()?;
    let mut sleeper = None;
    for step in steps {
        let (name, value) = step.split_once(':').unwrap_or((step, ""));
        match name {
            "say" => run.say(value)?,
            "talk" => loop {
                run.say(value)?;
                poll(&mut [], PollTimeout::from(50_u8))?;
            },
            "alive" | "asked" => {
                for _ in 0..value.parse()? {
                    while run.hear()? != ToSupervisor::Ask {}
                    if name == "alive" {
                        run.say("alive")?;
                    }
                }
            }
            "until" => {
                while !matches!(run.hear()?, ToSupervisor::Signal(notice) if notice.signal.to_string() == value)
                {
                }
            }
            "swept" => while !matches!(run.hear()?, ToSupervisor::Swept { .. }) {},
            "deaf" => loop {
                poll(&mut [], PollTimeout::NONE)?;
            },
            "mark" => run.mark(value, &state_of_process()?)?,
            "orphans" => {
                for _ in 0..value.parse()? {
                    // The shell ends at once: what it started in a session of its own is an orphan.
                    let mut shell = Command::new("sh").args(["-c", "setsid sleep 77 & setsid sh -c 'trap \"\" TERM HUP; sleep 77 & wait; sleep 77' &"]).spawn()?;
                    shell.wait()?;
                }
            }
            "zombies" => {
                Command::new("/proc/self/exe")
                    .args(["zombies", value])
                    .spawn()?
                    .wait()?;
            }
            "sleeper" => {
                let child = Command::new("sleep").arg("77").spawn()?;
                run.mark("sleeper", &child.id().to_string())?;
                sleeper = Some(child);
            }
            "sweep-keeping-sleeper" => {
                let kept = sleeper
                    .iter()
                    .map(|child| child.id().cast_signed())
                    .collect();
                run.say(&ToGuardian::Sweep { request: 7, kept }.encode())?;
            }
            "gate" => {
                while !run.directory.join(value).exists() {
                    poll(&mut [], PollTimeout::from(2_u8))?;
                }
            }
            // Twice, because the runtime's handler for SIGSEGV takes the first for a fault that will come again.
            "die" => {
                raise(Signal::try_from(value.parse::<i32>()?)?)?;
                raise(Signal::try_from(value.parse::<i32>()?)?)?;
            }
            "exit" => return Ok(ExitCode::from(value.parse::<u8>()?)),
            _ => return Err(format!("unknown step {step}").into()),
        }
    }
    Err("no step ended the supervisor".into())
}

/// Pid, working directory, signal state, and the numbers of all open descriptors, one a line.
fn state_of_process() -> Result<String, Failure> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        // The directory that is being read is open too.
        if target != Path::new(&format!("/proc/{}/fd", getpid())) {
            numbers.push(entry.file_name().to_string_lossy().parse::<i32>()?);
        }
    }
    numbers.sort_unstable();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let signals: Vec<_> = status
        .lines()
        .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
        .collect();
    let directory = std::env::current_dir()?;
    Ok(format!(
        "{}\n{}\n{numbers:?}\n{}\n",
        getpid(),
        directory.display(),
        signals.join("\n")
    ))
}

/// Writes its command line to the file `finalized`, then ends as FAKE_FINALIZE says: a code, `abort` or `hang`.
fn finalize(words: &[String]) -> Result<ExitCode, Failure> {
    let run_dir = take_descriptor(3)?;
    let lock = File::from(take_descriptor(4)?);
    lock.try_lock()?;
    let directory = std::fs::read_link(format!("/proc/self/fd/{}", run_dir.as_raw_fd()))?;
    let behaviour = std::env::var("FAKE_FINALIZE").unwrap_or_else(|_| "125".to_owned());
    std::fs::write(directory.join("finalized"), words.join(" "))?;
    match behaviour.as_str() {
        "abort" => std::process::abort(),
        "hang" => loop {
            poll(
                &mut [PollFd::new(lock.as_fd(), PollFlags::empty())],
                PollTimeout::NONE,
            )?;
        },
        code => Ok(ExitCode::from(code.parse::<u8>()?)),
    }
}

/// Starts N children, waits until all are dead without reaping any, and ends: its parent's reaper gets them all at once.
fn leave_zombies(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let count: usize = arguments
        .next()
        .ok_or("no number")?
        .to_string_lossy()
        .parse()?;
    let mut children = Vec::new();
    for _ in 0..count {
        children.push(Command::new("true").stdin(Stdio::null()).spawn()?);
    }
    for child in &children {
        let pid = Pid::from_raw(child.id().cast_signed());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    }
    Ok(ExitCode::SUCCESS)
}
