//! The FPSCR: sticky exception bits, the summaries derived from them, and the instructions that
//! move its bits (Book E, section 5.2.2).

use ppc440_isa::regs::fpscr;

/// The exception bits whose change from 0 to 1 sets FX.
const EXCEPTIONS: u32 = fpscr::OX | fpscr::UX | fpscr::ZX | fpscr::XX | fpscr::VX_ALL;

/// Bits that exist and that a move may write: not the summaries, not the reserved bit 20.
const WRITABLE: u32 = !(fpscr::FEX | fpscr::VX | 0x0000_0800);

/// How far an exception's bit is from its enable bit, for VX OX UX ZX XX and VE OE UE ZE XE.
const TO_ENABLE: u32 = 22;
const ENABLES: u32 = fpscr::VE | fpscr::OE | fpscr::UE | fpscr::ZE | fpscr::XE;

/// The result flags: class and condition of a result, five bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fprf(u32);

impl Fprf {
    pub(super) const QUIET_NAN: Fprf = Fprf(0b1_0001);

    #[inline(always)]
    pub(super) fn zero(negative: bool) -> Self {
        Fprf(if negative { 0b1_0010 } else { 0b0_0010 })
    }

    #[inline(always)]
    pub(super) fn denormal(negative: bool) -> Self {
        Fprf(if negative { 0b1_1000 } else { 0b1_0100 })
    }

    #[inline(always)]
    pub(super) fn normal(negative: bool) -> Self {
        Fprf(if negative { 0b0_1000 } else { 0b0_0100 })
    }

    #[inline(always)]
    pub(super) fn infinite(negative: bool) -> Self {
        Fprf(if negative { 0b0_1001 } else { 0b0_0101 })
    }
}

/// Returns FPSCR with VX and FEX as the other bits make them.
#[inline(always)]
fn summarised(value: u32) -> u32 {
    let mut value = value & !(fpscr::FEX | fpscr::VX);
    if value & fpscr::VX_ALL != 0 {
        value |= fpscr::VX;
    }
    if value >> TO_ENABLE & value & ENABLES != 0 {
        value |= fpscr::FEX;
    }
    value
}

/// Sets bits of `raised`, FX if one of them is a new exception, and the summaries.
#[inline(always)]
pub(super) fn raise(fpscr: &mut u32, raised: u32) {
    let new = raised & !*fpscr & EXCEPTIONS;
    *fpscr |= raised;
    if new != 0 {
        *fpscr |= fpscr::FX;
    }
    *fpscr = summarised(*fpscr);
}

/// Whether these exceptions are enabled ones that leave the target register alone.
#[inline(always)]
pub(super) fn suppresses_result(fpscr: u32, raised: u32) -> bool {
    raised & fpscr::VX_ALL != 0 && fpscr & fpscr::VE != 0
        || raised & fpscr::ZX != 0 && fpscr & fpscr::ZE != 0
}

/// Raises exceptions and sets FR and FI from `raised`, for what has no result or no class of it:
/// FPRF stays.
#[inline]
pub(super) fn describe_unclassed(fpscr: &mut u32, raised: u32) {
    *fpscr &= !(fpscr::FR | fpscr::FI);
    raise(fpscr, raised);
}

/// Raises exceptions and sets FR, FI and FPRF for a result.
#[inline(always)]
pub(super) fn describe(fpscr: &mut u32, raised: u32, fprf: Fprf) {
    *fpscr &= !(fpscr::FR | fpscr::FI | fpscr::FPRF);
    raise(fpscr, raised | fprf.0 << 12);
}

/// Raises exceptions and sets FPCC, four bits, for a comparison; C, FR and FI stay.
#[inline(always)]
pub(super) fn describe_comparison(fpscr: &mut u32, raised: u32, condition: u8) {
    *fpscr &= !fpscr::FPCC;
    raise(fpscr, raised | u32::from(condition) << 12);
}

/// Whether an enabled exception stands: what raises a Program interrupt while MSR\[FE0\] or
/// MSR\[FE1\] is set.
#[inline]
pub fn fex(fpscr: u32) -> bool {
    fpscr & fpscr::FEX != 0
}

/// Replaces the bits of `mask`, then derives the summaries.
fn replace(fpscr: &mut u32, mask: u32, value: u32) {
    let mask = mask & WRITABLE;
    *fpscr = summarised(*fpscr & !mask | value & mask);
}

/// The four bits of field `field`, 0 being the most significant; only its low three bits count.
fn field_shift(field: u32) -> u32 {
    28 - 4 * (field & 7)
}

/// `mtfsf`: copies each 4-bit field of `value` (FRB's low word) whose bit of `fm` is 1.
///
/// Bit 7 of `fm`, the instruction's first, stands for field 0. FX comes from `value` when field 0
/// is written and is otherwise not touched, even if an exception bit becomes 1.
pub fn mtfsf(fpscr: &mut u32, fm: u32, value: u32) {
    let mask = (0..8)
        .filter(|field| fm & 0x80 >> field != 0)
        .fold(0, |mask, field| mask | 0xF << field_shift(field));
    replace(fpscr, mask, value);
}

/// `mtfsfi`: puts `imm`, four bits, into field `field`, 0 to 7; FX as for [`mtfsf`].
pub fn mtfsfi(fpscr: &mut u32, field: u32, imm: u32) {
    let shift = field_shift(field);
    replace(fpscr, 0xF << shift, (imm & 0xF) << shift);
}

/// `mtfsb0`: clears bit `bit`, 0 being the most significant; FEX and VX cannot be cleared.
pub fn mtfsb0(fpscr: &mut u32, bit: u32) {
    replace(fpscr, 0x8000_0000 >> (bit & 31), 0);
}

/// `mtfsb1`: sets bit `bit`, 0 being the most significant, and FX if that is a new exception; FEX
/// and VX cannot be set.
pub fn mtfsb1(fpscr: &mut u32, bit: u32) {
    raise(fpscr, 0x8000_0000 >> (bit & 31) & WRITABLE);
}

/// `mcrfs`: returns field `field`, 0 to 7, for a CR field, and clears the exception bits in it.
///
/// FX counts as one of them; FEX and VX are derived again from what is left.
pub fn mcrfs(fpscr: &mut u32, field: u32) -> u8 {
    let shift = field_shift(field);
    let copied = (*fpscr >> shift & 0xF) as u8;
    replace(fpscr, 0xF << shift & (EXCEPTIONS | fpscr::FX), 0);
    copied
}
