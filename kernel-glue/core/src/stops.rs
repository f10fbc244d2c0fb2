//! Where a debugger wants the guest to stop: breakpoints, watchpoints and single steps of its own,
//! apart from the guest's debug registers and without a word in the guest's memory.
//!
//! The hardware is never given a translation that would let it fetch from a page with a breakpoint,
//! or access a page with a watchpoint. What happens on such a page traps, and the core, which
//! executes the instruction in the hardware's place, looks. All other pages run as ever, and with
//! nothing armed nothing is looked at.

use ppc440_isa::{Access, Mapping};

use crate::access::MemOp;
use crate::hw::Hw;
use crate::tlb::HW_PAGE;
use crate::uapi::Exit;
use crate::vcpu::Vcpu;

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
    fn loads(self) -> bool {
        self != WatchFor::Stores
    }

    fn stores(self) -> bool {
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
struct Watchpoint {
    first: u32,
    last: u32,
    kind: WatchFor,
}

/// What is armed.
#[derive(Clone, Debug)]
pub(crate) struct Stops {
    breakpoints: [Option<Where>; BREAKPOINTS],
    watchpoints: [Option<Watchpoint>; WATCHPOINTS],
    armed: usize,
    /// Retired instructions and pc where the guest goes on: nothing stops it there again.
    passed: Option<(u64, u32)>,
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
    wanted: bool,
    /// Retired instructions when the step began.
    from: Option<u64>,
}

impl Stepping {
    /// Whether one was asked for.
    #[inline]
    pub fn is_on(self) -> bool {
        self.wanted
    }
}

impl Vcpu {
    /// Has [`Vcpu::run`] return [`Stop::Breakpoint`] before the instruction at `place`. An address
    /// that has one already gets no second.
    ///
    /// # Errors
    /// One breakpoint too many.
    pub fn add_breakpoint(&mut self, place: Where) -> Result<(), StopRefused> {
        let stops = &mut self.system.mmu.stops;
        if stops.breakpoints.contains(&Some(place)) {
            return Ok(());
        }
        let free = stops.breakpoints.iter_mut().find(|slot| slot.is_none());
        *free.ok_or(StopRefused)? = Some(place);
        stops.armed += 1;
        self.spaces_stale = true;
        Ok(())
    }

    /// Removes the breakpoint at `place`; whether there was one.
    pub fn remove_breakpoint(&mut self, place: Where) -> bool {
        let stops = &mut self.system.mmu.stops;
        let found = stops
            .breakpoints
            .iter_mut()
            .find(|slot| **slot == Some(place));
        let Some(slot) = found else {
            return false;
        };
        *slot = None;
        stops.armed -= 1;
        self.spaces_stale = true;
        true
    }

    /// Has [`Vcpu::run`] return [`Stop::Watchpoint`] before an instruction that accesses any of
    /// the `bytes` bytes, at least 1, at effective address `ea`, in whatever address space. A
    /// range that would reach past the last address ends there.
    ///
    /// # Errors
    /// One watchpoint too many, or one that is longer than a page of 4096 bytes.
    pub fn add_watchpoint(
        &mut self,
        ea: u32,
        bytes: u32,
        kind: WatchFor,
    ) -> Result<(), StopRefused> {
        if bytes == 0 || bytes > HW_PAGE {
            return Err(StopRefused);
        }
        let (first, last) = (ea, ea.saturating_add(bytes - 1));
        let stops = &mut self.system.mmu.stops;
        let free = stops.watchpoints.iter_mut().find(|slot| slot.is_none());
        *free.ok_or(StopRefused)? = Some(Watchpoint { first, last, kind });
        stops.armed += 1;
        self.spaces_stale = true;
        Ok(())
    }

    /// Removes one watchpoint that was added with the same arguments; whether there was one.
    pub fn remove_watchpoint(&mut self, ea: u32, bytes: u32, kind: WatchFor) -> bool {
        let (first, last) = (ea, ea.saturating_add(bytes.saturating_sub(1)));
        let wanted = Some(Watchpoint { first, last, kind });
        let stops = &mut self.system.mmu.stops;
        let Some(slot) = stops.watchpoints.iter_mut().find(|slot| **slot == wanted) else {
            return false;
        };
        *slot = None;
        stops.armed -= 1;
        self.spaces_stale = true;
        true
    }

    /// Removes every breakpoint and watchpoint, and the wish for a step.
    pub fn remove_stops(&mut self) {
        if !self.system.mmu.stops.is_empty() {
            self.system.mmu.stops = Stops::default();
            self.spaces_stale = true;
        }
        self.stepping = Stepping::default();
    }

    /// Lets the instruction at `pc` run even if it is armed: the guest goes on from there.
    pub fn pass_stop<H: Hw>(&mut self, hw: &H) {
        self.system.mmu.stops.passed = Some((hw.retired(), self.regs.pc));
    }

    /// Has [`Vcpu::run`] return [`Stop::Stepped`] after the next instruction. No asynchronous
    /// interrupt is delivered before it, unless the guest waits for one; an instruction that is
    /// interrupted itself does not complete, and the first of its handler is the next.
    pub fn step_next(&mut self) {
        self.stepping = Stepping {
            wanted: true,
            from: None,
        };
    }

    /// The exit, once the instruction that was asked for has completed.
    #[cold]
    pub(crate) fn stepped<H: Hw>(&mut self, hw: &H) -> Option<Exit> {
        let retired = hw.retired();
        let from = *self.stepping.from.get_or_insert(retired);
        (from != retired).then(|| self.stop_at(Stop::Stepped))
    }

    /// Whether the guest goes on from here.
    fn is_passed<H: Hw>(&self, hw: &H) -> bool {
        self.system.mmu.stops.passed == Some((hw.retired(), self.regs.pc))
    }

    /// The exit if the instruction at `pc` has a breakpoint.
    pub(crate) fn breakpoint<H: Hw>(&mut self, hw: &H) -> Option<Exit> {
        let stops = &self.system.mmu.stops;
        if stops.is_empty() || self.is_passed(hw) {
            return None;
        }
        let pc = self.regs.pc;
        let gpa = self.translate(pc, Access::Fetch)?.gpa;
        let hit = stops
            .breakpoints
            .iter()
            .flatten()
            .any(|place| match *place {
                Where::Effective(ea) => ea == pc,
                Where::Physical(at) => at == gpa,
            });
        hit.then(|| self.stop_at(Stop::Breakpoint))
    }

    /// The exit if an access of the instruction at `pc` is watched for.
    pub(crate) fn watchpoint<H: Hw>(&mut self, hw: &H, op: &MemOp) -> Option<Exit> {
        let stops = &self.system.mmu.stops;
        if stops.is_empty() || op.len == 0 || self.is_passed(hw) {
            return None;
        }
        let (first, last) = (op.ea, op.ea.saturating_add(u32::from(op.len) - 1));
        let hit = stops.watchpoints.iter().flatten().find(|watchpoint| {
            let watched = match op.store {
                true => watchpoint.kind.stores(),
                false => watchpoint.kind.loads(),
            };
            watched && watchpoint.first <= last && watchpoint.last >= first
        })?;
        let (ea, kind) = (hit.first, hit.kind);
        Some(self.stop_at(Stop::Watchpoint { ea, kind }))
    }

    fn stop_at(&mut self, stop: Stop) -> Exit {
        self.stepping = Stepping::default();
        Exit::Debug(stop)
    }
}
