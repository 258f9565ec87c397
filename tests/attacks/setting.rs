//! Where attempts are made: with or without a sandbox, as root or as a user.
//!
//! Owns how a round is started and what comes of it. Never judges.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::attempt::{Attempt, Round, Scene};
use super::owner::Owner;
use super::stage::Stage;

/// Longest time for one round, and for a run to listen. Rounds take seconds; the machine may be busy.
const ROUND_DEADLINE: Duration = Duration::from_secs(120);
const START_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The most artifacts of a run: each is synced to the disk.
pub const MAX_ARTIFACTS: usize = 40;

/// How much of what a round printed is shown to those who look for a fault.
const SHOWN_BYTES: usize = 4_000;

/// How long an attempt holds memory that it should not have. Who looks at it from time to time looks at the latest by then.
const CONFINED_HOLD_SECONDS: u32 = 10;

/// What stands between the attempts and the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// Nothing, and no supervisor.
    Bare,
    /// `--isolation none`.
    Unconfined,
    /// `--isolation full`.
    Full,
    /// The same for a command alone: `stockade exec`.
    Exec,
    /// `--isolation container`, which has gaps.
    Container,
}

impl Wall {
    /// Whether there is a sandbox.
    pub fn is_confined(self) -> bool {
        match self {
            Self::Bare | Self::Unconfined => false,
            Self::Full | Self::Exec | Self::Container => true,
        }
    }

    /// Whether there is a supervisor, a record and a status API.
    fn is_supervised(self) -> bool {
        match self {
            Self::Bare | Self::Exec => false,
            Self::Unconfined | Self::Full | Self::Container => true,
        }
    }
}

/// One column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    pub wall: Wall,
    pub owner: Owner,
}

/// What an attempt or its twin was answered, or what the host found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It succeeded.
    Got(String),
    /// It did not.
    Refused(String),
    /// It was not tried: it is aimed at something that is not there without a supervisor.
    NotTried,
    /// The attempt itself is at fault.
    Broken(String),
}

/// What came of an attempt in one setting.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub attack: Answer,
    pub twin: Answer,
}

impl Setting {
    /// Its name in the table.
    pub fn name(self) -> String {
        let wall = match self.wall {
            Wall::Bare => "bare",
            Wall::Unconfined => "none",
            Wall::Full => "full",
            Wall::Exec => "exec",
            Wall::Container => "cont",
        };
        let owner = match self.owner {
            Owner::Root => "root",
            Owner::User => "user",
        };
        format!("{wall}/{owner}")
    }

    /// Whether a round has a meaning here.
    fn has(self, round: Round) -> bool {
        match round {
            Round::Plain
            | Round::Pids
            | Round::Threads
            | Round::Memory
            | Round::SharedMemory
            | Round::Operator
            | Round::Survivors => true,
            // A command alone has no limit of its disk.
            Round::Limits | Round::Disk => self.wall != Wall::Exec,
            Round::OwnTerminal | Round::Output | Round::Artifacts | Round::Result => {
                self.wall.is_supervised()
            }
            Round::Proxy => self.wall != Wall::Unconfined && self.wall != Wall::Exec,
            Round::ReadOnly => self.wall != Wall::Unconfined,
            // A run has none yet.
            Round::Overlay => matches!(self.wall, Wall::Bare | Wall::Exec),
            // Unconfined, the first process is the machine's.
            Round::Suicide | Round::StopFirst | Round::Storm | Round::Step => {
                matches!(self.wall, Wall::Full | Wall::Container)
            }
            // Everyone is the whole machine, where there is no pid namespace.
            Round::Hidden | Round::Everyone => self.wall == Wall::Full,
        }
    }

