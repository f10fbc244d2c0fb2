//! Amounts of guest RAM.

use std::fmt;
use std::str::FromStr;

/// An amount of guest RAM in bytes; written as a number with K, M or G, in powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(u64);

/// The text is not an amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// The text is not a number.
    #[error("`{0}` is not a number with a unit; write for example 256M or 1G")]
    Number(String),
    /// The number could mean bytes or megabytes.
    #[error("`{0}` has no unit; write {0}M for mebibytes, or {0}K or {0}G")]
    NoUnit(String),
    /// The letters are not a unit.
    #[error("`{0}` is not a unit of memory; use K, M or G")]
    Unit(String),
    /// The amount does not fit 64 bits.
    #[error("`{0}` is more memory than a number can hold; the board takes at most 1G")]
    TooLarge(String),
}

impl MemorySize {
    /// Makes an amount of so many bytes; whether the board can hold them is checked when the
    /// machine is built.
    pub const fn from_bytes(bytes: u64) -> Self {
        MemorySize(bytes)
    }

    /// The amount in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for MemorySize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(SizeError::Number(text.into()));
        }
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" => return Err(SizeError::NoUnit(number.into())),
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return Err(SizeError::Unit(unit.into())),
        };
        let too_large = || SizeError::TooLarge(text.into());
        let number: u64 = number.parse().map_err(|_| too_large())?;
        number
            .checked_mul(1 << shift)
            .map(MemorySize)
            .ok_or_else(too_large)
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_powers_of_1024() {
        for (text, bytes) in [
            ("64M", 64 << 20),
            ("256m", 256 << 20),
            ("1G", 1 << 30),
            ("1GiB", 1 << 30),
            ("4096K", 4 << 20),
            ("0M", 0),
        ] {
            assert_eq!(text.parse(), Ok(MemorySize(bytes)), "{text}");
        }
        assert_eq!(MemorySize(144 << 20).to_string(), "144M");
        assert_eq!(MemorySize(1 << 30).to_string(), "1G");
        assert_eq!(MemorySize(1000).to_string(), "1000 bytes");
    }

    #[test]
    fn what_is_no_size_is_refused_with_a_remedy() {
        for (text, part) in [
            ("", "is not a number"),
            ("M", "is not a number"),
            ("-1M", "is not a number"),
            ("256", "write 256M"),
            ("256Q", "`Q` is not a unit"),
            ("1.5G", "is not a unit"),
            ("99999999999999999999G", "at most 1G"),
            ("99999999999999999G", "at most 1G"),
        ] {
            let error = text.parse::<MemorySize>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
