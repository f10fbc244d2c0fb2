//! Which flags that a block's instructions set nobody can see: a CR field or XER\[CA\] that a later
//! instruction of the block sets again, before any reads it and before the block can be left.

use ppc440_isa::{Insn, Word};

use super::frontend::Item;

/// A set of flags: CR fields 0 to 7 from the lowest bit on, and [`CA`].
pub(super) type Flags = u16;

/// XER\[CA\].
pub(super) const CA: Flags = 0x100;

const CR: Flags = 0xFF;
const ALL: Flags = CR | CA;

/// The set of one CR field.
pub(super) const fn field(n: usize) -> Flags {
    1 << (n & 7)
}

/// What an instruction does with flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Effect {
    reads: Flags,
    /// Sets, whatever its operands are.
    sets: Flags,
}

/// Finds, for each item of a block, the flags that it sets and nobody can see.
///
/// Where branches within the block lead does not matter: at a branch all flags count as seen.
pub(super) fn unseen(items: &[Item], unseen: &mut Vec<Flags>) {
    unseen.clear();
    unseen.resize(items.len(), 0);
    let mut seen = ALL;
    for (item, unseen) in items.iter().zip(unseen).rev() {
        match item.insn.and_then(|insn| effect(insn, item.word)) {
            Some(Effect { reads, sets }) => {
                *unseen = sets & !seen;
                seen = seen & !sets | reads;
            }
            None => seen = ALL,
        }
    }
}

/// The flags that an instruction sets, as far as that is known.
pub(super) fn sets(insn: Insn, word: Word) -> Option<Flags> {
    effect(insn, word).map(|effect| effect.sets)
}

/// What is known of an instruction's flags before its operands.
#[derive(Clone, Copy, Debug)]
struct Known {
    effect: Effect,
    /// Its operands say which CR fields it reads and sets.
    asks: bool,
    /// Bit 21 is OE, and with OE it is left to the interpreter.
    has_oe: bool,
}

/// For each instruction what is known; none when it may branch, access memory, trap or be left to the
/// interpreter, all of which show every flag.
static KNOWN: [Option<Known>; Insn::ALL.len()] = {
    let mut known = [None; Insn::ALL.len()];
    let mut n = 0;
    while n < known.len() {
        known[n] = known_of(Insn::ALL[n]);
        n += 1;
    }
    known
};

const fn known_of(insn: Insn) -> Option<Known> {
    use Insn::*;
    let mut effect = Effect { reads: 0, sets: 0 };
    let mut asks = false;
    match insn {
        Addic | AddicDot | Subfic | Addc | Subfc | Sraw | Srawi => effect.sets = CA,
        Adde | Addze | Addme | Subfe | Subfze | Subfme => {
            (effect.reads, effect.sets) = (CA, CA);
        }
        Cmp | Cmpi | Cmpl | Cmpli | Isel | Mcrf | Mtcrf => asks = true,
        Mfcr => effect.reads = CR,
        Addi | Addis | Add | Subf | Neg | Mulli | Mullw | Mulhw | Mulhwu | Andi | Andis | Ori
        | Oris | Xori | Xoris | And | Or | Xor | Nand | Nor | Eqv | Andc | Orc | Cntlzw | Extsb
        | Extsh | Rlwinm | Rlwimi | Rlwnm | Slw | Srw | Mullhw | Mullhwu | Mulchw | Mulchwu
        | Mulhhw | Mulhhwu | Maclhw | Maclhwu | Macchw | Macchwu | Machhw | Machhwu => {}
        _ => return None,
    }
    Some(Known {
        effect,
        asks,
        has_oe: has_oe(insn),
    })
}

/// What an instruction does with flags; none when it shows them all.
fn effect(insn: Insn, word: Word) -> Option<Effect> {
    use Insn::*;
    let known = KNOWN[insn as usize].as_ref()?;
    if known.has_oe && word.oe() {
        return None;
    }
    let mut effect = known.effect;
    if known.asks {
        match insn {
            Isel => effect.reads = field(word.bc() as usize / 4),
            Mcrf => (effect.reads, effect.sets) = (field(word.crfs()), field(word.crfd())),
            // CRM has field 0 at its upper end.
            Mtcrf => effect.sets = (word.crm() as u8).reverse_bits().into(),
            _ => effect.sets = field(word.crfd()),
        }
    } else if records(insn, word.rc()) {
        effect.sets |= field(0);
    }
    Some(effect)
}
/// Whether bit 21 of the instruction is OE.
pub(super) const fn has_oe(insn: Insn) -> bool {
    use Insn::*;
    matches!(
        insn,
        Add | Addc
            | Adde
            | Addze
            | Addme
            | Subf
            | Subfc
            | Subfe
            | Subfze
            | Subfme
            | Neg
            | Mullw
            | Divw
            | Divwu
            | Maclhw
            | Maclhwu
            | Macchw
            | Macchwu
            | Machhw
            | Machhwu
    )
}

/// When an integer instruction sets CR0 from its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Records {
    Never,
    Always,
    /// Its lowest bit is Rc.
    WithRc,
}

