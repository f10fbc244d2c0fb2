//! From guest words to the instructions of a block.

use ppc440_isa::{Flags, Insn, Operand, Word, decode, spr};

use crate::interp::goes_to_core;
use crate::ram::Ram;

/// Instructions of a block at the most.
pub(super) const LONGEST: usize = 48;
const PAGE: u32 = 4096;

/// An instruction of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// What it is; none for a word that is no instruction.
    pub insn: Option<Insn>,
    /// The instruction word.
    pub word: Word,
    /// Offset in its page.
    pub offset: u32,
    /// The GPRs that it may write, one bit each, GPR 0 the lowest.
    pub written: u32,
}

impl Item {
    /// The item of a word at an offset in its page.
    pub fn new(word: Word, offset: u32) -> Self {
        let insn = decode(word.0);
        Item {
            insn,
            word,
            offset,
            written: insn.map_or(0, |insn| written(insn, word)),
        }
    }
}

/// A stretch of code that is entered at its start and left at its end or by a branch in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// The instructions, at least one.
    pub items: Vec<Item>,
}

impl Block {
    /// Reads the block at offset `ram` of RAM: up to an instruction that does not go on to the next,
    /// to the page's end, or [`LONGEST`] instructions.
    pub fn read(&mut self, memory: &Ram, ram: u32) {
        self.items.clear();
        let page = ram & !(PAGE - 1);
        for at in (ram..page + PAGE).step_by(4).take(LONGEST) {
            let word = Word(memory.load(at).unwrap_or(0));
            let item = Item::new(word, at & (PAGE - 1));
            self.items.push(item);
            if item.insn.is_none_or(|insn| ends(insn, word)) {
                break;
            }
        }
    }
}

/// Instructions after which the next one always follows, whatever their operands are; a look-up, because
/// most are.
const GOES_ON: [bool; Insn::ALL.len()] = {
    use Insn::*;
    let mut goes_on = [false; Insn::ALL.len()];
    let mut n = 0;
    while n < goes_on.len() {
        let insn = Insn::ALL[n];
        let asks = matches!(
            insn,
            B | Bc | Bclr | Bcctr | Sc | Rfi | Twi | Tw | Mfspr | Mtspr | Mftb
        );
        goes_on[n] = !asks && !insn.flags().contains(ppc440_isa::Flags::PRIVILEGED);
        n += 1;
    }
    goes_on
};

/// Whether what follows the instruction is not, or hardly ever, the next one.
fn ends(insn: Insn, word: Word) -> bool {
    use Insn::*;
    if GOES_ON[insn as usize] {
        return false;
    }
    match insn {
        B | Sc | Rfi => true,
        Mtspr if word.spr() == spr::PID => true,
        Bc | Bclr | Bcctr => word.bo() & 0x14 == 0x14,
        Twi | Tw => word.to() == 31,
        _ => goes_to_core(insn, word),
    }
}

/// RT is written.
const RT: u8 = 1;
/// RA is written.
const RA: u8 = 2;
/// Any GPR may be written.
const ANY: u8 = 4;

/// What each instruction writes.
const WRITTEN: [u8; Insn::ALL.len()] = {
    let mut written = [0; Insn::ALL.len()];
    let mut n = 0;
    while n < written.len() {
        written[n] = written_by(Insn::ALL[n]);
        n += 1;
    }
    written
};

const fn written_by(insn: Insn) -> u8 {
    if matches!(insn, Insn::Lmw | Insn::Lswi | Insn::Lswx) {
        return ANY;
    }
    let (mut rt, mut rs, mut ra) = (false, false, false);
    let (operands, mut n) = (insn.operands(), 0);
    while n < operands.len() {
        match operands[n] {
            Operand::Rt => rt = true,
            Operand::Rs => rs = true,
            Operand::Ra => ra = true,
            _ => {}
        }
        n += 1;
    }
    // Of a move, a store, a compare or a trap, RA is only read; of logic it is the target.
    let ra_is_target = rs && ra && !insn.flags().contains(Flags::STORE);
    let ra = ra_is_target || updates(insn) || matches!(insn, Insn::Dlmzb);
    (if rt { RT } else { 0 }) | (if ra { RA } else { 0 })
}

/// The GPRs that an instruction may write, one bit each.
fn written(insn: Insn, word: Word) -> u32 {
    let kinds = WRITTEN[insn as usize];
    if kinds & ANY != 0 {
        return u32::MAX;
    }
    u32::from(kinds & RT) << word.rt() | u32::from(kinds >> 1 & 1) << word.ra()
}

/// Whether the instruction gives RA the address that it accesses.
pub(super) const fn updates(insn: Insn) -> bool {
    use Insn::*;
    matches!(
        insn,
        Lbzu | Lbzux
            | Lhzu
            | Lhzux
            | Lhau
            | Lhaux
            | Lwzu
            | Lwzux
            | Lfsu
            | Lfsux
            | Lfdu
            | Lfdux
            | Stbu
            | Stbux
            | Sthu
            | Sthux
            | Stwu
            | Stwux
            | Stfsu
            | Stfsux
            | Stfdu
            | Stfdux
    )
}

/// The block of these words, at the start of a page.
#[cfg(test)]
pub(super) fn block(words: &[u32]) -> Block {
    let items = (0..)
        .step_by(4)
        .zip(words)
        .map(|(offset, word)| Item::new(Word(*word), offset));
    Block {
        items: items.collect(),
    }
}
