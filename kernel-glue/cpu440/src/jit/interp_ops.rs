//! The interpreter's operations that translated code runs, by their instructions.
//!
//! An operation depends on the instruction word alone, so code names it by that, and nothing has to
//! be kept for as long as the code is.

use crate::interp::{Op, predecode};

/// Operations that are remembered.
const SLOTS: usize = 1024;

/// The operations that ran last.
#[derive(Debug)]
pub(super) struct InterpOps(Box<[(u32, Op); SLOTS]>);

impl InterpOps {
    /// Makes a memory of operations, with that of some instruction in each slot.
    pub fn new() -> Self {
        let first = (0, predecode(0, 0).0);
        let slots = vec![first; SLOTS].into_boxed_slice();
        InterpOps(slots.try_into().expect("as many slots as were asked for"))
    }

    /// What does an instruction that is no branch.
    #[inline]
    pub fn get(&mut self, word: u32) -> Op {
        // Registers and opcodes are all over the word: the product's upper bits depend on them all.
        let slot = &mut self.0[(word.wrapping_mul(0x9E37_79B1) >> 22) as usize];
        if slot.0 != word {
            *slot = (word, predecode(word, 0).0);
        }
        slot.1
    }
}
