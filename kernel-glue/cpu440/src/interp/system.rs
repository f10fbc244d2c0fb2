//! What problem state can do of the system: traps, calls, its own SPRs; what the CPU does for the
//! guest's supervisor; and the rest, which traps to the KVM core.

use std::sync::atomic::{Ordering, fence};

use ppc440_isa::regs::{mmucr, msr};
use ppc440_isa::spr::{self, SPRG0, SPRG4_USER, SPRG7, SPRG7_USER};
use ppc440_isa::tlb::ENTRIES;
use ppc440_isa::{Mode, ProgramCause, Regs, TlbWrite, Trap, Xer};

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

/// Hints.
pub(super) fn nothing(_: &mut Exec, _: &mut Regs, _: &Op) -> Flow {
    Flow::Next
}

/// `isync`. Code is kept coherent without it; what `tlbwe` wrote must be seen from here on.
pub(super) fn isync(exec: &mut Exec, regs: &mut Regs, _: &Op) -> Flow {
    if regs.tlb_writes.is_empty() {
        return Flow::Next;
    }
    exec.trap = Trap::Attention;
    Flow::Stop
}

/// The system call interrupt, if the core has said where it goes and knows the mode that it goes to.
pub(super) fn sc(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let to = regs.system_call;
    let kept = regs.msr & msr::KEPT_NON_CRITICAL;
    if to == 0 || !regs.tlb_writes.is_empty() || !exec.mmu.enter(Mode::new(kept, regs.pid)) {
        exec.trap = Trap::Syscall;
        return Flow::Call;
    }
    regs.interrupt(regs.pc.wrapping_add(op.imm), to);
    regs.system_calls += 1;
    Flow::Jump
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

/// `wrtee`: MSR[EE] becomes that of a register.
pub(super) fn wrtee(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    write_ee(exec, regs, op, regs.gpr[op.word.rs()])
}

/// `wrteei`: MSR[EE] becomes the bit in the instruction, which is in EE's place.
pub(super) fn wrteei(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    write_ee(exec, regs, op, op.word.0)
}

#[inline(always)]
fn write_ee(exec: &mut Exec, regs: &mut Regs, op: &Op, from: u32) -> Flow {
    if regs.msr & msr::PR != 0 {
        return privileged(exec, regs, op);
    }
    regs.msr = regs.msr & !msr::EE | from & msr::EE;
    if regs.msr & msr::EE != 0 && regs.masked {
        exec.trap = Trap::Attention;
        return Flow::Stop;
    }
    Flow::Next
}

/// The MSR bits of which a change concerns nobody but the CPU, as long as no interrupt waits for
/// EE. Of the others, some change the mode, and the rest is what the core looks at before each
/// instruction.
pub(crate) const OWN_MSR: u32 = msr::EE | msr::FP | msr::FE0 | msr::FE1;

/// The MSR bits that make the mode.
const MODE_MSR: u32 = msr::PR | msr::IS | msr::DS;

/// Whether the CPU can give the MSR a value, in supervisor state: then the mode is selected that
/// it makes.
fn enter_mode(exec: &mut Exec, regs: &Regs, new: u32) -> bool {
    let changed = new ^ regs.msr;
    if changed & !OWN_MSR == 0 {
        return true;
    }
    changed & !(OWN_MSR | MODE_MSR) == 0
        && regs.tlb_writes.is_empty()
        && exec.mmu.enter(Mode::new(new, regs.pid))
}

/// `mtmsr` that changes no more than the CPU's own bits and the mode; the core knows the rest.
pub(super) fn mtmsr(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let new = regs.gpr[op.word.rs()] & msr::IMPLEMENTED;
    if regs.msr & msr::PR != 0 || !enter_mode(exec, regs, new) {
        return privileged(exec, regs, op);
    }
    let changed = new ^ regs.msr;
    regs.msr = new;
    if new & msr::EE != 0 && regs.masked {
        exec.trap = Trap::Attention;
        return Flow::Stop;
    }
    if changed & MODE_MSR == 0 {
        return Flow::Next;
    }
    // What comes next is fetched in the new mode.
    regs.pc = regs.pc.wrapping_add(op.imm);
    Flow::Jump
}

/// `rfi` that does no more, likewise, and finds neither an interrupt nor a write to the TLB waiting.
pub(super) fn rfi(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let new = regs.srr1 & msr::IMPLEMENTED;
    let waits = new & msr::EE != 0 && regs.masked || !regs.tlb_writes.is_empty();
    if regs.msr & msr::PR != 0 || waits || !enter_mode(exec, regs, new) {
        return privileged(exec, regs, op);
    }
    regs.msr = new;
    regs.pc = regs.srr0 & !3;
    Flow::Jump
}

/// `mtspr PID`, to a mode that the core has selected before.
pub(super) fn mtpid(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let pid = regs.gpr[op.word.rs()] as u8;
    if regs.msr & msr::PR != 0 || !exec.mmu.enter(Mode::new(regs.msr, pid)) {
        return privileged(exec, regs, op);
    }
    regs.pid = pid;
    regs.pc = regs.pc.wrapping_add(op.imm);
    Flow::Jump
}

/// `tlbwe`: the write waits for the core, as long as there is room.
pub(super) fn tlbwe(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let write = TlbWrite {
        value: regs.gpr[op.word.rs()],
        index: regs.gpr[op.word.ra()] as u8 % ENTRIES as u8,
        word: op.word.ws() as u8,
        tid: regs.mmucr as u8,
    };
    if regs.msr & msr::PR != 0 || !regs.tlb_writes.push(write) {
        return privileged(exec, regs, op);
    }
    Flow::Next
}

/// Whether [`Regs`] holds the SPR, to be read.
pub(super) fn is_readable(number: u32) -> bool {
    (SPRG4_USER..=SPRG7_USER).contains(&number) || is_writable(number)
}

/// Whether [`Regs`] holds the SPR, to be written.
pub(super) fn is_writable(number: u32) -> bool {
    matches!(
        number,
        spr::LR | spr::CTR | spr::XER | spr::USPRG0 | SPRG0
            ..=SPRG7
                | spr::SRR0
                | spr::SRR1
                | spr::CSRR0
                | spr::CSRR1
                | spr::DEAR
                | spr::ESR
                | spr::MMUCR
                | spr::PID
    )
}

/// The other SPRs that are in the registers: XER, USPRG0, SPRG4-7, and the guest's supervisor's.
pub(super) fn mfspr(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.gpr[op.word.rt()] = match op.word.spr() {
        spr::XER => regs.xer.word(),
        spr::USPRG0 => regs.usprg0,
        n @ SPRG4_USER..=SPRG7_USER => regs.sprg[(n - SPRG4_USER) as usize + 4],
        _ if regs.msr & msr::PR != 0 => return privileged(exec, regs, op),
        n @ SPRG0..=SPRG7 => regs.sprg[(n - SPRG0) as usize],
        spr::SRR0 => regs.srr0,
        spr::SRR1 => regs.srr1,
        spr::CSRR0 => regs.csrr0,
        spr::CSRR1 => regs.csrr1,
        spr::DEAR => regs.dear,
        spr::ESR => regs.esr,
        spr::MMUCR => regs.mmucr,
        spr::PID => regs.pid.into(),
        _ => return privileged(exec, regs, op),
    };
    Flow::Next
}

/// Writes an SPR that is storage.
pub(super) fn mtspr(exec: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let value = regs.gpr[op.word.rs()];
    match op.word.spr() {
        spr::XER => regs.xer = Xer::from_word(value),
        spr::USPRG0 => regs.usprg0 = value,
        _ if regs.msr & msr::PR != 0 => return privileged(exec, regs, op),
        n @ SPRG0..=SPRG7 => regs.sprg[(n - SPRG0) as usize] = value,
        spr::SRR0 => regs.srr0 = value,
        spr::SRR1 => regs.srr1 = value,
        spr::CSRR0 => regs.csrr0 = value,
        spr::CSRR1 => regs.csrr1 = value,
        spr::DEAR => regs.dear = value,
        spr::ESR => regs.esr = value,
        spr::MMUCR => regs.mmucr = value & mmucr::IMPLEMENTED,
        _ => return privileged(exec, regs, op),
    }
    Flow::Next
}
