//! The interpreter: one function per instruction, run from predecoded blocks.
//!
//! It is the reference for every other tier. An operation reads its fields from the instruction
//! word; what can be computed once, a mask or a displacement, is in `imm`.
//!
//! While operations run, `pc` stands at the start of their page: operations need no `pc` of their
//! own, and the few that do (branches) have their offset in the page in `imm`.

mod branch;
mod float;
mod integer;
mod memory;
mod multiply;
mod predecode;
mod system;
mod thread;

use ppc440_isa::{Regs, Trap, Word, regs::msr};

use crate::mmu::Mmu;

pub(crate) use integer::rotate_mask;
pub(crate) use predecode::{goes_to_core, predecode};
pub(crate) use system::OWN_MSR;
use thread::Thread;
pub(crate) use thread::{BlockOps, PageOps, WORDS, run_one};

/// Does an operation, which changes registers and memory or traps and changes nothing; then those
/// behind it, until one stops.
type Handler = fn(&mut Exec, &mut Regs, Thread<'_>) -> Flow;

/// One predecoded instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    run: Handler,
    /// The immediate, mask or displacement, ready for use.
    imm: u32,
    /// The instruction.
    word: Word,
}

impl Op {
    /// What stands for a word that is not decoded.
    pub const UNDECODED: Op = Op {
        run: undecoded,
        imm: 0,
        word: Word(0),
    };
}

fn undecoded(exec: &mut Exec, _: &mut Regs, at: Thread<'_>) -> Flow {
    at.stop(exec, Flow::Undecoded)
}

/// How a block goes on after an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// With the next operation.
    Next,
    /// At `pc`: the operation was a branch.
    Jump,
    /// With the next operation, after [`Exec::changed`] has been invalidated.
    CodeChanged,
    /// With the same word, once it is decoded; the operation has done nothing.
    Undecoded,
    /// Not: the operation has changed nothing, and [`Exec::trap`] says why.
    Trap,
    /// Not: [`Exec::trap`] says why, and `pc` goes behind the operation.
    Call,
    /// Not, though the operation is complete: [`Exec::trap`] says why.
    Stop,
}

/// What operations work on, besides the registers.
#[derive(Debug)]
pub(crate) struct Exec {
    pub mmu: Mmu,
    /// Why the last operation that returned [`Flow::Trap`], [`Flow::Call`] or [`Flow::Stop`] stopped.
    pub trap: Trap,
    /// The RAM range, offset and length, of the last store over decoded code.
    pub changed: (u32, u32),
    /// Address of the operation that stopped last.
    stopped: usize,
}

impl Exec {
    pub fn new(mmu: Mmu) -> Self {
        Exec {
            mmu,
            trap: Trap::Budget,
            changed: (0, 0),
            stopped: 0,
        }
    }

    #[inline(always)]
    fn trap(&mut self, trap: Trap) -> Flow {
        self.trap = trap;
        Flow::Trap
    }

    #[cold]
    fn over_code(&mut self, ram: u32, bytes: u32) -> Flow {
        self.changed = (ram, bytes);
        Flow::CodeChanged
    }

    /// After a store of several units within one page.
    #[inline(always)]
    fn written(&mut self, ram: u32, bytes: u32) -> Flow {
        // A pinned range may hand out a line that ends in the next page only if it is misaligned,
        // and these accesses stay within one.
        if self.mmu.ram.watch().watched(ram) {
            self.over_code(ram, bytes)
        } else {
            Flow::Next
        }
    }

    /// Whether MSR[FP] allows a floating-point operation; the trap is set when it does not.
    #[inline(always)]
    fn float_available(&mut self, regs: &Regs) -> bool {
        if regs.msr & msr::FP == 0 {
            self.trap = Trap::FpUnavailable;
        }
        regs.msr & msr::FP != 0
    }
}
