//! Numbers as decimal fractions, exactly as they are written: 1 and 1.0 are one number, and 0.3 is a multiple of 0.1.

use std::cmp::Ordering;

use serde_json::Number;

/// `digits` times ten to the power of `exponent`; `digits` is no multiple of ten, but for zero, which has the exponent 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Decimal {
    digits: i128,
    exponent: i32,
}

impl Decimal {
    /// The decimal of a JSON number; none when it has more digits than any of our numbers can have.
    pub(super) fn of(number: &Number) -> Option<Self> {
        let text = number.to_string();
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text.as_str(), 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let n_fraction = i32::try_from(fraction.len()).ok()?;
        Some(Self::normal(digits, exponent.checked_sub(n_fraction)?))
    }

    fn normal(mut digits: i128, mut exponent: i32) -> Self {
        if digits == 0 {
            return Self {
                digits,
                exponent: 0,
            };
        }
        while digits % 10 == 0 {
            digits /= 10;
            exponent = exponent.saturating_add(1);
        }
        Self { digits, exponent }
    }

    pub(super) fn is_integer(self) -> bool {
        self.exponent >= 0
    }

    pub(super) fn is_positive(self) -> bool {
        self.digits > 0
    }

    /// The number as a count; none when it is no whole number from 0, or too large for one.
    pub(super) fn to_count(self) -> Option<u64> {
        let n_zeros = u64::try_from(self.exponent).ok()?;
        u64::try_from(scaled(self.digits, n_zeros)?).ok()
    }

    /// Whether this is a multiple of `unit`, which is positive.
    pub(super) fn is_multiple_of(self, unit: Self) -> bool {
        if self.digits == 0 {
            return true;
        }
        let shift = i64::from(self.exponent) - i64::from(unit.exponent);
        let Ok(n_zeros) = u64::try_from(shift) else {
            // The unit ends further to the left: this has digits that no multiple of it has.
            return scaled(unit.digits, shift.unsigned_abs())
                .is_some_and(|unit| self.digits % unit == 0);
        };
        let (Ok(unit), digits) = (u128::try_from(unit.digits), self.digits.unsigned_abs()) else {
            return false;
        };
        let mut rest = digits % unit;
        for _ in 0..n_zeros {
            match rest.checked_mul(10) {
                Some(product) => rest = product % unit,
                None => return false,
            }
            if rest == 0 {
                return true;
            }
        }
        rest == 0
    }
}

/// `digits` with so many zeros; none when there is no room for them.
fn scaled(digits: i128, n_zeros: u64) -> Option<i128> {
    let power = 10_i128.checked_pow(u32::try_from(n_zeros).ok()?)?;
    digits.checked_mul(power)
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_sign = self.digits.signum().cmp(&other.digits.signum());
        if by_sign != Ordering::Equal || self.digits == 0 {
            return by_sign;
        }
        let shift = i64::from(self.exponent) - i64::from(other.exponent);
        let n_zeros = shift.unsigned_abs();
        let larger = match self.digits > 0 {
            true => Ordering::Greater,
            false => Ordering::Less,
        };
        // What has no room for its zeros is further from zero than anything that has room.
        match shift >= 0 {
            true => scaled(self.digits, n_zeros).map_or(larger, |own| own.cmp(&other.digits)),
            false => scaled(other.digits, n_zeros)
                .map_or(larger.reverse(), |their| self.digits.cmp(&their)),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
