//! The core over the software 440: `Hw` for `ppc440_cpu::Cpu`, call by call.
//!
//! The core knows no CPU and the CPU no core, so this crate, which has both, joins them. Tests that
//! drive a core themselves use it too, with entries of their own ([`Entry`]).

use ppc440_cpu::{Cpu, Pins};
use ppc440_isa::{Mapping, Mode, Regs, SpaceId, Spaces, Supervisor, Trap};
use ppc440_kvm::Hw;

/// How the core's entries into the guest reach the CPU.
pub trait Entry {
    /// As [`Hw::enter`], with the CPU and its pins.
    fn enter(
        &mut self,
        cpu: &mut Cpu,
        pins: &Pins,
        regs: &mut Regs,
        budget: u32,
        supervisor: &mut dyn Supervisor,
    ) -> Trap;
}

/// Entries as the core asks for them.
#[derive(Clone, Copy, Debug)]
pub struct Direct;

impl Entry for Direct {
    #[inline]
    fn enter(
        &mut self,
        cpu: &mut Cpu,
        _: &Pins,
        regs: &mut Regs,
        budget: u32,
        supervisor: &mut dyn Supervisor,
    ) -> Trap {
        cpu.enter(regs, budget, supervisor)
    }
}

/// The software 440 as the core sees it.
#[derive(Debug)]
pub struct InProcess<E = Direct> {
    /// The CPU.
    pub cpu: Cpu,
    /// The CPU's inputs: the ones that it was made with.
    pub pins: Pins,
    /// How it is entered.
    pub entry: E,
}

impl<E: Entry> Spaces for InProcess<E> {
    fn select(&mut self, mode: Mode, fetch: SpaceId, data: SpaceId) {
        self.cpu.select(mode, fetch, data);
    }

    fn map(&mut self, space: SpaceId, ea_wanted: u32, mapping: &Mapping) {
        self.cpu.map(space, ea_wanted, mapping);
    }

    fn unmap(&mut self, space: SpaceId, ea: u32, bytes: u32) {
        self.cpu.unmap(space, ea, bytes);
    }

    fn clear(&mut self, space: SpaceId) {
        self.cpu.clear(space);
    }

    fn retire(&mut self) {
        self.cpu.retire();
    }

    fn retired(&self) -> u64 {
        self.cpu.retired()
    }
}

impl<E: Entry> Hw for InProcess<E> {
    fn enter(&mut self, regs: &mut Regs, budget: u32, supervisor: &mut dyn Supervisor) -> Trap {
        let InProcess { cpu, pins, entry } = self;
        entry.enter(cpu, pins, regs, budget, supervisor)
    }

    fn execute(&mut self, regs: &mut Regs, word: u32) -> Option<Trap> {
        self.cpu.execute(regs, word)
    }

    fn load(&mut self, ram: u32, bytes: &mut [u8]) -> bool {
        self.cpu.load(ram, bytes)
    }

    fn store(&mut self, ram: u32, bytes: &[u8]) -> bool {
        self.cpu.store(ram, bytes)
    }

    fn time_base(&self) -> u64 {
        self.cpu.time_base()
    }

    fn budget(&self, deadline: Option<u64>) -> u32 {
        self.cpu.budget(deadline)
    }

    fn run_ahead(&mut self, ticks: u64) {
        self.cpu.run_ahead(ticks);
    }

    fn pins(&mut self) -> ppc440_kvm::Pins {
        ppc440_kvm::Pins {
            external: self.pins.external(),
            critical: self.pins.critical(),
            kick: self.pins.take_kick(),
        }
    }

    fn stopwatch(&self) -> u64 {
        self.cpu.stopwatch()
    }
}
