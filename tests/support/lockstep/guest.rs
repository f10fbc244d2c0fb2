//! A guest as plain data: memory, TLB, registers, and what its owner does to it in the course of time.

use std::fmt;

use ppc440_isa::disasm::disassemble;
use ppc440_isa::tlb::{ENTRIES, Tlbe};
use ppc440_isa::{Regs, decode};
use ppc440_kvm::{Sprs, TimerState};

use crate::support::cases::{REGISTERS, Registers, register_name};
use crate::support::random::NOP;

/// Bytes of RAM, at guest-physical address 0; enough for a pinned range of the CPU's.
pub const RAM: u32 = 1 << 20;

/// The bytes that a guest starts with; the rest of RAM is 0.
pub const LOADED: u32 = 0x1_0000;

/// Everything that decides what a run does.
#[derive(Clone)]
pub struct Guest {
    /// The first [`LOADED`] bytes of RAM.
    pub words: Vec<u32>,
    pub tlb: [Tlbe; ENTRIES],
    pub regs: Regs,
    pub sprs: Sprs,
    pub timers: TimerState,
    /// Where it goes on after a reset, or a wait that nothing ends.
    pub restart: u32,
    pub steps: Vec<Step>,
    /// Lengths of the entries into the CPU, in turn.
    pub cuts: Vec<u32>,
}

/// The registers of the guest's supervisor that are in [`Regs`], with names.
pub fn supervisor(regs: &Regs) -> [(&'static str, u32); 8] {
    [
        ("srr0", regs.srr0),
        ("srr1", regs.srr1),
        ("csrr0", regs.csrr0),
        ("csrr1", regs.csrr1),
        ("dear", regs.dear),
        ("esr", regs.esr),
        ("mmucr", regs.mmucr),
        ("pid", regs.pid.into()),
    ]
}

/// A number of instructions, and what happens behind them.
#[derive(Clone, Debug)]
pub struct Step {
    pub instructions: u32,
    pub then: Then,
}

/// What the owner of a vcpu may do between two runs.
#[derive(Clone, Debug)]
pub enum Then {
    Nothing,
    /// The level of the external input.
    External(bool),
    /// The level of the critical input.
    Critical(bool),
    /// KVM_INTERRUPT.
    Inject,
    MachineCheck,
    /// A device writes to RAM.
    Write {
        ram: u32,
        bytes: Vec<u8>,
    },
    SetTlb(usize, Tlbe),
    /// The state is read and written back.
    State,
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut skipped = false;
        for (n, &word) in self.words.iter().enumerate() {
            if word == 0 || word == NOP {
                skipped = true;
                continue;
            }
            if std::mem::take(&mut skipped) {
                writeln!(f, "    ...")?;
            }
            let ram = 4 * n as u32;
            let text = match decode(word) {
                Some(_) => disassemble(word, ram).to_string(),
                None => String::new(),
            };
            writeln!(f, "    {ram:05x} {word:08x} {text}")?;
        }
        for (n, entry) in self.tlb.iter().enumerate() {
            if entry.word0.v() {
                writeln!(
                    f,
                    "    tlb[{n}] tid={} {:08x} {:08x} {:08x}",
                    entry.tid,
                    u32::from(entry.word0),
                    u32::from(entry.word1),
                    u32::from(entry.word2)
                )?;
            }
        }
        let registers = Registers::of(&self.regs);
        let used = (0..REGISTERS).filter(|&index| registers.0[index] != 0);
        for index in used {
            write!(f, "    {}={:x}", register_name(index), registers.0[index])?;
        }
        for (name, value) in supervisor(&self.regs) {
            if value != 0 {
                write!(f, " {name}={value:x}")?;
            }
        }
        let zero = format!("{:#x?}", Sprs::default());
        let sprs = format!("{:#x?}", self.sprs);
        for (now, zero) in sprs.lines().zip(zero.lines()) {
            if now != zero && !now.ends_with(['{', '}']) {
                write!(f, " {}", now.trim())?;
            }
        }
        writeln!(f, "\n    {:x?}", self.timers)?;
        for step in &self.steps {
            writeln!(f, "    {step:x?}")?;
        }
        write!(f, "    entries of {:?}", self.cuts)
    }
}
