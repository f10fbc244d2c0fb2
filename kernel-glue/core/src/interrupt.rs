//! The 16 interrupts: what each saves and keeps, and which of those that wait goes first
//! (PPC440x5 user's manual, chapter 6).

use ppc440_isa::Regs;
use ppc440_isa::regs::{dbsr, esr, mcsr, msr};

use crate::hw::Pins;
use crate::interrupt_log::Taken;
use crate::state::{Inject, Interrupt};
use crate::system::System;
use crate::vcpu::Vcpu;

impl Vcpu {
    /// Requests or withdraws an external interrupt, as KVM_INTERRUPT does.
    pub fn inject(&mut self, request: Inject) {
        match request {
            Inject::Set => self.pending.external_once = true,
            Inject::SetLevel => self.pending.external_level = true,
            Inject::Unset => {
                self.pending.external_once = false;
                self.pending.external_level = false;
            }
        }
    }

    /// Reports a bus error: `causes` are MCSR bits, and the interrupt comes as soon as MSR\[ME\]
    /// allows it.
    pub fn raise_machine_check(&mut self, causes: u32) {
        self.pending.machine_check |= causes | mcsr::MCS;
    }

    /// Takes the first of the asynchronous interrupts that wait and are enabled: machine check,
    /// critical input, watchdog, external, fixed interval, decrementer.
    #[inline]
    pub(crate) fn deliver(&mut self, pins: Pins) {
        let external = pins.external | self.pending.external_once | self.pending.external_level;
        let timers = self.timer.requests();
        self.regs.masked = external | timers.fixed_interval | timers.decrementer;
        if !(self.regs.masked | pins.critical | timers.any()) && self.pending.machine_check == 0 {
            return;
        }
        let enabled = self.regs.msr;
        let pc = self.regs.pc;
        if self.pending.machine_check != 0 && enabled & msr::ME != 0 {
            self.system.sprs.mcsr |= core::mem::take(&mut self.pending.machine_check);
            self.system.stats.mcheck += 1;
            self.take(Interrupt::MachineCheck, pc);
        } else if pins.critical && enabled & msr::CE != 0 {
            self.take(Interrupt::CriticalInput, pc);
        } else if timers.watchdog && enabled & msr::CE != 0 {
            self.take(Interrupt::Watchdog, pc);
        } else if enabled & msr::EE == 0 {
        } else if external {
            self.pending.external_once = false;
            self.system.stats.ext_intr += 1;
            self.take(Interrupt::ExternalInput, pc);
        } else if timers.fixed_interval {
            self.take(Interrupt::FixedInterval, pc);
        } else if timers.decrementer {
            self.system.stats.dec += 1;
            self.take(Interrupt::Decrementer, pc);
        }
    }

    fn take(&mut self, kind: Interrupt, address: u32) {
        self.system.take(&mut self.regs, kind, address);
    }

    /// Takes a debug interrupt for `events` (DBSR bits), to return to `address`.
    pub(crate) fn take_debug(&mut self, events: u32, address: u32) {
        self.system.sprs.dbsr |= events & !(dbsr::IDE | dbsr::MRR);
        self.take(Interrupt::Debug, address);
    }
}

impl System {
    /// Takes interrupt `kind`; `address` goes into the save register.
    #[inline]
    pub fn take(&mut self, regs: &mut Regs, kind: Interrupt, address: u32) {
        let old = regs.msr;
        self.log.push(Taken {
            kind,
            address,
            msr: old,
            esr: regs.esr,
            dear: regs.dear,
            times: 1,
        });
        let vector = self.vector(kind);
        match kind {
            Interrupt::CriticalInput | Interrupt::Watchdog | Interrupt::Debug => {
                regs.csrr0 = address;
                regs.csrr1 = old;
                regs.msr = old & msr::KEPT_CRITICAL;
                regs.pc = vector;
            }
            Interrupt::MachineCheck => {
                // The 440x5 returns through MCSRR, Linux on the 440EP through CSRR: both hold it.
                regs.csrr0 = address;
                regs.csrr1 = old;
                self.sprs.mcsrr0 = address;
                self.sprs.mcsrr1 = old;
                regs.msr = 0;
                regs.pc = vector;
            }
            _ => regs.interrupt(address, vector),
        }
        if old & msr::WE != 0 {
            self.stats.halt_wakeup += u64::from(core::mem::take(&mut self.waited));
        }
    }

    /// Where interrupt `kind` goes.
    #[inline]
    pub fn vector(&self, kind: Interrupt) -> u32 {
        self.sprs.ivpr & 0xFFFF_0000 | self.sprs.ivor[kind as usize] & 0xFFF0
    }
}

/// Writes ESR as an interrupt that has an entry in it does: MCI stays, the rest is replaced.
#[inline]
pub(crate) fn set_syndrome(regs: &mut Regs, bits: u32) {
    regs.esr = regs.esr & esr::MCI | bits;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sprs::PVR_440EP;

    #[test]
    fn each_of_the_16_saves_keeps_and_jumps_by_its_class() {
        for (n, kind) in Interrupt::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, n);
            let mut vcpu = Vcpu::new(PVR_440EP);
            vcpu.regs.msr = msr::IMPLEMENTED;
            vcpu.system.sprs.ivpr = 0xABCD_0000;
            vcpu.system.sprs.ivor[n] = 0x1230 + 16 * n as u32;
            vcpu.take(kind, 0x8000);
            assert_eq!(vcpu.regs.pc, 0xABCD_1230 + 16 * n as u32, "{kind:?}");
            let (saves, kept) = match n {
                0 | 12 | 15 => ([false, true, false], msr::ME),
                1 => ([false, true, true], 0),
                _ => ([true, false, false], msr::CE | msr::ME | msr::DE),
            };
            assert_eq!(vcpu.regs.msr, kept, "{kind:?}");
            let (r, s) = (vcpu.regs, vcpu.system.sprs);
            let pairs = [(r.srr0, r.srr1), (r.csrr0, r.csrr1), (s.mcsrr0, s.mcsrr1)];
            for (pair, saved) in pairs.into_iter().zip(saves) {
                let expected = if saved {
                    (0x8000, msr::IMPLEMENTED)
                } else {
                    (0, 0)
                };
                assert_eq!(pair, expected, "{kind:?}");
            }
        }
    }
}
