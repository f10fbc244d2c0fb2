//! MAL0, the memory access layer: the DMA engine between memory and the Ethernet controllers.
//!
//! No controller moves a frame through it, so a channel that is activated stays active and finds
//! nothing to do. Boot wrappers reset it and wait for the reset bit to clear itself.

use crate::bus::{AccessError, DcrDevice};

/// Configuration.
pub const CFG: u32 = 0x00;
/// Error status: write 1 to clear.
pub const ESR: u32 = 0x01;
/// Interrupt enable.
pub const IER: u32 = 0x02;
/// Transmit channels active: write 1 to activate.
pub const TXCASR: u32 = 0x04;
/// Transmit channels active: write 1 to deactivate.
pub const TXCARR: u32 = 0x05;
/// Transmit end of buffer: write 1 to clear.
pub const TXEOBISR: u32 = 0x06;
/// Transmit descriptor error: write 1 to clear.
pub const TXDEIR: u32 = 0x07;
/// Receive channels active: write 1 to activate.
pub const RXCASR: u32 = 0x10;
/// Receive channels active: write 1 to deactivate.
pub const RXCARR: u32 = 0x11;
/// Receive end of buffer: write 1 to clear.
pub const RXEOBISR: u32 = 0x12;
/// Receive descriptor error: write 1 to clear.
pub const RXDEIR: u32 = 0x13;
/// Transmit channel 0's descriptor table; the others follow.
pub const TXCTP0R: u32 = 0x20;
/// Receive channel 0's descriptor table; the others follow.
pub const RXCTP0R: u32 = 0x40;
/// Receive channel 0's buffer size; the others follow.
pub const RCBS0: u32 = 0x60;

/// CFG: reset; clears itself.
pub const CFG_SR: u32 = 0x8000_0000;
const CFG_MASK: u32 = 0x00FF_C087;
const CFG_RESET: u32 = 0x0007_C000;
const IER_MASK: u32 = 0x0000_001F;
const RCBS_MASK: u32 = 0x0000_00FF;

/// The number of transmit channels.
pub const TX_CHANNELS: usize = 4;
/// The number of receive channels.
pub const RX_CHANNELS: usize = 2;

/// The values that a snapshot of one direction must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction<const CHANNELS: usize> {
    /// The channels that are active, channel 0 the most significant bit.
    pub active: u32,
    /// End of buffer.
    pub eobisr: u32,
    /// Descriptor error.
    pub deir: u32,
    /// Descriptor tables.
    pub ctpr: [u32; CHANNELS],
}

impl<const CHANNELS: usize> Direction<CHANNELS> {
    /// The bits of the channels that exist.
    const BITS: u32 = !(u32::MAX >> CHANNELS);

    const RESET: Self = Direction {
        active: 0,
        eobisr: 0,
        deir: 0,
        ctpr: [0; CHANNELS],
    };

    /// Reads the register at a distance from this direction's CASR.
    fn read(&self, distance: u32) -> Option<u32> {
        Some(match distance {
            0 | 1 => self.active,
            2 => self.eobisr,
            3 => self.deir,
            _ => return None,
        })
    }

    /// Writes the register at a distance from this direction's CASR.
    fn write(&mut self, distance: u32, value: u32) -> Option<()> {
        match distance {
            0 => self.active |= value & Self::BITS,
            1 => self.active &= !value,
            2 => self.eobisr &= !value,
            3 => self.deir &= !value,
            _ => return None,
        }
        Some(())
    }
}

/// The values that a snapshot of MAL0 must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Configuration.
    pub cfg: u32,
    /// Error status.
    pub esr: u32,
    /// Interrupt enable.
    pub ier: u32,
    /// Transmit channels.
    pub tx: Direction<TX_CHANNELS>,
    /// Receive channels.
    pub rx: Direction<RX_CHANNELS>,
    /// Receive buffer sizes, in units of 16 bytes.
    pub rcbs: [u32; RX_CHANNELS],
}

impl Default for State {
    fn default() -> Self {
        State {
            cfg: CFG_RESET,
            esr: 0,
            ier: 0,
            tx: Direction::RESET,
            rx: Direction::RESET,
            rcbs: [0; RX_CHANNELS],
        }
    }
}

/// MAL0, the DMA engine of the Ethernet controllers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mal {
    state: State,
}

