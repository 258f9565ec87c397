//! Attempts at processes: somebody else's, the supervisor's, and the files of `/proc` that act on the machine.

use super::attempt::{Attempt, Class, Round};

const fn process(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Processes, name, attack, twin)
}

const YAMA: &str = "a host may forbid debuggers to attach (Yama)";
const NOT_DUMPABLE: &str = "the supervisor protects itself without a sandbox, too";
const HOST_DEPENDS: &str = "not every kernel has it, or gives it to this root";
const INSIDE: &str = "without a sandbox the first process is the machine's";

pub const ATTEMPTS: &[Attempt] = &[
    process("see-victim", "find-process {tag}-victim", "see-own-process"),
    process(
        "secret-of-others",
        "find-environment {secret}",
        "read-own-environment",
    ),
    process(
        "environment-of-victim",
        "read-environment {victim}",
        "read-own-environment",
    ),
    process("kill-victim", "send-signal {doomed-1} 9", "end-own signal")
        .damage(|scene| scene.stage.killed(1)),
    process("kill-group", "send-group {doomed-2} 9", "end-own group")
        .damage(|scene| scene.stage.killed(2)),
    process("kill-thread", "send-thread {doomed-3} 9", "end-own thread")
        .damage(|scene| scene.stage.killed(3)),
    process(
        "kill-by-descriptor",
        "send-by-descriptor {doomed-4} 9",
        "end-own descriptor",
    )
    .damage(|scene| scene.stage.killed(4)),
    process("trace-victim", "trace {victim}", "trace-own").unproven(YAMA),
    process(
        "read-memory-of-victim",
        "read-memory-of {victim}",
        "read-own-memory",
    )
    .unproven(YAMA),
    process(
        "write-memory-of-victim",
        "write-memory-of {victim}",
        "read-own-memory",
    )
    .unproven(YAMA),
    process(
        "memory-file-of-victim",
        "open-memory {victim}",
        "read-own-memory",
    )
    .unproven(YAMA),
    process(
        "descriptor-of-victim",
        "take-descriptor {victim} 0",
        "use-descriptor 1",
    )
    .unproven(YAMA),
    process(
        "file-of-victim",
        "open-descriptor {victim} 0",
        "open-descriptor self 0",
    ),
    process(
        "files-of-victim",
        "list-descriptors {victim}",
        "list-descriptors self",
    ),
    process("slow-victim", "slow-down {victim}", "slow-down self"),
    process(
        "bind-victim",
        "bind-to-processor {victim}",
        "bind-to-processor self",
    ),
    process(
        "limit-victim",
        "limit-process {victim}",
        "limit-process self",
    ),
    process(
        "slow-disk-of-victim",
        "slow-its-disk {victim}",
        "slow-its-disk self",
    ),
    process(
        "offer-victim-to-kill",
        "raise-victim-score {victim}",
        "raise-victim-score self",
    ),
    process(
        "signal-supervisor",
        "send-signal {supervisor} 0",
        "end-own signal",
    ),
    process(
        "signal-guardian",
        "send-signal {guardian} 0",
        "end-own signal",
    ),
    process("trace-supervisor", "trace {supervisor}", "trace-own").unproven(NOT_DUMPABLE),
    process(
        "memory-of-supervisor",
        "open-memory {supervisor}",
        "read-own-memory",
    )
    .root(),
    process(
        "files-of-supervisor",
        "list-descriptors {supervisor}",
        "list-descriptors self",
    )
    .root(),
    process(
        "environment-of-supervisor",
        "read-environment {supervisor}",
        "read-own-environment",
    )
    .unproven(NOT_DUMPABLE),
    process(
        "limit-supervisor",
        "limit-process {supervisor}",
        "limit-process self",
    ),
    process(
        "slow-supervisor",
        "slow-down {supervisor}",
        "slow-down self",
    ),
    process(
        "program-of-supervisor",
        "overwrite-program {supervisor}",
        "read-own-program",
    )
    .root(),
    process(
        "program-of-guardian",
        "overwrite-program {guardian}",
        "read-own-program",
    )
    .root(),
    process(
        "program-of-first",
        "overwrite-program {first}",
        "read-own-program",
    )
    .unproven(INSIDE),
    process("memory-of-first", "open-memory {first}", "read-own-memory").unproven(INSIDE),
    process(
        "environment-of-first",
        "read-environment {first}",
        "read-own-environment",
    )
    .unproven(INSIDE),
    process(
        "files-of-first",
        "list-descriptors {first}",
        "list-descriptors self",
    )
    .unproven(INSIDE),
    process("trace-first", "trace {first}", "trace-own").unproven(INSIDE),
    process(
        "descriptor-of-first",
        "take-descriptor {first} 0",
        "use-descriptor 1",
    )
    .unproven(INSIDE),
    process(
        "root-of-first",
        "list-root-of {first}",
        "read /proc/self/root{workspace}/notes.txt",
    )
    .unproven(INSIDE),
    process(
        "core-pattern",
        "open-to-write /proc/sys/kernel/core_pattern",
        "read /proc/sys/kernel/ostype",
    )
    .root(),
    process(
        "modprobe-path",
        "open-to-write /proc/sys/kernel/modprobe",
        "read /proc/sys/kernel/osrelease",
    )
    .unproven(HOST_DEPENDS),
    process(
        "system-request",
        "open-to-write /proc/sysrq-trigger",
        "open-to-write /proc/self/comm",
    )
    .unproven(HOST_DEPENDS),
    process(
        "drop-caches",
        "open-to-write /proc/sys/vm/drop_caches",
        "read /proc/meminfo",
    )
    .root(),
    process(
        "interrupts",
        "open-to-write /proc/irq/default_smp_affinity",
        "read /proc/stat",
    )
    .unproven(HOST_DEPENDS),
    process(
        "pressure",
        "open-to-write /proc/pressure/memory",
        "read /proc/loadavg",
    )
    .unproven(HOST_DEPENDS),
    process("kernel-memory", "read /proc/kcore", "read /proc/version").unproven(HOST_DEPENDS),
    process("kernel-addresses", "kernel-addresses", "read /proc/cpuinfo").unproven(HOST_DEPENDS),
    process("kernel-log", "read /proc/kmsg", "read /proc/loadavg").unproven(HOST_DEPENDS),
    process("timers", "read /proc/timer_list", "read /proc/uptime").unproven(HOST_DEPENDS),
    process(
        "keys-of-others",
        "read /proc/keys",
        "read /proc/self/status",
    )
    .unproven(HOST_DEPENDS),
    process(
        "forward-packets",
        "open-to-write /proc/sys/net/ipv4/ip_forward",
        "read /proc/sys/net/ipv4/ip_forward",
    )
    .root(),
    process(
        "name-of-host",
        "open-to-write /proc/sys/kernel/hostname",
        "read /proc/sys/kernel/hostname",
    )
    .root(),
    of_step("memory-of-keeper", "open-memory above", "read-own-memory"),
    of_step(
        "files-of-keeper",
        "list-descriptors above",
        "list-descriptors self",
    ),
    of_step(
        "environment-of-keeper",
        "read-environment above",
        "read-own-environment",
    ),
    of_step("trace-keeper", "trace above", "trace-own"),
    of_step(
        "descriptor-of-keeper",
        "take-descriptor above 3",
        "use-descriptor 1",
    ),
    of_step(
        "program-of-keeper",
        "overwrite-program above",
        "read-own-program",
    ),
];

/// Aimed at what stands above a step of a playbook.
const fn of_step(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    process(name, attack, twin)
        .round(Round::Step)
        .unproven(INSIDE)
}
