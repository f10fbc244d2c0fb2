//! Rounding to nearest against the machine that runs the tests.

use ppc440_cpu::fpu;
use proptest::prelude::*;

use crate::operands::{cases, double, single};

/// The host's result, NaNs left out: their payload is the host's own choice.
fn same(actual: Option<u64>, host: f64) -> bool {
    host.is_nan() || actual == Some(host.to_bits())
}

proptest! {
    #![proptest_config(cases(100_000))]

    #[test]
    fn double_arithmetic_is_the_hosts(a in double(), c in double(), b in double()) {
        let (x, z, y) = (f64::from_bits(a), f64::from_bits(c), f64::from_bits(b));
        let s = &mut 0;
        prop_assert!(same(fpu::fadd(s, a, b), x + y));
        prop_assert!(same(fpu::fsub(s, a, b), x - y));
        prop_assert!(same(fpu::fmul(s, a, c), x * z));
        prop_assert!(same(fpu::fdiv(s, a, b), x / y));
        prop_assert!(same(fpu::fsqrt(s, b), y.sqrt()));
        prop_assert!(same(fpu::fmadd(s, a, c, b), x.mul_add(z, y)));
        prop_assert!(same(fpu::fmsub(s, a, c, b), x.mul_add(z, -y)));
        prop_assert!(same(fpu::fnmadd(s, a, c, b), -x.mul_add(z, y)));
        prop_assert!(same(fpu::fnmsub(s, a, c, b), -x.mul_add(z, -y)));
    }

    #[test]
    fn single_arithmetic_is_the_hosts(a in single(), c in single(), b in single()) {
        let [x, z, y] = [a, c, b].map(|bits| f64::from_bits(bits) as f32);
        let s = &mut 0;
        prop_assert!(same(fpu::fadds(s, a, b), (x + y).into()));
        prop_assert!(same(fpu::fsubs(s, a, b), (x - y).into()));
        prop_assert!(same(fpu::fmuls(s, a, c), (x * z).into()));
        prop_assert!(same(fpu::fdivs(s, a, b), (x / y).into()));
        prop_assert!(same(fpu::fsqrts(s, b), y.sqrt().into()));
        prop_assert!(same(fpu::fmadds(s, a, c, b), x.mul_add(z, y).into()));
        prop_assert!(same(fpu::fnmsubs(s, a, c, b), (-x.mul_add(z, -y)).into()));
    }

    #[test]
    fn rounding_to_single_is_the_hosts(b in double()) {
        prop_assert!(same(fpu::frsp(&mut 0, b), f64::from(f64::from_bits(b) as f32)));
    }

    #[test]
    fn comparisons_are_the_hosts(a in double(), b in double(), equal in 0..4) {
        let b = if equal == 0 { a } else { b };
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        let field = match x.partial_cmp(&y) {
            Some(std::cmp::Ordering::Less) => 8,
            Some(std::cmp::Ordering::Greater) => 4,
            Some(std::cmp::Ordering::Equal) => 2,
            None => 1,
        };
        prop_assert_eq!(fpu::fcmpu(&mut 0, a, b), field);
        prop_assert_eq!(fpu::fcmpo(&mut 0, a, b), field);
        prop_assert_eq!(fpu::fsel(a, 1, 2), if x >= 0.0 { 1 } else { 2 });
    }

    #[test]
    fn conversion_toward_zero_is_the_hosts(b in double()) {
        let x = f64::from_bits(b);
        let word = fpu::fctiwz(&mut 0, b).map(|value| value as u32 as i32);
        // The host's cast saturates likewise, but makes a NaN 0.
        prop_assert_eq!(word, Some(if x.is_nan() { i32::MIN } else { x as i32 }));
    }

    #[test]
    fn conversion_to_nearest_is_the_hosts(b in double()) {
        let x = f64::from_bits(b).round_ties_even();
        let word = fpu::fctiw(&mut 0, b).map(|value| value as u32 as i32);
        prop_assert_eq!(word, Some(if x.is_nan() { i32::MIN } else { x as i32 }));
    }

    #[test]
    fn singles_in_memory_are_the_hosts(bits in any::<u32>(), denormal in any::<bool>()) {
        let bits = if denormal { bits & 0x807F_FFFF } else { bits };
        let value = f32::from_bits(bits);
        if !value.is_nan() {
            prop_assert_eq!(fpu::single_to_double(bits), f64::from(value).to_bits());
        }
        prop_assert_eq!(fpu::double_to_single(fpu::single_to_double(bits)), bits);
    }
}
