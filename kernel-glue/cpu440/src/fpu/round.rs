//! The last step of every arithmetic instruction: rounding to the target format, overflow and
//! underflow, and the FPSCR bits that describe the result (Book E, sections 5.4 and 5.5).

use ppc440_isa::regs::fpscr;

use super::exact::{Outcome, Value};
use super::number::{Exact, INFINITY, SIGN};
use super::status::{self, Fprf};

/// The precision and range that a result is rounded to.
pub(super) trait Format {
    /// Bits of the significand.
    const PRECISION: u32;
    /// The exponent of the smallest normal number.
    const EXP_MIN: i32;
    /// The exponent of the largest number.
    const EXP_MAX: i32;
    /// What an enabled overflow subtracts from the exponent, and an enabled underflow adds.
    const ADJUST: i32;
}

pub(super) struct Double;
pub(super) struct Single;

impl Format for Double {
    const PRECISION: u32 = 53;
    const EXP_MIN: i32 = -1022;
    const EXP_MAX: i32 = 1023;
    const ADJUST: i32 = 1536;
}

impl Format for Single {
    const PRECISION: u32 = 24;
    const EXP_MIN: i32 = -126;
    const EXP_MAX: i32 = 127;
    const ADJUST: i32 = 192;
}

/// Whether to add one to the kept part of a magnitude; `rest` is what was cut off, `half` its
/// middle.
#[inline(always)]
pub(super) fn rounds_up(rn: u32, sign: bool, kept: u64, rest: u64, half: u64) -> bool {
    match rn {
        0 => rest > half || rest == half && kept & 1 != 0,
        1 => false,
        2 => !sign && rest != 0,
        _ => sign && rest != 0,
    }
}

/// A rounded number in double format and the FPSCR bits that go with it.
struct Rounded {
    bits: u64,
    /// OX, UX, XX, FR and FI.
    raised: u32,
    fprf: Fprf,
}

/// Rounds to `F`; `negate` turns the sign of the rounded result.
#[inline(always)]
fn round<F: Format>(fpscr: u32, value: &Exact, negate: bool) -> Rounded {
    let negative = value.sign != negate;
    let sign = if negative { SIGN } else { 0 };
    if value.sig == 0 {
        return Rounded {
            bits: sign,
            raised: 0,
            fprf: Fprf::zero(negative),
        };
    }
    let mut raised = 0;
    let mut exp = value.exp;
    let mut sig = value.sig;
    // Tiny is decided before rounding.
    let tiny = exp < F::EXP_MIN;
    if tiny {
        if fpscr & fpscr::UE != 0 {
            raised |= fpscr::UX;
            exp += F::ADJUST;
        } else {
            let shift = (F::EXP_MIN - exp) as u32;
            sig = if shift >= 64 {
                1
            } else {
                let shifted = sig >> shift;
                shifted | u64::from(shifted << shift != sig)
            };
            exp = F::EXP_MIN;
        }
    }

    let cut = 64 - F::PRECISION;
    let rest = sig & ((1 << cut) - 1);
    let mut kept = sig >> cut;
    if rest != 0 {
        raised |= fpscr::FI | fpscr::XX;
        if tiny {
            raised |= fpscr::UX;
        }
        if rounds_up(fpscr & fpscr::RN, value.sign, kept, rest, 1 << (cut - 1)) {
            raised |= fpscr::FR;
            kept += 1;
            if kept >> F::PRECISION != 0 {
                kept >>= 1;
                exp += 1;
            }
        }
    }

    if exp > F::EXP_MAX {
        raised |= fpscr::OX;
        if fpscr & fpscr::OE == 0 {
            return overflowed::<F>(fpscr, value.sign, negative, raised);
        }
        exp -= F::ADJUST;
    }
    let normal = kept >> (F::PRECISION - 1) != 0;
    let fprf = if normal {
        Fprf::normal(negative)
    } else if kept != 0 {
        Fprf::denormal(negative)
    } else {
        Fprf::zero(negative)
    };
    Rounded {
        bits: sign | pack::<F>(exp, kept),
        raised,
        fprf,
    }
}

/// An overflow that is not enabled: the infinity or the largest number, by the rounding mode.
#[cold]
fn overflowed<F: Format>(fpscr: u32, sign: bool, negative: bool, raised: u32) -> Rounded {
    let infinite = rounds_up(fpscr & fpscr::RN, sign, 1, 1, 0);
    let raised = raised & !fpscr::FR | fpscr::XX | fpscr::FI;
    let sign = if negative { SIGN } else { 0 };
    if infinite {
        let raised = raised | fpscr::FR;
        return Rounded {
            bits: sign | INFINITY,
            raised,
            fprf: Fprf::infinite(negative),
        };
    }
    let largest = pack::<F>(F::EXP_MAX, (1 << F::PRECISION) - 1);
    Rounded {
        bits: sign | largest,
        raised,
        fprf: Fprf::normal(negative),
    }
}

/// The magnitude `kept` × 2^(`exp` − PRECISION + 1) in double format.
#[inline(always)]
fn pack<F: Format>(exp: i32, kept: u64) -> u64 {
    let mut exp = exp;
    let mut sig = kept << (53 - F::PRECISION);
    if F::EXP_MIN > Double::EXP_MIN {
        // A denormal single is a normal double.
        if sig == 0 {
            return 0;
        }
        let shift = sig.leading_zeros() - 11;
        sig <<= shift;
        exp -= shift as i32;
        // Only a wrapped exponent of operands that are no singles goes beyond this.
        exp = exp.clamp(Double::EXP_MIN, Double::EXP_MAX);
    }
    // Bit 52 of the significand adds one to the exponent; a denormal double has none.
    (((exp - Double::EXP_MIN) as u64) << 52) + sig
}

#[inline(always)]
fn deliver<F: Format>(
    fpscr: &mut u32,
    outcome: &Outcome,
    negate: bool,
    reported: u32,
) -> Option<u64> {
    if outcome.raised != 0 && status::suppresses_result(*fpscr, outcome.raised) {
        status::describe_unclassed(fpscr, outcome.raised);
        return None;
    }
    let rounded = match outcome.value {
        Value::Finite(exact) => round::<F>(*fpscr, &exact, negate),
        Value::Infinite(sign) => {
            let negative = sign != negate;
            let sign = if negative { SIGN } else { 0 };
            Rounded {
                bits: sign | INFINITY,
                raised: 0,
                fprf: Fprf::infinite(negative),
            }
        }
        Value::Nan(bits) => Rounded {
            bits,
            raised: 0,
            fprf: Fprf::QUIET_NAN,
        },
    };
    status::describe(
        fpscr,
        (outcome.raised | rounded.raised) & reported,
        rounded.fprf,
    );
    Some(rounded.bits)
}

/// Rounds an outcome to `F`, updates the FPSCR, and returns what goes to FRT.
///
/// `negate` negates the rounded result unless it is a NaN.
#[inline(always)]
pub(super) fn finish<F: Format>(fpscr: &mut u32, outcome: &Outcome, negate: bool) -> Option<u64> {
    deliver::<F>(fpscr, outcome, negate, !0)
}

/// [`finish`] for the estimates, which report neither an inexact result nor its rounding.
#[inline(always)]
pub(super) fn finish_estimate<F: Format>(fpscr: &mut u32, outcome: &Outcome) -> Option<u64> {
    deliver::<F>(fpscr, outcome, false, !(fpscr::XX | fpscr::FR | fpscr::FI))
}
