//! From an instruction word to the instruction: one table look-up, one compare.

use crate::insn::PATTERNS;
use crate::{Insn, Word};

/// Primary opcodes that leave the choice to an extended opcode.
const GROUPS: [usize; 5] = [4, 19, 31, 59, 63];

/// Slots of one group: the ten extended opcode bits, of which some may be operands or reserved.
const GROUP_SLOTS: usize = 1 << 10;

/// A slot for each primary opcode, then the groups' slots.
type Slots = [Option<Insn>; SLOTS_LENGTH];

const SLOTS_LENGTH: usize = 64 + GROUPS.len() * GROUP_SLOTS;

static SLOTS: Slots = slots();

/// Where a primary opcode's slots begin, and which extended opcode bits count.
static STARTS: [(u16, u16); 64] = starts();

const fn starts() -> [(u16, u16); 64] {
    let mut starts = [(0, 0); 64];
    let mut primary = 0;
    while primary < starts.len() {
        starts[primary].0 = primary as u16;
        primary += 1;
    }
    let mut group = 0;
    while group < GROUPS.len() {
        starts[GROUPS[group]] = ((64 + group * GROUP_SLOTS) as u16, GROUP_SLOTS as u16 - 1);
        group += 1;
    }
    starts
}

/// Puts each instruction into every slot that its fixed bits allow. Two instructions in one slot
/// do not compile, although their other fixed bits might tell them apart: no two of ours need it.
const fn slots() -> Slots {
    let mut slots: Slots = [None; SLOTS_LENGTH];
    let starts = starts();
    let mut i = 0;
    while i < Insn::ALL.len() {
        let pattern = PATTERNS[i];
        let (start, counting) = starts[(pattern.value >> 26) as usize];
        let free = !(pattern.mask >> 1) as u16 & counting;
        let fixed = (pattern.value >> 1) as u16 & counting;
        // Every subset of the free bits, from all of them down to none.
        let mut subset = free;
        loop {
            let slot = (start + (fixed | subset)) as usize;
            assert!(slots[slot].is_none(), "two rows share a slot");
            slots[slot] = Some(Insn::ALL[i]);
            if subset == 0 {
                break;
            }
            subset = (subset - 1) & free;
        }
        i += 1;
    }
    slots
}

/// The instructions that [`invalid_form`] knows; a look-up, because most words are not among them.
static HAS_INVALID_FORMS: [bool; Insn::ALL.len()] = {
    use Insn::*;
    let with = [
        Lbzu, Lbzux, Lhzu, Lhzux, Lhau, Lhaux, Lwzu, Lwzux, Stbu, Stbux, Sthu, Sthux, Stwu, Stwux,
        Lfsu, Lfsux, Lfdu, Lfdux, Stfsu, Stfsux, Stfdu, Stfdux, Lmw, Lswi, Lswx, Bcctr, Tlbre,
        Tlbwe,
    ];
    let mut has = [false; Insn::ALL.len()];
    let mut i = 0;
    while i < with.len() {
        has[with[i] as usize] = true;
        i += 1;
    }
    has
};

/// The instruction that `word` is, or `None` if the 440EP has none such or its form is invalid.
///
/// Reserved bits are ignored, as the hardware ignores them: `lwsync` is `msync`, `eieio` is `mbar`.
#[inline]
pub fn decode(word: u32) -> Option<Insn> {
    let (start, counting) = STARTS[(word >> 26) as usize];
    let slot = start as usize + (word >> 1 & counting as u32) as usize;
    let insn = (*SLOTS.get(slot)?)?;
    let (mask, value) = insn.pattern();
    if word & mask != value {
        return None;
    }
    if HAS_INVALID_FORMS[insn as usize] && invalid_form(insn, Word(word)) {
        return None;
    }
    Some(insn)
}

