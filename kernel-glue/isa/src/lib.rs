//! The PowerPC 440EP as its manual describes it: instructions, registers, TLB words and traps.
//!
//! Everything here is data and pure functions. The KVM core and the software CPU both build on
//! it, and neither defines a bit position of its own.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod context;
pub mod dcr;
mod decode;
pub mod disasm;
mod fields;
mod insn;
mod mapping;
mod operand;
mod pattern;
pub mod regs;
pub mod spr;
mod supervisor;
pub mod tlb;
mod trap;

pub use context::{Cr, Regs, SIGNS, Scratch, TlbWrite, TlbWrites, Xer};
pub use decode::{decode, invalid_form};
pub use fields::Word;
pub use insn::{Flags, Insn};
pub use mapping::{Mapping, Mode, SPACES, SpaceId};
pub use operand::Operand;
pub use supervisor::{NoSupervisor, Spaces, Supervisor};
pub use trap::{Access, ProgramCause, Trap};
