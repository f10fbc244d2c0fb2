//! Translations that the KVM core gives the hardware under it to hold.

/// Translation spaces that the hardware keeps side by side.
///
/// The core gives each (PID, AS, PR) of the guest that is in use a space of its own, so that a
/// change of PID or MSR selects another space and flushes nothing. On silicon a space is a TID.
pub const SPACES: usize = 32;

/// One translation space, below [`SPACES`].
pub type SpaceId = u8;

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
