//! The loop: waits, kicks, DCR exits, resets, counters, snapshots.

#![allow(clippy::unwrap_used)] // What is not there fails the test.

mod support;

use ppc440_isa::regs::{dbcr0, dbsr, esr, msr, tcr, tsr};
use ppc440_kvm::{Cause, Exit, Inject, ResetKind, RunPage, TimerState, Vcpu};
use proptest::prelude::*;
use support::*;

const MTMSR: u32 = 31 << 26 | 3 << 21 | 146 << 1;

fn wait_with(m: &mut Machine, bits: u32) -> Exit {
    m.vcpu.regs.gpr[3] = msr::WE | msr::ME | bits;
    m.exec(MTMSR)
}

#[test]
fn a_guest_that_waits_leaves_until_something_wakes_it() {
    let mut m = Machine::new();
    assert_eq!(wait_with(&mut m, msr::EE), Exit::Wait { deadline: None });
    assert_eq!(m.run(), Exit::Wait { deadline: None });
    m.hw.external = true;
    assert_eq!(m.run(), Exit::Interrupted);
    let r = m.vcpu.regs;
    assert_eq!((m.vcpu.regs.pc, m.vcpu.regs.msr), (vector(4), msr::ME));
    assert_eq!((r.srr0, r.srr1), (PC + 4, msr::WE | msr::EE | msr::ME));
    assert_eq!(m.vcpu.stats().halt_wakeup, 1);
}

#[test]
fn a_wait_ends_at_the_timers_deadline() {
    let mut m = Machine::new();
    m.hw.ticks = 5000;
    m.mtspr(0x154, tcr::DIE);
    m.mtspr(0x16, 700);
    assert_eq!(
        wait_with(&mut m, msr::EE),
        Exit::Wait {
            deadline: Some(5700)
        }
    );
    m.hw.ticks = 5699;
    assert_eq!(
        m.run(),
        Exit::Wait {
            deadline: Some(5700)
        }
    );
    m.hw.ticks = 5700;
    assert_eq!(m.run(), Exit::Interrupted);
    assert_eq!(m.vcpu.regs.pc, vector(10));
}

#[test]
fn a_wait_that_no_enabled_timer_ends_has_no_deadline() {
    let mut m = Machine::new();
    m.mtspr(0x154, tcr::DIE);
    m.mtspr(0x16, 700);
    assert_eq!(wait_with(&mut m, msr::CE), Exit::Wait { deadline: None });
    m.hw.ticks = 10_000;
    m.hw.external = true;
    assert_eq!(m.run(), Exit::Wait { deadline: None });
    m.hw.critical = true;
    assert_eq!(m.run(), Exit::Interrupted);
    assert_eq!(m.vcpu.regs.pc, vector(0));
}

#[test]
fn a_kick_returns_before_the_guest_runs() {
    let mut m = Machine::new();
    m.hw.kick = true;
    assert_eq!(m.run(), Exit::Interrupted);
    assert!(m.hw.executed.is_empty());
    assert_eq!(m.vcpu.stats().sig, 1);
}

#[test]
fn dcr_accesses_leave_and_complete() {
    let mut m = Machine::new();
    m.vcpu.regs.gpr[7] = 0x1234_5678;
    assert_eq!(
        m.exec(mtdcr(0x0C3, 7)),
        Exit::Dcr {
            dcrn: 0x0C3,
            write: true,
            data: 0x1234_5678
        }
    );
    assert_eq!((m.vcpu.regs.pc, m.vcpu.exit_pc()), (PC + 4, PC));
    assert_eq!(m.run(), Exit::Interrupted);

    let exit = m.exec(mfdcr(0x3FF, 9));
    assert_eq!(
        exit,
        Exit::Dcr {
            dcrn: 0x3FF,
            write: false,
            data: 0
        }
    );
    let mut page = RunPage::default();
    exit.write_to(&mut page);
    page.set_dcr_data(0xCAFE_F00D);
    m.vcpu.complete(&page);
    m.hw.kick = true;
    assert_eq!(m.run(), Exit::Interrupted);
    assert_eq!(
        m.vcpu.regs.gpr[9], 0xCAFE_F00D,
        "a kick does not come before the completion"
    );
    assert_eq!(m.vcpu.stats().dcr, 2);

    m.vcpu.regs.msr = msr::PR;
    m.interrupted(mfdcr(0x10, 9), 6);
    assert_eq!(m.vcpu.regs.esr, esr::PPR);
}

