//! Runs a guest on two sides and compares all that it can tell.

use ppc440_cpu::{Cpu, Pins};
use ppc440_isa::regs::msr;
use ppc440_isa::{NoSupervisor, Regs, Spaces, Supervisor, Trap};
use ppc440_kvm::{Interrupt, Stats};
use ppckvm_api::{Entry, InProcess};

use super::guest::{Guest, RAM};
use super::machine::{Difference, Machine, Stepped, first_difference};
use crate::support::tiers::Tier;

/// A mistake put into a side on purpose: from the registers before and after an instruction.
pub type Mistake = fn(&Regs, &mut Regs);

/// How one side executes.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub tier: &'a dyn Tier,
    /// Cuts its run into the guest's entries; otherwise entries are as long as the core wants.
    pub cut: bool,
    pub mistake: Option<Mistake>,
}

/// Entries for exactly as long as the step and the cuts say, whatever the CPU likes.
struct Scissors {
    /// Instructions completed when the step ends.
    until: u64,
    cuts: Vec<u32>,
    turn: usize,
    mistake: Option<Mistake>,
    /// What the CPU did that its contract forbids.
    broken: Option<String>,
}

impl Entry for Scissors {
    fn enter(
        &mut self,
        cpu: &mut Cpu,
        pins: &Pins,
        regs: &mut Regs,
        budget: u32,
        supervisor: &mut dyn Supervisor,
    ) -> Trap {
        let start = cpu.retired();
        let left = u32::try_from(self.until.saturating_sub(start)).unwrap_or(u32::MAX);
        if left == 0 {
            pins.kick();
            return Trap::Attention;
        }
        self.turn = (self.turn + 1) % self.cuts.len();
        // Of a run that is cut, every trap comes back in every other entry.
        let mut nobody = NoSupervisor;
        let supervisor = match self.turn % 2 {
            0 => supervisor,
            _ => &mut nobody,
        };
        let mut most = budget.min(left).min(self.cuts[self.turn]);
        // New code asks for attention once, and so does each write by a device.
        let mut idle = 0;
        loop {
            let before = *regs;
            let done = (cpu.retired() - start) as u32;
            // The core makes the writes to the TLB that wait when it is come back to. A guest may see
            // that, and without cuts it would not have come back here.
            if done == most && !regs.tlb_writes.is_empty() && most < budget.min(left) {
                most += 1;
            }
            if done == most {
                return Trap::Budget;
            }
            let trap = cpu.enter(regs, most - done, supervisor);
            let now = (cpu.retired() - start) as u32;
            if let Some(mistake) = self.mistake.filter(|_| now > done) {
                mistake(&before, regs);
            }
            if now > most {
                self.broken = Some(format!("completed {now} instructions of {most}"));
                pins.kick();
                return Trap::Attention;
            }
            idle = if now > done { 0 } else { idle + 1 };
            match trap {
                // An interrupt that waited is not masked any more, or `isync` wants writes made.
                Trap::Attention if regs.masked && regs.msr & msr::EE != 0 => return trap,
                Trap::Attention if !regs.tlb_writes.is_empty() && now > done => return trap,
                Trap::Budget | Trap::Attention if idle <= 100 => {}
                Trap::Budget | Trap::Attention => {
                    self.broken = Some(format!("{trap:?} 100 times, and nothing completed"));
                    pins.kick();
                    return Trap::Attention;
                }
                trap => return trap,
            }
        }
    }
}

impl Stepped for InProcess<Scissors> {
    fn begin(&mut self, instructions: u32) {
        self.entry.until = self.cpu.retired() + u64::from(instructions);
    }

    fn completed(&self) -> u64 {
        self.cpu.retired()
    }

    fn skip_to(&mut self, tick: u64) {
        self.cpu.skip_to(tick);
    }

    fn set_external(&mut self, level: bool) {
        self.pins.set_external(level);
    }

    fn set_critical(&mut self, level: bool) {
        self.pins.set_critical(level);
    }

    fn broken(&self) -> Option<&str> {
        self.entry.broken.as_deref()
    }
}

/// A guest's machine on one side.
fn machine(side: Side<'_>, guest: &Guest) -> Machine<InProcess<Scissors>> {
    let region = side.tier.ram(RAM as usize);
    let pins = Pins::new();
    let cpu = side.tier.cpu(region.clone(), pins.clone());
    let cuts = match side {
        Side {
            mistake: Some(_), ..
        } => vec![1],
        Side { cut: true, .. } => guest.cuts.clone(),
        Side { cut: false, .. } => vec![u32::MAX],
    };
    let entry = Scissors {
        until: 0,
        cuts,
        turn: 0,
        mistake: side.mistake,
        broken: None,
    };
    Machine::new(InProcess { cpu, pins, entry }, region, guest)
}

/// Where the two sides first differ; `None` when they agree to the end.
pub fn difference(guest: &Guest, sides: [Side<'_>; 2]) -> Option<Difference> {
    let [mut first, mut second] = sides.map(|side| machine(side, guest));
    first_difference(guest, &mut first, &mut second)
}

/// What a run of a guest met.
pub struct Survey {
    pub stats: Stats,
    /// Instructions.
    pub completed: u64,
    /// The kinds of interrupts that were among the last when a step ended.
    pub interrupts: Vec<Interrupt>,
    /// Whether the guest came to its end.
    pub whole: bool,
}

/// Runs a guest on one side.
pub fn survey(guest: &Guest, side: Side<'_>) -> Survey {
    let mut machine = machine(side, guest);
    let mut interrupts = Vec::new();
    for step in &guest.steps {
        machine.step(guest, step);
        interrupts.extend(machine.vcpu.interrupt_log().iter().map(|taken| taken.kind));
    }
    Survey {
        stats: *machine.vcpu.stats(),
        completed: machine.hw.retired(),
        interrupts,
        whole: !machine.ended,
    }
}
