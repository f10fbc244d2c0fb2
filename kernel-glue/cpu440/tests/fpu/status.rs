//! FPSCR bits and NaNs, case by case from Book E.

use ppc440_cpu::fpu;
use ppc440_isa::regs::fpscr::*;

use crate::operands::{INFINITY, MAX, MIN_DENORMAL, MIN_NORMAL, ONE, QNAN, SIGN, SNAN};
use crate::operands::{SINGLE_MAX, SINGLE_MIN_DENORMAL, SINGLE_MIN_NORMAL};

const DEFAULT_NAN: u64 = 0x7FF8_0000_0000_0000;
const THREE: u64 = 0x4008_0000_0000_0000;
const ULP_UP: u64 = ONE + 1;
const TO_PLUS: u32 = 2;
const TO_MINUS: u32 = 3;

fn class_of(fpscr: u32) -> u32 {
    (fpscr & FPRF) >> 12
}

#[test]
fn every_class_of_result_has_its_fprf() {
    let classes = [
        (QNAN, 0b10001),
        (QNAN | SIGN, 0b10001),
        (SIGN | INFINITY, 0b01001),
        (SIGN | ONE, 0b01000),
        (SIGN | MIN_DENORMAL, 0b11000),
        (SIGN, 0b10010),
        (0, 0b00010),
        (MIN_DENORMAL, 0b10100),
        (MIN_NORMAL, 0b00100),
        (ONE, 0b00100),
        (INFINITY, 0b00101),
    ];
    for (bits, class) in classes {
        let mut fpscr = 0;
        assert_eq!(fpu::fmul(&mut fpscr, bits, ONE), Some(bits));
        assert_eq!(fpscr, class << 12, "{bits:x}");
    }
}

#[test]
fn a_single_denormal_has_the_class_of_a_denormal_though_its_double_is_normal() {
    for (bits, class) in [
        (SINGLE_MIN_DENORMAL, 0b10100),
        (SINGLE_MIN_DENORMAL | SIGN, 0b11000),
        (SINGLE_MIN_NORMAL, 0b00100),
    ] {
        let mut fpscr = 0;
        assert_eq!(fpu::frsp(&mut fpscr, bits), Some(bits));
        assert_eq!(class_of(fpscr), class);
        assert_eq!(fpu::fadds(&mut fpscr, bits, 0), Some(bits));
        assert_eq!(class_of(fpscr), class);
    }
}

#[test]
fn fr_tells_that_the_magnitude_was_rounded_up_and_fi_that_it_was_rounded() {
    let half_ulp = 0x3CA0_0000_0000_0000;
    let cases = [
        // A tie goes to even: down from 1 + ½ ulp, up from 1 + 1½ ulp.
        (0, ONE, half_ulp, ONE, FI),
        (0, ULP_UP, half_ulp, ONE + 2, FI | FR),
        (0, ONE, half_ulp + 1, ULP_UP, FI | FR),
        (1, ULP_UP, half_ulp, ULP_UP, FI),
        (TO_PLUS, ONE, half_ulp, ULP_UP, FI | FR),
        (TO_MINUS, ONE, half_ulp, ONE, FI),
        (
            TO_MINUS,
            SIGN | ONE,
            SIGN | half_ulp,
            SIGN | ULP_UP,
            FI | FR,
        ),
        (TO_PLUS, SIGN | ONE, SIGN | half_ulp, SIGN | ONE, FI),
        (0, ONE, ONE, 0x4000_0000_0000_0000, 0),
        // Rounding up to the next binade counts as incrementing the fraction.
        (0, ONE - 1, half_ulp - (1 << 52), ONE, FI | FR),
    ];
    for (rn, a, b, sum, flags) in cases {
        let mut fpscr = rn | FR;
        assert_eq!(fpu::fadd(&mut fpscr, a, b), Some(sum), "{rn} {a:x} {b:x}");
        assert_eq!(fpscr & (FR | FI), flags, "{rn} {a:x} {b:x}");
    }
}

#[test]
fn xx_sticks_and_fi_does_not() {
    let mut fpscr = 0;
    fpu::fdiv(&mut fpscr, ONE, THREE);
    assert_eq!(fpscr & (FX | XX | FI), FX | XX | FI);
    fpscr &= !FX;
    fpu::fadd(&mut fpscr, ONE, ONE);
    assert_eq!(fpscr & (FX | XX | FI | FR), XX);
    // A second inexact result changes no exception bit from 0 to 1.
    fpu::fdiv(&mut fpscr, ONE, THREE);
    assert_eq!(fpscr & (FX | XX | FI), XX | FI);
}

