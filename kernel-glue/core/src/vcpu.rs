//! The vcpu: its state, its loop, and what its owner may read and set.

use ppc440_isa::regs::msr;
use ppc440_isa::tlb::{ENTRIES, Tlbe};
use ppc440_isa::{Access, NoSupervisor, Regs, Scratch, Trap};

use crate::delay::Delay;
use crate::hw::Hw;
use crate::interrupt_log::InterruptLog;
use crate::memory::{Slot, SlotError};
use crate::sprs::Sprs;
use crate::state::{InFlight, Interrupt, Pending, State};
use crate::stats::{Cause, Stats, Timing};
use crate::stops::Stepping;
use crate::system::{Progress, System, context};
use crate::timer::{Timer, TimerState};
use crate::tlb::{Context, permits};
use crate::uapi::{Exit, ResetKind, Stuck};

/// What follows a trap.
#[derive(Debug)]
pub(crate) enum Resume {
    /// The guest goes on.
    Guest,
    /// `run` returns.
    Host(Exit),
}

/// Instructions after which a guest is looked at for a hang, where time asks for no earlier look.
const HANG_SLICE: u32 = 1 << 24;

/// One guest CPU.
#[derive(Debug)]
pub struct Vcpu {
    /// The registers that problem state can reach, `pc` and the MSR. Free to change between runs.
    pub regs: Regs,
    pub(crate) system: System,
    pub(crate) timer: Timer,
    pub(crate) pending: Pending,
    pub(crate) in_flight: InFlight,
    pub(crate) exit_pc: u32,
    /// What the hardware holds may be out of date: slots or entries were set from outside.
    pub(crate) spaces_stale: bool,
    /// The count of retired instructions at which time must be looked at again.
    pub(crate) slice_end: u64,
    /// An ICMP debug event is due once the access in flight is complete.
    pub(crate) icmp_due: bool,
    pub(crate) unknown_sprs: UnknownSprs,
    /// A guest that nothing can move makes `run` return.
    pub(crate) hang_exits: bool,
    timing: Timing,
    timed: bool,
    /// The one instruction that a debugger wants to have run.
    pub(crate) stepping: Stepping,
    pub(crate) delay: Delay,
}

/// SPR numbers that exist in no 440 and that the guest's supervisor used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnknownSprs {
    seen: [u32; 32],
    fresh: Option<u16>,
}

impl UnknownSprs {
    pub fn record(&mut self, spr: u16) {
        let word = &mut self.seen[usize::from(spr >> 5 & 31)];
        let bit = 1 << (spr & 31);
        if *word & bit == 0 {
            *word |= bit;
            self.fresh = Some(spr);
        }
    }
}

/// The place where an effective address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Guest-physical address.
    pub gpa: u64,
    /// The TLB entry.
    pub index: usize,
    /// Loads are allowed.
    pub read: bool,
    /// Stores are allowed.
    pub write: bool,
    /// Fetches are allowed.
    pub execute: bool,
    /// The page is little-endian.
    pub little_endian: bool,
}

impl Vcpu {
    /// A CPU with processor version `pvr`, all else 0, and an empty TLB.
    ///
    /// The manual leaves nearly every register open at reset. Its hidden page at 0xFFFFF000 is
    /// not there: who wants to start at the reset vector sets an entry for it, and `regs.pc`.
    pub fn new(pvr: u32) -> Self {
        Vcpu {
            regs: Regs::default(),
            system: System::new(pvr),
            timer: Timer::default(),
            pending: Pending::default(),
            in_flight: InFlight::None,
            exit_pc: 0,
            spaces_stale: true,
            slice_end: 0,
            icmp_due: false,
            unknown_sprs: UnknownSprs {
                seen: [0; 32],
                fresh: None,
            },
            hang_exits: false,
            timing: Timing::default(),
            timed: false,
            stepping: Stepping::default(),
            delay: Delay::default(),
        }
    }

    /// Runs the guest until something needs the caller; an access that exited before is completed
    /// first, with what [`Vcpu::complete`] gave.
    pub fn run<H: Hw>(&mut self, hw: &mut H) -> Exit {
        if self.spaces_stale {
            self.system.mmu.drop_spaces(hw);
            self.spaces_stale = false;
            self.system.mode = None;
        }
        self.slice_end = 0;
        if let Some(exit) = self.finish_in_flight(hw) {
            return exit;
        }
        if core::mem::take(&mut self.icmp_due) {
            self.debug_completed(hw);
        }
        loop {
            let pins = hw.pins();
            if pins.kick {
                self.system.stats.sig += 1;
                self.system.cause = Cause::Signal;
                return Exit::Interrupted;
            }
            if hw.retired() >= self.slice_end
                && let Some(exit) = self.look_at_time(hw)
            {
                return exit;
            }
            if !self.stepping.is_on() {
                self.deliver(pins);
            } else if let Some(exit) = self.stepped(hw) {
                return exit;
            }
            if self.regs.msr & msr::WE != 0 {
                if let Some(exit) = self.look_at_time(hw) {
                    return exit;
                }
                self.deliver(pins);
                if self.regs.msr & msr::WE != 0 {
                    return self.wait();
                }
            }
            if self.stepping.is_on() {
                self.slice_end = hw.retired() + 1;
            }
            self.system.select(hw, &self.regs);
            let resume = if self.debug_armed() || self.strict_alignment() {
                self.regs.system_call = 0;
                self.step_watched(hw)
            } else {
                self.regs.system_call = self.system.vector(Interrupt::SystemCall);
                self.enter(hw)
            };
            if let Resume::Host(exit) = resume {
                return exit;
            }
        }
    }

