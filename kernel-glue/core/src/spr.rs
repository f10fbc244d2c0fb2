//! `mfspr` and `mtspr` of everything that the hardware does not execute itself: which bits exist,
//! and what a write does (PPC440x5 user's manual, chapter 2, and the chapter of each register).

use ppc440_isa::regs::{dbcr0, mmucr};
use ppc440_isa::spr;

use crate::hw::Hw;
use crate::uapi::{Exit, ResetKind};
use crate::vcpu::Vcpu;

// The last of each run of registers.
const SPRG7_USER: u32 = spr::SPRG4_USER + 3;
const SPRG7: u32 = spr::SPRG0 + 7;
const IAC4: u32 = spr::IAC1 + 3;
const IVOR15: u32 = spr::IVOR0 + 15;
const INV3: u32 = spr::INV0 + 3;
const ITV3: u32 = spr::ITV0 + 3;
const DNV3: u32 = spr::DNV0 + 3;
const DTV3: u32 = spr::DTV0 + 3;

/// The bits of IVPR that exist.
const IVPR: u32 = 0xFFFF_0000;

/// The bits of an IVOR that exist.
const IVOR: u32 = 0x0000_FFF0;

impl Vcpu {
    /// Reads an SPR in supervisor state.
    ///
    /// A number that no 440 has reads 0 and is recorded for [`Vcpu::take_unknown_spr`]; silicon
    /// leaves the result undefined. A register that can only be written reads 0.
    #[inline]
    pub(crate) fn mfspr<H: Hw>(&mut self, hw: &H, number: u32) -> u32 {
        let (regs, sprs) = (&self.regs, &self.system.sprs);
        match number {
            spr::XER => regs.xer.word(),
            spr::LR => regs.lr,
            spr::CTR => regs.ctr,
            spr::DEC => {
                self.timer.advance(hw.time_base());
                self.timer.dec()
            }
            spr::SRR0 => regs.srr0,
            spr::SRR1 => regs.srr1,
            spr::PID => u32::from(regs.pid),
            spr::DECAR => 0,
            spr::CSRR0 => regs.csrr0,
            spr::CSRR1 => regs.csrr1,
            spr::DEAR => regs.dear,
            spr::ESR => regs.esr,
            spr::IVPR => sprs.ivpr,
            spr::USPRG0 => regs.usprg0,
            // SPRG4-7 have a number to read and one to write; both read.
            spr::SPRG4_USER..=SPRG7_USER => regs.sprg[(number - spr::SPRG4_USER) as usize + 4],
            spr::SPRG0..=SPRG7 => regs.sprg[(number - spr::SPRG0) as usize],
            spr::TBL | spr::TBL_WRITE => {
                self.timer.advance(hw.time_base());
                self.timer.tb() as u32
            }
            spr::TBU | spr::TBU_WRITE => {
                self.timer.advance(hw.time_base());
                (self.timer.tb() >> 32) as u32
            }
            spr::PIR => 0,
            spr::PVR => sprs.pvr,
            spr::DBSR => sprs.dbsr,
            spr::DBCR0 => sprs.dbcr0,
            spr::DBCR1 => sprs.dbcr1,
            spr::DBCR2 => sprs.dbcr2,
            spr::IAC1..=IAC4 => sprs.iac[(number - spr::IAC1) as usize],
            spr::DAC1..=spr::DAC2 => sprs.dac[(number - spr::DAC1) as usize],
            spr::DVC1..=spr::DVC2 => sprs.dvc[(number - spr::DVC1) as usize],
            spr::TSR => {
                self.timer.advance(hw.time_base());
                self.timer.tsr()
            }
            spr::TCR => self.timer.tcr(),
            spr::IVOR0..=IVOR15 => sprs.ivor[(number - spr::IVOR0) as usize],
            spr::MCSRR0 => sprs.mcsrr0,
            spr::MCSRR1 => sprs.mcsrr1,
            spr::MCSR => sprs.mcsr,
            spr::INV0..=INV3 => sprs.inv[(number - spr::INV0) as usize],
            spr::ITV0..=ITV3 => sprs.itv[(number - spr::ITV0) as usize],
            spr::CCR1 => sprs.ccr1,
            spr::DNV0..=DNV3 => sprs.dnv[(number - spr::DNV0) as usize],
            spr::DTV0..=DTV3 => sprs.dtv[(number - spr::DTV0) as usize],
            spr::DVLIM => sprs.dvlim,
            spr::IVLIM => sprs.ivlim,
            spr::RSTCFG => sprs.rstcfg,
            spr::DCDBTRL => sprs.dcdbtrl,
            spr::DCDBTRH => sprs.dcdbtrh,
            spr::ICDBTRL => sprs.icdbtrl,
            spr::ICDBTRH => sprs.icdbtrh,
            spr::MMUCR => regs.mmucr,
            spr::CCR0 => sprs.ccr0,
            spr::ICDBDR => sprs.icdbdr,
            spr::DBDR => sprs.dbdr,
            _ => {
                self.unknown_sprs.record(number as u16);
                0
            }
        }
    }

