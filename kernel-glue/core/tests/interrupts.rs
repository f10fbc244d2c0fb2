//! The interrupts as the guest sees them: registers, MSR, ESR, DEAR, order.

mod support;

use ppc440_isa::regs::{esr, mcsr, msr, tcr};
use ppc440_isa::tlb::Tlbe;
use ppc440_kvm::{Exit, Inject, ResetKind, Stuck};
use support::*;

const ALL_MSR: u32 = msr::IMPLEMENTED;

/// Sets the registers that an interrupt may write to values that show whether it did.
fn mark(m: &mut Machine) {
    let regs = &mut m.vcpu.regs;
    regs.esr = esr::MCI | esr::PIL | esr::ST | esr::FP;
    regs.dear = 0xD;
    (regs.srr0, regs.srr1, regs.csrr0, regs.csrr1) = (0xA, 0xB, 0xC, 0xE);
    m.set_sprs(|s| (s.mcsrr0, s.mcsrr1) = (0xF, 0x10));
}

struct Case {
    name: &'static str,
    n: u32,
    /// MSR before, beside ME.
    msr: u32,
    word: u32,
    prepare: fn(&mut Machine),
    /// Save register 0, relative to the instruction.
    returns_to: u32,
    esr: Option<u32>,
    dear: Option<u32>,
}

const PAGE: u32 = 0x4000_0000;

fn with_entry(m: &mut Machine, word2: u32) {
    m.vcpu.set_tlb(2, entry(PAGE, 0x8000, 1, 0, true, word2));
    m.vcpu.set_tlb(3, entry(0, 0, 5, 0, true, ALL));
    m.vcpu.regs.gpr[4] = PAGE + 0x123;
}

const NOTHING: Case = Case {
    name: "",
    n: 0,
    msr: msr::IS | msr::DS | msr::DE,
    word: NOP,
    prepare: |_| {},
    returns_to: 0,
    esr: None,
    dear: None,
};