    /// One entry into the guest and its trap, if that is not dealt with on the way.
    #[inline]
    fn enter<H: Hw>(&mut self, hw: &mut H) -> Resume {
        let left = self.slice_end.saturating_sub(hw.retired());
        let budget = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        self.entering(hw);
        let trap = hw.enter(&mut self.regs, budget, &mut self.system);
        self.entered(hw);
        self.handle(hw, trap)
    }

    /// Runs one instruction, whose trap comes back whatever it is.
    pub(crate) fn step<H: Hw>(&mut self, hw: &mut H) -> Trap {
        self.entering(hw);
        let trap = hw.enter(&mut self.regs, 1, &mut NoSupervisor);
        self.entered(hw);
        trap
    }

    #[inline]
    fn entering<H: Hw>(&mut self, hw: &H) {
        self.system.stats.entries += 1;
        if self.timed {
            self.timing.mark(self.system.cause, hw.stopwatch());
        }
    }

    #[inline]
    fn entered<H: Hw>(&mut self, hw: &mut H) {
        if self.timed {
            self.timing.mark(Cause::InGuest, hw.stopwatch());
            self.system.cause = Cause::ExtInt;
        }
        self.system.take_over(hw, &mut self.regs);
    }

    /// Has the hardware execute one instruction, see [`Hw::execute`].
    pub(crate) fn execute<H: Hw>(&mut self, hw: &mut H, word: u32) -> Option<Trap> {
        let trap = hw.execute(&mut self.regs, word);
        self.system.take_over(hw, &mut self.regs);
        trap
    }

    /// Brings the timers up to now and says how long the guest may run unobserved.
    fn look_at_time<H: Hw>(&mut self, hw: &mut H) -> Option<Exit> {
        self.timer.advance(hw.time_base());
        if let Some(reset) = self.take_watchdog_reset() {
            return Some(reset);
        }
        let mut budget = hw.budget(self.timer.next_deadline()).max(1);
        if self.hang_exits {
            budget = budget.min(HANG_SLICE);
        }
        self.slice_end = hw.retired().saturating_add(u64::from(budget));
        None
    }

    fn wait(&mut self) -> Exit {
        self.system.waited = true;
        self.system.stats.halt += 1;
        self.system.cause = Cause::EmulWait;
        let deadline = self.wake_deadline();
        match deadline {
            None => self
                .deaf(Stuck::WaitsDeaf)
                .unwrap_or(Exit::Wait { deadline }),
            Some(_) => Exit::Wait { deadline },
        }
    }

    /// What a reset does to the core: MSR 0, TCR\[WRC\] and TCR\[ARE\] 0, DBSR\[MRR\] the kind,
    /// `pc` the reset vector, nothing pending, and an empty TLB. What loads and maps the first
    /// code is the caller's.
    pub fn reset<H: Hw>(&mut self, hw: &H, kind: ResetKind) {
        self.regs.msr = 0;
        self.regs.pc = 0xFFFF_FFFC;
        self.regs.reservation = false;
        self.system.sprs.reset(kind);
        self.timer.reset(hw.time_base());
        self.pending = Pending::default();
        self.in_flight = InFlight::None;
        self.icmp_due = false;
        self.system.waited = false;
        self.system.progress = Progress::default();
        self.system.log = InterruptLog::default();
        for index in 0..ENTRIES {
            self.set_tlb(index, Tlbe::default());
        }
    }

    /// Makes a range of guest-physical memory RAM.
    ///
    /// # Errors
    /// A slot that is misaligned, out of range, overlaps another, or is one too many.
    pub fn add_slot(&mut self, slot: Slot) -> Result<(), SlotError> {
        self.system.slots.add(slot)?;
        self.spaces_stale = true;
        Ok(())
    }

    /// Removes the slot that starts at `gpa`, and every translation with it; `None` when there is
    /// no such slot.
    pub fn remove_slot(&mut self, gpa: u64) -> Option<Slot> {
        self.spaces_stale = true;
        self.system.slots.remove(gpa)
    }

