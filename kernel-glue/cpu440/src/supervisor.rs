//! Asking whoever entered the CPU about a trap, while code runs.

use std::fmt;

use ppc440_isa::{Mapping, Mode, Regs, SpaceId, Spaces, Supervisor, Trap};

use crate::mmu::Mmu;

/// The supervisor of one entry.
pub(crate) struct Entry<'a> {
    supervisor: &'a mut dyn Supervisor,
    /// The count of completed instructions when the entry's are used up.
    end: u64,
}

/// How code goes on behind a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not: the CPU comes back with the trap.
    Trap,
    /// With the same instruction in the same place: translations were added, and nothing else has
    /// changed, the pinned range neither.
    Retry,
    /// At `pc`, in the spaces that are selected, and with nothing known of before.
    GoOn,
}

impl<'a> Entry<'a> {
    pub fn new(supervisor: &'a mut dyn Supervisor, end: u64) -> Self {
        Entry { supervisor, end }
    }

    /// Asks about `trap`, while `left` instructions may still run; what the supervisor completes is
    /// taken off.
    pub fn ask(&mut self, mmu: &mut Mmu, regs: &mut Regs, trap: Trap, left: &mut u32) -> Answer {
        let known = |regs: &Regs, mmu: &Mmu| {
            let spaces = (mmu.selected(), mmu.pinned_loads());
            (regs.pc, regs.msr, spaces)
        };
        let before = known(regs, mmu);
        let mut lent = Lent {
            mmu,
            retired: self.end.wrapping_sub(u64::from(*left)),
            removed: false,
        };
        let started = lent.retired;
        if !self.supervisor.trap(&mut lent, regs, trap) {
            return Answer::Trap;
        }
        let completed = lent.retired.wrapping_sub(started) as u32;
        *left = left.saturating_sub(completed);
        let same = known(regs, lent.mmu) == before;
        if same && completed == 0 && !lent.removed {
            Answer::Retry
        } else {
            Answer::GoOn
        }
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// What the supervisor may use of the CPU meanwhile.
struct Lent<'a> {
    mmu: &'a mut Mmu,
    retired: u64,
    /// A translation was removed.
    removed: bool,
}

impl Spaces for Lent<'_> {
    fn select(&mut self, mode: Mode, fetch: SpaceId, data: SpaceId) {
        self.mmu.select(mode, fetch, data);
    }

    fn map(&mut self, space: SpaceId, ea_wanted: u32, mapping: &Mapping) {
        self.mmu.map(space, ea_wanted, mapping);
    }

    fn unmap(&mut self, space: SpaceId, ea: u32, bytes: u32) {
        self.removed = true;
        self.mmu.unmap(space, ea, bytes);
    }

    fn clear(&mut self, space: SpaceId) {
        self.removed = true;
        self.mmu.clear(space);
    }

    fn retire(&mut self) {
        self.retired += 1;
    }

    fn retired(&self) -> u64 {
        self.retired
    }
}