    /// Makes the attempts of one round; `binary` and `probe` belong to the owner.
    pub fn play(
        self,
        round: Round,
        attempts: &[Attempt],
        binary: &Path,
        probe: &Path,
    ) -> BTreeMap<String, Outcome> {
        let attempts: Vec<_> = attempts.iter().filter(|a| a.round == round).collect();
        let not_tried = Outcome {
            attack: Answer::NotTried,
            twin: Answer::NotTried,
        };
        if !self.has(round) || attempts.is_empty() {
            return attempts
                .iter()
                .map(|attempt| (attempt.id(), not_tried.clone()))
                .collect();
        }
        let mut stage = Stage::new(self.owner, probe);
        let output = stage.path("output.txt");
        std::fs::write(&output, "").unwrap();
        self.owner.own_file(&output);
        let hold_seconds = match self.wall {
            Wall::Bare | Wall::Unconfined => 0,
            Wall::Full | Wall::Exec | Wall::Container => CONFINED_HOLD_SECONDS,
        };
        stage.tell("hold", hold_seconds.to_string());
        let mut child = self.start(round, &mut stage, binary, &output);
        self.await_start(round, &mut stage, &mut child, &output);

        let mut lines = String::new();
        let twins = attempts.iter().map(|a| (a.twin_id(), a.twin));
        let attacks = attempts.iter().map(|a| (a.id(), a.attack));
        for (id, what) in twins.chain(attacks) {
            if let Some(what) = stage.resolve(what) {
                let words: Vec<_> = what.split_whitespace().collect();
                lines.push_str(&format!("{id}\t{}\n", words.join("\t")));
            }
        }
        let file = stage.path("workspace/attempts");
        std::fs::write(file.with_extension("new"), lines).unwrap();
        std::fs::rename(file.with_extension("new"), &file).unwrap();

        let exit_code = wait(&mut child, &output).code();
        let scene = Scene {
            recording: self.recordings(round, &stage).join("run"),
            stage: &stage,
            printed: printed(&output, usize::MAX),
            binary,
            exit_code,
        };
        let answers = answers_of(&output);
        let no_answer = || {
            let end = printed(&output, SHOWN_BYTES);
            Answer::Broken(format!("no answer; the end of what was printed: {end}"))
        };
        attempts
            .iter()
            .map(|attempt| {
                let said = |id: &str, what: &str| match answers.get(id) {
                    _ if stage.resolve(what).is_none() => Answer::NotTried,
                    // It was made, and nobody was left to say what came of it.
                    Some(Answer::Broken(why)) if why.is_empty() && round.may_end_early() => {
                        Answer::Refused("the run was ended".to_owned())
                    }
                    Some(Answer::Broken(why)) if why.is_empty() => no_answer(),
                    Some(answer) => answer.clone(),
                    None => no_answer(),
                };
                let mut attack = said(&attempt.id(), attempt.attack);
                if let (Some(damage), false) = (attempt.damage, attack == Answer::NotTried) {
                    attack = damage(&scene).map_or(attack_without_damage(attack), Answer::Got);
                }
                let mut twin = said(&attempt.twin_id(), attempt.twin);
                if let (Some(trace), Answer::Got(_)) = (attempt.trace, &twin)
                    && trace(&scene).is_none()
                {
                    twin = Answer::Refused("the host sees nothing of it".to_owned());
                }
                (attempt.id(), Outcome { attack, twin })
            })
            .collect()
    }

    fn recordings(self, round: Round, stage: &Stage) -> PathBuf {
        match round {
            Round::Hidden => stage.path("workspace/recordings"),
            _ => stage.path("recordings"),
        }
    }

