//! Floating-point instructions: registers and enables here, arithmetic in [`crate::fpu`].

use ppc440_isa::{ProgramCause, Regs, Trap, regs::fpscr, regs::msr};

use super::{Exec, Flow, Op};
use crate::fpu;

/// CR1 from the exception summaries, as every form with Rc does.
#[inline(always)]
fn record<const RC: bool>(regs: &mut Regs) {
    if RC {
        regs.cr.set_field(1, (regs.fpscr >> 28) as u8);
    }
}

/// The end of an operation that may have raised an exception: an enabled one traps when FE0 or
/// FE1 is set, after the result is written (Book E, section 4.4).
#[inline(always)]
fn finish<const RC: bool>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    record::<RC>(regs);
    if regs.fpscr & fpscr::FEX != 0 && regs.msr & (msr::FE0 | msr::FE1) != 0 {
        exec.trap = Trap::Program {
            cause: ProgramCause::FloatingPoint,
            word: op.word.0,
        };
        return Flow::Trap;
    }
    Flow::Next
}

macro_rules! arithmetic {
    ($($name:ident($($field:ident),+);)*) => {$(
        pub(super) fn $name<const RC: bool>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
            if !exec.float_available(regs) {
                return Flow::Trap;
            }
            $(let $field = regs.fpr[op.word.$field()];)+
            // No result: an enabled invalid operation or zero divide leaves FRT alone.
            if let Some(result) = fpu::$name(&mut regs.fpscr, $($field),+) {
                regs.fpr[op.word.frt()] = result;
            }
            finish::<RC>(exec, regs, op)
        }
    )*};
}

arithmetic! {
    fadd(fra, frb);
    fadds(fra, frb);
    fsub(fra, frb);
    fsubs(fra, frb);
    fmul(fra, frc);
    fmuls(fra, frc);
    fdiv(fra, frb);
    fdivs(fra, frb);
    fsqrt(frb);
    fsqrts(frb);
    fres(frb);
    frsqrte(frb);
    frsp(frb);
    fctiw(frb);
    fctiwz(frb);
    fmadd(fra, frc, frb);
    fmadds(fra, frc, frb);
    fmsub(fra, frc, frb);
    fmsubs(fra, frc, frb);
    fnmadd(fra, frc, frb);
    fnmadds(fra, frc, frb);
    fnmsub(fra, frc, frb);
    fnmsubs(fra, frc, frb);
}

/// Moves: no exception, FPSCR untouched.
macro_rules! moves {
    ($($name:ident($($field:ident),+) $value:expr;)*) => {$(
        pub(super) fn $name<const RC: bool>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
            if !exec.float_available(regs) {
                return Flow::Trap;
            }
            $(let $field = regs.fpr[op.word.$field()];)+
            regs.fpr[op.word.frt()] = $value;
            record::<RC>(regs);
            Flow::Next
        }
    )*};
}

const SIGN: u64 = 1 << 63;

moves! {
    fmr(frb) frb;
    fneg(frb) frb ^ SIGN;
    fabs(frb) frb & !SIGN;
    fnabs(frb) frb | SIGN;
    fsel(fra, frb, frc) fpu::fsel(fra, frc, frb);
}

macro_rules! compares {
    ($($name:ident)*) => {$(
        pub(super) fn $name(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
            if !exec.float_available(regs) {
                return Flow::Trap;
            }
            let (a, b) = (regs.fpr[op.word.fra()], regs.fpr[op.word.frb()]);
            regs.cr.set_field(op.word.crfd(), fpu::$name(&mut regs.fpscr, a, b));
            finish::<false>(exec, regs, op)
        }
    )*};
}

compares! { fcmpu fcmpo }

pub(super) fn mffs<const RC: bool>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if !exec.float_available(regs) {
        return Flow::Trap;
    }
    // The upper word is undefined; 0xFFF80000 makes the whole a quiet NaN, as other cores do.
    regs.fpr[op.word.frt()] = 0xFFF8_0000_0000_0000 | u64::from(regs.fpscr);
    record::<RC>(regs);
    Flow::Next
}

pub(super) fn mtfsf<const RC: bool>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if !exec.float_available(regs) {
        return Flow::Trap;
    }
    let value = regs.fpr[op.word.frb()] as u32;
    fpu::mtfsf(&mut regs.fpscr, op.word.fm(), value);
    finish::<RC>(exec, regs, op)
}

pub(super) fn mtfsfi<const RC: bool>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if !exec.float_available(regs) {
        return Flow::Trap;
    }
    fpu::mtfsfi(&mut regs.fpscr, op.word.crfd() as u32, op.word.imm4());
    finish::<RC>(exec, regs, op)
}

pub(super) fn mtfsb0<const RC: bool>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if !exec.float_available(regs) {
        return Flow::Trap;
    }
    fpu::mtfsb0(&mut regs.fpscr, op.word.bt());
    record::<RC>(regs);
    Flow::Next
}

pub(super) fn mtfsb1<const RC: bool>(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if !exec.float_available(regs) {
        return Flow::Trap;
    }
    fpu::mtfsb1(&mut regs.fpscr, op.word.bt());
    finish::<RC>(exec, regs, op)
}

pub(super) fn mcrfs(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if !exec.float_available(regs) {
        return Flow::Trap;
    }
    regs.cr.set_field(
        op.word.crfd(),
        fpu::mcrfs(&mut regs.fpscr, op.word.crfs() as u32),
    );
    Flow::Next
}
