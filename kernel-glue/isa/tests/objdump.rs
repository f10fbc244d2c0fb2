//! The disassembler against GNU objdump, over every row of the instruction table.
//!
//! Each operand takes several values while the others stand still, then all of them take
//! arbitrary ones; suffix bits (OE, Rc, AA, LK) are set and clear throughout. Reserved bits stay
//! clear: objdump refuses or renames what the hardware ignores.

use std::collections::BTreeSet;
use std::process::Command;

use ppc440_isa::disasm::disassemble;
use ppc440_isa::{Insn, Operand, Word, decode, spr};

/// Where objdump is told that the first word lies: branches forwards, backwards and around the end
/// of the address space all occur.
const BASE: u32 = 0xC000_0000;

/// Dialects of objdump: the 440's, and the generic one for what the 440's lacks.
const DIALECT: &str = "440";
const GENERIC_DIALECT: &str = "ppc";

/// Why the text of a word is not compared with objdump's, or `None` if it is.
fn exception(insn: Insn, word: Word) -> Option<&'static str> {
    match insn {
        Insn::Bc | Insn::Bclr | Insn::Bcctr if !bo_has_reserved_bits_clear(word.bo()) => Some(
            "objdump refuses reserved BO bits, or ignores them in bc; the hardware ignores them",
        ),
        Insn::Mfspr | Insn::Mtspr if matches!(word.spr(), 4 | 5 | 18..=21 | 25 | 282 | 528..=543 | 573) => {
            Some("objdump names registers of the 601, 603 and e500, which the 440EP does not have")
        }
        Insn::Mftb if !matches!(word.spr(), spr::TBL | spr::TBU) => {
            Some("objdump refuses mftb of anything but the time base")
        }
        _ => None,
    }
}

/// Book E's seven forms of BO: 0000y 0001y 001zy 0100y 0101y 011zy 1z00y 1z01y 1z1zz.
fn bo_has_reserved_bits_clear(bo: u32) -> bool {
    match bo & 0b10100 {
        0b00000 => true,
        0b00100 => bo & 0b00010 == 0,
        0b10000 => bo & 0b01000 == 0,
        _ => bo & 0b01011 == 0,
    }
}

/// The dialect that knows the instruction: binutils gives the 440 no `mftb`, though it has one.
fn dialect(insn: Insn) -> &'static str {
    if insn == Insn::Mftb {
        GENERIC_DIALECT
    } else {
        DIALECT
    }
}

/// Values of an operand's field that are tried one by one.
fn values(operand: Operand, width: u32) -> Vec<u32> {
    let top = (1u64 << width) - 1;
    match width {
        // Small fields, and numbers of registers with names, are tried exhaustively.
        0..=5 => (0..1 << width).collect(),
        _ if matches!(operand, Operand::Spr | Operand::Tbr | Operand::Dcr) => {
            (0..1 << width).collect()
        }
        _ => {
            let mut values = vec![0, 1, 2, 3, top as u32, top as u32 - 1];
            values.extend((0..width).map(|bit| 1 << bit));
            values.extend((0..width).map(|bit| (top as u32) ^ 1 << bit));
            values
        }
    }
}

/// Spreads the low bits of `value` over the one bits of `mask`.
fn deposit(mut value: u32, mask: u32) -> u32 {
    let mut word = 0;
    for bit in (0..32).map(|bit| 1u32 << bit).filter(|bit| mask & bit != 0) {
        if value & 1 != 0 {
            word |= bit;
        }
        value >>= 1;
    }
    word
}

/// A fixed sequence of arbitrary numbers (xorshift).
struct Arbitrary(u32);

