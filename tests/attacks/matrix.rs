//! The table: every attempt in every setting, made once and looked at by all tests.
//!
//! Owns what is built for it: the probe, and a copy of the binary under attack for each owner.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use super::attempt::{Attempt, Class, Round};
use super::need::{need, skip};
use super::owner::Owner;
use super::run::{binary, probe_inside};
use super::setting::{Answer, Outcome, Setting, Wall};
use super::{
    files, inherited, kernel, life, network, output, privileges, processes, resources, terminals,
};

/// Runs at a time: the attempts wait more than they work.
const N_WORKERS: usize = 3;

/// The columns of the table.
const SETTINGS: [Setting; 10] = {
    const fn setting(wall: Wall, owner: Owner) -> Setting {
        Setting { wall, owner }
    }
    [
        setting(Wall::Bare, Owner::Root),
        setting(Wall::Bare, Owner::User),
        setting(Wall::Unconfined, Owner::Root),
        setting(Wall::Unconfined, Owner::User),
        setting(Wall::Full, Owner::Root),
        setting(Wall::Full, Owner::User),
        setting(Wall::Exec, Owner::Root),
        setting(Wall::Exec, Owner::User),
        setting(Wall::Container, Owner::Root),
        setting(Wall::Container, Owner::User),
    ]
};

/// All attempts, and what came of them.
pub struct Matrix {
    pub attempts: Vec<Attempt>,
    pub settings: Vec<Setting>,
    outcomes: BTreeMap<(String, String), Outcome>,
}

/// Made by the first test that looks; none where the probe cannot be built.
static MATRIX: LazyLock<Option<Matrix>> = LazyLock::new(Matrix::make);

/// The table of this process.
pub fn matrix() -> Option<&'static Matrix> {
    MATRIX.as_ref()
}

/// The attempts of all classes, in the order of the table.
pub fn attempts() -> Vec<Attempt> {
    let tables = [
        files::ATTEMPTS,
        privileges::ATTEMPTS,
        processes::ATTEMPTS,
        kernel::ATTEMPTS,
        network::ATTEMPTS,
        resources::ATTEMPTS,
        life::ATTEMPTS,
        terminals::ATTEMPTS,
        inherited::ATTEMPTS,
        output::ATTEMPTS,
    ];
    tables.concat()
}

impl Matrix {
    fn make() -> Option<Self> {
        let attempts = attempts();
        let mut settings = SETTINGS.to_vec();
        let inside = probe_inside();
        if inside.is_some() {
            // An ordinary container has no other tier, and its root may not protect the host from an attempt.
            settings.retain(|setting| setting.wall == Wall::Container);
        }
        let owners = Owner::all();
        if owners.len() < 2 && inside.is_none() {
            skip("only root can start runs as root and as another user");
        }
        settings.retain(|setting| owners.contains(&setting.owner));
        if !runs_commands_alone() {
            settings.retain(|setting| setting.wall != Wall::Exec);
        }
        let workshop = workshop();
        let probe = match inside {
            Some(probe) => probe,
            None => probe_of(&workshop)?,
        };
        let binaries: Vec<(Owner, PathBuf)> = owners
            .into_iter()
            .map(|owner| (owner, copy_binary(workshop.path(), owner)))
            .collect();
        let binary_of = |owner: Owner| {
            let mut binaries = binaries.iter();
            &binaries.find(|(other, _)| *other == owner).unwrap().1
        };

        let rounds = settings
            .iter()
            .flat_map(|setting| Round::ALL.map(|round| (*setting, round)));
        // The longest first: those of few attempts fill the gaps.
        let waiting = Mutex::new(rounds.rev().collect::<Vec<_>>());
        let outcomes = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..N_WORKERS {
                scope.spawn(|| {
                    loop {
                        let Some((setting, round)) = waiting.lock().unwrap().pop() else {
                            break;
                        };
                        let binary = binary_of(setting.owner);
                        let found = setting.play(round, &attempts, binary, &probe);
                        let mut outcomes = outcomes.lock().unwrap();
                        for (id, outcome) in found {
                            outcomes.insert((id, setting.name()), outcome);
                        }
                    }
                });
            }
        });
        let matrix = Self {
            attempts,
            settings,
            outcomes: outcomes.into_inner().unwrap(),
        };
        // Past the capture of the test harness, so that it is seen in every run.
        let _ = std::io::stderr().write_all(matrix.to_string().as_bytes());
        Some(matrix)
    }

    /// What came of an attempt; none when it was not made at all.
    pub fn outcome(&self, attempt: &Attempt, setting: Setting) -> Option<&Outcome> {
        self.outcomes.get(&(attempt.id(), setting.name()))
    }

    /// The settings with a sandbox.
    pub fn confined(&self) -> impl Iterator<Item = Setting> {
        let settings = self.settings.iter().copied();
        settings.filter(|setting| setting.wall.is_confined())
    }

    /// Whether it succeeded somewhere without a sandbox under `owner`.
    pub fn succeeds_unconfined(&self, attempt: &Attempt, owner: Owner) -> bool {
        let settings = self.settings.iter();
        settings
            .filter(|setting| setting.owner == owner && !setting.wall.is_confined())
            .filter_map(|setting| self.outcome(attempt, *setting))
            .any(|outcome| matches!(outcome.attack, Answer::Got(_)))
    }
}