#[test]
fn the_first_nan_of_fra_frb_frc_is_returned_quiet() {
    let nan = |n: u64| QNAN + n;
    let mut fpscr = 0;
    let s = &mut fpscr;
    assert_eq!(fpu::fadd(s, nan(1), nan(2)), Some(nan(1)));
    assert_eq!(fpu::fadd(s, ONE, nan(2)), Some(nan(2)));
    // The sign of FRB is turned for the subtraction, not for the NaN.
    assert_eq!(fpu::fsub(s, ONE, nan(2)), Some(nan(2)));
    assert_eq!(fpu::fmul(s, ONE, nan(3)), Some(nan(3)));
    assert_eq!(fpu::fmadd(s, nan(1), nan(3), nan(2)), Some(nan(1)));
    assert_eq!(fpu::fmadd(s, ONE, nan(3), nan(2)), Some(nan(2)));
    assert_eq!(fpu::fmsub(s, ONE, nan(3), ONE), Some(nan(3)));
    assert_eq!(fpu::fdivs(s, nan(1), SIGN | nan(2)), Some(nan(1)));
    assert_eq!(fpscr, 0b10001 << 12);
    // A signalling NaN behind a quiet one still raises.
    assert_eq!(fpu::fadd(&mut fpscr, nan(1), SNAN), Some(nan(1)));
    assert_eq!(fpscr, FX | VX | VXSNAN | 0b10001 << 12);
    assert_eq!(fpu::fadd(&mut fpscr, SNAN, nan(1)), Some(SNAN | 1 << 51));
}

#[test]
fn a_negated_multiply_add_keeps_the_sign_of_a_nan() {
    let mut fpscr = 0;
    for nan in [QNAN, SIGN | QNAN] {
        assert_eq!(fpu::fnmadd(&mut fpscr, nan, ONE, ONE), Some(nan));
        assert_eq!(fpu::fnmsub(&mut fpscr, ONE, ONE, nan), Some(nan));
    }
    assert_eq!(fpu::fnmadd(&mut fpscr, INFINITY, 0, ONE), Some(DEFAULT_NAN));
}

#[test]
fn a_negated_multiply_add_rounds_before_it_negates() {
    // 1 × (1 + ulp) + 2^-60 rounds up to 1 + 2 ulp, and only then is negated.
    let tiny = 0x3C30_0000_0000_0000;
    let mut fpscr = TO_PLUS;
    assert_eq!(
        fpu::fnmadd(&mut fpscr, ONE, ULP_UP, tiny),
        Some(SIGN | (ONE + 2))
    );
    assert_eq!(fpscr & (FI | FR), FI | FR);
    let mut fpscr = TO_MINUS;
    assert_eq!(
        fpu::fnmadd(&mut fpscr, ONE, ULP_UP, tiny),
        Some(SIGN | ULP_UP)
    );
    assert_eq!(class_of(fpscr), 0b01000);
    // The zero of an exact cancellation is negated too.
    let mut fpscr = 0;
    assert_eq!(fpu::fnmsub(&mut fpscr, ONE, ONE, ONE), Some(SIGN));
    assert_eq!(class_of(fpscr), 0b10010);
}

#[test]
fn each_invalid_operation_has_its_cause_and_the_default_nan() {
    type Case = (fn(&mut u32) -> Option<u64>, u32);
    let cases: [Case; 10] = [
        (|s| fpu::fadd(s, INFINITY, SIGN | INFINITY), VXISI),
        (|s| fpu::fsub(s, INFINITY, INFINITY), VXISI),
        (|s| fpu::fmadd(s, INFINITY, ONE, SIGN | INFINITY), VXISI),
        (|s| fpu::fdiv(s, INFINITY, INFINITY), VXIDI),
        (|s| fpu::fdiv(s, 0, SIGN), VXZDZ),
        (|s| fpu::fmul(s, 0, INFINITY), VXIMZ),
        (|s| fpu::fmadd(s, INFINITY, SIGN, ONE), VXIMZ),
        (|s| fpu::fsqrt(s, SIGN | ONE), VXSQRT),
        (|s| fpu::fsqrts(s, SIGN | INFINITY), VXSQRT),
        (|s| fpu::frsqrte(s, SIGN | MIN_DENORMAL), VXSQRT),
    ];
    for (run, cause) in cases {
        let mut fpscr = FR | FI;
        assert_eq!(run(&mut fpscr), Some(DEFAULT_NAN));
        assert_eq!(fpscr, FX | VX | cause | 0b10001 << 12);
        // Enabled: no result, FR and FI 0, FPRF as it was.
        let mut fpscr = VE | FR | FI | 0b01001 << 12;
        assert_eq!(run(&mut fpscr), None);
        assert_eq!(fpscr, FX | FEX | VX | cause | VE | 0b01001 << 12);
        assert!(fpu::fex(fpscr));
    }
}

