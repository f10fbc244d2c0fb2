//! What an instruction must do, worked out with `rustc_apfloat`.
//!
//! The exact result is computed in quad precision, rounded toward zero, with its last bit set if
//! it is inexact ("round to odd"). Quad has more than twice the bits of a double, so rounding that
//! once more gives what rounding the exact result would.

use ppc440_cpu::fpu;
use ppc440_isa::regs::fpscr;
use rustc_apfloat::ieee::{Double, Quad, Single};
use rustc_apfloat::{Float, FloatConvert, Round, Status};

use crate::operands::{ONE, SIGN};

pub const ROUNDS: [Round; 4] = [
    Round::NearestTiesToEven,
    Round::TowardZero,
    Round::TowardPositive,
    Round::TowardNegative,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Sqrt,
    Madd,
    Msub,
    Nmadd,
    Nmsub,
    /// Rounding alone: `frsp`.
    Round,
    /// `fres`.
    Reciprocal,
    /// `frsqrte`.
    ReciprocalRoot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Double,
    Single,
}

/// FRA, FRC and FRB.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    pub a: u64,
    pub c: u64,
    pub b: u64,
}

/// What goes to FRT, `None` if it stays as it was, and the FPSCR.
pub type Outcome = (Option<u64>, u32);

/// Runs the instruction that is being tested.
pub fn run(op: Op, target: Target, start: u32, operands: Operands) -> Outcome {
    let Operands { a, c, b } = operands;
    let mut fpscr = start;
    let s = &mut fpscr;
    let value = match (op, target) {
        (Op::Add, Target::Double) => fpu::fadd(s, a, b),
        (Op::Add, Target::Single) => fpu::fadds(s, a, b),
        (Op::Sub, Target::Double) => fpu::fsub(s, a, b),
        (Op::Sub, Target::Single) => fpu::fsubs(s, a, b),
        (Op::Mul, Target::Double) => fpu::fmul(s, a, c),
        (Op::Mul, Target::Single) => fpu::fmuls(s, a, c),
        (Op::Div, Target::Double) => fpu::fdiv(s, a, b),
        (Op::Div, Target::Single) => fpu::fdivs(s, a, b),
        (Op::Sqrt, Target::Double) => fpu::fsqrt(s, b),
        (Op::Sqrt, Target::Single) => fpu::fsqrts(s, b),
        (Op::Madd, Target::Double) => fpu::fmadd(s, a, c, b),
        (Op::Madd, Target::Single) => fpu::fmadds(s, a, c, b),
        (Op::Msub, Target::Double) => fpu::fmsub(s, a, c, b),
        (Op::Msub, Target::Single) => fpu::fmsubs(s, a, c, b),
        (Op::Nmadd, Target::Double) => fpu::fnmadd(s, a, c, b),
        (Op::Nmadd, Target::Single) => fpu::fnmadds(s, a, c, b),
        (Op::Nmsub, Target::Double) => fpu::fnmsub(s, a, c, b),
        (Op::Nmsub, Target::Single) => fpu::fnmsubs(s, a, c, b),
        (Op::Round, _) => fpu::frsp(s, b),
        (Op::Reciprocal, _) => fpu::fres(s, b),
        (Op::ReciprocalRoot, _) => fpu::frsqrte(s, b),
    };
    (value, fpscr)
}

fn quad(bits: u64) -> Quad {
    Double::from_bits(u128::from(bits))
        .convert(&mut false)
        .value
}

fn double_bits<T: FloatConvert<Double>>(value: T) -> u64 {
    value.convert(&mut false).value.to_bits() as u64
}

fn is_nan(bits: u64) -> bool {
    bits << 1 > 0x7FF << 53
}

fn is_signalling(bits: u64) -> bool {
    is_nan(bits) && bits & 1 << 51 == 0
}

