//! The terminal recording: what a person would have seen, with its times, in asciicast v2.
//!
//! Owns the file `terminal.cast`: its format, its writer, its repair and its reader. It never redacts: what comes in has
//! passed the redactor of its stream. The action log is the truth; a cast that is cut says so and loses nothing else.
//!
//! The format is that of asciinema: <https://docs.asciinema.org/manual/asciicast/v2/>.

pub mod entry;
pub mod screen;
pub mod recorder;
pub mod writer;
pub mod repair;
pub mod reader;
pub mod pace;

pub use entry::{Entry, EntryKind, Header, WindowSize};
pub use recorder::Cast;
pub use screen::{LineEnds, ScreenStream};