#[test]
fn dbcr0_resets_at_once() {
    for (code, kind) in [
        (1, ResetKind::Core),
        (2, ResetKind::Chip),
        (3, ResetKind::System),
    ] {
        let mut m = Machine::new();
        m.mtspr(0x154, tcr::ARE | tcr::DIE | 1 << 28);
        m.vcpu.regs.gpr[3] = code << 28;
        assert_eq!(
            m.exec(mtspr(0x134, 3)),
            Exit::Reset {
                kind,
                by_watchdog: false
            }
        );
        m.vcpu.reset(&m.hw, kind);
        assert_eq!((m.vcpu.regs.msr, m.vcpu.regs.pc), (0, 0xFFFF_FFFC));
        let s = *m.vcpu.sprs();
        assert_eq!((s.dbcr0 & dbcr0::RST, s.dbsr & dbsr::MRR), (0, code << 28));
        assert_eq!(m.vcpu.timers(&m.hw).tcr, tcr::DIE);
        assert!(m.vcpu.tlb().iter().all(|entry| !entry.word0.v()));
    }
}

#[test]
fn the_watchdog_resets_and_says_so() {
    let mut m = Machine::new();
    m.mtspr(0x154, 2 << 28);
    m.program(PC, &[0x4800_0000]);
    m.hw.ticks_per_insn = 4096;
    m.vcpu.regs.pc = PC;
    m.hw.direct = None;
    assert_eq!(
        m.run(),
        Exit::Reset {
            kind: ResetKind::Chip,
            by_watchdog: true
        }
    );
    m.vcpu.reset(&m.hw, ResetKind::Chip);
    assert_eq!(m.vcpu.timers(&m.hw).tsr & tsr::WRS, 2 << 28);
}

#[test]
fn a_watchdog_that_ran_out_while_the_guest_waits_resets_too() {
    let mut m = Machine::new();
    m.mtspr(0x154, 1 << 28);
    m.vcpu.regs.msr = msr::WE;
    assert!(matches!(m.run(), Exit::Wait { deadline: Some(_) }));
    m.hw.ticks = 1 << 30;
    let reset = Exit::Reset {
        kind: ResetKind::Core,
        by_watchdog: true,
    };
    assert_eq!(m.run(), reset);
}

/// A guest whose watchdog is about to reset the core, `ticks` ticks after it last looked.
fn about_to_be_reset(ticks: u64) -> Machine {
    let mut m = Machine::new();
    let timers = TimerState {
        tb: (1 << 20) - ticks,
        tcr: 1 << 28,
        tsr: tsr::ENW | tsr::WIS,
        ..TimerState::default()
    };
    m.vcpu.set_timers(&m.hw, timers);
    m
}

const BY_WATCHDOG: Exit = Exit::Reset {
    kind: ResetKind::Core,
    by_watchdog: true,
};

#[test]
fn a_watchdog_reset_is_one_whoever_notices_it() {
    // Whatever the guest does when its time has run out: the timers' registers, and the one through
    // which it would reset the system itself.
    const DECAR: u32 = 54;
    let writes = [
        (22, 1000),
        (DECAR, 1),
        (284, 5),
        (285, 5),
        (336, 0),
        (340, 0),
    ];
    for (number, value) in writes.into_iter().chain([(308, 3 << 28), (308, 0)]) {
        let mut m = about_to_be_reset(3);
        m.vcpu.regs.gpr[3] = value;
        m.hw.ticks_per_entry = 5;
        assert_eq!(m.exec(mtspr(number, 3)), BY_WATCHDOG, "{number}");
        m.vcpu.reset(&m.hw, ResetKind::Core);
        assert_eq!(m.vcpu.timers(&m.hw).tsr & tsr::WRS, 1 << 28, "{number}");
        assert_eq!(m.vcpu.sprs().dbsr & dbsr::MRR, 1 << 28, "{number}");
    }
    // The guest's own write makes the bit of the time base rise.
    let mut m = about_to_be_reset(1 << 19);
    m.vcpu.regs.gpr[3] = 1 << 20;
    assert_eq!(m.exec(mtspr(284, 3)), BY_WATCHDOG);
    // Whoever looks from outside.
    for look in [0, 1] {
        let mut m = about_to_be_reset(3);
        m.hw.ticks += 4;
        match look {
            0 => assert!(m.vcpu.timers(&m.hw).watchdog_reset.is_some()),
            _ => {
                let state = m.vcpu.state(&m.hw);
                m.vcpu.set_state(&m.hw, &state);
            }
        }
        m.hw.kick = true;
        assert_eq!(m.run(), Exit::Interrupted);
        assert_eq!(m.run(), BY_WATCHDOG, "{look}");
        m.hw.kick = true;
        assert_eq!(m.run(), Exit::Interrupted, "it is told once");
    }
}

