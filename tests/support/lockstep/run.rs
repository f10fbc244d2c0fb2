//! Runs a guest on two sides and compares all that it can tell.

use std::sync::Arc;

use ppc440_cpu::{Cpu, Pins, Region};
use ppc440_isa::regs::msr;
use ppc440_isa::{NoSupervisor, Regs, Spaces, Supervisor, Trap};
use ppc440_kvm::{Exit, Hw, Inject, Interrupt, Slot, State, Stats, Vcpu};
use ppckvm_api::{Entry, InProcess};
use vm_memory::VolatileMemory;

use super::guest::{Guest, LOADED, RAM, Step, Then, supervisor};
use crate::support::cases::{REGISTERS, Registers, register_name};
use crate::support::random::Random;
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

/// Where two sides part.
#[derive(Debug)]
pub struct Difference {
    /// The step behind which they were found to differ.
    pub step: usize,
    /// Each as `what: first side, second side`.
    pub lines: Vec<String>,
}

/// Exits of one step that complete no instruction, after which the guest counts as stuck.
const FRUITLESS: u32 = 64;

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

/// One side's machine.
struct Machine {
    hw: InProcess<Scissors>,
    region: Arc<Region>,
    vcpu: Vcpu,
    /// The CPU cannot go on.
    ended: bool,
}

impl Machine {
    fn new(side: Side<'_>, guest: &Guest) -> Self {
        let region = side.tier.ram(RAM as usize);
        let bytes: Vec<u8> = guest.words.iter().flat_map(|w| w.to_be_bytes()).collect();
        write(&region, 0, &bytes);
        let pins = Pins::new();
        let cpu = side.tier.cpu(region.clone(), pins.clone());
        let cuts = match side {
            Side {
                mistake: Some(_), ..
            } => vec![1],
            Side { cut: true, .. } => guest.cuts.clone(),
            Side { cut: false, .. } => vec![u32::MAX],
        };
        let mut vcpu = Vcpu::new(guest.sprs.pvr);
        let slot = Slot {
            gpa: 0,
            bytes: u64::from(RAM),
            ram: 0,
        };
        vcpu.add_slot(slot).expect("one slot fits");
        vcpu.regs = guest.regs;
        for (index, entry) in guest.tlb.iter().enumerate() {
            vcpu.set_tlb(index, *entry);
        }
        let entry = Scissors {
            until: 0,
            cuts,
            turn: 0,
            mistake: side.mistake,
            broken: None,
        };
        let hw = InProcess { cpu, pins, entry };
        vcpu.set_sprs(&hw, &guest.sprs);
        vcpu.set_timers(&hw, guest.timers);
        Machine {
            hw,
            region,
            vcpu,
            ended: false,
        }
    }

    /// Runs one step; answers what the guest asks in a way that depends on the question alone.
    /// Gives the exits, and where those came from of which the core says so.
    fn step(&mut self, guest: &Guest, step: &Step) -> Vec<(Exit, Option<u32>)> {
        let mut exits = Vec::new();
        let mut fruitless = 0;
        self.hw.entry.until = self.hw.retired() + u64::from(step.instructions);
        while !self.ended {
            let before = self.hw.retired();
            let exit = self.vcpu.run(&mut self.hw);
            if exit == Exit::Interrupted {
                break;
            }
            let access = matches!(exit, Exit::Mmio { .. } | Exit::Dcr { .. });
            exits.push((exit, access.then(|| self.vcpu.exit_pc())));
            fruitless = match self.hw.retired() - before {
                0 => fruitless + 1,
                _ => 0,
            };
            self.ended = fruitless == FRUITLESS;
            match exit {
                Exit::Mmio {
                    gpa, write: false, ..
                } => {
                    let answer = Random(gpa ^ before).bits();
                    self.vcpu.complete_mmio(answer.to_be_bytes());
                }
                Exit::Dcr {
                    dcrn, write: false, ..
                } => {
                    let answer = Random(u64::from(dcrn) ^ before).word();
                    self.vcpu.complete_dcr(answer);
                }
                Exit::Reset { kind, .. } => {
                    self.vcpu.reset(&self.hw, kind);
                    for (index, entry) in guest.tlb.iter().enumerate() {
                        self.vcpu.set_tlb(index, *entry);
                    }
                    self.vcpu.regs.pc = guest.restart;
                }
                Exit::Wait { deadline: Some(at) } => self.hw.cpu.skip_to(at),
                Exit::Wait { deadline: None } => {
                    self.vcpu.regs.msr &= !msr::WE;
                    self.vcpu.regs.pc = guest.restart;
                }
                Exit::CannotGoOn { .. } => self.ended = true,
                Exit::Mmio { .. } | Exit::Dcr { .. } | Exit::Interrupted | Exit::Debug(_) => {}
            }
        }
        match &step.then {
            Then::Nothing => {}
            Then::External(level) => self.hw.pins.set_external(*level),
            Then::Critical(level) => self.hw.pins.set_critical(*level),
            Then::Inject => self.vcpu.inject(Inject::Set),
            Then::MachineCheck => self.vcpu.raise_machine_check(0),
            Then::Write { ram, bytes } => write(&self.region, *ram, bytes),
            Then::SetTlb(index, entry) => self.vcpu.set_tlb(*index, *entry),
            Then::State => {
                let state = self.vcpu.state(&self.hw);
                self.vcpu.set_state(&self.hw, &state);
            }
        }
        exits
    }

