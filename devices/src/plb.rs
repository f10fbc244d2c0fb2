//! The processor local bus: its arbiters' control registers and its error registers.
//!
//! Nothing arbitrates here and no error is ever recorded: an access that nothing answers is a matter
//! for whoever drives the buses. The registers are what software that sets priorities reads back.

use crate::bus::{AccessError, DcrDevice};

/// The values that a snapshot of an arbiter must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArbiterState {
    /// Arbiter control.
    pub acr: u32,
}

/// One of the three arbiters PLB3A0, PLB4A0 and PLB4A1: ACR at +0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arbiter {
    state: ArbiterState,
}

impl Arbiter {
    /// An arbiter after a reset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> ArbiterState {
        self.state
    }

    /// Takes up a state that [`Arbiter::state`] returned.
    pub fn set_state(&mut self, state: ArbiterState) {
        self.state = state;
    }
}

impl DcrDevice for Arbiter {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        match offset {
            0 => Ok(self.state.acr),
            _ => Err(AccessError::NoRegister { offset }),
        }
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        match offset {
            0 => self.state.acr = value,
            _ => return Err(AccessError::NoRegister { offset }),
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.state = ArbiterState::default();
    }
}

/// PLB0: bus error status, write 1 to clear.
pub const BESR: u32 = 0;
/// PLB0: bus error address, read only.
pub const BEAR: u32 = 2;
/// PLB0: arbiter control.
pub const ACR: u32 = 3;

const ACR_MASK: u32 = 0xF800_0000;

/// The values that a snapshot of PLB0 must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Bus error status.
    pub besr: u32,
    /// Bus error address.
    pub bear: u32,
    /// Arbiter control.
    pub acr: u32,
}

/// PLB0, the bus's error registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plb {
    state: State,
}

impl Plb {
    /// PLB0 after a reset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Plb::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }
}

impl DcrDevice for Plb {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        Ok(match offset {
            BESR => self.state.besr,
            BEAR => self.state.bear,
            ACR => self.state.acr,
            _ => return Err(AccessError::NoRegister { offset }),
        })
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        match offset {
            BESR => self.state.besr &= !value,
            BEAR => {}
            ACR => self.state.acr = value & ACR_MASK,
            _ => return Err(AccessError::NoRegister { offset }),
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.state = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arbiter_keeps_what_it_is_told() {
        let mut arbiter = Arbiter::new();
        arbiter.write(0, 0xDEAD_BEEF).unwrap();
        assert_eq!(arbiter.read(0), Ok(0xDEAD_BEEF));
        assert_eq!(arbiter.read(1), Err(AccessError::NoRegister { offset: 1 }));
        assert!(arbiter.write(1, 0).is_err());
        arbiter.reset();
        assert_eq!(arbiter.state(), ArbiterState::default());
    }

    #[test]
    fn error_registers_clear_or_ignore_and_control_is_masked() {
        let mut plb = Plb::new();
        plb.set_state(State {
            besr: 0xFF00_0000,
            bear: 0x1234,
            acr: 0,
        });
        plb.write(BESR, 0xF000_0000).unwrap();
        plb.write(BEAR, 0).unwrap();
        plb.write(ACR, u32::MAX).unwrap();
        assert_eq!(plb.read(BESR), Ok(0x0F00_0000));
        assert_eq!(plb.read(BEAR), Ok(0x1234));
        assert_eq!(plb.read(ACR), Ok(0xF800_0000));
        assert_eq!(plb.read(1), Err(AccessError::NoRegister { offset: 1 }));
        assert!(plb.write(4, 0).is_err());
        plb.reset();
        assert_eq!(plb.state(), State::default());
    }
}
