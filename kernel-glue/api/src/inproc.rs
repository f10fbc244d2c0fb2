//! The core over the software 440: `Hw` for `ppc440_cpu::Cpu`, call by call.

use ppc440_cpu::{Cpu, Pins};
use ppc440_isa::{Mapping, Regs, SpaceId, Trap};
use ppc440_kvm::Hw;

/// The software 440 as the core sees it.
#[derive(Debug)]
pub(crate) struct InProcess {
    pub cpu: Cpu,
    pub pins: Pins,
}

impl Hw for InProcess {
    fn select(&mut self, fetch: SpaceId, data: SpaceId) {
        self.cpu.select(fetch, data);
    }

    fn enter(&mut self, regs: &mut Regs, budget: u32) -> Trap {
        self.cpu.enter(regs, budget)
    }

    fn execute(&mut self, regs: &mut Regs, word: u32) -> Option<Trap> {
        self.cpu.execute(regs, word)
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

    fn load(&mut self, ram: u32, bytes: &mut [u8]) -> bool {
        self.cpu.load(ram, bytes)
    }

    fn store(&mut self, ram: u32, bytes: &[u8]) -> bool {
        self.cpu.store(ram, bytes)
    }

    fn retire(&mut self) {
        self.cpu.retire();
    }

    fn retired(&self) -> u64 {
        self.cpu.retired()
    }

    fn time_base(&self) -> u64 {
        self.cpu.time_base()
    }

    fn budget(&self, deadline: Option<u64>) -> u32 {
        self.cpu.budget(deadline)
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
