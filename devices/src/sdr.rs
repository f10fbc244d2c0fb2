//! SDR0, the system device registers: what selects the serial clocks and configures the pins.
//!
//! Boot wrappers read the UARTs' clock selection, and Linux's Ethernet driver sets MFR. The chip has
//! more registers than these; the others are reported as not there.

use crate::bus::{AccessError, DcrDevice};
use crate::indirect::{self, Indirect};

/// Soft reset of the chip's units.
pub const SRST: u32 = 0x0200;
/// UART0's clock; UART1 to UART3 follow at distances of 1.
pub const UART0: u32 = 0x0120;
/// Customer configuration 0.
pub const CUST0: u32 = 0x4000;
/// Customer configuration 1.
pub const CUST1: u32 = 0x4002;
/// Pin function control 0.
pub const PFC0: u32 = 0x4100;
/// Pin function control 1.
pub const PFC1: u32 = 0x4101;
/// Miscellaneous function.
pub const MFR: u32 = 0x4300;

/// UARTn: the port runs from the external serial clock, not from the PLB's divided by the low byte.
pub const UART_EXTERNAL_CLOCK: u32 = 0x0080_0000;

/// The number of UARTs.
pub const UARTS: usize = 4;

/// The values that a snapshot of SDR0 must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// CFGADDR.
    pub index: u32,
    /// Soft reset.
    pub srst: u32,
    /// The UARTs' clocks.
    pub uart: [u32; UARTS],
    /// Customer configurations.
    pub cust: [u32; 2],
    /// Pin function controls.
    pub pfc: [u32; 2],
    /// Miscellaneous function.
    pub mfr: u32,
}

/// SDR0, the system device registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdr {
    state: State,
    /// The UARTs' clocks as firmware leaves them.
    uart: [u32; UARTS],
}

impl Sdr {
    /// SDR0 with the UARTs' clocks as firmware leaves them.
    pub fn new(uart: [u32; UARTS]) -> Self {
        Sdr {
            state: State {
                index: 0,
                srst: 0,
                uart,
                cust: [0; 2],
                pfc: [0; 2],
                mfr: 0,
            },
            uart,
        }
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Sdr::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    fn register(state: &mut State, index: u32) -> Option<&mut u32> {
        Some(match index {
            SRST => &mut state.srst,
            CUST0 => &mut state.cust[0],
            CUST1 => &mut state.cust[1],
            PFC0 => &mut state.pfc[0],
            PFC1 => &mut state.pfc[1],
            MFR => &mut state.mfr,
            _ => state.uart.get_mut(index.checked_sub(UART0)? as usize)?,
        })
    }
}

impl Indirect for Sdr {
    fn index(&mut self) -> &mut u32 {
        &mut self.state.index
    }

    fn get(&self, index: u32) -> Result<u32, AccessError> {
        let mut state = self.state;
        Self::register(&mut state, index)
            .map(|register| *register)
            .ok_or(AccessError::NoIndex { index })
    }

    fn put(&mut self, index: u32, value: u32) -> Result<(), AccessError> {
        *Self::register(&mut self.state, index).ok_or(AccessError::NoIndex { index })? = value;
        Ok(())
    }
}

impl DcrDevice for Sdr {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        indirect::read(self, offset)
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        indirect::write(self, offset, value)
    }

    fn reset(&mut self) {
        *self = Sdr::new(self.uart);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indirect::{get, put};

    #[test]
    fn a_boot_wrapper_finds_the_external_serial_clock() {
        let unit = &mut Sdr::new([UART_EXTERNAL_CLOCK; 4]);
        for n in 0..4 {
            assert_eq!(get(unit, 0x120 + n), Ok(0x0080_0000));
        }
        assert_eq!(get(unit, 0x124), Err(AccessError::NoIndex { index: 0x124 }));
        assert_eq!(
            put(unit, 0x11F, 1),
            Err(AccessError::NoIndex { index: 0x11F })
        );
    }

    #[test]
    fn registers_read_back_and_reset_to_what_firmware_left() {
        let unit = &mut Sdr::new([UART_EXTERNAL_CLOCK, 1, 2, 3]);
        let fresh = unit.state();
        let all = [
            SRST, 0x120, 0x121, 0x122, 0x123, CUST0, CUST1, PFC0, PFC1, MFR,
        ];
        for (index, value) in all.into_iter().zip(0x100..) {
            put(unit, index, value).unwrap();
        }
        for (index, value) in all.into_iter().zip(0x100..) {
            assert_eq!(get(unit, index), Ok(value));
        }
        unit.reset();
        assert_eq!(unit.state(), fresh);
    }
}
