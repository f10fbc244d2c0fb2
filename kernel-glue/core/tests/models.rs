//! The core against models that are small enough to be seen to be right: which interrupt comes
//! next, and the timers one tick at a time. `mmu.rs` has the one of the TLB.

mod support;

use ppc440_isa::regs::{dbcr0, dbsr, msr, tcr, tsr};
use ppc440_kvm::{Exit, Inject, TimerState};
use proptest::collection::vec;
use proptest::prelude::*;
use support::*;

const HISTORIES: u32 = 400;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: HISTORIES,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What happens to a CPU that runs NOPs.
#[derive(Clone, Debug)]
enum Event {
    External(bool),
    Critical(bool),
    Inject(Inject),
    MachineCheck,
    /// TCR and TSR become this.
    Timers(u32, u32),
    /// One instruction under this MSR.
    Run(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let some = |bits: [u32; 3]| {
        vec(any::<bool>(), 3).prop_map(move |on| {
            (bits.iter().zip(on))
                .map(|(bit, on)| bit * u32::from(on))
                .sum()
        })
    };
    let inject = prop_oneof![
        Just(Inject::Set),
        Just(Inject::SetLevel),
        Just(Inject::Unset)
    ];
    let timers = (
        some([tcr::WIE, tcr::FIE, tcr::DIE]),
        some([tsr::WIS, tsr::FIS, tsr::DIS]),
    );
    let bits = (
        some([msr::CE, msr::EE, msr::ME]),
        some([msr::PR, msr::FP, msr::DE]),
    );
    vec(
        prop_oneof![
            1 => any::<bool>().prop_map(Event::External),
            1 => any::<bool>().prop_map(Event::Critical),
            1 => inject.prop_map(Event::Inject),
            1 => Just(Event::MachineCheck),
            1 => timers.prop_map(|(tcr, tsr)| Event::Timers(tcr, tsr)),
            6 => bits.prop_map(|(enables, others)| Event::Run(enables | others)),
        ],
        1..80,
    )
}

/// What asks for an interrupt.
#[derive(Debug, Default)]
struct Requests {
    external: bool,
    critical: bool,
    once: bool,
    level: bool,
    machine_check: bool,
    tcr: u32,
    tsr: u32,
}

impl Requests {
    /// The interrupt, by its IVOR, that comes before the next instruction: the first in the
    /// manual's order (page 201) that is asked for and enabled.
    fn first(&self, enables: u32) -> Option<u32> {
        let timer = |status, enable| self.tsr & status != 0 && self.tcr & enable != 0;
        let order = [
            (1, self.machine_check, msr::ME),
            (0, self.critical, msr::CE),
            (12, timer(tsr::WIS, tcr::WIE), msr::CE),
            (4, self.external | self.once | self.level, msr::EE),
            (11, timer(tsr::FIS, tcr::FIE), msr::EE),
            (10, timer(tsr::DIS, tcr::DIE), msr::EE),
        ];
        let mut waiting = order.iter();
        let first = waiting.find(|(_, asked, enable)| *asked && enables & enable != 0);
        first.map(|&(n, ..)| n)
    }

