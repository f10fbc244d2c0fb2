//! What of the guest's system state needs neither time nor pins nor anybody outside, and so can be
//! worked on while the hardware runs.

use ppc440_isa::regs::msr;
use ppc440_isa::{Mode, Regs, SpaceId, Supervisor, Trap};

use crate::hw::Spaces;
use crate::interrupt_log::InterruptLog;
use crate::memory::Slots;
use crate::sprs::Sprs;
use crate::stats::{Cause, Stats};
use crate::tlb::{Context, Mmu};

/// Synchronous interrupts in a row without a completed instruction between them, after which the
/// CPU is held to be stuck. A guest that works needs two or three.
pub(crate) const ENDLESS: u32 = 16;

/// The MSR bits that [`crate::Vcpu::run`] looks at before it enters: what they let happen must
/// not wait for the next trap.
const LOOKED_AT: u32 = msr::WE | msr::CE | msr::ME | msr::DE;

/// The guest's TLB, its SPRs, and what it takes to give it an interrupt.
#[derive(Debug)]
pub(crate) struct System {
    pub sprs: Sprs,
    pub mmu: Mmu,
    pub slots: Slots,
    pub fetch_space: SpaceId,
    pub data_space: SpaceId,
    /// The mode for which the spaces are selected; none: they must be selected again.
    pub mode: Option<Mode>,
    pub progress: Progress,
    pub log: InterruptLog,
    pub stats: Stats,
    pub cause: Cause,
    /// An [`crate::Exit::Wait`] was returned and no interrupt has come since.
    pub waited: bool,
}

/// What tells a CPU that gets somewhere from one that does not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Retired instructions, pc, address and kind of the last translation given to the hardware.
    pub last_fill: Option<(u64, u32, u32, bool)>,
    /// Retired instructions when the last synchronous interrupt was taken.
    pub last_interrupt: u64,
    /// Synchronous interrupts since an instruction last completed.
    pub interrupts: u32,
}

impl Progress {
    /// Counts a synchronous interrupt.
    #[inline]
    pub fn interrupted(&mut self, retired: u64) {
        self.interrupts = match retired == self.last_interrupt {
            true => self.interrupts + 1,
            false => 0,
        };
        self.last_interrupt = retired;
    }

    /// Whether one more interrupt would show that the guest gets nowhere.
    #[inline]
    fn is_last(&self, retired: u64) -> bool {
        retired == self.last_interrupt && self.interrupts + 1 >= ENDLESS
    }
}

/// The context of fetches (`space` MSR\[IS\]) or data (MSR\[DS\]).
#[inline]
pub(crate) fn context(regs: &Regs, space: u32) -> Context {
    Context {
        pid: regs.pid,
        ts: regs.msr & space != 0,
        user: regs.msr & msr::PR != 0,
    }
}

impl System {
    pub fn new(pvr: u32) -> Self {
        System {
            sprs: Sprs {
                pvr,
                ..Sprs::default()
            },
            mmu: Mmu::new(),
            slots: Slots::default(),
            fetch_space: 0,
            data_space: 0,
            mode: None,
            progress: Progress::default(),
            log: InterruptLog::default(),
            stats: Stats::default(),
            cause: Cause::Halt,
            waited: false,
        }
    }

    /// Takes over what the hardware did in the core's place.
    #[inline]
    pub fn take_over(&mut self, hw: &mut dyn Spaces, regs: &mut Regs) {
        if !regs.tlb_writes.is_empty() {
            for write in regs.tlb_writes.take() {
                self.mmu.write(hw, write);
            }
        }
        self.stats.sysc += u64::from(core::mem::take(&mut regs.system_calls));
        self.select(hw, regs);
    }

    /// Makes the hardware use the spaces of the MSR and PID as they are now.
    #[inline]
    pub fn select(&mut self, hw: &mut dyn Spaces, regs: &Regs) {
        let mode = Mode::new(regs.msr, regs.pid);
        if self.mode != Some(mode) {
            self.mode = Some(mode);
            self.fetch_space = self.mmu.space(hw, context(regs, msr::IS), None);
            let keep = Some(self.fetch_space);
            self.data_space = self.mmu.space(hw, context(regs, msr::DS), keep);
            hw.select(mode, self.fetch_space, self.data_space);
        }
    }

    /// Whether [`crate::Vcpu::run`] must look before the guest goes on with MSR `new`.
    fn concerns_run(regs: &Regs, new: u32) -> bool {
        (new ^ regs.msr) & LOOKED_AT != 0 || new & msr::EE != 0 && regs.masked
    }
}

impl Supervisor for System {
    fn trap(&mut self, spaces: &mut dyn Spaces, regs: &mut Regs, trap: Trap) -> bool {
        let waited = !regs.tlb_writes.is_empty();
        self.take_over(spaces, regs);
        let dealt_with = match trap {
            Trap::Attention => waited && !Self::concerns_run(regs, regs.msr),
            _ if self.progress.is_last(spaces.retired()) => false,
            Trap::Program { word, .. }
                if self
                    .new_msr(regs, word)
                    .is_some_and(|new| Self::concerns_run(regs, new)) =>
            {
                false
            }
            _ => self.handle(spaces, regs, trap),
        };
        if dealt_with {
            self.select(spaces, regs);
        }
        dealt_with
    }
}
