//! A guest machine before it has a CPU: its memory slots and its clock.

use std::sync::Arc;

use ppc440_cpu::{Clock, Cpu, CpuError, EngineChoice, Execution, Pins, Region};
use ppc440_kvm::{Slot, SlotError};

use crate::inproc::{Direct, InProcess};
use crate::vcpu::Vcpu;

/// What a machine's CPU counts time with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmOptions {
    /// The clock that drives the time base.
    pub clock: Clock,
    /// Ticks of the time base in a second.
    pub timer_hz: u64,
    /// What executes guest code in this process; [`Vcpu::not_translator`] says why it is not the
    /// translator, where [`EngineChoice::Auto`] would have had it.
    pub engine: EngineChoice,
    /// Whether the translator may show pages of guest RAM in windows, which makes hot code faster and
    /// takes a handler of SIGSEGV for the whole process. Without, no signal handler is installed.
    pub windows: bool,
}

/// A CPU that a machine cannot have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// A memory slot that the core refuses.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The CPU cannot be had as it was asked for.
    #[error(transparent)]
    Cpu(#[from] CpuError),
}

/// A guest machine: RAM, and one CPU once it is made.
#[derive(Debug)]
pub struct Vm {
    ram: Arc<Region>,
    options: VmOptions,
    slots: Vec<(u32, Slot)>,
}

impl Vm {
    pub(crate) fn new(ram: Arc<Region>, options: VmOptions) -> Self {
        Vm {
            ram,
            options,
            slots: Vec::new(),
        }
    }

    /// The host mapping that all slots are parts of.
    pub fn ram(&self) -> &Arc<Region> {
        &self.ram
    }

    /// Makes `bytes` bytes at guest physical address `gpa` RAM, at `ram_offset` of the host's
    /// mapping; 0 bytes delete the slot. As with KVM, what is in no slot is MMIO.
    ///
    /// Slots are fixed once the CPU is made. Overlap and range are checked then.
    pub fn set_memory_slot(&mut self, slot: u32, gpa: u64, bytes: u64, ram_offset: u32) {
        self.slots.retain(|(number, _)| *number != slot);
        if bytes > 0 {
            self.slots.push((
                slot,
                Slot {
                    gpa,
                    bytes,
                    ram: ram_offset,
                },
            ));
        }
    }

    /// The machine's CPU, at reset.
    ///
    /// # Errors
    /// Slots that overlap or that are no RAM; a host without address space for the CPU's tables, or
    /// one that does not have or allow the engine that was asked for.
    pub fn create_vcpu(&self) -> Result<Vcpu, VmError> {
        let pins = Pins::new();
        let mut core = ppc440_kvm::Vcpu::new(ppc440_kvm::PVR_440EP);
        for (_, slot) in &self.slots {
            let end = slot.bytes.checked_add(u64::from(slot.ram));
            if end.is_none_or(|end| end > self.ram.size() as u64) {
                return Err(SlotError::Range(*slot).into());
            }
            core.add_slot(*slot)?;
        }
        let VmOptions {
            clock,
            timer_hz,
            engine,
            windows,
        } = self.options;
        let execution = Execution { engine, windows };
        let cpu = Cpu::new(self.ram.clone(), pins.clone(), clock, timer_hz, execution)?;
        let hw = InProcess {
            cpu,
            pins,
            entry: Direct,
        };
        Ok(Vcpu::new(core, hw))
    }
}
