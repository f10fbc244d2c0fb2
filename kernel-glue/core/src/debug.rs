//! Debug events as far as Linux uses them: instruction and data address compares, single steps,
//! taken branches and trap instructions (PPC440x5 user's manual, chapter 8).
//!
//! Nothing here costs anything until the guest sets DBCR0\[IDM\], MSR\[DE\] and an event. Then
//! each instruction is fetched and looked at by the core before the hardware executes it. Events
//! while MSR\[DE\] is 0 are not recorded: hardware would set DBSR\[IDE\] for them.

use ppc440_isa::regs::{dbcr0, msr};
use ppc440_isa::{Access, Regs};

use crate::access::{MemOp, Special, branch_taken};
use crate::hw::Hw;
use crate::mmio::alignment_required;
use crate::state::Interrupt;
use crate::stats::Cause;
use crate::system::{System, context};
use crate::tlb::permits;
use crate::vcpu::{Resume, Vcpu};

/// The events that the core knows, at their bits in DBCR0 and DBSR.
const EVENTS: u32 = dbcr0::ICMP
    | dbcr0::BRT
    | dbcr0::TRAP
    | IAC
    | dbcr0::DAC1R
    | dbcr0::DAC1W
    | dbcr0::DAC2R
    | dbcr0::DAC2W;

const IAC: u32 = dbcr0::IAC1 | dbcr0::IAC2 | dbcr0::IAC3 | dbcr0::IAC4;

/// How two compare registers work together (DBCR1\[IAC12M, IAC34M\], DBCR2\[DAC12M\]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    /// Each for itself.
    Exact,
    /// The second is a mask of the bits that count; data only.
    Mask,
    /// From the first up to, not including, the second.
    Inside,
    /// Below the first, or from the second on.
    Outside,
}

impl Pair {
    fn from_code(code: u32) -> Self {
        match code & 3 {
            0 => Pair::Exact,
            1 => Pair::Mask,
            2 => Pair::Inside,
            _ => Pair::Outside,
        }
    }

    /// Whether any byte of `first..=last` meets compare register `n` of the pair.
    fn meets(self, pair: [u32; 2], n: usize, first: u32, last: u32) -> bool {
        match self {
            Pair::Exact => (first..=last).contains(&pair[n]),
            Pair::Mask => (first ^ pair[0]) & pair[1] == 0,
            Pair::Inside => first < pair[1] && last >= pair[0],
            Pair::Outside => first < pair[0] || last >= pair[1],
        }
    }
}

/// Whether a two-bit user/supervisor field admits the state: 0 any, 2 supervisor, 3 user.
fn admits(field: u32, user: bool) -> bool {
    match field & 3 {
        2 => !user,
        3 => user,
        _ => true,
    }
}

impl System {
    /// Whether any debug event could cause an interrupt now.
    #[inline]
    pub fn debug_armed(&self, regs: &Regs) -> bool {
        self.sprs.dbcr0 & dbcr0::IDM != 0
            && regs.msr & msr::DE != 0
            && self.sprs.dbcr0 & EVENTS != 0
    }

    /// Whether a trap instruction is a debug event.
    pub fn debugs_traps(&self, regs: &Regs) -> bool {
        self.debug_armed(regs) && self.sprs.dbcr0 & dbcr0::TRAP != 0
    }
}

impl Vcpu {
    /// Whether any debug event could cause an interrupt now.
    #[inline]
    pub(crate) fn debug_armed(&self) -> bool {
        self.system.debug_armed(&self.regs)
    }

    /// Takes the debug interrupt for `events` in place of the instruction at `pc`.
    pub(crate) fn debug_stop<H: Hw>(&mut self, hw: &H, events: u32) -> Resume {
        self.system.stats.debug += 1;
        self.system.cause = Cause::Debug;
        let pc = self.regs.pc;
        self.take_debug(events, pc);
        self.debug_control_changed(hw);
        Resume::Guest
    }

    /// Takes the debug interrupt for a completed instruction, if that is asked for.
    pub(crate) fn debug_completed<H: Hw>(&mut self, hw: &H) {
        if self.debug_armed() && self.system.sprs.dbcr0 & dbcr0::ICMP != 0 {
            self.debug_stop(hw, dbcr0::ICMP);
        }
    }

    /// Runs one instruction, with the events before and after it. Alignment may be all that it is
    /// looked at for: events count only while they can cause an interrupt.
    pub(crate) fn step_watched<H: Hw>(&mut self, hw: &mut H) -> Resume {
        if let Some(exit) = self.breakpoint(hw) {
            return Resume::Host(exit);
        }
        let armed = self.debug_armed();
        if armed {
            let compares = self.instruction_compares();
            if compares != 0 {
                return self.debug_stop(hw, compares);
            }
        }
        if self.strict_alignment()
            && let Some(op) = self.operation(hw)
            && !op.fp
            && matches!(
                op.special,
                Special::Plain | Special::Reserve | Special::Conditional
            )
            && op.is_misaligned()
            && self.is_allowed(&op)
        {
            return self.data_fault(hw, Interrupt::Alignment, op.ea, op.store, false);
        }
        if armed {
            let events = self.data_and_branch_events(hw);
            if events != 0 {
                return self.debug_stop(hw, events);
            }
        }
        let before = hw.retired();
        let (interrupts, calls) = (self.interrupts_taken(), self.system.stats.sysc);
        let trap = self.step(hw);
        let resume = self.handle(hw, trap);
        let completed = hw.retired() != before
            && self.interrupts_taken() == interrupts
            && self.system.stats.sysc == calls;
        if completed {
            match resume {
                Resume::Guest => self.debug_completed(hw),
                Resume::Host(_) => self.icmp_due = true,
            }
        }
        resume
    }

