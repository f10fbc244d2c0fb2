//! The registers in the layouts of KVM's `struct kvm_regs` and `struct kvm_sregs` for Book E
//! (Linux 3.12), which are the same on powerpc and on 64-bit hosts.

use ppc440_isa::Cr;
use ppc440_isa::Xer;
use ppc440_kvm::State;

/// `struct kvm_regs`: 392 bytes, every register in 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs)] // Each field is the register of its name.
pub struct KvmRegs {
    pub pc: u64,
    pub cr: u64,
    pub ctr: u64,
    pub lr: u64,
    pub xer: u64,
    pub msr: u64,
    pub srr0: u64,
    pub srr1: u64,
    pub pid: u64,
    pub sprg: [u64; 8],
    pub gpr: [u64; 32],
}

impl KvmRegs {
    /// The registers of a state.
    pub fn of(state: &State) -> Self {
        let State { regs, .. } = state;
        KvmRegs {
            pc: regs.pc.into(),
            cr: regs.cr.word().into(),
            ctr: regs.ctr.into(),
            lr: regs.lr.into(),
            xer: regs.xer.word().into(),
            msr: regs.msr.into(),
            srr0: regs.srr0.into(),
            srr1: regs.srr1.into(),
            pid: regs.pid.into(),
            sprg: regs.sprg.map(u64::from),
            gpr: regs.gpr.map(u64::from),
        }
    }

    /// Puts the registers into a state; of each the low 32 bits count, of the PID eight.
    pub fn put(&self, state: &mut State) {
        let State { regs, .. } = state;
        regs.pc = self.pc as u32 & !3;
        regs.cr = Cr::from_word(self.cr as u32);
        regs.ctr = self.ctr as u32;
        regs.lr = self.lr as u32;
        regs.xer = Xer::from_word(self.xer as u32);
        regs.msr = self.msr as u32 & ppc440_isa::regs::msr::IMPLEMENTED;
        regs.srr0 = self.srr0 as u32;
        regs.srr1 = self.srr1 as u32;
        regs.pid = self.pid as u8;
        regs.sprg = self.sprg.map(|value| value as u32);
        regs.gpr = self.gpr.map(|value| value as u32);
    }
}

/// `features`: csrr, esr, dear, mcsr, tsr, tcr, dec, tb and vrsave are meant.
pub const KVM_SREGS_E_BASE: u32 = 1;
/// `features`: pir, mcsrr, decar and ivpr are meant.
pub const KVM_SREGS_E_ARCH206: u32 = 2;
/// `features`: ivor_low is meant.
pub const KVM_SREGS_E_IVOR: u32 = 0x20;
/// `features`: the debug registers are meant.
pub const KVM_SREGS_E_DEBUG: u32 = 0x80;
/// `update_special`: take MCSR.
pub const KVM_SREGS_E_UPDATE_MCSR: u32 = 1;
/// `update_special`: take TSR.
pub const KVM_SREGS_E_UPDATE_TSR: u32 = 2;
/// `update_special`: take DEC.
pub const KVM_SREGS_E_UPDATE_DEC: u32 = 4;
/// `update_special`: take DBSR.
pub const KVM_SREGS_E_UPDATE_DBSR: u32 = 8;

/// `struct kvm_sregs` with the Book E arm of its union: 1232 bytes. What a 440 lacks is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
#[allow(missing_docs)] // Each field is the register of its name.
pub struct KvmSregs {
    pub pvr: u32,
    padding0: u32,
    implementation: [u64; 32],
    /// Which groups of registers are meant, as `KVM_SREGS_E_*`.
    pub features: u32,
    pub impl_id: u32,
    /// Which registers with side effects a set takes, as `KVM_SREGS_E_UPDATE_*`.
    pub update_special: u32,
    pub pir: u32,
    pub sprg8: u64,
    pub sprg9: u64,
    pub csrr0: u64,
    pub dsrr0: u64,
    pub mcsrr0: u64,
    pub csrr1: u32,
    pub dsrr1: u32,
    pub mcsrr1: u32,
    pub esr: u32,
    pub dear: u64,
    pub ivpr: u64,
    pub mcivpr: u64,
    pub mcsr: u64,
    pub tsr: u32,
    pub tcr: u32,
    pub decar: u32,
    pub dec: u32,
    pub tb: u64,
    pub dbsr: u32,
    pub dbcr: [u32; 3],
    pub iac: [u32; 4],
    pub dac: [u32; 2],
    pub dvc: [u32; 2],
    pub num_iac: u8,
    pub num_dac: u8,
    pub num_dvc: u8,
    padding1: u8,
    pub epr: u32,
    pub vrsave: u32,
    pub epcr: u32,
    mas: [u32; 8],
    pub ivor_low: [u32; 16],
    pub ivor_high: [u32; 18],
    tail: [u32; 152],
}