#[test]
fn an_invalid_product_is_reported_even_when_a_nan_is_added_to_it() {
    let mut fpscr = 0;
    assert_eq!(
        fpu::fmadd(&mut fpscr, INFINITY, 0, SNAN),
        Some(SNAN | 1 << 51)
    );
    assert_eq!(fpscr & VX_ALL, VXSNAN | VXIMZ);
}

#[test]
fn a_zero_divide_gives_an_infinity_or_when_enabled_nothing() {
    let mut fpscr = 0;
    assert_eq!(fpu::fdiv(&mut fpscr, ONE, SIGN), Some(SIGN | INFINITY));
    assert_eq!(fpscr, FX | ZX | 0b01001 << 12);
    let mut fpscr = ZE | FI | 0b00100 << 12;
    assert_eq!(fpu::fdiv(&mut fpscr, ONE, 0), None);
    assert_eq!(fpscr, FX | FEX | ZX | ZE | 0b00100 << 12);
    // An infinity divided by zero is no zero divide.
    let mut fpscr = ZE;
    assert_eq!(fpu::fdiv(&mut fpscr, INFINITY, 0), Some(INFINITY));
    assert_eq!(fpscr, ZE | 0b00101 << 12);
    for (estimate, operand) in [
        (fpu::fres as fn(&mut u32, u64) -> Option<u64>, SIGN),
        (fpu::frsqrte, SIGN),
    ] {
        let mut fpscr = 0;
        assert_eq!(estimate(&mut fpscr, operand), Some(SIGN | INFINITY));
        assert_eq!(fpscr, FX | ZX | 0b01001 << 12);
        let mut fpscr = ZE;
        assert_eq!(estimate(&mut fpscr, operand), None);
    }
}

#[test]
fn an_overflow_follows_the_rounding_mode() {
    let cases = [
        (0, 0, INFINITY, FR),
        (0, SIGN, INFINITY, FR),
        (1, 0, MAX, 0),
        (1, SIGN, MAX, 0),
        (TO_PLUS, 0, INFINITY, FR),
        (TO_PLUS, SIGN, MAX, 0),
        (TO_MINUS, 0, MAX, 0),
        (TO_MINUS, SIGN, INFINITY, FR),
    ];
    for (rn, sign, magnitude, fr) in cases {
        let mut fpscr = rn;
        assert_eq!(
            fpu::fadd(&mut fpscr, sign | MAX, sign | MAX),
            Some(sign | magnitude)
        );
        assert_eq!(fpscr & !FPRF, rn | FX | OX | XX | FI | fr);
        let single = if magnitude == MAX {
            SINGLE_MAX
        } else {
            INFINITY
        };
        let mut fpscr = rn;
        assert_eq!(fpu::frsp(&mut fpscr, sign | MAX), Some(sign | single));
        assert_eq!(fpscr & !FPRF, rn | FX | OX | XX | FI | fr);
    }
}

#[test]
fn an_enabled_overflow_wraps_the_exponent() {
    let mut fpscr = OE;
    // 2^1024 − … doubled: exponent 1024 − 1536.
    assert_eq!(fpu::fadd(&mut fpscr, MAX, MAX), Some(MAX - (1535 << 52)));
    assert_eq!(fpscr, OE | FX | FEX | OX | 0b00100 << 12);
    let mut fpscr = OE;
    assert_eq!(
        fpu::fadds(&mut fpscr, SINGLE_MAX, SINGLE_MAX),
        Some(SINGLE_MAX - (191 << 52))
    );
    assert_eq!(fpscr, OE | FX | FEX | OX | 0b00100 << 12);
}

#[test]
fn an_enabled_underflow_wraps_the_exponent_and_is_a_normal_number() {
    let mut fpscr = UE;
    assert_eq!(
        fpu::fmul(&mut fpscr, MIN_DENORMAL, SIGN | ONE),
        Some(SIGN | (1023 + 1536 - 1074) << 52)
    );
    assert_eq!(fpscr, UE | FX | FEX | UX | 0b01000 << 12);
    let mut fpscr = UE;
    assert_eq!(
        fpu::frsp(&mut fpscr, SINGLE_MIN_DENORMAL),
        Some(SINGLE_MIN_DENORMAL + (192 << 52))
    );
    assert_eq!(fpscr, UE | FX | FEX | UX | 0b00100 << 12);
}