    /// Taking an interrupt ends the requests that are no levels.
    fn taken(&mut self, n: u32) {
        match n {
            1 => self.machine_check = false,
            4 => self.once = false,
            _ => {}
        }
    }
}

#[test]
fn the_first_interrupt_that_is_asked_for_and_enabled_is_taken() {
    let strategy = events();
    proptest!(config(), |(events in strategy)| {
        let mut m = Machine::new();
        let mut requests = Requests::default();
        for event in events {
            match event {
                Event::External(level) => {
                    m.hw.external = level;
                    requests.external = level;
                }
                Event::Critical(level) => {
                    m.hw.critical = level;
                    requests.critical = level;
                }
                Event::Inject(request) => {
                    m.vcpu.inject(request);
                    match request {
                        Inject::Set => requests.once = true,
                        Inject::SetLevel => requests.level = true,
                        Inject::Unset => (requests.once, requests.level) = (false, false),
                    }
                }
                Event::MachineCheck => {
                    m.vcpu.raise_machine_check(0);
                    requests.machine_check = true;
                }
                Event::Timers(tcr, tsr) => {
                    let state = TimerState { tcr, tsr, ..TimerState::default() };
                    m.vcpu.set_timers(&m.hw, state);
                    (requests.tcr, requests.tsr) = (tcr, tsr);
                }
                Event::Run(bits) => {
                    m.set_sprs(|s| (s.mcsrr0, s.mcsrr1) = (0, 0));
                    let regs = &mut m.vcpu.regs;
                    (regs.srr0, regs.srr1, regs.csrr0, regs.csrr1) = (0, 0, 0, 0);
                    regs.msr = bits;
                    prop_assert_eq!(m.exec(NOP), Exit::Interrupted);
                    let (old, none) = ((PC, bits), (0, 0));
                    let (pc, kept, saved) = match requests.first(bits) {
                        None => (PC + 4, bits, [none; 3]),
                        Some(1) => (vector(1), 0, [none, old, old]),
                        Some(n @ (0 | 12)) => (vector(n), bits & msr::ME, [none, old, none]),
                        Some(n) => {
                            (vector(n), bits & (msr::CE | msr::ME | msr::DE), [old, none, none])
                        }
                    };
                    let (r, s) = (&m.vcpu.regs, m.vcpu.sprs());
                    let pairs = [(r.srr0, r.srr1), (r.csrr0, r.csrr1), (s.mcsrr0, s.mcsrr1)];
                    prop_assert_eq!((m.vcpu.regs.pc, m.vcpu.regs.msr), (pc, kept));
                    prop_assert_eq!(pairs, saved);
                    if let Some(n) = requests.first(bits) {
                        requests.taken(n);
                    }
                }
            }
        }
    });
    say(&format!(
        "random interrupts against a model: {HISTORIES} histories"
    ));
}

/// What happens to the timers.
#[derive(Clone, Debug)]
enum Act {
    Dec(u32),
    Decar(u32),
    Tcr(u32),
    ClearTsr(u32),
    Tbl(u32),
    Tbu(u32),
    /// A debug event is recorded, or no longer is, under DBCR0\[FT\].
    Freeze(bool),
    Pass(u32),
    Look,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let count = || prop_oneof![Just(0u32), 1u32..5, 1u32..3000, any::<u32>()];
    let ticks = prop_oneof![0u32..4, 1u32..200, 1u32..10_000];
    let control = any::<u32>().prop_map(|bits| bits & !tcr::WRC);
    // A little before the bits that FIT and watchdog wait for rise, and anywhere.
    let low = prop_oneof![
        (12u32..32, 0u32..3000).prop_map(|(bit, before)| (1u32 << bit).wrapping_sub(before)),
        any::<u32>()
    ];
    vec(
        prop_oneof![
            2 => count().prop_map(Act::Dec),
            1 => count().prop_map(Act::Decar),
            2 => control.prop_map(Act::Tcr),
            2 => any::<u32>().prop_map(Act::ClearTsr),
            2 => low.prop_map(Act::Tbl),
            1 => any::<u32>().prop_map(Act::Tbu),
            1 => any::<bool>().prop_map(Act::Freeze),
            6 => ticks.prop_map(Act::Pass),
            4 => Just(Act::Look),
        ],
        1..40,
    )
}

/// The timers as chapter 7 of the manual tells them, a tick at a time.
#[derive(Debug, Default)]
struct Ticking {
    state: TimerState,
    frozen: bool,
}

impl Ticking {
    fn tick(&mut self) {
        if self.frozen {
            return;
        }
        self.set_tb(self.state.tb.wrapping_add(1));
        let state = &mut self.state;
        if state.dec != 0 {
            state.dec -= 1;
            if state.dec == 0 {
                state.tsr |= tsr::DIS;
                if state.tcr & tcr::ARE != 0 {
                    state.dec = state.decar;
                }
            }
        }
    }

    /// A bit of the time base that goes from 0 to 1 is a timeout, whatever made it go.
    fn set_tb(&mut self, tb: u64) {
        let state = &mut self.state;
        let risen = !state.tb & tb;
        state.tb = tb;
        let fixed_interval = [12, 16, 20, 24][(state.tcr >> 24 & 3) as usize];
        let watchdog = [20, 24, 28, 32][(state.tcr >> 30) as usize];
        if risen >> fixed_interval & 1 != 0 {
            state.tsr |= tsr::FIS;
        }
        if risen >> watchdog & 1 != 0 {
            state.tsr |= if state.tsr & tsr::ENW == 0 {
                tsr::ENW
            } else {
                tsr::WIS
            };
        }
    }
}

#[test]
fn the_timers_do_what_they_do_a_tick_at_a_time() {
    let strategy = acts();
    proptest!(config(), |(acts in strategy)| {
        let mut m = Machine::new();
        m.set_sprs(|s| s.dbcr0 = dbcr0::FT);
        let mut model = Ticking::default();
        for act in acts.into_iter().chain([Act::Look]) {
            match act {
                Act::Dec(value) => {
                    m.mtspr(0x16, value);
                    model.state.dec = value;
                }
                Act::Decar(value) => {
                    m.mtspr(0x36, value);
                    model.state.decar = value;
                }
                Act::Tcr(value) => {
                    m.mtspr(0x154, value);
                    model.state.tcr = value & tcr::IMPLEMENTED;
                }
                Act::ClearTsr(ones) => {
                    m.mtspr(0x150, ones);
                    model.state.tsr &= !ones;
                }
                Act::Tbl(value) => {
                    m.mtspr(0x11C, value);
                    model.set_tb(model.state.tb & !0xFFFF_FFFF | u64::from(value));
                }
                Act::Tbu(value) => {
                    m.mtspr(0x11D, value);
                    model.set_tb(model.state.tb & 0xFFFF_FFFF | u64::from(value) << 32);
                }
                Act::Freeze(on) => {
                    m.set_sprs(|s| s.dbsr = if on { dbcr0::TRAP } else { dbsr::MRR });
                    model.frozen = on;
                }
                Act::Pass(ticks) => {
                    m.hw.ticks += u64::from(ticks);
                    (0..ticks).for_each(|_| model.tick());
                }
                Act::Look => prop_assert_eq!(m.vcpu.timers(&m.hw), model.state),
            }
        }
    });
    say(&format!(
        "random timers against a model: {HISTORIES} histories"
    ));
}
