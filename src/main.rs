//! The `stockade` binary; its commands come with the modules that do their work.

fn main() {}