#[test]
fn underflow_is_decided_before_rounding() {
    // Just below the smallest normal number, and rounded to it.
    let mut fpscr = 0;
    let below = 0x3FEF_FFFF_FFFF_FFFF;
    assert_eq!(fpu::fmul(&mut fpscr, MIN_NORMAL, below), Some(MIN_NORMAL));
    assert_eq!(fpscr, FX | UX | XX | FI | FR | 0b00100 << 12);
}

#[test]
fn a_wrapped_exponent_beyond_a_double_is_clamped() {
    let mut fpscr = UE;
    assert_eq!(
        fpu::fmuls(&mut fpscr, MIN_DENORMAL, MIN_DENORMAL),
        Some(MIN_NORMAL)
    );
    let mut fpscr = OE;
    assert_eq!(
        fpu::fmuls(&mut fpscr, 0x7FE0_0000_0000_0000, 0x7FE0_0000_0000_0000),
        Some(0x7FE << 52)
    );
}

#[test]
fn estimates_are_never_inexact() {
    let mut fpscr = XE | FR | FI;
    assert_eq!(fpu::fres(&mut fpscr, THREE), Some(0x3FD5_5555_6000_0000));
    assert_eq!(fpscr, XE | 0b00100 << 12);
    let two = 0x4000_0000_0000_0000;
    let root = fpu::frsqrte(&mut fpscr, two);
    assert_eq!(root, Some(std::f64::consts::FRAC_1_SQRT_2.to_bits()));
    assert_eq!(fpscr, XE | 0b00100 << 12);
    // The reciprocal of a double denormal overflows a single.
    assert_eq!(fpu::fres(&mut fpscr, MIN_DENORMAL), Some(INFINITY));
    assert_eq!(fpscr, XE | FX | OX | 0b00101 << 12);
}

#[test]
fn ni_changes_nothing() {
    let mut fpscr = NI;
    assert_eq!(fpu::fadd(&mut fpscr, MIN_DENORMAL, MIN_DENORMAL), Some(2));
    assert_eq!(fpscr, NI | 0b10100 << 12);
}

#[test]
fn comparisons_set_fpcc_and_leave_class_fr_and_fi() {
    let start = FR | FI | 0b11111 << 12;
    for (a, b, field) in [
        (ONE, THREE, 8),
        (THREE, ONE, 4),
        (SIGN | ONE, SIGN | THREE, 4),
        (0, SIGN, 2),
        (INFINITY, INFINITY, 2),
        (SIGN | INFINITY, MAX, 8),
        (QNAN, ONE, 1),
    ] {
        let mut fpscr = start;
        assert_eq!(fpu::fcmpu(&mut fpscr, a, b), field);
        assert_eq!(fpscr, FR | FI | 1 << 16 | u32::from(field) << 12);
    }
}

#[test]
fn an_ordered_comparison_of_a_nan_is_invalid() {
    let raised = |compare: fn(&mut u32, u64, u64) -> u8, nan, start| {
        let mut fpscr = start;
        assert_eq!(compare(&mut fpscr, ONE, nan), 1);
        assert_eq!(fpscr & FPCC, 1 << 12);
        fpscr & !FPCC
    };
    assert_eq!(raised(fpu::fcmpu, QNAN, 0), 0);
    assert_eq!(raised(fpu::fcmpu, SNAN, 0), FX | VX | VXSNAN);
    assert_eq!(raised(fpu::fcmpo, QNAN, 0), FX | VX | VXVC);
    assert_eq!(raised(fpu::fcmpo, SNAN, 0), FX | VX | VXSNAN | VXVC);
    assert_eq!(raised(fpu::fcmpo, QNAN, VE), VE | FX | FEX | VX | VXVC);
    assert_eq!(raised(fpu::fcmpo, SNAN, VE), VE | FX | FEX | VX | VXSNAN);
}

#[test]
fn select_takes_frc_for_zeros_and_positive_numbers_only() {
    for a in [0, SIGN, MIN_DENORMAL, ONE, INFINITY] {
        assert_eq!(fpu::fsel(a, 1, 2), 1);
    }
    for a in [
        SIGN | MIN_DENORMAL,
        SIGN | INFINITY,
        QNAN,
        SNAN,
        SIGN | QNAN,
    ] {
        assert_eq!(fpu::fsel(a, 1, 2), 2);
    }
}