    /// The command of a round. Callers' secrets are in the environment, and files of the host on 7, 8 and 9.
    fn start(self, round: Round, stage: &mut Stage, binary: &Path, output: &Path) -> Child {
        let workspace = stage.path("workspace");
        let probe = workspace.join("probe");
        let mut words: Vec<OsString> = vec!["setsid".into()];
        let mut input = Stdio::null();
        if round == Round::Operator {
            let pair = nix::pty::openpty(None, None).unwrap();
            let name = nix::unistd::ttyname(&pair.slave).unwrap();
            self.owner.own_file(&name);
            stage.tell("terminal", name.to_str().unwrap());
            stage.keep(pair.master);
            input = pair.slave.into();
            words.push("--ctty".into());
        }
        if !self.wall.is_confined() && self.owner == Owner::Root {
            // What attempts do to mounts and names happens to nobody else.
            words.extend(
                ["unshare", "--mount", "--uts", "--propagation", "private"].map(Into::into),
            );
        }
        let inherit = "exec 7<\"$1\" 8<\"$2\" 9<>\"$3\"; shift 3; exec \"$@\"";
        words.extend(["sh", "-c", inherit, "sh"].map(Into::into));
        for name in ["outside/secret.txt", "outside", "outside/canary-fd.txt"] {
            words.push(stage.path(name).into());
        }
        match self.wall {
            Wall::Bare => {}
            Wall::Exec => words.extend([binary.into(), "exec".into()]),
            Wall::Unconfined | Wall::Full | Wall::Container => {
                words.extend([binary.into(), "run".into()]);
                words.extend(["--run-id=run", "--listen=127.0.0.1:0"].map(Into::into));
                // Who stops the init of a container ends its run by that.
                let is_held_up = round == Round::StopFirst && self.wall == Wall::Container;
                let seconds = if is_held_up { 5 } else { 100 };
                words.push(format!("--timeout={seconds}").into());
                words.extend(["--recordings".into(), self.recordings(round, stage).into()]);
                words.extend(["--socket".into(), stage.path("api.sock").into()]);
            }
        }
        if self.wall != Wall::Bare {
            words.extend(["--env=DECLARED=declared".into(), "--workspace".into()]);
            words.push(workspace.clone().into());
            words.extend(self.flags(round, stage).into_iter().map(Into::into));
        }
        // A step of a playbook says itself what it runs.
        if round != Round::Step {
            if self.wall != Wall::Bare {
                words.push("--".into());
            }
            let attempts = workspace.join("attempts");
            words.extend([probe.into(), "play".into(), attempts.into()]);
        }

        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", stage.directory.path())
            .env("DECLARED", "declared")
            .env("CALLERS_SECRET", stage.fact("secret"))
            .env("SSH_AUTH_SOCK", stage.path("outside/path.sock"))
            .env("LD_LIBRARY_PATH", "/nonexistent")
            .env("BASH_ENV", "/nonexistent")
            .env("STOCKADE_RECORDING_ARTIFACT_TOTAL_BYTES", "16MiB")
            .env(
                "STOCKADE_RECORDING_ARTIFACT_FILES",
                MAX_ARTIFACTS.to_string(),
            )
            .env("STOCKADE_TOKEN", format!("token-{}", stage.fact("secret")))
            .current_dir(&workspace)
            .stdin(input);
        let open = || {
            let file = OpenOptions::new().append(true).open(output);
            file.map(Stdio::from).unwrap()
        };
        command.stdout(open()).stderr(open());
        self.owner.apply(&mut command);
        command.spawn().unwrap()
    }

    fn flags(self, round: Round, stage: &Stage) -> Vec<String> {
        let mut flags = vec![match self.wall {
            Wall::Bare | Wall::Unconfined => "--isolation=none".to_owned(),
            Wall::Full | Wall::Exec => "--isolation=full".to_owned(),
            Wall::Container => "--isolation=container".to_owned(),
        }];
        let confined = self.wall.is_confined();
        match round {
            Round::Limits | Round::Disk if confined => flags.push("--disk=16MiB".into()),
            Round::Pids | Round::Threads if confined => flags.push("--pids=64".into()),
            Round::Memory | Round::SharedMemory if confined => flags.push("--memory=64MiB".into()),
            Round::OwnTerminal => flags.push("--tty".into()),
            Round::Proxy => {
                flags.push(format!("--net=allow=*,127.0.0.1:{}", stage.fact("allowed")))
            }
            Round::Overlay => flags.push("--workspace-mode=overlay".into()),
            Round::ReadOnly => {
                let flag = if self.wall == Wall::Exec {
                    "--ro"
                } else {
                    "--mount"
                };
                let shown = stage.path("outside/shown");
                flags.push("--workspace-mode=read-only".into());
                flags.push(format!("{flag}={}", shown.display()));
            }
            Round::Result => flags.extend([
                "--output-file=result.json".into(),
                "--artifact=taken/**/*".into(),
            ]),
            Round::Step => {
                let run = format!("exec {0}/probe play {0}/attempts", stage.fact("workspace"));
                let playbook =
                    format!("name: attacks\nversion: 1\nsteps:\n  - id: play\n    run: {run}\n");
                std::fs::write(stage.path("playbook.yaml"), playbook).unwrap();
                flags.push(format!(
                    "--playbook={}",
                    stage.path("playbook.yaml").display()
                ));
            }
            Round::Output => flags.push("--credential=CALLERS_SECRET=env:CALLERS_SECRET".into()),
            Round::Plain
            | Round::Pids
            | Round::Threads
            | Round::Limits
            | Round::Memory
            | Round::SharedMemory
            | Round::Operator
            | Round::Survivors
            | Round::Suicide
            | Round::StopFirst
            | Round::Storm
            | Round::Everyone
            | Round::Artifacts
            | Round::Disk
            | Round::Hidden => {}
        }
        flags
    }

