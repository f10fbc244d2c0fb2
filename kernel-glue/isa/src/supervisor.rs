//! What the hardware and the KVM core are to each other while guest code runs.

use crate::{Mapping, Mode, Regs, SpaceId, Trap};

/// The part of the hardware that the core may use while guest code runs, as well as between
/// entries: its translation spaces, and its count of instructions.
pub trait Spaces {
    /// Makes `fetch` the space of instruction fetches and `data` that of loads and stores: the
    /// guest is in `mode`. Until one of the two is cleared, the hardware may come back to them by
    /// itself when an instruction puts the guest into this mode again.
    fn select(&mut self, mode: Mode, fetch: SpaceId, data: SpaceId);

    /// Adds a translation to a space; the hardware may keep only the part around `ea_wanted`.
    fn map(&mut self, space: SpaceId, ea_wanted: u32, mapping: &Mapping);

    /// Removes from a space all that translates any of the `bytes` bytes at `ea`, at once.
    /// `ea` and `bytes` are multiples of 4096; `bytes` is at most 1 GiB.
    fn unmap(&mut self, space: SpaceId, ea: u32, bytes: u32);

    /// Empties a space.
    fn clear(&mut self, space: SpaceId);

    /// Counts one instruction that the core completed in the hardware's place.
    fn retire(&mut self);

    /// Instructions completed since the hardware was made; of hardware that does not count them, at
    /// least one more whenever `pc` shows that the guest got on.
    fn retired(&self) -> u64;

    /// Whether a translation of `ea` that was given to the space is still there. Hardware that keeps
    /// them until they are removed has no need to look.
    fn holds(&self, space: SpaceId, ea: u32) -> bool {
        let _ = (space, ea);
        true
    }

    /// Forgets what was cached of code: the guest said so (`iccci`). Hardware that sees every store to
    /// code has nothing to forget.
    fn forget_code(&mut self) {}
}

/// Whom hardware that can asks about a trap before it comes back with it.
pub trait Supervisor {
    /// Deals with a trap that needs neither time, nor pins, nor anybody outside.
    ///
    /// The registers, `pc` among them, are as [`Trap`] says, and [`Spaces::retired`] is exact.
    /// `true`: the guest goes on at `pc`, in the mode that MSR and PID make, whose spaces are
    /// selected; an instruction that the core completed was counted. `false`: the trap is as it
    /// was, and the hardware comes back with it; no more has happened than that what waited in the
    /// registers for a trap was made, TLB writes above all. [`Regs::scratch`] stays as it is, and FPSCR
    /// may lack the last operations.
    ///
    /// The answer is `true` only a few times in a row without a completed instruction between them.
    fn trap(&mut self, spaces: &mut dyn Spaces, regs: &mut Regs, trap: Trap) -> bool;
}

/// Deals with no trap: the hardware comes back with each.
#[derive(Clone, Copy, Debug)]
pub struct NoSupervisor;

impl Supervisor for NoSupervisor {
    fn trap(&mut self, _: &mut dyn Spaces, _: &mut Regs, _: Trap) -> bool {
        false
    }
}