    fn state(&mut self) -> State {
        self.vcpu.state(&self.hw)
    }

    fn ram(&self, bytes: u32) -> Vec<u8> {
        let mut copy = vec![0; bytes as usize];
        let slice = self.region.get_slice(0, copy.len()).expect("inside RAM");
        slice.copy_to(&mut copy);
        copy
    }
}

/// Writes RAM as a device does.
fn write(region: &Region, ram: u32, bytes: &[u8]) {
    let slice = region.get_slice(ram as usize, bytes.len());
    slice.expect("inside RAM").copy_from(bytes);
}

/// Where the two sides first differ; `None` when they agree to the end.
pub fn difference(guest: &Guest, sides: [Side<'_>; 2]) -> Option<Difference> {
    let mut machines = sides.map(|side| Machine::new(side, guest));
    for (n, step) in guest.steps.iter().enumerate() {
        let [first, second] = machines.each_mut().map(|machine| machine.step(guest, step));
        let mut lines = Vec::new();
        for (machine, name) in machines.iter().zip(["first", "second"]) {
            lines.extend(
                machine
                    .hw
                    .entry
                    .broken
                    .iter()
                    .map(|what| format!("{name} side: {what}")),
            );
        }
        if first != second {
            let at = (first.iter().zip(&second))
                .take_while(|(a, b)| a == b)
                .count();
            lines.push(format!(
                "exit {at} of the step: {:x?}, {:x?}",
                first.get(at),
                second.get(at)
            ));
        }
        let last = n + 1 == guest.steps.len() || machines.iter().any(|machine| machine.ended);
        lines.extend(compare(&mut machines, if last { RAM } else { LOADED }));
        if !lines.is_empty() {
            return Some(Difference { step: n, lines });
        }
        if last {
            break;
        }
    }
    None
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
    let mut machine = Machine::new(side, guest);
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

/// What is different between two machines, in the state and in the first `bytes` bytes of RAM.
fn compare(machines: &mut [Machine; 2], bytes: u32) -> Vec<String> {
    let mut lines = Vec::new();
    let [a, b] = machines.each_mut().map(Machine::state);
    if a != b {
        let [left, right] = [&a, &b].map(|state| Registers::of(&state.regs));
        for index in 0..REGISTERS {
            let (left, right) = (left.0[index], right.0[index]);
            if left != right {
                lines.push(format!("{}: {left:x}, {right:x}", register_name(index)));
            }
        }
        for ((name, left), (_, right)) in supervisor(&a.regs).into_iter().zip(supervisor(&b.regs)) {
            if left != right {
                lines.push(format!("{name}: {left:x}, {right:x}"));
            }
        }
        for (index, (left, right)) in a.tlb.iter().zip(&b.tlb).enumerate() {
            if left != right {
                lines.push(format!("tlb[{index}]: {left:x?}, {right:x?}"));
            }
        }
        let mut whole = |name: &str, left: String, right: String| {
            for (left, right) in left.lines().zip(right.lines()).filter(|(l, r)| l != r) {
                lines.push(format!("{name} {}, {}", left.trim(), right.trim()));
            }
        };
        whole("spr", format!("{:#x?}", a.sprs), format!("{:#x?}", b.sprs));
        whole(
            "timer",
            format!("{:#x?}", a.timers),
            format!("{:#x?}", b.timers),
        );
        whole(
            "pending",
            format!("{:#x?}", a.pending),
            format!("{:#x?}", b.pending),
        );
        whole(
            "in flight",
            format!("{:x?}", a.in_flight),
            format!("{:x?}", b.in_flight),
        );
    }
    let [a, b] = machines.each_ref().map(|machine| machine.hw.retired());
    if a != b {
        lines.push(format!("instructions: {a}, {b}"));
    }
    let [a, b] = machines.each_ref().map(|machine| machine.hw.time_base());
    if a != b {
        lines.push(format!("time base: {a}, {b}"));
    }
    let [a, b] = machines.each_ref().map(|machine| machine.ram(bytes));
    if a != b {
        let differ = (a.iter().zip(&b).enumerate()).filter(|(_, (a, b))| a != b);
        for (at, (a, b)) in differ.take(16) {
            lines.push(format!("[{at:05x}]: {a:02x}, {b:02x}"));
        }
    }
    lines
}
