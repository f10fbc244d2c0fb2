//! The 440 underneath: what the core asks of silicon, or of a software CPU.

pub use ppc440_isa::{Mapping, SPACES, SpaceId, Spaces};
use ppc440_isa::{Regs, Supervisor, Trap};

/// The smallest page that the hardware can be given.
pub(crate) const HW_PAGE: u32 = 4096;

/// Levels of the core's interrupt inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Non-critical external input.
    pub external: bool,
    /// Critical input.
    pub critical: bool,
    /// Somebody asked that `run` returns; reading the pins takes the request.
    pub kick: bool,
}

/// A 440 that runs guest code in problem state: silicon, or the software CPU.
///
/// The hardware executes what problem state may execute, against the translations that the core
/// has mapped, and traps for the rest. It holds no guest supervisor state.
pub trait Hw: Spaces {
    /// Runs guest code at `regs.pc` for at most `budget` instructions (at least 1), and says why
    /// it stopped. The mode may be another one then, and TLB writes may wait in `regs`.
    /// Instructions that completed are counted in [`Spaces::retired`]; the one that
    /// trapped is not.
    ///
    /// Hardware that can asks `supervisor` about a trap first, and goes on when that has dealt with
    /// it: what was completed so is counted, and is part of the budget. It never asks about
    /// [`Trap::Budget`], and about [`Trap::Attention`] only if an instruction stopped because of
    /// what waits in `regs`, not for a pin. Other hardware comes back with every trap.
    fn enter(&mut self, regs: &mut Regs, budget: u32, supervisor: &mut dyn Supervisor) -> Trap;

    /// Executes the one instruction `word` as if it had been fetched at `regs.pc`; for code whose
    /// page the hardware cannot map. `None`: it completed, `pc` is advanced, and it was counted.
    fn execute(&mut self, regs: &mut Regs, word: u32) -> Option<Trap>;

    /// Reads guest RAM at byte offset `ram` of its mapping; `false`, with `bytes` untouched, when
    /// the range is not inside it.
    fn load(&mut self, ram: u32, bytes: &mut [u8]) -> bool;

    /// Writes guest RAM, as [`Hw::load`] reads it; code that was decoded from there is forgotten.
    fn store(&mut self, ram: u32, bytes: &[u8]) -> bool;

    /// The free-running time base, in ticks of the timer clock. Never goes back.
    fn time_base(&self) -> u64;

    /// How many instructions may run before the time base must be looked at again, given that
    /// something is due at `deadline` (`None`: nothing is). At least 1.
    fn budget(&self, deadline: Option<u64>) -> u32;

    /// Lets the time base run ahead by at most these ticks, because the guest does nothing but wait for
    /// it; silicon has no way to.
    fn run_ahead(&mut self, _ticks: u64) {}

    /// The input levels as they are now; takes a pending kick.
    fn pins(&mut self) -> Pins;

    /// Host time in nanoseconds from an arbitrary start, to charge time to causes.
    fn stopwatch(&self) -> u64;
}
