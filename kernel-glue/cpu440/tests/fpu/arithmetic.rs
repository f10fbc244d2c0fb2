//! Every arithmetic instruction against the oracle: value and whole FPSCR.

use ppc440_isa::regs::fpscr;
use proptest::prelude::*;
use rustc_apfloat::ieee::{Double, Single};
use rustc_apfloat::{Float, FloatConvert, Round, Status, StatusAnd};

use crate::operands::{MIN_NORMAL, cases, double, edges, few_edges, single};
use crate::oracle::{Op, Operands, ROUNDS, Target, expected, run};

const TARGETS: [Target; 2] = [Target::Double, Target::Single];
const PAIRS: [Op; 4] = [Op::Add, Op::Sub, Op::Mul, Op::Div];
const TRIPLES: [Op; 4] = [Op::Madd, Op::Msub, Op::Nmadd, Op::Nmsub];
const UNARY: [(Op, Target); 5] = [
    (Op::Sqrt, Target::Double),
    (Op::Sqrt, Target::Single),
    (Op::Round, Target::Single),
    (Op::Reciprocal, Target::Single),
    (Op::ReciprocalRoot, Target::Double),
];

fn check(op: Op, target: Target, start: u32, operands: Operands) {
    let actual = run(op, target, start, operands);
    let expected = expected(op, target, start, operands);
    assert!(
        actual == expected,
        "{op:?} {target:?} fpscr {start:08x} a {:016x} c {:016x} b {:016x}: \
         {actual:016x?}, expected {expected:016x?}",
        operands.a,
        operands.c,
        operands.b
    );
}

#[test]
fn pairs_of_edges_give_the_oracles_value_and_status_in_every_mode() {
    for a in edges() {
        for b in edges() {
            for op in PAIRS {
                for target in TARGETS {
                    for rn in 0..4 {
                        check(op, target, rn, Operands { a, c: b, b });
                    }
                }
            }
        }
    }
}

#[test]
fn triples_of_edges_give_the_oracles_value_and_status_in_every_mode() {
    for a in few_edges() {
        for c in few_edges() {
            for b in few_edges() {
                for op in TRIPLES {
                    for rn in 0..4 {
                        check(op, Target::Double, rn, Operands { a, c, b });
                    }
                }
            }
        }
    }
}

/// Two 53-bit significands whose product is 2^105 plus something below 2^28: the last bits of the
/// product are all that tells a sum with it from a tie, or from an exact one.
fn product_with_a_long_run_of_zeros() -> (u64, u64) {
    // (2^53 − x)(2^52 + y) = 2^105 + 2^52 − x × y, for x = 2y − 1.
    let y = (1_u64 << 51).isqrt();
    let (a, c) = ((1 << 53) - (2 * y - 1), (1 << 52) + y);
    let rest = u128::from(a) * u128::from(c) - (1 << 105);
    assert!(rest != 0 && rest < 1 << 28);
    let one = 1023 << 52;
    // Significands without their hidden bits, as numbers in [1, 2).
    (one | (a & ((1 << 52) - 1)), one | (c & ((1 << 52) - 1)))
}

#[test]
fn the_last_bits_of_a_product_decide_a_sum_that_is_otherwise_a_tie_or_exact() {
    let (a, c) = product_with_a_long_run_of_zeros();
    for exp in 1023 - 110_u64..1023 + 110 {
        for fraction in [0, 1, (1 << 52) - 1, (1 << 52) - 2] {
            for sign in [0, 1 << 63] {
                let b = sign | exp << 52 | fraction;
                for (op, rn) in TRIPLES
                    .into_iter()
                    .flat_map(|op| (0..4).map(move |rn| (op, rn)))
                {
                    check(op, Target::Double, rn, Operands { a, c, b });
                    check(op, Target::Single, rn, Operands { a, c, b });
                }
            }
        }
    }
}

