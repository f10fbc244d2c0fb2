//! Guests that nothing can move any more: a loop that does nothing with every interrupt off, or a
//! wait with every wake source off.
//!
//! Hardware would stay there for ever; [`Vcpu::set_hang_exits`] makes it an exit.

use ppc440_isa::regs::msr;
use ppc440_isa::{Insn, Word, decode};

use crate::hw::Hw;
use crate::timer::Requests;
use crate::uapi::{Exit, Stuck};
use crate::vcpu::{Resume, Vcpu};

/// Instructions that a loop which does nothing may have.
const LONGEST_LOOP: u32 = 8;

impl Vcpu {
    /// Whether a guest that nothing can move any more makes `run` return
    /// [`Exit::CannotGoOn`], and one that spins until a critical interrupt comes [`Exit::Wait`];
    /// otherwise it is run, or waits, as on hardware.
    pub fn set_hang_exits(&mut self, on: bool) {
        self.hang_exits = on;
    }

    /// What follows a slice that ended: an exit, if the guest does nothing and only an interrupt
    /// that it does not count on could make it do anything else.
    pub(crate) fn after_slice<H: Hw>(&mut self, hw: &mut H) -> Resume {
        let idle = self.hang_exits
            && self.regs.msr & msr::EE == 0
            && !self.debug_armed()
            && self.wake_deadline().is_none()
            && self.loops_idly(hw);
        if !idle {
            return Resume::Guest;
        }
        Resume::Host(
            self.deaf(Stuck::Spins)
                .unwrap_or(Exit::Wait { deadline: None }),
        )
    }

    /// The exit of a guest that stands still, with no timer to move it, unless an interrupt from
    /// outside could.
    pub(crate) fn deaf(&self, reason: Stuck) -> Option<Exit> {
        let deaf = self.hang_exits && self.regs.msr & (msr::EE | msr::CE) == 0;
        deaf.then_some(Exit::CannotGoOn {
            pc: self.regs.pc,
            reason,
        })
    }

    /// When a timer will next interrupt the guest as its MSR is, or reset it.
    pub(crate) fn wake_deadline(&self) -> Option<u64> {
        let non_critical = self.regs.msr & msr::EE != 0;
        let critical = self.regs.msr & msr::CE != 0;
        self.timer.deadline_of(Requests {
            decrementer: non_critical,
            fixed_interval: non_critical,
            watchdog: critical,
        })
    }

    /// Whether the instructions at `pc` lead back to `pc` and change nothing on their way.
    fn loops_idly<H: Hw>(&self, hw: &mut H) -> bool {
        let start = self.regs.pc;
        let mut pc = start;
        for _ in 0..LONGEST_LOOP {
            let Some(word) = self.instruction_at(hw, pc) else {
                return false;
            };
            let fields = Word(word);
            pc = match decode(word) {
                Some(Insn::B) if word & 1 == 0 => {
                    let distance = ((word & 0x03FF_FFFC) << 6).cast_signed() >> 6;
                    let base = if word & 2 == 0 { pc } else { 0 };
                    base.wrapping_add_signed(distance)
                }
                // The forms that hardware treats as hints: `mr rN,rN` and `ori rN,rN,0`.
                Some(Insn::Or)
                    if word & 1 == 0
                        && fields.rt() == fields.ra()
                        && fields.rt() == fields.rb() =>
                {
                    pc.wrapping_add(4)
                }
                Some(Insn::Ori) if word & 0xFFFF == 0 && fields.rt() == fields.ra() => {
                    pc.wrapping_add(4)
                }
                _ => return false,
            };
            if pc == start {
                return true;
            }
        }
        false
    }
}
