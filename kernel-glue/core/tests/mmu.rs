//! The guest TLB, its words, and the exactness of what the hardware is given.

#![allow(clippy::unwrap_used)] // What is not there fails the test.

mod support;

use ppc440_isa::TlbWrite;
use ppc440_isa::regs::msr;
use ppc440_isa::tlb::Tlbe;
use ppc440_kvm::{Exit, SPACES, Slot};
use proptest::prelude::*;
use support::*;

fn tlbwe(m: &mut Machine, index: u32, ws: u32, value: u32) {
    (m.vcpu.regs.gpr[8], m.vcpu.regs.gpr[9]) = (value, index);
    m.complete(x_form(978, 8, 9, ws));
}

fn tlbre(m: &mut Machine, index: u32, ws: u32) -> u32 {
    m.vcpu.regs.gpr[9] = index;
    m.complete(x_form(946, 8, 9, ws));
    m.vcpu.regs.gpr[8]
}

fn load(m: &mut Machine, ea: u32) -> u32 {
    m.vcpu.regs.gpr[4] = ea;
    m.complete(LWZ);
    m.vcpu.regs.gpr[5]
}

#[test]
fn what_the_hardware_left_to_do_is_done_when_it_comes_back() {
    let mut m = Machine::new();
    let entry = *m.vcpu.tlb().first().unwrap();
    for (word, value) in [(0, 0x1234_5210), (1, 0x9876_5001), (2, 0x3F)] {
        let (index, tid) = (60, 0x5A);
        assert!(m.vcpu.regs.tlb_writes.push(TlbWrite {
            value,
            index,
            word,
            tid
        }));
    }
    m.vcpu.regs.system_calls = 3;
    let calls = m.vcpu.stats().sysc;
    load(&mut m, 0);
    let written = m.vcpu.tlb()[60];
    let words = [
        u32::from(written.word0),
        written.word1.into(),
        written.word2.into(),
    ];
    assert_eq!(
        (words, written.tid),
        ([0x1234_5210, 0x9876_5001, 0x3F], 0x5A)
    );
    assert_eq!(m.vcpu.tlb()[0], entry);
    assert_eq!(m.vcpu.stats().sysc, calls + 3);
    assert!(m.vcpu.regs.tlb_writes.is_empty() && m.vcpu.regs.system_calls == 0);
}

#[test]
fn words_read_back_the_bits_that_exist() {
    let mut m = Machine::new();
    for (ws, bits) in [(0, 0xFFFF_FFF0), (1, 0xFFFF_FC0F), (2, 0x0000_FFBF)] {
        m.mtspr(0x3B2, 0x5A);
        tlbwe(&mut m, 64 + 17, ws, !0);
        m.mtspr(0x3B2, 0x1_0000);
        assert_eq!(tlbre(&mut m, 17, ws), bits);
        let stid = if ws == 0 { 0x5A } else { 0 };
        assert_eq!(m.mfspr(0x3B2), 0x1_0000 | stid, "tlbre {ws} and MMUCR");
    }
    assert_eq!(m.vcpu.tlb()[17].tid, 0x5A, "words 1 and 2 leave the TID");
    m.interrupted(x_form(978, 8, 9, 3), 6);
    m.interrupted(x_form(946, 8, 9, 3), 6);
}

#[test]
fn a_page_is_mapped_whole_with_its_permissions() {
    let mut m = Machine::new();
    load(&mut m, 0x1234);
    let mapping = m.hw.lookup(m.hw.data, 0x1234).unwrap();
    assert_eq!((mapping.ea, mapping.bytes, mapping.ram), (0, RAM, 0));
    assert!(mapping.read && mapping.write && mapping.execute && mapping.cached);
    m.vcpu.set_tlb(
        2,
        entry(0x4000_0000, 0x1_0000, 3, 0, false, 0x0C | 1 | 0x400),
    );
    load(&mut m, 0x4000_8000);
    let mapping = m.hw.lookup(m.hw.data, 0x4000_8000).unwrap();
    assert_eq!(
        (mapping.ea, mapping.bytes, mapping.ram),
        (0x4000_0000, 0x1_0000, 0x1_0000)
    );
    assert!(mapping.read && !mapping.write && mapping.execute && !mapping.cached);
}

