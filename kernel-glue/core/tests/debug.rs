//! Debug events as Linux uses them.

mod support;

use ppc440_isa::regs::{ccr0, dbcr0, dbsr, esr, msr, tcr};
use ppc440_kvm::{Exit, ResetKind, Sprs, State, TimerState};
use support::*;

/// A machine in which `events` are armed and code starts at `PC`.
fn armed(events: u32, code: &[u32]) -> Machine {
    let mut m = Machine::new();
    m.set_sprs(|s| s.dbcr0 = dbcr0::IDM | events);
    m.vcpu.regs.msr = msr::ME | msr::DE | msr::EE;
    m.program(PC, code);
    m.program(vector(15), &[0x4800_0000]);
    m
}

/// Turns until the debug interrupt is taken; the events and CSRR0.
fn event(m: &mut Machine) -> (u32, u32) {
    for _ in 0..20 {
        assert_eq!(m.turn(1), Exit::Interrupted);
        if m.vcpu.regs.pc == vector(15) {
            let r = &m.vcpu.regs;
            let s = m.vcpu.sprs();
            assert_eq!(r.csrr1 & msr::DE, msr::DE);
            assert_eq!(m.vcpu.regs.msr, msr::ME, "a critical interrupt");
            return (s.dbsr, r.csrr0);
        }
    }
    panic!("no debug interrupt; pc {:#x}", m.vcpu.regs.pc);
}

fn no_event(m: &mut Machine, turns: u32) {
    assert_eq!(m.turn(turns), Exit::Interrupted);
    assert_eq!((m.vcpu.sprs().dbsr, m.vcpu.stats().debug), (0, 0));
}

const LOOP: u32 = 0x4BFF_FFF8; // b .-8

#[test]
fn instruction_compares_stop_before_the_instruction() {
    for n in 0..4 {
        let mut m = armed(dbcr0::IAC1 >> n, &[NOP, NOP, NOP]);
        m.set_sprs(|s| s.iac[n] = PC + 8);
        let retired = m.hw.retired;
        assert_eq!(event(&mut m), (dbcr0::IAC1 >> n, PC + 8));
        assert_eq!(m.hw.retired, retired + 2);
    }
}

#[test]
fn instruction_ranges_are_half_open() {
    for (mode, hits) in [
        (2u32, [false, true, true, false]),
        (3, [true, false, false, true]),
    ] {
        for (i, hit) in hits.into_iter().enumerate() {
            for (first, shift) in [(0, 22), (2, 6)] {
                let mut m = armed(dbcr0::IAC1 >> first, &[NOP; 64]);
                m.set_sprs(|s| {
                    s.dbcr1 = mode << shift;
                    s.iac[first] = 0x1014;
                    s.iac[first + 1] = 0x101C;
                });
                m.vcpu.regs.pc = 0x1010 + 4 * i as u32;
                assert_eq!(m.turn(1), Exit::Interrupted);
                assert_eq!(m.vcpu.stats().debug == 1, hit, "mode {mode}, address {i}");
            }
        }
    }
}

#[test]
fn compares_can_be_for_one_privilege() {
    for (field, user, supervisor) in [(0u32, true, true), (2, false, true), (3, true, false)] {
        for (state, hit) in [(msr::PR, user), (0, supervisor)] {
            let mut m = armed(dbcr0::IAC2, &[LWZ]);
            m.set_sprs(|s| {
                s.dbcr1 = field << 26;
                s.iac[1] = PC;
            });
            m.vcpu.regs.msr |= state;
            m.turn(2);
            assert_eq!(m.vcpu.stats().debug == 1, hit);

            let mut m = armed(dbcr0::DAC2R, &[LWZ]);
            m.set_sprs(|s| {
                s.dbcr2 = field << 26;
                s.dac[1] = 0x2000;
            });
            m.vcpu.regs.gpr[4] = 0x2000;
            m.vcpu.regs.msr |= state;
            m.turn(2);
            assert_eq!(m.vcpu.stats().debug == 1, hit);
        }
    }
}

