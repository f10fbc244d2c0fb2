//! A debugger's hand on a vcpu: what it arms, and where the guest stops for it.

use ppc440_isa::Access;

use crate::access::MemOp;
use crate::hw::{HW_PAGE, Hw};
use crate::stops::{Stepping, Stop, StopRefused, Stops, WatchFor, Watchpoint, Where};
use crate::uapi::Exit;
use crate::vcpu::Vcpu;

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