#[test]
fn a_page_is_clipped_to_its_slot() {
    let mut m = Machine::new();
    m.vcpu.remove_slot(0).unwrap();
    m.vcpu
        .add_slot(Slot {
            gpa: 0x1000,
            bytes: 0x2000,
            ram: 0x8000,
        })
        .unwrap();
    m.vcpu
        .add_slot(Slot {
            gpa: 0x4000,
            bytes: 0x1000,
            ram: 0x2000,
        })
        .unwrap();
    m.program(0x8010, &[0xAA]);
    m.program(0x2010, &[0xBB]);
    assert_eq!(load(&mut m, 0x1010), 0xAA);
    assert_eq!(load(&mut m, 0x4010), 0xBB);
    let mapping = m.hw.lookup(m.hw.data, 0x1010).unwrap();
    assert_eq!(
        (mapping.ea, mapping.bytes, mapping.ram),
        (0x1000, 0x2000, 0x8000)
    );
    m.vcpu.regs.gpr[4] = 0x3010;
    assert!(matches!(
        m.exec(LWZ),
        Exit::Mmio {
            gpa: 0x3010,
            len: 4,
            ..
        }
    ));
}

#[test]
fn a_page_that_reaches_past_4_gib_is_translated_by_all_36_bits() {
    let mut m = Machine::new();
    m.vcpu
        .add_slot(Slot {
            gpa: 0x4_0000_0000,
            bytes: 0x1000,
            ram: 0x3000,
        })
        .unwrap();
    m.vcpu
        .set_tlb(2, entry(0x4000_0000, 0x4_0000_0000, 5, 0, false, ALL));
    m.program(0x3000, &[0xCC]);
    assert_eq!(load(&mut m, 0x4000_0000), 0xCC);
    m.vcpu.regs.gpr[4] = 0x4000_1000;
    assert!(matches!(
        m.exec(LWZ),
        Exit::Mmio {
            gpa: 0x4_0000_1000,
            ..
        }
    ));
    let t = m
        .vcpu
        .translate(0x4000_1004, ppc440_isa::Access::Load)
        .unwrap();
    assert_eq!((t.gpa, t.index), (0x4_0000_1004, 2));
    assert_eq!(m.vcpu.ram_at(t.gpa), None);
}

#[test]
fn tlbwe_removes_exactly_the_old_page_from_exactly_its_spaces() {
    let mut m = Machine::new();
    // Two PIDs use entry 5 (TID 0), one uses entry 6 (its own).
    m.vcpu
        .set_tlb(5, entry(0x4000_0000, 0x1_0000, 1, 0, false, ALL));
    m.vcpu
        .set_tlb(6, entry(0x5000_0000, 0x2_0000, 1, 2, false, ALL));
    m.mtspr(0x30, 1);
    load(&mut m, 0x4000_0000);
    m.mtspr(0x30, 2);
    load(&mut m, 0x4000_0000);
    load(&mut m, 0x5000_0000);
    m.mtspr(0x30, 3);
    load(&mut m, 0x100);
    m.hw.log.clear();
    tlbwe(&mut m, 6, 2, 0);
    let unmaps = |m: &Machine| -> Vec<Event> {
        m.hw.log
            .iter()
            .filter(|e| matches!(e, Event::Unmap(..) | Event::Clear(_)))
            .copied()
            .collect()
    };
    let of_pid_2 = unmaps(&m);
    assert_eq!(of_pid_2.len(), 1);
    assert!(matches!(of_pid_2[0], Event::Unmap(_, 0x5000_0000, 0x1000)));
    m.hw.log.clear();
    tlbwe(&mut m, 5, 1, 0x3_0000);
    assert_eq!(unmaps(&m).len(), 2);
    m.hw.log.clear();
    tlbwe(&mut m, 5, 1, 0x4_0000);
    assert_eq!(unmaps(&m), [], "nothing was derived from it any more");
    m.program(0x4_0000, &[0x44]);
    assert_eq!(load(&mut m, 0x4000_0000), 0x44);
}