    /// Waits until the workload runs, and tells the stage what is known of it then.
    fn await_start(self, round: Round, stage: &mut Stage, child: &mut Child, output: &Path) {
        if self.wall == Wall::Exec {
            // It is both, and the launch helper, too.
            stage.tell("supervisor", child.id().to_string());
            stage.tell("guardian", child.id().to_string());
            stage.tell("first", "1");
        }
        if !self.wall.is_supervised() {
            return;
        }
        let recordings = self.recordings(round, stage);
        let read = |name: &str| -> Option<serde_json::Value> {
            serde_json::from_slice(&std::fs::read(recordings.join("run").join(name)).ok()?).ok()
        };
        let begun = Instant::now();
        let (address, supervisor) = loop {
            // Not before its launch was answered: an attempt may be the end of who answers.
            let address = read("status.json")
                .filter(|status| status["phase"] == "running")
                .and_then(|status| Some(status["listen"]["address"].as_str()?.to_owned()));
            let supervisor = read("claim.json").and_then(|claim| claim["pid"].as_i64());
            if let (Some(address), Some(supervisor)) = (address, supervisor) {
                break (address, supervisor);
            }
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < START_DEADLINE,
                "{} in {round:?} did not start: {ended:?}\n{}",
                self.name(),
                printed(output, SHOWN_BYTES)
            );
            std::thread::park_timeout(LOOK_INTERVAL);
        };
        let (_, port) = address.rsplit_once(':').unwrap();
        stage.tell("api", port);
        stage.tell("api-socket", stage.path("api.sock").to_str().unwrap());
        stage.tell("recordings", recordings.to_str().unwrap());
        stage.tell("supervisor", supervisor.to_string());
        stage.tell("guardian", child.id().to_string());
        if self.wall == Wall::Container {
            // The first process is the machine's. The init of the sandbox started the play.
            stage.tell("first", "above");
        }
        if self.wall == Wall::Full {
            stage.tell("first", "1");
            stage.tell("everyone", "-1");
        }
    }
}

/// What the probe took for a success is none when the host is as it was.
fn attack_without_damage(answer: Answer) -> Answer {
    match answer {
        Answer::Got(what) => Answer::Refused(format!("no damage ({what})")),
        Answer::Refused(_) | Answer::NotTried | Answer::Broken(_) => answer,
    }
}

fn wait(child: &mut Child, output: &Path) -> std::process::ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > ROUND_DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "a round has no end after {ROUND_DEADLINE:?}:\n{}",
                printed(output, SHOWN_BYTES)
            );
        }
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}

/// The end of what a round printed, as text.
fn printed(output: &Path, n_bytes: usize) -> String {
    let bytes = std::fs::read(output).unwrap_or_default();
    let start = bytes.len().saturating_sub(n_bytes);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

fn answers_of(output: &Path) -> BTreeMap<String, Answer> {
    let bytes = std::fs::read(output).unwrap();
    let mut answers = BTreeMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((id, answer)) = line
            .strip_prefix("@@ ")
            .and_then(|line| line.trim_end().split_once('\t'))
        else {
            continue;
        };
        let answer = match answer.split_once(' ') {
            Some(("GOT", what)) => Answer::Got(what.to_owned()),
            Some(("REFUSED", why)) => Answer::Refused(why.to_owned()),
            _ if answer == "TRY" => Answer::Broken(String::new()),
            _ => Answer::Broken(answer.to_owned()),
        };
        answers.insert(id.to_owned(), answer);
    }
    answers
}
