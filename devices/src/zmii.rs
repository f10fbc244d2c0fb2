//! The ZMII bridge between the Ethernet controllers and their transceivers: which mode and speed
//! each has. Registers are 32 bits and big-endian.

use crate::access_width::{self, Order, merge};
use crate::bus::{AccessError, MmioDevice};

/// Function enable.
pub const FER: u32 = 0x00;
/// Speed selection.
pub const SSR: u32 = 0x04;
/// SMII status, read only.
pub const SMIISR: u32 = 0x08;

/// The values that a snapshot of the ZMII bridge must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Function enable.
    pub fer: u32,
    /// Speed selection.
    pub ssr: u32,
}

/// The ZMII bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zmii {
    state: State,
}

impl Zmii {
    /// A bridge after a reset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Zmii::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }
}

impl MmioDevice for Zmii {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        access_width::read(Order::Big, offset, data, |at| match at {
            FER => Ok(self.state.fer),
            SSR => Ok(self.state.ssr),
            // No transceiver reports a link.
            SMIISR => Ok(0),
            _ => Err(AccessError::NoRegister { offset: at }),
        })
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        access_width::write(Order::Big, offset, data, |at, value, mask| {
            let register = match at {
                FER => &mut self.state.fer,
                SSR => &mut self.state.ssr,
                SMIISR => return Ok(()),
                _ => return Err(AccessError::NoRegister { offset: at }),
            };
            *register = merge(*register, value, mask);
            Ok(())
        })
    }

    fn reset(&mut self) {
        self.state = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_speed_read_back_and_no_link_is_reported() {
        let mut zmii = Zmii::new();
        for offset in [FER, SSR, SMIISR] {
            zmii.write(offset, &[0x12, 0x34, 0x56, 0x78]).unwrap();
        }
        zmii.write(FER + 1, &[0xFF]).unwrap();
        let mut data = [0; 8];
        zmii.read(FER, &mut data).unwrap();
        assert_eq!(data, [0x12, 0xFF, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78]);
        let mut data = [1; 4];
        zmii.read(SMIISR, &mut data).unwrap();
        assert_eq!(data, [0; 4]);
        assert_eq!(
            zmii.read(0xC, &mut data),
            Err(AccessError::NoRegister { offset: 0xC })
        );
        assert!(zmii.write(0xC, &data).is_err());
        zmii.reset();
        assert_eq!(zmii.state(), State::default());
    }
}