#[test]
fn mtfsf_writes_the_fields_of_its_mask_but_never_the_summaries() {
    let mut fpscr = 0;
    fpu::mtfsf(&mut fpscr, 0xFF, FEX | VX);
    assert_eq!(fpscr, 0);
    fpu::mtfsf(&mut fpscr, 0x01, 0xFFFF_FFFF);
    assert_eq!(fpscr, XE | NI | RN);
    fpu::mtfsf(&mut fpscr, 0x02, 0xFFFF_FFFF);
    assert_eq!(fpscr, VE | OE | UE | ZE | XE | NI | RN);
    // Exceptions written set the summaries, and FX only by its own bit.
    fpu::mtfsf(&mut fpscr, 0x40, XX);
    assert_eq!(fpscr & 0xFFFF_FF00, FEX | XX);
    fpu::mtfsf(&mut fpscr, 0x40, 0);
    assert_eq!(fpscr & 0xFFFF_FF00, 0);
    fpu::mtfsf(&mut fpscr, 0x80, OX);
    assert_eq!(fpscr & 0xFFFF_FF00, FEX | OX);
    fpu::mtfsf(&mut fpscr, 0xFF, FX | VXSOFT | FPRF | FR | FI);
    assert_eq!(fpscr, FX | VX | VXSOFT | FPRF | FR | FI);
    fpu::mtfsf(&mut fpscr, 0xFF, 0xFFFF_FFFF);
    assert_eq!(fpscr, 0xFFFF_F7FF);
    fpu::mtfsf(&mut fpscr, 0xFF, 0);
    assert_eq!(fpscr, 0);
}

#[test]
fn mtfsfi_writes_one_field() {
    let mut fpscr = 0;
    fpu::mtfsfi(&mut fpscr, 7, 3);
    assert_eq!(fpscr, 3);
    fpu::mtfsfi(&mut fpscr, 0, 0xF);
    assert_eq!(fpscr, FX | OX | 3);
    fpu::mtfsfi(&mut fpscr, 5, 0xF);
    assert_eq!(fpscr, FX | VX | OX | VXSOFT | VXSQRT | VXCVI | 3);
    fpu::mtfsfi(&mut fpscr, 5, 0);
    assert_eq!(fpscr, FX | OX | 3);
}

#[test]
fn mtfsb1_sets_fx_with_a_new_exception_and_mtfsb0_leaves_it() {
    let mut fpscr = 0;
    fpu::mtfsb1(&mut fpscr, 1);
    fpu::mtfsb1(&mut fpscr, 2);
    assert_eq!(fpscr, 0);
    fpu::mtfsb1(&mut fpscr, 21);
    assert_eq!(fpscr, FX | VX | VXSOFT);
    fpu::mtfsb1(&mut fpscr, 24);
    assert_eq!(fpscr, FX | FEX | VX | VXSOFT | VE);
    fpu::mtfsb0(&mut fpscr, 1);
    fpu::mtfsb0(&mut fpscr, 2);
    assert_eq!(fpscr, FX | FEX | VX | VXSOFT | VE);
    fpu::mtfsb0(&mut fpscr, 0);
    assert_eq!(fpscr, FEX | VX | VXSOFT | VE);
    // Already set: nothing goes from 0 to 1.
    fpu::mtfsb1(&mut fpscr, 21);
    assert_eq!(fpscr, FEX | VX | VXSOFT | VE);
    fpu::mtfsb0(&mut fpscr, 21);
    assert_eq!(fpscr, VE);
    fpu::mtfsb1(&mut fpscr, 31);
    fpu::mtfsb1(&mut fpscr, 0);
    assert_eq!(fpscr, FX | VE | 1);
}

#[test]
fn mcrfs_returns_a_field_and_clears_its_exceptions() {
    let full = 0xFFFF_F7FF;
    let cases = [
        // FEX and VX stay: other exceptions are still there.
        (0, 0xF, FX | OX),
        (1, 0xF, UX | ZX | XX | VXSNAN),
        (2, 0xF, VXISI | VXIDI | VXZDZ | VXIMZ),
        (3, 0xF, VXVC),
        (4, 0xF, 0),
        (5, 0x7, VXSOFT | VXSQRT | VXCVI),
        (6, 0xF, 0),
        (7, 0xF, 0),
    ];
    for (field, copied, cleared) in cases {
        let mut fpscr = full;
        assert_eq!(fpu::mcrfs(&mut fpscr, field), copied);
        assert_eq!(fpscr, full & !cleared);
    }
    let mut fpscr = FX | FEX | VX | VXSNAN | VE;
    assert_eq!(fpu::mcrfs(&mut fpscr, 1), 1);
    assert_eq!(fpscr, FX | VE);
}