impl Op {
    /// The operands that count, in the order in which their NaNs are preferred.
    fn inputs(self, operands: Operands) -> Vec<u64> {
        let Operands { a, c, b } = operands;
        match self {
            Op::Add | Op::Sub | Op::Div => vec![a, b],
            Op::Mul => vec![a, c],
            Op::Madd | Op::Msub | Op::Nmadd | Op::Nmsub => vec![a, b, c],
            Op::Sqrt | Op::Round | Op::Reciprocal | Op::ReciprocalRoot => vec![b],
        }
    }

    pub fn negates(self) -> bool {
        matches!(self, Op::Nmadd | Op::Nmsub)
    }

    fn is_estimate(self) -> bool {
        matches!(self, Op::Reciprocal | Op::ReciprocalRoot)
    }

    /// The quad result before a negation.
    fn in_quad(self, operands: Operands, round: Round) -> (Quad, Status) {
        let (a, c, b) = (quad(operands.a), quad(operands.c), quad(operands.b));
        let result = match self {
            Op::Add => a.add_r(b, round),
            Op::Sub => a.sub_r(b, round),
            Op::Mul => a.mul_r(c, round),
            Op::Div => a.div_r(b, round),
            Op::Madd | Op::Nmadd => a.mul_add_r(c, b, round),
            Op::Msub | Op::Nmsub => a.mul_add_r(c, -b, round),
            Op::Round => Status::OK.and(b),
            Op::Reciprocal => quad(ONE).div_r(b, round),
            Op::Sqrt => return root(b, false),
            Op::ReciprocalRoot => return root(b, true),
        };
        (result.value, result.status)
    }

    /// The cause of an invalid operation without a NaN operand.
    fn invalid_cause(self, operands: Operands) -> u32 {
        let infinite = |bits: u64| bits & !SIGN == 0x7FF << 52;
        match self {
            Op::Add | Op::Sub => fpscr::VXISI,
            Op::Mul => fpscr::VXIMZ,
            Op::Div if infinite(operands.a) => fpscr::VXIDI,
            Op::Div => fpscr::VXZDZ,
            Op::Sqrt | Op::ReciprocalRoot => fpscr::VXSQRT,
            _ if operands.a << 1 == 0 || operands.c << 1 == 0 => fpscr::VXIMZ,
            _ => fpscr::VXISI,
        }
    }
}

/// Whether `root`² × `m` ≤ 2^`k`, for products up to 192 bits.
fn fits(root: u64, m: u64, k: u32) -> bool {
    let square = u128::from(root) * u128::from(root);
    let low = u128::from(square as u64) * u128::from(m);
    let high = (square >> 64) * u128::from(m) + (low >> 64);
    let (high, low) = (high, low as u64);
    assert!((64..192).contains(&k));
    let limit = 1_u128 << (k - 64);
    high < limit || high == limit && low == 0
}

/// √b or 1 ÷ √b, digit by digit, with an odd last bit when inexact.
fn root(b: Quad, reciprocal: bool) -> (Quad, Status) {
    if b.is_zero() {
        if reciprocal {
            let infinity = if b.is_negative() {
                -Quad::INFINITY
            } else {
                Quad::INFINITY
            };
            return (infinity, Status::DIV_BY_ZERO);
        }
        return (b, Status::OK);
    }
    if b.is_nan() {
        return (b, Status::OK);
    }
    if b.is_negative() {
        return (Quad::NAN, Status::INVALID_OP);
    }
    if b.is_infinite() {
        return (if reciprocal { Quad::ZERO } else { b }, Status::OK);
    }
    // b = m × 2^exp, m of 60 or 61 bits, exp even.
    let exp = (b.ilogb() - 60) & !1;
    let mut exact = true;
    let m = b.scalbn(-exp).to_u128_r(64, Round::TowardZero, &mut exact);
    assert!(exact && m.status == Status::OK);
    let m = m.value as u64;
    // The root of m × 2^66, or of 2^180 ÷ m: 60 bits or more.
    let small_enough = |r: u64| match reciprocal {
        false => u128::from(r) * u128::from(r) <= u128::from(m) << 66,
        true => fits(r, m, 180),
    };
    let digits = (0..64).rev().fold(0_u64, |digits, bit| {
        let longer = digits | 1 << bit;
        if small_enough(longer) { longer } else { digits }
    });
    let exact = match reciprocal {
        false => u128::from(digits) * u128::from(digits) == u128::from(m) << 66,
        // Only powers of two multiply to one.
        true => {
            digits.is_power_of_two()
                && m.is_power_of_two()
                && 2 * digits.trailing_zeros() + m.trailing_zeros() == 180
        }
    };
    let scale = if reciprocal {
        -90 - exp / 2
    } else {
        exp / 2 - 33
    };
    let odd = u128::from(digits) << 1 | u128::from(!exact);
    let value = Quad::from_u128(odd).value.scalbn(scale - 1);
    (value, if exact { Status::OK } else { Status::INEXACT })
}