#[test]
fn a_replaced_entry_no_longer_translates_at_once() {
    let mut m = Machine::new();
    m.vcpu
        .set_tlb(5, entry(0x4000_0000, 0x1_0000, 1, 0, false, ALL));
    m.program(0x1_0000, &[0x11]);
    assert_eq!(load(&mut m, 0x4000_0000), 0x11);
    tlbwe(&mut m, 5, 0, 0x4000_0010);
    m.vcpu.regs.gpr[4] = 0x4000_0000;
    m.interrupted(LWZ, 13);
}

#[test]
fn a_new_entry_with_a_lower_index_hides_what_was_mapped() {
    let mut m = Machine::new();
    m.program(0x1_0000, &[0x11]);
    m.program(0x1_1000, &[0x22]);
    m.program(0x2_0000, &[0x33]);
    m.vcpu
        .set_tlb(9, entry(0x4000_0000, 0x1_0000, 2, 0, false, ALL));
    assert_eq!(load(&mut m, 0x4000_0000), 0x11);
    tlbwe(&mut m, 4, 1, 0x2_0000);
    tlbwe(&mut m, 4, 2, ALL);
    tlbwe(&mut m, 4, 0, 0x4000_0210);
    assert_eq!(load(&mut m, 0x4000_0000), 0x33);
    assert_eq!(
        load(&mut m, 0x4000_1000),
        0x22,
        "the rest of the hidden page"
    );
    // A higher index hides nothing, and what is mapped stays mapped.
    m.hw.log.clear();
    tlbwe(&mut m, 20, 0, 0x4000_1210);
    assert!(m.hw.log.is_empty());
    assert_eq!(load(&mut m, 0x4000_1000), 0x22);
}

#[test]
fn a_page_hidden_in_part_is_mapped_4_kb_at_a_time() {
    let mut m = Machine::new();
    m.program(0x1_0000, &[0x11]);
    m.program(0x2_0000, &[0x33]);
    m.vcpu
        .set_tlb(9, entry(0x4000_0000, 0x1_0000, 2, 0, false, ALL));
    m.vcpu
        .set_tlb(3, entry(0x4000_2000, 0x2_0000, 1, 0, false, ALL));
    assert_eq!(load(&mut m, 0x4000_0000), 0x11);
    let mapping = m.hw.lookup(m.hw.data, 0x4000_0000).unwrap();
    assert_eq!((mapping.ea, mapping.bytes), (0x4000_0000, 0x1000));
    assert_eq!(load(&mut m, 0x4000_2000), 0x33);
    // An entry that this PID does not see hides nothing.
    m.vcpu
        .set_tlb(3, entry(0x4000_2000, 0x2_0000, 1, 9, false, ALL));
    assert_eq!(load(&mut m, 0x4000_0000), 0x11);
    assert_eq!(m.hw.lookup(m.hw.data, 0x4000_0000).unwrap().bytes, 0x4000);
}

#[test]
fn a_small_page_in_front_of_a_large_one_is_exact() {
    let mut m = Machine::new();
    m.program(0x1_0000, &[0x11]);
    m.program(0x1_0400, &[0x12]);
    m.program(0x2_0400, &[0x33]);
    m.vcpu
        .set_tlb(9, entry(0x4000_0000, 0x1_0000, 2, 0, false, ALL));
    m.vcpu
        .set_tlb(3, entry(0x4000_0400, 0x2_0400, 0, 0, false, ALL));
    assert_eq!(load(&mut m, 0x4000_0000), 0x11);
    assert_eq!(load(&mut m, 0x4000_0400), 0x33);
    assert!(m.hw.lookup(m.hw.data, 0x4000_0000).is_none());
    tlbwe(&mut m, 3, 0, 0);
    assert_eq!(load(&mut m, 0x4000_0400), 0x12);
    assert!(m.hw.lookup(m.hw.data, 0x4000_0000).is_some());
}

