//! From the table to a classic BPF program, seccomp(2).
//!
//! Owns the assembler. Never knows a call: it sees numbers, conditions and answers.
//! Invariant: every path of a program ends in a return, and every jump leads forward into it.
//!
//! ```text
//!   other architecture (i386) ---------------------> the process is killed (SIGSYS)
//!   number with the x32 bit -----------------------> ENOSYS
//!   tree over ranges of numbers --+-- always allowed
//!                                 +-- always denied
//!                                 +-- conditions of the call's rows, in their order; else allowed
//! ```

use super::denial::{CallGroup, Check, Denial};
use super::table::HIGHEST_CALL;
use nix::errno::Errno;
use nix::libc;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest program that the kernel takes, BPF_MAXINSNS.
const MAX_INSTRUCTIONS: usize = 4_096;

// Offsets in struct seccomp_data.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;
const ARGUMENT_BYTES: u32 = 8;

/// AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64, linux/audit.h: the machine of ELF, 64 bits, little-endian.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 62 | 0xc000_0000;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 183 | 0xc000_0000;

/// Numbers from here on are of the x32 interface, whose calls would pass unseen.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// What a tracer writes to leave a call out; the kernel does nothing for it.
pub(super) const NO_CALL: u32 = u32::MAX;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// One instruction: struct sock_filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) if_true: u8,
    pub(crate) if_false: u8,
    pub(crate) value: u32,
}

impl Instruction {
    const fn new(code: u16, value: u32) -> Self {
        Self {
            code,
            if_true: 0,
            if_false: 0,
            value,
        }
    }

    const fn branch(code: u16, value: u32, if_true: u8, if_false: u8) -> Self {
        Self {
            code,
            if_true,
            if_false,
            value,
        }
    }

    /// Packs the instruction into a number, for the wire.
    fn pack(self) -> u64 {
        let [code_low, code_high] = self.code.to_le_bytes();
        let [a, b, c, d] = self.value.to_le_bytes();
        u64::from_le_bytes([a, b, c, d, self.if_true, self.if_false, code_low, code_high])
    }

    fn unpack(packed: u64) -> Self {
        let [a, b, c, d, if_true, if_false, code_low, code_high] = packed.to_le_bytes();
        Self {
            code: u16::from_le_bytes([code_low, code_high]),
            if_true,
            if_false,
            value: u32::from_le_bytes([a, b, c, d]),
        }
    }
}

/// A program, as it travels from the supervisor to the in-sandbox init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program(Vec<u64>);

impl Program {
    /// Compiles the denials, without those of the groups that are allowed, and behind them those `more` that nothing lifts.
    pub(crate) fn compile(denials: &[Denial], allowed: &[CallGroup], more: &[&[Denial]]) -> Self {
        let mut code = vec![
            Instruction::new(LOAD, ARCHITECTURE_OFFSET),
            Instruction::branch(JUMP_IF_EQUAL, ARCHITECTURE, 1, 0),
            Instruction::new(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
            Instruction::new(LOAD, NUMBER_OFFSET),
            Instruction::branch(JUMP_IF_AT_LEAST, X32_BIT, 0, 3),
            Instruction::branch(JUMP_IF_EQUAL, NO_CALL, 0, 1),
            Instruction::new(RETURN, libc::SECCOMP_RET_ALLOW),
            Instruction::new(RETURN, refusal(Errno::ENOSYS)),
        ];
        code.extend(tree(&ranges(denials, allowed, more)));
        debug_assert!(
            code.len() <= MAX_INSTRUCTIONS,
            "{} instructions",
            code.len()
        );
        Self(code.into_iter().map(Instruction::pack).collect())
    }

    /// Returns the instructions.
    pub(crate) fn instructions(&self) -> impl Iterator<Item = Instruction> {
        self.0.iter().copied().map(Instruction::unpack)
    }
}

/// What happens to the numbers from one on, until the next range.
struct Range<'a> {
    first: u32,
    fate: Fate<'a>,
}

enum Fate<'a> {
    Return(u32),
    Ask(Vec<&'a Denial>),
}

/// The value by which a filter answers with an error.
pub(super) fn refusal(errno: Errno) -> u32 {
    libc::SECCOMP_RET_ERRNO | (errno as i32).unsigned_abs()
}

