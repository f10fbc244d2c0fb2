//! From an interrupt that the 440 took to what it means.

use ppc440_isa::regs::esr;
use ppc440_isa::{Access, ProgramCause, Trap};

use crate::port::Stop;

/// Data storage.
const DATA_STORAGE: u8 = 2;
/// Instruction storage.
const INSTRUCTION_STORAGE: u8 = 3;
/// Alignment.
const ALIGNMENT: u8 = 5;
/// Program.
const PROGRAM: u8 = 6;
/// Floating point unavailable.
const FP_UNAVAILABLE: u8 = 7;
/// System call.
const SYSTEM_CALL: u8 = 8;
/// Auxiliary processor unavailable.
const AP_UNAVAILABLE: u8 = 9;
/// Data TLB error.
const DATA_TLB: u8 = 13;
/// Instruction TLB error.
const INSTRUCTION_TLB: u8 = 14;

/// What ended the guest's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No entry matches the address of a load or store.
    DataMiss { ea: u32, access: Access },
    /// An entry matches, and does not allow it; or it is not aligned.
    DataRefused { ea: u32, access: Access },
    /// No entry matches `pc`.
    FetchMiss,
    /// An instruction that problem state may not execute, or that traps.
    Program(ProgramCause),
    /// A floating-point instruction without the unit.
    FpUnavailable,
    /// What needs nothing but the number.
    Other(Trap),
    /// The host's own.
    Host,
}

impl Cause {
    /// The cause of a stop.
    pub fn of(stop: &Stop) -> Cause {
        let (ea, access) = (stop.dear, access(stop.esr));
        match stop.number {
            DATA_STORAGE | ALIGNMENT => Cause::DataRefused { ea, access },
            DATA_TLB => Cause::DataMiss { ea, access },
            INSTRUCTION_STORAGE => Cause::Other(Trap::Fetch),
            INSTRUCTION_TLB => Cause::FetchMiss,
            PROGRAM => Cause::Program(program(stop.esr)),
            // No processor but the FPU is there.
            AP_UNAVAILABLE => Cause::Program(ProgramCause::Illegal),
            FP_UNAVAILABLE => Cause::FpUnavailable,
            SYSTEM_CALL => Cause::Other(Trap::Syscall),
            _ => Cause::Host,
        }
    }
}

fn access(bits: u32) -> Access {
    match bits & esr::ST {
        0 => Access::Load,
        _ => Access::Store,
    }
}

fn program(bits: u32) -> ProgramCause {
    if bits & esr::PPR != 0 {
        ProgramCause::Privileged
    } else if bits & esr::PTR != 0 {
        ProgramCause::Trap
    } else if bits & esr::FP != 0 && bits & (esr::PIL | esr::PUO) == 0 {
        ProgramCause::FloatingPoint
    } else {
        ProgramCause::Illegal
    }
}

/// Whether an interrupt, by its number, is one of a data storage: then a `stwcx.` is known to have had a
/// reservation.
pub(crate) fn is_data_storage(number: u8) -> bool {
    number == DATA_STORAGE
}

/// `stwcx.`
pub(crate) fn is_conditional_store(word: u32) -> bool {
    word & 0xFC00_07FF == 0x7C00_012D
}

/// `lwarx`
pub(crate) fn is_reserving_load(word: u32) -> bool {
    word & 0xFC00_07FE == 0x7C00_0028
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppc440_isa::{Insn, decode};

    #[test]
    fn each_interrupt_is_what_its_syndrome_says() {
        use Cause::*;
        let (load, store) = (Access::Load, Access::Store);
        let ea = 0x1234;
        let table = [
            (0, 0, Host),
            (1, esr::MCI, Host),
            (2, 0, DataRefused { ea, access: load }),
            (2, esr::ST | esr::FP, DataRefused { ea, access: store }),
            (3, 0, Other(Trap::Fetch)),
            (4, 0, Host),
            (5, esr::ST, DataRefused { ea, access: store }),
            (6, esr::PIL, Program(ProgramCause::Illegal)),
            (6, esr::PUO | esr::FP, Program(ProgramCause::Illegal)),
            (6, esr::PPR, Program(ProgramCause::Privileged)),
            (6, esr::PTR, Program(ProgramCause::Trap)),
            (6, esr::FP, Program(ProgramCause::FloatingPoint)),
            (6, esr::FP | esr::PIE, Program(ProgramCause::FloatingPoint)),
            (7, 0, FpUnavailable),
            (8, 0, Other(Trap::Syscall)),
            (9, 0, Program(ProgramCause::Illegal)),
            (10, 0, Host),
            (11, 0, Host),
            (12, 0, Host),
            (13, 0, DataMiss { ea, access: load }),
            (13, esr::ST, DataMiss { ea, access: store }),
            (14, esr::ST, FetchMiss),
            (15, 0, Host),
        ];
        for (number, esr, cause) in table {
            let stop = Stop {
                number,
                esr,
                dear: ea,
                word: None,
            };
            assert_eq!(Cause::of(&stop), cause, "{number} {esr:x}");
        }
    }

    #[test]
    fn reservations_are_told_by_their_words() {
        for word in (0..1 << 16).map(|bits| 31 << 26 | 0x0123_0000 | bits) {
            let insn = decode(word);
            assert_eq!(
                is_conditional_store(word),
                insn == Some(Insn::Stwcx),
                "{word:x}"
            );
            assert_eq!(
                is_reserving_load(word),
                insn == Some(Insn::Lwarx),
                "{word:x}"
            );
        }
    }
}
