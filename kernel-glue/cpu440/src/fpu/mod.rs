//! The 440EP's floating-point unit: Book E arithmetic as pure functions over register bits.
//!
//! An FPR is a `u64`, the bits of a double; the FPSCR is a `u32` laid out as in
//! [`ppc440_isa::regs::fpscr`]. Nothing here depends on the host's floating point: significands
//! are integers, so results, FR, FI and every exception bit are exact in all four rounding modes,
//! denormals included. Book E (Version 1.0, chapter 5) is the reference.
//!
//! | File | Holds |
//! |---|---|
//! | `mod.rs` | one function per arithmetic instruction |
//! | `number.rs` | what the bits of an operand mean, which NaN an operation returns |
//! | `exact.rs` | sums, products, quotients and roots before rounding |
//! | `round.rs` | rounding to single or double, overflow and underflow, the result's FPSCR bits |
//! | `compare.rs` | `fcmpu`, `fcmpo`, `fsel` |
//! | `convert.rs` | `lfs` and `stfs` formats, `fctiw`, `fctiwz` |
//! | `status.rs` | FPSCR summaries and the instructions that move FPSCR bits |
//!
//! # Conventions
//! An arithmetic function returns the value for FRT, or `None` when an enabled invalid operation
//! or zero divide leaves FRT as it was. It has updated the FPSCR either way; whether an enabled
//! exception now stands is [`fex`]. Operands come in the manual's assembler order: FRA, FRC, FRB.
//! `fmr`, `fneg`, `fabs` and `fnabs` only touch the sign bit and no status; they need nothing from
//! here.
//!
//! # Where Book E leaves a choice
//! - `fres` returns the reciprocal correctly rounded to single, `frsqrte` the reciprocal root
//!   correctly rounded to double, both in the current mode; FR and FI, undefined after them, are
//!   0, and XX is never touched.
//! - FR, undefined after an overflow that is not enabled, tells whether the result is an infinity.
//! - FPRF, undefined after `fctiw` and `fctiwz`, keeps its value; the upper word of their result
//!   is `0xFFF8_0000`.
//! - Single-precision forms take any double as operand and round the exact result once. Such
//!   operands can leave a wrapped exponent (OE or UE set) outside the double range: it is clamped
//!   to the nearest normal one.
//! - A NaN operand passes through a single-precision form with its whole fraction; only `frsp`
//!   truncates it.
//! - NI has no effect: arithmetic is IEEE 754 with either value.

mod compare;
mod convert;
mod exact;
mod number;
mod round;
mod status;

pub use compare::{fcmpo, fcmpu, fsel};
pub use convert::{double_to_single, fctiw, fctiwz, single_to_double};
pub use status::{fex, mcrfs, mtfsb0, mtfsb1, mtfsf, mtfsfi};

use exact::Outcome;
use number::{ONE, Operand};
use round::{Double, Format, Single};

/// What a multiply-add does with FRB and with its own result.
struct Signs {
    /// Subtract FRB from the product.
    subtract: bool,
    /// Negate the rounded result.
    negate: bool,
}

#[inline(always)]
fn add<F: Format>(fpscr: &mut u32, a: u64, b: u64, subtract: bool) -> Option<u64> {
    let outcome = exact::add(*fpscr, &Operand::new(a), &Operand::new(b), subtract);
    round::finish::<F>(fpscr, &outcome, false)
}

#[inline(always)]
fn multiply<F: Format>(fpscr: &mut u32, a: u64, c: u64) -> Option<u64> {
    let outcome = exact::multiply(&Operand::new(a), &Operand::new(c));
    round::finish::<F>(fpscr, &outcome, false)
}

#[inline(always)]
fn divide<F: Format>(fpscr: &mut u32, a: u64, b: u64) -> Option<u64> {
    let outcome = exact::divide(&Operand::new(a), &Operand::new(b));
    round::finish::<F>(fpscr, &outcome, false)
}

#[inline(always)]
fn square_root<F: Format>(fpscr: &mut u32, b: u64) -> Option<u64> {
    let outcome = exact::square_root(&Operand::new(b));
    round::finish::<F>(fpscr, &outcome, false)
}

#[inline(always)]
fn multiply_add<F: Format>(fpscr: &mut u32, a: u64, c: u64, b: u64, signs: Signs) -> Option<u64> {
    let (a, c, b) = (Operand::new(a), Operand::new(c), Operand::new(b));
    let outcome = exact::multiply_add(*fpscr, &a, &c, &b, signs.subtract);
    round::finish::<F>(fpscr, &outcome, signs.negate)
}

/// FRA + FRB, rounded to double.
pub fn fadd(fpscr: &mut u32, a: u64, b: u64) -> Option<u64> {
    add::<Double>(fpscr, a, b, false)
}

/// FRA + FRB, rounded to single.
pub fn fadds(fpscr: &mut u32, a: u64, b: u64) -> Option<u64> {
    add::<Single>(fpscr, a, b, false)
}

/// FRA − FRB, rounded to double.
pub fn fsub(fpscr: &mut u32, a: u64, b: u64) -> Option<u64> {
    add::<Double>(fpscr, a, b, true)
}