#[test]
fn triples_of_edges_round_once_to_single_in_every_mode() {
    for a in few_edges() {
        for c in few_edges() {
            for b in few_edges() {
                for rn in 0..4 {
                    check(Op::Madd, Target::Single, rn, Operands { a, c, b });
                    check(Op::Nmsub, Target::Single, rn, Operands { a, c, b });
                }
            }
        }
    }
}

#[test]
fn roots_roundings_and_estimates_of_edges_are_the_oracles_in_every_mode() {
    for b in edges() {
        for (op, target) in UNARY {
            for rn in 0..4 {
                check(op, target, rn, Operands { a: 0, c: 0, b });
            }
        }
    }
}

/// Invalid and zero divide, which leave the target alone.
const SUPPRESSING: u32 = fpscr::VE | fpscr::ZE;

#[test]
fn enabled_invalid_operations_and_zero_divides_of_edges_leave_the_target_alone() {
    for a in edges() {
        for b in edges() {
            for target in TARGETS {
                for op in PAIRS {
                    check(op, target, SUPPRESSING, Operands { a, c: b, b });
                }
                for op in TRIPLES {
                    check(op, target, SUPPRESSING, Operands { a, c: b, b: a });
                    check(op, target, SUPPRESSING, Operands { a, c: b, b });
                }
            }
            for (op, target) in UNARY {
                check(op, target, SUPPRESSING, Operands { a, c: b, b });
            }
        }
    }
}

const WRAPPING: u32 = fpscr::OE | fpscr::UE;

#[test]
fn enabled_overflow_and_underflow_of_edges_wrap_the_exponent() {
    for a in edges() {
        for b in edges() {
            for op in PAIRS {
                for rn in 0..4 {
                    check(op, Target::Double, WRAPPING | rn, Operands { a, c: b, b });
                }
            }
        }
        for rn in 0..4 {
            check(
                Op::Round,
                Target::Single,
                WRAPPING | rn,
                Operands { a, c: a, b: a },
            );
        }
    }
}

#[test]
fn an_exact_denormal_underflows_only_when_underflow_is_enabled() {
    let operands = Operands {
        a: MIN_NORMAL,
        c: 0x3FE0_0000_0000_0000,
        b: 0,
    };
    let (value, status) = run(Op::Mul, Target::Double, 0, operands);
    assert_eq!((value, status & fpscr::UX), (Some(MIN_NORMAL >> 1), 0));
    let (value, status) = run(Op::Mul, Target::Double, fpscr::UE, operands);
    // 2^-1023 × 2^1536 = 2^513, and it is exact.
    assert_eq!(value, Some((513 + 1023) << 52));
    assert_eq!(
        status,
        fpscr::UE | fpscr::FX | fpscr::FEX | fpscr::UX | 0b00100 << 12
    );
}

fn any_enables() -> impl Strategy<Value = u32> {
    (0_u32..4, 0_u32..32, 0_u32..2).prop_map(|(rn, enables, some)| rn | (enables * some) << 3)
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn random_pairs_give_the_oracles_value_and_status(
        a in double(), b in double(), start in any_enables(),
    ) {
        for op in PAIRS {
            check(op, Target::Double, start, Operands { a, c: b, b });
            check(op, Target::Single, start & 0xFFFF_FF9F, Operands { a, c: b, b });
        }
    }

    #[test]
    fn random_pairs_of_singles_give_the_oracles_value_and_status(
        a in single(), b in single(), start in any_enables(),
    ) {
        for op in PAIRS {
            check(op, Target::Single, start, Operands { a, c: b, b });
        }
    }

    #[test]
    fn random_triples_give_the_oracles_value_and_status(
        a in double(), c in double(), b in double(), start in any_enables(),
    ) {
        for op in TRIPLES {
            check(op, Target::Double, start, Operands { a, c, b });
            check(op, Target::Single, start & 0xFFFF_FF9F, Operands { a, c, b });
        }
    }

    #[test]
    fn random_triples_of_singles_give_the_oracles_value_and_status(
        a in single(), c in single(), b in single(), start in any_enables(),
    ) {
        for op in TRIPLES {
            check(op, Target::Single, start, Operands { a, c, b });
        }
    }

    #[test]
    fn sums_that_nearly_cancel_a_product_are_exact(
        a in double(), c in double(), ulps in -3_i64..4, start in any_enables(),
    ) {
        let mut scratch = 0;
        let product = ppc440_cpu::fpu::fmul(&mut scratch, a, c).expect("nothing is enabled");
        let b = product.wrapping_add_signed(ulps);
        for op in TRIPLES {
            check(op, Target::Double, start, Operands { a, c, b });
            check(op, Target::Single, start & 0xFFFF_FF9F, Operands { a, c, b });
        }
    }

    #[test]
    fn random_roots_roundings_and_estimates_give_the_oracles_value_and_status(
        b in double(), start in any_enables(),
    ) {
        for (op, target) in UNARY {
            check(op, target, start, Operands { a: 0, c: 0, b });
            check(op, target, start, Operands { a: 0, c: 0, b: b & !(1 << 63) });
        }
    }
}

