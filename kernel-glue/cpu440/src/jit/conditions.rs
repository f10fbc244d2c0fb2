//! Which branches can compare again what their CR bit says. Compilers put other work between a
//! comparison and its branch; by then the host's flags are gone, but what was compared is often still
//! there, and comparing it is faster than to wait for what was stored of the result.

use ppc440_isa::{Flags, Insn};

use super::flags::{self, records};
use super::frontend::Item;

/// What was compared with RA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// A GPR.
    Register(usize),
    /// A number, which extends to 32 bits with its sign, or is below 2^16.
    Number(i32),
}

/// A comparison whose operands have not changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// The first operand, a GPR.
    pub register: usize,
    /// The second.
    pub with: With,
    /// Both are signed numbers.
    pub signed: bool,
}

impl Comparison {
    /// The GPRs that are compared, one bit each.
    fn operands(&self) -> u32 {
        let second = match self.with {
            With::Register(register) => 1 << register,
            With::Number(_) => 0,
        };
        second | 1 << self.register
    }
}

/// Finds the items of a block that are branches and can make the comparison again which set the CR bit
/// that they test; gives their numbers, in order, with it. Branches of the block lead to `inside`, offsets
/// in the page.
pub(super) fn find(
    items: &[Item],
    inside: impl Fn(u32) -> bool,
    found: &mut Vec<(usize, Comparison)>,
) {
    found.clear();
    // The last one, and its CR field.
    let mut last: Option<(usize, Comparison)> = None;
    for (n, item) in items.iter().enumerate() {
        if let Some((field, comparison)) = last {
            if n > 0 && inside(item.offset) {
                last = None;
            } else if tested(item) == Some(field) {
                found.push((n, comparison));
            }
        }
        if let Some(new) = made(item) {
            last = Some(new);
        } else if let Some((field, comparison)) = last
            && (item.written & comparison.operands() != 0 || sets(item, field))
        {
            last = None;
        }
    }
}

/// The CR field of which a branch tests LT, GT or EQ.
fn tested(item: &Item) -> Option<usize> {
    let word = item.word;
    let branch = matches!(item.insn?, Insn::Bc | Insn::Bclr | Insn::Bcctr);
    let bit = word.bi() as usize;
    (branch && word.bo() & 16 == 0 && bit % 4 != 3).then_some(bit / 4)
}

/// The comparison that an instruction makes, and the CR field that gets its result.
fn made(item: &Item) -> Option<(usize, Comparison)> {
    use Insn::*;
    let (insn, word) = (item.insn?, item.word);
    let number = |number, signed| Comparison {
        register: word.ra(),
        with: With::Number(number),
        signed,
    };
    let register = |signed| Comparison {
        register: word.ra(),
        with: With::Register(word.rb()),
        signed,
    };
    let comparison = match insn {
        Cmp => register(true),
        Cmpl => register(false),
        Cmpi => number(word.d(), true),
        Cmpli => number(word.ui() as i32, false),
        // Logic and shifts: the result is in RA.
        Andi | Andis | And | Or | Xor | Nand | Nor | Eqv | Andc | Orc | Cntlzw | Extsb | Extsh
        | Rlwinm | Rlwimi | Rlwnm | Slw | Srw
            if records(insn, word.rc()) =>
        {
            return Some((0, number(0, true)));
        }
        Add | Subf | Neg if word.rc() && !word.oe() => {
            let result = Comparison {
                register: word.rt(),
                ..number(0, true)
            };
            return Some((0, result));
        }
        _ => return None,
    };
    Some((word.crfd(), comparison))
}

