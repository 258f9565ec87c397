//! Signals by number, 1 to 64: their names, sets of them, and what each one is turned into.
//!
//! Never does: send or take one.

use nix::libc;

/// The largest number (signal(7)).
pub(super) const LAST: i32 = 64;

/// The first real-time signal that programs may use; the C library keeps 32 and 33 (signal(7)).
const FIRST_REAL_TIME: i32 = 34;

/// Names of the signals 1 to 31, in order, as x86 and ARM have them.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Signals that no process can catch, and the one that tells of children.
const NEVER_PASSED_ON: [i32; 3] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD];

/// The set of these signals; bit n-1 stands for signal n.
pub(super) const fn set_of(signals: &[i32]) -> u64 {
    let mut set = 0;
    let mut rest = signals;
    while let [signal, others @ ..] = rest {
        set |= 1 << (*signal - 1);
        rest = others;
    }
    set
}

/// Whether a signal is in the set.
pub(super) fn has(set: u64, signal: i32) -> bool {
    (1..=LAST).contains(&signal) && set & set_of(&[signal]) != 0
}

/// Reads a signal: 15, TERM, SIGTERM, RTMIN+3 or RTMAX-1, in any case of letters.
pub(super) fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        return (is_plain && (1..=LAST).contains(&number)).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(place) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(place + 1).ok();
    }
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        _ => text.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => FIRST_REAL_TIME.checked_add(offset(rest, '+')?)?,
        (None, Some(rest)) => LAST.checked_sub(offset(rest, '-')?)?,
        (None, None) => return None,
    };
    (FIRST_REAL_TIME..=LAST).contains(&number).then_some(number)
}

/// What each signal is turned into before it is passed on.
#[derive(Debug, Clone)]
pub(super) struct Rewrites([i32; LAST as usize + 1]);

impl Rewrites {
    /// Every signal stays what it is.
    pub(super) fn none() -> Self {
        let mut targets = [0; LAST as usize + 1];
        for (signal, target) in (0..).zip(&mut targets) {
            *target = signal;
        }
        Self(targets)
    }

    /// Turns `from` into `to`; 0 drops it.
    pub(super) fn set(&mut self, from: i32, to: i32) {
        if let Some(target) = usize::try_from(from)
            .ok()
            .and_then(|from| self.0.get_mut(from))
        {
            *target = to;
        }
    }

    /// What is passed on for a signal; none when it is dropped.
    pub(super) fn of(&self, signal: i32) -> Option<i32> {
        let place = usize::try_from(signal).ok()?;
        self.0.get(place).copied().filter(|target| *target != 0)
    }
}

/// Whether a signal is of no use to a workload from outside: it cannot be caught, or tells of its own children.
pub(super) fn is_never_passed_on(signal: i32) -> bool {
    NEVER_PASSED_ON.contains(&signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_number_and_by_name() {
        for (text, expected) in [
            ("15", Some(15)),
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigusr1", Some(10)),
            ("SYS", Some(31)),
            ("RTMIN", Some(34)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("64", Some(64)),
            ("0", None),
            ("65", None),
            ("+5", None),
            ("-1", None),
            ("", None),
            ("SIG", None),
            ("RTMIN+31", None),
            ("RTMAX+1", None),
            ("RTMIN-1", None),
            ("RTMIN+99999999999", None),
            ("NOPE", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
        for signal in 1..=31 {
            let name = nix::sys::signal::Signal::try_from(signal).expect("a signal");
            assert_eq!(parse(name.as_str()), Some(signal), "{name}");
        }
    }

    #[test]
    fn a_rewrite_of_one_signal_changes_no_other() {
        let mut rewrites = Rewrites::none();
        rewrites.set(15, 3);
        rewrites.set(2, 0);
        for signal in 1..=LAST {
            let expected = match signal {
                15 => Some(3),
                2 => None,
                _ => Some(signal),
            };
            assert_eq!(rewrites.of(signal), expected);
        }
        assert_eq!(
            (rewrites.of(0), rewrites.of(65), rewrites.of(-1)),
            (None, None, None)
        );
    }

    #[test]
    fn sets_hold_what_they_are_made_of() {
        let set = set_of(&[1, 15, 64]);
        let held: Vec<i32> = (-1..=66).filter(|signal| has(set, *signal)).collect();
        assert_eq!(held, [1, 15, 64]);
    }
}