    /// Writes an SPR in supervisor state. Returns the reset that the guest asks for by this, or that the
    /// watchdog is found to have demanded before.
    ///
    /// Read-only registers keep their value. A number that no 440 has is recorded for
    /// [`Vcpu::take_unknown_spr`].
    #[inline]
    pub(crate) fn mtspr<H: Hw>(&mut self, hw: &H, number: u32, value: u32) -> Option<Exit> {
        let (regs, sprs) = (&mut self.regs, &mut self.system.sprs);
        match number {
            spr::XER => regs.xer = ppc440_isa::Xer::from_word(value),
            spr::LR => regs.lr = value,
            spr::CTR => regs.ctr = value,
            spr::SRR0 => regs.srr0 = value,
            spr::SRR1 => regs.srr1 = value,
            spr::PID => regs.pid = value as u8,
            spr::CSRR0 => regs.csrr0 = value,
            spr::CSRR1 => regs.csrr1 = value,
            spr::DEAR => regs.dear = value,
            spr::ESR => regs.esr = value,
            spr::IVPR => sprs.ivpr = value & IVPR,
            spr::USPRG0 => regs.usprg0 = value,
            spr::SPRG0..=SPRG7 => regs.sprg[(number - spr::SPRG0) as usize] = value,
            spr::DEC | spr::DECAR | spr::TBL_WRITE | spr::TBU_WRITE | spr::TSR | spr::TCR => {
                self.write_timer(hw, number, value);
                return self.take_watchdog_reset();
            }
            spr::PIR | spr::PVR | spr::RSTCFG => {}
            spr::DCDBTRL | spr::DCDBTRH | spr::ICDBTRL | spr::ICDBTRH | spr::ICDBDR => {}
            spr::DBSR => {
                sprs.dbsr &= !value;
                self.debug_control_changed(hw);
            }
            spr::DBCR0 => {
                sprs.dbcr0 = value;
                self.debug_control_changed(hw);
                // What the watchdog demanded while the guest came to this instruction is earlier.
                return self.take_watchdog_reset().or_else(|| {
                    let kind = ResetKind::from_code((value & dbcr0::RST) >> 28)?;
                    Some(Exit::Reset {
                        kind,
                        by_watchdog: false,
                    })
                });
            }
            spr::DBCR1 => sprs.dbcr1 = value,
            spr::DBCR2 => sprs.dbcr2 = value,
            spr::IAC1..=IAC4 => sprs.iac[(number - spr::IAC1) as usize] = value & !3,
            spr::DAC1..=spr::DAC2 => sprs.dac[(number - spr::DAC1) as usize] = value,
            spr::DVC1..=spr::DVC2 => sprs.dvc[(number - spr::DVC1) as usize] = value,
            spr::IVOR0..=IVOR15 => {
                sprs.ivor[(number - spr::IVOR0) as usize] = value & IVOR;
            }
            spr::MCSRR0 => sprs.mcsrr0 = value,
            spr::MCSRR1 => sprs.mcsrr1 = value,
            spr::MCSR => sprs.mcsr &= !value,
            spr::INV0..=INV3 => sprs.inv[(number - spr::INV0) as usize] = value,
            spr::ITV0..=ITV3 => sprs.itv[(number - spr::ITV0) as usize] = value,
            spr::CCR1 => sprs.ccr1 = value,
            spr::DNV0..=DNV3 => sprs.dnv[(number - spr::DNV0) as usize] = value,
            spr::DTV0..=DTV3 => sprs.dtv[(number - spr::DTV0) as usize] = value,
            spr::DVLIM => sprs.dvlim = value,
            spr::IVLIM => sprs.ivlim = value,
            spr::MMUCR => regs.mmucr = value & mmucr::IMPLEMENTED,
            spr::CCR0 => sprs.ccr0 = value,
            spr::DBDR => sprs.dbdr = value,
            _ => self.unknown_sprs.record(number as u16),
        }
        None
    }

    /// The exit of a reset that the watchdog has demanded, once.
    pub(crate) fn take_watchdog_reset(&mut self) -> Option<Exit> {
        let kind = self.timer.take_reset()?;
        Some(Exit::Reset {
            kind,
            by_watchdog: true,
        })
    }

    /// Writes a timer register: time passes up to now first, and what is due next is worked out
    /// again before the guest goes on.
    fn write_timer<H: Hw>(&mut self, hw: &H, number: u32, value: u32) {
        self.slice_end = 0;
        let timer = &mut self.timer;
        timer.advance(hw.time_base());
        match number {
            spr::DEC => timer.set_dec(value),
            spr::DECAR => timer.set_decar(value),
            spr::TBL_WRITE => timer.set_tb(timer.tb() & !0xFFFF_FFFF | u64::from(value)),
            spr::TBU_WRITE => timer.set_tb(timer.tb() & 0xFFFF_FFFF | u64::from(value) << 32),
            spr::TSR => timer.clear_tsr(value),
            spr::TCR => timer.set_tcr(value),
            _ => {}
        }
    }

    /// DBCR0 or DBSR changed: the timers may stop or go on.
    pub(crate) fn debug_control_changed<H: Hw>(&mut self, hw: &H) {
        self.timer.advance(hw.time_base());
        self.timer.freeze(self.system.sprs.timers_frozen());
        self.slice_end = 0;
    }
}
