//! The supervisor's special purpose registers that are storage: what a snapshot holds.

use ppc440_isa::regs::{dbcr0, dbsr};

use crate::uapi::ResetKind;

/// Processor version of the 440EP revision B.
pub const PVR_440EP: u32 = 0x4222_18D3;

/// Special purpose registers of supervisor state, without timers and without what
/// [`ppc440_isa::Regs`] holds. Names are the manual's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Each field is the register of its name.
pub struct Sprs {
    pub pvr: u32,
    pub mcsrr0: u32,
    pub mcsrr1: u32,
    pub mcsr: u32,
    pub ivpr: u32,
    pub ivor: [u32; 16],
    pub ccr0: u32,
    pub ccr1: u32,
    pub dbcr0: u32,
    pub dbcr1: u32,
    pub dbcr2: u32,
    pub dbsr: u32,
    pub iac: [u32; 4],
    pub dac: [u32; 2],
    pub dvc: [u32; 2],
    pub inv: [u32; 4],
    pub itv: [u32; 4],
    pub dnv: [u32; 4],
    pub dtv: [u32; 4],
    pub dvlim: u32,
    pub ivlim: u32,
    pub rstcfg: u32,
    pub dcdbtrl: u32,
    pub dcdbtrh: u32,
    pub icdbtrl: u32,
    pub icdbtrh: u32,
    pub icdbdr: u32,
    pub dbdr: u32,
}

impl Sprs {
    /// Whether DBCR0\[FT\] stops the timers: it is set, and a debug event is recorded.
    pub(crate) fn timers_frozen(&self) -> bool {
        self.dbcr0 & dbcr0::FT != 0 && self.dbsr & !dbsr::MRR != 0
    }

    /// What every reset does; the rest keeps its value, which the manual leaves open.
    pub(crate) fn reset(&mut self, kind: ResetKind) {
        self.dbcr0 &= !dbcr0::RST;
        self.dbsr = self.dbsr & !dbsr::MRR | (kind as u32) << 28;
    }
}
