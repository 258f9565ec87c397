//! The program, run by an interpreter of its own, against the table.

use super::program::{ARCHITECTURE, Instruction, NO_CALL, Program, X32_BIT, refusal};
use super::{
    CallGroup, Check, DENIALS, Denial, EVERYWHERE, HIGHEST_CALL, NO_NETWORK, PROXY_ONLY, SHARED_ID,
    file_capabilities,
};
use nix::errno::Errno;
use nix::libc;
use std::collections::BTreeSet;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const I386: u32 = 0x4000_0003;

fn low_half(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).expect("a half")
}

/// Runs a program as the kernel does; a jump out of it or an unknown instruction fails the test.
fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        16..=63 => {
            let argument = arguments[(offset as usize - 16) / 8];
            low_half(if offset.is_multiple_of(8) {
                argument
            } else {
                argument >> 32
            })
        }
        other => panic!("offset {other}"),
    };
    let (mut at, mut register) = (0, 0);
    loop {
        let step = program.get(at).expect("a program ends in a return");
        let branch = |holds: bool| usize::from(if holds { step.if_true } else { step.if_false });
        at += 1;
        match step.code {
            0x20 => register = word(step.value),
            0x54 => register &= step.value,
            0x05 => at += step.value as usize,
            0x15 => at += branch(register == step.value),
            0x35 => at += branch(register >= step.value),
            0x45 => at += branch(register & step.value != 0),
            0x06 => return step.value,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn compiled(allowed: &[CallGroup]) -> Vec<Instruction> {
    Program::compile(DENIALS, allowed, &[])
        .instructions()
        .collect()
}

/// Answers as the table reads, without any program.
fn expected(allowed: &[CallGroup], number: u32, arguments: [u64; 6]) -> u32 {
    let named = || {
        DENIALS
            .iter()
            .filter(|row| row.calls.iter().any(|call| call.number == number))
    };
    let holds = |row: &&Denial| {
        row.checks.iter().all(|check| {
            let low = |argument: u8| low_half(arguments[usize::from(argument)]);
            match *check {
                Check::AnyBit { argument, bits } => low(argument) & bits != 0,
                Check::In {
                    argument,
                    mask,
                    values,
                } => values.contains(&(low(argument) & mask)),
                Check::NotIn {
                    argument,
                    mask,
                    values,
                } => !values.contains(&(low(argument) & mask)),
            }
        })
    };
    let denial = named()
        .filter(|row| !allowed.contains(&row.group))
        .find(holds);
    match denial {
        Some(row) => refusal(row.answer),
        None if number > HIGHEST_CALL && named().next().is_none() => refusal(Errno::ENOSYS),
        None => ALLOW,
    }
}

#[test]
fn the_program_does_what_the_table_says_for_every_number_and_telling_arguments() {
    let values: [u64; 22] = [
        0,
        1,
        2,
        3,
        8,
        10,
        16,
        17,
        38,
        40,
        58,
        0o100,
        0o644,
        0o4755,
        0o2755,
        0o1777,
        0x541c,
        0x5412,
        0x5413,
        0x2_0000,
        0x1000_0011,
        0xffff_ffff,
    ];
    let nested = [CallGroup::Namespaces, CallGroup::Mounts];
    for allowed in [&[][..], &nested, &CallGroup::ALL] {
        let program = compiled(allowed);
        for number in 0..700 {
            let asks = DENIALS
                .iter()
                .any(|row| !row.checks.is_empty() && row.calls.iter().any(|c| c.number == number));
            let telling = if asks { &values[..] } else { &values[..1] };
            for &a in telling {
                for &b in telling {
                    for &c in telling {
                        for d in [0, 0o4755] {
                            let arguments = [a, b, c, d, 0, 0];
                            assert_eq!(
                                run(&program, ARCHITECTURE, number, arguments),
                                expected(allowed, number, arguments),
                                "{number} {arguments:x?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn upper_halves_of_arguments_hide_nothing() {
    let program = compiled(&[]);
    let high = 0xdead_beef_0000_0000;
    let cases: [(libc::c_long, [u64; 6], Errno); 6] = [
        (libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0], Errno::EPERM),
        (libc::SYS_clone, [0x1000_0000, 0, 0, 0, 0, 0], Errno::EPERM),
        (libc::SYS_socket, [40, 1, 0, 0, 0, 0], Errno::EAFNOSUPPORT),
        (libc::SYS_socket, [2, 3, 255, 0, 0, 0], Errno::EPERM),
        (libc::SYS_fchmod, [0, 0o4755, 0, 0, 0, 0], Errno::EPERM),
        (
            libc::SYS_personality,
            [0x40000, 0, 0, 0, 0, 0],
            Errno::EPERM,
        ),
    ];
    for (number, arguments, errno) in cases {
        let number = u32::try_from(number).expect("a number");
        for arguments in [arguments, arguments.map(|value| value | high)] {
            let answer = run(&program, ARCHITECTURE, number, arguments);
            assert_eq!(answer, refusal(errno), "{number} {arguments:x?}");
        }
    }
    // And the allowed twins stay allowed.
    for (number, arguments) in [
        (libc::SYS_ioctl, [0, 0x5413, 0, 0, 0, 0]),
        (libc::SYS_clone, [0x003d_0f00, 0, 0, 0, 0, 0]),
        (libc::SYS_socket, [1, 0x8_0001, 0, 0, 0, 0]),
        (libc::SYS_socket, [2, 0x8_0802, 17, 0, 0, 0]),
        (libc::SYS_socket, [16, 0x8_0003, 0, 0, 0, 0]),
        (libc::SYS_fchmod, [0, 0o1777, 0, 0, 0, 0]),
        (libc::SYS_openat, [0, 0, 0o2_000_000, 0o4755, 0, 0]),
        (libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]),
    ] {
        let number = u32::try_from(number).expect("a number");
        for arguments in [arguments, arguments.map(|value| value | high)] {
            let answer = run(&program, ARCHITECTURE, number, arguments);
            assert_eq!(answer, ALLOW, "{number} {arguments:x?}");
        }
    }
}

#[test]
fn other_ways_into_the_kernel_are_closed_for_every_number() {
    for allowed in [&[][..], &CallGroup::ALL] {
        let program = compiled(allowed);
        for number in 0..700 {
            let killed = run(&program, I386, number, [0; 6]);
            assert_eq!(killed, libc::SECCOMP_RET_KILL_PROCESS);
            let x32 = run(&program, ARCHITECTURE, number | X32_BIT, [0; 6]);
            assert_eq!(x32, refusal(Errno::ENOSYS));
        }
        // A tracer may leave a call out.
        assert_eq!(run(&program, ARCHITECTURE, NO_CALL, [0; 6]), ALLOW);
    }
}

#[test]
fn what_everyday_programs_call_is_allowed() {
    let program = compiled(&[]);
    for number in [
        libc::SYS_read,
        libc::SYS_execve,
        libc::SYS_mmap,
        libc::SYS_futex,
        libc::SYS_ptrace,
        libc::SYS_prctl,
        libc::SYS_seccomp,
        libc::SYS_memfd_create,
        libc::SYS_memfd_secret,
        libc::SYS_pidfd_open,
        libc::SYS_close_range,
        libc::SYS_statx,
        libc::SYS_landlock_restrict_self,
        libc::SYS_splice,
        libc::SYS_vmsplice,
        libc::SYS_rseq,
        libc::SYS_io_setup,
    ] {
        let number = u32::try_from(number).expect("a number");
        assert_eq!(
            run(&program, ARCHITECTURE, number, [0; 6]),
            ALLOW,
            "{number}"
        );
    }
}

#[test]
fn every_group_is_used_and_every_row_has_calls_and_a_reason() {
    let used: BTreeSet<_> = DENIALS.iter().map(|row| row.group).collect();
    assert_eq!(used, BTreeSet::from(CallGroup::ALL));
    for row in DENIALS {
        assert!(!row.calls.is_empty() && !row.reason.is_empty(), "{row:?}");
        assert_eq!(row.checks.is_empty(), row.when.is_empty(), "{row:?}");
        let name = serde_json::to_string(&row.group).expect("serialises");
        assert_eq!(name, format!("\"{}\"", row.group.as_str()));
        for check in row.checks {
            if let Check::In { values, .. } | Check::NotIn { values, .. } = check {
                assert!(!values.is_empty(), "{row:?}");
            }
        }
    }
    // The order of rows would matter if one call had rows with and without conditions.
    for row in DENIALS.iter().filter(|row| row.checks.is_empty()) {
        for call in row.calls {
            let rows = DENIALS.iter().filter(|row| row.calls.contains(call));
            assert_eq!(rows.count(), 1, "{}", call.name);
        }
    }
}

#[test]
fn the_program_is_small_and_shallow_and_survives_the_wire() {
    let program = Program::compile(DENIALS, &[], &[]);
    let instructions: Vec<_> = program.instructions().collect();
    assert!(instructions.len() < 500, "{}", instructions.len());
    let text = serde_json::to_string(&program).expect("serialises");
    assert!(text.len() < 10_000, "{} bytes", text.len());
    let back: Program = serde_json::from_str(&text).expect("parses");
    assert_eq!(back, program);
    let deepest = (0..=HIGHEST_CALL)
        .map(|number| {
            let mut steps = 0;
            let mut at = 0;
            // Conditions aside: the way to the leaf only.
            while let Some(step) = instructions.get(at) {
                steps += 1;
                at += 1;
                match step.code {
                    0x05 => at += step.value as usize,
                    0x15 => {
                        at += usize::from(if step.value == ARCHITECTURE {
                            step.if_true
                        } else {
                            step.if_false
                        })
                    }
                    0x35 => {
                        at += usize::from(if number >= step.value {
                            step.if_true
                        } else {
                            step.if_false
                        })
                    }
                    0x20 if step.value >= 16 => break,
                    0x06 => break,
                    _ => {}
                }
            }
            steps
        })
        .max();
    assert!(deepest < Some(20), "{deepest:?}");
}

#[test]
fn the_documentation_has_every_row() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sandbox.md");
    let page = std::fs::read_to_string(path).expect("docs/sandbox.md");
    let page = page.split("\n## System calls\n").nth(1);
    let page = page.and_then(|rest| rest.split("\n## ").next());
    let page = page.expect("the section of system calls");
    // The page shows the table of x86_64, which has the rows of every other architecture.
    let missing: Vec<_> = DENIALS
        .iter()
        .map(Denial::documentation)
        .filter(|row| !page.lines().any(|line| line == row))
        .collect();
    assert!(missing.is_empty(), "missing rows:\n{}", missing.join("\n"));
    if cfg!(target_arch = "x86_64") {
        let groups = CallGroup::ALL.map(|group| format!("| `{}` |", group.as_str()));
        let rows = page
            .lines()
            .filter(|line| groups.iter().any(|group| line.starts_with(group)));
        assert_eq!(
            rows.count(),
            DENIALS.len(),
            "rows that the table does not have"
        );
    }
}

/// What the filter of a container denies beyond the table, by what it is for.
const OF_CONTAINER: [&[Denial]; 4] = [EVERYWHERE, NO_NETWORK, PROXY_ONLY, SHARED_ID];

#[test]
fn the_documentation_has_every_row_of_a_container() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sandbox.md");
    let page = std::fs::read_to_string(path).expect("docs/sandbox.md");
    let page = page.split("\n## In a container\n").nth(1);
    let page = page.and_then(|rest| rest.split("\n## ").next());
    let page = page.expect("the section of containers");
    let rows = OF_CONTAINER.iter().copied().flatten();
    let missing: Vec<_> = rows
        .map(Denial::documentation)
        .filter(|row| !page.lines().any(|line| line == row))
        .collect();
    assert!(missing.is_empty(), "missing rows:\n{}", missing.join("\n"));
}

#[test]
fn no_preset_lifts_what_holds_a_container() {
    let number = |number: libc::c_long| u32::try_from(number).expect("a number");
    let denied: [(libc::c_long, [u64; 6], Errno, &[Denial]); 12] = [
        (libc::SYS_shmat, [0; 6], Errno::ENOSYS, EVERYWHERE),
        (
            libc::SYS_socket,
            [2, 1, 0, 0, 0, 0],
            Errno::EAFNOSUPPORT,
            NO_NETWORK,
        ),
        (
            libc::SYS_socket,
            [10, 2, 0, 0, 0, 0],
            Errno::EAFNOSUPPORT,
            NO_NETWORK,
        ),
        (
            libc::SYS_socket,
            [16, 3, 0, 0, 0, 0],
            Errno::EAFNOSUPPORT,
            PROXY_ONLY,
        ),
        (
            libc::SYS_socket,
            [2, 2, 0, 0, 0, 0],
            Errno::EPERM,
            PROXY_ONLY,
        ),
        (
            libc::SYS_socket,
            [2, 0x8_0001, 262, 0, 0, 0],
            Errno::EPROTONOSUPPORT,
            PROXY_ONLY,
        ),
        (
            libc::SYS_sendto,
            [3, 0, 1, 0x2000_0040, 0, 0],
            Errno::EPERM,
            PROXY_ONLY,
        ),
        (
            libc::SYS_sendmsg,
            [3, 0, 0x2000_0000, 0, 0, 0],
            Errno::EPERM,
            PROXY_ONLY,
        ),
        (
            libc::SYS_setsockopt,
            [3, 6, 30, 0, 0, 0],
            Errno::EPERM,
            PROXY_ONLY,
        ),
        (
            libc::SYS_prlimit64,
            [7, 0, 1, 0, 0, 0],
            Errno::EPERM,
            SHARED_ID,
        ),
        (
            libc::SYS_setpriority,
            [0, 7, 19, 0, 0, 0],
            Errno::EPERM,
            SHARED_ID,
        ),
        (
            libc::SYS_setpriority,
            [2, 0, 19, 0, 0, 0],
            Errno::EPERM,
            SHARED_ID,
        ),
    ];
    for (call, arguments, errno, rows) in denied {
        for allowed in [&[][..], &CallGroup::ALL] {
            let program = Program::compile(DENIALS, allowed, &[rows]);
            let program: Vec<_> = program.instructions().collect();
            for arguments in [arguments, arguments.map(|value| value | 0xdead_0000_0000)] {
                let answer = run(&program, ARCHITECTURE, number(call), arguments);
                assert_eq!(answer, refusal(errno), "{call} {arguments:x?}");
            }
            let without = compiled(allowed);
            assert_eq!(
                run(&without, ARCHITECTURE, number(call), arguments),
                ALLOW,
                "{call}"
            );
        }
    }
    let allowed: [(libc::c_long, [u64; 6], &[Denial]); 8] = [
        (libc::SYS_socket, [1, 2, 0, 0, 0, 0], NO_NETWORK),
        (libc::SYS_socket, [2, 0x8_0801, 6, 0, 0, 0], PROXY_ONLY),
        (libc::SYS_socket, [10, 1, 0, 0, 0, 0], PROXY_ONLY),
        (libc::SYS_sendto, [3, 0, 1, 0x4000, 0, 0], PROXY_ONLY),
        (libc::SYS_setsockopt, [3, 1, 30, 0, 0, 0], PROXY_ONLY),
        (libc::SYS_prlimit64, [0, 7, 1, 0, 0, 0], SHARED_ID),
        (libc::SYS_setpriority, [0, 0, 19, 0, 0, 0], SHARED_ID),
        (libc::SYS_getpriority, [0, 7, 0, 0, 0, 0], SHARED_ID),
    ];
    for (call, arguments, rows) in allowed {
        let program = Program::compile(DENIALS, &[], &[EVERYWHERE, rows]);
        let program: Vec<_> = program.instructions().collect();
        assert_eq!(
            run(&program, ARCHITECTURE, number(call), arguments),
            ALLOW,
            "{call} {arguments:x?}"
        );
    }
}

#[test]
fn nothing_with_namespaces_of_its_own_sets_capabilities_of_files() {
    let calls = [
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        463,
    ];
    for allowed in [&[][..], &CallGroup::ALL] {
        let program = Program::compile(DENIALS, allowed, &[file_capabilities(allowed)]);
        let program: Vec<_> = program.instructions().collect();
        for call in calls {
            let number = u32::try_from(call).expect("a number");
            let answer = run(&program, ARCHITECTURE, number, [0; 6]);
            let expected = match allowed {
                [] => ALLOW,
                _ => refusal(Errno::EOPNOTSUPP),
            };
            assert_eq!(answer, expected, "{call}");
        }
    }
}