/// FRA − FRB, rounded to single.
pub fn fsubs(fpscr: &mut u32, a: u64, b: u64) -> Option<u64> {
    add::<Single>(fpscr, a, b, true)
}

/// FRA × FRC, rounded to double.
pub fn fmul(fpscr: &mut u32, a: u64, c: u64) -> Option<u64> {
    multiply::<Double>(fpscr, a, c)
}

/// FRA × FRC, rounded to single.
pub fn fmuls(fpscr: &mut u32, a: u64, c: u64) -> Option<u64> {
    multiply::<Single>(fpscr, a, c)
}

/// FRA ÷ FRB, rounded to double.
pub fn fdiv(fpscr: &mut u32, a: u64, b: u64) -> Option<u64> {
    divide::<Double>(fpscr, a, b)
}

/// FRA ÷ FRB, rounded to single.
pub fn fdivs(fpscr: &mut u32, a: u64, b: u64) -> Option<u64> {
    divide::<Single>(fpscr, a, b)
}

/// The square root of FRB, rounded to double.
pub fn fsqrt(fpscr: &mut u32, b: u64) -> Option<u64> {
    square_root::<Double>(fpscr, b)
}

/// The square root of FRB, rounded to single.
pub fn fsqrts(fpscr: &mut u32, b: u64) -> Option<u64> {
    square_root::<Single>(fpscr, b)
}

/// FRA × FRC + FRB, rounded once to double.
pub fn fmadd(fpscr: &mut u32, a: u64, c: u64, b: u64) -> Option<u64> {
    multiply_add::<Double>(
        fpscr,
        a,
        c,
        b,
        Signs {
            subtract: false,
            negate: false,
        },
    )
}

/// FRA × FRC + FRB, rounded once to single.
pub fn fmadds(fpscr: &mut u32, a: u64, c: u64, b: u64) -> Option<u64> {
    multiply_add::<Single>(
        fpscr,
        a,
        c,
        b,
        Signs {
            subtract: false,
            negate: false,
        },
    )
}

/// FRA × FRC − FRB, rounded once to double.
pub fn fmsub(fpscr: &mut u32, a: u64, c: u64, b: u64) -> Option<u64> {
    multiply_add::<Double>(
        fpscr,
        a,
        c,
        b,
        Signs {
            subtract: true,
            negate: false,
        },
    )
}

/// FRA × FRC − FRB, rounded once to single.
pub fn fmsubs(fpscr: &mut u32, a: u64, c: u64, b: u64) -> Option<u64> {
    multiply_add::<Single>(
        fpscr,
        a,
        c,
        b,
        Signs {
            subtract: true,
            negate: false,
        },
    )
}

/// −(FRA × FRC + FRB): rounded once to double, then negated unless it is a NaN.
pub fn fnmadd(fpscr: &mut u32, a: u64, c: u64, b: u64) -> Option<u64> {
    multiply_add::<Double>(
        fpscr,
        a,
        c,
        b,
        Signs {
            subtract: false,
            negate: true,
        },
    )
}

/// −(FRA × FRC + FRB): rounded once to single, then negated unless it is a NaN.
pub fn fnmadds(fpscr: &mut u32, a: u64, c: u64, b: u64) -> Option<u64> {
    multiply_add::<Single>(
        fpscr,
        a,
        c,
        b,
        Signs {
            subtract: false,
            negate: true,
        },
    )
}

/// −(FRA × FRC − FRB): rounded once to double, then negated unless it is a NaN.
pub fn fnmsub(fpscr: &mut u32, a: u64, c: u64, b: u64) -> Option<u64> {
    multiply_add::<Double>(
        fpscr,
        a,
        c,
        b,
        Signs {
            subtract: true,
            negate: true,
        },
    )
}

/// −(FRA × FRC − FRB): rounded once to single, then negated unless it is a NaN.
pub fn fnmsubs(fpscr: &mut u32, a: u64, c: u64, b: u64) -> Option<u64> {
    multiply_add::<Single>(
        fpscr,
        a,
        c,
        b,
        Signs {
            subtract: true,
            negate: true,
        },
    )
}

/// FRB rounded to single.
pub fn frsp(fpscr: &mut u32, b: u64) -> Option<u64> {
    let operand = Operand::new(b);
    let mut outcome = Outcome::of(&operand);
    outcome.truncate_nan_to_single();
    round::finish::<Single>(fpscr, &outcome, false)
}

/// 1 ÷ FRB, correctly rounded to single though the instruction only promises 1/256.
pub fn fres(fpscr: &mut u32, b: u64) -> Option<u64> {
    let outcome = exact::divide(&ONE, &Operand::new(b));
    round::finish_estimate::<Single>(fpscr, &outcome)
}

/// 1 ÷ √FRB, correctly rounded to double though the instruction only promises 1/32.
pub fn frsqrte(fpscr: &mut u32, b: u64) -> Option<u64> {
    let outcome = exact::reciprocal_root(&Operand::new(b));
    round::finish_estimate::<Double>(fpscr, &outcome)
}
