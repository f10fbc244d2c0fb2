//! Arithmetic before rounding: classes of operands, and exact values of sums, products, quotients
//! and roots.

use ppc440_isa::regs::fpscr;

use super::number::{DEFAULT_NAN, Exact, Operand, select_nan};

/// FPSCR[RN]: toward minus infinity.
const TOWARD_MINUS: u32 = 3;

/// The result of an operation whose precision and exponent range are unbounded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// A quiet NaN's bits.
    Nan(u64),
    /// An infinity, negative if true.
    Infinite(bool),
    Finite(Exact),
}

/// An unrounded result and the exceptions found on the way to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) value: Value,
    /// FPSCR bits: causes of an invalid operation, or ZX.
    pub(super) raised: u32,
}

impl Outcome {
    /// The operand itself as a result.
    pub(super) fn of(operand: &Operand) -> Self {
        if let Some(outcome) = Outcome::nan_of([operand]) {
            return outcome;
        }
        if operand.is_infinite() {
            return Outcome::infinite(operand.value.sign);
        }
        Outcome::finite(operand.value)
    }

    /// Drops the part of a NaN's fraction that a single has no room for.
    pub(super) fn truncate_nan_to_single(&mut self) {
        if let Value::Nan(bits) = &mut self.value {
            *bits &= !0x1FFF_FFFF;
        }
    }

    #[inline(always)]
    fn finite(value: Exact) -> Self {
        Outcome {
            value: Value::Finite(value),
            raised: 0,
        }
    }

    #[inline(always)]
    fn zero(sign: bool) -> Self {
        Outcome::finite(Exact {
            sign,
            exp: 0,
            sig: 0,
        })
    }

    #[inline(always)]
    fn infinite(sign: bool) -> Self {
        Outcome {
            value: Value::Infinite(sign),
            raised: 0,
        }
    }

    #[inline(always)]
    fn invalid(raised: u32) -> Self {
        Outcome {
            value: Value::Nan(DEFAULT_NAN),
            raised,
        }
    }

    #[inline(always)]
    fn nan_of<const N: usize>(operands: [&Operand; N]) -> Option<Self> {
        let (bits, raised) = select_nan(operands)?;
        Some(Outcome {
            value: Value::Nan(bits),
            raised,
        })
    }
}

/// A finite value in twice the width: `sig` × 2^(`exp` − 127), otherwise as [`Exact`].
#[derive(Clone, Copy)]
struct Wide {
    sign: bool,
    exp: i32,
    sig: u128,
}

impl From<Exact> for Wide {
    #[inline(always)]
    fn from(value: Exact) -> Self {
        Wide {
            sign: value.sign,
            exp: value.exp,
            sig: u128::from(value.sig) << 64,
        }
    }
}

impl Wide {
    /// `sig` × 2^(`exp` − 127) for any `sig`.
    #[inline(always)]
    fn normalised(sign: bool, exp: i32, sig: u128) -> Self {
        // A zero shifts by 127, not 128, and stays 0.
        let shift = (sig | 1).leading_zeros();
        Wide {
            sign,
            exp: exp - shift as i32,
            sig: sig << shift,
        }
    }

    #[inline(always)]
    fn narrowed(self) -> Exact {
        let below = self.sig as u64 != 0;
        Exact {
            sign: self.sign,
            exp: self.exp,
            sig: (self.sig >> 64) as u64 | u64::from(below),
        }
    }
}

/// `sig` shifted right, bit 0 of the result standing for all that was lost.
#[inline(always)]
fn shift_right_sticky(sig: u128, shift: u32) -> u128 {
    if shift >= 128 {
        return u128::from(sig != 0);
    }
    let shifted = sig >> shift;
    shifted | u128::from(shifted << shift != sig)
}

/// The exact product; both significands leave at least 22 low bits of it 0.
#[inline(always)]
fn product(a: &Exact, c: &Exact) -> Wide {
    let sig = u128::from(a.sig) * u128::from(c.sig);
    Wide::normalised(a.sign != c.sign, a.exp + c.exp + 1, sig)
}

