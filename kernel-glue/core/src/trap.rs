//! One function per trap: reflect it to the guest, handle it here, or leave.

use ppc440_isa::regs::{dbcr0, esr, mcsr, msr};
use ppc440_isa::{Access, ProgramCause, Trap};

use crate::access::{self, MemOp};
use crate::hw::Hw;
use crate::interrupt::Interrupt;
use crate::mmio::LONGEST;
use crate::stats::Cause;
use crate::tlb::{Fill, HW_PAGE, permits};
use crate::uapi::{Exit, Stuck};
use crate::vcpu::{Resume, Vcpu};

/// Synchronous interrupts in a row without a completed instruction between them, after which the
/// CPU is held to be stuck. A guest that works needs two or three.
const ENDLESS: u32 = 16;

impl Vcpu {
    /// Handles one trap.
    #[inline]
    pub(crate) fn handle<H: Hw>(&mut self, hw: &mut H, trap: Trap) -> Resume {
        match trap {
            Trap::Program { cause, word } => self.program(hw, cause, word),
            Trap::Data { ea, access, word } => self.data(hw, ea, access, word),
            Trap::Fetch => self.fetch(hw),
            Trap::Syscall => {
                self.stats.sysc += 1;
                self.cause = Cause::Syscall;
                hw.retire();
                self.reflect(hw, Interrupt::SystemCall)
            }
            Trap::FpUnavailable => {
                self.stats.fp_unavail += 1;
                self.cause = Cause::FpUnavail;
                self.reflect(hw, Interrupt::FpUnavailable)
            }
            Trap::Budget => {
                // The hardware may stop a little early; time is looked at all the same.
                self.slice_end = 0;
                self.after_slice(hw)
            }
            Trap::Attention => Resume::Guest,
        }
    }

    /// Takes a synchronous interrupt at `pc`, unless the guest has shown that it gets nowhere.
    fn reflect<H: Hw>(&mut self, hw: &mut H, kind: Interrupt) -> Resume {
        let at = self.regs.pc;
        self.take(kind, at);
        let retired = hw.retired();
        if retired != self.progress.last_interrupt {
            self.progress.last_interrupt = retired;
            self.progress.interrupts = 0;
            return Resume::Guest;
        }
        self.progress.interrupts += 1;
        if self.progress.interrupts < ENDLESS {
            return Resume::Guest;
        }
        self.progress.interrupts = 0;
        if self.timer.watchdog_armed() {
            // It spins, as hardware would, until the watchdog does something about it.
            return Resume::Host(Exit::Wait {
                deadline: self.timer.next_deadline(),
            });
        }
        Resume::Host(Exit::CannotGoOn {
            pc: at,
            reason: Stuck::EndlessInterrupts,
        })
    }

    /// A Program trap: what is privileged and comes from the guest's supervisor is emulated.
    #[inline]
    fn program<H: Hw>(&mut self, hw: &mut H, cause: ProgramCause, word: u32) -> Resume {
        let bits = match cause {
            ProgramCause::Privileged => return self.privileged(hw, word),
            ProgramCause::Illegal => return self.illegal(hw, word),
            ProgramCause::Trap => {
                if self.debug_armed() && self.sprs.dbcr0 & dbcr0::TRAP != 0 {
                    return self.debug_stop(hw, dbcr0::TRAP);
                }
                esr::PTR
            }
            ProgramCause::FloatingPoint => esr::FP,
        };
        self.reflect_program(hw, bits)
    }

    /// Takes a Program interrupt with these ESR bits.
    pub(crate) fn reflect_program<H: Hw>(&mut self, hw: &mut H, bits: u32) -> Resume {
        self.stats.prog += 1;
        self.cause = Cause::UserProgram;
        self.set_syndrome(bits);
        self.reflect(hw, Interrupt::Program)
    }

    /// A load or store that the hardware could not do.
    fn data<H: Hw>(&mut self, hw: &mut H, ea: u32, access: Access, word: u32) -> Resume {
        if access::is_hint(word) {
            // Touches never fault (section 4.4 of the sheet of the 440x5: "treated as no-ops").
            self.regs.pc = self.regs.pc.wrapping_add(4);
            hw.retire();
            return Resume::Guest;
        }
        let store = access == Access::Store;
        let context = self.context(msr::DS);
        let Some(index) = self.mmu.lookup(ea, context.pid, context.ts) else {
            return self.data_fault(hw, Interrupt::DataTlb, ea, store, access::is_fp(word));
        };
        let permitted = permits(self.mmu.entry(index), access, context.user);
        if !permitted
            && !MemOp::of(word, &self.regs).is_some_and(|op| self.conditional_fails(op.special))
        {
            return self.data_fault(hw, Interrupt::DataStorage, ea, store, access::is_fp(word));
        }
        let may_cross = ea % HW_PAGE > HW_PAGE - LONGEST as u32;
        if permitted && (!may_cross || !self.crosses(word, ea)) {
            // The same trap again, with the translation in place, is about something else.
            let here = Some((hw.retired(), self.regs.pc, ea, false));
            if self.progress.last_fill != here
                && self.mmu.fill(hw, &self.slots, self.data_space, index, ea) == Fill::Mapped
            {
                self.progress.last_fill = here;
                self.stats.dtlb_v += 1;
                self.cause = Cause::DtlbVirt;
                return Resume::Guest;
            }
        }
        match MemOp::of(word, &self.regs) {
            Some(op) if op.len == 0 => {
                self.regs.pc = self.regs.pc.wrapping_add(4);
                hw.retire();
                Resume::Guest
            }
            Some(op) if op.fp && self.regs.msr & msr::FP == 0 => {
                self.handle(hw, Trap::FpUnavailable)
            }
            Some(op) => self.perform(hw, op),
            None => self.reflect_program(hw, esr::PIL),
        }
    }