#[test]
fn a_change_of_pid_or_msr_selects_another_space_and_flushes_nothing() {
    let mut m = Machine::new();
    load(&mut m, 0x100);
    let first = (m.hw.fetch, m.hw.data);
    assert_eq!(first.0, first.1, "one context, one space");
    for pid in [1, 2] {
        m.mtspr(0x30, pid);
        load(&mut m, 0x100);
    }
    m.hw.log.clear();
    m.mtspr(0x30, 0);
    load(&mut m, 0x100);
    assert_eq!(m.hw.log, [Event::Select(first.0, first.1)]);
    // Same PID, address space and privilege: nothing to select.
    m.hw.log.clear();
    m.mtspr(0x30, 0x100);
    m.complete(x_form(163, 0, 0, 0x10));
    load(&mut m, 0x100);
    assert_eq!(m.hw.log, []);
}

#[test]
fn fetches_and_data_have_their_own_address_space() {
    let mut m = Machine::new();
    m.vcpu
        .set_tlb(5, entry(0x4000_0000, 0x1_0000, 1, 0, true, ALL));
    m.program(0x1_0000, &[0x77]);
    m.vcpu.regs.msr = msr::DS;
    assert_eq!(load(&mut m, 0x4000_0000), 0x77);
    assert_ne!(m.hw.fetch, m.hw.data);
    m.vcpu.regs.msr = 0;
    m.vcpu.regs.gpr[4] = 0x4000_0000;
    m.interrupted(LWZ, 13);
}

#[test]
fn permissions_follow_the_privilege() {
    for (bits, user, supervisor) in [(0x08, true, false), (0x01, false, true), (0x09, true, true)] {
        let mut m = Machine::new();
        m.vcpu
            .set_tlb(5, entry(0x4000_0000, 0x1_0000, 1, 0, false, bits));
        for (state, allowed) in [(msr::PR, user), (0, supervisor), (msr::PR, user)] {
            m.vcpu.regs.msr = state;
            m.vcpu.regs.gpr[4] = 0x4000_0000;
            if allowed {
                m.complete(LWZ)
            } else {
                m.interrupted(LWZ, 2)
            }
        }
    }
}

#[test]
fn spaces_are_taken_round_robin_and_emptied_first() {
    let mut m = Machine::new();
    m.vcpu
        .set_tlb(5, entry(0x4000_0000, 0x1_0000, 1, 0, false, ALL));
    for pid in 0..SPACES as u32 {
        m.mtspr(0x30, pid);
        load(&mut m, 0x4000_0000);
    }
    assert!(!m.hw.log.iter().any(|e| matches!(e, Event::Clear(_))));
    m.hw.log.clear();
    m.mtspr(0x30, 200);
    load(&mut m, 0x100);
    assert_eq!(
        m.hw.log
            .iter()
            .filter(|e| matches!(e, Event::Clear(_)))
            .count(),
        1
    );
    // Entry 5 is removed from the spaces that used it, and from no other.
    m.hw.log.clear();
    tlbwe(&mut m, 5, 0, 0);
    let unmaps =
        m.hw.log
            .iter()
            .filter(|e| matches!(e, Event::Unmap(..)))
            .count();
    assert_eq!(
        unmaps,
        SPACES - 1,
        "PID 0 lost its space to one that never used entry 5"
    );
    assert!(
        m.hw.spaces
            .iter()
            .flatten()
            .all(|mapping| mapping.ea != 0x4000_0000)
    );
    // PID 0 gets another space, and all is as it was.
    m.mtspr(0x30, 0);
    assert_eq!(load(&mut m, 0x100), 0);
    m.vcpu.regs.gpr[4] = 0x4000_0000;
    m.interrupted(LWZ, 13);
}

#[test]
fn the_space_of_fetches_is_not_taken_for_data() {
    let mut m = Machine::new();
    for ts in [false, true] {
        m.vcpu
            .set_tlb(2 + usize::from(ts), entry(0, 0, 5, 0, ts, ALL));
    }
    m.vcpu.regs.msr = msr::IS | msr::DS;
    // Every space is in use, and that of PID 0 is the next to go.
    for pid in 0..SPACES as u32 {
        m.mtspr(0x30, pid);
        load(&mut m, 0x100);
    }
    m.mtspr(0x30, 0);
    m.vcpu.regs.msr = msr::IS;
    load(&mut m, 0x100);
    assert_ne!(m.hw.fetch, m.hw.data);
    assert!(m.hw.lookup(m.hw.data, 0x100).is_some());
}

