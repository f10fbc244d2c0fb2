//! A GPIO controller: 32 pins, of which software sees the levels.
//!
//! Registers are 32 bits and big-endian; pin *n* is bit *n* as the manual counts, from the most
//! significant. Alternate functions and open drain are kept and read back.

use crate::access_width::{self, Order, merge};
use crate::bus::{AccessError, MmioDevice};

/// Output.
pub const OR: u32 = 0x00;
/// Three-state control: 1 drives the pin.
pub const TCR: u32 = 0x04;
/// Output select, pins 0 to 15.
pub const OSRL: u32 = 0x08;
/// Output select, pins 16 to 31.
pub const OSRH: u32 = 0x0C;
/// Three-state select, pins 0 to 15.
pub const TSRL: u32 = 0x10;
/// Three-state select, pins 16 to 31.
pub const TSRH: u32 = 0x14;
/// Open drain.
pub const ODR: u32 = 0x18;
/// Input, read only.
pub const IR: u32 = 0x1C;
/// Receive register 1; 2 and 3 follow at distances of 4.
pub const RR1: u32 = 0x20;
/// Input select 1, pins 0 to 15; the other halves and numbers follow at distances of 4.
pub const ISR1L: u32 = 0x30;

/// The values that a snapshot of a GPIO controller must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Output.
    pub or: u32,
    /// Three-state control.
    pub tcr: u32,
    /// Output select, low and high half.
    pub osr: [u32; 2],
    /// Three-state select, low and high half.
    pub tsr: [u32; 2],
    /// Open drain.
    pub odr: u32,
    /// Receive registers.
    pub rr: [u32; 3],
    /// Input selects, low and high half of each.
    pub isr: [u32; 6],
    /// The levels that the board puts on the pins. A reset keeps them.
    pub pins: u32,
}

/// A GPIO controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpio {
    state: State,
}

impl Gpio {
    /// A controller after a reset, all pins low.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Gpio::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// The levels that the board puts on the pins, pin 0 the most significant.
    pub fn set_pins(&mut self, pins: u32) {
        self.state.pins = pins;
    }

    /// The levels on the pins: what software drives, and the board's on the others.
    pub fn levels(&self) -> u32 {
        // An open-drain pin is pulled up unless it is driven low.
        let driven = self.state.tcr & !(self.state.odr & self.state.or);
        merge(self.state.pins, self.state.or, driven)
    }

    fn register(state: &mut State, offset: u32) -> Option<&mut u32> {
        match offset {
            OR => Some(&mut state.or),
            TCR => Some(&mut state.tcr),
            OSRL | OSRH => state.osr.get_mut(((offset - OSRL) / 4) as usize),
            TSRL | TSRH => state.tsr.get_mut(((offset - TSRL) / 4) as usize),
            ODR => Some(&mut state.odr),
            RR1..ISR1L => state.rr.get_mut(((offset - RR1) / 4) as usize),
            ISR1L.. => state.isr.get_mut(((offset - ISR1L) / 4) as usize),
            _ => None,
        }
    }
}

impl MmioDevice for Gpio {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        access_width::read(Order::Big, offset, data, |at| match at {
            IR => Ok(self.levels()),
            _ => Self::register(&mut self.state, at)
                .map(|register| *register)
                .ok_or(AccessError::NoRegister { offset: at }),
        })
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        access_width::write(Order::Big, offset, data, |at, value, mask| {
            if at != IR {
                let register = Self::register(&mut self.state, at)
                    .ok_or(AccessError::NoRegister { offset: at })?;
                *register = merge(*register, value, mask);
            }
            Ok(())
        })
    }

    fn reset(&mut self) {
        self.state = State {
            pins: self.state.pins,
            ..State::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(gpio: &mut Gpio, offset: u32) -> Result<u32, AccessError> {
        let mut data = [0; 4];
        gpio.read(offset, &mut data)?;
        Ok(u32::from_be_bytes(data))
    }

    fn put(gpio: &mut Gpio, offset: u32, value: u32) -> Result<(), AccessError> {
        gpio.write(offset, &value.to_be_bytes())
    }

    #[test]
    fn a_driven_pin_shows_its_output_and_the_others_the_boards_level() {
        let gpio = &mut Gpio::new();
        gpio.set_pins(0x0000_FFFF);
        put(gpio, OR, 0x8000_0001).unwrap();
        put(gpio, TCR, 0xC000_0003).unwrap();
        assert_eq!(get(gpio, IR), Ok(0x8000_FFFD));
        put(gpio, IR, 0).unwrap();
        assert_eq!(get(gpio, IR), Ok(0x8000_FFFD), "read only");
        put(gpio, ODR, 0x8000_0002).unwrap();
        assert_eq!(
            get(gpio, IR),
            Ok(0x0000_FFFD),
            "open drain does not drive high"
        );
    }

    #[test]
    fn registers_read_back_and_there_are_no_others() {
        let gpio = &mut Gpio::new();
        let all = (0x00..0x48)
            .step_by(4)
            .filter(|at| ![IR, 0x2C].contains(at));
        for offset in all.clone() {
            put(gpio, offset, 0x1234_5600 + offset).unwrap();
        }
        for offset in all {
            assert_eq!(get(gpio, offset), Ok(0x1234_5600 + offset));
        }
        for offset in [0x2C, 0x48] {
            assert_eq!(get(gpio, offset), Err(AccessError::NoRegister { offset }));
            assert_eq!(
                put(gpio, offset, 0),
                Err(AccessError::NoRegister { offset })
            );
        }
        gpio.reset();
        assert_eq!(gpio.state(), State::default());
    }
}