/// Divides the numbers below the x32 bit into ranges of one fate each.
fn ranges<'a>(
    denials: &'a [Denial],
    allowed: &[CallGroup],
    more: &[&'a [Denial]],
) -> Vec<Range<'a>> {
    let mut rows_of: BTreeMap<u32, Vec<&Denial>> = BTreeMap::new();
    let kept = denials
        .iter()
        .filter(|denial| !allowed.contains(&denial.group));
    for denial in kept.chain(more.iter().copied().flatten()) {
        for call in denial.calls {
            rows_of.entry(call.number).or_default().push(denial);
        }
    }
    // A call beyond the highest is denied unless a row that names it is lifted.
    let named = denials.iter().flat_map(|denial| denial.calls);
    let known = named
        .map(|call| call.number)
        .filter(|number| *number > HIGHEST_CALL);
    let mut fates: BTreeMap<u32, Fate<'_>> = BTreeMap::new();
    fates.insert(0, Fate::Return(libc::SECCOMP_RET_ALLOW));
    fates.insert(HIGHEST_CALL + 1, Fate::Return(refusal(Errno::ENOSYS)));
    for number in known.chain(rows_of.keys().copied()) {
        let after = if number < HIGHEST_CALL {
            libc::SECCOMP_RET_ALLOW
        } else {
            refusal(Errno::ENOSYS)
        };
        let fate = match rows_of.get(&number) {
            None => Fate::Return(libc::SECCOMP_RET_ALLOW),
            Some(rows) => match rows.iter().find(|row| row.checks.is_empty()) {
                // Conditions before an unconditional row would only choose among answers; no call has both.
                Some(row) => Fate::Return(refusal(row.answer)),
                None => Fate::Ask(rows.clone()),
            },
        };
        fates.insert(number, fate);
        fates.entry(number + 1).or_insert(Fate::Return(after));
    }
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for (first, fate) in fates {
        let same = ranges.last().is_some_and(|last| match (&last.fate, &fate) {
            (Fate::Return(one), Fate::Return(other)) => one == other,
            (Fate::Ask(_), _) | (_, Fate::Ask(_)) => false,
        });
        if !same {
            ranges.push(Range { first, fate });
        }
    }
    ranges
}

/// A tree of comparisons over ranges; the number is loaded when it begins.
fn tree(ranges: &[Range<'_>]) -> Vec<Instruction> {
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let Some(middle) = right.first() else {
        return Vec::new();
    };
    if left.is_empty() {
        return leaf(&middle.fate);
    }
    let left = tree(left);
    let mut code = Vec::new();
    match u8::try_from(left.len()) {
        Ok(far) => code.push(Instruction::branch(JUMP_IF_AT_LEAST, middle.first, far, 0)),
        Err(_) => {
            // A condition jumps 255 instructions at most.
            code.push(Instruction::branch(JUMP_IF_AT_LEAST, middle.first, 0, 1));
            let far = u32::try_from(left.len()).unwrap_or(u32::MAX);
            code.push(Instruction::new(JUMP, far));
        }
    }
    code.extend(left);
    code.extend(tree(right));
    code
}

fn leaf(fate: &Fate<'_>) -> Vec<Instruction> {
    match fate {
        Fate::Return(value) => vec![Instruction::new(RETURN, *value)],
        Fate::Ask(rows) => {
            let mut code: Vec<_> = rows.iter().flat_map(|row| row_code(row)).collect();
            code.push(Instruction::new(RETURN, libc::SECCOMP_RET_ALLOW));
            code
        }
    }
}

/// Where a comparison leads, before the length of its row is known.
enum Exit {
    /// To the next instruction, or past as many as are said.
    On(u8),
    /// Behind the row: it does not hold.
    Off,
}

/// Returns when all checks of a row hold, else runs on behind it.
fn row_code(row: &Denial) -> Vec<Instruction> {
    let mut open: Vec<(Instruction, Exit, Exit)> = Vec::new();
    let plain = |instruction| (instruction, Exit::On(0), Exit::On(0));
    for check in row.checks {
        let (argument, mask) = match *check {
            Check::AnyBit { argument, .. } => (argument, u32::MAX),
            Check::In { argument, mask, .. } | Check::NotIn { argument, mask, .. } => {
                (argument, mask)
            }
        };
        // Both architectures are little-endian: the lower half comes first.
        let offset = ARGUMENTS_OFFSET + ARGUMENT_BYTES * u32::from(argument);
        open.push(plain(Instruction::new(LOAD, offset)));
        if mask != u32::MAX {
            open.push(plain(Instruction::new(AND, mask)));
        }
        match *check {
            Check::AnyBit { bits, .. } => {
                let compare = Instruction::new(JUMP_IF_ANY_BIT, bits);
                open.push((compare, Exit::On(0), Exit::Off));
            }
            Check::In { values, .. } => {
                let mut rest = values;
                while let [value, more @ ..] = rest {
                    let compare = Instruction::new(JUMP_IF_EQUAL, *value);
                    let found = Exit::On(u8::try_from(more.len()).unwrap_or(u8::MAX));
                    let missed = if more.is_empty() {
                        Exit::Off
                    } else {
                        Exit::On(0)
                    };
                    open.push((compare, found, missed));
                    rest = more;
                }
            }
            Check::NotIn { values, .. } => {
                for value in values {
                    let compare = Instruction::new(JUMP_IF_EQUAL, *value);
                    open.push((compare, Exit::Off, Exit::On(0)));
                }
            }
        }
    }
    open.push(plain(Instruction::new(RETURN, refusal(row.answer))));
    let length = open.len();
    let close = |at: usize, exit| match exit {
        Exit::On(skipped) => skipped,
        Exit::Off => u8::try_from(length - at - 1).unwrap_or(u8::MAX),
    };
    let closed = open.into_iter().enumerate();
    closed
        .map(|(at, (instruction, if_true, if_false))| Instruction {
            if_true: close(at, if_true),
            if_false: close(at, if_false),
            ..instruction
        })
        .collect()
}