/// Whether an instruction may set a CR field.
fn sets(item: &Item, field: usize) -> bool {
    use Insn::*;
    let Some(insn) = item.insn else {
        return true;
    };
    match insn {
        B | Bc | Bclr | Bcctr | Mtspr | Mfspr => false,
        Stwcx => true,
        _ if insn.flags().contains(Flags::LOAD) || insn.flags().contains(Flags::STORE) => false,
        _ => flags::sets(insn, item.word).is_none_or(|sets| sets & flags::field(field) != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frontend::block;
    use super::*;

    const ANDI: u32 = 0x7088_0001; // andi. r8,r4,1
    const CMPWI: u32 = 0x2C08_FFFE; // cmpwi r8,-2
    const CMPLWI: u32 = 0x2808_FFFE; // cmplwi r8,65534
    const CMPW_7: u32 = 0x7F88_2000; // cmpw cr7,r8,r4
    const BEQ: u32 = 0x4182_0020; // beq .+32
    const BGT_7: u32 = 0x419D_0020; // bgt cr7,.+32
    const BSO: u32 = 0x4183_0020; // bso .+32
    const BDNZ: u32 = 0x4200_0020; // bdnz .+32
    const BDNZEQ: u32 = 0x4102_0020; // bdnzt eq,.+32

    fn with(with: With, signed: bool) -> Option<Comparison> {
        Some(Comparison {
            register: 8,
            with,
            signed,
        })
    }

    /// What the last of the instructions compares again.
    fn last(words: &[u32], inside: &[u32]) -> Option<Comparison> {
        let mut found = Vec::new();
        find(
            &block(words).items,
            |offset| inside.contains(&offset),
            &mut found,
        );
        let last = found.pop().filter(|(n, _)| n + 1 == words.len());
        last.map(|(_, comparison)| comparison)
    }

    #[test]
    fn a_branch_compares_what_was_compared() {
        assert_eq!(last(&[ANDI, BEQ], &[]), with(With::Number(0), true));
        assert_eq!(last(&[CMPWI, BEQ], &[0]), with(With::Number(-2), true));
        assert_eq!(
            last(&[CMPLWI, BDNZEQ], &[]),
            with(With::Number(65534), false)
        );
        assert_eq!(
            last(&[CMPW_7, BEQ, BGT_7], &[]),
            with(With::Register(4), true)
        );
        for (words, inside) in [
            (&[CMPWI, BGT_7][..], &[][..]),
            (&[CMPWI, BSO], &[]),
            (&[CMPWI, BDNZ], &[]),
            (&[CMPWI, BEQ], &[4]),
            (&[BEQ], &[]),
        ] {
            assert_eq!(last(words, inside), None, "{words:x?}");
        }
    }

    #[test]
    fn what_changes_an_operand_or_the_field_ends_it() {
        for (between, ends) in [
            (0x6000_0000, false), // nop
            (0x3924_0001, false), // addi r9,r4,1
            (0x3884_0001, true),  // addi r4,r4,1
            (0x7C88_2378, true),  // mr r8,r4
            (0x7D04_4378, true),  // mr r4,r8
            (0x7D25_4B78, false), // mr r5,r9
            (0x80C4_0000, false), // lwz r6,0(r4)
            (0x84C4_0004, true),  // lwzu r6,4(r4)
            (0x8104_0000, true),  // lwz r8,0(r4)
            (0x9104_0000, false), // stw r8,0(r4)
            (0x9504_0004, true),  // stwu r8,4(r4)
            (0xB8C1_0000, true),  // lmw r6,0(r1)
            (0x7D09_03A6, false), // mtctr r8
            (0x7D09_02A6, true),  // mfctr r8
            (0x7D0F_F120, true),  // mtcr r8
            (0x7D08_0120, false), // mtcrf 0x80,r8
            (0x7F88_2800, true),  // cmpw cr7,r8,r5
            (0x4FFE_F042, true),  // crnot 31,30
            (0x7CC0_212D, true),  // stwcx. r6,0,r4
            (0x7CC6_01D7, false), // mullw. r6,r6,r0
            (0xC824_0000, false), // lfd f1,0(r4)
            (0xFF81_1000, true),  // fcmpu cr7,f1,f2
        ] {
            let found = last(&[CMPW_7, between, BGT_7], &[]);
            // A comparison of other operands is the new one.
            let old = with(With::Register(4), true);
            assert_eq!(found != old, ends, "{between:08x}");
        }
    }
}