/// The sum of two values, at least one of them not rounded in its low bit.
///
/// Bits are lost only when the exponents differ by more than the zeros below the smaller value,
/// 22 at least. The difference then cancels one bit at most, and bit 0 stays far below any
/// rounding boundary.
#[inline(always)]
fn sum(rn: u32, x: Wide, y: Wide) -> Exact {
    let (large, small) = if (x.exp, x.sig) < (y.exp, y.sig) {
        (y, x)
    } else {
        (x, y)
    };
    let aligned = shift_right_sticky(small.sig, (large.exp - small.exp) as u32);
    if large.sign == small.sign {
        let (sig, carry) = large.sig.overflowing_add(aligned);
        if carry {
            let sig = 1 << 127 | sig >> 1 | sig & 1;
            return Wide {
                sign: large.sign,
                exp: large.exp + 1,
                sig,
            }
            .narrowed();
        }
        return Wide { sig, ..large }.narrowed();
    }
    let sig = large.sig - aligned;
    if sig == 0 {
        return Exact {
            sign: rn == TOWARD_MINUS,
            exp: 0,
            sig: 0,
        };
    }
    Wide::normalised(large.sign, large.exp, sig).narrowed()
}

/// `a` + `b`, or `a` − `b`.
#[inline(always)]
pub(super) fn add(fpscr: u32, a: &Operand, b: &Operand, subtract: bool) -> Outcome {
    if let Some(outcome) = Outcome::nan_of([a, b]) {
        return outcome;
    }
    let b_value = Exact {
        sign: b.value.sign != subtract,
        ..b.value
    };
    match (a.is_infinite(), b.is_infinite()) {
        (false, false) => Outcome::finite(sum(fpscr & fpscr::RN, a.value.into(), b_value.into())),
        (true, true) if a.value.sign != b_value.sign => Outcome::invalid(fpscr::VXISI),
        (true, _) => Outcome::infinite(a.value.sign),
        (false, true) => Outcome::infinite(b_value.sign),
    }
}

/// `a` × `c`.
#[inline(always)]
pub(super) fn multiply(a: &Operand, c: &Operand) -> Outcome {
    if let Some(outcome) = Outcome::nan_of([a, c]) {
        return outcome;
    }
    if a.is_infinite() || c.is_infinite() {
        if a.is_zero() || c.is_zero() {
            return Outcome::invalid(fpscr::VXIMZ);
        }
        return Outcome::infinite(a.value.sign != c.value.sign);
    }
    Outcome::finite(product(&a.value, &c.value).narrowed())
}

/// `a` × `c` + `b`, or `a` × `c` − `b`.
#[inline(always)]
pub(super) fn multiply_add(
    fpscr: u32,
    a: &Operand,
    c: &Operand,
    b: &Operand,
    subtract: bool,
) -> Outcome {
    // An invalid product is reported whatever is then added to it.
    let invalid_product = a.is_infinite() && c.is_zero() || a.is_zero() && c.is_infinite();
    let raised = if invalid_product { fpscr::VXIMZ } else { 0 };
    if let Some(outcome) = Outcome::nan_of([a, b, c]) {
        return Outcome {
            raised: outcome.raised | raised,
            ..outcome
        };
    }
    if invalid_product {
        return Outcome::invalid(raised);
    }
    let b_value = Exact {
        sign: b.value.sign != subtract,
        ..b.value
    };
    if a.is_infinite() || c.is_infinite() {
        let sign = a.value.sign != c.value.sign;
        if b.is_infinite() && b_value.sign != sign {
            return Outcome::invalid(fpscr::VXISI);
        }
        return Outcome::infinite(sign);
    }
    if b.is_infinite() {
        return Outcome::infinite(b_value.sign);
    }
    Outcome::finite(sum(
        fpscr & fpscr::RN,
        product(&a.value, &c.value),
        b_value.into(),
    ))
}