impl KvmSregs {
    /// The registers of a state.
    pub fn of(state: &State) -> Self {
        let State {
            regs, sprs, timers, ..
        } = state;
        KvmSregs {
            pvr: sprs.pvr,
            padding0: 0,
            implementation: [0; 32],
            features: KVM_SREGS_E_BASE | KVM_SREGS_E_ARCH206 | KVM_SREGS_E_IVOR | KVM_SREGS_E_DEBUG,
            impl_id: 0,
            update_special: 0,
            pir: 0,
            sprg8: 0,
            sprg9: 0,
            csrr0: regs.csrr0.into(),
            dsrr0: 0,
            mcsrr0: sprs.mcsrr0.into(),
            csrr1: regs.csrr1,
            dsrr1: 0,
            mcsrr1: sprs.mcsrr1,
            esr: regs.esr,
            dear: regs.dear.into(),
            ivpr: sprs.ivpr.into(),
            mcivpr: 0,
            mcsr: sprs.mcsr.into(),
            tsr: timers.tsr,
            tcr: timers.tcr,
            decar: timers.decar,
            dec: timers.dec,
            tb: timers.tb,
            dbsr: sprs.dbsr,
            dbcr: [sprs.dbcr0, sprs.dbcr1, sprs.dbcr2],
            iac: sprs.iac,
            dac: sprs.dac,
            dvc: sprs.dvc,
            num_iac: 4,
            num_dac: 2,
            num_dvc: 2,
            padding1: 0,
            epr: 0,
            vrsave: regs.usprg0,
            epcr: 0,
            mas: [0; 8],
            ivor_low: sprs.ivor,
            ivor_high: [0; 18],
            tail: [0; 152],
        }
    }

    /// Puts the groups that `features` names into a state; `pvr` is not taken.
    pub fn put(&self, state: &mut State) {
        let State {
            regs, sprs, timers, ..
        } = state;
        if self.features & KVM_SREGS_E_BASE != 0 {
            regs.csrr0 = self.csrr0 as u32;
            regs.csrr1 = self.csrr1;
            regs.esr = self.esr;
            regs.dear = self.dear as u32;
            timers.tcr = self.tcr;
            regs.usprg0 = self.vrsave;
            let special = |bit| self.update_special & bit != 0;
            if special(KVM_SREGS_E_UPDATE_MCSR) {
                sprs.mcsr = self.mcsr as u32;
            }
            if special(KVM_SREGS_E_UPDATE_TSR) {
                timers.tsr = self.tsr;
            }
            if special(KVM_SREGS_E_UPDATE_DEC) {
                timers.dec = self.dec;
            }
        }
        if self.features & KVM_SREGS_E_ARCH206 != 0 {
            sprs.mcsrr0 = self.mcsrr0 as u32;
            sprs.mcsrr1 = self.mcsrr1;
            timers.decar = self.decar;
            sprs.ivpr = self.ivpr as u32;
        }
        if self.features & KVM_SREGS_E_IVOR != 0 {
            sprs.ivor = self.ivor_low;
        }
        if self.features & KVM_SREGS_E_DEBUG != 0 {
            [sprs.dbcr0, sprs.dbcr1, sprs.dbcr2] = self.dbcr;
            sprs.iac = self.iac;
            sprs.dac = self.dac;
            sprs.dvc = self.dvc;
            if self.update_special & KVM_SREGS_E_UPDATE_DBSR != 0 {
                sprs.dbsr = self.dbsr;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[test]
    fn kvm_regs_has_kvms_layout() {
        assert_eq!(size_of::<KvmRegs>(), 392);
        assert_eq!(offset_of!(KvmRegs, msr), 40);
        assert_eq!(offset_of!(KvmRegs, pid), 64);
        assert_eq!(offset_of!(KvmRegs, sprg), 72);
        assert_eq!(offset_of!(KvmRegs, gpr), 136);
    }

    #[test]
    fn kvm_sregs_has_kvms_layout() {
        assert_eq!(size_of::<KvmSregs>(), 1232);
        for (at, expected) in [
            (offset_of!(KvmSregs, implementation), 8),
            (offset_of!(KvmSregs, features), 264),
            (offset_of!(KvmSregs, pir), 276),
            (offset_of!(KvmSregs, csrr0), 296),
            (offset_of!(KvmSregs, esr), 332),
            (offset_of!(KvmSregs, dear), 336),
            (offset_of!(KvmSregs, mcsr), 360),
            (offset_of!(KvmSregs, tsr), 368),
            (offset_of!(KvmSregs, tb), 384),
            (offset_of!(KvmSregs, dbsr), 392),
            (offset_of!(KvmSregs, iac), 408),
            (offset_of!(KvmSregs, dac), 424),
            (offset_of!(KvmSregs, dvc), 432),
            (offset_of!(KvmSregs, epr), 444),
            (offset_of!(KvmSregs, ivor_low), 488),
            (offset_of!(KvmSregs, ivor_high), 552),
            (offset_of!(KvmSregs, tail), 624),
        ] {
            assert_eq!(at, expected);
        }
    }
}
