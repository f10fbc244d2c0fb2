//! What problem state can do of the system: traps, calls, its own SPRs, and the rest, which
//! traps to the KVM core.

use std::sync::atomic::{Ordering, fence};

use ppc440_isa::{ProgramCause, Regs, Trap, Xer, regs::msr, spr};

use super::{Exec, Flow, Op};

/// A privileged instruction, or one that reads what only the core knows.
pub(super) fn privileged(exec: &mut Exec, _: &mut Regs, op: &Op) -> Flow {
    exec.trap(Trap::Program {
        cause: ProgramCause::Privileged,
        word: op.word.0,
    })
}

/// No instruction of the 440EP.
pub(super) fn illegal(exec: &mut Exec, _: &mut Regs, op: &Op) -> Flow {
    exec.trap(Trap::Program {
        cause: ProgramCause::Illegal,
        word: op.word.0,
    })
}

/// `msync` and `mbar`: a store before them is seen by other threads before a load behind them is
/// made. Devices work on guest memory from threads of their own, and a driver that publishes a
/// buffer and then looks whether the device sleeps needs exactly this; the host's own order does
/// not give it.
pub(super) fn barrier(_: &mut Exec, _: &mut Regs, _: &Op) -> Flow {
    fence(Ordering::SeqCst);
    Flow::Next
}

/// Hints, and `isync`. Code is kept coherent without it; it ends its block, and that is all it does
/// here.
pub(super) fn nothing(_: &mut Exec, _: &mut Regs, _: &Op) -> Flow {
    Flow::Next
}

pub(super) fn sc(exec: &mut Exec, _: &mut Regs, _: &Op) -> Flow {
    exec.trap = Trap::Syscall;
    Flow::Call
}

/// Whether TO selects the relation of two values (chapter 9, `tw`).
#[inline(always)]
fn trap_condition(to: u32, a: u32, b: u32) -> bool {
    (to & 16 != 0 && (a as i32) < b as i32)
        || (to & 8 != 0 && (a as i32) > b as i32)
        || (to & 4 != 0 && a == b)
        || (to & 2 != 0 && a < b)
        || (to & 1 != 0 && a > b)
}

#[inline(always)]
fn trap_if(exec: &mut Exec, op: &Op, a: u32, b: u32) -> Flow {
    if trap_condition(op.word.to(), a, b) {
        exec.trap(Trap::Program {
            cause: ProgramCause::Trap,
            word: op.word.0,
        })
    } else {
        Flow::Next
    }
}

pub(super) fn tw(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    trap_if(exec, op, regs.gpr[op.word.ra()], regs.gpr[op.word.rb()])
}

pub(super) fn twi(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    trap_if(exec, op, regs.gpr[op.word.ra()], op.imm)
}

pub(super) fn mflr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.gpr[op.word.rt()] = regs.lr;
    Flow::Next
}

pub(super) fn mtlr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.lr = regs.gpr[op.word.rs()];
    Flow::Next
}

pub(super) fn mfctr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.gpr[op.word.rt()] = regs.ctr;
    Flow::Next
}

pub(super) fn mtctr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.ctr = regs.gpr[op.word.rs()];
    Flow::Next
}

/// `mfmsr`: the guest's supervisor may see its MSR, which is in the registers.
pub(super) fn mfmsr(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if regs.msr & msr::PR != 0 {
        return privileged(exec, regs, op);
    }
    regs.gpr[op.word.rt()] = regs.msr;
    Flow::Next
}

/// The other SPRs that are in the registers: XER, USPRG0, SPRG4-7, and SPRG0-7 for the guest's
/// supervisor.
pub(super) fn mfspr(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.gpr[op.word.rt()] = match op.word.spr() {
        spr::XER => regs.xer.word(),
        spr::USPRG0 => regs.usprg0,
        // 0x104 to 0x107: the read-only names of SPRG4 to SPRG7.
        n @ 0x104..=0x107 => regs.sprg[(n - 0x100) as usize],
        n @ 0x110..=0x117 if regs.msr & msr::PR == 0 => regs.sprg[(n - 0x110) as usize],
        _ => return privileged(exec, regs, op),
    };
    Flow::Next
}

/// Likewise to write: XER, USPRG0, and SPRG0-7 for the guest's supervisor.
pub(super) fn mtspr(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let value = regs.gpr[op.word.rs()];
    match op.word.spr() {
        spr::XER => regs.xer = Xer::from_word(value),
        spr::USPRG0 => regs.usprg0 = value,
        n @ 0x110..=0x117 if regs.msr & msr::PR == 0 => regs.sprg[(n - 0x110) as usize] = value,
        _ => return privileged(exec, regs, op),
    }
    Flow::Next
}
