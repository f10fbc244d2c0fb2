//! One function per trap: reflect it to the guest, handle it here, or leave.

use ppc440_isa::regs::{dbcr0, esr, mcsr, msr};
use ppc440_isa::{Access, ProgramCause, Regs, Trap, Word, decode};

use crate::access::{self, MemOp};
use crate::hw::{HW_PAGE, Hw, Spaces};
use crate::interrupt::set_syndrome;
use crate::mmio::conditional_fails;
use crate::state::{Interrupt, LONGEST};
use crate::stats::Cause;
use crate::system::{ENDLESS, System, context};
use crate::tlb::{Fill, permits};
use crate::uapi::{Exit, Stuck};
use crate::vcpu::{Resume, Vcpu};

impl System {
    /// Handles one trap, if it needs no more than what is here; otherwise nothing has changed.
    #[inline]
    pub fn handle(&mut self, hw: &mut dyn Spaces, regs: &mut Regs, trap: Trap) -> bool {
        match trap {
            Trap::Program { cause, word } => self.program(hw, regs, cause, word),
            Trap::Data { ea, access, word } => self.data(hw, regs, ea, access, word),
            Trap::Fetch => self.fetch(hw, regs),
            Trap::Syscall => {
                self.stats.sysc += 1;
                self.cause = Cause::Syscall;
                hw.retire();
                self.interrupt(hw, regs, Interrupt::SystemCall)
            }
            Trap::FpUnavailable => {
                self.stats.fp_unavail += 1;
                self.cause = Cause::FpUnavail;
                self.interrupt(hw, regs, Interrupt::FpUnavailable)
            }
            Trap::Budget | Trap::Attention => false,
        }
    }

    /// Takes a synchronous interrupt at `pc`, which deals with the trap.
    #[inline]
    pub fn interrupt(&mut self, hw: &dyn Spaces, regs: &mut Regs, kind: Interrupt) -> bool {
        let at = regs.pc;
        self.take(regs, kind, at);
        self.progress.interrupted(hw.retired());
        true
    }

    /// A Program trap: what is privileged and comes from the guest's supervisor is emulated.
    #[inline]
    fn program(
        &mut self,
        hw: &mut dyn Spaces,
        regs: &mut Regs,
        cause: ProgramCause,
        word: u32,
    ) -> bool {
        let bits = match cause {
            ProgramCause::Privileged => return self.privileged(hw, regs, word),
            ProgramCause::Illegal => return self.illegal(hw, regs, word),
            ProgramCause::Trap if self.debugs_traps(regs) => return false,
            ProgramCause::Trap => esr::PTR,
            ProgramCause::FloatingPoint => esr::FP,
        };
        self.interrupt_program(hw, regs, bits)
    }

    /// Takes a Program interrupt with these ESR bits.
    pub fn interrupt_program(&mut self, hw: &dyn Spaces, regs: &mut Regs, bits: u32) -> bool {
        self.stats.prog += 1;
        self.cause = Cause::UserProgram;
        set_syndrome(regs, bits);
        self.interrupt(hw, regs, Interrupt::Program)
    }

    /// A load or store that the hardware could not do.
    fn data(
        &mut self,
        hw: &mut dyn Spaces,
        regs: &mut Regs,
        ea: u32,
        access: Access,
        word: u32,
    ) -> bool {
        if access::is_hint(word) {
            // Touches never fault (section 4.4 of the sheet of the 440x5: "treated as no-ops").
            regs.pc = regs.pc.wrapping_add(4);
            hw.retire();
            return true;
        }
        let store = access == Access::Store;
        let context = context(regs, msr::DS);
        let Some(index) = self.mmu.lookup(ea, context.pid, context.ts) else {
            let fp = access::is_fp(word);
            return self.data_fault(hw, regs, Interrupt::DataTlb, ea, store, fp);
        };
        let permitted = permits(self.mmu.entry(index), access, context.user);
        if !permitted
            && !MemOp::of(word, regs).is_some_and(|op| conditional_fails(regs, op.special))
        {
            let fp = access::is_fp(word);
            return self.data_fault(hw, regs, Interrupt::DataStorage, ea, store, fp);
        }
        let may_cross = ea % HW_PAGE > HW_PAGE - LONGEST as u32;
        if !permitted || may_cross && crosses(regs, word, ea) {
            return false;
        }
        // The same trap again, with the translation in place, is about something else; if the hardware
        // has lost the translation meanwhile, it is not.
        let here = Some((hw.retired(), regs.pc, ea, false));
        let again = self.progress.last_fill == here && hw.holds(self.data_space, ea);
        let filled = !again
            && self
                .mmu
                .fill(hw, &self.slots, self.data_space, index, ea, access)
                == Fill::Mapped;
        if filled {
            self.progress.last_fill = here;
            self.stats.dtlb_v += 1;
            self.cause = Cause::DtlbVirt;
        }
        filled
    }

    /// Takes a data TLB error, data storage or alignment interrupt.
    pub fn data_fault(
        &mut self,
        hw: &dyn Spaces,
        regs: &mut Regs,
        kind: Interrupt,
        address: u32,
        store: bool,
        fp: bool,
    ) -> bool {
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
        regs.dear = address;
        set_syndrome(
            regs,
            if store { esr::ST } else { 0 } | if fp { esr::FP } else { 0 },
        );
        self.interrupt(hw, regs, kind)
    }