fn cases() -> Vec<Case> {
    let stfs = d_form(52, 5, 4, 0);
    let lfd = d_form(50, 5, 4, 0);
    vec![
        Case {
            name: "critical input",
            n: 0,
            msr: msr::CE | msr::EE | msr::WE,
            prepare: |m| m.hw.critical = true,
            ..NOTHING
        },
        Case {
            name: "machine check",
            n: 1,
            msr: msr::CE | msr::EE,
            prepare: |m| m.vcpu.raise_machine_check(mcsr::DRB),
            ..NOTHING
        },
        Case {
            name: "load without permission",
            n: 2,
            word: LWZ,
            prepare: |m| with_entry(m, 0x16),
            esr: Some(0),
            dear: Some(PAGE + 0x123),
            ..NOTHING
        },
        Case {
            name: "store without permission",
            n: 2,
            word: STW,
            prepare: |m| with_entry(m, 0x3D),
            esr: Some(esr::ST),
            dear: Some(PAGE + 0x123),
            ..NOTHING
        },
        Case {
            name: "fp store without permission",
            n: 2,
            word: stfs,
            msr: msr::FP | msr::DS,
            prepare: |m| with_entry(m, 0x3D),
            esr: Some(esr::ST | esr::FP),
            dear: Some(PAGE + 0x123),
            ..NOTHING
        },
        Case {
            name: "external input",
            n: 4,
            msr: msr::EE | msr::WE | msr::CE,
            prepare: |m| m.hw.external = true,
            ..NOTHING
        },
        Case {
            name: "misaligned lfd",
            n: 5,
            word: lfd,
            msr: msr::FP | msr::DS,
            prepare: |m| with_entry(m, ALL),
            esr: Some(esr::FP),
            dear: Some(PAGE + 0x123),
            ..NOTHING
        },
        Case {
            name: "dcbz on a page that is not cached",
            n: 5,
            word: x_form(1014, 0, 0, 4),
            prepare: |m| with_entry(m, ALL | 0x400),
            esr: Some(esr::ST),
            dear: Some(PAGE + 0x123),
            ..NOTHING
        },
        Case {
            name: "dcbz on a write-through page",
            n: 5,
            word: x_form(1014, 0, 0, 4),
            prepare: |m| with_entry(m, ALL | 0x800),
            esr: Some(esr::ST),
            dear: Some(PAGE + 0x123),
            ..NOTHING
        },
        Case {
            name: "illegal instruction",
            n: 6,
            word: 0,
            esr: Some(esr::PIL),
            ..NOTHING
        },
        Case {
            name: "privileged instruction of the user",
            n: 6,
            word: RFI,
            msr: msr::PR | msr::EE,
            esr: Some(esr::PPR),
            ..NOTHING
        },
        Case {
            name: "trap",
            n: 6,
            word: TRAP,
            esr: Some(esr::PTR),
            ..NOTHING
        },
        Case {
            name: "fp unavailable",
            n: 7,
            word: lfd,
            ..NOTHING
        },
        Case {
            name: "system call",
            n: 8,
            word: SC,
            msr: msr::PR | msr::EE | msr::CE,
            returns_to: 4,
            ..NOTHING
        },
        Case {
            name: "decrementer",
            n: 10,
            msr: msr::EE,
            prepare: |m| {
                m.mtspr(0x154, tcr::DIE);
                m.mtspr(0x16, 1);
                m.hw.ticks += 1;
            },
            ..NOTHING
        },
        Case {
            name: "fixed interval",
            n: 11,
            msr: msr::EE,
            prepare: |m| {
                m.mtspr(0x154, tcr::FIE);
                m.hw.ticks += 1 << 12;
            },
            ..NOTHING
        },
        Case {
            name: "watchdog",
            n: 12,
            msr: msr::CE,
            prepare: |m| {
                m.mtspr(0x154, tcr::WIE);
                m.hw.ticks += 3 << 20;
            },
            ..NOTHING
        },
        Case {
            name: "load miss",
            n: 13,
            word: LWZ,
            prepare: |m| {
                with_entry(m, ALL);
                m.vcpu.regs.gpr[4] = 0x5000_0000
            },
            esr: Some(0),
            dear: Some(0x5000_0000),
            ..NOTHING
        },
        Case {
            name: "store miss",
            n: 13,
            word: STW,
            prepare: |m| {
                with_entry(m, ALL);
                m.vcpu.regs.gpr[4] = 0x5000_0000
            },
            esr: Some(esr::ST),
            dear: Some(0x5000_0000),
            ..NOTHING
        },
        Case {
            name: "fp load miss",
            n: 13,
            word: lfd,
            msr: msr::FP | msr::DS,
            prepare: |m| {
                with_entry(m, ALL);
                m.vcpu.regs.gpr[4] = 0x5000_0000
            },
            esr: Some(esr::FP),
            dear: Some(0x5000_0000),
            ..NOTHING
        },
        Case {
            name: "dcbi miss",
            n: 13,
            word: x_form(470, 0, 0, 4),
            prepare: |m| {
                with_entry(m, ALL);
                m.vcpu.regs.gpr[4] = 0x5000_0000
            },
            esr: Some(esr::ST),
            dear: Some(0x5000_0000),
            ..NOTHING
        },
        Case {
            name: "icbi miss",
            n: 13,
            word: x_form(982, 0, 0, 4),
            prepare: |m| {
                with_entry(m, ALL);
                m.vcpu.regs.gpr[4] = 0x5000_0000
            },
            esr: Some(0),
            dear: Some(0x5000_0000),
            ..NOTHING
        },
    ]
}

#[test]
fn every_interrupt_saves_and_keeps_what_the_manual_says() {
    for case in cases() {
        let mut m = Machine::new();
        (case.prepare)(&mut m);
        mark(&mut m);
        let before = case.msr | msr::ME;
        m.vcpu.regs.msr = before;
        m.interrupted(case.word, case.n);
        let (r, s, address) = (m.vcpu.regs, *m.vcpu.sprs(), PC + case.returns_to);
        let kept = match case.n {
            0 | 12 | 15 => {
                assert_eq!((r.csrr0, r.csrr1), (address, before), "{}", case.name);
                assert_eq!((r.srr0, s.mcsrr0), (0xA, 0xF), "{}", case.name);
                msr::ME
            }
            1 => {
                assert_eq!((r.csrr0, r.csrr1), (address, before), "{}", case.name);
                assert_eq!((s.mcsrr0, s.mcsrr1), (address, before), "{}", case.name);
                assert_eq!(
                    (r.srr0, s.mcsr),
                    (0xA, mcsr::MCS | mcsr::DRB),
                    "{}",
                    case.name
                );
                0
            }
            _ => {
                assert_eq!((r.srr0, r.srr1), (address, before), "{}", case.name);
                assert_eq!((r.csrr0, s.mcsrr0), (0xC, 0xF), "{}", case.name);
                msr::CE | msr::ME | msr::DE
            }
        };
        assert_eq!(m.vcpu.regs.msr, before & kept, "{}", case.name);
        let syndrome = case
            .esr
            .map_or(esr::MCI | esr::PIL | esr::ST | esr::FP, |e| e | esr::MCI);
        assert_eq!(r.esr, syndrome, "{}", case.name);
        assert_eq!(r.dear, case.dear.unwrap_or(0xD), "{}", case.name);
    }
}

