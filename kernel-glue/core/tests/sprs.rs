//! Privileged instructions and special purpose registers.

mod support;

use ppc440_isa::Cr;
use ppc440_isa::regs::{esr, msr, tcr, tsr};
use ppc440_kvm::Exit;
use support::*;

/// Number, what reads back after all ones, and after a second write of 0.
const STORED: &[(&str, u32, u32)] = &[
    ("SRR0", 0x01A, !0),
    ("SRR1", 0x01B, !0),
    ("PID", 0x030, 0xFF),
    ("CSRR0", 0x03A, !0),
    ("CSRR1", 0x03B, !0),
    ("DEAR", 0x03D, !0),
    ("ESR", 0x03E, !0),
    ("IVPR", 0x03F, 0xFFFF_0000),
    ("SPRG0", 0x110, !0),
    ("SPRG1", 0x111, !0),
    ("SPRG2", 0x112, !0),
    ("SPRG3", 0x113, !0),
    ("SPRG4", 0x114, !0),
    ("SPRG7", 0x117, !0),
    ("DBCR1", 0x135, !0),
    ("DBCR2", 0x136, !0),
    ("IAC1", 0x138, !3),
    ("IAC4", 0x13B, !3),
    ("DAC1", 0x13C, !0),
    ("DAC2", 0x13D, !0),
    ("DVC1", 0x13E, !0),
    ("DVC2", 0x13F, !0),
    ("IVOR0", 0x190, 0xFFF0),
    ("IVOR15", 0x19F, 0xFFF0),
    ("MCSRR0", 0x23A, !0),
    ("MCSRR1", 0x23B, !0),
    ("INV0", 0x370, !0),
    ("INV3", 0x373, !0),
    ("ITV0", 0x374, !0),
    ("ITV3", 0x377, !0),
    ("CCR1", 0x378, !0),
    ("DNV0", 0x390, !0),
    ("DTV3", 0x397, !0),
    ("DVLIM", 0x398, !0),
    ("IVLIM", 0x399, !0),
    ("MMUCR", 0x3B2, 0x016D_00FF),
    ("CCR0", 0x3B3, !0),
    ("DBDR", 0x3F3, !0),
    ("USPRG0", 0x100, !0),
];

#[test]
fn user_registers_are_reached_from_supervisor_state_too() {
    let mut m = Machine::new();
    for (number, bits) in [(1, 0xE000_007F), (8, !0), (9, !0)] {
        m.mtspr(number, !0);
        assert_eq!(m.mfspr(number), bits, "SPR {number}");
    }
    let regs = &m.vcpu.regs;
    assert_eq!((regs.xer.word(), regs.lr, regs.ctr), (0xE000_007F, !0, !0));
    // No event, and internal debug mode off: only storage.
    m.mtspr(0x134, 0x0000_0001);
    assert_eq!(m.mfspr(0x134), 1);
}

#[test]
fn stored_registers_keep_the_bits_that_exist() {
    for &(name, number, bits) in STORED {
        let mut m = Machine::new();
        m.mtspr(number, !0);
        assert_eq!(m.mfspr(number), bits, "{name}");
        m.mtspr(number, 0x1234_5678);
        assert_eq!(m.mfspr(number), 0x1234_5678 & bits, "{name}");
        m.mtspr(number, 0);
        assert_eq!(m.mfspr(number), 0, "{name}");
    }
}

#[test]
fn read_only_registers_ignore_writes() {
    for (number, value) in [
        (0x11E, 0),
        (0x11F, 0x4222_18D3),
        (0x39B, 0),
        (0x39C, 0),
        (0x39D, 0),
        (0x39E, 0),
        (0x3D3, 0),
    ] {
        let mut m = Machine::new();
        m.mtspr(number, !0);
        assert_eq!(m.mfspr(number), value, "{number:#x}");
        assert_eq!(m.vcpu.take_unknown_spr(), None);
    }
}

#[test]
fn the_sprg_aliases_are_one_storage() {
    let mut m = Machine::new();
    for n in 0..4 {
        m.mtspr(0x114 + n, 0x100 + n);
        assert_eq!(m.mfspr(0x104 + n), 0x100 + n);
        assert_eq!(m.vcpu.regs.sprg[4 + n as usize], 0x100 + n);
    }
}

#[test]
fn status_registers_are_cleared_by_ones() {
    let mut m = Machine::new();
    m.set_sprs(|s| (s.mcsr, s.dbsr) = (0xF000_0000, 0x3F00_0000));
    for (number, value) in [(0x23C, 0xF000_0000u32), (0x130, 0x3F00_0000)] {
        m.mtspr(number, 0);
        assert_eq!(m.mfspr(number), value);
        m.mtspr(number, 0x3000_0000);
        assert_eq!(m.mfspr(number), value & !0x3000_0000);
    }
    m.hw.ticks = 3 << 20;
    assert_eq!(m.mfspr(0x150), tsr::ENW | tsr::WIS | tsr::FIS);
    m.mtspr(0x150, tsr::WIS | tsr::FIS);
    assert_eq!(m.mfspr(0x150), tsr::ENW);
}

