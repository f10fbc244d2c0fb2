//! What the hardware was made to do, counted.

/// Counts since the hardware was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Turns of the guest that ended, by the number of the interrupt.
    pub exits: [u64; 16],
    /// Entries written because the core gave a translation.
    pub fills: u64,
    /// Entries written again because the host had taken them.
    pub stolen: u64,
    /// Entries that made room for others.
    pub evicted: u64,
    /// Entries removed because their translation was, or because another overlapped them.
    pub dropped: u64,
    /// Invalidations of the instruction cache.
    pub iccci: u64,
    /// Instructions executed apart from their page.
    pub single: u64,
    /// Times that the guest got the floating-point unit.
    pub fp_loads: u64,
    /// Turns that ended with an instruction that could not be fetched.
    pub no_word: u64,
}