static RECORDS: [Records; Insn::ALL.len()] = {
    use Insn::*;
    let mut records = [Records::WithRc; Insn::ALL.len()];
    let mut n = 0;
    while n < records.len() {
        records[n] = match Insn::ALL[n] {
            AddicDot | Andi | Andis => Records::Always,
            Addi | Addis | Addic | Subfic | Mulli | Ori | Oris | Xori | Xoris | Cmp | Cmpi
            | Cmpl | Cmpli | Isel | Mcrf | Mtcrf | Mfcr => Records::Never,
            _ => Records::WithRc,
        };
        n += 1;
    }
    records
};

/// Whether an integer instruction, `rc` its lowest bit, sets CR0 from its result.
pub(super) fn records(insn: Insn, rc: bool) -> bool {
    match RECORDS[insn as usize] {
        Records::Never => false,
        Records::Always => true,
        Records::WithRc => rc,
    }
}

#[cfg(test)]
mod tests {
    use super::super::frontend::block;
    use super::*;

    const ADDI: u32 = 0x3863_0001; // addi r3,r3,1
    const ADDIC: u32 = 0x3063_0001; // addic r3,r3,1
    const ADDIC_DOT: u32 = 0x3463_0001; // addic. r3,r3,1
    const ADDE: u32 = 0x7C64_2914; // adde r3,r4,r5
    const ADDCO: u32 = 0x7C64_2C14; // addco r3,r4,r5
    const SRAWI: u32 = 0x7C83_0E70; // srawi r3,r4,1
    const ANDI: u32 = 0x7083_0001; // andi. r3,r4,1
    const CMPWI: u32 = 0x2C03_0000; // cmpwi r3,0
    const CMPWI_7: u32 = 0x2F83_0000; // cmpwi cr7,r3,0
    const ISEL_EQ: u32 = 0x7C64_289E; // isel r3,r4,r5,eq
    const MCRF_0_7: u32 = 0x4C1C_0000; // mcrf cr0,cr7
    const MTCRF_01: u32 = 0x7C60_1120; // mtcrf 0x01,r3
    const MTCRF_80: u32 = 0x7C68_0120; // mtcrf 0x80,r3
    const MFCR: u32 = 0x7C60_0026; // mfcr r3
    const CRXOR: u32 = 0x4CC6_3182; // crclr 6
    const LWZ: u32 = 0x8064_0000; // lwz r3,0(r4)
    const BEQ: u32 = 0x4182_0008; // beq .+8
    const TWI: u32 = 0x0C83_0000; // tweqi r3,0

    fn flags(words: &[u32]) -> Vec<Flags> {
        let items = block(words).items;
        assert!(items.iter().all(|item| item.insn.is_some()));
        let mut flags = Vec::new();
        unseen(&items, &mut flags);
        flags
    }

    #[test]
    fn flags_are_unseen_only_when_they_are_set_again_before_anything_can_look() {
        let (cr0, cr7) = (field(0), field(7));
        let cases: &[(&[u32], &[Flags])] = &[
            // At the end of a block, everything is seen.
            (&[ANDI], &[0]),
            (&[ANDI, CMPWI], &[cr0, 0]),
            (&[ANDI, ADDI, ANDI, ADDI, CMPWI], &[cr0, 0, cr0, 0, 0]),
            (&[ANDI, CMPWI_7], &[0, 0]),
            (&[CMPWI_7, ANDI, CMPWI_7, CMPWI], &[cr7, cr0, 0, 0]),
            (&[ADDIC, ADDIC], &[CA, 0]),
            (&[ADDIC, ADDE, ADDIC], &[0, CA, 0]),
            (&[SRAWI, SRAWI], &[CA, 0]),
            // Both, each for itself.
            (&[ADDIC_DOT, CMPWI], &[cr0, 0]),
            (&[ADDIC_DOT, ADDIC], &[CA, 0]),
            (&[ADDIC_DOT, ADDIC_DOT], &[CA | cr0, 0]),
            // Read before they are set again.
            (&[CMPWI, ISEL_EQ, CMPWI], &[0, 0, 0]),
            (&[CMPWI_7, ISEL_EQ, CMPWI_7], &[cr7, 0, 0]),
            (&[CMPWI_7, MCRF_0_7, CMPWI_7], &[0, 0, 0]),
            (&[CMPWI, MCRF_0_7, CMPWI_7], &[cr0, 0, 0]),
            (&[CMPWI, MFCR, CMPWI], &[0, 0, 0]),
            // Only the fields that CRM names.
            (&[CMPWI, CMPWI_7, MTCRF_01], &[0, cr7, 0]),
            (&[CMPWI, CMPWI_7, MTCRF_80], &[cr0, 0, 0]),
            // What may leave, or is left to the interpreter, shows everything.
            (&[CMPWI, LWZ, CMPWI], &[0, 0, 0]),
            (&[CMPWI, BEQ, CMPWI], &[0, 0, 0]),
            (&[CMPWI, TWI, CMPWI], &[0, 0, 0]),
            (&[CMPWI, CRXOR, CMPWI], &[0, 0, 0]),
            (&[ADDIC, ADDCO, ADDIC], &[0, 0, 0]),
        ];
        for (words, expected) in cases {
            assert_eq!(flags(words), *expected, "{words:08X?}");
        }
    }
}