/// Rounds to the target with its range.
fn rounded(value: Quad, target: Target, round: Round) -> (u64, Status) {
    match target {
        Target::Double => {
            let result: rustc_apfloat::StatusAnd<Double> = value.convert_r(round, &mut false);
            (double_bits(result.value), result.status)
        }
        Target::Single => {
            let result: rustc_apfloat::StatusAnd<Single> = value.convert_r(round, &mut false);
            (double_bits(result.value), result.status)
        }
    }
}

/// Rounds to the target's precision, then multiplies by 2^`adjust`.
fn rounded_unbounded(value: Quad, target: Target, round: Round, adjust: i32) -> (u64, Status) {
    let exp = value.ilogb();
    let (bits, status) = rounded(value.scalbn(-exp), target, round);
    let scaled = quad(bits).scalbn(exp + adjust);
    (double_bits(scaled), status)
}

/// Whether the result is too large once rounded to the target's precision.
///
/// The library's own status tells only of those overflows that end in an infinity.
fn overflows(value: Quad, target: Target, round: Round) -> bool {
    if !value.is_finite_non_zero() {
        return false;
    }
    let max = match target {
        Target::Double => 1023,
        Target::Single => 127,
    };
    let exp = value.ilogb();
    let (bits, _) = rounded(value.scalbn(-exp), target, round);
    let carry = bits & !SIGN != bits & (ONE | ((1 << 52) - 1));
    exp + i32::from(carry) > max
}

fn class(bits: u64, target: Target) -> u32 {
    let min_normal = match target {
        Target::Double => 1 << 52,
        Target::Single => 897 << 52,
    };
    let (negative, magnitude) = (bits & SIGN != 0, bits & !SIGN);
    let code = match (magnitude, negative) {
        (0x7FF0_0000_0000_0001.., _) => 0b10001,
        (0x7FF0_0000_0000_0000, true) => 0b01001,
        (0x7FF0_0000_0000_0000, false) => 0b00101,
        (0, true) => 0b10010,
        (0, false) => 0b00010,
        (_, true) if magnitude < min_normal => 0b11000,
        (_, false) if magnitude < min_normal => 0b10100,
        (_, true) => 0b01000,
        (_, false) => 0b00100,
    };
    code << 12
}

/// What `op` must do from an FPSCR that has only RN and enables set.
pub fn expected(op: Op, target: Target, start: u32, operands: Operands) -> Outcome {
    let round = ROUNDS[(start & fpscr::RN) as usize];
    let inputs = op.inputs(operands);
    let mut status = start;
    let value = deliver(op, target, round, operands, &inputs, &mut status);
    (value, summarised(status))
}

/// FX, VX and FEX for an FPSCR that had no exception before.
fn summarised(mut status: u32) -> u32 {
    let pairs = [
        (fpscr::VX, fpscr::VE),
        (fpscr::OX, fpscr::OE),
        (fpscr::UX, fpscr::UE),
        (fpscr::ZX, fpscr::ZE),
        (fpscr::XX, fpscr::XE),
    ];
    if status & fpscr::VX_ALL != 0 {
        status |= fpscr::VX;
    }
    for (exception, enable) in pairs {
        if status & exception != 0 {
            status |= fpscr::FX;
            if status & enable != 0 {
                status |= fpscr::FEX;
            }
        }
    }
    status
}

