//! Translations that the KVM core gives the hardware under it to hold.

use crate::regs::msr;

/// Translation spaces that the hardware keeps side by side.
///
/// The core gives each (PID, AS, PR) of the guest that is in use a space of its own, so that a
/// change of PID or MSR selects another space and flushes nothing. On silicon a space is a TID.
pub const SPACES: usize = 32;

/// One translation space, below [`SPACES`].
pub type SpaceId = u8;

/// What selects the translation spaces: MSR\[PR, IS, DS\] and the PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u16);

impl Mode {
    /// Number of modes.
    pub const COUNT: usize = 1 << 11;

    /// The mode that an MSR and a PID make.
    #[inline]
    pub fn new(msr: u32, pid: u8) -> Self {
        let space = (msr & (msr::IS | msr::DS)) << 4;
        let user = (msr & msr::PR) >> 4;
        Mode((space | user | u32::from(pid)) as u16)
    }

    /// Returns the mode as a number, below [`Mode::COUNT`].
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One translation for the hardware to hold: effective to RAM, with what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First effective address, a multiple of 4096.
    pub ea: u32,
    /// Length in bytes, a multiple of 4096 and at most 1 GiB; need not be a power of two.
    pub bytes: u32,
    /// Byte offset of `ea` in guest RAM's host mapping, a multiple of 4096.
    pub ram: u32,
    /// Loads are allowed.
    pub read: bool,
    /// Stores are allowed.
    pub write: bool,
    /// Fetches are allowed.
    pub execute: bool,
    /// The page is cached and write-back; where it is not, `dcbz` must trap as
    /// [`crate::Trap::Data`] for the core to decide.
    pub cached: bool,
}

impl Mapping {
    /// One page of 4096 bytes of ordinary memory: all is allowed, and it is cached.
    pub fn page(ea: u32, ram: u32) -> Self {
        Mapping {
            ea,
            bytes: 4096,
            ram,
            read: true,
            write: true,
            execute: true,
            cached: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_a_number_of_its_own() {
        let mut seen = [false; Mode::COUNT];
        for bits in 0..8 {
            let bit = |n: u32, bit: u32| if bits >> n & 1 != 0 { bit } else { 0 };
            let translation = bit(0, msr::PR) | bit(1, msr::IS) | bit(2, msr::DS);
            for pid in 0..=255 {
                let mode = Mode::new(translation | msr::CE | msr::EE | msr::FP, pid);
                assert!(!core::mem::replace(&mut seen[mode.index()], true));
                assert_eq!(mode, Mode::new(translation, pid));
            }
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
