//! Which guest registers a loop uses: a block that comes back to its own start may keep those in
//! host registers, in the place of pinned ones that it has no use for.

use ppc440_isa::{Insn, Operand};

use super::frontend::{Block, Item, updates};

/// CTR, as a guest register that a loop may keep in a host register, behind the 32 GPRs.
pub(super) const CTR: usize = 32;

/// How often a loop names each GPR and CTR.
pub(super) type Uses = [u32; 33];

/// The uses of the block's loop; none when it does not come back to its start.
pub(super) fn uses(block: &Block) -> Option<Uses> {
    let first = block.items[0].offset;
    let last = block
        .items
        .iter()
        .rposition(|item| target(item) == Some(first as i32))?;
    let mut uses = [0; 33];
    for item in &block.items[..=last] {
        count(item, &mut uses);
    }
    Some(uses)
}

/// Where a relative branch that does not set LR leads, counted from the start of its page.
pub(super) fn target(item: &Item) -> Option<i32> {
    let word = item.word;
    let displacement = match item.insn? {
        Insn::B => word.li(),
        Insn::Bc => word.bd(),
        _ => return None,
    };
    (!word.aa() && !word.lk()).then(|| (item.offset as i32).wrapping_add(displacement))
}

fn count(item: &Item, uses: &mut Uses) {
    let Some(insn) = item.insn else { return };
    let word = item.word;
    if insn == Insn::Bc && word.bo() & 4 == 0 {
        // Counting down through memory would hold the whole loop up.
        uses[CTR] += 2;
    }
    if updates(insn) {
        // It is read and written, and what the next round does waits for it.
        uses[word.ra()] += 1;
    }
    for operand in insn.operands() {
        match operand {
            Operand::Rt | Operand::Rs => uses[word.rt()] += 1,
            Operand::Ra => uses[word.ra()] += 1,
            Operand::Ra0 | Operand::D if word.ra() != 0 => uses[word.ra()] += 1,
            Operand::Rb => uses[word.rb()] += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frontend::block;
    use super::*;

    #[test]
    fn a_loop_uses_what_it_names_and_an_address_that_moves_twice() {
        // lwzu r5,4(r6); add r7,r7,r5; bdnz to the start; what is behind the loop does not count.
        let words = [0x84A6_0004, 0x7CE7_2A14, 0x4200_FFF8, 0x7D29_4A14];
        let uses = uses(&block(&words)).expect("it comes back to its start");
        let mut expected = [0; 33];
        (expected[5], expected[6], expected[7], expected[CTR]) = (2, 2, 2, 2);
        assert_eq!(uses, expected);
        assert!(super::uses(&block(&words[..2])).is_none());
    }
}
