//! An Ethernet controller (EMAC) with nothing plugged in: its registers, as far as boot wrappers and
//! a probing driver touch them.
//!
//! Registers are 32 bits and big-endian. The controller resets, keeps addresses and modes, and
//! answers on its management interface that there is no transceiver. It moves no frame.

use crate::access_width::{self, Order, merge};
use crate::bus::{AccessError, MmioDevice};

/// Mode 0.
pub const MR0: u32 = 0x00;
/// Transmit mode 0.
pub const TMR0: u32 = 0x08;
/// Interrupt status: write 1 to clear.
pub const ISR: u32 = 0x14;
/// Station management.
pub const STACR: u32 = 0x5C;
/// Octets transmitted, read only.
pub const OCTX: u32 = 0x68;
/// Octets received, read only.
pub const OCRX: u32 = 0x6C;

/// MR0: the receiver is idle, read only.
pub const MR0_RXI: u32 = 0x8000_0000;
/// MR0: the transmitter is idle, read only.
pub const MR0_TXI: u32 = 0x4000_0000;
/// MR0: soft reset; clears itself.
pub const MR0_SRST: u32 = 0x2000_0000;
/// MR0: transmit enable.
pub const MR0_TXE: u32 = 0x1000_0000;
/// MR0: receive enable.
pub const MR0_RXE: u32 = 0x0800_0000;
/// MR0: wake-up enable.
pub const MR0_WKE: u32 = 0x0400_0000;

/// TMR0: the commands to fetch a new packet; they clear themselves.
pub const TMR0_GNP: u32 = 0xE000_0000;

/// STACR: the transceiver's data.
pub const STACR_PHYD: u32 = 0xFFFF_0000;
/// STACR: the operation is complete.
pub const STACR_OC: u32 = 0x0000_8000;
/// STACR: no transceiver answered.
pub const STACR_PHYE: u32 = 0x0000_4000;
/// STACR: which operation, 1 read, 2 write.
pub const STACR_STAC: u32 = 0x0000_3000;
/// STACR: the operation that reads.
pub const STACR_STAC_READ: u32 = 0x0000_1000;

/// How many registers there are.
const WORDS: usize = 0x70 / 4;

/// The values that a snapshot of an EMAC must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The registers in order of their offsets.
    pub registers: [u32; WORDS],
}

impl Default for State {
    fn default() -> Self {
        let mut registers = [0; WORDS];
        registers[(STACR / 4) as usize] = STACR_OC;
        State { registers }
    }
}

/// An Ethernet controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emac {
    state: State,
}

impl Emac {
    /// A controller after a reset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Emac::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    fn get(&self, offset: u32) -> Result<u32, AccessError> {
        let value = self
            .state
            .registers
            .get((offset / 4) as usize)
            .copied()
            .ok_or(AccessError::NoRegister { offset })?;
        // Nothing ever moves, so both directions are idle.
        Ok(match offset {
            MR0 => value | MR0_RXI | MR0_TXI,
            _ => value,
        })
    }

    fn put(&mut self, offset: u32, value: u32, mask: u32) -> Result<(), AccessError> {
        let register = self
            .state
            .registers
            .get_mut((offset / 4) as usize)
            .ok_or(AccessError::NoRegister { offset })?;
        let new = merge(*register, value, mask);
        match offset {
            MR0 if value & mask & MR0_SRST != 0 => self.state = State::default(),
            MR0 => *register = new & (MR0_TXE | MR0_RXE | MR0_WKE),
            TMR0 => *register = new & !TMR0_GNP,
            ISR => *register &= !(value & mask),
            STACR => *register = management(new),
            OCTX | OCRX => {}
            _ => *register = new,
        }
        Ok(())
    }
}

/// What STACR holds when an operation that software wrote there is over: no transceiver drove the
/// data line, which is pulled up.
fn management(written: u32) -> u32 {
    let command = written & !(STACR_OC | STACR_PHYE);
    match written & STACR_STAC {
        0 => command | STACR_OC,
        STACR_STAC_READ => command | STACR_OC | STACR_PHYE | STACR_PHYD,
        _ => command | STACR_OC | STACR_PHYE,
    }
}

impl MmioDevice for Emac {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        access_width::read(Order::Big, offset, data, |at| self.get(at))
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        access_width::write(Order::Big, offset, data, |at, value, mask| {
            self.put(at, value, mask)
        })
    }

    fn reset(&mut self) {
        self.state = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Individual address, high word.
    const IAHR: u32 = 0x1C;

    fn get(emac: &mut Emac, offset: u32) -> Result<u32, AccessError> {
        let mut data = [0; 4];
        emac.read(offset, &mut data)?;
        Ok(u32::from_be_bytes(data))
    }

    fn put(emac: &mut Emac, offset: u32, value: u32) -> Result<(), AccessError> {
        emac.write(offset, &value.to_be_bytes())
    }

    #[test]
    fn a_boot_wrappers_reset_clears_itself_and_everything_else() {
        let emac = &mut Emac::new();
        put(emac, IAHR, 0x1234).unwrap();
        put(emac, MR0, MR0_TXE | MR0_RXE).unwrap();
        assert_eq!(get(emac, MR0), Ok(0xD800_0000));
        put(emac, MR0, MR0_SRST).unwrap();
        assert_eq!(get(emac, MR0), Ok(MR0_RXI | MR0_TXI));
        assert_eq!(get(emac, IAHR), Ok(0));
    }

    #[test]
    fn a_driver_that_scans_for_transceivers_finds_none() {
        let emac = &mut Emac::new();
        assert_eq!(get(emac, STACR).unwrap() & STACR_OC, STACR_OC);
        for phy in 0..32 {
            put(emac, STACR, STACR_STAC_READ | (phy << 5) | 1).unwrap();
            let answer = get(emac, STACR).unwrap();
            assert_eq!(answer & STACR_OC, STACR_OC, "it does not wait for ever");
            assert_eq!(answer & STACR_PHYE, STACR_PHYE);
            assert_eq!(answer >> 16, 0xFFFF);
        }
        put(emac, STACR, 0x1234_2000).unwrap();
        assert_eq!(get(emac, STACR), Ok(0x1234_2000 | STACR_OC | STACR_PHYE));
    }

    #[test]
    fn commands_clear_themselves_and_status_is_cleared_by_ones() {
        let emac = &mut Emac::new();
        put(emac, TMR0, 0xE000_0007).unwrap();
        assert_eq!(get(emac, TMR0), Ok(7));
        let mut state = emac.state();
        state.registers[(ISR / 4) as usize] = 0xFF;
        emac.set_state(state);
        put(emac, ISR, 0x0F).unwrap();
        assert_eq!(get(emac, ISR), Ok(0xF0));
        for offset in [OCTX, OCRX] {
            put(emac, offset, 5).unwrap();
            assert_eq!(get(emac, offset), Ok(0));
        }
        assert_eq!(
            get(emac, 0x70),
            Err(AccessError::NoRegister { offset: 0x70 })
        );
        assert!(put(emac, 0x70, 0).is_err());
        emac.reset();
        assert_eq!(emac.state(), State::default());
    }
}