    /// A fetch that the hardware could not do.
    fn fetch(&mut self, hw: &mut dyn Spaces, regs: &mut Regs) -> bool {
        let pc = regs.pc;
        let context = context(regs, msr::IS);
        let Some(index) = self.mmu.lookup(pc, context.pid, context.ts) else {
            self.stats.itlb_r += 1;
            self.cause = Cause::ItlbReal;
            return self.interrupt(hw, regs, Interrupt::InstructionTlb);
        };
        if !permits(self.mmu.entry(index), Access::Fetch, context.user) {
            self.stats.isi += 1;
            self.cause = Cause::Isi;
            set_syndrome(regs, 0);
            return self.interrupt(hw, regs, Interrupt::InstructionStorage);
        }
        let here = Some((hw.retired(), pc, pc, true));
        let again = self.progress.last_fill == here && hw.holds(self.fetch_space, pc);
        let filled = !again
            && self
                .mmu
                .fill(hw, &self.slots, self.fetch_space, index, pc, Access::Fetch)
                == Fill::Mapped;
        if filled {
            self.progress.last_fill = here;
            self.stats.itlb_v += 1;
            self.cause = Cause::ItlbVirt;
        }
        filled
    }
}

/// Whether the access of `word` at `ea` reaches into the next page.
fn crosses(regs: &Regs, word: u32, ea: u32) -> bool {
    MemOp::of(word, regs)
        .is_some_and(|op| ea % HW_PAGE + u32::from(op.len) > HW_PAGE && !op.is_line())
}

impl Vcpu {
    /// Handles one trap that came back.
    #[inline]
    pub(crate) fn handle<H: Hw>(&mut self, hw: &mut H, trap: Trap) -> Resume {
        let at = self.regs.pc;
        if self.system.handle(hw, &mut self.regs, trap) {
            return self.unless_stuck(at);
        }
        match trap {
            Trap::Program { cause, word } => self.program(hw, cause, word),
            Trap::Data { word, .. } => self.data(hw, word),
            Trap::Fetch => self.fetch(hw),
            Trap::Budget => {
                // The hardware may stop a little early; time is looked at all the same.
                self.slice_end = 0;
                self.after_slice(hw)
            }
            Trap::Attention | Trap::Syscall | Trap::FpUnavailable => Resume::Guest,
        }
    }

    /// What follows a synchronous interrupt at `at`: the guest, unless it has shown that it gets
    /// nowhere.
    #[inline]
    fn unless_stuck(&mut self, at: u32) -> Resume {
        if self.system.progress.interrupts < ENDLESS {
            return Resume::Guest;
        }
        self.system.progress.interrupts = 0;
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

    /// A Program trap that is no interrupt: a debug event, or an instruction of the guest's
    /// supervisor that only the vcpu can emulate.
    fn program<H: Hw>(&mut self, hw: &mut H, cause: ProgramCause, word: u32) -> Resume {
        match decode(word) {
            _ if cause == ProgramCause::Trap => self.debug_stop(hw, dbcr0::TRAP),
            Some(insn) => self.emulate(hw, insn, Word(word)),
            None => self.reflect_program(hw, esr::PIL),
        }
    }

    /// Takes a Program interrupt with these ESR bits.
    pub(crate) fn reflect_program<H: Hw>(&mut self, hw: &mut H, bits: u32) -> Resume {
        let at = self.regs.pc;
        self.system.interrupt_program(hw, &mut self.regs, bits);
        self.unless_stuck(at)
    }

    /// A load or store that no translation makes the hardware do.
    fn data<H: Hw>(&mut self, hw: &mut H, word: u32) -> Resume {
        match MemOp::of(word, &self.regs) {
            Some(op) if op.len == 0 => {
                self.regs.pc = self.regs.pc.wrapping_add(4);
                hw.retire();
                Resume::Guest
            }
            Some(op) if op.fp && self.regs.msr & msr::FP == 0 => {
                self.handle(hw, Trap::FpUnavailable)
            }
            Some(op) => match self.watchpoint(hw, &op) {
                Some(exit) => Resume::Host(exit),
                None => self.perform(hw, op),
            },
            None => self.reflect_program(hw, esr::PIL),
        }
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
        let at = self.regs.pc;
        let regs = &mut self.regs;
        self.system.data_fault(hw, regs, kind, address, store, fp);
        self.unless_stuck(at)
    }

    /// A fetch that no translation makes the hardware do: the core fetches for it.
    fn fetch<H: Hw>(&mut self, hw: &mut H) -> Resume {
        if let Some(exit) = self.breakpoint(hw) {
            return Resume::Host(exit);
        }
        let Some(word) = self.instruction_at(hw, self.regs.pc) else {
            return self.fetch_nowhere(hw);
        };
        self.system.stats.fetch_emu += 1;
        self.system.cause = Cause::EmulInst;
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
        let ram = self.system.slots.ram(gpa & !3)?;
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
        self.system.stats.mcheck += 1;
        self.regs.esr |= esr::MCI;
        self.system.sprs.mcsr |= mcsr::MCS | mcsr::IB;
        let pc = self.regs.pc;
        if self.regs.msr & msr::ME == 0 {
            return Resume::Host(Exit::CannotGoOn {
                pc,
                reason: Stuck::MachineCheckDisabled,
            });
        }
        self.system
            .interrupt(hw, &mut self.regs, Interrupt::MachineCheck);
        self.unless_stuck(pc)
    }
}