#[test]
fn timer_registers_read_and_write() {
    let mut m = Machine::new();
    m.mtspr(0x154, !0);
    assert_eq!(m.mfspr(0x154), tcr::IMPLEMENTED);
    m.mtspr(0x154, 0);
    assert_eq!(m.mfspr(0x154), tcr::WRC);
    m.mtspr(0x11D, 0x1234_5678);
    m.mtspr(0x11C, 0xFFFF_FFF0);
    m.hw.ticks += 0x20;
    assert_eq!((m.mfspr(0x10C), m.mfspr(0x10D)), (0x10, 0x1234_5679));
    assert_eq!((m.mfspr(0x11C), m.mfspr(0x11D)), (0x10, 0x1234_5679));
    m.mtspr(0x16, 500);
    m.hw.ticks += 123;
    assert_eq!(m.mfspr(0x16), 377);
    m.mtspr(0x36, 7);
    assert_eq!(m.mfspr(0x36), 0, "DECAR cannot be read");
    assert_eq!(m.vcpu.timers(&m.hw).decar, 7);
}

#[test]
fn the_time_base_is_readable_in_problem_state() {
    let mut m = Machine::new();
    m.hw.ticks = 0x5_0000_0007;
    m.vcpu.regs.msr = msr::PR;
    assert_eq!((m.mfspr(268), m.mfspr(269)), (7, 5));
    // mftb r3 and mftbu r3.
    for (tbr, value) in [(268u32, 7), (269, 5)] {
        m.complete(mfspr(tbr, 3) & !(0x3FF << 1) | 371 << 1);
        assert_eq!(m.vcpu.regs.gpr[3], value);
    }
}

#[test]
fn problem_state_gets_ppr_for_numbers_with_0x10_and_pil_for_others() {
    for number in 0..1024 {
        let read_ok = [268, 269].contains(&number);
        // The hardware itself executes these in problem state.
        let native = matches!(number, 1 | 8 | 9 | 256 | 260..=263);
        if native {
            continue;
        }
        let expected = if number & 0x10 != 0 {
            esr::PPR
        } else {
            esr::PIL
        };
        let mut m = Machine::new();
        m.vcpu.regs.msr = msr::PR;
        if !read_ok {
            m.interrupted(mfspr(number, 3), 6);
            assert_eq!(m.vcpu.regs.esr, expected, "mfspr {number}");
        }
        m.vcpu.regs.msr = msr::PR;
        m.interrupted(mtspr(number, 3), 6);
        assert_eq!(m.vcpu.regs.esr, expected, "mtspr {number}");
        assert_eq!(m.vcpu.take_unknown_spr(), None);
    }
}

#[test]
fn unknown_numbers_read_0_and_are_reported_once() {
    let mut m = Machine::new();
    assert_eq!(m.mfspr(0x23E), 0);
    assert_eq!(m.vcpu.take_unknown_spr(), Some(0x23E));
    assert_eq!(m.vcpu.take_unknown_spr(), None);
    m.mtspr(0x23E, 1);
    assert_eq!(m.vcpu.take_unknown_spr(), None);
    m.mtspr(0x3FF, 1);
    assert_eq!(m.vcpu.take_unknown_spr(), Some(0x3FF));
}

#[test]
fn privileged_instructions_of_problem_state_are_reflected() {
    let words = [
        ("dcbi", x_form(470, 0, 0, 4)),
        ("dccci", x_form(454, 0, 0, 0)),
        ("dcread", x_form(486, 3, 0, 0)),
        ("iccci", x_form(966, 0, 0, 0)),
        ("icread", x_form(998, 0, 0, 0)),
        ("mfdcr", mfdcr(0xC0, 3)),
        ("mtdcr", mtdcr(0xC0, 3)),
        ("mfmsr", x_form(83, 3, 0, 0)),
        ("mtmsr", x_form(146, 3, 0, 0)),
        ("rfi", RFI),
        ("rfci", RFCI),
        ("rfmci", RFMCI),
        ("tlbre", x_form(946, 3, 4, 0)),
        ("tlbsx", x_form(914, 3, 4, 5)),
        ("tlbsync", x_form(566, 0, 0, 0)),
        ("tlbwe", x_form(978, 3, 4, 0)),
        ("wrtee", x_form(131, 3, 0, 0)),
        ("wrteei", x_form(163, 0, 0, 16)),
    ];
    for (name, word) in words {
        let mut m = Machine::new();
        m.vcpu.regs.msr = msr::PR | msr::CE;
        let before = (*m.vcpu.tlb(), m.vcpu.regs.gpr);
        m.interrupted(word, 6);
        assert_eq!(m.vcpu.regs.esr, esr::PPR, "{name}");
        assert_eq!((*m.vcpu.tlb(), m.vcpu.regs.gpr), before, "{name}");
        assert_eq!(m.vcpu.stats().inst_emu, 0);
    }
}