/// `a` ÷ `b`.
#[inline(always)]
pub(super) fn divide(a: &Operand, b: &Operand) -> Outcome {
    if let Some(outcome) = Outcome::nan_of([a, b]) {
        return outcome;
    }
    let sign = a.value.sign != b.value.sign;
    match (a.is_infinite(), b.is_infinite()) {
        (true, true) => return Outcome::invalid(fpscr::VXIDI),
        (true, false) => return Outcome::infinite(sign),
        (false, true) => return Outcome::zero(sign),
        (false, false) => {}
    }
    match (a.is_zero(), b.is_zero()) {
        (true, true) => Outcome::invalid(fpscr::VXZDZ),
        (true, false) => Outcome::zero(sign),
        (false, true) => Outcome {
            value: Value::Infinite(sign),
            raised: fpscr::ZX,
        },
        (false, false) => {
            let dividend = u128::from(a.value.sig) << 63;
            let divisor = u128::from(b.value.sig);
            // Both significands have bit 63 set, so the quotient has bit 62 or 63 as its first.
            let quotient = (dividend / divisor) as u64;
            let inexact = u128::from(quotient) * divisor != dividend;
            let shift = quotient.leading_zeros();
            Outcome::finite(Exact {
                sign,
                exp: a.value.exp - b.value.exp - shift as i32,
                sig: quotient << shift | u64::from(inexact),
            })
        }
    }
}

/// What a root returns without computing one: NaNs, infinities, zeros and negative operands.
#[inline(always)]
fn root_special(b: &Operand) -> Option<Outcome> {
    if let Some(outcome) = Outcome::nan_of([b]) {
        return Some(outcome);
    }
    if b.value.sign && !b.is_zero() {
        return Some(Outcome::invalid(fpscr::VXSQRT));
    }
    (b.is_infinite() || b.is_zero()).then(|| Outcome::of(b))
}

/// √`b`.
#[inline(always)]
pub(super) fn square_root(b: &Operand) -> Outcome {
    if let Some(outcome) = root_special(b) {
        return outcome;
    }
    // An odd exponent gives one factor of two to the significand. The root then has bit 63 set.
    let odd = b.value.exp & 1;
    let radicand = u128::from(b.value.sig) << (63 + odd);
    let root = radicand.isqrt();
    let inexact = root * root != radicand;
    Outcome::finite(Exact {
        sign: false,
        exp: (b.value.exp - odd) / 2,
        sig: root as u64 | u64::from(inexact),
    })
}

/// 1 ÷ √`b`.
pub(super) fn reciprocal_root(b: &Operand) -> Outcome {
    if let Some(special) = root_special(b) {
        return match special.value {
            Value::Nan(_) => special,
            Value::Infinite(sign) => Outcome::zero(sign),
            // Only a zero comes this way.
            Value::Finite(zero) => Outcome {
                value: Value::Infinite(zero.sign),
                raised: fpscr::ZX,
            },
        };
    }
    // b = m × 2^even with m in [1, 4).
    let odd = b.value.exp & 1;
    let half = (b.value.exp - odd) / 2;
    if odd == 0 && b.value.sig == 1 << 63 {
        return Outcome::finite(Exact {
            sign: false,
            exp: -half,
            sig: 1 << 63,
        });
    }
    // Now 1/√m is in (1/2, 1): its first 64 bits are the root of 2^128 ÷ m, divided in two steps
    // because the dividend is 192 bits wide. Only a power of four has an exact reciprocal root.
    let divisor = u128::from(b.value.sig);
    let dividend = 1_u128 << (127 - odd);
    let (high, rest) = (dividend / divisor, dividend % divisor);
    let quotient = (high << 64) + (rest << 64) / divisor;
    Outcome::finite(Exact {
        sign: false,
        exp: -half - 1,
        sig: quotient.isqrt() as u64 | 1,
    })
}
