//! Makes a guest on which two sides differ as small as it can be.

use ppc440_isa::Regs;
use ppc440_isa::tlb::{ENTRIES, Tlbe};
use ppc440_kvm::{Sprs, TimerState};

use super::guest::{Guest, Then};
use super::machine::Difference;
use crate::support::cases::{CR, CTR, FPR, FPSCR, GPR, LR, Registers, XER};
use crate::support::random::NOP;

/// The end of code in RAM; what is taken away before it becomes NOP, and after it 0.
const CODE_END: usize = 0x4000 / 4;

/// A guest and how its two sides differ.
struct Smallest<'a> {
    guest: Guest,
    found: Difference,
    difference: &'a dyn Fn(&Guest) -> Option<Difference>,
}

impl Smallest<'_> {
    /// Takes a smaller guest if its sides still differ.
    fn try_(&mut self, change: impl FnOnce(&mut Guest)) -> bool {
        let mut smaller = self.guest.clone();
        change(&mut smaller);
        match (self.difference)(&smaller) {
            Some(found) => {
                smaller.steps.truncate(found.step + 1);
                (self.guest, self.found) = (smaller, found);
                true
            }
            None => false,
        }
    }

    fn steps(&mut self) -> bool {
        let mut any = false;
        for n in (0..self.guest.steps.len()).rev() {
            if n >= self.guest.steps.len() {
                continue;
            }
            any |= self.try_(|guest| drop(guest.steps.remove(n)));
            if n < self.guest.steps.len() && !matches!(self.guest.steps[n].then, Then::Nothing) {
                any |= self.try_(|guest| guest.steps[n].then = Then::Nothing);
            }
        }
        // Two as one.
        for n in (1..self.guest.steps.len()).rev() {
            if n >= self.guest.steps.len() {
                continue;
            }
            any |= self.try_(|guest| {
                let before = guest.steps.remove(n - 1);
                guest.steps[n - 1].instructions += before.instructions;
            });
        }
        // Fewer instructions in each.
        for n in 0..self.guest.steps.len() {
            let mut less = self.guest.steps[n].instructions / 2;
            while less > 0 && n < self.guest.steps.len() {
                let now = self.guest.steps[n].instructions;
                if now > less && self.try_(|guest| guest.steps[n].instructions -= less) {
                    any = true;
                } else {
                    less /= 2;
                }
            }
        }
        any
    }

    fn cuts(&mut self) -> bool {
        for cuts in [vec![u32::MAX], vec![1]] {
            if self.guest.cuts == cuts {
                return false;
            }
            if self.try_(|guest| guest.cuts = cuts) {
                return true;
            }
        }
        false
    }

    /// Clears runs of words, long ones first.
    fn words(&mut self) -> bool {
        let nothing = |n: usize| if n < CODE_END { NOP } else { 0 };
        let mut any = false;
        let mut length = CODE_END;
        while length > 0 {
            let mut start = 0;
            while start < self.guest.words.len() {
                let end = (start + length).min(self.guest.words.len());
                let holds = |guest: &Guest| (start..end).any(|n| guest.words[n] != nothing(n));
                if holds(&self.guest) {
                    any |= self.try_(|guest| {
                        for n in start..end {
                            guest.words[n] = nothing(n);
                        }
                    });
                }
                start = end;
            }
            length /= 2;
        }
        any
    }

    fn entries(&mut self) -> bool {
        let mut any = false;
        for n in 0..ENTRIES {
            if self.guest.tlb[n] != Tlbe::default() {
                any |= self.try_(|guest| guest.tlb[n] = Tlbe::default());
            }
        }
        any
    }

    fn registers(&mut self) -> bool {
        let mut any = false;
        for index in (GPR..FPR).chain(FPR..CR).chain([CR, XER, LR, CTR, FPSCR]) {
            let mut registers = Registers::of(&self.guest.regs);
            if registers.0[index] != 0 {
                registers.0[index] = 0;
                let regs = Regs {
                    srr0: self.guest.regs.srr0,
                    srr1: self.guest.regs.srr1,
                    csrr0: self.guest.regs.csrr0,
                    csrr1: self.guest.regs.csrr1,
                    mmucr: self.guest.regs.mmucr,
                    pid: self.guest.regs.pid,
                    ..registers.regs()
                };
                any |= self.try_(|guest| guest.regs = regs);
            }
        }
        let changes: [fn(&mut Regs); 3] = [
            |regs| regs.mmucr = 0,
            |regs| regs.pid = 0,
            |regs| (regs.srr0, regs.srr1, regs.csrr0, regs.csrr1) = (0, 0, 0, 0),
        ];
        for change in changes {
            let mut regs = self.guest.regs;
            change(&mut regs);
            if regs != self.guest.regs {
                any |= self.try_(|guest| guest.regs = regs);
            }
        }
        for bit in (0..32).rev().map(|bit| 1 << bit) {
            if self.guest.regs.msr & bit != 0 {
                any |= self.try_(|guest| guest.regs.msr &= !bit);
            }
        }
        any
    }

    fn supervisor(&mut self) -> bool {
        let mut any = false;
        if self.guest.timers != TimerState::default() {
            any |= self.try_(|guest| guest.timers = TimerState::default())
                || self.guest.timers.tcr != 0 && self.try_(|guest| guest.timers.tcr = 0)
                || self.guest.timers.dec != 0 && self.try_(|guest| guest.timers.dec = 0);
        }
        let changes: [fn(&mut Sprs); 4] = [
            |sprs| sprs.dbcr0 = 0,
            |sprs| sprs.ccr0 = 0,
            |sprs| (sprs.mcsrr0, sprs.mcsrr1) = (0, 0),
            |sprs| (sprs.iac, sprs.dac) = Default::default(),
        ];
        for change in changes {
            let mut sprs = self.guest.sprs;
            change(&mut sprs);
            if sprs != self.guest.sprs {
                any |= self.try_(|guest| guest.sprs = sprs);
            }
        }
        any
    }
}

/// The smallest guest found that has a difference, and which.
pub fn smallest(
    guest: Guest,
    found: Difference,
    difference: &dyn Fn(&Guest) -> Option<Difference>,
) -> (Guest, Difference) {
    let mut smallest = Smallest {
        guest,
        found,
        difference,
    };
    let step = smallest.found.step;
    smallest.guest.steps.truncate(step + 1);
    loop {
        // Each on its own, so that all are tried.
        let any = [
            smallest.steps(),
            smallest.cuts(),
            smallest.words(),
            smallest.entries(),
            smallest.registers(),
            smallest.supervisor(),
        ];
        if !any.contains(&true) {
            return (smallest.guest, smallest.found);
        }
    }
}
