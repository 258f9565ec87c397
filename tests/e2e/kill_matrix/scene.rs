//! One round: a run is brought to its moment, struck, let go, and looked at.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::claims::{self, Told};
use super::strike::{Stand, signal, strike};
use super::{Cell, Moment, Victim};
use crate::crash_follower::{Random, Reader, StatusWatcher, over_socket, wait_until};
use crate::harness::run::binary;
use crate::harness::wait::until_within;
use crate::harness::{Recording, RunBuilder};
use crate::held::Holds;
use crate::process_table;

/// Longest wait for anything; the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Longest pause between the moment and the strike, and between SIGSTOP and what follows it.
pub const LATEST: Duration = Duration::from_millis(30);

/// What a round saw.
pub struct Seen {
    pub n_struck: usize,
    pub n_events: usize,
    pub place: Place,
}

/// Where a run of the matrix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the best tier of the host, as a process among others.
    Host,
    /// The same, and the guardian is pid 1.
    FirstProcess,
    /// In the tier `container`, where no pid namespace ends what is left.
    Container,
    /// In the tier `none`, where nothing confines the workload.
    Unconfined,
}

impl Place {
    /// A quarter each, if pid 1 can be had.
    fn by_chance(random: &mut Random) -> Self {
        match random.below(4) {
            0 if nix::unistd::Uid::effective().is_root() => Self::FirstProcess,
            1 => Self::Container,
            2 => Self::Unconfined,
            _ => Self::Host,
        }
    }
}

/// A run of the matrix.
struct Scene {
    child: Child,
    holds: Holds,
    recording: Recording,
    directory: PathBuf,
    workspace: PathBuf,
    mark: String,
    place: Place,
    _files: (RunBuilder, tempfile::TempDir),
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Scene {
    fn start(cell: Cell, holds: &Holds, random: &mut Random) -> Self {
        let holds = holds.another();
        match (cell.moment, cell.victim) {
            (Moment::Starting, Victim::Helper | Victim::Agent | Victim::Grandchild) => {
                holds.hold("running");
            }
            (Moment::Starting, Victim::Guardian | Victim::Supervisor | Victim::All) => {
                holds.hold("starting");
            }
            (Moment::Rename, _) => holds.hold("finished"),
            (
                Moment::Action
                | Moment::Flush
                | Moment::Paused
                | Moment::Stopping
                | Moment::Finished,
                _,
            ) => {}
        }
        // Most on memory, where a round is short, some on the disk, where a sync takes its time.
        let shm = Path::new("/dev/shm");
        let recordings = if random.below(4) == 0 || !shm.is_dir() {
            tempfile::tempdir().unwrap()
        } else {
            tempfile::tempdir_in(shm).unwrap()
        };
        let mark = recordings.path().file_name().unwrap().to_str().unwrap();
        let mark = mark.trim_start_matches('.').to_owned();
        // It leaves `done` as the last thing before it ends with 0, so that a `completed` can be checked.
        let deaf = if cell.moment == Moment::Stopping {
            "trap '' TERM; "
        } else {
            ""
        };
        let script = format!(
            "{deaf}: {mark}-agent; setsid sh -c ': {mark}-grand; while :; do sleep 0.05; done' & \
             until [ -e go ]; do echo tick; sleep 0.01; done; : > done; exit 0"
        );
        let place = Place::by_chance(random);
        let mut builder = holds
            .within(RunBuilder::sh(&script))
            .with_recordings(recordings.path())
            .flag("--timeout=120")
            .flag("--grace=4");
        if cell.moment == Moment::Finished {
            builder = builder.flag("--linger=60");
        }
        builder = match place {
            Place::Host => builder,
            Place::FirstProcess => {
                let prefix = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
                builder.within(prefix.map(Into::into).into())
            }
            // Where no pid namespace ends what is left, the sweeps must.
            Place::Container => builder.flag("--isolation=container"),
            Place::Unconfined => builder.flag("--isolation=none"),
        };
        if cell.moment == Moment::Paused && matches!(place, Place::Container | Place::Unconfined) {
            // Its workload could ask as well, so it needs a token, or this.
            builder = builder.flag("--insecure-no-auth");
        }
        let workspace = builder.workspace();
        let directory = workspace.parent().unwrap().to_owned();
        let child = builder
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            holds,
            recording: Recording::at(recordings.path().join("run")),
            directory,
            workspace,
            mark,
            place,
            _files: (builder, recordings),
        }
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(self.directory.join("stderr")).unwrap_or_default()
    }

    fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        until_within(
            PATIENCE,
            &format!("{what}; stderr:\n{}", self.stderr()),
            look,
        )
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("api.sock")
    }

    fn guardian(&self) -> Option<i32> {
        let child = i32::try_from(self.child.id()).unwrap();
        if self.place == Place::FirstProcess {
            process_table::live_child(child)
        } else {
            Some(child)
        }
    }

    fn supervisor(&self) -> Option<i32> {
        process_table::live_child(self.guardian()?)
    }

    fn helper(&self) -> Option<i32> {
        process_table::live_child(self.supervisor()?)
    }

    /// The shell whose script has this mark and not the other.
    fn shell(&self, with: &str, without: &str) -> Option<i32> {
        let is_it = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.starts_with("sh\0-c\0")
                && line.contains(&format!("{}-{with}", self.mark))
                && (without.is_empty() || !line.contains(&format!("{}-{without}", self.mark)))
        };
        let live = process_table::all()
            .into_iter()
            .filter(|process| process.state != 'Z');
        live.map(|process| process.pid).find(is_it)
    }

    fn agent(&self) -> Option<i32> {
        self.shell("agent", "")
    }

    fn grandchild(&self) -> Option<i32> {
        self.shell("grand", "agent")
    }

    /// Everybody who is to be struck and is there.
    fn present(&self, victim: Victim) -> Vec<i32> {
        let found = match victim {
            Victim::Guardian => vec![self.guardian()],
            Victim::Supervisor => vec![self.supervisor()],
            Victim::Helper => vec![self.helper()],
            Victim::Agent => vec![self.agent()],
            Victim::Grandchild => vec![self.grandchild()],
            Victim::All => vec![
                self.guardian(),
                self.supervisor(),
                self.helper(),
                self.agent(),
                self.grandchild(),
            ],
        };
        found.into_iter().flatten().collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.recording.path().join("events.jsonl")).unwrap_or_default()
    }

    fn phase(&self) -> Option<String> {
        Some(self.recording.try_status()?["phase"].as_str()?.to_owned())
    }

    fn until_ticking(&self) {
        self.until("the agent ticks", || {
            self.log().contains("tick").then_some(())
        });
        self.until("the grandchild is there", || self.grandchild());
    }

    fn until_at(&self, moment: &str) {
        self.until(&format!("the run is at {moment}"), || {
            self.holds.is_at(moment).then_some(())
        });
    }

    fn go(&self) {
        std::fs::write(self.workspace.join("go"), "").unwrap();
    }

    /// Brings the run to its moment, and gives those that are to be struck; none where nobody can be left.
    fn reach(&self, cell: Cell, random: &mut Random) -> Vec<i32> {
        match cell.moment {
            Moment::Starting => {
                let victims = match cell.victim {
                    Victim::Guardian | Victim::Supervisor | Victim::All => {
                        self.until_at("starting");
                        self.present(cell.victim)
                    }
                    Victim::Helper => vec![self.until("the helper is born", || self.helper())],
                    Victim::Agent | Victim::Grandchild => {
                        self.until_at("running");
                        self.until("the victim is born", || {
                            Some(self.present(cell.victim)).filter(|victims| !victims.is_empty())
                        })
                    }
                };
                let phase = self.phase();
                assert!(
                    phase.as_deref().is_none_or(|phase| phase == "starting"),
                    "{phase:?}"
                );
                victims
            }
            Moment::Action => {
                self.until_ticking();
                self.until("status.json says so", || {
                    (self.phase().as_deref() == Some("running")).then_some(())
                });
                wait_until(Instant::now() + random.duration(LATEST));
                self.present(cell.victim)
            }
            Moment::Flush => {
                self.until_ticking();
                self.holds.hold("flush");
                self.until_at("flush");
                self.present(cell.victim)
            }
            Moment::Paused => {
                self.until_ticking();
                let (code, answer) = over_socket(&self.socket(), "POST", "/pause", "");
                assert_eq!((code, &answer["paused"]), (200, &true.into()), "{answer}");
                self.present(cell.victim)
            }
            Moment::Rename => {
                self.until_ticking();
                self.go();
                self.until_at("finished");
                assert!(self.log().contains(r#""type":"complete""#));
                assert_ne!(self.phase().as_deref(), Some("finished"));
                self.present(cell.victim)
            }
            Moment::Stopping => {
                self.until_ticking();
                let guardian = self.guardian().unwrap();
                signal(guardian, Signal::SIGTERM);
                self.until("the stop has begun", || {
                    self.log().contains(r#""phase":"stopping""#).then_some(())
                });
                self.present(cell.victim)
            }
            Moment::Finished => {
                self.until_ticking();
                self.go();
                self.until("the run is finished", || {
                    (self.phase().as_deref() == Some("finished")).then_some(())
                });
                self.present(cell.victim)
            }
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Asks for it; whoever was struck may have been the one that answers.
    fn resume(&self) {
        let Ok(mut stream) = UnixStream::connect(self.socket()) else {
            return;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "POST /resume HTTP/1.1\r\nHost: localhost\r\nConnection: close";
        let request = format!("{head}\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    }

    /// Whoever can still end, ends.
    fn let_go(&mut self, cell: Cell) {
        for moment in ["starting", "running", "finished", "flush"] {
            self.holds.let_go(moment);
        }
        self.go();
        if cell.moment == Moment::Paused {
            self.resume();
        }
        if cell.moment == Moment::Finished
            && self.ended().is_none()
            && let Some(guardian) = self.guardian()
        {
            // Ends the linger.
            signal(guardian, Signal::SIGTERM);
        }
    }
}

/// `stockade finalize` by as many at once as it says, until one has done it.
fn finalize(path: &Path, n_at_once: u64) {
    until_within(PATIENCE, "the lock is free", || {
        let finalizers: Vec<Child> = (0..n_at_once)
            .map(|_| {
                let mut finalize = Command::new(binary());
                finalize.arg("finalize").arg(path);
                finalize.stdout(Stdio::null()).stderr(Stdio::piped());
                finalize.spawn().unwrap()
            })
            .collect();
        let mut n_done = 0;
        for finalizer in finalizers {
            let output = finalizer.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            n_done += u64::from(output.status.success());
            assert!(
                output.status.success() || said.contains("RUN_LOCKED"),
                "{said}"
            );
        }
        (n_done > 0).then_some(())
    });
}

pub fn one_round(cell: Cell, holds: &Holds, seed: u64) -> Seen {
    let mut random = Random(seed);
    let mut scene = Scene::start(cell, holds, &mut random);
    let recording = scene.recording.clone();
    let reader = Reader::start(scene.socket());
    let watcher = StatusWatcher::start(recording.path().join("status.json"));
    let victims = scene.reach(cell, &mut random);
    let had_its_end = scene.log().contains(r#""type":"complete""#);
    let stand = match (cell.moment, cell.victim) {
        (Moment::Paused, Victim::Agent | Victim::Grandchild | Victim::All) => Stand::Frozen,
        _ => Stand::Free,
    };
    let n_struck = strike(victims, cell.means, stand, &mut random);
    assert!(cell.allows(n_struck), "{n_struck} were struck");
    scene.let_go(cell);
    let exit = until_within(
        PATIENCE,
        &format!("the run ends:\n{}", scene.stderr()),
        || scene.ended(),
    );
    // Where no pid namespace ends it, what is frozen stays so when all who could let it go are killed at once: `finalize`
    // finds it by the record.
    let may_stand = cell.moment == Moment::Paused
        && cell.victim == Victim::All
        && matches!(scene.place, Place::Container | Place::Unconfined);
    let until_nothing_is_left = || {
        until_within(PATIENCE, "nothing of the run is left", || {
            let left = process_table::of_run(&scene.directory);
            (left.is_empty() && scene.agent().is_none() && scene.grandchild().is_none())
                .then_some(())
        });
    };
    if !may_stand {
        until_nothing_is_left();
    }
    let seen = reader.finish();
    watcher.finish();
    let is_guardian_gone = matches!(cell.victim, Victim::Guardian | Victim::All);
    if is_guardian_gone {
        finalize(recording.path(), 1 + random.below(3));
    }
    until_nothing_is_left();
    claims::check(&Told {
        cell,
        n_struck,
        had_its_end,
        exit,
        recording: &recording,
        seen: &seen,
        is_done: scene.workspace.join("done").exists(),
        stderr: &scene.stderr(),
        place: scene.place,
    });
    Seen {
        n_struck,
        n_events: seen.len(),
        place: scene.place,
    }
}
