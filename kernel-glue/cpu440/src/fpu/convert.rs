//! Conversions: the single format in memory (`lfs`, `stfs`), and doubles to words (`fctiw`).

use ppc440_isa::regs::fpscr;

use super::number::{Class, Exact, Operand};
use super::round::rounds_up;
use super::status;

/// What fills the undefined upper word of a word in an FPR.
const UPPER_WORD: u64 = 0xFFF8_0000_0000_0000;

/// `lfs`: the double that a single in memory stands for; no exception, no status.
///
/// Exact for every number. A NaN keeps its sign, its fraction, and whether it signals.
#[inline]
pub fn single_to_double(bits: u32) -> u64 {
    let sign = u64::from(bits >> 31) << 63;
    let exp = u64::from(bits >> 23 & 0xFF);
    let fraction = u64::from(bits & 0x007F_FFFF);
    let magnitude = match exp {
        0 if fraction == 0 => 0,
        0 => {
            // The value is fraction × 2^-149. Its first 1 goes to bit 52, where it is hidden: the
            // addition carries it into the exponent, which is therefore one too small here.
            let shift = fraction.leading_zeros() - 11;
            (u64::from(1023 - 149 + 52 - shift - 1) << 52) + (fraction << shift)
        }
        0xFF => 0x7FF << 52 | fraction << 29,
        _ => (exp + 1023 - 127) << 52 | fraction << 29,
    };
    sign | magnitude
}

/// `stfs`: the single that a double is stored as; no rounding, no exception, no status.
///
/// The bits are those of Book E's algorithm: what a single can hold is stored exactly, excess
/// fraction is cut off, and a double too large for a single yields an arbitrary single. A double
/// smaller than every single, undefined there, is stored as a zero of its sign.
#[inline]
pub fn double_to_single(bits: u64) -> u32 {
    let exp = (bits >> 52 & 0x7FF) as u32;
    let sign = (bits >> 32) as u32 & 0x8000_0000;
    if exp > 896 {
        return (bits >> 32) as u32 & 0xC000_0000 | (bits >> 29) as u32 & 0x3FFF_FFFF;
    }
    if exp < 874 {
        return sign;
    }
    let fraction = (bits >> 29 & 0x007F_FFFF | 0x0080_0000) as u32;
    sign | fraction >> (897 - exp)
}

/// `fctiw`: FRB as a signed word, rounded in the current mode.
///
/// The word is the low half of the result. Out of range or NaN raises VXCVI and gives the nearest
/// word, the most negative one for a NaN; `None` when that exception is enabled.
pub fn fctiw(fpscr: &mut u32, b: u64) -> Option<u64> {
    let rn = *fpscr & fpscr::RN;
    to_word(fpscr, b, rn)
}

/// `fctiwz`: FRB as a signed word, rounded toward zero; otherwise as [`fctiw`].
pub fn fctiwz(fpscr: &mut u32, b: u64) -> Option<u64> {
    to_word(fpscr, b, 1)
}

/// The magnitude in whole units, saturated above 32 bits, with FI and FR for what was cut off.
fn integer_magnitude(rn: u32, value: &Exact) -> (u64, u32) {
    if value.exp >= 32 {
        return (1 << 32, 0);
    }
    // Bits below the point go to `rest`, its top bit being a half.
    let (kept, rest) = match value.exp {
        0.. => {
            let whole = value.exp as u32 + 1;
            (value.sig >> (64 - whole), value.sig << whole)
        }
        -1 => (0, value.sig),
        _ => (0, u64::from(value.sig != 0)),
    };
    if rest == 0 {
        return (kept, 0);
    }
    if rounds_up(rn, value.sign, kept, rest, 1 << 63) {
        (kept + 1, fpscr::FI | fpscr::FR)
    } else {
        (kept, fpscr::FI)
    }
}

fn to_word(fpscr: &mut u32, b: u64, rn: u32) -> Option<u64> {
    let operand = Operand::new(b);
    let sign = operand.value.sign;
    let (word, raised) = match operand.class {
        Class::Nan if operand.is_signalling() => (i32::MIN, fpscr::VXSNAN | fpscr::VXCVI),
        Class::Nan => (i32::MIN, fpscr::VXCVI),
        Class::Infinite => (if sign { i32::MIN } else { i32::MAX }, fpscr::VXCVI),
        Class::Finite => {
            let (magnitude, rounding) = integer_magnitude(rn, &operand.value);
            let wide = if sign {
                -(magnitude as i64)
            } else {
                magnitude as i64
            };
            match i32::try_from(wide) {
                Ok(word) if rounding != 0 => (word, rounding | fpscr::XX),
                Ok(word) => (word, 0),
                Err(_) => (if sign { i32::MIN } else { i32::MAX }, fpscr::VXCVI),
            }
        }
    };
    let suppressed = status::suppresses_result(*fpscr, raised);
    status::describe_unclassed(fpscr, raised);
    if suppressed {
        return None;
    }
    Some(UPPER_WORD | u64::from(word as u32))
}
