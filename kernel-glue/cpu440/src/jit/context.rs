//! What translated code, the functions that it calls and its caller give each other.

use super::blocks::Blocks;
use super::groups::WIDEST;
use super::interp_ops::InterpOps;
use super::status::UnsettledFpscr;
use super::window_backoff::WindowBackoff;
use crate::interp::Exec;
use crate::mmu::PinnedLoads;
use crate::supervisor::Entry;

/// What the functions that code calls return, besides 0 and [`stop`], when code goes on at `pc`, in the tables
/// that the context names, and with [`Context::done`] to be taken off.
pub(super) const RESUME_AT_PC: u32 = 0xFF;

/// Why translated code stopped; in `eax`, with a link's number above bit 8.
pub(super) mod stop {
    /// No code begins at `pc` yet.
    pub const MISS: u32 = 1;
    /// A jump that can lead to the block at `pc` directly.
    pub const LINK: u32 = 2;
    /// Fewer instructions may run than the block at `pc` has.
    pub const BUDGET: u32 = 3;
    /// A trap, in `Exec::trap`, that the supervisor does not deal with.
    pub const TRAP: u32 = 4;
    /// A store over translated or decoded code, `Exec::changed`; `pc` is behind it.
    pub const CODE_CHANGED: u32 = 5;
    /// A floating-point instruction while MSR\[FP\] is 0.
    pub const FP_UNAVAILABLE: u32 = 8;
    /// The core must look: at an interrupt that waited for MSR\[EE\], or at writes to the TLB; `pc` is
    /// behind the instruction that wants it.
    pub const ATTENTION: u32 = 9;
    /// XER\[SO\] became 1, which translated code does not look at; `pc` is behind the instruction.
    pub const SUMMARY: u32 = 10;
    /// An access to the window is to go by the tables from now on; `pc` is behind it.
    pub const BY_TABLES: u32 = 11;
}

/// What translated code and its caller give each other.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Context<'a> {
    /// Valid while translated code runs.
    pub exec: *mut Exec,
    /// The operations that run in the interpreter; valid as long.
    pub ops: *mut InterpOps,
    /// Whom traps are for; valid as long.
    pub entry: *mut Entry<'a>,
    /// What was translated; valid as long.
    pub blocks: *const Blocks,
    /// Which accesses go by the tables; valid as long.
    pub backoff: *mut WindowBackoff,
    /// Instructions that may run; afterwards those that were not, and so in the functions that
    /// translated code calls.
    pub budget: i32,
    /// Instructions that may run besides, once translated code has come back.
    pub rest: u32,
    /// The data space's tables.
    pub data: *const u8,
    /// Where code expects the pinned range to begin.
    pub pinned_start: u32,
    /// How much of the data space's pinned range loads may use; 0 when it is not where code expects it.
    pub pinned_bytes: u64,
    /// Where that range begins in the host.
    pub pinned_host: u64,
    /// The fetch space's table.
    pub fetch: *const u32,
    /// The tables of entries.
    pub entries: *const *const u32,
    /// Where the code memory begins.
    pub code: *const u8,
    /// Instructions completed that `budget` still counts.
    pub done: u32,
    /// Translated code looks at XER\[SO\].
    pub summary: bool,
    /// Some entry for stores leads to an uncached page.
    pub uncached: bool,
    /// Translated code does floating-point arithmetic or comparisons.
    pub uses_float: bool,
    /// What FPSCR lacks of the floating-point operations so far.
    pub unsettled: UnsettledFpscr,
}

impl Context<'_> {
    /// Lets loads use a pinned range, as far as one comparison covers all of a group.
    pub fn pin(&mut self, pinned: PinnedLoads) {
        let bytes = match pinned.start == self.pinned_start {
            true => pinned.bytes.saturating_sub(WIDEST as u32),
            false => 0,
        };
        (self.pinned_bytes, self.pinned_host) = (bytes.into(), pinned.host);
    }
}