impl std::fmt::Display for Matrix {
    /// One line an attempt: `x` is a success of the attack, `.` a refusal, `-` not tried, `!` a twin that does not work.
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{:40}", "attempt")?;
        for setting in &self.settings {
            write!(to, " {:>9}", setting.name())?;
        }
        writeln!(to)?;
        let mut successes = vec![0; self.settings.len()];
        for attempt in &self.attempts {
            write!(to, "{:40}", attempt.id())?;
            for (setting, n_successes) in self.settings.iter().zip(&mut successes) {
                let mut mark = String::from("?");
                if let Some(outcome) = self.outcome(attempt, *setting) {
                    *n_successes += usize::from(matches!(outcome.attack, Answer::Got(_)));
                    mark = match outcome.attack {
                        Answer::Got(_) => "x".to_owned(),
                        Answer::Refused(_) => ".".to_owned(),
                        Answer::NotTried => "-".to_owned(),
                        Answer::Broken(_) => "broken".to_owned(),
                    };
                    if matches!(outcome.twin, Answer::Refused(_) | Answer::Broken(_)) {
                        mark.push('!');
                    }
                }
                write!(to, " {mark:>9}")?;
            }
            writeln!(to)?;
        }
        write!(to, "{:40}", format!("succeeded of {}", self.attempts.len()))?;
        for n_successes in successes {
            write!(to, " {n_successes:>9}")?;
        }
        to.write_char('\n')?;
        for class in Class::ALL {
            let n_attempts = self.attempts.iter().filter(|a| a.class == class).count();
            write!(to, "{} {n_attempts}  ", class.name())?;
        }
        to.write_char('\n')
    }
}

/// Whether the binary has `stockade exec`, which the build for sandboxes says that it lacks.
fn runs_commands_alone() -> bool {
    let asked = Command::new(binary()).args(["exec", "--help"]).output();
    let output = asked.unwrap();
    let lacks = String::from_utf8_lossy(&output.stderr).contains("has no command exec");
    assert!(lacks || output.status.success(), "{output:?}");
    !lacks
}

/// A directory into which everybody may look.
pub fn workshop() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("stockade-attacks-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap()
}

/// Builds the probe there; none, said aloud, without a compiler.
pub fn probe_of(workshop: &tempfile::TempDir) -> Option<PathBuf> {
    let probe = workshop.path().join("probe");
    compile(&need("cc")?, &probe);
    Some(probe)
}

fn compile(cc: &Path, probe: &Path) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/probe");
    let mut sources: Vec<PathBuf> = std::fs::read_dir(sources)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "c"))
        .collect();
    sources.sort();
    // Static, so that it runs wherever a kernel does.
    let compiled = Command::new(cc)
        .args(["-std=gnu17", "-O1", "-static", "-pthread", "-o"])
        .arg(probe)
        .args(sources)
        .output()
        .unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
}

/// The binary under attack, as a file of the owner.
fn copy_binary(directory: &Path, owner: Owner) -> PathBuf {
    let binary = binary();
    let copy = directory.join(match owner {
        Owner::Root => "stockade-of-root",
        Owner::User => "stockade-of-user",
    });
    std::fs::copy(binary, &copy).unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
    owner.own_file(&copy);
    copy
}
