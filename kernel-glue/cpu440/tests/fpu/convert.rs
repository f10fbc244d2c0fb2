//! Conversions, case by case from Book E.

use ppc440_cpu::fpu::{double_to_single, fctiw, fctiwz, frsp, single_to_double};
use ppc440_isa::regs::fpscr::*;
use proptest::prelude::*;
use rustc_apfloat::ieee::Double;
use rustc_apfloat::{Float, Status};

use crate::operands::{INFINITY, MIN_DENORMAL, ONE, QNAN, SIGN, SNAN, cases, double};
use crate::operands::{SINGLE_MAX, SINGLE_MIN_DENORMAL, SINGLE_MIN_NORMAL};
use crate::oracle::ROUNDS;

const UPPER: u64 = 0xFFF8_0000_0000_0000;

fn word(value: i32) -> Option<u64> {
    Some(UPPER | u64::from(value as u32))
}

#[test]
fn every_class_of_single_is_loaded_exactly() {
    let cases = [
        (0x0000_0000, 0),
        (0x8000_0000, SIGN),
        (0x0000_0001, SINGLE_MIN_DENORMAL),
        (0x0000_0003, 0x36B8_0000_0000_0000),
        (0x007F_FFFF, 0x380F_FFFF_C000_0000),
        (0x8040_0000, 0xB800_0000_0000_0000),
        (0x0080_0000, SINGLE_MIN_NORMAL),
        (0x3F80_0000, ONE),
        (0x7F7F_FFFF, SINGLE_MAX),
        (0x7F80_0000, INFINITY),
        (0xFF80_0000, SIGN | INFINITY),
        (0x7FC0_0001, 0x7FF8_0000_2000_0000),
        // Loading does not make a signalling NaN quiet.
        (0x7F80_0001, 0x7FF0_0000_2000_0000),
    ];
    for (single, double) in cases {
        assert_eq!(single_to_double(single), double, "{single:x}");
        assert_eq!(double_to_single(double), single, "{double:x}");
    }
}

#[test]
fn storing_cuts_off_what_a_single_has_no_room_for() {
    let cases = [
        // Not rounded.
        (0x3FEF_FFFF_FFFF_FFFF, 0x3F7F_FFFF),
        (0x380F_FFFF_FFFF_FFFF, 0x007F_FFFF),
        (0x36A0_0000_0000_0000, 0x0000_0001),
        (0x36AF_FFFF_FFFF_FFFF, 0x0000_0001),
        (0xB6B8_0000_0000_0000, 0x8000_0003),
        // Too small even for a denormal.
        (0x369F_FFFF_FFFF_FFFF, 0),
        (SIGN | MIN_DENORMAL, 0x8000_0000),
        // Too large: bits 0 to 1 and 5 to 34 as they are.
        (0x47F0_0000_0000_0000, 0x7F80_0000),
        (0x5555_5555_5555_5555, 0x6AAA_AAAA),
        (0xFFE0_0000_0000_0000, 0xFF00_0000),
        // A NaN whose fraction is all below a single's becomes an infinity.
        (0x7FF0_0000_0000_0001, 0x7F80_0000),
    ];
    for (double, single) in cases {
        assert_eq!(double_to_single(double), single, "{double:x}");
    }
}

#[test]
fn every_single_denormal_and_every_exponent_survives_a_load_and_a_store() {
    for single in 0..1 << 23 {
        assert_eq!(double_to_single(single_to_double(single)), single);
    }
    for high in 0..1 << 16 {
        for low in [0, 1, 0xFFFF] {
            let single = high << 16 | low;
            assert_eq!(double_to_single(single_to_double(single)), single);
        }
    }
}

#[test]
fn rounding_to_single_makes_denormals_and_truncates_nans() {
    let cases = [
        // Half of the smallest denormal is a tie, which goes to zero; just above it does not.
        (0, 0x3690_0000_0000_0000, 0, UX | XX | FI | 0b00010 << 12),
        (
            0,
            0x3690_0000_0000_0001,
            SINGLE_MIN_DENORMAL,
            UX | XX | FI | FR | 0b10100 << 12,
        ),
        (
            2,
            MIN_DENORMAL,
            SINGLE_MIN_DENORMAL,
            UX | XX | FI | FR | 0b10100 << 12,
        ),
        (2, SIGN | MIN_DENORMAL, SIGN, UX | XX | FI | 0b10010 << 12),
        (
            0,
            0x380F_FFFF_C000_0000,
            0x380F_FFFF_C000_0000,
            0b10100 << 12,
        ),
        (
            0,
            0x380F_FFFF_FFFF_FFFF,
            SINGLE_MIN_NORMAL,
            UX | XX | FI | FR | 0b00100 << 12,
        ),
        (
            0,
            0x7FFF_FFFF_FFFF_FFFF,
            0x7FFF_FFFF_E000_0000,
            0b10001 << 12,
        ),
        (0, SNAN, 0x7FFC_0000_4000_0000, VX | VXSNAN | 0b10001 << 12),
    ];
    for (rn, operand, result, status) in cases {
        let mut fpscr = rn;
        assert_eq!(frsp(&mut fpscr, operand), Some(result), "{operand:x}");
        assert_eq!(fpscr & !FX, rn | status, "{operand:x}");
        assert_eq!(fpscr & FX != 0, status & (XX | VX) != 0);
    }
}