#[test]
fn hardware_knows_whether_an_interrupt_waits_for_ee() {
    let mut m = Machine::new();
    m.vcpu.regs.msr = 0;
    m.turn(1);
    assert!(!m.vcpu.regs.masked);
    m.hw.external = true;
    m.turn(1);
    assert!(m.vcpu.regs.masked);
    m.hw.external = false;
    m.turn(1);
    assert!(!m.vcpu.regs.masked);
    m.vcpu.inject(Inject::SetLevel);
    m.turn(1);
    assert!(m.vcpu.regs.masked && !m.vcpu.state(&m.hw).regs.masked);
}

#[test]
fn fetch_faults_go_to_their_interrupts() {
    let mut m = Machine::new();
    m.vcpu.set_tlb(2, entry(PAGE, 0x8000, 1, 0, false, 0x3B));
    mark(&mut m);
    m.vcpu.regs.pc = PAGE + 0x40;
    assert_eq!(m.turn(1), Exit::Interrupted);
    assert_eq!(m.vcpu.regs.pc, vector(3));
    let r = m.vcpu.regs;
    assert_eq!((r.srr0, r.esr, r.dear), (PAGE + 0x40, esr::MCI, 0xD));

    mark(&mut m);
    m.vcpu.regs.pc = 0x6000_0000;
    assert_eq!(m.turn(1), Exit::Interrupted);
    assert_eq!(m.vcpu.regs.pc, vector(14));
    let r = m.vcpu.regs;
    assert_eq!((r.srr0, r.dear), (0x6000_0000, 0xD));
    assert_eq!(
        r.esr,
        esr::MCI | esr::PIL | esr::ST | esr::FP,
        "esr is not this interrupt's"
    );
}

#[test]
fn a_fetch_from_no_memory_is_a_machine_check() {
    let mut m = Machine::new();
    m.vcpu.regs.pc = UART;
    m.vcpu.regs.msr = msr::ME | msr::CE;
    assert_eq!(m.turn(1), Exit::Interrupted);
    let r = m.vcpu.regs;
    let s = *m.vcpu.sprs();
    assert_eq!((m.vcpu.regs.pc, m.vcpu.regs.msr), (vector(1), 0));
    assert_eq!((r.esr & esr::MCI, s.mcsr), (esr::MCI, mcsr::MCS | mcsr::IB));
    assert_eq!((r.csrr0, s.mcsrr0), (UART, UART));

    m.vcpu.regs.pc = UART;
    let stuck = Exit::CannotGoOn {
        pc: UART,
        reason: Stuck::MachineCheckDisabled,
    };
    assert_eq!(m.turn(1), stuck);
}

#[test]
fn waiting_interrupts_go_in_the_manuals_order() {
    let mut m = Machine::new();
    m.mtspr(0x154, tcr::DIE | tcr::FIE | tcr::WIE);
    m.mtspr(0x16, 1);
    m.hw.ticks += 3 << 20;
    (m.hw.external, m.hw.critical) = (true, true);
    m.vcpu.raise_machine_check(0);
    let everything = msr::ME | msr::CE | msr::EE | msr::DE;
    let mut taken = Vec::new();
    for _ in 0..6 {
        m.vcpu.regs.msr = everything;
        m.vcpu.regs.pc = PC;
        m.hw.direct = Some((PC, NOP));
        assert_eq!(m.run(), Exit::Interrupted);
        let n = (m.vcpu.regs.pc - vector(0)) / 0x100;
        taken.push(n);
        match n {
            0 => m.hw.critical = false,
            4 => m.hw.external = false,
            12 => m.mtspr(0x150, 0x4000_0000),
            11 => m.mtspr(0x150, 0x0400_0000),
            10 => m.mtspr(0x150, 0x0800_0000),
            _ => {}
        }
    }
    assert_eq!(taken, [1, 0, 12, 4, 11, 10]);
}

