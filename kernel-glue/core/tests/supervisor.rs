//! What the core does while the hardware runs, and what it leaves for when it comes back.

#![allow(clippy::unwrap_used)] // What is not there fails the test.

mod support;

use ppc440_isa::regs::{dbcr0, esr, msr};
use ppc440_isa::tlb::Tlbe;
use ppc440_isa::{Access, ProgramCause, TlbWrite, Trap};
use ppc440_kvm::{Exit, Inject, Stuck};
use support::*;

const PAGE: u32 = 0x4000_0000;
/// `mfdcr r3,0`, which ends each program.
const END: u32 = 31 << 26 | 3 << 21 | 323 << 1;
/// `tlbsx r5,0,r4`
const TLBSX: u32 = 31 << 26 | 5 << 21 | 4 << 11 | 914 << 1;

/// What the hardware comes back with for `word`, when the core has not dealt with it.
fn privileged(word: u32) -> Trap {
    let cause = ProgramCause::Privileged;
    Trap::Program { cause, word }
}

/// A guest with a page at `PAGE`, handlers that end at once, and `program` at `PC`.
fn machine(program: &[u32], word2: u32) -> Machine {
    let mut m = Machine::new();
    m.vcpu.set_tlb(2, entry(PAGE, 0x8000, 1, 0, false, word2));
    m.program(PC, program);
    for n in 0..16 {
        m.program(vector(n), &[END]);
    }
    m.program(0x8000, &[0x1234_5678]);
    m.vcpu.regs.gpr[4] = PAGE;
    m.vcpu.regs.pc = PC;
    m.hw.direct = None;
    m
}

/// Runs until the program or a handler ends, in one entry, and says where.
#[track_caller]
fn ends(m: &mut Machine) -> u32 {
    m.hw.came_back.clear();
    let exit = m.run();
    assert!(matches!(exit, Exit::Dcr { write: false, .. }), "{exit:?}");
    assert_eq!(m.hw.came_back, [privileged(END)]);
    m.vcpu.exit_pc()
}

#[test]
fn a_page_that_the_guest_has_is_given_to_the_hardware() {
    let mut m = machine(&[LWZ, STW, END], ALL);
    assert_eq!(ends(&mut m), PC + 8);
    assert_eq!((m.vcpu.regs.gpr[5], m.hw.retired), (0x1234_5678, 3));
    // The page of code, and that of the data.
    let stats = m.vcpu.stats();
    assert_eq!((stats.itlb_v, stats.dtlb_v, stats.entries), (1, 1, 1));
}

#[test]
fn a_page_that_the_guest_lacks_or_forbids_is_its_interrupt() {
    for (word2, word, store, n) in [
        (None, LWZ, false, 13),
        (None, STW, true, 13),
        (Some(0x3D), STW, true, 2),
        (Some(0x36), LWZ, false, 2),
    ] {
        let mut m = machine(&[NOP, word, END], word2.unwrap_or_default());
        if word2.is_none() {
            m.vcpu.set_tlb(2, Tlbe::default());
        }
        assert_eq!(ends(&mut m), vector(n), "{word2:?}");
        let r = &m.vcpu.regs;
        assert_eq!((r.srr0, r.dear, m.hw.retired), (PC + 4, PAGE, 2));
        assert_eq!(r.esr, if store { esr::ST } else { 0 });
    }
    // Likewise code.
    for (word2, n) in [(None, 14), (Some(0x3B), 3)] {
        let mut m = machine(&[], word2.unwrap_or_default());
        if word2.is_none() {
            m.vcpu.set_tlb(2, Tlbe::default());
        }
        m.vcpu.regs.pc = PAGE;
        assert_eq!(ends(&mut m), vector(n));
        assert_eq!((m.vcpu.regs.srr0, m.hw.retired), (PAGE, 1));
    }
}

#[test]
fn other_interrupts_are_taken_on_the_way() {
    for (word, msr, n, returns_to) in [
        (SC, 0, 8, PC + 4),
        (0, 0, 6, PC),
        (TRAP, 0, 6, PC),
        (d_form(50, 5, 4, 0), 0, 7, PC),
        (RFI, msr::PR, 6, PC),
    ] {
        let mut m = machine(&[word], ALL);
        m.vcpu.regs.msr = msr;
        assert_eq!(ends(&mut m), vector(n), "{word:08x}");
        assert_eq!((m.vcpu.regs.srr0, m.vcpu.regs.srr1), (returns_to, msr));
    }
}