impl Mal {
    /// Returns MAL0 as it is after a reset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Mal::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// The registers that come once for each channel, with the bits that exist.
    fn channel_register(state: &mut State, offset: u32) -> Option<(&mut u32, u32)> {
        let (base, registers, mask): (u32, &mut [u32], u32) = match offset {
            RCBS0.. => (RCBS0, &mut state.rcbs, RCBS_MASK),
            RXCTP0R.. => (RXCTP0R, &mut state.rx.ctpr, u32::MAX),
            TXCTP0R.. => (TXCTP0R, &mut state.tx.ctpr, u32::MAX),
            _ => return None,
        };
        let register = registers.get_mut((offset - base) as usize)?;
        Some((register, mask))
    }
}

impl DcrDevice for Mal {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        let state = &mut self.state;
        match offset {
            CFG => Some(state.cfg),
            ESR => Some(state.esr),
            IER => Some(state.ier),
            TXCASR..=TXDEIR => state.tx.read(offset - TXCASR),
            RXCASR..=RXDEIR => state.rx.read(offset - RXCASR),
            _ => Self::channel_register(state, offset).map(|(register, _)| *register),
        }
        .ok_or(AccessError::NoRegister { offset })
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        let state = &mut self.state;
        match offset {
            CFG if value & CFG_SR != 0 => *state = State::default(),
            CFG => state.cfg = value & CFG_MASK,
            ESR => state.esr &= !value,
            IER => state.ier = value & IER_MASK,
            TXCASR..=TXDEIR => state
                .tx
                .write(offset - TXCASR, value)
                .ok_or(AccessError::NoRegister { offset })?,
            RXCASR..=RXDEIR => state
                .rx
                .write(offset - RXCASR, value)
                .ok_or(AccessError::NoRegister { offset })?,
            _ => {
                let (register, mask) = Self::channel_register(state, offset)
                    .ok_or(AccessError::NoRegister { offset })?;
                *register = value & mask;
            }
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
    fn the_reset_bit_clears_itself_and_everything_else() {
        let mut mal = Mal::new();
        assert_eq!(mal.read(CFG), Ok(0x0007_C000));
        for offset in [CFG, IER, TXCASR, RXCASR, TXCTP0R, RXCTP0R + 1, RCBS0] {
            mal.write(offset, 0x0F00_001F).unwrap();
        }
        mal.write(CFG, CFG_SR).unwrap();
        assert_eq!(mal.read(CFG), Ok(0x0007_C000));
        assert_eq!(mal.state(), State::default());
    }

    #[test]
    fn channels_are_activated_and_deactivated_by_ones() {
        let mut mal = Mal::new();
        mal.write(TXCASR, u32::MAX).unwrap();
        mal.write(RXCASR, u32::MAX).unwrap();
        assert_eq!(mal.read(TXCASR), Ok(0xF000_0000), "four to transmit");
        assert_eq!(mal.read(RXCASR), Ok(0xC000_0000), "two to receive");
        mal.write(TXCARR, 0x9000_0000).unwrap();
        mal.write(TXCASR, 0).unwrap();
        assert_eq!(mal.read(TXCARR), Ok(0x6000_0000));
    }

    #[test]
    fn status_registers_are_cleared_by_ones() {
        let mut mal = Mal::new();
        let mut state = mal.state();
        state.esr = 0xFF;
        state.tx.eobisr = 0xF000_0000;
        state.rx.deir = 0xC000_0000;
        mal.set_state(state);
        mal.write(ESR, 0x0F).unwrap();
        mal.write(TXEOBISR, 0x8000_0000).unwrap();
        mal.write(RXDEIR, 0x4000_0000).unwrap();
        assert_eq!(mal.read(ESR), Ok(0xF0));
        assert_eq!(mal.read(TXEOBISR), Ok(0x7000_0000));
        assert_eq!(mal.read(RXDEIR), Ok(0x8000_0000));
    }

    #[test]
    fn each_channel_has_its_registers_and_no_more_channels_exist() {
        let mut mal = Mal::new();
        for offset in [0x20, 0x23, 0x40, 0x41] {
            mal.write(offset, 0x0123_4560 + offset).unwrap();
            assert_eq!(mal.read(offset), Ok(0x0123_4560 + offset));
        }
        for offset in [0x60, 0x61] {
            mal.write(offset, 0x1FF).unwrap();
            assert_eq!(mal.read(offset), Ok(0xFF));
        }
        for offset in [0x03, 0x08, 0x14, 0x24, 0x42, 0x62] {
            assert_eq!(mal.read(offset), Err(AccessError::NoRegister { offset }));
            assert_eq!(
                mal.write(offset, 1),
                Err(AccessError::NoRegister { offset })
            );
        }
    }
}