#[test]
fn a_slot_that_goes_takes_its_mappings_along() {
    let mut m = Machine::new();
    load(&mut m, 0x100);
    m.vcpu.remove_slot(0).unwrap();
    m.vcpu.regs.gpr[4] = 0x100;
    assert!(matches!(m.exec(LWZ), Exit::Mmio { gpa: 0x100, .. }));
    assert!(m.hw.spaces.iter().all(|space| space.is_empty()));
}

/// What an access should do, by the definition in the manual's chapter 5.
#[derive(Debug, PartialEq)]
enum Outcome {
    Ram(u32),
    Mmio(u64),
    Miss,
    Denied,
}

fn model(tlb: &[Tlbe; 64], ea: u32, pid: u8, ts: bool, bit: u32) -> Outcome {
    for entry in tlb {
        let (word0, word1) = (u32::from(entry.word0), u32::from(entry.word1));
        let size = word0 >> 4 & 15;
        if word0 & 0x200 == 0 || !matches!(size, 0..=5 | 7 | 9) {
            continue;
        }
        let offset = (1024u32 << (2 * size)) - 1;
        if (word0 & 0x100 != 0) != ts || entry.tid != 0 && entry.tid != pid {
            continue;
        }
        if (word0 ^ ea) & !offset & 0xFFFF_FC00 != 0 {
            continue;
        }
        if u32::from(entry.word2) & bit == 0 {
            return Outcome::Denied;
        }
        let real = u64::from(word1 & 15) << 32
            | u64::from(word1 & 0xFFFF_FC00 & !offset)
            | u64::from(ea & offset);
        return if real < u64::from(RAM) {
            Outcome::Ram(real as u32)
        } else {
            Outcome::Mmio(real)
        };
    }
    Outcome::Miss
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        index: u32,
        ws: u32,
        value: u32,
        tid: u8,
    },
    Replace {
        index: u32,
        words: [u32; 3],
        tid: u8,
    },
    Mode {
        pid: u8,
        ds: bool,
        user: bool,
    },
    Access {
        ea: u32,
        store: bool,
    },
}

/// Addresses that fall into few pages, so that entries meet and hide each other.
fn address() -> impl Strategy<Value = u32> + Clone {
    (0u32..2, 0u32..24, 0u32..1024)
        .prop_map(|(region, page, word)| region << 28 | page << 10 | (word & 0xFF) << 2)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = prop_oneof![0u32..6, Just(63)];
    let word0 = (
        address(),
        prop_oneof![4 => 0u32..4, 1 => 4u32..10],
        any::<bool>(),
        0u32..8,
    )
        .prop_map(|(ea, size, ts, v)| {
            ea & 0xFFFF_FC00 | size << 4 | u32::from(ts) << 8 | if v > 0 { 0x200 } else { 0 }
        });
    let word1 =
        (0u32..0x500, 0u32..12).prop_map(|(page, e)| page << 10 | if e == 0 { 4 } else { 0 });
    let word2 = (0u32..64, 0u32..10, any::<bool>())
        .prop_map(|(sp, e, i)| sp | if e == 0 { 0x80 } else { 0 } | if i { 0x400 } else { 0 });
    let whole = (
        index.clone(),
        (word0.clone(), word1.clone(), word2.clone()),
        prop_oneof![3 => Just(0u8), 1 => 1u8..3],
    )
        .prop_map(|(index, (word0, word1, word2), tid)| Step::Replace {
            index,
            words: [word0, word1, word2 | 0x2D],
            tid,
        });
    let value = prop_oneof![
        word0.prop_map(|v| (0, v)),
        word1.prop_map(|v| (1, v)),
        word2.prop_map(|v| (2, v | 0x24)),
    ];
    let write = (index, value, 0u8..3).prop_map(|(index, (ws, value), tid)| Step::Write {
        index,
        ws,
        value,
        tid,
    });
    let mode = (0u8..3, any::<bool>(), any::<bool>()).prop_map(|(pid, ds, user)| Step::Mode {
        pid,
        ds,
        user,
    });
    let access = (address(), any::<bool>()).prop_map(|(ea, store)| Step::Access { ea, store });
    proptest::collection::vec(
        prop_oneof![2 => write, 3 => whole, 1 => mode, 8 => access],
        1..150,
    )
}

