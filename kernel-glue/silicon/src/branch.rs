//! Branches without the hardware: the only instructions that know where they are.

use ppc440_isa::{Insn, Regs, Word, decode};

/// Executes a branch at `regs.pc`; `false`, and nothing has changed, when the instruction is none.
pub(crate) fn branch(word: u32, regs: &mut Regs) -> bool {
    let Some(insn) = decode(word) else {
        return false;
    };
    let fields = Word(word);
    let behind = regs.pc.wrapping_add(4);
    let relative = |distance: i32| {
        let base = if word & 2 == 0 { regs.pc } else { 0 };
        base.wrapping_add_signed(distance)
    };
    let to = match insn {
        Insn::B => relative(fields.li()),
        Insn::Bc => relative(fields.bd()),
        Insn::Bclr => regs.lr & !3,
        Insn::Bcctr => regs.ctr & !3,
        _ => return false,
    };
    let taken = insn == Insn::B || {
        let bo = fields.bo();
        if bo & 4 == 0 {
            regs.ctr = regs.ctr.wrapping_sub(1);
        }
        let counted = bo & 4 != 0 || (regs.ctr != 0) ^ (bo & 2 != 0);
        counted && (bo & 16 != 0 || regs.cr.bit(fields.bi()) == (bo & 8 != 0))
    };
    if word & 1 != 0 {
        regs.lr = behind;
    }
    regs.pc = if taken { to } else { behind };
    true
}
