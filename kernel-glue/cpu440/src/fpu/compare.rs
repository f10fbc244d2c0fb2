//! Comparisons and selection (Book E, `fcmpu`, `fcmpo`, `fsel`).

use ppc440_isa::regs::fpscr;

use super::number::{INFINITY, Operand, SIGN};
use super::status;

/// CR field bits of a comparison, most significant first as in the CR.
const LESS: u8 = 8;
const GREATER: u8 = 4;
const EQUAL: u8 = 2;
const UNORDERED: u8 = 1;

/// The double as an integer that orders as the numbers do, both zeros being 0.
#[inline(always)]
fn rank(bits: u64) -> i64 {
    let magnitude = (bits & !SIGN) as i64;
    if bits & SIGN != 0 {
        -magnitude
    } else {
        magnitude
    }
}

#[inline(always)]
fn condition(a: u64, b: u64) -> u8 {
    match rank(a).cmp(&rank(b)) {
        std::cmp::Ordering::Less => LESS,
        std::cmp::Ordering::Greater => GREATER,
        std::cmp::Ordering::Equal => EQUAL,
    }
}

/// `fcmpu`: compares FRA with FRB; only a signalling NaN is invalid.
///
/// Returns the CR field: 8 less, 4 greater, 2 equal, 1 unordered. FPCC receives the same; C, FR
/// and FI stay. The field is valid even when the exception is enabled.
pub fn fcmpu(fpscr: &mut u32, a: u64, b: u64) -> u8 {
    compare(fpscr, a, b, false)
}

/// `fcmpo`: as [`fcmpu`], but any NaN is invalid.
///
/// A signalling NaN raises VXVC besides VXSNAN only while VE is 0.
pub fn fcmpo(fpscr: &mut u32, a: u64, b: u64) -> u8 {
    compare(fpscr, a, b, true)
}

#[inline(always)]
fn compare(fpscr: &mut u32, a: u64, b: u64, ordered: bool) -> u8 {
    let (x, y) = (Operand::new(a), Operand::new(b));
    if !x.is_nan() && !y.is_nan() {
        let condition = condition(a, b);
        status::describe_comparison(fpscr, 0, condition);
        return condition;
    }
    let mut raised = 0;
    let signalling = x.is_signalling() || y.is_signalling();
    if signalling {
        raised |= fpscr::VXSNAN;
    }
    if ordered && !(signalling && *fpscr & fpscr::VE != 0) {
        raised |= fpscr::VXVC;
    }
    status::describe_comparison(fpscr, raised, UNORDERED);
    UNORDERED
}

/// `fsel`: FRC if FRA ≥ 0, else (also when FRA is a NaN) FRB; no exception, no status.
#[inline]
pub fn fsel(a: u64, c: u64, b: u64) -> u64 {
    let negative = a & SIGN != 0 && a != SIGN;
    let nan = a & !SIGN > INFINITY;
    if negative || nan { b } else { c }
}
