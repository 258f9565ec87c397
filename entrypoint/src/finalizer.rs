//! `stockade finalize` as a child process, and the crash status when it cannot run.
//!
//! Owns the last resort. Never does: write a status itself, or put the prepared one over a terminal one: a terminal status
//! never changes, and a `finalize` that was killed may have done its work before.
//!
//! Contract with `finalize --from-guardian`: it exits, with the run's exit code, only when a terminal status is on disk.
//! One that fails must end by a signal (`std::process::abort`), since every exit code may be a run's.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{Pid, UnlinkatFlags, fsync, unlinkat};

use crate::ending::{End, Ending, Finalized};
use crate::launch::{Bond, Group, Launch};
use crate::notice::notice;
use crate::reaper::Reaper;
use crate::supervisor::argument_vector;
use crate::sweep::Patience;

/// The run's directory in `finalize`.
const RUN_DIR_FD: RawFd = 3;

/// The locked `run.lock` in `finalize`.
const LOCK_FD: RawFd = 4;

/// Longest `finalize` of a short log: a few syncs, on a disk that others use too.
const LEAST_LIMIT: Duration = Duration::from_secs(8);

/// Bytes of log for which it gets one more second. It reads and hashes the whole log, and this is what a slow disk gives; from
/// memory it is several times faster.
const BYTES_A_SECOND: u64 = 100_000_000;

/// Longest `finalize` of any log: an orchestrator waits for us, and `stockade finalize` can be run again later.
const LIMIT: Duration = Duration::from_secs(60);

/// Longest wait for the death of a `finalize` that was killed.
const DEATH_LIMIT: Duration = Duration::from_secs(1);

/// The name of the status document in the run's directory.
const STATUS: &str = "status.json";

/// Most of a status document that is read; four times what one may have.
const MAX_STATUS_BYTES: u64 = 4 * 1024 * 1024;

/// What stands in a status document that has an end, and in no other.
const FINISHED: &[u8] = br#""phase":"finished","outcome":{"#;

/// The run's files, as the guardian holds them.
#[derive(Debug)]
pub(crate) struct RunFiles {
    /// The run's directory.
    pub(crate) run_dir: OwnedFd,
    /// The locked `run.lock`.
    pub(crate) lock: OwnedFd,
    /// Name of the prepared crash status.
    pub(crate) crash_status: Option<OsString>,
}

/// What `finalize` is told.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// How the supervisor went.
    pub(crate) ending: Ending,
    /// Kills for want of memory in the guardian's control group while the run lasted.
    pub(crate) oom_kills: u64,
    /// Processes that had to be killed after it.
    pub(crate) survivors: u32,
    /// What some of them called themselves.
    pub(crate) names: Vec<OsString>,
    /// Exit code of a stopped run, if it is not the usual one.
    pub(crate) stop_exit_code: Option<u8>,
    /// Whether the status document is to be printed.
    pub(crate) print_status: bool,
}

impl Evidence {
    /// The command line of `finalize`.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["finalize".into(), "--from-guardian".into()];
        let mut push = |flag: &str, value: String| words.extend([flag.into(), value.into()]);
        push("--run-dir-fd", RUN_DIR_FD.to_string());
        push("--lock-fd", LOCK_FD.to_string());
        push("--cause", self.ending.cause().to_string());
        push(
            "--stop-requested",
            u8::from(self.ending.stop_requested).to_string(),
        );
        push("--survivors", self.survivors.to_string());
        for name in &self.names {
            // In one word: a name may begin like a flag.
            let mut word = OsString::from("--survivor-name=");
            word.push(name);
            words.push(word);
        }
        let mut push = |flag: &str, value: String| words.extend([flag.into(), value.into()]);
        if self.oom_kills > 0 {
            push("--oom-kills", self.oom_kills.to_string());
        }
        if let Some(code) = self.stop_exit_code {
            push("--stop-exit-code", code.to_string());
        }
        if self.print_status {
            push("--print-status", "yes".to_owned());
        }
        if self.ending.shown_rows > 0 {
            push("--shown-rows", self.ending.shown_rows.to_string());
        }
        words
    }
}

impl RunFiles {
    /// Runs `finalize` and waits for it, and puts the crash status into place if it fails.
    pub(crate) fn finalize(
        &self,
        program: &CString,
        evidence: &Evidence,
        reaper: &mut Reaper,
    ) -> Finalized {
        let finalized = match self.start(program, evidence, reaper) {
            Ok(finalized) => finalized,
            Err(error) => {
                notice(format_args!("cannot start finalize: {error}"));
                Finalized::Failed
            }
        };
        match finalized {
            Finalized::Failed => self.publish_crash_status(),
            Finalized::Exited(_) | Finalized::NotNeeded => self.remove_crash_status(),
        }
        finalized
    }

