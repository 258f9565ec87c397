//! What every end-to-end test uses: a run of the real binary, a terminal, a small HTTP client, waiting, and skipping aloud.

pub mod asked;
pub mod engine;
pub mod http;
pub mod need;
pub mod recording;
pub mod run;
pub mod small_disk;
pub mod static_build;
pub mod terminal;
pub mod tree;
pub mod wait;

pub use http::{Reply, SseFrame, get, request, stream};
pub use recording::Recording;
pub use run::{Run, RunBuilder};
pub use small_disk::SmallDisk;
pub use terminal::Terminal;
pub use wait::{DEADLINE, until};
