//! The limits of the workload: `limits.*`.
//!
//! It reads and bounds them; what holds each of them on a host is found when the sandbox is built.

use std::ops::RangeInclusive;

use super::checker::{Checker, Unit, plain_text};
use super::error::ErrorKind;
use super::settings::Limits;
use super::value::{Given, Value};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The least memory: less does not hold an interpreter and the files that it reads.
const MIN_MEMORY_BYTES: u64 = 16 * MIB;
/// Processes and threads where nobody says how many.
const DEFAULT_PIDS: u64 = 1_024;
/// The least and most processors, in thousandths: the kernel's least quota is a hundredth.
const CPU_MILLIS: RangeInclusive<u32> = 10..=1_024_000;

impl Checker<'_> {
    pub(super) fn limits(&mut self) -> Limits {
        let bytes = Unit::Bytes;
        let pids = self.number("limits.pids", Unit::Count, 1..=1_000_000, DEFAULT_PIDS);
        Limits {
            output_bytes: self.number("limits.output", bytes, KIB..=TIB, GIB),
            memory_bytes: self.number("limits.memory", bytes, MIN_MEMORY_BYTES..=16 * TIB, 2 * GIB),
            swap_bytes: self.number("limits.swap", bytes, 0..=16 * TIB, 0),
            pids: u32::try_from(pids).unwrap_or(u32::MAX),
            cpu_millis: self.cpu_millis(),
            disk_bytes: self.disk_bytes(),
        }
    }

    fn disk_bytes(&mut self) -> Option<u64> {
        let disk = self.number("limits.disk", Unit::Bytes, 0..=16 * TIB, 0);
        (disk > 0).then_some(disk)
    }

    /// Processors in thousandths; none for all that there are.
    fn cpu_millis(&mut self) -> Option<u32> {
        let (key, given) = self.take("limits.cpus")?;
        let kind = match thousandths(&given) {
            Some(millis) if CPU_MILLIS.contains(&millis) => return Some(millis),
            Some(_) => ErrorKind::OutOfBounds,
            None => ErrorKind::Invalid,
        };
        self.faults.add_by_table(kind, key, &given);
        None
    }
}

/// A decimal number with at most three places, in thousandths. Nothing is rounded.
fn thousandths(given: &Given) -> Option<u32> {
    let text = match &given.value {
        Value::Integer(integer) => integer.to_string(),
        Value::OtherNumber(number) => number.clone(),
        Value::Text(_) => plain_text(given)?.to_owned(),
        Value::Bool(_) | Value::List(_) | Value::Table(_) | Value::Null => return None,
    };
    let (whole, places) = text.split_once('.').unwrap_or((&text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(places) || places.len() > 3 {
        return None;
    }
    // What is too large for the type is out of bounds as well.
    let whole = whole.parse().unwrap_or(u32::MAX);
    let places: u32 = format!("{places:0<3}").parse().ok()?;
    Some(whole.saturating_mul(1_000).saturating_add(places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::origin::Origin;

    #[test]
    fn processors_are_read_to_the_thousandth_and_never_rounded() {
        for (text, expected) in [
            ("1", Some(1_000)),
            ("1.5", Some(1_500)),
            ("0.25", Some(250)),
            ("0.001", Some(1)),
            ("2.000", Some(2_000)),
            ("0.3333", None),
            ("1.", None),
            (".5", None),
            ("-1", None),
            ("1e3", None),
            ("two", None),
            ("99999999999", Some(u32::MAX)),
        ] {
            let given = Given::text(text, Origin::Unset);
            assert_eq!(thousandths(&given), expected, "{text:?}");
        }
    }
}
