//! Every load and store form that the core performs itself, against RAM and MMIO.

#![allow(clippy::unwrap_used)] // What is not there fails the test.

mod support;

use ppc440_isa::regs::{esr, msr};
use ppc440_isa::{Cr, Xer};
use ppc440_kvm::Exit;
use support::*;

const RB: u32 = 6;
const BASE: u32 = 4;
const R: u32 = 10;

/// Where the memory of a case is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Mmio,
    /// RAM in a 1 KB page, which the core never maps.
    SmallPage,
    /// RAM across two 4 KB pages.
    Crossing,
}

/// Runs `word` with `memory` at its address, answers and collects all exits; returns the bytes
/// afterwards and the sizes of the exits.
fn run(m: &mut Machine, word: u32, ea: u32, memory: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let gpa = |ea: u32| m_gpa(ea);
    let mut bytes = memory.to_vec();
    let mut sizes = Vec::new();
    let in_ram = gpa(ea) < u64::from(RAM);
    if in_ram {
        let at = gpa(ea) as usize;
        m.hw.ram[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    let mut exit = m.exec(word);
    while let Exit::Mmio {
        gpa: at,
        len,
        write,
        data,
    } = exit
    {
        assert_eq!(m.vcpu.regs.pc, PC + 4);
        assert_eq!(at % u64::from(len), 0, "not naturally aligned");
        let offset = (at - gpa(ea)) as usize;
        sizes.push(len);
        let range = offset..offset + usize::from(len);
        if write {
            bytes[range].copy_from_slice(&data[..usize::from(len)]);
        } else {
            assert_eq!(data, [0; 8]);
            let mut answer = [0xEE; 8];
            answer[..usize::from(len)].copy_from_slice(&bytes[range]);
            m.vcpu.complete_mmio(answer);
        }
        exit = m.run();
    }
    assert_eq!(exit, Exit::Interrupted);
    assert_eq!(m.vcpu.regs.pc, PC + 4, "{word:08x} did not complete");
    if in_ram {
        let at = gpa(ea) as usize;
        bytes.copy_from_slice(&m.hw.ram[at..at + memory.len()]);
    }
    (bytes, sizes)
}

const SMALL: u32 = 0x4000_0000;
const CROSS: u32 = 0x4100_0000;

fn m_gpa(ea: u32) -> u64 {
    match ea >> 24 {
        0x40 => u64::from(ea - SMALL) + 0x1_0400,
        0x41 => u64::from(ea - CROSS) + 0x2_0000,
        _ => u64::from(ea),
    }
}

fn machine() -> Machine {
    let mut m = Machine::new();
    m.vcpu.set_tlb(2, entry(SMALL, 0x1_0400, 0, 0, false, ALL));
    m.vcpu.set_tlb(3, entry(CROSS, 0x2_0000, 1, 0, false, ALL));
    m.vcpu
        .set_tlb(4, entry(CROSS + 0x1000, 0x2_1000, 1, 0, false, ALL));
    for n in 0..32 {
        m.vcpu.regs.gpr[n] = 0x0101_0101 * n as u32;
        m.vcpu.regs.fpr[n] = 0x4040_0000_0000_0000 + n as u64;
    }
    m
}

fn places(len: u32) -> [(Place, u32); 3] {
    [
        (Place::Mmio, UART + 0x100),
        (Place::SmallPage, SMALL + 0x80),
        // An even address, so that halfwords cross only when they must; multiples of 4 for words.
        (
            Place::Crossing,
            CROSS + 0x1000 - if len > 4 { 4 } else { 1 },
        ),
    ]
}

struct Load {
    name: &'static str,
    word: u32,
    memory: &'static [u8],
    /// Value of register 10.
    value: u32,
    update: bool,
    indexed: bool,
}

fn loads() -> Vec<Load> {
    let load = |name, word: u32, memory, value| Load {
        name,
        word,
        memory,
        value,
        update: name.contains('u'),
        indexed: word >> 26 == 31,
    };
    let d = |op| d_form(op, R, BASE, 0x10);
    let x = |xo| x_form(xo, R, BASE, RB);
    const B: &[u8] = &[0x9A];
    const H: &[u8] = &[0x9A, 0xBC];
    const W: &[u8] = &[0x9A, 0xBC, 0xDE, 0xF0];
    vec![
        load("lbz", d(34), B, 0x9A),
        load("lbzu", d(35), B, 0x9A),
        load("lbzx", x(87), B, 0x9A),
        load("lbzux", x(119), B, 0x9A),
        load("lhz", d(40), H, 0x9ABC),
        load("lhzu", d(41), H, 0x9ABC),
        load("lhzx", x(279), H, 0x9ABC),
        load("lhzux", x(311), H, 0x9ABC),
        load("lha", d(42), H, 0xFFFF_9ABC),
        load("lhau", d(43), H, 0xFFFF_9ABC),
        load("lhax", x(343), H, 0xFFFF_9ABC),
        load("lhaux", x(375), H, 0xFFFF_9ABC),
        load("lwz", d(32), W, 0x9ABC_DEF0),
        load("lwzu", d(33), W, 0x9ABC_DEF0),
        load("lwzx", x(23), W, 0x9ABC_DEF0),
        load("lwzux", x(55), W, 0x9ABC_DEF0),
        load("lhbrx", x(790), H, 0xBC9A),
        load("lwbrx", x(534), W, 0xF0DE_BC9A),
    ]
}

/// Sets base and index so that the access is at `ea`.
fn address(m: &mut Machine, ea: u32, indexed: bool) {
    let offset = if indexed { 0x123 } else { 0x10 };
    m.vcpu.regs.gpr[BASE as usize] = ea.wrapping_sub(offset);
    m.vcpu.regs.gpr[RB as usize] = 0x123;
}

#[test]
fn every_load_gives_its_value_everywhere() {
    for case in loads() {
        for (place, ea) in places(case.memory.len() as u32) {
            let mut m = machine();
            address(&mut m, ea, case.indexed);
            let base = m.vcpu.regs.gpr[BASE as usize];
            let mut before = m.vcpu.regs;
            let retired = m.hw.retired;
            let (_, sizes) = run(&mut m, case.word, ea, case.memory);
            let what = format!("{} {place:?}", case.name);
            assert_eq!(m.vcpu.regs.gpr[R as usize], case.value, "{what}");
            let base_after = if case.update { ea } else { base };
            assert_eq!(m.vcpu.regs.gpr[BASE as usize], base_after, "{what}");
            before.gpr[R as usize] = case.value;
            before.gpr[BASE as usize] = base_after;
            before.pc = PC + 4;
            let mut after = m.vcpu.regs;
            // What the core gives the hardware to know.
            after.system_call = 0;
            assert_eq!(after, before, "{what}: another register changed");
            let one = vec![case.memory.len() as u8];
            assert_eq!(
                sizes,
                if place == Place::Mmio { one } else { vec![] },
                "{what}"
            );
            assert_eq!(m.hw.retired, retired + 1, "{what}");
        }
    }
}

#[test]
fn every_store_writes_its_bytes_everywhere() {
    let d = |op| d_form(op, R, BASE, 0x10);
    let x = |xo| x_form(xo, R, BASE, RB);
    let cases: [(&str, u32, &[u8]); 14] = [
        ("stb", d(38), &[4]),
        ("stbu", d(39), &[4]),
        ("stbx", x(215), &[4]),
        ("stbux", x(247), &[4]),
        ("sth", d(44), &[3, 4]),
        ("sthu", d(45), &[3, 4]),
        ("sthx", x(407), &[3, 4]),
        ("sthux", x(439), &[3, 4]),
        ("stw", d(36), &[1, 2, 3, 4]),
        ("stwu", d(37), &[1, 2, 3, 4]),
        ("stwx", x(151), &[1, 2, 3, 4]),
        ("stwux", x(183), &[1, 2, 3, 4]),
        ("sthbrx", x(918), &[4, 3]),
        ("stwbrx", x(662), &[4, 3, 2, 1]),
    ];
    for (name, word, expected) in cases {
        for (place, ea) in places(expected.len() as u32) {
            let mut m = machine();
            address(&mut m, ea, word >> 26 == 31);
            m.vcpu.regs.gpr[R as usize] = 0x0102_0304;
            let before = m.vcpu.regs.gpr;
            let (bytes, sizes) = run(&mut m, word, ea, &vec![0; expected.len()]);
            assert_eq!(bytes, expected, "{name} {place:?}");
            let mut after = before;
            if name.contains('u') {
                after[BASE as usize] = ea;
            }
            assert_eq!(m.vcpu.regs.gpr, after, "{name} {place:?}");
            let one = vec![expected.len() as u8];
            assert_eq!(sizes, if place == Place::Mmio { one } else { vec![] });
        }
    }
}

#[test]
fn floating_point_forms_convert_and_update() {
    let d = |op| d_form(op, R, BASE, 0x10);
    let x = |xo| x_form(xo, R, BASE, RB);
    const S: &[u8] = &[0xC0, 0x49, 0x0F, 0xDB]; // -pi
    const D: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8];
    let cases = [
        ("lfs", d(48)),
        ("lfsu", d(49)),
        ("lfsx", x(535)),
        ("lfsux", x(567)),
        ("lfd", d(50)),
        ("lfdu", d(51)),
        ("lfdx", x(599)),
        ("lfdux", x(631)),
        ("stfs", d(52)),
        ("stfsu", d(53)),
        ("stfsx", x(663)),
        ("stfsux", x(695)),
        ("stfd", d(54)),
        ("stfdu", d(55)),
        ("stfdx", x(727)),
        ("stfdux", x(759)),
        ("stfiwx", x(983)),
    ];
    for (name, word) in cases {
        let single = name.contains("fs") || name == "stfiwx";
        let memory = if single { S } else { D };
        let register = match name {
            "stfiwx" => 0x1234_5678_C049_0FDB,
            _ if single => f64::to_bits(f64::from(f32::from_bits(0xC049_0FDB))),
            _ => 0x0102_0304_0506_0708,
        };
        for (place, ea) in places(8) {
            if place == Place::Crossing && !single {
                continue; // It crosses a quadword too, which is an interrupt.
            }
            let mut m = machine();
            address(&mut m, ea, word >> 26 == 31);
            if name.starts_with('s') {
                m.vcpu.regs.fpr[R as usize] = register;
                let (bytes, _) = run(&mut m, word, ea, &vec![0; memory.len()]);
                assert_eq!(bytes, memory, "{name} {place:?}");
            } else {
                let (_, sizes) = run(&mut m, word, ea, memory);
                assert_eq!(m.vcpu.regs.fpr[R as usize], register, "{name} {place:?}");
                if place == Place::Mmio {
                    assert_eq!(sizes, [memory.len() as u8], "{name}");
                }
            }
            if name.ends_with('u') || name.ends_with("ux") {
                assert_eq!(m.vcpu.regs.gpr[BASE as usize], ea, "{name}");
            }
        }
    }
}

#[test]
fn singles_convert_as_the_hosts_floats_do() {
    let mut m = machine();
    let mut bits = 1u32;
    for n in 0..20_000u32 {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let single = match n % 4 {
            0 => bits & 0x807F_FFFF,
            1 => bits & 0x8000_0000 | 1 << (n / 4 % 23),
            _ => bits,
        };
        if single & 0x7F80_0000 == 0x7F80_0000 && single & 0x7F_FFFF != 0 {
            continue;
        }
        m.vcpu.regs.gpr[4] = SMALL;
        run(&mut m, d_form(48, 1, 4, 0), SMALL, &single.to_be_bytes());
        let double = m.vcpu.regs.fpr[1];
        assert_eq!(
            double,
            f64::from(f32::from_bits(single)).to_bits(),
            "{single:08x}"
        );
        let (bytes, _) = run(&mut m, d_form(52, 1, 4, 0), SMALL, &[0; 4]);
        assert_eq!(bytes, single.to_be_bytes(), "{single:08x}");
    }
    // NaNs keep their payload, quiet or not.
    run(
        &mut m,
        d_form(48, 1, 4, 0),
        SMALL,
        &[0xFF, 0x80, 0x00, 0x01],
    );
    assert_eq!(m.vcpu.regs.fpr[1], 0xFFF0_0000_2000_0000);
}

#[test]
fn multiples_move_a_word_a_register() {
    for (place, ea) in places(8) {
        let mut m = machine();
        let memory: Vec<u8> = (0..20).collect();
        m.vcpu.regs.gpr[BASE as usize] = ea;
        let (_, sizes) = run(&mut m, d_form(46, 27, BASE, 0), ea, &memory);
        let words: Vec<u32> = memory
            .chunks(4)
            .map(|c| u32::from_be_bytes(c.try_into().unwrap()))
            .collect();
        assert_eq!(m.vcpu.regs.gpr[27..], words, "{place:?}");
        assert_eq!(sizes.len(), if place == Place::Mmio { 5 } else { 0 });
        let (bytes, _) = run(&mut m, d_form(47, 27, BASE, 0), ea, &[0; 20]);
        assert_eq!(bytes, memory, "{place:?}");
    }
    // A misaligned multiple in MMIO goes in naturally aligned pieces.
    let mut m = machine();
    m.vcpu.regs.gpr[BASE as usize] = UART + 2;
    let (_, sizes) = run(
        &mut m,
        d_form(46, 30, BASE, 0),
        UART + 2,
        &[1, 2, 3, 4, 5, 6, 7, 8],
    );
    assert_eq!(sizes, [2, 4, 2]);
    assert_eq!(m.vcpu.regs.gpr[30..], [0x0102_0304, 0x0506_0708]);
}

#[test]
fn strings_fill_registers_from_the_left_and_wrap() {
    for (place, ea) in places(8) {
        let mut m = machine();
        m.vcpu.regs.gpr[BASE as usize] = ea;
        let memory: Vec<u8> = (1..=10).collect();
        run(&mut m, x_form(597, 31, BASE, 10), ea, &memory);
        let gpr = &m.vcpu.regs.gpr;
        assert_eq!(
            (gpr[31], gpr[0], gpr[1]),
            (0x0102_0304, 0x0506_0708, 0x090A_0000),
            "{place:?}"
        );
        let (bytes, _) = run(&mut m, x_form(725, 31, BASE, 10), ea, &[0; 10]);
        assert_eq!(bytes, memory);

        // NB 0 is 32 bytes.
        let memory: Vec<u8> = (0..32).collect();
        run(&mut m, x_form(597, 8, BASE, 0), ea, &memory);
        assert_eq!(m.vcpu.regs.gpr[15], 0x1C1D_1E1F);

        // The count of the indexed forms is XER's.
        m.vcpu.regs.xer = Xer {
            count: 5,
            ..Xer::default()
        };
        m.vcpu.regs.gpr[RB as usize] = 0;
        run(&mut m, x_form(533, 20, BASE, RB), ea, &[9, 8, 7, 6, 5]);
        assert_eq!(
            (m.vcpu.regs.gpr[20], m.vcpu.regs.gpr[21]),
            (0x0908_0706, 0x0500_0000)
        );
        let (bytes, _) = run(&mut m, x_form(661, 20, BASE, RB), ea, &[0; 5]);
        assert_eq!(bytes, [9, 8, 7, 6, 5]);
        m.vcpu.regs.xer.count = 0;
        m.complete(x_form(533, 20, BASE, RB));
        assert_eq!(m.vcpu.regs.gpr[20], 0x0908_0706);
    }
}

#[test]
fn reservations_are_set_and_used_up() {
    for (place, ea) in places(8) {
        let mut m = machine();
        m.vcpu.regs.gpr[BASE as usize] = ea;
        m.vcpu.regs.gpr[RB as usize] = 0;
        m.vcpu.regs.xer.so = true;
        let (lwarx, stwcx) = (x_form(20, R, BASE, RB), x_form(150, R, BASE, RB) | 1);
        run(&mut m, lwarx, ea, &[1, 2, 3, 4]);
        assert_eq!(m.vcpu.regs.gpr[R as usize], 0x0102_0304, "{place:?}");
        assert!(m.vcpu.regs.reservation);
        m.vcpu.regs.gpr[R as usize] = 0xA0B0_C0D0;
        let (bytes, _) = run(&mut m, stwcx, ea, &[1, 2, 3, 4]);
        assert_eq!(bytes, [0xA0, 0xB0, 0xC0, 0xD0]);
        assert_eq!(m.vcpu.regs.cr.field(0), Cr::EQ | Cr::SO);
        assert!(!m.vcpu.regs.reservation);
        let (bytes, sizes) = run(&mut m, stwcx, ea, &[1, 2, 3, 4]);
        assert_eq!((bytes, sizes), (vec![1, 2, 3, 4], vec![]));
        assert_eq!(m.vcpu.regs.cr.field(0), Cr::SO);
    }
}

#[test]
fn cache_instructions_move_nothing_and_dcbz_clears_a_line() {
    let mut m = machine();
    m.vcpu.regs.gpr[BASE as usize] = SMALL + 0x47;
    let (bytes, _) = run(&mut m, x_form(1014, 0, 0, BASE), SMALL, &[0xFF; 256]);
    assert!(
        bytes
            .iter()
            .enumerate()
            .all(|(n, &b)| (b == 0) == (0x40..0x60).contains(&n))
    );
    // No RAM, but cached: the zeros go out in words.
    m.vcpu
        .set_tlb(1, entry(UART, u64::from(UART), 1, 0, false, ALL));
    m.vcpu.regs.gpr[BASE as usize] = UART + 0x1F;
    let (bytes, sizes) = run(&mut m, x_form(1014, 0, 0, BASE), UART, &[0xFF; 64]);
    assert_eq!(sizes, [4; 8]);
    assert!(bytes.iter().enumerate().all(|(n, &b)| (b == 0) == (n < 32)));
    for (name, xo) in [("dcbf", 86), ("dcbst", 54), ("icbi", 982), ("dcbi", 470)] {
        for ea in [SMALL, UART] {
            m.vcpu.regs.gpr[BASE as usize] = ea;
            let (bytes, sizes) = run(&mut m, x_form(xo, 0, 0, BASE), ea, &[7; 32]);
            assert!(bytes == [7; 32] && sizes.is_empty(), "{name}");
        }
    }
    // Hints never fault, wherever they point.
    m.vcpu.regs.gpr[BASE as usize] = 0x7000_0000;
    for xo in [278, 246, 22, 758] {
        m.complete(x_form(xo, 0, 0, BASE));
    }
    // A line of the last bytes of memory does not reach past them.
    m.vcpu.regs.gpr[BASE as usize] = CROSS + 0xFFF;
    let (bytes, _) = run(&mut m, x_form(1014, 0, 0, BASE), CROSS + 0xFE0, &[1; 64]);
    assert!(bytes.iter().enumerate().all(|(n, &b)| (b == 0) == (n < 32)));
}

#[test]
fn a_fault_in_the_second_page_names_its_first_byte_and_changes_nothing() {
    for (n, word2) in [(13, None), (2, Some(0u32))] {
        for (word, ea, store) in [
            (d_form(33, R, BASE, 0x10), CROSS + 0xFFE, false),
            (d_form(37, R, BASE, 0x10), CROSS + 0xFFE, true),
            (d_form(46, 20, BASE, 0x10), CROSS + 0xFF0, false),
            (d_form(47, 20, BASE, 0x10), CROSS + 0xFF0, true),
            (d_form(51, R, BASE, 0x10), CROSS + 0xFFC, false),
            (d_form(55, R, BASE, 0x10), CROSS + 0xFFC, true),
        ] {
            let mut m = machine();
            let second = word2.map_or_else(Default::default, |word2| {
                entry(CROSS + 0x1000, 0x2_1000, 1, 0, false, word2)
            });
            m.vcpu.set_tlb(4, second);
            address(&mut m, ea, false);
            let before = (m.vcpu.regs, m.hw.ram.clone());
            m.interrupted(word, n);
            let r = m.vcpu.regs;
            assert_eq!(r.dear, CROSS + 0x1000, "{word:08x}");
            let fp = if matches!(word >> 26, 51 | 55) {
                esr::FP
            } else {
                0
            };
            assert_eq!(r.esr, if store { esr::ST } else { 0 } | fp);
            assert_eq!(r.srr0, PC);
            assert_eq!(m.vcpu.regs.gpr, before.0.gpr);
            assert_eq!(m.vcpu.regs.fpr, before.0.fpr);
            assert!(m.hw.ram == before.1, "memory changed");
        }
    }
}

#[test]
fn a_fault_in_the_first_page_names_the_access() {
    let mut m = machine();
    m.vcpu.set_tlb(3, Default::default());
    m.vcpu.set_tlb(4, Default::default());
    m.vcpu.regs.gpr[4] = CROSS + 0xFFE;
    m.interrupted(LWZ, 13);
    assert_eq!(m.vcpu.regs.dear, CROSS + 0xFFE);
}

#[test]
fn misses_and_storage_faults_go_before_alignment() {
    let mut m = machine();
    m.vcpu.set_tlb(4, Default::default());
    m.vcpu.regs.gpr[4] = CROSS + 0xFFE;
    m.interrupted(d_form(48, 5, 4, 0), 13);
    m.vcpu.regs.msr = msr::FP;
    m.vcpu.regs.gpr[4] = CROSS + 0xFFA;
    m.interrupted(d_form(48, 5, 4, 0), 5);
}

#[test]
fn floats_must_not_cross_a_quadword() {
    let mut m = machine();
    for (opcode, at, fits) in [
        (48, 0x0C, true),
        (50, 0x08, true),
        (50, 0x0C, false),
        (54, 0x1C, false),
    ] {
        m.vcpu.regs.msr = msr::FP;
        m.vcpu.regs.gpr[4] = CROSS + at;
        let word = d_form(opcode, 5, 4, 0);
        if fits {
            m.complete(word);
        } else {
            m.interrupted(word, 5);
        }
    }
}

#[test]
fn a_conditional_store_without_reservation_needs_no_permission() {
    const READ_ONLY: u32 = 0x4200_0000;
    let stwcx = x_form(150, 5, 0, 4) | 1;
    let mut m = machine();
    m.vcpu
        .set_tlb(6, entry(READ_ONLY, 0x8000, 1, 0, false, 0x3F & !0x12));
    m.vcpu.regs.gpr[4] = READ_ONLY;
    m.vcpu.regs.cr.set_field(0, 15);
    m.complete(stwcx);
    assert_eq!(m.vcpu.regs.cr.field(0), 0);
    m.vcpu.regs.reservation = true;
    m.interrupted(stwcx, 2);
    m.vcpu.regs.reservation = false;
    m.vcpu.regs.msr = 0;
    m.vcpu.regs.gpr[4] = READ_ONLY + 0x1000;
    m.interrupted(stwcx, 13);
}

#[test]
fn an_access_can_begin_in_ram_and_end_in_mmio() {
    let mut m = machine();
    m.vcpu
        .set_tlb(4, entry(CROSS + 0x1000, u64::from(UART), 1, 0, false, ALL));
    m.program(0x2_0FFC, &[0xAABB_CCDD]);
    m.vcpu.regs.gpr[4] = CROSS + 0xFFE;
    let exit = m.exec(LWZ);
    assert_eq!(
        exit,
        Exit::Mmio {
            gpa: u64::from(UART),
            len: 2,
            write: false,
            data: [0; 8]
        }
    );
    m.vcpu.complete_mmio([0x11, 0x22, 9, 9, 9, 9, 9, 9]);
    assert_eq!(m.run(), Exit::Interrupted);
    assert_eq!(m.vcpu.regs.gpr[5], 0xCCDD_1122);
    m.vcpu.regs.gpr[5] = 0x0102_0304;
    let Exit::Mmio {
        len: 2,
        write: true,
        data,
        ..
    } = m.exec(STW)
    else {
        panic!()
    };
    assert_eq!(data, [3, 4, 0, 0, 0, 0, 0, 0]);
    assert_eq!(m.hw.ram[0x2_0FFE..0x2_1000], [1, 2]);
}

#[test]
fn accesses_at_the_end_of_the_address_space_wrap() {
    let mut m = machine();
    m.vcpu
        .set_tlb(5, entry(0xFFFF_F000, 0x3_0000, 1, 0, false, ALL));
    m.program(0x3_0FFC, &[0x1122_3344]);
    m.program(0, &[0x5566_7788]);
    m.vcpu.regs.gpr[4] = 0xFFFF_FFFE;
    m.complete(LWZ);
    assert_eq!(m.vcpu.regs.gpr[5], 0x3344_5566);
}

#[test]
fn little_endian_pages_turn_scalars_round() {
    let mut m = machine();
    const LE: u32 = 0x4200_0000;
    m.vcpu
        .set_tlb(6, entry(LE, 0x4_0000, 1, 0, false, ALL | 0x80));
    m.vcpu.set_tlb(
        7,
        entry(LE + 0x1000, u64::from(UART), 1, 0, false, ALL | 0x80),
    );
    m.program(0x4_0000, &[0x0102_0304, 0x0506_0708]);
    m.vcpu.regs.gpr[4] = LE;
    m.vcpu.regs.gpr[RB as usize] = 0;
    let mut value = |word| {
        m.complete(word);
        m.vcpu.regs.gpr[5]
    };
    assert_eq!(value(LWZ), 0x0403_0201);
    assert_eq!(value(d_form(40, 5, 4, 0)), 0x0201);
    assert_eq!(value(d_form(34, 5, 4, 1)), 0x02);
    assert_eq!(
        value(x_form(534, 5, 4, RB)),
        0x0102_0304,
        "lwbrx in a little-endian page"
    );
    m.complete(d_form(46, 30, 4, 0));
    assert_eq!(m.vcpu.regs.gpr[30..], [0x0403_0201, 0x0807_0605]);
    m.complete(x_form(597, 30, 4, 8));
    assert_eq!(
        m.vcpu.regs.gpr[30..],
        [0x0102_0304, 0x0506_0708],
        "strings are bytes"
    );
    m.complete(d_form(50, 1, 4, 0));
    assert_eq!(m.vcpu.regs.fpr[1], 0x0807_0605_0403_0201);
    m.vcpu.regs.gpr[5] = 0xA1B2_C3D4;
    m.complete(STW);
    assert_eq!(m.hw.ram[0x4_0000..0x4_0004], [0xD4, 0xC3, 0xB2, 0xA1]);
    m.vcpu.regs.gpr[4] = LE + 0x1004;
    let Exit::Mmio {
        data,
        len: 4,
        write: true,
        ..
    } = m.exec(STW)
    else {
        panic!()
    };
    assert_eq!(data[..4], [0xD4, 0xC3, 0xB2, 0xA1]);
    assert!(
        m.hw.spaces.iter().flatten().all(|mapping| mapping.ea != LE),
        "it was mapped"
    );
}

#[test]
fn code_in_pages_that_cannot_be_mapped_runs_an_instruction_at_a_time() {
    let mut m = machine();
    m.vcpu
        .set_tlb(6, entry(0x4200_0000, 0x4_0000, 1, 0, false, ALL | 0x80));
    let code = [d_form(14, 5, 0, 7), d_form(14, 5, 5, 1), 0x4BFF_FFFC];
    m.program(0x4_0010, &code.map(u32::swap_bytes));
    m.program(0x1_0410, &code);
    for start in [0x4200_0010, SMALL + 0x10] {
        m.vcpu.regs.pc = start;
        let retired = m.hw.retired;
        assert_eq!(m.turn(4), Exit::Interrupted);
        assert_eq!((m.vcpu.regs.gpr[5], m.vcpu.regs.pc), (9, start + 8));
        assert_eq!(m.hw.retired, retired + 4);
        assert_eq!(m.vcpu.stats().fetch_emu % 4, 0);
    }
    // A trap in such code is handled like any other.
    m.program(0x1_0400, &[mfspr(0x11F, 9), SC]);
    m.vcpu.regs.pc = SMALL;
    m.vcpu.regs.msr = msr::ME;
    assert_eq!(m.turn(3), Exit::Interrupted);
    assert_eq!(m.vcpu.regs.gpr[9], 0x4222_18D3);
    assert_eq!(
        (m.vcpu.regs.pc & !0xFF0, m.vcpu.regs.srr0),
        (vector(8) & !0xFF0, SMALL + 8)
    );
}
