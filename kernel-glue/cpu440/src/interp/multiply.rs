//! Multiply, divide, and the 440's multiply-accumulate group (PPC440x5 user's manual, chapter 9).

use ppc440_isa::Regs;

use super::integer::{record, set_overflow};
use super::{Exec, Flow, Op};

#[inline(always)]
fn write<const RC: bool>(regs: &mut Regs, op: &Op, value: u32) -> Flow {
    regs.gpr[op.word.rt()] = value;
    if RC {
        record(regs, value);
    }
    Flow::Next
}

pub(super) fn mulli(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let a = regs.gpr[op.word.ra()];
    write::<false>(regs, op, a.wrapping_mul(op.imm))
}

pub(super) fn mullw<const OE: bool, const RC: bool>(
    _: &mut Exec,
    regs: &mut Regs,
    op: &Op,
) -> Flow {
    let (a, b) = (regs.gpr[op.word.ra()] as i32, regs.gpr[op.word.rb()] as i32);
    let (product, overflow) = a.overflowing_mul(b);
    if OE {
        set_overflow(regs, overflow);
    }
    write::<RC>(regs, op, product as u32)
}

pub(super) fn mulhw<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let (a, b) = (regs.gpr[op.word.ra()] as i32, regs.gpr[op.word.rb()] as i32);
    write::<RC>(regs, op, ((i64::from(a) * i64::from(b)) >> 32) as u32)
}

pub(super) fn mulhwu<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let (a, b) = (regs.gpr[op.word.ra()], regs.gpr[op.word.rb()]);
    write::<RC>(regs, op, ((u64::from(a) * u64::from(b)) >> 32) as u32)
}

pub(super) fn divw<const OE: bool, const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let (a, b) = (regs.gpr[op.word.ra()] as i32, regs.gpr[op.word.rb()] as i32);
    let quotient = a.checked_div(b);
    if OE {
        set_overflow(regs, quotient.is_none());
    }
    // Undefined where there is no quotient. The sign, all through the register, is what other
    // implementations give, so code that looks at it sees nothing new.
    write::<RC>(regs, op, quotient.unwrap_or(a >> 31) as u32)
}

pub(super) fn divwu<const OE: bool, const RC: bool>(
    _: &mut Exec,
    regs: &mut Regs,
    op: &Op,
) -> Flow {
    let (a, b) = (regs.gpr[op.word.ra()], regs.gpr[op.word.rb()]);
    let quotient = a.checked_div(b);
    if OE {
        set_overflow(regs, quotient.is_none());
    }
    write::<RC>(regs, op, quotient.unwrap_or(0))
}

/// Which halves of RA and RB a 16-bit product takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Halves {
    /// Low of RA, high of RB.
    Cross,
    HighHigh,
    LowLow,
}

impl Halves {
    #[inline(always)]
    fn of(self, regs: &Regs, op: &Op) -> (u16, u16) {
        let (a, b) = (regs.gpr[op.word.ra()], regs.gpr[op.word.rb()]);
        match self {
            Halves::Cross => (a as u16, (b >> 16) as u16),
            Halves::HighHigh => ((a >> 16) as u16, (b >> 16) as u16),
            Halves::LowLow => (a as u16, b as u16),
        }
    }

    #[inline(always)]
    fn signed(self, regs: &Regs, op: &Op) -> i64 {
        let (a, b) = self.of(regs, op);
        i64::from(a as i16) * i64::from(b as i16)
    }

    #[inline(always)]
    fn unsigned(self, regs: &Regs, op: &Op) -> i64 {
        let (a, b) = self.of(regs, op);
        i64::from(a) * i64::from(b)
    }
}

macro_rules! products {
    ($($name:ident $sign:ident $halves:ident;)*) => {$(
        pub(super) fn $name<const RC: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
            let product = Halves::$halves.$sign(regs, op);
            write::<RC>(regs, op, product as u32)
        }
    )*};
}

products! {
    mulchw signed Cross;
    mulchwu unsigned Cross;
    mulhhw signed HighHigh;
    mulhhwu unsigned HighHigh;
    mullhw signed LowLow;
    mullhwu unsigned LowLow;
}

/// RT plus a signed product that fits 33 bits; saturated to the sign of the true result.
#[inline(always)]
fn accumulate_signed<const SATURATE: bool, const OE: bool, const RC: bool>(
    regs: &mut Regs,
    op: &Op,
    term: i64,
) -> Flow {
    let exact = i64::from(regs.gpr[op.word.rt()] as i32) + term;
    let clamped = exact.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    if OE {
        set_overflow(regs, clamped != exact);
    }
    write::<RC>(regs, op, if SATURATE { clamped } else { exact } as u32)
}

/// RT plus an unsigned product.
#[inline(always)]
fn accumulate_unsigned<const SATURATE: bool, const OE: bool, const RC: bool>(
    regs: &mut Regs,
    op: &Op,
    term: i64,
) -> Flow {
    let exact = i64::from(regs.gpr[op.word.rt()]) + term;
    let clamped = exact.min(i64::from(u32::MAX));
    if OE {
        set_overflow(regs, clamped != exact);
    }
    write::<RC>(regs, op, if SATURATE { clamped } else { exact } as u32)
}

macro_rules! accumulators {
    ($($name:ident $accumulate:ident $saturate:literal $halves:ident |$halves_:ident, $regs:ident, $op:ident| $term:expr;)*) => {$(
        pub(super) fn $name<const OE: bool, const RC: bool>(_: &mut Exec, $regs: &mut Regs, $op: &Op) -> Flow {
            let $halves_ = Halves::$halves;
            let term: i64 = $term;
            $accumulate::<$saturate, OE, RC>($regs, $op, term)
        }
    )*};
}

accumulators! {
    macchw accumulate_signed false Cross |h, r, op| h.signed(r, op);
    machhw accumulate_signed false HighHigh |h, r, op| h.signed(r, op);
    maclhw accumulate_signed false LowLow |h, r, op| h.signed(r, op);
    macchws accumulate_signed true Cross |h, r, op| h.signed(r, op);
    machhws accumulate_signed true HighHigh |h, r, op| h.signed(r, op);
    maclhws accumulate_signed true LowLow |h, r, op| h.signed(r, op);
    macchwu accumulate_unsigned false Cross |h, r, op| h.unsigned(r, op);
    machhwu accumulate_unsigned false HighHigh |h, r, op| h.unsigned(r, op);
    maclhwu accumulate_unsigned false LowLow |h, r, op| h.unsigned(r, op);
    macchwsu accumulate_unsigned true Cross |h, r, op| h.unsigned(r, op);
    machhwsu accumulate_unsigned true HighHigh |h, r, op| h.unsigned(r, op);
    maclhwsu accumulate_unsigned true LowLow |h, r, op| h.unsigned(r, op);
    nmacchw accumulate_signed false Cross |h, r, op| -h.signed(r, op);
    nmachhw accumulate_signed false HighHigh |h, r, op| -h.signed(r, op);
    nmaclhw accumulate_signed false LowLow |h, r, op| -h.signed(r, op);
    nmacchws accumulate_signed true Cross |h, r, op| -h.signed(r, op);
    nmachhws accumulate_signed true HighHigh |h, r, op| -h.signed(r, op);
    nmaclhws accumulate_signed true LowLow |h, r, op| -h.signed(r, op);
}
