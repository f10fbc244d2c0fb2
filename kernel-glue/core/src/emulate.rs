//! Privileged instructions (PPC440x5 user's manual, chapter 9), and time base reads of problem
//! state.

use ppc440_isa::regs::{esr, mmucr, msr};
use ppc440_isa::tlb::ENTRIES;
use ppc440_isa::{Cr, Insn, Regs, TlbWrite, Word, decode, spr};

use crate::access::{MemOp, Special};
use crate::hw::{Hw, Spaces};
use crate::state::InFlight;
use crate::stats::Cause;
use crate::system::System;
use crate::uapi::Exit;
use crate::vcpu::{Resume, Vcpu};

impl System {
    /// A privileged instruction, as the hardware saw it; `false` when only the vcpu can emulate it.
    #[inline]
    pub fn privileged(&mut self, hw: &mut dyn Spaces, regs: &mut Regs, word: u32) -> bool {
        let Some(insn) = decode(word) else {
            return self.interrupt_program(hw, regs, esr::PIL);
        };
        if regs.msr & msr::PR != 0 {
            return self.privileged_in_user(hw, regs, insn, Word(word));
        }
        self.emulate(hw, regs, insn, Word(word))
    }

    /// What the hardware calls illegal: an SPR number that problem state does not have is not, if
    /// it comes from the guest's supervisor.
    pub fn illegal(&mut self, hw: &mut dyn Spaces, regs: &mut Regs, word: u32) -> bool {
        let moves_spr = matches!(decode(word), Some(Insn::Mfspr | Insn::Mtspr | Insn::Mftb));
        if moves_spr && regs.msr & msr::PR == 0 {
            return false;
        }
        self.interrupt_program(hw, regs, esr::PIL)
    }

    /// The guest's problem state: it may read the time base; of other SPRs, those with 0x10 in
    /// their number are privileged and the rest illegal (section 2.6).
    fn privileged_in_user(
        &mut self,
        hw: &mut dyn Spaces,
        regs: &mut Regs,
        insn: Insn,
        word: Word,
    ) -> bool {
        let bits = match insn {
            Insn::Mfspr | Insn::Mftb | Insn::Mtspr => {
                let number = word.spr();
                if insn != Insn::Mtspr && matches!(number, spr::TBL | spr::TBU) {
                    return false;
                }
                if number & 0x10 != 0 {
                    esr::PPR
                } else {
                    esr::PIL
                }
            }
            _ => esr::PPR,
        };
        self.interrupt_program(hw, regs, bits)
    }

    /// Emulates one privileged instruction; `pc` goes on, and it counts as completed. `false`, and
    /// nothing has changed, for those that need the vcpu.
    #[inline]
    fn emulate(&mut self, hw: &mut dyn Spaces, regs: &mut Regs, insn: Insn, word: Word) -> bool {
        let rt = word.rt();
        let mut next = regs.pc.wrapping_add(4);
        let cause = match insn {
            Insn::Mfmsr => {
                regs.gpr[rt] = regs.msr;
                Cause::EmulMfmsr
            }
            Insn::Mtmsr | Insn::Wrtee | Insn::Wrteei => {
                regs.msr = self.msr_of(regs, insn, word).unwrap_or(regs.msr);
                match insn {
                    Insn::Mtmsr => Cause::EmulMtmsr,
                    _ => Cause::EmulWrtee,
                }
            }
            Insn::Rfi | Insn::Rfci | Insn::Rfmci => {
                next = match insn {
                    Insn::Rfi => regs.srr0,
                    Insn::Rfci => regs.csrr0,
                    _ => self.sprs.mcsrr0,
                } & !3;
                regs.msr = self.msr_of(regs, insn, word).unwrap_or(regs.msr);
                Cause::EmulRfi
            }
            Insn::Tlbwe | Insn::Tlbre if word.ws() > 2 => {
                self.stats.inst_emu += 1;
                return self.interrupt_program(hw, regs, esr::PIL);
            }
            Insn::Tlbwe => {
                let write = TlbWrite {
                    value: regs.gpr[rt],
                    index: regs.gpr[word.ra()] as u8 % ENTRIES as u8,
                    word: word.ws() as u8,
                    tid: stid(regs),
                };
                self.mmu.write(hw, write);
                Cause::EmulTlbwe
            }
            Insn::Tlbre => {
                self.tlbre(regs, word);
                Cause::EmulInst
            }
            Insn::Tlbsx => {
                self.tlbsx(regs, word);
                Cause::EmulTlbsx
            }
            // There is no cache behind the debug registers: what they show stays as it is.
            Insn::Dcread => {
                regs.gpr[rt] = 0;
                Cause::EmulInst
            }
            Insn::Iccci => {
                hw.forget_code();
                Cause::EmulInst
            }
            Insn::Icread | Insn::Dccci | Insn::Tlbsync => Cause::EmulInst,
            _ => return false,
        };
        self.stats.inst_emu += 1;
        self.cause = cause;
        regs.pc = next;
        hw.retire();
        true
    }

    /// What an instruction of the guest's supervisor makes of the MSR, if it writes it.
    pub fn new_msr(&self, regs: &Regs, word: u32) -> Option<u32> {
        match regs.msr & msr::PR {
            0 => self.msr_of(regs, decode(word)?, Word(word)),
            _ => None,
        }
    }