#[test]
fn every_access_does_what_the_guest_tlb_says() {
    const HISTORIES: u32 = 400;
    let config = ProptestConfig {
        cases: HISTORIES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let strategy = steps();
    proptest!(config, |(steps in strategy, asks in any::<bool>())| {
        let mut m = Machine::new();
        m.hw.asks = asks;
        m.vcpu.set_tlb(0, Tlbe::default());
        m.vcpu.set_tlb(1, Tlbe::default());
        for at in (0..RAM).step_by(4) {
            m.program(at, &[at]);
        }
        let mut stored = 1u32;
        for step in steps {
            match step {
                Step::Write { index, ws, value, tid } => {
                    let mode = m.vcpu.regs.msr;
                    m.vcpu.regs.msr &= !msr::PR;
                    m.vcpu.regs.mmucr = u32::from(tid);
                    tlbwe(&mut m, index, ws, value);
                    m.vcpu.regs.msr = mode;
                }
                Step::Replace { index, words, tid } => {
                    let mode = m.vcpu.regs.msr;
                    m.vcpu.regs.msr &= !msr::PR;
                    m.vcpu.regs.mmucr = u32::from(tid);
                    for ws in [1, 0, 2] {
                        tlbwe(&mut m, index, ws, words[ws as usize]);
                    }
                    m.vcpu.regs.msr = mode;
                }
                Step::Mode { pid, ds, user } => {
                    m.vcpu.regs.pid = pid;
                    m.vcpu.regs.msr =
                        if ds { msr::DS } else { 0 } | if user { msr::PR } else { 0 };
                }
                Step::Access { ea, store } => {
                    let mode = m.vcpu.regs.msr;
                    let user = mode & msr::PR != 0;
                    let bit = match (store, user) {
                        (false, false) => 0x01,
                        (true, false) => 0x02,
                        (false, true) => 0x08,
                        (true, true) => 0x10,
                    };
                    let pid = m.vcpu.regs.pid;
                    let expected = model(m.vcpu.tlb(), ea, pid, mode & msr::DS != 0, bit);
                    let little = m.vcpu.translate(ea, ppc440_isa::Access::Load)
                        .is_some_and(|t| t.little_endian);
                    let order = |value: u32| if little { value.swap_bytes() } else { value };
                    stored += 1;
                    (m.vcpu.regs.gpr[4], m.vcpu.regs.gpr[5]) = (ea, stored);
                    let exit = m.exec(if store { STW } else { LWZ });
                    let done = m.vcpu.regs.pc == PC + 4;
                    match expected {
                        Outcome::Ram(at) => {
                            prop_assert!(done && exit == Exit::Interrupted);
                            let at = at as usize;
                            let memory = u32::from_be_bytes(m.hw.ram[at..at + 4].try_into().unwrap());
                            prop_assert_eq!(memory, order(m.vcpu.regs.gpr[5]));
                        }
                        Outcome::Mmio(real) => {
                            let hit = matches!(exit, Exit::Mmio { gpa, len: 4, write, .. }
                                if gpa == real && write == store);
                            prop_assert!(hit, "{:?} instead of mmio at {:#x}", exit, real);
                            prop_assert_eq!(m.run(), Exit::Interrupted);
                        }
                        Outcome::Miss => prop_assert_eq!(m.vcpu.regs.pc, vector(13)),
                        Outcome::Denied => prop_assert_eq!(m.vcpu.regs.pc, vector(2)),
                    }
                    m.vcpu.regs.msr = mode;
                }
            }
        }
    });
    say(&format!(
        "random TLBs against a model: {HISTORIES} histories"
    ));
}
