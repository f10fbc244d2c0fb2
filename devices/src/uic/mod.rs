//! The universal interrupt controller (UIC): 32 inputs, two outputs.
//!
//! [`Chip`] is the registers and nothing else. [`Uic`] puts it on a DCR bus, between wires. UIC1 is
//! cascaded by giving its outputs wires into inputs of UIC0.
//!
//! # The status of a level input is latched
//! SR keeps a level input's bit after the line fell, until software clears it; a clear while the
//! line is asserted has no effect. Linux counts on this: it clears a level input only after the
//! device's handler ran. A UIC whose SR follows the line, as QEMU's does, would satisfy Linux too,
//! but not software that polls SR for a short pulse.

pub mod regs;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bus::{AccessError, DcrDevice};
use crate::irq::{IrqLine, IrqSink};

/// The values that a snapshot of the UIC must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Status.
    pub sr: u32,
    /// Enable.
    pub er: u32,
    /// Critical.
    pub cr: u32,
    /// Polarity.
    pub pr: u32,
    /// Trigger.
    pub tr: u32,
    /// Vector configuration.
    pub vcr: u32,
    /// The electrical levels of the inputs. They belong to the wires: a reset keeps them.
    pub inputs: u32,
}

/// The UIC's registers and inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chip {
    state: State,
}

impl Chip {
    /// All registers 0, all inputs low.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Chip::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
        self.latch_levels();
    }

    /// Clears every register; the inputs keep the levels of their wires.
    pub fn reset(&mut self) {
        self.state = State {
            inputs: self.state.inputs,
            ..State::default()
        };
        self.latch_levels();
    }

    /// The electrical level of an input (0..=31) is now `level`.
    pub fn set_input(&mut self, input: u32, level: bool) {
        let state = &mut self.state;
        let before = state.inputs;
        if level {
            state.inputs |= regs::bit(input);
        } else {
            state.inputs &= !regs::bit(input);
        }
        let became_active = (before ^ state.inputs) & !(state.inputs ^ state.pr);
        state.sr |= became_active & state.tr;
        self.latch_levels();
    }

    /// The level inputs that are asserted now.
    fn asserted_levels(&self) -> u32 {
        !(self.state.inputs ^ self.state.pr) & !self.state.tr
    }

    fn latch_levels(&mut self) {
        self.state.sr |= self.asserted_levels();
    }

    /// MSR: the inputs that are pending and enabled.
    pub fn msr(&self) -> u32 {
        self.state.sr & self.state.er
    }

    /// The non-critical output.
    pub fn noncritical(&self) -> bool {
        self.msr() & !self.state.cr != 0
    }

    /// The critical output.
    pub fn critical(&self) -> bool {
        self.msr() & self.state.cr != 0
    }

    /// VR: the vector of the critical input with the highest priority, 0 when none is pending.
    pub fn vector(&self) -> u32 {
        let pending = self.msr() & self.state.cr;
        if pending == 0 {
            return 0;
        }
        let distance = if self.state.vcr & regs::VCR_PRO != 0 {
            pending.leading_zeros()
        } else {
            pending.trailing_zeros()
        };
        (self.state.vcr & regs::VCR_VBA).wrapping_add(distance * regs::VECTOR_STRIDE)
    }

    /// `mfdcr` at an offset from the UIC's base.
    pub fn read(&self, offset: u32) -> Result<u32, AccessError> {
        let state = &self.state;
        Ok(match offset {
            regs::SR | regs::SRS => state.sr,
            regs::ER => state.er,
            regs::CR => state.cr,
            regs::PR => state.pr,
            regs::TR => state.tr,
            regs::MSR => self.msr(),
            regs::VR => self.vector(),
            regs::VCR => state.vcr,
            _ => return Err(AccessError::NoRegister { offset }),
        })
    }

    /// `mtdcr` at an offset from the UIC's base; MSR and VR ignore it.
    pub fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        let state = &mut self.state;
        match offset {
            regs::SR => state.sr &= !value,
            regs::SRS => state.sr |= value,
            regs::ER => state.er = value,
            regs::CR => state.cr = value,
            regs::PR => state.pr = value,
            regs::TR => state.tr = value,
            regs::MSR | regs::VR => {}
            regs::VCR => state.vcr = value & (regs::VCR_VBA | regs::VCR_PRO),
            _ => return Err(AccessError::NoRegister { offset }),
        }
        self.latch_levels();
        Ok(())
    }
}

struct Attachment {
    /// Never held while an output is driven.
    chip: Mutex<Chip>,
    noncritical: IrqLine,
    critical: IrqLine,
}

impl Attachment {
    fn chip(&self) -> MutexGuard<'_, Chip> {
        self.chip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drive_outputs(&self) {
        self.noncritical.follow(|| self.chip().noncritical());
        self.critical.follow(|| self.chip().critical());
    }
}

impl IrqSink for Attachment {
    fn set(&self, input: u32, level: bool) {
        self.chip().set_input(input, level);
        self.drive_outputs();
    }
}

/// A UIC on a DCR bus, between wires; clones are the same UIC.
#[derive(Clone)]
pub struct Uic(Arc<Attachment>);

impl Uic {
    /// A UIC that drives these two outputs, both active high.
    pub fn new(noncritical: IrqLine, critical: IrqLine) -> Self {
        Uic(Arc::new(Attachment {
            chip: Mutex::new(Chip::new()),
            noncritical,
            critical,
        }))
    }

    /// A new wire to an input (0..=31) that devices drive high.
    pub fn line(&self, input: u32) -> IrqLine {
        IrqLine::to(self.sink(), input)
    }

    /// A new wire to an input (0..=31) that devices pull low, as PCI slots do.
    pub fn active_low_line(&self, input: u32) -> IrqLine {
        IrqLine::to_active_low(self.sink(), input)
    }

    /// The UIC as the end of wires.
    pub fn sink(&self) -> Arc<dyn IrqSink> {
        self.0.clone()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.0.chip().state()
    }

    /// Takes up a state that [`Uic::state`] returned, and drives the outputs accordingly.
    pub fn set_state(&self, state: State) {
        self.0.chip().set_state(state);
        self.0.drive_outputs();
    }
}

impl DcrDevice for Uic {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        self.0.chip().read(offset)
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        self.0.chip().write(offset, value)?;
        self.0.drive_outputs();
        Ok(())
    }

    fn reset(&mut self) {
        self.0.chip().reset();
        self.0.drive_outputs();
    }
}

#[cfg(test)]
mod tests;