#[test]
fn a_reset_by_the_guest_is_no_watchdogs_however_long_it_takes() {
    let mut m = about_to_be_reset(100);
    m.vcpu.regs.gpr[3] = 2 << 28;
    let reset = Exit::Reset {
        kind: ResetKind::Chip,
        by_watchdog: false,
    };
    assert_eq!(m.exec(mtspr(308, 3)), reset);
    // What was said about a reset before stays until a watchdog says otherwise.
    m.hw.ticks += 1 << 30;
    m.vcpu.reset(&m.hw, ResetKind::Chip);
    let timers = m.vcpu.timers(&m.hw);
    assert_eq!((timers.tsr & tsr::WRS, timers.watchdog_reset), (0, None));
    assert_eq!(m.vcpu.sprs().dbsr & dbsr::MRR, 2 << 28);
}

#[test]
fn what_waits_is_told() {
    let mut m = Machine::new();
    m.vcpu.regs.msr = 0;
    m.vcpu.raise_machine_check(0x4000_0000);
    m.vcpu.inject(Inject::Set);
    let pending = m.vcpu.pending();
    assert!(pending.external_once && pending.machine_check == 0xC000_0000);
    m.vcpu.regs.msr = msr::ME;
    assert_eq!(m.turn(1), Exit::Interrupted);
    assert_eq!(m.vcpu.pending().machine_check, 0);
    assert_eq!(
        (m.vcpu.sprs().mcsr, m.vcpu.stats().mcheck),
        (0xC000_0000, 1)
    );
}

#[test]
fn a_decrementer_interrupt_comes_at_its_instruction_on_a_virtual_clock() {
    let mut m = Machine::new();
    m.hw.ticks_per_insn = 3;
    m.mtspr(0x154, tcr::DIE);
    m.mtspr(0x16, 300);
    let start = m.hw.retired;
    m.program(PC, &[0x4800_0000]);
    m.program(vector(10), &[0x4800_0000]);
    m.vcpu.regs.pc = PC;
    m.vcpu.regs.msr = msr::EE;
    m.hw.direct = None;
    // The write took effect before its own instruction completed: 99 more use up the 300 ticks.
    assert_eq!(m.turn(2), Exit::Interrupted);
    assert_eq!((m.hw.retired - start, m.vcpu.regs.pc), (99, PC));
    assert_eq!(m.turn(1), Exit::Interrupted);
    assert_eq!(m.vcpu.regs.pc, vector(10));
    assert_eq!(m.vcpu.regs.srr0, PC);
}

#[test]
fn counters_follow_what_happens() {
    let mut m = Machine::new();
    m.hw.asks = false;
    m.vcpu.set_timed(true);
    m.mfspr(0x11F);
    m.vcpu.regs.gpr[4] = UART;
    assert!(matches!(m.exec(LWZ), Exit::Mmio { .. }));
    assert_eq!(m.run(), Exit::Interrupted);
    m.interrupted(SC, 8);
    m.vcpu.regs.gpr[4] = 0x7000_0000;
    m.interrupted(LWZ, 13);
    m.vcpu.regs.gpr[4] = 0x100;
    m.complete(LWZ);
    let s = m.vcpu.stats();
    assert_eq!(
        (s.inst_emu, s.mmio, s.sysc, s.dtlb_r, s.dtlb_v),
        (1, 1, 1, 1, 1)
    );
    assert_eq!(
        s.named().iter().find(|(name, _)| *name == "sysc"),
        Some(&("sysc", 1))
    );
    for cause in [
        Cause::EmulMfspr,
        Cause::Syscall,
        Cause::DtlbReal,
        Cause::DtlbVirt,
    ] {
        assert_eq!(m.vcpu.timing().charge(cause).count, 1, "{}", cause.name());
        assert_eq!(m.vcpu.timing().charge(cause).sum, 10);
    }
    assert!(m.vcpu.timing().charge(Cause::InGuest).count >= 5);
}

