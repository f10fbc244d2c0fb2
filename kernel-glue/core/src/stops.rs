//! Where a debugger wants the guest to stop: breakpoints, watchpoints and single steps of its own,
//! apart from the guest's debug registers and without a word in the guest's memory.
//!
//! The hardware is never given a translation that would let it fetch from a page with a breakpoint,
//! or access a page with a watchpoint. What happens on such a page traps, and the core, which
//! executes the instruction in the hardware's place, looks. All other pages run as ever, and with
//! nothing armed nothing is looked at.

use ppc440_isa::Mapping;

use crate::hw::HW_PAGE;

/// Breakpoints that can be armed together.
pub const BREAKPOINTS: usize = 64;

/// Watchpoints that can be armed together.
pub const WATCHPOINTS: usize = 16;

/// Where a breakpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// At an effective address, in whatever address space.
    Effective(u32),
    /// At a guest-physical address, however it is mapped.
    Physical(u64),
}

/// Which accesses a watchpoint watches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFor {
    /// Loads.
    Loads,
    /// Stores, and cache operations that count as such.
    Stores,
    /// Both.
    Both,
}

impl WatchFor {
    pub(crate) fn loads(self) -> bool {
        self != WatchFor::Stores
    }

    pub(crate) fn stores(self) -> bool {
        self != WatchFor::Loads
    }
}

/// Why the guest stands where a debugger wants it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The instruction at `pc` has a breakpoint.
    Breakpoint,
    /// The instruction at `pc` is about to access what is watched.
    Watchpoint {
        /// First effective address of the watched range.
        ea: u32,
        /// What it was watched for.
        kind: WatchFor,
    },
    /// The instruction that was asked for has completed.
    Stepped,
}

/// A breakpoint or watchpoint was refused: all are in use, or the watched range is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopRefused;

impl core::fmt::Display for StopRefused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "refused: at most {BREAKPOINTS} breakpoints and {WATCHPOINTS} watchpoints of 1 to \
             {HW_PAGE} bytes can be armed; remove one, or watch less"
        )
    }
}

impl core::error::Error for StopRefused {}

/// A range of effective addresses whose accesses a debugger wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watchpoint {
    pub first: u32,
    pub last: u32,
    pub kind: WatchFor,
}

/// What is armed.
#[derive(Clone, Debug)]
pub(crate) struct Stops {
    pub breakpoints: [Option<Where>; BREAKPOINTS],
    pub watchpoints: [Option<Watchpoint>; WATCHPOINTS],
    pub armed: usize,
    /// Retired instructions and pc where the guest goes on: nothing stops it there again.
    pub passed: Option<(u64, u32)>,
}

impl Default for Stops {
    fn default() -> Self {
        Stops {
            breakpoints: [None; BREAKPOINTS],
            watchpoints: [None; WATCHPOINTS],
            armed: 0,
            passed: None,
        }
    }
}

/// The first address of the page that an address is in.
fn page_of(address: u32) -> u32 {
    address & !(HW_PAGE - 1)
}

impl Stops {
    /// Whether nothing is armed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Makes of a mapping, whose first byte is at `gpa`, the part around `page` that has nothing
    /// armed; or, where `page` has, that page without the accesses that are looked for.
    pub fn restrict(&self, mapping: &mut Mapping, gpa: u64, page: u32) {
        let whole = *mapping;
        // Offsets into the mapping, in which nothing wraps round.
        let (mut start, mut end) = (0, whole.bytes);
        let wanted = page.wrapping_sub(whole.ea);
        let (mut read, mut write, mut execute) = (true, true, true);
        let mut cut = |offset: u32| {
            if offset < wanted {
                start = start.max(offset + HW_PAGE);
            } else if offset > wanted {
                end = end.min(offset);
            }
            offset == wanted
        };
        for place in self.breakpoints.iter().flatten() {
            let offset = match *place {
                Where::Effective(ea) => u64::from(page_of(ea).wrapping_sub(whole.ea)),
                Where::Physical(at) => (at & !u64::from(HW_PAGE - 1)).wrapping_sub(gpa),
            };
            if offset < u64::from(whole.bytes) && cut(offset as u32) {
                execute = false;
            }
        }
        for watchpoint in self.watchpoints.iter().flatten() {
            let pages = (page_of(watchpoint.first)..=page_of(watchpoint.last)).step_by(4096);
            for ea in pages {
                let offset = ea.wrapping_sub(whole.ea);
                if offset < whole.bytes && cut(offset) {
                    read &= !watchpoint.kind.loads();
                    write &= !watchpoint.kind.stores();
                }
            }
        }
        if !(read && write && execute) {
            (start, end) = (wanted, wanted + HW_PAGE);
        }
        *mapping = Mapping {
            ea: whole.ea.wrapping_add(start),
            bytes: end - start,
            ram: whole.ram + start,
            read: whole.read && read,
            write: whole.write && write,
            execute: whole.execute && execute,
            cached: whole.cached,
        };
    }
}

/// A single step that a debugger asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stepping {
    pub wanted: bool,
    /// Retired instructions when the step began.
    pub from: Option<u64>,
}

impl Stepping {
    /// Whether one was asked for.
    #[inline]
    pub fn is_on(self) -> bool {
        self.wanted
    }
}
