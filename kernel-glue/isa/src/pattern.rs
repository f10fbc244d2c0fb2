//! The bit strings of the instruction table: parsed and compared while compiling.

/// One row's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Ones where a bit is fixed.
    pub(crate) mask: u32,
    /// The fixed bits' values; 0 elsewhere.
    pub(crate) value: u32,
    /// Ones where a bit belongs to an operand.
    pub(crate) operands: u32,
}

/// Why a bit string is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatternError {
    /// A character other than `0`, `1`, `-`, a space or a lower-case letter.
    Character,
    /// More or fewer than 32 bits.
    Length,
    /// The primary opcode, bits 0-5, is not fixed.
    Primary,
}

impl Pattern {
    /// Parses 32 bits from the most significant end; spaces only group.
    pub(crate) const fn parse(bits: &str) -> Result<Pattern, PatternError> {
        let bits = bits.as_bytes();
        let mut pattern = Pattern {
            mask: 0,
            value: 0,
            operands: 0,
        };
        let mut length = 0;
        let mut i = 0;
        while i < bits.len() {
            let (fixed, one, operand) = match bits[i] {
                b' ' => {
                    i += 1;
                    continue;
                }
                b'0' => (1, 0, 0),
                b'1' => (1, 1, 0),
                b'-' => (0, 0, 0),
                b'a'..=b'z' => (0, 0, 1),
                _ => return Err(PatternError::Character),
            };
            pattern.mask = pattern.mask << 1 | fixed;
            pattern.value = pattern.value << 1 | one;
            pattern.operands = pattern.operands << 1 | operand;
            length += 1;
            i += 1;
        }
        if length != 32 {
            Err(PatternError::Length)
        } else if pattern.mask >> 26 != 0x3F {
            Err(PatternError::Primary)
        } else {
            Ok(pattern)
        }
    }

    /// [`parse`](Pattern::parse) for a table row: a malformed row does not compile.
    pub(crate) const fn of_row(bits: &str) -> Pattern {
        match Pattern::parse(bits) {
            Ok(pattern) => pattern,
            Err(PatternError::Character) => panic!("a row's bits hold a character without meaning"),
            Err(PatternError::Length) => panic!("a row does not have 32 bits"),
            Err(PatternError::Primary) => panic!("a row's primary opcode is not fixed"),
        }
    }

    /// Whether some word matches both patterns.
    pub(crate) const fn overlaps(self, other: Pattern) -> bool {
        (self.value ^ other.value) & self.mask & other.mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, PatternError};

    #[test]
    fn digits_are_fixed_letters_are_operands_and_dashes_neither() {
        let parsed = Pattern::parse("011111 sssss aaaaa ----- 0010000011 1");
        let expected = Pattern {
            mask: 0xFC00_07FF,
            value: 0x7C00_0107,
            operands: 0x03FF_0000,
        };
        assert_eq!(parsed, Ok(expected));
    }

    #[test]
    fn malformed_bits_are_refused() {
        let parse = Pattern::parse;
        assert_eq!(parse("011111"), Err(PatternError::Length));
        assert_eq!(
            parse("011111 sssss aaaaa ----- 0010000011 11"),
            Err(PatternError::Length)
        );
        assert_eq!(
            parse("011111 sssss aaaaa ----- 0010000011 2"),
            Err(PatternError::Character)
        );
        assert_eq!(
            parse("011111 SSSSS aaaaa ----- 0010000011 1"),
            Err(PatternError::Character)
        );
        assert_eq!(
            parse("01111- sssss aaaaa ----- 0010000011 1"),
            Err(PatternError::Primary)
        );
    }

    #[test]
    #[should_panic(expected = "32 bits")]
    fn a_short_row_does_not_evaluate() {
        Pattern::of_row("011111 sssss");
    }

    #[test]
    fn patterns_overlap_when_one_word_matches_both() {
        let stwcx = Pattern::of_row("011111 sssss aaaaa bbbbb 0010010110 1");
        let record = Pattern::of_row("011111 sssss aaaaa bbbbb 0010010110 r");
        let plain = Pattern::of_row("011111 sssss aaaaa bbbbb 0010010110 0");
        let any = Pattern::of_row("011111 sssss aaaaa bbbbb ccccc 10110 -");
        assert!(stwcx.overlaps(stwcx) && stwcx.overlaps(record) && record.overlaps(stwcx));
        assert!(stwcx.overlaps(any) && any.overlaps(plain));
        assert!(!stwcx.overlaps(plain) && !plain.overlaps(stwcx));
    }
}