#[test]
fn time_is_not_measured_unless_asked_for() {
    let mut m = Machine::new();
    m.complete(NOP);
    assert_eq!(m.hw.stopwatch.get(), 0);
}

#[test]
fn a_snapshot_taken_during_an_access_goes_on_in_another_cpu() {
    let mut m = Machine::new();
    m.mtspr(0x154, tcr::DIE);
    m.mtspr(0x16, 1000);
    m.vcpu.regs.gpr[4] = UART + 1;
    assert!(matches!(m.exec(LWZ), Exit::Mmio { len: 1, .. }));
    m.vcpu.complete_mmio([0x11, 0, 0, 0, 0, 0, 0, 0]);
    let state = m.vcpu.state(&m.hw);

    let mut other = Machine::new();
    other.vcpu = Vcpu::new(0);
    for slot in m.vcpu.slots() {
        other.vcpu.add_slot(*slot).unwrap();
    }
    other.hw.ticks = 777;
    other.vcpu.set_state(&other.hw, &state);
    assert_eq!(other.vcpu.state(&other.hw), state);
    other.hw.direct = Some((PC, LWZ));
    assert!(matches!(other.run(), Exit::Mmio { len: 2, gpa, .. } if gpa == u64::from(UART) + 2));
    other.vcpu.complete_mmio([0x22, 0x33, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(other.run(), Exit::Mmio { len: 1, .. }));
    other.vcpu.complete_mmio([0x44, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(other.run(), Exit::Interrupted);
    assert_eq!(other.vcpu.regs.gpr[5], 0x1122_3344);
    assert_eq!(other.vcpu.sprs().pvr, ppc440_kvm::PVR_440EP);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any word, any registers: the core answers with an exit or goes on, and its own arithmetic
    /// holds (tests are built with overflow checks).
    #[test]
    fn no_instruction_upsets_the_core(
        words in proptest::collection::vec(
            prop_oneof![
                any::<u32>(),
                any::<u32>().prop_map(|word| word & 0x03FF_FFFF | 31 << 26),
                any::<u32>().prop_map(|word| word & 0x1FFF_FFFF | 0x8000_0000 | (word & 1) << 30),
                (0u32..1024, any::<bool>()).prop_map(|(n, to)| if to { mtspr(n, 3) } else { mfspr(n, 3) }),
            ],
            1..40,
        ),
        registers in proptest::collection::vec(
            prop_oneof![any::<u32>(), Just(UART), Just(0xFFFF_FFFEu32), Just(0x4000_0FFDu32), Just(0x100u32)],
            32,
        ),
        entries in proptest::collection::vec((0usize..64, any::<u32>(), any::<u32>(), any::<u32>()), 0..6),
        state in any::<u32>(),
    ) {
        let mut m = Machine::new();
        m.vcpu.set_tlb(2, entry(0x4000_0000, 0x1_0000, 1, 0, false, ALL));
        m.vcpu.set_tlb(3, entry(0x4000_1000, 0x1_2000, 1, 0, false, ALL | 0x80));
        for (index, word0, word1, word2) in entries {
            m.vcpu.set_tlb(index, ppc440_isa::tlb::Tlbe {
                tid: 0,
                word0: word0.into(),
                word1: word1.into(),
                word2: word2.into(),
            });
        }
        m.hw.ticks_per_insn = u64::from(state >> 16);
        for word in words {
            for (gpr, value) in m.vcpu.regs.gpr.iter_mut().zip(&registers) {
                *gpr = *value;
            }
            m.vcpu.regs.xer.count = state as u8 & 0x7F;
            m.vcpu.regs.msr = state & msr::IMPLEMENTED;
            // Never more exits than the longest access has bytes, and turns without end stop.
            m.hw.turns = Some(200);
            let mut exit = m.exec(word);
            for _ in 0..200 {
                if !matches!(exit, Exit::Mmio { .. } | Exit::Dcr { .. }) {
                    break;
                }
                m.vcpu.complete_mmio([0xFF; 8]);
                exit = m.run();
            }
            let settled = !matches!(exit, Exit::Mmio { .. } | Exit::Dcr { .. });
            prop_assert!(settled, "{:08x} never ends: {:?}", word, exit);
            prop_assert_eq!(m.vcpu.regs.msr & !msr::IMPLEMENTED, 0);
            prop_assert_eq!(m.vcpu.regs.pc & 3, 0);
        }
    }
}
