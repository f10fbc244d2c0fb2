//! The decoder against the table: by scan, for arbitrary words; and the table's flags against the
//! manual's lists.

use ppc440_isa::disasm::disassemble;
use ppc440_isa::{Flags, Insn, Operand, Word, decode, invalid_form};
use proptest::prelude::*;

/// The decoder's meaning without its tables.
fn scan(word: u32) -> Option<Insn> {
    let mut matching = Insn::ALL.iter().copied().filter(|insn| {
        let (mask, value) = insn.pattern();
        word & mask == value
    });
    let insn = matching.next()?;
    assert_eq!(matching.next(), None, "{word:#010x} matches two rows");
    (!invalid_form(insn, Word(word))).then_some(insn)
}

/// Words whose primary opcode has extended opcodes: few arbitrary words do.
fn extended() -> impl Strategy<Value = u32> {
    (
        prop::sample::select(vec![4u32, 19, 31, 59, 63]),
        0..1u32 << 26,
    )
        .prop_map(|(primary, rest)| primary << 26 | rest)
}

/// Words of a row: its fixed bits, and anything elsewhere.
fn of_a_row() -> impl Strategy<Value = u32> {
    (prop::sample::select(Insn::ALL.to_vec()), any::<u32>()).prop_map(|(insn, rest)| {
        let (mask, value) = insn.pattern();
        value | rest & !mask
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_agrees_with_a_scan_of_the_table(word in prop_oneof![any::<u32>(), extended(), of_a_row()]) {
        prop_assert_eq!(decode(word), scan(word));
    }

    #[test]
    fn reserved_bits_never_change_the_instruction(word in of_a_row(), noise in any::<u32>()) {
        if let Some(insn) = decode(word) {
            let reserved = !insn.pattern().0 & !insn.operand_bits();
            prop_assert_eq!(decode(word ^ noise & reserved), Some(insn));
        }
    }

    #[test]
    fn any_word_at_any_address_has_a_text(word in prop_oneof![any::<u32>(), of_a_row()], address in any::<u32>()) {
        let text = disassemble(word, address).to_string();
        prop_assert_eq!(text.starts_with(".long"), decode(word).is_none());
        prop_assert_eq!(text.trim(), &text);
        prop_assert!(text.is_ascii() && text == text.to_lowercase());
    }
}

#[test]
fn every_extended_opcode_agrees_with_a_scan() {
    for primary in 0..64u32 {
        for low in 0..1 << 11 {
            // RT, RA, RB that keep most forms valid, and that break them.
            for operands in [20 << 21 | 4 << 16, 0, 5 << 21 | 5 << 16 | 5 << 11] {
                let word = primary << 26 | operands | low;
                assert_eq!(decode(word), scan(word), "{word:#010x}");
            }
        }
    }
}

#[test]
fn the_table_is_in_the_order_of_the_enum_and_mnemonics_are_unique() {
    for (i, &insn) in Insn::ALL.iter().enumerate() {
        assert_eq!(insn as usize, i);
    }
    let mut mnemonics: Vec<_> = Insn::ALL.iter().map(|insn| insn.mnemonic()).collect();
    mnemonics.sort_unstable();
    mnemonics.dedup();
    assert_eq!(mnemonics.len(), Insn::ALL.len());
}

/// The mnemonics of the instructions for which `test` holds, in alphabetical order.
fn mnemonics(test: impl Fn(Insn) -> bool) -> Vec<&'static str> {
    let mut mnemonics: Vec<_> = Insn::ALL
        .iter()
        .copied()
        .filter(|&insn| test(insn))
        .map(Insn::mnemonic)
        .collect();
    mnemonics.sort_unstable();
    mnemonics
}

#[test]
fn exactly_the_manuals_instructions_are_privileged() {
    assert_eq!(
        mnemonics(|insn| insn.flags().contains(Flags::PRIVILEGED)),
        [
            "dcbi", "dccci", "dcread", "iccci", "icread", "mfdcr", "mfmsr", "mtdcr", "mtmsr",
            "rfci", "rfi", "rfmci", "tlbre", "tlbsx", "tlbsync", "tlbwe", "wrtee", "wrteei",
        ]
    );
}

#[test]
fn what_ends_a_block_is_listed() {
    assert_eq!(
        mnemonics(|insn| insn.flags().contains(Flags::ENDS_BLOCK)),
        [
            "b", "bc", "bcctr", "bclr", "isync", "mtmsr", "rfci", "rfi", "rfmci", "sc", "tlbwe",
            "wrtee", "wrteei",
        ]
    );
    assert_eq!(
        mnemonics(|insn| insn.flags().contains(Flags::BRANCH)),
        ["b", "bc", "bcctr", "bclr"]
    );
}

#[test]
fn flags_follow_from_mnemonics_and_operands() {
    for &insn in Insn::ALL {
        let flags = insn.flags();
        let name = insn.mnemonic();
        let has = |operand| insn.operands().contains(&operand);
        let floating = name.starts_with('f')
            || name.starts_with("lf")
            || name.starts_with("stf")
            || matches!(
                name,
                "mcrfs" | "mffs" | "mtfsb0" | "mtfsb1" | "mtfsf" | "mtfsfi"
            );
        assert_eq!(flags.contains(Flags::FLOAT), floating, "{name}");
        assert_eq!(
            flags.contains(Flags::STORE),
            name.starts_with("st"),
            "{name}"
        );
        let load = name.starts_with('l');
        assert_eq!(flags.contains(Flags::LOAD), load, "{name}");
        assert_eq!(has(Operand::Lk), flags.contains(Flags::BRANCH), "{name}");
        let implied = Flags::LOAD
            .union(Flags::STORE)
            .union(Flags::FLOAT)
            .union(Flags::PRIVILEGED);
        assert!(
            !flags.intersects(implied) || flags.contains(Flags::MAY_TRAP),
            "{name}"
        );
    }
    let traps_by_itself = mnemonics(|insn| {
        let implied = Flags::LOAD
            .union(Flags::STORE)
            .union(Flags::FLOAT)
            .union(Flags::PRIVILEGED);
        insn.flags().contains(Flags::MAY_TRAP) && !insn.flags().intersects(implied)
    });
    assert_eq!(
        traps_by_itself,
        [
            "dcbf", "dcbst", "dcbz", "icbi", "mfspr", "mftb", "mtspr", "sc", "tw", "twi"
        ]
    );
}

#[test]
fn overflow_enable_exists_only_where_the_manual_has_it() {
    let with_oe = mnemonics(|insn| insn.operands().contains(&Operand::Oe));
    let mut expected: Vec<&str> = "add addc adde addme addze divw divwu mullw neg subf subfc subfe subfme subfze \
        macchw macchws macchwu macchwsu machhw machhws machhwu machhwsu maclhw maclhws maclhwu maclhwsu \
        nmacchw nmacchws nmachhw nmachhws nmaclhw nmaclhws"
        .split_whitespace()
        .collect();
    expected.sort_unstable();
    assert_eq!(with_oe, expected);
}
