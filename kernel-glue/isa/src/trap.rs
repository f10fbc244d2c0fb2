//! Why the hardware stopped running the guest.

/// The direction of a data access, or a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load, or a cache instruction that the manual treats as one.
    Load,
    /// A store, `dcbz` or `dcbi`.
    Store,
    /// An instruction fetch.
    Fetch,
}

/// What a Program trap was about; the guest sees it as an ESR bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramCause {
    /// No instruction of the 440EP, or an invalid form.
    Illegal,
    /// A privileged instruction; the guest runs in problem state, so all of them arrive here.
    Privileged,
    /// `tw` or `twi` whose condition holds.
    Trap,
    /// An enabled floating-point exception, with FE0 or FE1 set.
    FloatingPoint,
}

/// Why the hardware gave control back to the KVM core.
///
/// Unless a variant says otherwise, `pc` is the address of the instruction that trapped, and that
/// instruction has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// The budget of instructions is used up; `pc` is the next one.
    Budget,
    /// An input changed or somebody asked for attention; `pc` is the next instruction.
    Attention,
    /// Program exception. `word` is the instruction.
    Program {
        /// The cause.
        cause: ProgramCause,
        /// The instruction word.
        word: u32,
    },
    /// `sc`; `pc` is the instruction after it.
    Syscall,
    /// A floating-point instruction while the guest's MSR\[FP\] is 0.
    FpUnavailable,
    /// A data access that the mapped translations do not allow or do not cover, or that the
    /// hardware leaves to the core: it crosses a page, or is misaligned where that matters.
    /// `word` is the instruction, `ea` the first byte of the access.
    Data {
        /// Effective address of the first byte.
        ea: u32,
        /// Load or store.
        access: Access,
        /// The instruction word.
        word: u32,
    },
    /// No mapped translation allows the fetch at `pc`.
    Fetch,
}
