//! Guests that nothing can move any more, and those that only look like it.

mod support;

use ppc440_isa::regs::{dbcr0, msr, tcr};
use ppc440_kvm::{Exit, Stuck};
use support::*;

/// `b .`
const SPIN: u32 = 0x4800_0000;
const NOP: u32 = 0x6000_0000;

/// A guest at `program` with hang exits, stopped after some turns.
fn run(msr: u32, program: &[u32], set_up: impl FnOnce(&mut Machine)) -> Exit {
    let mut m = Machine::new();
    m.vcpu.set_hang_exits(true);
    set_up(&mut m);
    m.program(PC, program);
    m.vcpu.regs.pc = PC;
    m.vcpu.regs.msr = msr;
    m.hw.direct = None;
    m.turn(8)
}

fn hangs(reason: Stuck) -> Exit {
    Exit::CannotGoOn { pc: PC, reason }
}

#[test]
fn a_branch_to_itself_with_interrupts_off_is_a_hang() {
    assert_eq!(run(0, &[SPIN], |_| {}), hangs(Stuck::Spins));
    assert_eq!(run(msr::ME, &[SPIN], |_| {}), hangs(Stuck::Spins));
    // Supervisor or problem state is the same.
    assert_eq!(run(msr::PR, &[SPIN], |_| {}), hangs(Stuck::Spins));
}

#[test]
fn a_loop_of_nothing_is_a_hang() {
    // `b .+8`, and from there `b .-8`.
    let exit = run(0, &[0x4800_0008, 0, 0x4BFF_FFF8], |_| {});
    spins(exit);
    // `ori r0,r0,0` and `mr r3,r3` are hints.
    spins(run(0, &[NOP, 0x4BFF_FFFC], |_| {}));
    spins(run(0, &[0x7C63_1B78, NOP, 0x4BFF_FFF8], |_| {}));
}

#[track_caller]
fn spins(exit: Exit) {
    let spins = |reason| reason == Stuck::Spins;
    assert!(
        matches!(exit, Exit::CannotGoOn { reason, .. } if spins(reason)),
        "{exit:?}"
    );
}

#[test]
fn a_loop_that_does_something_is_none() {
    // `addi r3,r3,1; b .-4`
    assert_eq!(
        run(0, &[0x3863_0001, 0x4BFF_FFFC], |_| {}),
        Exit::Interrupted
    );
    // `mr r3,r4` and `ori r3,r4,0` may change r3, and `mr. r3,r3` changes CR.
    for word in [0x7C83_2378, 0x6083_0000, 0x7C63_1B79] {
        assert_eq!(run(0, &[word, 0x4BFF_FFFC], |_| {}), Exit::Interrupted);
    }
    // A long loop is not looked through.
    let mut long = vec![NOP; 20];
    long.push(0x4BFF_FFB0);
    assert_eq!(run(0, &long, |_| {}), Exit::Interrupted);
    // A branch to where nothing is mapped, at the end of a slice, ends in an interrupt.
    let mut away = vec![0x38A0_0000; 100];
    away.push(0x4A00_0000);
    assert_eq!(run(0, &away, |_| {}), Exit::Interrupted);
    // `bl .` writes LR.
    assert_eq!(run(0, &[0x4800_0001], |_| {}), Exit::Interrupted);
}

#[test]
fn whatever_can_still_come_makes_it_none() {
    assert_eq!(run(msr::EE, &[SPIN], |_| {}), Exit::Interrupted);
    // A critical interrupt: whether one can come is known outside.
    assert_eq!(run(msr::CE, &[SPIN], |_| {}), Exit::Wait { deadline: None });
    let warns = |m: &mut Machine| m.mtspr(0x154, tcr::WIE);
    assert_eq!(run(msr::CE, &[SPIN], warns), Exit::Interrupted);
    let watchdog = |m: &mut Machine| m.mtspr(0x154, 1 << 28);
    assert_eq!(run(0, &[SPIN], watchdog), Exit::Interrupted);
    let interrupt = |m: &mut Machine| m.mtspr(0x154, 1 << 27);
    assert_eq!(run(msr::CE, &[SPIN], interrupt), Exit::Interrupted);
    let debug = |m: &mut Machine| {
        m.set_sprs(|s| {
            s.dbcr0 = dbcr0::IDM | dbcr0::IAC1;
            s.iac[0] = PC + 0x100;
        });
    };
    assert_eq!(run(msr::DE, &[SPIN], debug), Exit::Interrupted);
}

#[test]
fn a_wait_that_nothing_ends_is_a_hang() {
    let deaf = |m: &mut Machine| m.mtspr(0x154, tcr::DIE);
    assert_eq!(run(msr::WE, &[NOP], deaf), hangs(Stuck::WaitsDeaf));
    let external = run(msr::WE | msr::EE, &[NOP], |_| {});
    assert_eq!(external, Exit::Wait { deadline: None });
    let watchdog = |m: &mut Machine| m.mtspr(0x154, 1 << 28);
    let exit = run(msr::WE, &[NOP], watchdog);
    assert!(matches!(exit, Exit::Wait { deadline: Some(_) }), "{exit:?}");
}

#[test]
fn nothing_is_a_hang_unless_asked_for() {
    let off = |m: &mut Machine| m.vcpu.set_hang_exits(false);
    assert_eq!(run(0, &[SPIN], off), Exit::Interrupted);
    assert_eq!(run(msr::WE, &[NOP], off), Exit::Wait { deadline: None });
}

#[test]
fn the_interrupts_taken_last_are_told() {
    let mut m = Machine::new();
    m.program(PC, &[0x4400_0002]);
    m.vcpu.regs.pc = PC;
    m.vcpu.regs.msr = msr::ME;
    m.hw.direct = None;
    m.turn(4);
    let first = *m
        .vcpu
        .interrupt_log()
        .iter()
        .next()
        .expect("the system call");
    assert_eq!(
        (first.kind, first.address, first.msr),
        (ppc440_kvm::Interrupt::SystemCall, PC + 4, msr::ME)
    );
}

#[test]
fn what_a_guest_without_handlers_began_with_is_kept_and_the_rest_counted() {
    let mut m = Machine::new();
    // Where the vectors lead there is no code: zeros, which are no instruction.
    m.program(PC, &[0x4400_0002]);
    m.vcpu.regs.pc = PC;
    m.hw.direct = None;
    let exit = m.run();
    let reason = Stuck::EndlessInterrupts;
    assert!(
        matches!(exit, Exit::CannotGoOn { reason: why, .. } if why == reason),
        "{exit:?}"
    );
    let log: Vec<_> = m.vcpu.interrupt_log().iter().collect();
    let kinds: Vec<_> = log
        .iter()
        .map(|taken| (taken.kind as u8, taken.address))
        .collect();
    assert_eq!(kinds, [(8, PC + 4), (6, vector(8)), (6, vector(6))]);
    assert_eq!((log[0].times, log[1].times), (1, 1));
    assert!(log[2].times > 10, "{log:?}");
    m.vcpu.reset(&m.hw, ppc440_kvm::ResetKind::System);
    assert_eq!(m.vcpu.interrupt_log().iter().count(), 0);
}
