//! Branches and condition register logic (PPC440x5 user's manual, sections 2.4 and 2.5).
//!
//! `pc` is the start of the branch's page while it runs. `imm` is the target's offset from there
//! when that is relative, the branch's own otherwise. A branch that is not taken goes on with the
//! next operation.

use ppc440_isa::Regs;

use super::{Exec, Flow, Op};

/// Jumps to a relative target, `displacement` from the branch, or to an absolute one.
#[inline(always)]
fn target<const AA: bool>(regs: &Regs, op: &Op, displacement: i32) -> u32 {
    if AA {
        displacement as u32
    } else {
        regs.pc.wrapping_add(op.imm)
    }
}

/// The address behind the branch: what LK saves.
#[inline(always)]
fn behind<const AA: bool>(regs: &Regs, op: &Op, displacement: i32) -> u32 {
    let own = if AA {
        op.imm
    } else {
        op.imm.wrapping_sub(displacement as u32)
    };
    regs.pc.wrapping_add(own).wrapping_add(4)
}

#[inline(always)]
fn jump(regs: &mut Regs, target: u32) -> Flow {
    regs.pc = target;
    Flow::Jump
}

pub(super) fn b<const AA: bool, const LK: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if LK {
        regs.lr = behind::<AA>(regs, op, op.word.li());
    }
    let target = target::<AA>(regs, op, op.word.li());
    jump(regs, target)
}

/// `bc` that tests one CR bit and leaves CTR alone, relative, without LK: the usual `beq`, `bne`.
pub(super) fn bc_bit<const WHEN: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    if regs.cr.bit(op.word.bi()) == WHEN {
        let target = target::<false>(regs, op, 0);
        jump(regs, target)
    } else {
        Flow::Next
    }
}

/// `bdnz`, relative, without LK.
pub(super) fn bdnz(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    regs.ctr = regs.ctr.wrapping_sub(1);
    if regs.ctr != 0 {
        let target = target::<false>(regs, op, 0);
        jump(regs, target)
    } else {
        Flow::Next
    }
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
fn branch_if(regs: &mut Regs, op: &Op, taken: bool, target: u32, behind: u32) -> Flow {
    if op.word.lk() {
        regs.lr = behind;
    }
    if taken {
        jump(regs, target)
    } else {
        Flow::Next
    }
}

pub(super) fn bc<const AA: bool>(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let target = target::<AA>(regs, op, op.word.bd());
    let behind = behind::<AA>(regs, op, op.word.bd());
    let taken = condition(regs, op);
    branch_if(regs, op, taken, target, behind)
}

pub(super) fn bclr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let behind = behind::<true>(regs, op, 0);
    let taken = condition(regs, op);
    branch_if(regs, op, taken, regs.lr & !3, behind)
}

/// `blr`.
pub(super) fn blr(_: &mut Exec, regs: &mut Regs, _: &Op) -> Flow {
    jump(regs, regs.lr & !3)
}

pub(super) fn bcctr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let behind = behind::<true>(regs, op, 0);
    let taken = condition(regs, op);
    branch_if(regs, op, taken, regs.ctr & !3, behind)
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
    regs.cr
        .set_field(op.word.crfd(), regs.cr.field(op.word.crfs()));
    Flow::Next
}

pub(super) fn mcrxr(_: &mut Exec, regs: &mut Regs, op: &Op) -> Flow {
    let xer = &mut regs.xer;
    let field = u8::from(xer.so) << 3 | u8::from(xer.ov) << 2 | u8::from(xer.ca) << 1;
    regs.cr.set_field(op.word.crfd(), field);
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
            regs.cr.set_field(field, (value >> (28 - 4 * field)) as u8);
        }
    }
    Flow::Next
}