#[test]
fn data_compares_stop_before_the_access() {
    for (bit, n, word) in [
        (dbcr0::DAC1R, 0, LWZ),
        (dbcr0::DAC1W, 0, STW),
        (dbcr0::DAC2R, 1, LWZ),
        (dbcr0::DAC2W, 1, STW),
    ] {
        // The byte is inside the word.
        for (byte, hit) in [
            (0x2000, true),
            (0x2003, true),
            (0x2004, false),
            (0x1FFF, false),
        ] {
            let mut m = armed(bit, &[word]);
            m.set_sprs(|s| s.dac[n] = byte);
            m.program(0x2000, &[0x1111_1111]);
            (m.vcpu.regs.gpr[4], m.vcpu.regs.gpr[5]) = (0x2000, 7);
            if hit {
                assert_eq!(event(&mut m), (bit, PC));
                assert_eq!(
                    (m.vcpu.regs.gpr[5], m.hw.ram[0x2003]),
                    (7, 0x11),
                    "it did not happen"
                );
            } else {
                no_event(&mut m, 4);
            }
        }
        // The other direction is not this event.
        let mut m = armed(bit, &[if word == LWZ { STW } else { LWZ }]);
        m.set_sprs(|s| s.dac[n] = 0x2000);
        m.vcpu.regs.gpr[4] = 0x2000;
        no_event(&mut m, 4);
    }
}

#[test]
fn data_ranges_and_masks_count() {
    for (mode, ea, hit) in [
        (2u32, 0x2000, true),
        (2, 0x203C, true),
        (2, 0x2040, false),
        (3, 0x2010, false),
        (3, 0x2040, true),
        (1, 0x2000, true),
        (1, 0x2104, false),
    ] {
        let mut m = armed(dbcr0::DAC1R, &[LWZ]);
        let second = if mode == 1 { 0xFFFF_FF00 } else { 0x2040 };
        m.set_sprs(|s| {
            s.dbcr2 = mode << 22;
            s.dac = [0x2000, second];
        });
        m.vcpu.regs.gpr[4] = ea;
        m.turn(4);
        assert_eq!(m.vcpu.stats().debug == 1, hit, "mode {mode} at {ea:#x}");
    }
}

#[test]
fn a_data_fault_goes_before_a_data_compare() {
    let mut m = armed(dbcr0::DAC1R, &[LWZ]);
    m.set_sprs(|s| s.dac[0] = 0x7000_0000);
    m.vcpu.regs.gpr[4] = 0x7000_0000;
    m.turn(2);
    assert_eq!((m.vcpu.stats().dtlb_r, m.vcpu.stats().debug), (1, 0));
}

#[test]
fn a_single_step_stops_after_one_instruction_of_any_kind() {
    let code = [NOP, mfspr(0x11F, 3), LOOP, STW];
    for (n, next) in [(0u32, 4), (1, 8), (2, 0)] {
        let mut m = armed(dbcr0::ICMP, &code);
        m.vcpu.regs.pc = PC + 4 * n;
        let retired = m.hw.retired;
        assert_eq!(event(&mut m), (dbcr0::ICMP, PC + next));
        assert_eq!(m.hw.retired, retired + 1);
    }
    // An access that leaves is stepped over when it is complete.
    let mut m = armed(dbcr0::ICMP, &[LWZ]);
    m.vcpu.regs.gpr[4] = UART;
    assert!(matches!(m.turn(4), Exit::Mmio { .. }));
    m.vcpu.complete_mmio([1, 2, 3, 4, 0, 0, 0, 0]);
    assert_eq!(event(&mut m), (dbcr0::ICMP, PC + 4));
    assert_eq!(m.vcpu.regs.gpr[5], 0x0102_0304);
    // A fault is no completion.
    let mut m = armed(dbcr0::ICMP, &[LWZ]);
    m.vcpu.regs.gpr[4] = 0x7000_0000;
    assert_eq!(m.turn(2), Exit::Interrupted);
    assert_eq!((m.vcpu.regs.pc, m.vcpu.stats().debug), (vector(13), 0));
}

