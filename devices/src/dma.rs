//! DMA0, the four-channel DMA controller.
//!
//! The registers are all there. Transfers are not: no driver in Linux uses this controller, and a
//! device here cannot reach memory. A channel that is enabled ends at once with its error bit set,
//! which is what software waits for, rather than staying busy for ever.

use crate::bus::{AccessError, DcrDevice};

/// Channel 0's control; each channel has eight registers.
pub const CR0: u32 = 0x00;
/// Channel status: write 1 to clear.
pub const SR: u32 = 0x20;
/// Scatter and gather command.
pub const SGC: u32 = 0x23;
/// Sleep mode.
pub const SLP: u32 = 0x25;
/// Polarity of the external signals.
pub const POL: u32 = 0x26;

/// CR: the channel is enabled.
pub const CR_CE: u32 = 0x8000_0000;
/// SR: channel 0 ended with an error; the other channels follow to the right.
pub const SR_RI0: u32 = 0x0080_0000;

/// The number of channels.
pub const CHANNELS: usize = 4;

/// The values that a snapshot of one channel must hold, in the order of the registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Control.
    pub cr: u32,
    /// Count and control.
    pub ct: u32,
    /// Source address, high word.
    pub sah: u32,
    /// Source address, low word.
    pub sal: u32,
    /// Destination address, high word.
    pub dah: u32,
    /// Destination address, low word.
    pub dal: u32,
    /// Scatter and gather descriptor, high word.
    pub sgh: u32,
    /// Scatter and gather descriptor, low word.
    pub sgl: u32,
}

impl Channel {
    fn register(&mut self, number: u32) -> &mut u32 {
        match number & 7 {
            0 => &mut self.cr,
            1 => &mut self.ct,
            2 => &mut self.sah,
            3 => &mut self.sal,
            4 => &mut self.dah,
            5 => &mut self.dal,
            6 => &mut self.sgh,
            _ => &mut self.sgl,
        }
    }
}

/// The values that a snapshot of DMA0 must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The channels.
    pub channels: [Channel; CHANNELS],
    /// Channel status.
    pub sr: u32,
    /// Scatter and gather command.
    pub sgc: u32,
    /// Sleep mode.
    pub slp: u32,
    /// Polarity.
    pub pol: u32,
}

/// DMA0, the DMA controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dma {
    state: State,
}

impl Dma {
    /// Returns DMA0 as it is after a reset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Dma::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    fn register(state: &mut State, offset: u32) -> Option<&mut u32> {
        Some(match offset {
            SR => &mut state.sr,
            SGC => &mut state.sgc,
            SLP => &mut state.slp,
            POL => &mut state.pol,
            _ => state
                .channels
                .get_mut((offset / 8) as usize)?
                .register(offset),
        })
    }
}

impl DcrDevice for Dma {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        Self::register(&mut self.state, offset)
            .map(|register| *register)
            .ok_or(AccessError::NoRegister { offset })
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        if offset == SR {
            self.state.sr &= !value;
            return Ok(());
        }
        let register =
            Self::register(&mut self.state, offset).ok_or(AccessError::NoRegister { offset })?;
        *register = value;
        let channel = offset / 8;
        if (channel as usize) < CHANNELS && offset % 8 == CR0 && value & CR_CE != 0 {
            *register &= !CR_CE;
            self.state.sr |= SR_RI0 >> channel;
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
    fn every_register_of_every_channel_is_its_own() {
        let mut dma = Dma::new();
        let all = (0..0x20).chain([SGC, SLP, POL]);
        for offset in all.clone() {
            dma.write(offset, 0x100 + offset).unwrap();
        }
        for offset in all {
            assert_eq!(dma.read(offset), Ok(0x100 + offset));
        }
        for offset in [0x21, 0x22, 0x24, 0x27] {
            assert_eq!(dma.read(offset), Err(AccessError::NoRegister { offset }));
            assert!(dma.write(offset, 0).is_err());
        }
        dma.reset();
        assert_eq!(dma.state(), State::default());
    }

    #[test]
    fn a_transfer_ends_at_once_with_an_error_that_ones_clear() {
        let mut dma = Dma::new();
        dma.write(2 * 8, CR_CE | 0x1234).unwrap();
        assert_eq!(dma.read(2 * 8), Ok(0x1234));
        assert_eq!(dma.read(SR), Ok(0x0020_0000));
        dma.write(SR, 0x0020_0000).unwrap();
        assert_eq!(dma.read(SR), Ok(0));
    }
}