    /// Removes the prepared crash status: the run has its terminal state.
    pub(crate) fn remove_crash_status(&self) {
        if let Some(name) = &self.crash_status {
            // It may be gone already, and one that stays harms nobody: it is never read under its own name.
            let _ = unlinkat(&self.run_dir, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Renames the crash status over whatever status there is, durably.
    pub(crate) fn publish_crash_status(&self) {
        let Some(name) = &self.crash_status else {
            notice(format_args!(
                "no crash status was prepared, the run keeps the status that it has"
            ));
            return;
        };
        if self.has_terminal_status() {
            self.remove_crash_status();
            return;
        }
        if let Err(error) = self.rename_durably(name) {
            notice(format_args!(
                "cannot put the crash status {name:?} into place: {error}"
            ));
        }
    }

    /// Whether `status.json` has an end. It is read as text, for there is no JSON parser here: the writer puts no space between
    /// fields, keeps their order, and escapes every quote inside a string.
    fn has_terminal_status(&self) -> bool {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mut text = Vec::new();
        let read = openat(&self.run_dir, STATUS, flags, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|file| {
                File::from(file)
                    .take(MAX_STATUS_BYTES)
                    .read_to_end(&mut text)
            });
        read.is_ok() && text.windows(FINISHED.len()).any(|part| part == FINISHED)
    }

    /// Syncs a file of the run's directory, renames it to `status.json` and syncs the directory. Nobody synced it before: it is
    /// written at each start, and needed almost never.
    fn rename_durably(&self, name: &OsStr) -> nix::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        fsync(&openat(&self.run_dir, name, flags, Mode::empty())?)?;
        renameat(&self.run_dir, name, &self.run_dir, STATUS)?;
        fsync(&self.run_dir)
    }

    /// Bytes of the log's files; what cannot be read counts nothing, for then `finalize` cannot read it either.
    fn log_bytes(&self) -> u64 {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut listing) = Dir::openat(&self.run_dir, ".", flags, Mode::empty()) else {
            return 0;
        };
        let mut n_bytes: u64 = 0;
        for entry in listing.iter().flatten() {
            let name = entry.file_name();
            if !is_log(name.to_bytes()) {
                continue;
            }
            if let Ok(stat) = fstatat(&self.run_dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                n_bytes = n_bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
            }
        }
        n_bytes
    }

    /// Starts `finalize` and waits for its end.
    fn start(
        &self,
        program: &CString,
        evidence: &Evidence,
        reaper: &mut Reaper,
    ) -> io::Result<Finalized> {
        let arguments = argument_vector(program, &evidence.words())
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let child = Launch {
            program,
            arguments: &arguments,
            descriptors: &[
                (self.run_dir.as_fd(), RUN_DIR_FD),
                (self.lock.as_fd(), LOCK_FD),
            ],
            directory: None,
            bond: Bond::OutlivesGuardian,
            group: Group::Own,
        }
        .start()?;
        reaper.watch(child.pid);
        if !ended_within(limit(self.log_bytes()), reaper) {
            notice(format_args!("finalize takes too long and is killed"));
            // It is our child and not reaped, so the number is its own.
            let _ = kill(Pid::from_raw(child.pid), Signal::SIGKILL);
            ended_within(DEATH_LIMIT, reaper);
            return Ok(Finalized::Failed);
        }
        if let Some(errno) = child.start_failure() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(match reaper.status().map(End::of) {
            Some(End::Exited(code)) => Finalized::Exited(code),
            Some(End::Signaled(signal)) => {
                notice(format_args!("finalize was killed by signal {signal}"));
                Finalized::Failed
            }
            Some(End::StartFailed(_)) | None => Finalized::Failed,
        })
    }
}

/// Whether a file of that name holds a part of the log: `events.jsonl` and `events-<number>.jsonl`.
fn is_log(name: &[u8]) -> bool {
    name.strip_prefix(b"events")
        .and_then(|rest| rest.strip_suffix(b".jsonl"))
        .is_some_and(|middle| middle.is_empty() || middle.starts_with(b"-"))
}

/// How long `finalize` may take for a log of that many bytes.
fn limit(log_bytes: u64) -> Duration {
    (LEAST_LIMIT + Duration::from_secs(log_bytes / BYTES_A_SECOND)).min(LIMIT)
}

/// Reaps until the watched child has ended; false when the time is up.
fn ended_within(limit: Duration, reaper: &mut Reaper) -> bool {
    let mut patience = Patience::new(limit);
    loop {
        reaper.reap();
        if reaper.status().is_some() {
            return true;
        }
        if !patience.pause() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_gives_finalize_more_time_up_to_a_limit() {
        let cases = [(0, 8), (99_999_999, 8), (1_700_000_000, 25), (u64::MAX, 60)];
        for (n_bytes, seconds) in cases {
            assert_eq!(limit(n_bytes), Duration::from_secs(seconds), "{n_bytes}");
        }
    }

    #[test]
    fn every_file_of_the_log_counts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            ("events.jsonl", 1),
            ("events-00000000000000000001.jsonl", 10),
            ("events.torn", 100),
            ("status.json", 1_000),
        ];
        for (name, n_bytes) in names {
            std::fs::write(dir.path().join(name), vec![b'x'; n_bytes]).unwrap();
        }
        std::os::unix::fs::symlink("/proc/self/exe", dir.path().join("events-2.jsonl")).unwrap();
        let open = || OwnedFd::from(File::open(dir.path()).unwrap());
        let files = RunFiles {
            run_dir: open(),
            lock: open(),
            crash_status: None,
        };
        let link_bytes = "/proc/self/exe".len() as u64;
        assert_eq!(files.log_bytes(), 11 + link_bytes);
    }
}