#[test]
fn taken_branches_stop_before_they_are_taken() {
    let mut m = armed(dbcr0::BRT, &[NOP, NOP, LOOP]);
    assert_eq!(event(&mut m), (dbcr0::BRT, PC + 8));
    // bc 12,2: taken when CR0[EQ].
    let bc = 16 << 26 | 12 << 21 | 2 << 16 | 8;
    let mut m = armed(dbcr0::BRT, &[bc]);
    m.vcpu.regs.cr.set_bit(2, true);
    assert_eq!(event(&mut m), (dbcr0::BRT, PC));
    // bdnz with CTR 2 is taken, with CTR 1 it is not.
    let bdnz = 16 << 26 | 16 << 21 | 8;
    let mut m = armed(dbcr0::BRT, &[bdnz]);
    m.vcpu.regs.ctr = 2;
    assert_eq!(event(&mut m), (dbcr0::BRT, PC));
}

#[test]
fn a_fetch_fault_goes_before_branches_and_data_compares() {
    let mut m = armed(dbcr0::BRT | dbcr0::DAC1R, &[0x4A00_0000]);
    assert_eq!(event(&mut m), (dbcr0::BRT, PC));
    // The branch taken leads to where nothing is mapped.
    let mut m = armed(dbcr0::BRT | dbcr0::DAC1R, &[]);
    m.vcpu.regs.pc = 0x5000_0000;
    m.turn(1);
    assert_eq!((m.vcpu.regs.pc, m.vcpu.sprs().dbsr), (vector(14), 0));
}

#[test]
fn a_trap_event_replaces_the_program_interrupt() {
    let mut m = armed(dbcr0::TRAP, &[TRAP]);
    assert_eq!(event(&mut m), (dbcr0::TRAP, PC));
    assert_eq!(m.vcpu.stats().prog, 0);
}

#[test]
fn nothing_happens_unless_idm_and_de_are_set() {
    let all = dbcr0::IAC1 | dbcr0::ICMP | dbcr0::BRT | dbcr0::DAC1R;
    for (idm, de) in [(dbcr0::IDM, 0), (0, msr::DE)] {
        let mut m = armed(0, &[NOP, LWZ, LOOP]);
        m.set_sprs(|s| {
            s.dbcr0 = idm | all;
            s.iac[0] = PC;
        });
        m.vcpu.regs.msr = msr::ME | de;
        no_event(&mut m, 3);
        assert!(
            m.hw.budgets.iter().all(|&budget| budget > 1),
            "it ran at full speed"
        );
    }
}

#[test]
fn what_passed_before_the_event_is_counted() {
    // Nobody looks at the time before the event.
    let mut m = armed(dbcr0::TRAP | dbcr0::FT, &[NOP, NOP, NOP, TRAP]);
    m.hw.ticks_per_insn = 1;
    let timers = TimerState {
        dec: 1000,
        ..TimerState::default()
    };
    m.vcpu.set_timers(&m.hw, timers);
    assert_eq!(m.turn(6), Exit::Interrupted);
    let r = &m.vcpu.regs;
    let s = m.vcpu.sprs();
    assert_eq!((s.dbsr, r.csrr0), (dbcr0::TRAP, PC + 12));
    m.hw.ticks += 100_000;
    assert_eq!(m.vcpu.timers(&m.hw).dec, 997);
}

#[test]
fn timers_freeze_while_an_event_is_recorded_if_asked() {
    let mut m = Machine::new();
    m.mtspr(0x154, tcr::DIE);
    m.mtspr(0x16, 1000);
    m.mtspr(0x134, dbcr0::IDM | dbcr0::TRAP | dbcr0::FT);
    m.hw.ticks += 100;
    assert_eq!(m.mfspr(0x16), 900);
    m.vcpu.regs.msr = msr::DE;
    m.interrupted(TRAP, 15);
    m.hw.ticks += 100_000;
    assert_eq!(m.mfspr(0x16), 900);
    assert_eq!(m.vcpu.sprs().dbsr, dbcr0::TRAP);
    m.mtspr(0x130, dbcr0::TRAP);
    m.hw.ticks += 100;
    assert_eq!(m.mfspr(0x16), 800);
    // The reset that is recorded in DBSR is no event.
    m.set_sprs(|s| s.dbsr = dbsr::MRR);
    m.hw.ticks += 100;
    assert_eq!(m.mfspr(0x16), 700);
    let State { timers, .. } = m.vcpu.state(&m.hw);
    assert_eq!(timers.dec, 700);
}

