//! Attempts at files: of the host, of other runs, and of devices.

use super::attempt::{Attempt, Class, Round};

const fn fs(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Files, name, attack, twin)
}

const FIRST: &str = "the first process of a host may be closed to its root";
const MINIMAL: &str = "a minimal host may have nothing there";
const NO_HOST_DEVICE: &str = "a host that is a container has no such device";
const REFUSED: &str = "without a sandbox such a run is refused";

/// Bits that let a file run with its owner's or group's rights.
const SET_ID_BITS: u32 = 0o6000;

macro_rules! has_set_id {
    ($file:literal) => {
        |scene| {
            let mode = scene.stage.mode($file);
            (mode & SET_ID_BITS != 0).then(|| format!("mode {mode:o}"))
        }
    };
}

pub const ATTEMPTS: &[Attempt] = &[
    fs(
        "read-outside",
        "read {outside}/secret.txt",
        "read {workspace}/notes.txt",
    ),
    fs("read-shadow", "read /etc/shadow", "read /etc/passwd").root(),
    fs("list-home-of-root", "list /root", "list {workspace}").root(),
    fs(
        "dot-dot",
        "read {workspace}/../outside/secret.txt",
        "read {workspace}/sub/../notes.txt",
    ),
    fs(
        "planted-link",
        "read {workspace}/link-out",
        "read {workspace}/link-in",
    ),
    fs(
        "planted-directory-link",
        "read {workspace}/directory-out/secret.txt",
        "read {workspace}/directory-in/deep.txt",
    ),
    fs(
        "own-link",
        "symlink-and-read {outside}/secret.txt {workspace}/own-out",
        "symlink-and-read {workspace}/notes.txt {workspace}/own-in",
    ),
    fs(
        "write-through-link",
        "symlink-and-write {outside}/canary-link.txt {workspace}/write-out",
        "symlink-and-write {workspace}/kept {workspace}/write-in",
    )
    .damage(|scene| scene.stage.changed("outside/canary-link.txt")),
    fs(
        "write-outside",
        "write {outside}/canary.txt",
        "write {workspace}/written.txt",
    )
    .damage(|scene| scene.stage.changed("outside/canary.txt"))
    .trace(|scene| scene.stage.appeared("workspace/written.txt")),
    fs(
        "make-outside",
        "write {outside}/open/planted",
        "write {workspace}/sub/made",
    )
    .damage(|scene| scene.stage.appeared("outside/open/planted"))
    .trace(|scene| scene.stage.appeared("workspace/sub/made")),
    fs(
        "remove-outside",
        "remove {outside}/open/doomed",
        "remove {workspace}/doomed",
    )
    .damage(|scene| scene.stage.changed("outside/open/doomed")),
    fs(
        "rename-out",
        "rename {workspace}/goes {outside}/open/gone",
        "rename {workspace}/from {workspace}/to",
    )
    .damage(|scene| scene.stage.appeared("outside/open/gone"))
    .trace(|scene| scene.stage.appeared("workspace/to")),
    fs(
        "hard-link",
        "link-and-read {outside}/secret.txt {workspace}/hard-out",
        "link-and-read {workspace}/notes.txt {workspace}/hard-in",
    ),
    fs(
        "read-recordings",
        "read {recordings}/run/events.jsonl",
        "append {workspace}/kept",
    ),
    fs(
        "write-recordings",
        "open-to-write {recordings}/run/events.jsonl",
        "open-to-write {workspace}/kept",
    ),
    fs(
        "plant-recordings",
        "write {recordings}/planted",
        "write {workspace}/planted",
    )
    .damage(|scene| scene.stage.appeared("recordings/planted")),
    fs(
        "read-masked-recordings",
        "read {workspace}/recordings/run/events.jsonl",
        "read {workspace}/sub/deep.txt",
    )
    .round(Round::Hidden)
    .unproven(REFUSED),
    fs(
        "plant-masked-recordings",
        "write {workspace}/recordings/planted",
        "write {workspace}/sub/planted",
    )
    .round(Round::Hidden)
    .unproven(REFUSED)
    .damage(|scene| {
        // Another attempt may have moved the directory.
        let stage = scene.stage;
        let moved = || stage.appeared("workspace/moved/planted");
        stage
            .appeared("workspace/recordings/planted")
            .or_else(moved)
    }),
    fs(
        "swap-masked-recordings",
        "rename {workspace}/recordings {workspace}/moved",
        "rename {workspace}/sub {workspace}/sub-2",
    )
    .round(Round::Hidden)
    .unproven(REFUSED)
    .damage(|scene| scene.stage.appeared("workspace/moved")),
    fs(
        "make-in-programs",
        "may-make /usr/bin",
        "may-make {workspace}",
    )
    .root(),
    fs("make-in-root", "may-make /", "list /usr").root(),
    fs("make-in-etc", "may-make /etc", "read /etc/passwd").root(),
    fs(
        "write-passwd",
        "open-to-write /etc/passwd",
        "read /etc/passwd",
    )
    .root(),
    fs("read-tmp-of-host", "read {tmp-canary}", "may-make $TMPDIR"),
    fs("read-shm-of-host", "read {shm-canary}", "may-make /dev/shm"),
    fs("list-run", "list /run", "list /usr").unproven(MINIMAL),
    fs("list-sys", "list /sys/kernel", "list /proc/self"),
    fs("list-logs", "list /var/log", "list /usr/lib").unproven(MINIMAL),
    fs(
        "list-control-groups",
        "list /sys/fs/cgroup",
        "read /proc/self/cgroup",
    ),
    fs(
        "root-of-first",
        "read /proc/1/root{outside}/secret.txt",
        "read /proc/self/root{workspace}/notes.txt",
    )
    .unproven(FIRST),
    fs(
        "directory-of-victim",
        "read /proc/{victim}/cwd/secret.txt",
        "read /proc/self/cwd/notes.txt",
    ),
    fs(
        "make-device",
        "make-device {workspace}/device",
        "make-pipe {workspace}/pipe",
    )
    .root(),
    fs("see-disk", "see-disk", "see-device /dev/null").unproven(NO_HOST_DEVICE),
    fs(
        "see-kernel-log",
        "see-device /dev/kmsg",
        "see-device /dev/zero",
    )
    .unproven(NO_HOST_DEVICE),
    fs("see-memory", "see-device /dev/mem", "see-device /dev/full").unproven(NO_HOST_DEVICE),
    fs(
        "see-fuse",
        "see-device /dev/fuse",
        "see-device /dev/urandom",
    )
    .unproven(NO_HOST_DEVICE),
    fs(
        "set-user-id",
        "change-mode {workspace}/tool 04755",
        "change-mode {workspace}/tool-2 0755",
    )
    .damage(has_set_id!("workspace/tool")),
    fs(
        "set-group-id",
        "change-mode {workspace}/tool-3 02755",
        "change-mode {workspace}/tool-2 0711",
    )
    .damage(has_set_id!("workspace/tool-3")),
    fs(
        "born-set-user-id",
        "make-with-mode {workspace}/born 04755",
        "make-with-mode {workspace}/born-2 0755",
    )
    .damage(has_set_id!("workspace/born")),
    fs(
        "file-capability",
        "file-capability {workspace}/tool-4",
        "change-times {workspace}/tool-4",
    )
    .root(),
    fs(
        "give-to-root",
        "change-owner {workspace}/gift 0",
        "keep-owner {workspace}/gift",
    )
    .root(),
    fs(
        "open-by-handle",
        "open-by-handle {workspace}",
        "open-directory {workspace}",
    )
    .root(),
    fs(
        "leave-root",
        "leave-root {workspace}",
        "change-directory {workspace}",
    )
    .root(),
    only_read("write-read-only", "append {workspace}/untouched")
        .damage(|scene| scene.stage.changed("workspace/untouched")),
    only_read("empty-read-only", "write {workspace}/untouched")
        .damage(|scene| scene.stage.changed("workspace/untouched")),
    only_read("make-read-only", "write {workspace}/appears")
        .damage(|scene| scene.stage.appeared("workspace/appears")),
    only_read("rename-read-only", "rename {workspace}/from {workspace}/to")
        .damage(|scene| scene.stage.appeared("workspace/to")),
    only_read(
        "link-read-only",
        "make-link {workspace}/notes.txt {workspace}/second",
    )
    .damage(|scene| scene.stage.appeared("workspace/second")),
    only_read("change-mode-read-only", "change-mode {workspace}/tool 0700"),
    only_read("change-times-read-only", "change-times {workspace}/tool"),
    only_read("write-mount", "append {outside}/shown/file")
        .damage(|scene| scene.stage.changed("outside/shown/file")),
    only_read("make-in-mount", "write {outside}/shown/planted")
        .damage(|scene| scene.stage.appeared("outside/shown/planted")),
    only_read("beside-mount", "read {outside}/shown/../secret.txt"),
    overlaid("append-below", "append {workspace}/untouched")
        .damage(|scene| scene.stage.changed("workspace/untouched")),
    overlaid("make-below", "write {workspace}/appears")
        .damage(|scene| scene.stage.appeared("workspace/appears")),
    overlaid("remove-below", "remove {workspace}/doomed").damage(|scene| {
        let is_gone = scene.stage.appeared("workspace/doomed").is_none();
        is_gone.then(|| "it is gone".to_owned())
    }),
    overlaid("rename-below", "rename {workspace}/from {workspace}/to")
        .damage(|scene| scene.stage.appeared("workspace/to")),
    overlaid(
        "link-below",
        "make-link {workspace}/notes.txt {workspace}/second",
    )
    .damage(|scene| scene.stage.appeared("workspace/second")),
    overlaid("change-mode-below", "change-mode {workspace}/tool 0700").damage(|scene| {
        let mode = scene.stage.mode("workspace/tool") & 0o777;
        (mode == 0o700).then(|| format!("mode {mode:o}"))
    }),
    overlaid(
        "rename-directory-below",
        "rename {workspace}/sub {workspace}/sub-2",
    )
    .damage(|scene| scene.stage.appeared("workspace/sub-2")),
    overlaid("make-device-below", "make-device {workspace}/device")
        .root()
        .damage(|scene| scene.stage.appeared("workspace/device")),
    overlaid(
        "through-link-below",
        "write {workspace}/directory-out/open/planted",
    )
    .damage(|scene| scene.stage.appeared("outside/open/planted")),
];

const fn only_read(name: &'static str, attack: &'static str) -> Attempt {
    fs(name, attack, "write $TMPDIR/{tag}-own-file").round(Round::ReadOnly)
}

/// Aimed at what lies below an overlay, and must work above it.
const fn overlaid(name: &'static str, attack: &'static str) -> Attempt {
    fs(name, attack, "write {workspace}/written.txt").round(Round::Overlay)
}