#[test]
fn cache_control_of_the_supervisor_does_nothing_visible() {
    let mut m = Machine::new();
    let before = m.vcpu.regs.gpr;
    for xo in [454, 966, 998, 566] {
        m.complete(x_form(xo, 0, 0, 0));
    }
    assert_eq!(m.vcpu.regs.gpr, before);
    assert_eq!(m.hw.retired, 4);
}

#[test]
fn the_msr_is_written_as_each_instruction_says() {
    let mut m = Machine::new();
    m.vcpu.regs.msr = msr::ME;
    m.vcpu.regs.gpr[3] = !(msr::WE | msr::PR | msr::IS | msr::DS);
    m.complete(x_form(146, 3, 0, 0));
    let all = msr::IMPLEMENTED & !(msr::WE | msr::PR | msr::IS | msr::DS);
    assert_eq!(m.vcpu.regs.msr, all, "mtmsr changes ME too");
    m.complete(x_form(83, 6, 0, 0));
    assert_eq!(m.vcpu.regs.gpr[6], all);
    m.complete(x_form(163, 0, 0, 0));
    assert_eq!(m.vcpu.regs.msr, all & !msr::EE);
    m.complete(x_form(163, 0, 0, 0x10));
    assert_eq!(m.vcpu.regs.msr, all);
    m.vcpu.regs.gpr[7] = !msr::EE;
    m.complete(x_form(131, 7, 0, 0));
    assert_eq!(m.vcpu.regs.msr, all & !msr::EE);
    m.vcpu.regs.gpr[7] = msr::EE;
    m.complete(x_form(131, 7, 0, 0));
    assert_eq!(m.vcpu.regs.msr, all);
}

#[test]
fn each_emulated_instruction_counts_once() {
    let mut m = Machine::new();
    m.vcpu.regs.gpr[3] = 0;
    for word in [
        mfspr(0x11F, 3),
        mtspr(0x110, 3),
        x_form(83, 3, 0, 0),
        x_form(978, 3, 20, 2),
    ] {
        let before = m.hw.retired;
        m.complete(word);
        assert_eq!(m.hw.retired, before + 1);
    }
    assert_eq!(m.vcpu.stats().inst_emu, 4);
}

#[test]
fn tlbsx_searches_for_mmucr_and_records() {
    let mut m = Machine::new();
    m.vcpu.set_tlb(9, entry(0x4000_0000, 0, 3, 7, true, ALL));
    m.vcpu.regs.xer.so = true;
    m.vcpu.regs.gpr[4] = 0x4000_0000;
    m.vcpu.regs.gpr[5] = 0xFFFF;
    let tlbsx = x_form(914, 6, 4, 5);
    for (mmucr, found) in [
        (0x1_0007, true),
        (0x7, false),
        (0x1_0008, false),
        (0x1_0000, false),
    ] {
        m.mtspr(0x3B2, mmucr);
        m.vcpu.regs.cr = Cr::default();
        m.complete(tlbsx);
        assert_eq!(m.vcpu.regs.gpr[6], if found { 9 } else { !0 }, "{mmucr:#x}");
        assert_eq!(m.vcpu.regs.cr, Cr::default(), "without a dot CR stays");
        m.complete(tlbsx | 1);
        assert_eq!(
            m.vcpu.regs.cr.field(0),
            if found { Cr::EQ | Cr::SO } else { Cr::SO }
        );
    }
    m.mtspr(0x3B2, 0x1_0007);
    m.vcpu.regs.gpr[5] = 0x1_0000;
    m.complete(tlbsx);
    assert_eq!(m.vcpu.regs.gpr[6], !0, "just past the page");
    m.vcpu.regs.gpr[5] = 0x4000_1000;
    m.complete(x_form(914, 6, 0, 5));
    assert_eq!(m.vcpu.regs.gpr[6], 9, "register 0 as base means 0");
}

#[test]
fn illegal_words_are_program_interrupts_of_either_state() {
    for bits in [0, msr::PR] {
        let mut m = Machine::new();
        m.vcpu.regs.msr = bits;
        m.interrupted(0x0000_0000, 6);
        assert_eq!(m.vcpu.regs.esr, esr::PIL);
    }
    // The indexed DCR instructions are not the 440EP's.
    let mut m = Machine::new();
    for xo in [259, 387] {
        m.interrupted(x_form(xo, 3, 4, 0), 6);
        assert_eq!(m.vcpu.regs.esr, esr::PIL);
    }
    assert!(!matches!(m.exec(NOP), Exit::Dcr { .. }));
}