#[test]
fn words_saturate_and_raise_vxcvi() {
    let cases = [
        // 2147483647, 2147483647.5, 2147483648
        (0x41DF_FFFF_FFC0_0000, i32::MAX, 0),
        (0x41DF_FFFF_FFE0_0000, i32::MAX, VXCVI),
        (0x41E0_0000_0000_0000, i32::MAX, VXCVI),
        // −2147483648, −2147483648.5, −2147483649
        (0xC1E0_0000_0000_0000, i32::MIN, 0),
        (0xC1E0_0000_0010_0000, i32::MIN, XX | FI),
        (0xC1E0_0000_0020_0000, i32::MIN, VXCVI),
        (INFINITY, i32::MAX, VXCVI),
        (SIGN | INFINITY, i32::MIN, VXCVI),
        (QNAN, i32::MIN, VXCVI),
        (SNAN, i32::MIN, VXCVI | VXSNAN),
    ];
    let class = 0b01001 << 12;
    for (operand, result, status) in cases {
        let mut fpscr = class | FR;
        assert_eq!(fctiw(&mut fpscr, operand), word(result), "{operand:x}");
        assert_eq!(fpscr & !(FX | VX), class | status, "{operand:x}");
        assert_eq!(fpscr & FX != 0, status != 0);
        let mut fpscr = VE | class | FR | FI;
        let invalid = status & VX_ALL != 0;
        let value = fctiw(&mut fpscr, operand);
        assert_eq!(value, if invalid { None } else { word(result) });
        if invalid {
            assert_eq!(fpscr, VE | class | FX | FEX | VX | status);
        }
    }
}

#[test]
fn words_round_in_the_mode_or_toward_zero() {
    // 2.5 and −2.5, 0.5, 1.5
    let cases = [
        (0x4004_0000_0000_0000, [2, 2, 3, 2]),
        (0xC004_0000_0000_0000, [-2, -2, -2, -3]),
        (0x3FE0_0000_0000_0000, [0, 0, 1, 0]),
        (0x3FF8_0000_0000_0000, [2, 1, 2, 1]),
        (MIN_DENORMAL, [0, 0, 1, 0]),
    ];
    for (operand, results) in cases {
        for (rn, result) in (0..).zip(results) {
            let mut fpscr = rn;
            assert_eq!(fctiw(&mut fpscr, operand), word(result));
            let up = result.unsigned_abs() > results[1].unsigned_abs();
            assert_eq!(fpscr, rn | FX | XX | FI | if up { FR } else { 0 });
            let mut fpscr = rn;
            assert_eq!(fctiwz(&mut fpscr, operand), word(results[1]));
            assert_eq!(fpscr, rn | FX | XX | FI);
        }
    }
}

proptest! {
    #![proptest_config(cases(50_000))]

    #[test]
    fn words_are_those_of_an_ieee_conversion_in_every_mode(b in double(), rn in 0_usize..4) {
        let value = Double::from_bits(u128::from(b));
        let result = value.to_i128_r(32, ROUNDS[rn], &mut false);
        let mut fpscr = rn as u32;
        let actual = fctiw(&mut fpscr, b);
        if result.status == Status::INVALID_OP {
            let most = if value.is_nan() || value.is_negative() { i32::MIN } else { i32::MAX };
            prop_assert_eq!(actual, word(most));
            prop_assert_eq!(fpscr & (VXCVI | XX | FI | FR), VXCVI);
        } else {
            prop_assert_eq!(actual, word(result.value as i32));
            prop_assert_eq!(fpscr & XX != 0, result.status == Status::INEXACT);
            prop_assert_eq!(fpscr & FI != 0, result.status == Status::INEXACT);
            let truncated = value.to_i128_r(40, ROUNDS[1], &mut false).value;
            prop_assert_eq!(fpscr & FR != 0, result.value.abs() > truncated.abs());
            prop_assert_eq!(fpscr & VX_ALL, 0);
        }
    }

    #[test]
    fn storing_is_rounding_toward_zero_inside_the_range_of_singles(b in double()) {
        let mut fpscr = 1;
        let rounded = frsp(&mut fpscr, b).expect("nothing is enabled");
        // A NaN stays as it is, and what is too large has no defined single.
        let exp = b >> 52 & 0x7FF;
        if exp < 1023 + 128 {
            prop_assert_eq!(double_to_single(b), double_to_single(rounded));
            prop_assert_eq!(single_to_double(double_to_single(b)), rounded);
        }
    }
}
