//! Bits of the 440's special registers, as masks of the 32-bit value.
//!
//! The manual numbers bits from the most significant end; a mask needs no numbering. Names are
//! the manual's (PPC440x5 user's manual, chapters 2, 6, 7 and 8).

/// Machine state register (section 2.7.1).
pub mod msr {
    /// Wait state enable: the core stops until an interrupt.
    pub const WE: u32 = 0x0004_0000;
    /// Critical input and watchdog interrupts enabled.
    pub const CE: u32 = 0x0002_0000;
    /// External, decrementer and fixed-interval interrupts enabled.
    pub const EE: u32 = 0x0000_8000;
    /// Problem state: privileged instructions trap.
    pub const PR: u32 = 0x0000_4000;
    /// Floating point available.
    pub const FP: u32 = 0x0000_2000;
    /// Machine checks enabled.
    pub const ME: u32 = 0x0000_1000;
    /// Floating-point exception mode 0.
    pub const FE0: u32 = 0x0000_0800;
    /// Debug wait enable.
    pub const DWE: u32 = 0x0000_0400;
    /// Debug interrupts enabled.
    pub const DE: u32 = 0x0000_0200;
    /// Floating-point exception mode 1.
    pub const FE1: u32 = 0x0000_0100;
    /// Instruction address space, compared with a TLB entry's TS.
    pub const IS: u32 = 0x0000_0020;
    /// Data address space, compared with a TLB entry's TS.
    pub const DS: u32 = 0x0000_0010;
    /// The bits that exist; the rest read as 0.
    pub const IMPLEMENTED: u32 = WE | CE | EE | PR | FP | ME | FE0 | DWE | DE | FE1 | IS | DS;
    /// What a non-critical interrupt leaves as it was (section 6.3).
    pub const KEPT_NON_CRITICAL: u32 = CE | ME | DE;
    /// What a critical interrupt leaves as it was (section 6.3).
    pub const KEPT_CRITICAL: u32 = ME;
}

/// Exception syndrome register (section 6.4.7).
pub mod esr {
    /// Instruction-side machine check; only software clears it.
    pub const MCI: u32 = 0x8000_0000;
    /// Program: illegal instruction.
    pub const PIL: u32 = 0x0800_0000;
    /// Program: privileged instruction.
    pub const PPR: u32 = 0x0400_0000;
    /// Program: trap.
    pub const PTR: u32 = 0x0200_0000;
    /// A floating-point operation was the cause.
    pub const FP: u32 = 0x0100_0000;
    /// A store, `dcbz` or `dcbi` was the cause.
    pub const ST: u32 = 0x0080_0000;
    /// Cache-locking exception by a data cache instruction.
    pub const DLK: u32 = 0x0020_0000;
    /// Cache-locking exception by an instruction cache instruction.
    pub const ILK: u32 = 0x0010_0000;
    /// Auxiliary processor operation.
    pub const AP: u32 = 0x0008_0000;
    /// Program: unimplemented operation.
    pub const PUO: u32 = 0x0004_0000;
    /// Byte ordering exception.
    pub const BO: u32 = 0x0002_0000;
    /// Program: imprecise.
    pub const PIE: u32 = 0x0001_0000;
}

/// Machine check status register, write one to clear (section 6.4.8).
pub mod mcsr {
    /// Summary: a machine check happened.
    pub const MCS: u32 = 0x8000_0000;
    /// Instruction PLB error.
    pub const IB: u32 = 0x4000_0000;
    /// Data read PLB error.
    pub const DRB: u32 = 0x2000_0000;
    /// Data write PLB error.
    pub const DWB: u32 = 0x1000_0000;
}

/// Timer control register (section 7.5).
pub mod tcr {
    /// Watchdog period, two bits.
    pub const WP: u32 = 0xC000_0000;
    /// Watchdog reset control, two bits; once set it stays until a reset.
    pub const WRC: u32 = 0x3000_0000;
    /// Watchdog interrupt enable.
    pub const WIE: u32 = 0x0800_0000;
    /// Decrementer interrupt enable.
    pub const DIE: u32 = 0x0400_0000;
    /// Fixed-interval timer period, two bits.
    pub const FP: u32 = 0x0300_0000;
    /// Fixed-interval interrupt enable.
    pub const FIE: u32 = 0x0080_0000;
    /// Decrementer auto-reload enable.
    pub const ARE: u32 = 0x0040_0000;
    /// The bits that exist.
    pub const IMPLEMENTED: u32 = WP | WRC | WIE | DIE | FP | FIE | ARE;
}

/// Timer status register, write one to clear (section 7.6).
pub mod tsr {
    /// The next watchdog timeout sets WIS.
    pub const ENW: u32 = 0x8000_0000;
    /// Watchdog interrupt status.
    pub const WIS: u32 = 0x4000_0000;
    /// Which reset the watchdog caused, two bits.
    pub const WRS: u32 = 0x3000_0000;
    /// Decrementer interrupt status.
    pub const DIS: u32 = 0x0800_0000;
    /// Fixed-interval interrupt status.
    pub const FIS: u32 = 0x0400_0000;
}

