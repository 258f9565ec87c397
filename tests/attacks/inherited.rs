//! Attempts at what is inherited: descriptors and the environment of the caller.

use super::attempt::{Attempt, Class};

const fn fd(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Descriptors, name, attack, twin)
}

const fn env(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Environment, name, attack, twin)
}

pub const ATTEMPTS: &[Attempt] = &[
    fd(
        "inherited-file",
        "read-descriptor 7",
        "read-own-descriptor {workspace}/notes.txt",
    ),
    fd(
        "inherited-directory",
        "open-below 8 secret.txt",
        "open-below-own {workspace} notes.txt",
    ),
    fd("inherited-to-write", "reopen 9", "open-input"),
    fd(
        "leave-by-directory",
        "open-below 8 ../recordings",
        "open-below-own {workspace} sub",
    ),
    fd("anything-inherited", "find-descriptor", "use-descriptor 1"),
    fd(
        "beside-the-directory",
        "read-above ../outside/secret.txt",
        "read-above ../workspace/notes.txt",
    ),
    env(
        "secret-of-caller",
        "variable CALLERS_SECRET",
        "variable DECLARED",
    ),
    env("agent-of-caller", "variable SSH_AUTH_SOCK", "variable PATH"),
    env(
        "libraries-of-caller",
        "variable LD_LIBRARY_PATH",
        "variable DECLARED",
    ),
    env("shell-file-of-caller", "variable BASH_ENV", "variable HOME"),
    env(
        "token-of-supervisor",
        "variable STOCKADE_TOKEN",
        "variable DECLARED",
    ),
    env(
        "secret-under-any-name",
        "variable-with {secret}",
        "variable-with declared",
    ),
];
