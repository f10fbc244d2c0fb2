//! A guest's machine on any hardware, and what is different between two of them.

use std::sync::Arc;

use ppc440_cpu::Region;
use ppc440_isa::regs::msr;
use ppc440_kvm::{Exit, Hw, Inject, Slot, State, Vcpu};
use vm_memory::VolatileMemory;

use super::guest::{Guest, LOADED, RAM, Step, Then, supervisor};
use crate::support::cases::{REGISTERS, Registers, register_name};
use crate::support::random::Random;

/// Hardware whose guest completes as many instructions as a step has, to the last one.
pub trait Stepped: Hw {
    /// The core is kicked behind so many instructions from now.
    fn begin(&mut self, instructions: u32);
    /// Instructions completed since the hardware was made.
    fn completed(&self) -> u64;
    /// Lets time pass up to a tick.
    fn skip_to(&mut self, tick: u64);
    /// Drives the external input.
    fn set_external(&mut self, level: bool);
    /// Drives the critical input.
    fn set_critical(&mut self, level: bool);
    /// What it did that its contract forbids.
    fn broken(&self) -> Option<&str>;
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

/// One side's machine.
pub struct Machine<H> {
    pub hw: H,
    region: Arc<Region>,
    pub vcpu: Vcpu,
    /// The CPU cannot go on.
    pub ended: bool,
}

impl<H: Stepped> Machine<H> {
    /// The guest at its start, on hardware whose RAM begins with the first bytes of `region`.
    pub fn new(hw: H, region: Arc<Region>, guest: &Guest) -> Self {
        let bytes: Vec<u8> = guest.words.iter().flat_map(|w| w.to_be_bytes()).collect();
        write(&region, 0, &bytes);
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
    pub fn step(&mut self, guest: &Guest, step: &Step) -> Vec<(Exit, Option<u32>)> {
        let mut exits = Vec::new();
        let mut fruitless = 0;
        self.hw.begin(step.instructions);
        while !self.ended {
            let before = self.hw.completed();
            let exit = self.vcpu.run(&mut self.hw);
            if exit == Exit::Interrupted {
                break;
            }
            let access = matches!(exit, Exit::Mmio { .. } | Exit::Dcr { .. });
            exits.push((exit, access.then(|| self.vcpu.exit_pc())));
            fruitless = match self.hw.completed() - before {
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
                Exit::Wait { deadline: Some(at) } => self.hw.skip_to(at),
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
            Then::External(level) => self.hw.set_external(*level),
            Then::Critical(level) => self.hw.set_critical(*level),
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

/// Where two machines of a guest first differ; `None` when they agree to the end.
pub fn first_difference<A: Stepped, B: Stepped>(
    guest: &Guest,
    first: &mut Machine<A>,
    second: &mut Machine<B>,
) -> Option<Difference> {
    for (n, step) in guest.steps.iter().enumerate() {
        let exits = (first.step(guest, step), second.step(guest, step));
        let mut lines = Vec::new();
        let broken = [("first", first.hw.broken()), ("second", second.hw.broken())];
        for (name, what) in broken {
            lines.extend(what.map(|what| format!("{name} side: {what}")));
        }
        if exits.0 != exits.1 {
            let at = (exits.0.iter().zip(&exits.1))
                .take_while(|(a, b)| a == b)
                .count();
            lines.push(format!(
                "exit {at} of the step: {:x?}, {:x?}",
                exits.0.get(at),
                exits.1.get(at)
            ));
        }
        let last = n + 1 == guest.steps.len() || first.ended || second.ended;
        lines.extend(compare(first, second, if last { RAM } else { LOADED }));
        if !lines.is_empty() {
            return Some(Difference { step: n, lines });
        }
        if last {
            break;
        }
    }
    None
}

/// What is different between two machines, in the state and in the first `bytes` bytes of RAM.
fn compare<A: Stepped, B: Stepped>(
    first: &mut Machine<A>,
    second: &mut Machine<B>,
    bytes: u32,
) -> Vec<String> {
    let mut lines = Vec::new();
    let (a, b) = (first.state(), second.state());
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
    let (a, b) = (first.hw.completed(), second.hw.completed());
    if a != b {
        lines.push(format!("instructions: {a}, {b}"));
    }
    let (a, b) = (first.hw.time_base(), second.hw.time_base());
    if a != b {
        lines.push(format!("time base: {a}, {b}"));
    }
    let (a, b) = (first.ram(bytes), second.ram(bytes));
    if a != b {
        let differ = (a.iter().zip(&b).enumerate()).filter(|(_, (a, b))| a != b);
        for (at, (a, b)) in differ.take(16) {
            lines.push(format!("[{at:05x}]: {a:02x}, {b:02x}"));
        }
    }
    lines
}