    /// Whether the access of `word` at `ea` reaches into the next page.
    fn crosses(&self, word: u32, ea: u32) -> bool {
        MemOp::of(word, &self.regs)
            .is_some_and(|op| ea % HW_PAGE + u32::from(op.len) > HW_PAGE && !op.is_line())
    }

    /// Takes a data TLB error, data storage or alignment interrupt.
    pub(crate) fn data_fault<H: Hw>(
        &mut self,
        hw: &mut H,
        kind: Interrupt,
        address: u32,
        store: bool,
        fp: bool,
    ) -> Resume {
        self.cause = match kind {
            Interrupt::DataTlb => {
                self.stats.dtlb_r += 1;
                Cause::DtlbReal
            }
            Interrupt::DataStorage => {
                self.stats.dsi += 1;
                Cause::Dsi
            }
            _ => {
                self.stats.align += 1;
                Cause::EmulInst
            }
        };
        self.regs.dear = address;
        self.set_syndrome(if store { esr::ST } else { 0 } | if fp { esr::FP } else { 0 });
        self.reflect(hw, kind)
    }

    /// A fetch that the hardware could not do.
    fn fetch<H: Hw>(&mut self, hw: &mut H) -> Resume {
        let pc = self.regs.pc;
        let context = self.context(msr::IS);
        let Some(index) = self.mmu.lookup(pc, context.pid, context.ts) else {
            self.stats.itlb_r += 1;
            self.cause = Cause::ItlbReal;
            return self.reflect(hw, Interrupt::InstructionTlb);
        };
        let entry = self.mmu.entry(index);
        if !permits(entry, Access::Fetch, context.user) {
            self.stats.isi += 1;
            self.cause = Cause::Isi;
            self.set_syndrome(0);
            return self.reflect(hw, Interrupt::InstructionStorage);
        }
        let (gpa, little) = (entry.real(pc), entry.word2.e());
        let here = Some((hw.retired(), pc, pc, true));
        if self.progress.last_fill != here
            && self.mmu.fill(hw, &self.slots, self.fetch_space, index, pc) == Fill::Mapped
        {
            self.progress.last_fill = here;
            self.stats.itlb_v += 1;
            self.cause = Cause::ItlbVirt;
            return Resume::Guest;
        }
        let Some(word) = self.fetch_word(hw, gpa, little) else {
            return self.fetch_nowhere(hw);
        };
        self.stats.fetch_emu += 1;
        self.cause = Cause::EmulInst;
        match self.execute(hw, word) {
            None | Some(Trap::Fetch) => Resume::Guest,
            Some(trap) => self.handle(hw, trap),
        }
    }

    /// The instruction at an effective address, if it can be fetched.
    pub(crate) fn instruction_at<H: Hw>(&self, hw: &mut H, ea: u32) -> Option<u32> {
        let fetch = self.translate(ea, Access::Fetch)?;
        fetch
            .execute
            .then(|| self.fetch_word(hw, fetch.gpa, fetch.little_endian))?
    }

    /// The instruction at a guest-physical address; `None` when there is no RAM.
    pub(crate) fn fetch_word<H: Hw>(&self, hw: &mut H, gpa: u64, little: bool) -> Option<u32> {
        let ram = self.slots.ram(gpa & !3)?;
        let mut bytes = [0; 4];
        hw.load(ram, &mut bytes).then(|| {
            if little {
                u32::from_le_bytes(bytes)
            } else {
                u32::from_be_bytes(bytes)
            }
        })
    }

    /// A fetch from where there is no memory: the bus answers with an error, which is an
    /// instruction-side machine check.
    fn fetch_nowhere<H: Hw>(&mut self, hw: &mut H) -> Resume {
        self.stats.mcheck += 1;
        self.regs.esr |= esr::MCI;
        self.sprs.mcsr |= mcsr::MCS | mcsr::IB;
        if self.regs.msr & msr::ME == 0 {
            let pc = self.regs.pc;
            return Resume::Host(Exit::CannotGoOn {
                pc,
                reason: Stuck::MachineCheckDisabled,
            });
        }
        self.reflect(hw, Interrupt::MachineCheck)
    }
}
