//! A run that is held at a moment of its life until the test lets go, and that can be made to die from within.
//!
//! The library that does it (`fixtures/death_shim.c`) is loaded into guardian, supervisor and finalizer; see there.

use std::path::{Path, PathBuf};

use crate::disk::compiled;
use crate::harness::RunBuilder;

/// What the test and the held processes tell each other.
#[derive(Debug)]
pub struct Holds {
    directory: tempfile::TempDir,
    library: PathBuf,
}

impl Holds {
    /// Nothing is held yet. None where no compiler is.
    pub fn new() -> Option<Self> {
        Self::of("death_shim")
    }

    /// The same with another library.
    pub fn of(library: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let library = compiled(directory.path(), library)?;
        Some(Self { directory, library })
    }

    /// The same for another run, with the library of this one.
    pub fn another(&self) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            library: self.library.clone(),
        }
    }

    /// The two variables that a process has to have.
    pub fn variables(&self) -> [(&'static str, &Path); 2] {
        [
            ("LD_PRELOAD", &self.library),
            ("DEATH_SHIM", self.directory.path()),
        ]
    }

    /// Loads the library into a run.
    pub fn within(&self, builder: RunBuilder) -> RunBuilder {
        let add = |builder: RunBuilder, (name, value): (&str, &Path)| builder.env(name, value);
        self.variables().into_iter().fold(builder, add)
    }

    fn file(&self, kind: &str, moment: &str) -> PathBuf {
        self.directory.path().join(format!("{kind}.{moment}"))
    }

    /// Whoever comes to the moment from now on waits.
    pub fn hold(&self, moment: &str) {
        std::fs::write(self.file("hold", moment), "").unwrap();
    }

    /// Whether somebody waits at the moment, or did.
    pub fn is_at(&self, moment: &str) -> bool {
        self.file("at", moment).exists()
    }

    /// Nobody waits at the moment any more.
    pub fn let_go(&self, moment: &str) {
        std::fs::write(self.file("go", moment), "").unwrap();
    }

    /// Makes the thread of the supervisor that drives the run die, or hang, as the word says.
    pub fn die(&self, word: &str) {
        // Whole at once: it is read as soon as it is there.
        let hidden = self.directory.path().join(".die");
        std::fs::write(&hidden, word).unwrap();
        std::fs::rename(hidden, self.directory.path().join("die")).unwrap();
    }
}