#[test]
fn a_critical_input_follows_a_synchronous_interrupt_before_its_first_instruction() {
    let mut m = Machine::new();
    m.hw.direct = Some((PC, SC));
    m.vcpu.regs.pc = PC;
    // Turn 1 takes the system call; the critical input rises meanwhile.
    m.vcpu.regs.msr = msr::CE;
    m.hw.turns = Some(1);
    assert_eq!(m.run(), Exit::Interrupted);
    m.hw.critical = true;
    m.hw.turns = Some(1);
    assert_eq!(m.run(), Exit::Interrupted);
    let r = m.vcpu.regs;
    assert_eq!(m.vcpu.regs.pc, vector(0));
    assert_eq!((r.csrr0, r.csrr1), (vector(8), msr::CE));
    assert_eq!((r.srr0, r.srr1), (PC + 4, msr::CE));
}

#[test]
fn disabled_interrupts_wait() {
    let mut m = Machine::new();
    (m.hw.external, m.hw.critical) = (true, true);
    m.vcpu.raise_machine_check(0);
    m.vcpu.regs.msr = 0;
    m.complete(NOP);
    m.vcpu.regs.gpr[3] = ALL_MSR & !(msr::WE | msr::PR | msr::IS | msr::DS);
    m.vcpu.regs.pc = PC;
    m.hw.direct = Some((PC, x_form(146, 3, 0, 0)));
    assert_eq!(m.run(), Exit::Interrupted);
    assert_eq!(m.vcpu.regs.pc, vector(1));
    assert_eq!(m.vcpu.regs.csrr0, PC + 4);
}

#[test]
fn an_injected_interrupt_comes_once_and_an_injected_level_until_unset() {
    let mut m = Machine::new();
    m.vcpu.inject(Inject::Set);
    m.vcpu.regs.msr = msr::EE;
    m.interrupted(NOP, 4);
    m.vcpu.regs.msr = msr::EE;
    m.complete(NOP);
    m.vcpu.inject(Inject::SetLevel);
    for _ in 0..2 {
        m.vcpu.regs.msr = msr::EE;
        m.interrupted(NOP, 4);
    }
    m.vcpu.inject(Inject::Set);
    m.vcpu.inject(Inject::Unset);
    m.vcpu.regs.msr = msr::EE;
    m.complete(NOP);
}

#[test]
fn returns_restore_pc_and_msr() {
    for (word, n) in [(RFI, 0), (RFCI, 1), (RFMCI, 2)] {
        let mut m = Machine::new();
        let regs = &mut m.vcpu.regs;
        (regs.srr0, regs.srr1) = (0x2003, ALL_MSR & !msr::WE | 2);
        (regs.csrr0, regs.csrr1) = (0x3001, msr::ME | 1);
        m.set_sprs(|s| (s.mcsrr0, s.mcsrr1) = (0x4002, msr::FP));
        let before = m.hw.retired;
        m.vcpu.set_tlb(2, entry(0, 0, 5, 0, true, ALL));
        assert_eq!(m.exec(word), Exit::Interrupted);
        let expected = [
            (0x2000, ALL_MSR & !msr::WE),
            (0x3000, msr::ME),
            (0x4000, msr::FP),
        ][n];
        assert_eq!((m.vcpu.regs.pc, m.vcpu.regs.msr), expected);
        assert_eq!(m.hw.retired, before + 1);
    }
}

#[test]
fn a_cpu_that_cannot_fetch_its_handlers_does_not_go_on() {
    let mut m = Machine::new();
    m.vcpu.set_tlb(0, Tlbe::default());
    m.hw.direct = None;
    let Exit::CannotGoOn { pc, reason } = m.run() else {
        panic!("it went on")
    };
    assert_eq!((pc, reason), (vector(14), Stuck::EndlessInterrupts));

    // Illegal instructions at the vector of illegal instructions.
    let mut m = Machine::new();
    m.hw.direct = None;
    let Exit::CannotGoOn { pc, .. } = m.run() else {
        panic!("it went on")
    };
    assert_eq!(pc, vector(6));
}

#[test]
fn a_stuck_cpu_with_a_watchdog_waits_for_its_reset() {
    let mut m = Machine::new();
    m.mtspr(0x154, 3 << 28);
    m.vcpu.set_tlb(0, Tlbe::default());
    m.hw.direct = None;
    for _ in 0..3 {
        let Exit::Wait { deadline: Some(at) } = m.run() else {
            panic!("it does not wait")
        };
        m.hw.ticks = at;
    }
    assert_eq!(
        m.run(),
        Exit::Reset {
            kind: ResetKind::System,
            by_watchdog: true
        }
    );
}
