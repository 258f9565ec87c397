//! Attempts at privileges: ids, capabilities, user namespaces.

use super::attempt::{Attempt, Class};

const fn privilege(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Privileges, name, attack, twin)
}

const FIRST: &str = "the first process of a host may be closed to its root";
const NOT_EVERYWHERE: &str = "a host may forbid user namespaces to users";

pub const ATTEMPTS: &[Attempt] = &[
    privilege("become-root", "become-user 0", "stay-user").root(),
    privilege("become-root-group", "become-group 0", "stay-group").root(),
    privilege("join-root-group", "join-group 0", "see-groups").root(),
    privilege("have-capability", "have-capability", "ask-capabilities").root(),
    privilege(
        "take-capabilities",
        "take-capabilities",
        "drop-capabilities",
    )
    .root(),
    privilege("bounding-set", "bounding-set", "forbid-privileges"),
    privilege("raise-ambient", "raise-ambient", "clear-ambient").root(),
    privilege("secure-bits", "secure-bits", "ask-secure-bits").root(),
    privilege("new-privileges", "new-privileges", "forbid-privileges"),
    privilege(
        "set-user-id-program",
        "execute {setuid} identity",
        "execute {workspace}/probe hello",
    )
    .unproven("only root can make a program of root's"),
    privilege("own-user-namespace", "own-user-namespace", "fork").unproven(NOT_EVERYWHERE),
    privilege("clone-user-namespace", "clone-into user", "clone-plain").unproven(NOT_EVERYWHERE),
    privilege("clone3-user-namespace", "clone3-into user", "fork").unproven(NOT_EVERYWHERE),
    privilege("clone-mount-namespace", "clone-into mnt", "clone-plain").root(),
    privilege("clone3-net-namespace", "clone3-into net", "fork").root(),
    privilege("unshare-mount", "unshare mnt", "fork").root(),
    privilege("unshare-net", "unshare net", "fork").root(),
    privilege("unshare-pid", "unshare pid", "fork").root(),
    privilege("unshare-ipc", "unshare ipc", "fork").root(),
    privilege("unshare-uts", "unshare uts", "fork").root(),
    privilege("unshare-cgroup", "unshare cgroup", "fork").root(),
    privilege("unshare-time", "unshare time", "fork").root(),
    privilege(
        "enter-first-mount",
        "enter-namespace /proc/1/ns/mnt",
        "name-namespace /proc/self/ns/mnt",
    )
    .unproven(FIRST),
    privilege(
        "enter-first-net",
        "enter-namespace /proc/1/ns/net",
        "name-namespace /proc/self/ns/net",
    )
    .unproven(FIRST),
    privilege(
        "enter-first-pid",
        "enter-namespace /proc/1/ns/pid",
        "name-namespace /proc/self/ns/pid",
    )
    .unproven(FIRST),
    privilege(
        "enter-supervisor-net",
        "enter-namespace /proc/{supervisor}/ns/net",
        "name-namespace /proc/self/ns/user",
    )
    .root(),
];
