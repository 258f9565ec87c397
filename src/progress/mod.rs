//! What people see of a run: lines for a pipe, and the live view for a terminal.
//!
//! Owns the words, the colours and the care for the terminal. It reads the action log as any other reader does, and nothing
//! waits for it: neither the agent nor the log. Invariant: no byte of the workload reaches a terminal that could do more
//! there than show text.

pub mod clean;
pub mod quantity;
pub mod paint;
pub mod output;
pub mod line;
pub mod mode;
pub mod held;
pub mod state;
pub mod screen;
pub mod rows;
pub mod terminal;
pub mod view;