/// Debug control register 0 (section 8.6).
pub mod dbcr0 {
    /// External debug mode.
    pub const EDM: u32 = 0x8000_0000;
    /// Internal debug mode: events cause interrupts.
    pub const IDM: u32 = 0x4000_0000;
    /// Reset: 1 core, 2 chip, 3 system; acts when it is written.
    pub const RST: u32 = 0x3000_0000;
    /// Instruction complete.
    pub const ICMP: u32 = 0x0800_0000;
    /// Branch taken.
    pub const BRT: u32 = 0x0400_0000;
    /// Interrupt taken.
    pub const IRPT: u32 = 0x0200_0000;
    /// Trap instruction.
    pub const TRAP: u32 = 0x0100_0000;
    /// Instruction address compare 1.
    pub const IAC1: u32 = 0x0080_0000;
    /// Instruction address compare 2.
    pub const IAC2: u32 = 0x0040_0000;
    /// Instruction address compare 3.
    pub const IAC3: u32 = 0x0020_0000;
    /// Instruction address compare 4.
    pub const IAC4: u32 = 0x0010_0000;
    /// Data address compare 1, reads.
    pub const DAC1R: u32 = 0x0008_0000;
    /// Data address compare 1, writes.
    pub const DAC1W: u32 = 0x0004_0000;
    /// Data address compare 2, reads.
    pub const DAC2R: u32 = 0x0002_0000;
    /// Data address compare 2, writes.
    pub const DAC2W: u32 = 0x0001_0000;
    /// Return from interrupt.
    pub const RET: u32 = 0x0000_8000;
    /// Freeze the timers while an event is recorded.
    pub const FT: u32 = 0x0000_0001;
}

/// Debug status register, write one to clear (section 8.6). Event bits stand where
/// [`dbcr0`] enables them.
pub mod dbsr {
    /// Imprecise: the event came while debug interrupts were disabled.
    pub const IDE: u32 = 0x8000_0000;
    /// Unconditional debug event.
    pub const UDE: u32 = 0x4000_0000;
    /// Most recent reset: 1 core, 2 chip, 3 system.
    pub const MRR: u32 = 0x3000_0000;
}

/// Core configuration register 0 (section 2.8).
pub mod ccr0 {
    /// Disable the broadcast of instructions to the FPU.
    pub const DAPUIB: u32 = 0x0010_0000;
    /// Force an Alignment interrupt for misaligned integer loads and stores.
    pub const FLSTA: u32 = 0x0000_0100;
}

/// Core configuration register 1 (section 2.8).
pub mod ccr1 {
    /// Timer clock select: 0 the CPU clock, 1 the external timer clock.
    pub const TCS: u32 = 0x0000_0080;
}

/// Memory management unit control register (section 5.7).
pub mod mmucr {
    /// User `dcbf` causes a cache-locking exception.
    pub const DULXE: u32 = 0x0008_0000;
    /// User `icbi` causes a cache-locking exception.
    pub const IULXE: u32 = 0x0004_0000;
    /// The TS that `tlbsx` searches for.
    pub const STS: u32 = 0x0001_0000;
    /// The TID that `tlbsx` searches for and `tlbwe` writes.
    pub const STID: u32 = 0x0000_00FF;
    /// The bits that exist.
    pub const IMPLEMENTED: u32 = 0x016D_00FF;
}

/// Floating-point status and control register (Book E, section 4.3).
pub mod fpscr {
    /// Exception summary.
    pub const FX: u32 = 0x8000_0000;
    /// Enabled exception summary.
    pub const FEX: u32 = 0x4000_0000;
    /// Invalid operation summary.
    pub const VX: u32 = 0x2000_0000;
    /// Overflow.
    pub const OX: u32 = 0x1000_0000;
    /// Underflow.
    pub const UX: u32 = 0x0800_0000;
    /// Zero divide.
    pub const ZX: u32 = 0x0400_0000;
    /// Inexact.
    pub const XX: u32 = 0x0200_0000;
    /// Invalid: signalling NaN.
    pub const VXSNAN: u32 = 0x0100_0000;
    /// Invalid: infinity minus infinity.
    pub const VXISI: u32 = 0x0080_0000;
    /// Invalid: infinity divided by infinity.
    pub const VXIDI: u32 = 0x0040_0000;
    /// Invalid: zero divided by zero.
    pub const VXZDZ: u32 = 0x0020_0000;
    /// Invalid: infinity times zero.
    pub const VXIMZ: u32 = 0x0010_0000;
    /// Invalid: comparison.
    pub const VXVC: u32 = 0x0008_0000;
    /// The last result was rounded up in magnitude.
    pub const FR: u32 = 0x0004_0000;
    /// The last result was inexact.
    pub const FI: u32 = 0x0002_0000;
    /// Result class and condition, five bits.
    pub const FPRF: u32 = 0x0001_F000;
    /// Result condition: less, greater, equal, unordered.
    pub const FPCC: u32 = 0x0000_F000;
    /// Invalid: software request.
    pub const VXSOFT: u32 = 0x0000_0400;
    /// Invalid: square root.
    pub const VXSQRT: u32 = 0x0000_0200;
    /// Invalid: integer conversion.
    pub const VXCVI: u32 = 0x0000_0100;
    /// Invalid operation enabled.
    pub const VE: u32 = 0x0000_0080;
    /// Overflow enabled.
    pub const OE: u32 = 0x0000_0040;
    /// Underflow enabled.
    pub const UE: u32 = 0x0000_0020;
    /// Zero divide enabled.
    pub const ZE: u32 = 0x0000_0010;
    /// Inexact enabled.
    pub const XE: u32 = 0x0000_0008;
    /// Non-IEEE mode.
    pub const NI: u32 = 0x0000_0004;
    /// Rounding: 0 nearest, 1 toward zero, 2 toward plus, 3 toward minus infinity.
    pub const RN: u32 = 0x0000_0003;
    /// Every invalid-operation cause.
    pub const VX_ALL: u32 = VXSNAN | VXISI | VXIDI | VXZDZ | VXIMZ | VXVC | VXSOFT | VXSQRT | VXCVI;
}
