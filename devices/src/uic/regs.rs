//! The UIC's registers: DCR offsets from its base, and their bits.
//!
//! Input *n* is bit *n* as the manual counts, from the most significant.

/// Status: write 1 to clear.
pub const SR: u32 = 0;
/// Status set: write 1 to set the status bit; reads as the status.
pub const SRS: u32 = 1;
/// Enable.
pub const ER: u32 = 2;
/// Critical: 1 routes the input to the critical output, 0 to the non-critical one.
pub const CR: u32 = 3;
/// Polarity: 1 is active high or rising, 0 active low or falling.
pub const PR: u32 = 4;
/// Trigger: 1 is edge, 0 is level.
pub const TR: u32 = 5;
/// Masked status, read only: status and enable.
pub const MSR: u32 = 6;
/// Vector of the critical input with the highest priority, read only.
pub const VR: u32 = 7;
/// Vector configuration: base and priority order.
pub const VCR: u32 = 8;

/// VCR: the base to which VR adds.
pub const VCR_VBA: u32 = 0xFFFF_FFFC;
/// VCR: 1 makes input 0 the highest in priority, 0 makes it input 31.
pub const VCR_PRO: u32 = 0x0000_0001;

/// How far apart VR puts the vectors of two neighbouring inputs, in bytes.
pub const VECTOR_STRIDE: u32 = 512;

/// How many inputs there are.
pub const INPUTS: u32 = 32;

/// The bit of an input (0..=31) in every register; no bit for a number past that.
pub const fn bit(input: u32) -> u32 {
    match 0x8000_0000_u32.checked_shr(input) {
        Some(bit) => bit,
        None => 0,
    }
}
