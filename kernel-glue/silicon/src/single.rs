//! One instruction apart from its page: from a page that no entry can hold (1 KB, little-endian, hidden
//! in part), in a mode that fetches from one space and loads from another, or because a debugger or
//! the guest's debug events want one at a time.
//!
//! The instruction is put into a page of the host's, which is mapped for fetches alone into the space
//! of the data, at any address that the instruction does not access; behind it is a trap. Only
//! branches know where they are, and those need no hardware.

use ppc440_isa::{ProgramCause, Regs, Trap};

use crate::branch::branch;
use crate::code::{SEATS, seat};
use crate::frames::Page;
use crate::port::Port;
use crate::shadow::{Held, Rights};
use crate::silicon::Silicon;
use crate::trap::Cause;

/// `trap`
const TRAP: u32 = 0x7FE0_0008;

/// The longest access, whose last byte may be in the page behind.
const LONGEST: u32 = 128;

impl<P: Port> Silicon<P> {
    /// Executes the one instruction at `regs.pc`. Otherwise a trap, or nothing if it must be tried again.
    pub(crate) fn step(&mut self, regs: &mut Regs) -> Result<(), Option<Trap>> {
        match self.word_at(regs.pc) {
            Some(word) => self.single(regs, word),
            None => Err(Some(Trap::Fetch)),
        }
    }

    /// Executes the one instruction `word` as if it were at `regs.pc`, as [`Silicon::step`] does.
    pub(crate) fn single(&mut self, regs: &mut Regs, word: u32) -> Result<(), Option<Trap>> {
        if branch(word, regs) {
            self.port.completed();
            self.count();
            return Ok(());
        }
        let index = self.take_seat(word);
        let pc = regs.pc;
        let start = seat(self.seat);
        regs.pc = start;
        let mut stop = self.turn(regs, self.data);
        let offset = regs.pc.wrapping_sub(start);
        regs.pc = pc.wrapping_add(offset);
        // What it holds is ours, and no code of the guest's.
        self.drop_entry(index);
        self.counts.single += 1;
        stop.word = Some(word);
        let cause = Cause::of(&stop);
        let behind = offset == 4;
        if behind && cause == Cause::Program(ProgramCause::Trap) {
            self.count();
            return Ok(());
        }
        match cause {
            // The page was taken between its entry's write and the fetch.
            Cause::FetchMiss if behind => {
                self.count();
                return Ok(());
            }
            Cause::FetchMiss => return Err(None),
            Cause::DataMiss { ea, .. } | Cause::DataRefused { ea, .. } if self.is_seated(ea) => {
                // The instruction accesses what is behind the scratch page.
                self.seat += 1;
                return Err(None);
            }
            _ => {}
        }
        match self.resolve(regs, &stop) {
            None if behind => {
                self.count();
                Ok(())
            }
            // It has the unit now, and not for longer than until the host is let in.
            None if cause == Cause::FpUnavailable => self.single(regs, word),
            trap => Err(trap),
        }
    }

    /// Whether an access at `ea` may meet the scratch page.
    fn is_seated(&self, ea: u32) -> bool {
        let start = seat(self.seat);
        ea.wrapping_sub(start - LONGEST) < 4096 + LONGEST
    }

    /// Maps the scratch page, with the instruction and a trap in it.
    fn take_seat(&mut self, word: u32) -> u8 {
        let frame = self.port.scratch([word, TRAP]);
        // Where nothing of the guest's must go for it, if there is such a place.
        for _ in 0..SEATS {
            let first = seat(self.seat);
            if self.shadow.find(self.data, first).is_none() {
                break;
            }
            self.seat += 1;
        }
        let page = Page {
            ea: seat(self.seat),
            size: 1,
            ram: 0,
            real: frame.page,
        };
        let rights = Rights {
            read: false,
            write: false,
            execute: true,
            cached: true,
        };
        self.code.seated();
        self.give(Held::new(self.data, page, rights))
    }
}