/// The status bits that `rustc_apfloat` has a name for, but underflow, which it detects after
/// rounding.
fn ieee_status(fpscr: u32) -> Status {
    let pairs = [
        (fpscr::VX, Status::INVALID_OP),
        (fpscr::ZX, Status::DIV_BY_ZERO),
        (fpscr::OX, Status::OVERFLOW),
        (fpscr::XX, Status::INEXACT),
    ];
    pairs.into_iter().fold(Status::OK, |status, (bit, flag)| {
        if fpscr & bit != 0 {
            status | flag
        } else {
            status
        }
    })
}

/// Holds an instruction against the same operation of `rustc_apfloat` in the target's own format.
fn check_native<T>(op: Op, target: Target, rn: usize, operands: Operands)
where
    T: Float + FloatConvert<Double>,
    Double: FloatConvert<T>,
{
    let round = ROUNDS[rn];
    let native = |bits: u64| -> T {
        Double::from_bits(u128::from(bits))
            .convert(&mut false)
            .value
    };
    let (a, c, b) = (native(operands.a), native(operands.c), native(operands.b));
    let negated = |result: StatusAnd<T>| result.map(|value| -value);
    let result = match op {
        Op::Add => a.add_r(b, round),
        Op::Sub => a.sub_r(b, round),
        Op::Mul => a.mul_r(c, round),
        Op::Div => a.div_r(b, round),
        Op::Madd => a.mul_add_r(c, b, round),
        Op::Msub => a.mul_add_r(c, -b, round),
        Op::Nmadd => negated(a.mul_add_r(c, b, round)),
        Op::Nmsub => negated(a.mul_add_r(c, -b, round)),
        _ => unreachable!("not an operation of this library"),
    };
    if result.value.is_nan() {
        return;
    }
    let (value, actual) = run(op, target, rn as u32, operands);
    let wide: StatusAnd<Double> = result.value.convert_r(Round::NearestTiesToEven, &mut false);
    assert_eq!(
        value,
        Some(wide.value.to_bits() as u64),
        "{op:?} {target:?} {rn} {operands:x?}"
    );
    let mut status = result.status & !Status::UNDERFLOW;
    if result
        .value
        .bitwise_eq(T::largest().copy_sign(result.value))
        && actual & fpscr::OX != 0
    {
        // The library reports an overflow only when it ends in an infinity.
        status |= Status::OVERFLOW;
    }
    assert_eq!(
        ieee_status(actual),
        status,
        "{op:?} {target:?} {rn} {operands:x?}"
    );
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn doubles_agree_with_an_ieee_double(
        a in double(), c in double(), b in double(), rn in 0_usize..4,
    ) {
        for op in PAIRS.into_iter().chain(TRIPLES) {
            check_native::<Double>(op, Target::Double, rn, Operands { a, c, b });
        }
    }

    #[test]
    fn singles_agree_with_an_ieee_single(
        a in single(), c in single(), b in single(), rn in 0_usize..4,
    ) {
        for op in PAIRS.into_iter().chain(TRIPLES) {
            check_native::<Single>(op, Target::Single, rn, Operands { a, c, b });
        }
    }
}
