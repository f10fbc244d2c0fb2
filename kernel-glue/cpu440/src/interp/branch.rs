//! Branches and condition register logic (PPC440x5 user's manual, sections 2.4 and 2.5).
//!
//! A branch is the last operation of its block, and `pc` is the block's end while it runs: the
//! fall-through address, and what LK saves. `imm` holds a relative displacement from there.

use ppc440_isa::Regs;

use super::{Exec, Flow, Op};

pub(super) fn b<const AA: bool, const LK: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if LK {
        regs.lr = regs.pc;
    }
    regs.pc = if AA {
        op.imm
    } else {
        regs.pc.wrapping_add(op.imm)
    };
    Flow::Jump
}

/// `bc` that tests one CR bit and leaves CTR alone, relative, without LK: the usual `beq`, `bne`.
pub(super) fn bc_bit<const WHEN: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if regs.cr.bit(op.word.bi()) == WHEN {
        regs.pc = regs.pc.wrapping_add(op.imm);
    }
    Flow::Jump
}

/// `bdnz`, relative, without LK.
pub(super) fn bdnz(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.ctr = regs.ctr.wrapping_sub(1);
    if regs.ctr != 0 {
        regs.pc = regs.pc.wrapping_add(op.imm);
    }
    Flow::Jump
}

/// Whether BO and BI say to branch; counts CTR down when BO asks for it.
#[inline(always)]
fn condition(regs: &mut Regs, op: &Op) -> bool {
    let bo = op.word.bo();
    let counted = if bo & 4 == 0 {
        regs.ctr = regs.ctr.wrapping_sub(1);
        (regs.ctr == 0) == (bo & 2 != 0)
    } else {
        true
    };
    counted && (bo & 16 != 0 || regs.cr.bit(op.word.bi()) == (bo & 8 != 0))
}

#[inline(always)]
fn branch_if(regs: &mut Regs, taken: bool, target: u32, lk: bool) -> Flow {
    if lk {
        regs.lr = regs.pc;
    }
    if taken {
        regs.pc = target;
    }
    Flow::Jump
}

pub(super) fn bc<const AA: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let target = if AA {
        op.imm
    } else {
        regs.pc.wrapping_add(op.imm)
    };
    let taken = condition(regs, op);
    branch_if(regs, taken, target, op.word.lk())
}

pub(super) fn bclr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let taken = condition(regs, op);
    branch_if(regs, taken, regs.lr & !3, op.word.lk())
}

/// `blr`.
pub(super) fn blr(_: &mut Exec, regs: &mut Regs, _: &Op) -> Flow {
    regs.pc = regs.lr & !3;
    Flow::Jump
}

pub(super) fn bcctr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let taken = condition(regs, op);
    branch_if(regs, taken, regs.ctr & !3, op.word.lk())
}

macro_rules! cr_logic {
    ($($name:ident |$a:ident, $b:ident| $value:expr;)*) => {$(
        pub(super) fn $name(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
            let ($a, $b) = (regs.cr.bit(op.word.ba()), regs.cr.bit(op.word.bb()));
            regs.cr.set_bit(op.word.bt(), $value);
            Flow::Next
        }
    )*};
}

cr_logic! {
    crand |a, b| a & b;
    crandc |a, b| a & !b;
    creqv |a, b| a == b;
    crnand |a, b| !(a & b);
    crnor |a, b| !(a | b);
    cror |a, b| a | b;
    crorc |a, b| a | !b;
    crxor |a, b| a ^ b;
}

pub(super) fn mcrf(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.cr.0[op.word.crfd()] = regs.cr.0[op.word.crfs()];
    Flow::Next
}

pub(super) fn mcrxr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let xer = &mut regs.xer;
    regs.cr.0[op.word.crfd()] =
        u8::from(xer.so) << 3 | u8::from(xer.ov) << 2 | u8::from(xer.ca) << 1;
    (xer.so, xer.ov, xer.ca) = (false, false, false);
    Flow::Next
}

pub(super) fn mfcr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.gpr[op.word.rt()] = regs.cr.word();
    Flow::Next
}

pub(super) fn mtcrf(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let value = regs.gpr[op.word.rs()];
    for field in 0..8 {
        if op.word.crm() & 0x80 >> field != 0 {
            regs.cr.0[field] = (value >> (28 - 4 * field)) as u8 & 15;
        }
    }
    Flow::Next
}