    #[inline]
    fn msr_of(&self, regs: &Regs, insn: Insn, word: Word) -> Option<u32> {
        let with_ee = |from: u32| regs.msr & !msr::EE | from & msr::EE;
        let new = match insn {
            Insn::Mtmsr => regs.gpr[word.rs()],
            Insn::Wrtee => with_ee(regs.gpr[word.rs()]),
            Insn::Wrteei => with_ee(word.0),
            Insn::Rfi => regs.srr1,
            Insn::Rfci => regs.csrr1,
            Insn::Rfmci => self.sprs.mcsrr1,
            _ => return None,
        };
        Some(new & msr::IMPLEMENTED)
    }

    /// `tlbre`: a word of an entry; word 0 gives MMUCR\[STID\] as well.
    fn tlbre(&mut self, regs: &mut Regs, word: Word) {
        let index = regs.gpr[word.ra()] as usize;
        if word.ws() == 0 {
            let tid = u32::from(self.mmu.entry(index).tid);
            regs.mmucr = regs.mmucr & !0xFF | tid;
        }
        regs.gpr[word.rt()] = self.mmu.word(index, word.ws());
    }

    /// `tlbsx`: what MMUCR\[STS, STID\] would translate. A miss gives all ones, where silicon
    /// leaves the register undefined.
    fn tlbsx(&self, regs: &mut Regs, word: Word) {
        let ra = word.ra();
        let base = if ra == 0 { 0 } else { regs.gpr[ra] };
        let ea = base.wrapping_add(regs.gpr[word.rb()]);
        let sts = regs.mmucr & mmucr::STS != 0;
        let found = self.mmu.lookup(ea, stid(regs), sts);
        regs.gpr[word.rt()] = found.map_or(u32::MAX, |index| index as u32);
        if word.0 & 1 != 0 {
            let so = if regs.xer.so { Cr::SO } else { 0 };
            let eq = if found.is_some() { Cr::EQ } else { 0 };
            regs.cr.set_field(0, eq | so);
        }
    }
}

/// MMUCR\[STID\].
fn stid(regs: &Regs) -> u8 {
    regs.mmucr as u8
}

impl Vcpu {
    /// The instruction at `pc` has read the time base's lower half: if it is in a delay, time runs ahead.
    #[inline]
    fn time_was_read<H: Hw>(&mut self, hw: &mut H) {
        let (pc, now) = (self.regs.pc, hw.time_base());
        let mut delay = self.delay;
        if delay.reads(pc, hw.retired(), now) && !self.debug_armed() {
            let step = delay.step(pc, now, |pc| self.instruction_at(hw, pc));
            let left = self
                .timer
                .next_deadline()
                .map(|deadline| deadline.saturating_sub(now));
            if left.is_some_and(|left| left <= step) {
                // What is due is looked at before the guest goes on.
                self.slice_end = 0;
            }
            hw.run_ahead(step.min(left.unwrap_or(step)));
        }
        self.delay = delay;
    }

    /// Emulates one privileged instruction that needs time, devices or memory; `pc` goes on, and it
    /// counts as completed.
    pub(crate) fn emulate<H: Hw>(&mut self, hw: &mut H, insn: Insn, word: Word) -> Resume {
        self.system.stats.inst_emu += 1;
        let rt = word.rt();
        let next = self.regs.pc.wrapping_add(4);
        match insn {
            Insn::Mfspr | Insn::Mftb => {
                self.system.cause = Cause::EmulMfspr;
                self.regs.gpr[rt] = self.mfspr(hw, word.spr());
                if word.spr() == spr::TBL {
                    self.time_was_read(hw);
                }
            }
            Insn::Mtspr => {
                self.system.cause = Cause::EmulMtspr;
                if let Some(reset) = self.mtspr(hw, word.spr(), self.regs.gpr[rt]) {
                    self.regs.pc = next;
                    hw.retire();
                    return Resume::Host(reset);
                }
            }
            Insn::Mfdcr => return self.mfdcr(hw, word),
            Insn::Mtdcr => return self.mtdcr(hw, word),
            Insn::Dcbi => {
                self.system.cause = Cause::EmulInst;
                // Translated and checked as a store; there is no cache to lose anything.
                return match MemOp::of(word.0, &self.regs) {
                    Some(op) => self.perform(
                        hw,
                        MemOp {
                            special: Special::Touch,
                            ..op
                        },
                    ),
                    None => self.reflect_program(hw, esr::PIL),
                };
            }
            _ => return self.reflect_program(hw, esr::PIL),
        }
        self.regs.pc = next;
        hw.retire();
        Resume::Guest
    }

    fn mfdcr<H: Hw>(&mut self, hw: &mut H, word: Word) -> Resume {
        self.leave_for_dcr(hw);
        self.in_flight = InFlight::DcrRead {
            rt: word.rt() as u8,
            data: 0,
        };
        Resume::Host(Exit::Dcr {
            dcrn: word.dcr() as u16,
            write: false,
            data: 0,
        })
    }

    fn mtdcr<H: Hw>(&mut self, hw: &mut H, word: Word) -> Resume {
        self.leave_for_dcr(hw);
        let data = self.regs.gpr[word.rt()];
        Resume::Host(Exit::Dcr {
            dcrn: word.dcr() as u16,
            write: true,
            data,
        })
    }

    fn leave_for_dcr<H: Hw>(&mut self, hw: &mut H) {
        self.system.stats.dcr += 1;
        self.system.cause = Cause::Dcr;
        self.exit_pc = self.regs.pc;
        self.regs.pc = self.regs.pc.wrapping_add(4);
        hw.retire();
    }
}