fn deliver(
    op: Op,
    target: Target,
    round: Round,
    operands: Operands,
    inputs: &[u64],
    status: &mut u32,
) -> Option<u64> {
    let (exact, exact_status) = op.in_quad(operands, Round::TowardZero);
    let invalid_product = matches!(op, Op::Madd | Op::Msub | Op::Nmadd | Op::Nmsub)
        && quad(operands.a).mul_r(quad(operands.c), round).status == Status::INVALID_OP
        && !is_nan(operands.a)
        && !is_nan(operands.c);
    if invalid_product {
        *status |= fpscr::VXIMZ;
    }
    if inputs.iter().any(|&bits| is_signalling(bits)) {
        *status |= fpscr::VXSNAN;
    }
    let nan = inputs.iter().copied().find(|&bits| is_nan(bits));
    if nan.is_none() && exact_status == Status::INVALID_OP {
        *status |= op.invalid_cause(operands);
    }
    if exact_status == Status::DIV_BY_ZERO {
        *status |= fpscr::ZX;
    }
    if *status & fpscr::VX_ALL != 0 && *status & fpscr::VE != 0
        || *status & fpscr::ZX != 0 && *status & fpscr::ZE != 0
    {
        return None;
    }
    if let Some(nan) = nan {
        let quiet = nan | 1 << 51;
        *status |= class(quiet, target);
        return Some(if op == Op::Round {
            quiet & !0x1FFF_FFFF
        } else {
            quiet
        });
    }
    if *status & fpscr::VX_ALL != 0 {
        *status |= class(0x7FF8_0000_0000_0000, target);
        return Some(0x7FF8_0000_0000_0000);
    }

    // An exact result is the same in every mode, but for the sign of a zero sum.
    let exact = if exact_status.intersects(Status::INEXACT) {
        Quad::from_bits(exact.to_bits() | 1)
    } else {
        op.in_quad(operands, round).0
    };
    let negate = |bits: u64| if op.negates() { bits ^ SIGN } else { bits };
    let (mut bits, mut result_status) = rounded(exact, target, round);
    let (mut truncated, _) = rounded(exact, target, Round::TowardZero);
    let min_normal = match target {
        Target::Double => 1_u64 << 52,
        Target::Single => 897 << 52,
    };
    let tiny = !exact.is_zero() && truncated & !SIGN < min_normal;
    let adjust = match target {
        Target::Double => 1536,
        Target::Single => 192,
    };
    let mut normal_class = false;
    if overflows(exact, target, round) {
        *status |= fpscr::OX;
        if *status & fpscr::OE != 0 {
            (bits, result_status) = rounded_unbounded(exact, target, round, -adjust);
            (truncated, _) = rounded_unbounded(exact, target, Round::TowardZero, -adjust);
        } else if bits & !SIGN == 0x7FF << 52 {
            truncated = 0;
        }
    } else if tiny && *status & fpscr::UE != 0 {
        *status |= fpscr::UX;
        normal_class = true;
        (bits, result_status) = rounded_unbounded(exact, target, round, adjust);
        (truncated, _) = rounded_unbounded(exact, target, Round::TowardZero, adjust);
    }
    if result_status.intersects(Status::INEXACT) {
        if tiny {
            *status |= fpscr::UX;
        }
        if !op.is_estimate() {
            *status |= fpscr::XX | fpscr::FI;
            if bits & !SIGN > truncated & !SIGN {
                *status |= fpscr::FR;
            }
        }
    }
    let class_target = if normal_class { Target::Double } else { target };
    *status |= class(negate(bits), class_target);
    Some(negate(bits))
}