#[test]
fn the_tlb_is_searched_and_read_on_the_way() {
    // tlbre r6,r5,0 to 2
    let tlbre = |ws: u32| x_form(946, 6 + ws, 5, ws);
    let mut m = machine(&[TLBSX | 1, tlbre(0), tlbre(1), tlbre(2), END], ALL);
    assert_eq!(ends(&mut m), PC + 16);
    assert_eq!(m.vcpu.regs.gpr[5..9], [2, PAGE | 0x210, 0x8000, ALL]);
    assert_eq!(m.vcpu.regs.cr.field(0), 2);
    assert_eq!((m.hw.retired, m.vcpu.stats().inst_emu), (5, 5));

    let mut m = machine(&[TLBSX | 1, END], ALL);
    m.vcpu.regs.gpr[4] = PAGE + 0x1000;
    assert_eq!(ends(&mut m), PC + 4);
    assert_eq!((m.vcpu.regs.gpr[5], m.vcpu.regs.cr.field(0)), (u32::MAX, 0));
}

#[test]
fn what_waits_in_the_registers_is_done_first() {
    let mut m = machine(&[LWZ, END], ALL);
    m.vcpu.set_tlb(2, Tlbe::default());
    for (word, value) in [(0, PAGE | 0x210), (1, 0x8000), (2, ALL)] {
        let write = TlbWrite {
            value,
            index: 40,
            word,
            tid: 0,
        };
        assert!(m.vcpu.regs.tlb_writes.push(write));
    }
    m.vcpu.regs.system_calls = 3;
    assert_eq!(ends(&mut m), PC + 4);
    assert_eq!((m.vcpu.regs.gpr[5], m.vcpu.stats().sysc), (0x1234_5678, 3));
    assert!(m.vcpu.regs.tlb_writes.is_empty() && m.vcpu.regs.system_calls == 0);
}

#[test]
fn what_needs_time_or_somebody_outside_comes_back() {
    let lwz = |ea| Trap::Data {
        ea,
        access: Access::Load,
        word: LWZ,
    };
    for (word, ea, attributes, trap) in [
        (LWZ, UART, 0, lwz(UART)),
        // Little-endian, and across pages.
        (LWZ, PAGE, 0x80, lwz(PAGE)),
        (LWZ, PAGE - 2, 0, lwz(PAGE - 2)),
        (mfspr(0x10C, 3), 0, 0, privileged(mfspr(0x10C, 3))),
        (mtspr(0x3B3, 3), 0, 0, privileged(mtspr(0x3B3, 3))),
    ] {
        let mut m = machine(&[NOP, word, END], ALL | attributes);
        m.vcpu
            .set_tlb(3, entry(PAGE - 0x1000, 0x9000, 1, 0, false, ALL));
        m.vcpu.regs.gpr[4] = ea;
        while !matches!(m.run(), Exit::Dcr { .. }) {}
        assert_eq!(m.hw.came_back[0], trap, "{word:08x}");
        assert_eq!(m.hw.retired, 3);
    }
}

#[test]
fn a_return_comes_back_only_if_something_waits_for_it() {
    for (waits, new, comes_back) in [
        (false, msr::EE | msr::FP | msr::ME, false),
        (false, msr::ME | msr::DE, true),
        (false, 0, true),
        (true, msr::ME, false),
        (true, msr::ME | msr::EE, true),
    ] {
        let mut m = machine(&[RFI], ALL);
        m.program(0x2000, &[END]);
        m.vcpu.regs.msr = msr::ME;
        (m.vcpu.regs.srr0, m.vcpu.regs.srr1) = (0x2000, new);
        if waits {
            m.vcpu.inject(Inject::Set);
        }
        m.run();
        assert_eq!(m.hw.came_back[0] == privileged(RFI), comes_back, "{new:x}");
        let interrupted = waits && comes_back;
        let end = if interrupted { vector(4) } else { 0x2000 };
        assert_eq!(m.vcpu.exit_pc(), end, "{new:x}");
    }
}

#[test]
fn nothing_is_dealt_with_on_the_way_while_events_are_watched() {
    let mut m = machine(&[LWZ, END], ALL);
    m.set_sprs(|s| s.dbcr0 = dbcr0::IDM | dbcr0::IAC1);
    m.vcpu.regs.msr |= msr::DE;
    while !matches!(m.run(), Exit::Dcr { .. }) {}
    assert!(m.hw.came_back.len() > 3, "{:?}", m.hw.came_back);
}

#[test]
fn an_endless_miss_comes_back_to_end() {
    let mut m = machine(&[], ALL);
    m.vcpu.set_tlb(0, Tlbe::default());
    let stuck = Exit::CannotGoOn {
        pc: vector(14),
        reason: Stuck::EndlessInterrupts,
    };
    assert_eq!(m.run(), stuck);
    assert_eq!(m.hw.came_back, [Trap::Fetch]);
}