    /// The slots, in no order.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.system.slots.iter()
    }

    /// The supervisor registers.
    pub fn sprs(&self) -> &Sprs {
        &self.system.sprs
    }

    /// Replaces the supervisor registers; bits that do not exist are dropped. Timers that this
    /// stops or lets go on (DBCR0\[FT\]) do so now.
    pub fn set_sprs<H: Hw>(&mut self, hw: &H, sprs: &Sprs) {
        self.system.sprs = *sprs;
        self.system.sprs.ivpr &= 0xFFFF_0000;
        self.system
            .sprs
            .ivor
            .iter_mut()
            .for_each(|ivor| *ivor &= 0xFFF0);
        self.debug_control_changed(hw);
    }

    /// The guest TLB.
    pub fn tlb(&self) -> &[Tlbe; ENTRIES] {
        self.system.mmu.entries()
    }

    /// Replaces entry `index`, of which the low six bits count.
    pub fn set_tlb(&mut self, index: usize, entry: Tlbe) {
        self.system.mmu.replace(index % ENTRIES, entry);
        self.spaces_stale = true;
    }

    /// The timers as they are now.
    pub fn timers<H: Hw>(&mut self, hw: &H) -> TimerState {
        self.timer.advance(hw.time_base());
        self.timer.state()
    }

    /// Replaces the timers; they count on from now.
    pub fn set_timers<H: Hw>(&mut self, hw: &H, timers: TimerState) {
        self.timer.set_state(timers, hw.time_base());
    }

    /// All that the guest can tell.
    pub fn state<H: Hw>(&mut self, hw: &H) -> State {
        State {
            // What waits, and where a call goes, is for the next run to see; the rest is nobody's.
            regs: Regs {
                masked: false,
                system_call: 0,
                scratch: Scratch::default(),
                ..self.regs
            },
            sprs: self.system.sprs,
            timers: self.timers(hw),
            tlb: *self.system.mmu.entries(),
            pending: self.pending,
            in_flight: self.in_flight.clone(),
        }
    }

    /// Becomes the CPU that `state` was taken of; slots stay.
    pub fn set_state<H: Hw>(&mut self, hw: &H, state: &State) {
        self.regs = state.regs;
        self.regs.mmucr &= ppc440_isa::regs::mmucr::IMPLEMENTED;
        self.set_sprs(hw, &state.sprs);
        self.set_timers(hw, state.timers);
        for (index, entry) in state.tlb.iter().enumerate() {
            self.set_tlb(index, *entry);
        }
        self.pending = state.pending;
        self.in_flight = state.in_flight.clone();
        self.system.progress = Progress::default();
        self.icmp_due = false;
    }

    /// Where `ea` leads for the guest as it is now: its PID, privilege, and MSR\[IS\] for a fetch
    /// or MSR\[DS\]; `None` when no entry matches. Permissions are reported, not checked.
    pub fn translate(&self, ea: u32, access: Access) -> Option<Translation> {
        let space = if access == Access::Fetch {
            msr::IS
        } else {
            msr::DS
        };
        let Context { pid, ts, user } = context(&self.regs, space);
        self.translate_in(ea, pid, ts, user)
    }

    /// Where `ea` leads for PID `pid` in address space `ts`, with permissions of problem state
    /// (`user`) or supervisor state.
    pub fn translate_in(&self, ea: u32, pid: u8, ts: bool, user: bool) -> Option<Translation> {
        let index = self.system.mmu.lookup(ea, pid, ts)?;
        let entry = self.system.mmu.entry(index);
        Some(Translation {
            gpa: entry.real(ea),
            index,
            read: permits(entry, Access::Load, user),
            write: permits(entry, Access::Store, user),
            execute: permits(entry, Access::Fetch, user),
            little_endian: entry.word2.e(),
        })
    }

    /// The RAM offset of a guest-physical address; `None` when it is no RAM.
    pub fn ram_at(&self, gpa: u64) -> Option<u32> {
        self.system.slots.ram(gpa)
    }

    /// Address of the instruction that caused the last MMIO or DCR exit; `regs.pc` is past it.
    pub fn exit_pc(&self) -> u32 {
        self.exit_pc
    }

    /// Interrupt requests that wait.
    pub fn pending(&self) -> Pending {
        self.pending
    }

    /// Returns the interrupts that the guest took first since its reset, and those that it took last;
    /// system calls that the hardware took by itself are not among them.
    pub fn interrupt_log(&self) -> &InterruptLog {
        &self.system.log
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.system.stats
    }

    /// Time per cause, as far as [`Vcpu::set_timed`] had it measured.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Switches the measuring of time per cause on or off; on, each entry costs two looks at the
    /// host's clock.
    pub fn set_timed(&mut self, on: bool) {
        self.timed = on;
        self.timing.pause();
    }

    /// An SPR number that no 440 has and that the guest's supervisor used for the first time
    /// since the last call; for the log.
    pub fn take_unknown_spr(&mut self) -> Option<u16> {
        self.unknown_sprs.fresh.take()
    }
}
