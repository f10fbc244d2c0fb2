//! What a CPU is, as plain values: what a snapshot holds, and the interrupts by name.

use ppc440_isa::Regs;
use ppc440_isa::tlb::{ENTRIES, Tlbe};

use crate::access::MemOp;
use crate::sprs::Sprs;
use crate::timer::TimerState;

/// All that the guest can tell, as plain values: what a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// User registers, pc and MSR.
    pub regs: Regs,
    /// Supervisor registers.
    pub sprs: Sprs,
    /// Timers.
    pub timers: TimerState,
    /// The guest TLB.
    pub tlb: [Tlbe; ENTRIES],
    /// Interrupt requests made by [`crate::Vcpu::inject`] and [`crate::Vcpu::raise_machine_check`].
    pub pending: Pending,
    /// The access whose exit has not been answered.
    pub in_flight: InFlight,
}

/// The interrupts, by the number of their IVOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the manual's table 6-2.
pub enum Interrupt {
    CriticalInput = 0,
    MachineCheck = 1,
    DataStorage = 2,
    InstructionStorage = 3,
    ExternalInput = 4,
    Alignment = 5,
    Program = 6,
    FpUnavailable = 7,
    SystemCall = 8,
    ApUnavailable = 9,
    Decrementer = 10,
    FixedInterval = 11,
    Watchdog = 12,
    DataTlb = 13,
    InstructionTlb = 14,
    Debug = 15,
}

impl Interrupt {
    /// All of them, in the order of their IVORs.
    pub const ALL: [Interrupt; 16] = {
        use Interrupt::*;
        [
            CriticalInput,
            MachineCheck,
            DataStorage,
            InstructionStorage,
            ExternalInput,
            Alignment,
            Program,
            FpUnavailable,
            SystemCall,
            ApUnavailable,
            Decrementer,
            FixedInterval,
            Watchdog,
            DataTlb,
            InstructionTlb,
            Debug,
        ]
    };
}

/// What KVM_INTERRUPT does to the external input, beside the input's own level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    /// Request one external interrupt; taking it ends the request.
    Set,
    /// Request external interrupts until [`Inject::Unset`].
    SetLevel,
    /// End both kinds of request.
    Unset,
}

/// Requests that are not levels of the hardware's inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// One external interrupt.
    pub external_once: bool,
    /// External interrupts, until unset.
    pub external_level: bool,
    /// MCSR bits of a machine check that MSR\[ME\] holds back; 0 for none.
    pub machine_check: u32,
}

/// The longest access: `lmw`, `lswx` and their stores.
pub(crate) const LONGEST: usize = 128;

/// An access that left `run` and awaits its completion.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // There is no heap here, and one of these per vcpu.
pub enum InFlight {
    /// No access is in flight.
    None,
    /// A load or store.
    Mmio(Transfer),
    /// `mfdcr`.
    DcrRead {
        /// The register that it loads.
        rt: u8,
        /// The answer.
        data: u32,
    },
}

/// A load or store whose bytes have not all moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub(crate) op: MemOp,
    /// The bytes by ascending address.
    pub(crate) bytes: [u8; LONGEST],
    /// How many have moved.
    pub(crate) done: u8,
    /// How many the exit that is out asks for.
    pub(crate) asked: u8,
    pub(crate) parts: [Part; 2],
}

/// The stretch of an access that lies in one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) len: u8,
    /// Guest-physical address of its first byte.
    pub(crate) gpa: u64,
    /// RAM offset of its first byte; `None` when it is no RAM.
    pub(crate) ram: Option<u32>,
    /// The page is little-endian.
    pub(crate) little: bool,
    /// `dcbz` is not allowed: the page is write-through or not cached.
    pub(crate) uncached: bool,
}