/// Whether the operands of `insn` make an invalid form, of which Book E leaves the result undefined
/// and the 440EP, as we model it, takes a Program interrupt with ESR\[PIL\].
pub fn invalid_form(insn: Insn, word: Word) -> bool {
    use Insn::*;
    match insn {
        // RA = 0 stands for the value 0, which cannot be updated; RA = RT has two results for one GPR.
        Lbzu | Lbzux | Lhzu | Lhzux | Lhau | Lhaux | Lwzu | Lwzux => {
            word.ra() == 0 || word.ra() == word.rt()
        }
        // There is no base register to update.
        Stbu | Stbux | Sthu | Sthux | Stwu | Stwux => word.ra() == 0,
        Lfsu | Lfsux | Lfdu | Lfdux | Stfsu | Stfsux | Stfdu | Stfdux => word.ra() == 0,
        // The base register is in the loaded range RT-31, also where RA = 0 stands for the value 0.
        Lmw => word.ra() >= word.rt(),
        // The base register is in the loaded range, which wraps from GPR 31 to GPR 0.
        Lswi => {
            let bytes = if word.nb() == 0 {
                32
            } else {
                word.nb() as usize
            };
            (word.ra().wrapping_sub(word.rt()) & 31) < bytes.div_ceil(4)
        }
        // An address register is the first one loaded. Whether another one is in the range depends
        // on XER[TBC], so only the execution can tell.
        Lswx => word.rt() == word.ra() || word.rt() == word.rb(),
        // The branch would decrement CTR, which holds its target.
        Bcctr => word.bo() & 0b00100 == 0,
        // A TLB entry has three words.
        Tlbre | Tlbwe => word.ws() > 2,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, invalid_form};
    use crate::{Insn, Word};

    #[test]
    fn every_pattern_decodes_to_its_instruction() {
        for &insn in Insn::ALL {
            let (mask, value) = insn.pattern();
            // Registers that make every form valid: RT = 3, RA = 1; BO = 20; WS = 0.
            let rt_or_bo = if insn == Insn::Bcctr { 20 } else { 3 };
            let filled = value | insn.operand_bits() & (rt_or_bo << 21 | 1 << 16);
            assert_eq!(decode(filled), Some(insn), "{insn:?} {filled:#010x}");
            // Reserved bits change nothing.
            let reserved = !mask & !insn.operand_bits();
            assert_eq!(
                decode(filled | reserved),
                Some(insn),
                "{insn:?} {:#010x}",
                filled | reserved
            );
        }
    }

    #[test]
    fn what_the_440ep_lacks_is_illegal() {
        let xo = |primary: u32, xo: u32| primary << 26 | xo << 1;
        for (name, word) in [
            ("zeros", 0),
            ("primary opcode 1", 1 << 26),
            ("lq", 56 << 26),
            ("ld", 58 << 26),
            ("std", 62 << 26),
            ("vor", xo(4, 578)),
            ("rldicl", xo(30, 0)),
            ("rfdi", xo(19, 39)),
            ("ldx", xo(31, 21)),
            ("wait", xo(31, 62)),
            ("popcntb", xo(31, 122)),
            ("mfdcrx", xo(31, 259)),
            ("mfapidi", xo(31, 275)),
            ("mtdcrx", xo(31, 387)),
            ("tlbiva", xo(31, 786)),
            ("fctid", xo(63, 814)),
            ("fcfid", xo(63, 846)),
            ("stwcx. without its record bit", xo(31, 150)),
            ("sc without bit 30", 17 << 26),
        ] {
            assert_eq!(decode(word | 3 << 21 | 4 << 16 | 5 << 11), None, "{name}");
        }
    }

    #[test]
    fn reserved_bits_select_nothing() {
        assert_eq!(decode(0x7C20_04AC), Some(Insn::Msync), "lwsync");
        assert_eq!(decode(0x7C00_06AC), Some(Insn::Mbar), "eieio");
        assert_eq!(decode(0x7C70_1026), Some(Insn::Mfcr), "mfocrf");
        assert_eq!(decode(0x7C70_1120), Some(Insn::Mtcrf), "mtocrf");
        assert_eq!(decode(0x7C20_27EC), Some(Insn::Dcbz), "dcbzl");
    }

    /// `insn` with RT, RA, RB and zero elsewhere.
    fn form(insn: Insn, rt: u32, ra: u32, rb: u32) -> u32 {
        insn.pattern().1 | rt << 21 | ra << 16 | rb << 11
    }

    #[test]
    fn update_forms_need_a_base_of_their_own() {
        use Insn::*;
        for insn in [Lbzu, Lbzux, Lhzu, Lhzux, Lhau, Lhaux, Lwzu, Lwzux] {
            assert_eq!(decode(form(insn, 3, 0, 5)), None);
            assert_eq!(decode(form(insn, 3, 3, 5)), None);
            assert_eq!(decode(form(insn, 3, 4, 5)), Some(insn));
            assert_eq!(decode(form(insn, 0, 4, 5)), Some(insn));
        }
        for insn in [
            Stbu, Stbux, Sthu, Sthux, Stwu, Stwux, Lfsu, Lfsux, Lfdu, Lfdux, Stfsu, Stfsux, Stfdu,
            Stfdux,
        ] {
            assert_eq!(decode(form(insn, 3, 0, 5)), None);
            assert_eq!(decode(form(insn, 3, 3, 5)), Some(insn));
        }
    }

    #[test]
    fn multiples_and_strings_must_not_load_their_base() {
        use Insn::*;
        assert_eq!(decode(form(Lmw, 5, 4, 0)), Some(Lmw));
        assert_eq!(decode(form(Lmw, 5, 5, 0)), None);
        assert_eq!(decode(form(Lmw, 5, 31, 0)), None);
        assert_eq!(decode(form(Lmw, 0, 0, 0)), None);
        assert_eq!(decode(form(Lmw, 1, 0, 0)), Some(Lmw));
        // Five bytes fill two registers.
        assert_eq!(decode(form(Lswi, 5, 4, 5)), Some(Lswi));
        assert_eq!(decode(form(Lswi, 5, 5, 5)), None);
        assert_eq!(decode(form(Lswi, 5, 6, 5)), None);
        assert_eq!(decode(form(Lswi, 5, 7, 5)), Some(Lswi));
        // 32 bytes fill eight, wrapping from 31 to 0.
        assert_eq!(decode(form(Lswi, 28, 3, 0)), None);
        assert_eq!(decode(form(Lswi, 28, 0, 0)), None);
        assert_eq!(decode(form(Lswi, 28, 4, 0)), Some(Lswi));
        assert_eq!(decode(form(Lswx, 5, 5, 6)), None);
        assert_eq!(decode(form(Lswx, 5, 6, 5)), None);
        assert_eq!(decode(form(Lswx, 5, 6, 7)), Some(Lswx));
        // A store may.
        assert_eq!(decode(form(Stmw, 5, 6, 0)), Some(Stmw));
        assert_eq!(decode(form(Stswi, 5, 5, 5)), Some(Stswi));
    }

    #[test]
    fn other_invalid_forms_are_illegal() {
        use Insn::*;
        assert_eq!(decode(form(Bcctr, 20, 0, 0)), Some(Bcctr));
        assert_eq!(decode(form(Bcctr, 16, 0, 0)), None);
        assert_eq!(decode(form(Bclr, 16, 0, 0)), Some(Bclr));
        for insn in [Tlbre, Tlbwe] {
            assert_eq!(decode(form(insn, 3, 4, 2)), Some(insn));
            assert_eq!(decode(form(insn, 3, 4, 3)), None);
            assert!(invalid_form(insn, Word(form(insn, 3, 4, 31))));
        }
    }
}