impl Arbitrary {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

/// Words of `insn`: valid forms only.
fn words(insn: Insn) -> BTreeSet<u32> {
    let (_, fixed) = insn.pattern();
    let operand_bits = insn.operand_bits();
    let mut suffix_bits = 0;
    let mut operands = Vec::new();
    for &operand in insn.operands() {
        match operand {
            Operand::Oe | Operand::Rc | Operand::Aa | Operand::Lk => suffix_bits |= operand.bits(),
            _ => operands.push(operand),
        }
    }
    let suffixes = (0..1u32 << suffix_bits.count_ones()).map(|value| deposit(value, suffix_bits));
    let mut arbitrary = Arbitrary(0x1234_5678 ^ fixed);
    let mut words = BTreeSet::new();
    for suffix in suffixes {
        // Backgrounds on which one operand varies. The distinct one has RT, RA and RB differ.
        let distinct = 3 << 21 | 4 << 16 | 5 << 11 | 6 << 6 | 7 << 1;
        let same = 9 << 21 | 9 << 16 | 9 << 11 | 9 << 6 | 9 << 1;
        for background in [0, distinct, same, u32::MAX, 20 << 21] {
            words.insert(fixed | suffix | background & operand_bits & !suffix_bits);
            for operand in &operands {
                let field = operand.bits();
                let others = background & operand_bits & !suffix_bits & !field;
                for value in values(*operand, field.count_ones()) {
                    words.insert(fixed | suffix | others | deposit(value, field));
                }
            }
        }
        for _ in 0..200 {
            words.insert(fixed | suffix | arbitrary.next() & operand_bits & !suffix_bits);
        }
    }
    if insn == Insn::Rlwinm {
        // Simplified mnemonics depend on three fields at once.
        words.extend((0..1 << 15).map(|value| fixed | 3 << 21 | 4 << 16 | value << 1));
    }
    if insn == Insn::Mftb {
        // Only the time base's numbers are compared, so every target with each of them.
        let numbers =
            [spr::TBL, spr::TBU].map(|number| (number & 0x1F) << 16 | (number >> 5) << 11);
        words.extend(
            numbers
                .iter()
                .flat_map(|number| (0..32).map(move |rt| fixed | rt << 21 | number)),
        );
    }
    words.retain(|&word| decode(word) == Some(insn));
    words
}

/// objdump's text of each word, the first of which lies at `BASE`.
fn objdump(dialect: &str, words: &[u32]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    std::fs::write(file.path(), bytes).expect("a temporary file can be written");
    let output = Command::new("powerpc-linux-gnu-objdump")
        .args(["-D", "-z", "-b", "binary", "-m", "powerpc", "-EB", "-M", dialect])
        .arg(format!("--adjust-vma={BASE:#x}"))
        .arg(file.path())
        .output()
        .expect("powerpc-linux-gnu-objdump must run: install Debian's package binutils-powerpc-linux-gnu");
    assert!(
        output.status.success(),
        "objdump failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    // "c0000000:\t7c 60 00 a6 \tmfmsr   r3"
    let texts: Vec<String> = String::from_utf8(output.stdout)
        .expect("objdump prints ASCII")
        .lines()
        .filter_map(|line| line.splitn(3, '\t').nth(2))
        .map(normalised)
        .collect();
    assert_eq!(texts.len(), words.len(), "objdump prints one line a word");
    texts
}

/// Runs of blanks become one.
fn normalised(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_form_disassembles_as_objdump_prints_it() {
    for dialect_in_use in [DIALECT, GENERIC_DIALECT] {
        let mut cases = Vec::new();
        for &insn in Insn::ALL
            .iter()
            .filter(|&&insn| dialect(insn) == dialect_in_use)
        {
            let words = words(insn);
            let before = cases.len();
            cases.extend(
                words
                    .into_iter()
                    .filter(|&word| exception(insn, Word(word)).is_none()),
            );
            assert!(cases.len() > before, "{insn:?} has no word to compare");
        }
        let expected = objdump(dialect_in_use, &cases);
        let mut wrong = Vec::new();
        for (i, (&word, expected)) in cases.iter().zip(&expected).enumerate() {
            let address = BASE.wrapping_add(4 * i as u32);
            let ours = normalised(&disassemble(word, address).to_string());
            if ours != *expected {
                wrong.push(format!(
                    "{word:08x} at {address:08x}: ours {ours:?}, objdump {expected:?}"
                ));
            }
        }
        let shown = wrong.len().min(40);
        assert!(
            wrong.is_empty(),
            "{} of {} differ:\n{}",
            wrong.len(),
            cases.len(),
            wrong[..shown].join("\n")
        );
        println!(
            "{} words agree with objdump -M {dialect_in_use}",
            cases.len()
        );
    }
}

/// Not `lswi`: objdump looks at the first register only, the manual at all that are loaded.
#[test]
fn invalid_update_and_multiple_forms_are_refused_by_objdump_too() {
    use Insn::*;
    let mut invalid = Vec::new();
    for insn in [Lbzu, Lbzux, Lhzu, Lhzux, Lhau, Lhaux, Lwzu, Lwzux] {
        let value = insn.pattern().1;
        invalid.extend([
            value | 3 << 21 | 5 << 11,
            value | 3 << 21 | 3 << 16 | 5 << 11,
        ]);
    }
    for insn in [
        Stbu, Stbux, Sthu, Sthux, Stwu, Stwux, Lfsu, Lfsux, Lfdu, Lfdux, Stfsu, Stfsux, Stfdu,
        Stfdux,
    ] {
        invalid.push(insn.pattern().1 | 3 << 21 | 5 << 11);
    }
    invalid.extend([Lmw.pattern().1, Lmw.pattern().1 | 5 << 21 | 7 << 16]);
    invalid.extend([
        Lswx.pattern().1 | 5 << 21 | 5 << 16 | 6 << 11,
        Lswx.pattern().1 | 5 << 21 | 6 << 16 | 5 << 11,
    ]);
    for (word, text) in invalid.iter().zip(objdump(DIALECT, &invalid)) {
        assert_eq!(decode(*word), None, "{word:#010x}");
        assert_eq!(disassemble(*word, 0).to_string(), text, "{word:#010x}");
    }
}

#[test]
fn text_is_laid_out_as_objdump_lays_it_out() {
    // Beyond what `normalised` keeps: a mnemonic is padded to eight columns, and has a blank at least.
    assert_eq!(disassemble(0x7C60_00A6, 0).to_string(), "mfmsr   r3");
    assert_eq!(
        disassemble(Insn::Macchwsu.pattern().1 | 0x401, 0).to_string(),
        "macchwsuo. r0,r0,r0"
    );
    assert_eq!(disassemble(Insn::Rfi.pattern().1, 0).to_string(), "rfi");
}
