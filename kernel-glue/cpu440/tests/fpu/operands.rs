//! Operands that tests use: values at every edge, and random ones that meet often.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

pub const ONE: u64 = 0x3FF0_0000_0000_0000;
pub const INFINITY: u64 = 0x7FF0_0000_0000_0000;
pub const MAX: u64 = 0x7FEF_FFFF_FFFF_FFFF;
pub const MIN_NORMAL: u64 = 0x0010_0000_0000_0000;
pub const MIN_DENORMAL: u64 = 1;
pub const SIGN: u64 = 1 << 63;
pub const QNAN: u64 = 0x7FF8_0000_0000_0123;
pub const SNAN: u64 = 0x7FF4_0000_4000_0567;
/// 2^-126, the smallest normal single, as a double.
pub const SINGLE_MIN_NORMAL: u64 = 0x3810_0000_0000_0000;
pub const SINGLE_MIN_DENORMAL: u64 = 0x36A0_0000_0000_0000;
pub const SINGLE_MAX: u64 = 0x47EF_FFFF_E000_0000;

/// Magnitudes at the edges of the double format.
const DOUBLE_EDGES: [u64; 14] = [
    0,
    MIN_DENORMAL,
    0x000F_FFFF_FFFF_FFFF,
    MIN_NORMAL,
    0x0010_0000_0000_0001,
    0x3FE0_0000_0000_0000,
    ONE,
    0x3FF0_0000_0000_0001,
    0x3FF8_0000_0000_0000,
    0x7FE0_0000_0000_0000,
    MAX,
    INFINITY,
    QNAN,
    SNAN,
];

/// Magnitudes at the edges of the single format, some of them doubles just off it.
const SINGLE_EDGES: [u64; 14] = [
    0x3690_0000_0000_0000,
    0x3690_0000_0000_0001,
    SINGLE_MIN_DENORMAL,
    0x380F_FFFF_C000_0000,
    0x380F_FFFF_FFFF_FFFF,
    SINGLE_MIN_NORMAL,
    0x3810_0000_2000_0000,
    0x3FF0_0000_1000_0000,
    0x3FF0_0000_1000_0001,
    0x3FF0_0000_2000_0000,
    0x3FF0_0000_3000_0000,
    SINGLE_MAX,
    0x47EF_FFFF_F000_0000,
    0x47F0_0000_0000_0000,
];

fn with_both_signs(magnitudes: impl IntoIterator<Item = u64>) -> Vec<u64> {
    magnitudes
        .into_iter()
        .flat_map(|magnitude| [magnitude, magnitude | SIGN])
        .collect()
}

/// Every edge of both formats, with both signs.
pub fn edges() -> Vec<u64> {
    with_both_signs(DOUBLE_EDGES.into_iter().chain(SINGLE_EDGES))
}

/// Fewer, for operations of three operands.
pub fn few_edges() -> Vec<u64> {
    with_both_signs(
        DOUBLE_EDGES
            .into_iter()
            .chain([SINGLE_EDGES[2], SINGLE_EDGES[5]]),
    )
}

/// The doubles that a single can hold.
pub fn single() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => any::<u32>(),
        2 => (any::<u32>(), -40_i32..40).prop_map(|(bits, exp)| {
            bits & 0x807F_FFFF | ((127 + exp) as u32) << 23
        }),
        1 => any::<u32>().prop_map(|bits| bits & 0x807F_FFFF),
    ]
    .prop_map(ppc440_cpu::fpu::single_to_double)
}

/// Doubles of every kind; many of them close enough to one to meet in a sum.
pub fn double() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => any::<u64>(),
        4 => (any::<u64>(), -70_i64..70).prop_map(|(bits, exp)| {
            bits & 0x800F_FFFF_FFFF_FFFF | ((1023 + exp) as u64) << 52
        }),
        1 => any::<u64>().prop_map(|bits| bits & 0x800F_FFFF_FFFF_FFFF),
        // Few significant bits, so that ties and exact results come up.
        2 => (any::<u64>(), any::<u64>(), -30_i64..30).prop_map(|(sign, fraction, exp)| {
            sign & SIGN | ((1023 + exp) as u64) << 52 | (fraction & 0xF000_0000_0000_0000) >> 12
        }),
        // Results at the edges of a double.
        1 => (any::<u64>(), prop_oneof![0_u64..60, 1980_u64..2047, 480_u64..560, 1500_u64..1560])
            .prop_map(|(bits, exp)| bits & 0x800F_FFFF_FFFF_FFFF | exp << 52),
        2 => single(),
        1 => prop::sample::select(edges()),
    ]
}

/// The same cases in every run.
pub fn cases(count: u32) -> Config {
    Config {
        cases: count,
        rng_seed: RngSeed::Fixed(0x440E),
        failure_persistence: None,
        ..Config::default()
    }
}