    /// Synchronous interrupts other than system calls, counted.
    fn interrupts_taken(&self) -> u64 {
        let stats = &self.system.stats;
        stats.itlb_r
            + stats.dtlb_r
            + stats.isi
            + stats.dsi
            + stats.align
            + stats.prog
            + stats.fp_unavail
            + stats.mcheck
            + stats.debug
    }

    /// IAC events of the instruction at `pc`.
    fn instruction_compares(&self) -> u32 {
        let sprs = &self.system.sprs;
        if sprs.dbcr0 & IAC == 0 {
            return 0;
        }
        let (pc, user) = (self.regs.pc, self.regs.msr & msr::PR != 0);
        let mut events = 0;
        for n in 0..4 {
            // IAC1US, IAC2US at bits 0 and 4; IAC3US, IAC4US at bits 16 and 20; IAC12M at bit 8,
            // IAC34M at bit 24.
            let half = n / 2;
            let field = sprs.dbcr1 >> (30 - 16 * half - 4 * (n % 2));
            let pair = Pair::from_code(sprs.dbcr1 >> (22 - 16 * half));
            let bit = dbcr0::IAC1 >> n;
            let registers = [sprs.iac[2 * half], sprs.iac[2 * half + 1]];
            if sprs.dbcr0 & bit != 0 && admits(field, user) && pair.meets(registers, n % 2, pc, pc)
            {
                events |= bit;
            }
        }
        events
    }

    /// The access that the instruction at `pc` makes.
    fn operation<H: Hw>(&self, hw: &mut H) -> Option<MemOp> {
        let op = MemOp::of(self.instruction_at(hw, self.regs.pc)?, &self.regs)?;
        (op.len != 0).then_some(op)
    }

    /// Whether an access is translated and permitted: misses and storage faults go first.
    fn is_allowed(&self, op: &MemOp) -> bool {
        let access = if op.store {
            Access::Store
        } else {
            Access::Load
        };
        let context = context(&self.regs, msr::DS);
        let last = op.ea.wrapping_add(u32::from(op.len) - 1);
        [op.ea, last].iter().all(|&ea| {
            self.system
                .mmu
                .lookup(ea, context.pid, context.ts)
                .is_some_and(|index| permits(self.system.mmu.entry(index), access, context.user))
        })
    }

    /// Whether an access that is allowed is an Alignment interrupt, which goes before its compares.
    fn is_refused_alignment(&self, op: &MemOp) -> bool {
        let context = context(&self.regs, msr::DS);
        let uncached = self
            .system
            .mmu
            .lookup(op.ea, context.pid, context.ts)
            .is_some_and(|index| {
                let word2 = self.system.mmu.entry(index).word2;
                word2.w() || word2.i()
            });
        alignment_required(op, self.strict_alignment(), uncached)
    }

    /// BRT and DAC events of the instruction at `pc`; none when it cannot be fetched, or when
    /// its access would fault: faults go first.
    fn data_and_branch_events<H: Hw>(&mut self, hw: &mut H) -> u32 {
        let watched = EVENTS & !(IAC | dbcr0::ICMP | dbcr0::TRAP);
        if self.system.sprs.dbcr0 & watched == 0 {
            return 0;
        }
        let Some(word) = self.instruction_at(hw, self.regs.pc) else {
            return 0;
        };
        if self.system.sprs.dbcr0 & dbcr0::BRT != 0 && branch_taken(word, &self.regs) {
            return dbcr0::BRT;
        }
        match MemOp::of(word, &self.regs) {
            Some(op) if op.len != 0 => self.data_compares(&op),
            _ => 0,
        }
    }

    fn data_compares(&self, op: &MemOp) -> u32 {
        let sprs = &self.system.sprs;
        if !self.is_allowed(op) || self.is_refused_alignment(op) {
            return 0;
        }
        let user = self.regs.msr & msr::PR != 0;
        let (first, last) = (op.ea, op.ea.saturating_add(u32::from(op.len) - 1));
        let pair = Pair::from_code(sprs.dbcr2 >> 22);
        let mut events = 0;
        for n in 0..2 {
            let enable = if op.store { dbcr0::DAC1W } else { dbcr0::DAC1R } >> (2 * n);
            if sprs.dbcr0 & enable != 0
                && admits(sprs.dbcr2 >> (30 - 4 * n), user)
                && pair.meets(sprs.dac, n, first, last)
            {
                events |= enable;
            }
        }
        events
    }
}
