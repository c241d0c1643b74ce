//! Amounts of resources, as Kubernetes writes them.

use std::fmt;
use std::ops::Add;

/// An amount of a resource, such as `500m` or `64Mi`, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Amount(i128);

/// Billionths in one.
const ONE: i128 = 1_000_000_000;

/// Number of decimal digits of [`ONE`].
const DIGITS: usize = 9;

/// The suffixes of amounts with their factors, in billionths.
const SUFFIXES: [(&str, i128); 16] = [
    ("", ONE),
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("k", ONE * 1_000),
    ("M", ONE * 1_000_000),
    ("G", ONE * 1_000_000_000),
    ("T", ONE * 1_000_000_000_000),
    ("P", ONE * 1_000_000_000_000_000),
    ("E", ONE * 1_000_000_000_000_000_000),
    ("Ki", ONE << 10),
    ("Mi", ONE << 20),
    ("Gi", ONE << 30),
    ("Ti", ONE << 40),
    ("Pi", ONE << 50),
    ("Ei", ONE << 60),
];

impl Amount {
    /// Returns a count.
    pub(super) fn count(count: usize) -> Self {
        Self(i128::try_from(count).unwrap_or(i128::MAX).saturating_mul(ONE))
    }

    /// Reads an amount. `None` if Kubernetes would not accept it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() {
            return None;
        }
        // No factor has more than 9 digits below one, so that a longer fraction is below any amount.
        let part = part.get(..DIGITS).unwrap_or(part);
        let digits: i128 = format!("{whole}{part}").parse().ok()?;
        let factor = factor(suffix)?;
        let divisor = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
        Some(Self(digits.checked_mul(factor)?.checked_add(divisor - 1)? / divisor))
    }

    /// Returns this amount so many times.
    pub(super) fn times(self, count: usize) -> Self {
        Self(self.0.saturating_mul(i128::try_from(count).unwrap_or(i128::MAX)))
    }

    /// Returns how often another amount fits, rounded up. `None` if the other amount is zero.
    pub(super) fn ratio(self, other: Self) -> Option<Self> {
        let scaled = self.0.checked_mul(ONE)?.checked_add(other.0.checked_sub(1)?)?;
        scaled.checked_div(other.0).map(Self)
    }
}

/// Returns the factor of a suffix: one of the units, or an exponent of 10.
fn factor(suffix: &str) -> Option<i128> {
    if let Some((_, factor)) = SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        return Some(*factor);
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    if exponent < 0 { Some((ONE / power).max(1)) } else { ONE.checked_mul(power) }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(amount) = self;
        let units = [("Gi", ONE << 30), ("Mi", ONE << 20), ("", ONE), ("m", ONE / 1_000), ("n", 1)];
        let (suffix, unit) =
            units.into_iter().find(|(_, unit)| amount % unit == 0 && *amount >= *unit).unwrap_or(("", ONE));
        write!(f, "{}{suffix}", amount / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn amounts_are_read_as_kubernetes_does() {
        let parsed = |text: &str| Amount::parse(text).map(|amount| amount.to_string());
        for (text, expected) in [
            ("4", "4"),
            ("500m", "500m"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            ("2000m", "2"),
            ("64Mi", "64Mi"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1000"),
            ("1E", "1000000000000000000"),
            ("100M", "100000000"),
            ("0", "0"),
            ("1u", "1000n"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["", "Mi", "1 Mi", "-1", "1x", "e3"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_are_compared_and_added_exactly() {
        let amount = |text: &str| Amount::parse(text).unwrap();
        assert!(amount("5m").times(3) + amount("985m") <= amount("1"));
        assert!(amount("5m").times(3) + amount("986m") > amount("1"));
        assert_eq!(amount("500m").ratio(amount("5m")), Some(Amount::count(100)));
        assert!(amount("500m").ratio(amount("3m")) > Some(Amount::count(166)));
        assert_eq!(amount("1").ratio(Amount::count(0)), None);
    }
}
