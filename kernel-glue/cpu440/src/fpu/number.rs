//! What the bits of a double mean: class, sign, exponent and significand; and NaN selection.

use ppc440_isa::regs::fpscr;

pub(super) const SIGN: u64 = 1 << 63;
const FRACTION: u64 = (1 << 52) - 1;
pub(super) const INFINITY: u64 = 0x7FF0_0000_0000_0000;
/// The fraction bit that tells a quiet NaN from a signalling one.
const QUIET: u64 = 1 << 51;
/// The NaN that an invalid operation without a NaN operand returns.
pub(super) const DEFAULT_NAN: u64 = INFINITY | QUIET;

/// An exponent below every sum of two real ones, so that a zero sorts below every number.
const ZERO_EXPONENT: i32 = -100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A zero or a number.
    Finite,
    Infinite,
    Nan,
}

/// A finite value before rounding: `sig` × 2^(`exp` − 63).
///
/// Bit 63 of `sig` is set, or `sig` is 0. Bit 0 stands for itself and for all that lies below it:
/// an odd `sig` may be anywhere strictly between its two even neighbours. No rounding boundary is
/// odd, so rounding such a value is rounding the true one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact {
    pub(super) sign: bool,
    pub(super) exp: i32,
    pub(super) sig: u64,
}

/// A register's double taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) bits: u64,
    pub(super) class: Class,
    /// Magnitude only when finite, sign always.
    pub(super) value: Exact,
}

/// 1.0.
pub(super) const ONE: Operand = Operand {
    bits: 0x3FF0_0000_0000_0000,
    class: Class::Finite,
    value: Exact {
        sign: false,
        exp: 0,
        sig: 1 << 63,
    },
};

impl Operand {
    #[inline(always)]
    pub(super) fn new(bits: u64) -> Self {
        let sign = bits & SIGN != 0;
        let biased = (bits >> 52 & 0x7FF) as i32;
        let fraction = bits & FRACTION;
        let (class, exp, sig) = match biased {
            0 if fraction == 0 => (Class::Finite, ZERO_EXPONENT, 0),
            0 => {
                let shift = fraction.leading_zeros();
                (Class::Finite, 63 - 1074 - shift as i32, fraction << shift)
            }
            0x7FF if fraction == 0 => (Class::Infinite, 0, 0),
            0x7FF => (Class::Nan, 0, 0),
            _ => (Class::Finite, biased - 1023, (fraction | 1 << 52) << 11),
        };
        Operand {
            bits,
            class,
            value: Exact { sign, exp, sig },
        }
    }

    #[inline(always)]
    pub(super) fn is_zero(&self) -> bool {
        self.class == Class::Finite && self.value.sig == 0
    }

    #[inline(always)]
    pub(super) fn is_infinite(&self) -> bool {
        self.class == Class::Infinite
    }

    #[inline(always)]
    pub(super) fn is_nan(&self) -> bool {
        self.class == Class::Nan
    }

    #[inline(always)]
    pub(super) fn is_signalling(&self) -> bool {
        self.is_nan() && self.bits & QUIET == 0
    }
}

/// The first NaN of `operands`, made quiet, and VXSNAN if any of them is a signalling one.
///
/// Operands come in the order of preference: FRA, FRB, FRC.
#[inline(always)]
pub(super) fn select_nan<const N: usize>(operands: [&Operand; N]) -> Option<(u64, u32)> {
    let nan = operands.iter().find(|operand| operand.is_nan())?;
    let signalling = operands.iter().any(|operand| operand.is_signalling());
    Some((nan.bits | QUIET, if signalling { fpscr::VXSNAN } else { 0 }))
}