#[test]
fn registers_set_from_outside_freeze_the_timers_then_and_not_earlier() {
    let mut m = Machine::new();
    let timers = TimerState {
        dec: 1000,
        ..TimerState::default()
    };
    m.vcpu.set_timers(&m.hw, timers);
    let recorded = |s: &mut Sprs| (s.dbcr0, s.dbsr) = (dbcr0::IDM | dbcr0::FT, dbcr0::TRAP);
    m.hw.ticks += 100;
    m.set_sprs(recorded);
    m.hw.ticks += 100_000;
    // Nobody looks before they go on.
    m.set_sprs(|s| s.dbsr = 0);
    m.hw.ticks += 10;
    assert_eq!(m.vcpu.timers(&m.hw).dec, 890);

    m.set_sprs(recorded);
    m.hw.ticks += 100_000;
    m.vcpu.reset(&m.hw, ResetKind::Core);
    m.hw.ticks += 10;
    let TimerState { dec, tb, .. } = m.vcpu.timers(&m.hw);
    assert_eq!((dec, tb), (880, 120));
}

/// Runs `word` from memory with CCR0[FLSTA] set or not and r4 = `ea`; where `pc` is then.
fn aligned_or_not(word: u32, ea: u32, flsta: u32) -> (Machine, u32) {
    let mut m = Machine::new();
    m.set_sprs(|s| s.ccr0 = flsta);
    m.program(PC, &[word, 0x4800_0000]);
    m.program(vector(5), &[0x4800_0000]);
    m.program(vector(13), &[0x4800_0000]);
    m.vcpu.regs.gpr[4] = ea;
    // A few turns: translations are given to the hardware first.
    for _ in 0..5 {
        if m.vcpu.regs.pc == PC {
            m.turn(1);
        }
    }
    let pc = m.vcpu.regs.pc;
    (m, pc)
}

#[test]
fn misaligned_integer_accesses_are_interrupts_only_under_flsta() {
    const DATA: u32 = 0x8000;
    let cases = [
        (d_form(32, 5, 4, 0), 2, 0),            // lwz
        (d_form(44, 5, 4, 0), 1, esr::ST),      // sth
        (d_form(46, 30, 4, 0), 2, 0),           // lmw
        (d_form(47, 30, 4, 0), 3, esr::ST),     // stmw
        (x_form(20, 5, 0, 4), 1, 0),            // lwarx
        (x_form(150, 5, 0, 4) | 1, 2, esr::ST), // stwcx., without a reservation
        (x_form(662, 5, 0, 4), 1, esr::ST),     // stwbrx
    ];
    for (word, off, syndrome) in cases {
        let (m, pc) = aligned_or_not(word, DATA + off, ccr0::FLSTA);
        assert_eq!(pc, vector(5), "{word:08x}");
        let r = &m.vcpu.regs;
        assert_eq!((r.dear, r.esr, r.srr0), (DATA + off, syndrome, PC));
        assert_eq!(aligned_or_not(word, DATA + off, 0).1, PC + 4, "{word:08x}");
        assert_eq!(
            aligned_or_not(word, DATA, ccr0::FLSTA).1,
            PC + 4,
            "{word:08x}"
        );
        // A miss goes first.
        assert_eq!(aligned_or_not(word, 0xE000_0001, ccr0::FLSTA).1, vector(13));
    }
    // Bytes and strings of bytes are always aligned.
    for word in [d_form(34, 5, 4, 0), x_form(597, 5, 4, 8)] {
        assert_eq!(aligned_or_not(word, DATA + 1, ccr0::FLSTA).1, PC + 4);
    }
}

#[test]
fn alignment_goes_before_a_data_compare() {
    let mut m = armed(dbcr0::DAC1R, &[d_form(50, 5, 4, 0), 0x4800_0000]); // lfd
    m.set_sprs(|s| s.dac[0] = 0x2002);
    m.vcpu.regs.msr |= msr::FP;
    m.program(vector(5), &[0x4800_0000]);
    m.vcpu.regs.gpr[4] = 0x2002;
    for _ in 0..5 {
        if m.vcpu.regs.pc == PC {
            m.turn(1);
        }
    }
    assert_eq!(m.vcpu.regs.pc, vector(5));
    no_event(&mut m, 1);
}
