//! Privileged instructions (PPC440x5 user's manual, chapter 9), and time base reads of problem
//! state.

use ppc440_isa::regs::{esr, msr};
use ppc440_isa::tlb::ENTRIES;
use ppc440_isa::{Cr, Insn, TlbWrite, Word, decode, spr};

use crate::access::{MemOp, Special};
use crate::hw::Hw;
use crate::mmio::InFlight;
use crate::stats::Cause;
use crate::uapi::Exit;
use crate::vcpu::{Resume, Vcpu};

impl Vcpu {
    /// A privileged instruction, as the hardware saw it.
    #[inline]
    pub(crate) fn privileged<H: Hw>(&mut self, hw: &mut H, word: u32) -> Resume {
        let Some(insn) = decode(word) else {
            return self.reflect_program(hw, esr::PIL);
        };
        if self.regs.msr & msr::PR != 0 {
            return self.privileged_in_user(hw, insn, Word(word));
        }
        self.emulate(hw, insn, Word(word))
    }

    /// What the hardware calls illegal: an SPR number that problem state does not have is not, if
    /// it comes from the guest's supervisor.
    pub(crate) fn illegal<H: Hw>(&mut self, hw: &mut H, word: u32) -> Resume {
        match decode(word) {
            Some(insn @ (Insn::Mfspr | Insn::Mtspr | Insn::Mftb))
                if self.regs.msr & msr::PR == 0 =>
            {
                self.emulate(hw, insn, Word(word))
            }
            _ => self.reflect_program(hw, esr::PIL),
        }
    }

    /// The guest's problem state: it may read the time base; of other SPRs, those with 0x10 in
    /// their number are privileged and the rest illegal (section 2.6).
    fn privileged_in_user<H: Hw>(&mut self, hw: &mut H, insn: Insn, word: Word) -> Resume {
        let bits = match insn {
            Insn::Mfspr | Insn::Mftb | Insn::Mtspr => {
                let number = word.spr();
                if insn != Insn::Mtspr && matches!(number, spr::TBL | spr::TBU) {
                    return self.emulate(hw, insn, word);
                }
                if number & 0x10 != 0 {
                    esr::PPR
                } else {
                    esr::PIL
                }
            }
            _ => esr::PPR,
        };
        self.reflect_program(hw, bits)
    }

    /// Emulates one privileged instruction; `pc` goes on, and it counts as completed.
    #[inline]
    fn emulate<H: Hw>(&mut self, hw: &mut H, insn: Insn, word: Word) -> Resume {
        self.stats.inst_emu += 1;
        let rt = word.rt();
        let next = self.regs.pc.wrapping_add(4);
        self.cause = Cause::EmulInst;
        match insn {
            Insn::Mfspr | Insn::Mftb => {
                self.cause = Cause::EmulMfspr;
                self.regs.gpr[rt] = self.mfspr(hw, word.spr());
            }
            Insn::Mtspr => {
                self.cause = Cause::EmulMtspr;
                if let Some(kind) = self.mtspr(hw, word.spr(), self.regs.gpr[rt]) {
                    self.regs.pc = next;
                    hw.retire();
                    return Resume::Host(Exit::Reset {
                        kind,
                        by_watchdog: false,
                    });
                }
            }
            Insn::Mfmsr => {
                self.cause = Cause::EmulMfmsr;
                self.regs.gpr[rt] = self.regs.msr;
            }
            Insn::Mtmsr => {
                self.cause = Cause::EmulMtmsr;
                self.regs.msr = self.regs.gpr[rt] & msr::IMPLEMENTED;
            }
            Insn::Wrtee => {
                self.cause = Cause::EmulWrtee;
                self.regs.msr = self.regs.msr & !msr::EE | self.regs.gpr[rt] & msr::EE;
            }
            Insn::Wrteei => {
                self.cause = Cause::EmulWrtee;
                self.regs.msr = self.regs.msr & !msr::EE | word.0 & msr::EE;
            }
            Insn::Rfi => return self.return_to(hw, self.regs.srr0, self.regs.srr1),
            Insn::Rfci => return self.return_to(hw, self.regs.csrr0, self.regs.csrr1),
            Insn::Rfmci => return self.return_to(hw, self.sprs.mcsrr0, self.sprs.mcsrr1),
            Insn::Tlbwe => {
                self.cause = Cause::EmulTlbwe;
                if word.ws() > 2 {
                    return self.reflect_program(hw, esr::PIL);
                }
                let write = TlbWrite {
                    value: self.regs.gpr[rt],
                    index: self.regs.gpr[word.ra()] as u8 % ENTRIES as u8,
                    word: word.ws() as u8,
                    tid: self.stid(),
                };
                self.mmu.write(hw, write);
            }
            Insn::Tlbre => {
                let index = self.regs.gpr[word.ra()] as usize;
                let Some(value) = self.mmu.word(index, word.ws()) else {
                    return self.reflect_program(hw, esr::PIL);
                };
                if word.ws() == 0 {
                    let tid = u32::from(self.mmu.entry(index).tid);
                    self.regs.mmucr = self.regs.mmucr & !0xFF | tid;
                }
                self.regs.gpr[rt] = value;
            }
            Insn::Tlbsx => {
                self.cause = Cause::EmulTlbsx;
                self.tlbsx(word);
            }
            Insn::Mfdcr => return self.mfdcr(hw, word),
            Insn::Mtdcr => return self.mtdcr(hw, word),
            Insn::Dcbi => {
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
            // There is no cache behind the debug registers: what they show stays as it is.
            Insn::Dcread => self.regs.gpr[rt] = 0,
            Insn::Icread | Insn::Dccci | Insn::Iccci | Insn::Tlbsync => {}
            _ => return self.reflect_program(hw, esr::PIL),
        }
        self.regs.pc = next;
        hw.retire();
        Resume::Guest
    }

    /// `rfi`, `rfci` and `rfmci`.
    #[inline]
    fn return_to<H: Hw>(&mut self, hw: &mut H, address: u32, msr: u32) -> Resume {
        self.cause = Cause::EmulRfi;
        self.regs.msr = msr & msr::IMPLEMENTED;
        self.regs.pc = address & !3;
        hw.retire();
        Resume::Guest
    }

    /// `tlbsx`: what MMUCR\[STS, STID\] would translate. A miss gives all ones, where silicon
    /// leaves the register undefined.
    fn tlbsx(&mut self, word: Word) {
        let ra = word.ra();
        let base = if ra == 0 { 0 } else { self.regs.gpr[ra] };
        let ea = base.wrapping_add(self.regs.gpr[word.rb()]);
        let found = self.mmu.lookup(ea, self.stid(), self.sts());
        self.regs.gpr[word.rt()] = found.map_or(u32::MAX, |index| index as u32);
        if word.0 & 1 != 0 {
            let so = if self.regs.xer.so { Cr::SO } else { 0 };
            self.regs
                .cr
                .set_field(0, if found.is_some() { Cr::EQ } else { 0 } | so);
        }
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
        self.stats.dcr += 1;
        self.cause = Cause::Dcr;
        self.exit_pc = self.regs.pc;
        self.regs.pc = self.regs.pc.wrapping_add(4);
        hw.retire();
    }
}
