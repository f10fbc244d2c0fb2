//! CPR0, clocking and power-on reset: the dividers behind the board's clocks.
//!
//! Boot wrappers read the dividers to compute the frequencies that they put into the device tree.
//! Clocks here run at one speed: a guest that writes the dividers reads them back, and that is all.
//! A boot loader that sets up the clocks writes them, sets ICFG\[RLI\] and resets the chip; then it
//! finds them again and goes on.

use crate::bus::{AccessError, DcrDevice, Reset};
use crate::indirect::{self, Indirect};

/// Clock update: a command, reads as 0.
pub const CLKUPD: u32 = 0x020;
/// PLL configuration.
pub const PLLC: u32 = 0x040;
/// PLL dividers.
pub const PLLD: u32 = 0x060;
/// Primary A divider.
pub const PRIMAD: u32 = 0x080;
/// Primary B divider.
pub const PRIMBD: u32 = 0x0A0;
/// OPB clock divider.
pub const OPBD: u32 = 0x0C0;
/// Peripheral clock divider.
pub const PERD: u32 = 0x0E0;
/// MAL clock divider.
pub const MALD: u32 = 0x100;
/// Initial configuration.
pub const ICFG: u32 = 0x140;

/// ICFG: a chip reset leaves the registers as they are, where it would else load the straps again.
pub const ICFG_RLI: u32 = 0x8000_0000;

/// CPR0's registers, under the manual's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// PLL configuration.
    pub pllc: u32,
    /// PLL dividers.
    pub plld: u32,
    /// Primary A divider.
    pub primad: u32,
    /// Primary B divider.
    pub primbd: u32,
    /// OPB clock divider.
    pub opbd: u32,
    /// Peripheral clock divider.
    pub perd: u32,
    /// MAL clock divider.
    pub mald: u32,
    /// Initial configuration.
    pub icfg: u32,
}

/// The values that a snapshot of CPR0 must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// CFGADDR.
    pub index: u32,
    /// The registers behind it.
    pub registers: Registers,
}

/// CPR0, the unit that holds the clocks' dividers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpr {
    state: State,
    /// What the board straps.
    strapped: Registers,
}

impl Cpr {
    /// Returns CPR0 as the board straps it.
    pub fn new(strapped: Registers) -> Self {
        Cpr {
            state: State {
                index: 0,
                registers: strapped,
            },
            strapped,
        }
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Cpr::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }
}

impl Indirect for Cpr {
    fn index(&mut self) -> &mut u32 {
        &mut self.state.index
    }

    fn get(&self, index: u32) -> Result<u32, AccessError> {
        let registers = &self.state.registers;
        Ok(match index {
            CLKUPD => 0,
            PLLC => registers.pllc,
            PLLD => registers.plld,
            PRIMAD => registers.primad,
            PRIMBD => registers.primbd,
            OPBD => registers.opbd,
            PERD => registers.perd,
            MALD => registers.mald,
            ICFG => registers.icfg,
            _ => return Err(AccessError::NoIndex { index }),
        })
    }

    fn put(&mut self, index: u32, value: u32) -> Result<(), AccessError> {
        let registers = &mut self.state.registers;
        *match index {
            CLKUPD => return Ok(()),
            PLLC => &mut registers.pllc,
            PLLD => &mut registers.plld,
            PRIMAD => &mut registers.primad,
            PRIMBD => &mut registers.primbd,
            OPBD => &mut registers.opbd,
            PERD => &mut registers.perd,
            MALD => &mut registers.mald,
            ICFG => &mut registers.icfg,
            _ => return Err(AccessError::NoIndex { index }),
        } = value;
        Ok(())
    }
}

impl DcrDevice for Cpr {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        indirect::read(self, offset)
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        indirect::write(self, offset, value)
    }

    fn reset(&mut self) {
        *self = Cpr::new(self.strapped);
    }

    fn reset_by(&mut self, reset: Reset) {
        let inhibited = self.state.registers.icfg & ICFG_RLI != 0;
        match reset {
            Reset::Core => {}
            Reset::Chip if inhibited => self.state.index = 0,
            Reset::Chip | Reset::System => self.reset(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indirect::{get, put};

    /// A divider's field, where 0 stands for the largest.
    fn divider(value: u32, shift: u32, largest: u32) -> u32 {
        match (value >> shift) & (largest - 1) {
            0 => largest,
            field => field,
        }
    }

    #[test]
    fn a_boot_wrapper_computes_the_boards_clocks() {
        let unit = &mut Cpr::new(Registers {
            pllc: 0x4100_0000,
            plld: 0x1002_0001,
            primad: 0x0100_0000,
            primbd: 0x0100_0000,
            opbd: 0x0200_0000,
            perd: 0x0200_0000,
            ..Registers::default()
        });
        let pllc = get(unit, PLLC).unwrap();
        assert_eq!((pllc & 0x4000_0000 != 0, (pllc >> 24) & 7), (true, 1));
        let plld = get(unit, PLLD).unwrap();
        let (fwdva, fwdvb) = (divider(plld, 16, 16), divider(plld, 8, 8));
        let pradv = divider(get(unit, PRIMAD).unwrap(), 24, 8);
        let prbdv = divider(get(unit, PRIMBD).unwrap(), 24, 8);
        let vco = 33_333_333 * fwdva * pradv * divider(plld, 24, 32);
        let plb = vco / fwdvb / prbdv;
        assert_eq!(vco / fwdva / pradv, 533_333_328);
        assert_eq!(plb, 133_333_332);
        assert_eq!(plb / divider(get(unit, OPBD).unwrap(), 24, 4), 66_666_666);
        assert_eq!(plb / divider(get(unit, PERD).unwrap(), 24, 4), 66_666_666);
    }

    #[test]
    fn a_boot_loader_that_sets_the_clocks_finds_them_after_its_chip_reset() {
        let strapped = Registers {
            pllc: 1,
            ..Registers::default()
        };
        for (icfg, reset, kept) in [
            (0, Reset::Core, true),
            (0, Reset::Chip, false),
            (ICFG_RLI, Reset::Chip, true),
            (ICFG_RLI, Reset::System, false),
        ] {
            let unit = &mut Cpr::new(strapped);
            put(unit, PERD, 0x0500_0000).unwrap();
            put(unit, ICFG, icfg).unwrap();
            unit.reset_by(reset);
            let expected = if kept { (0x0500_0000, icfg) } else { (0, 0) };
            let found = (get(unit, PERD).unwrap(), get(unit, ICFG).unwrap());
            assert_eq!(found, expected, "{icfg:#x} {reset:?}");
            assert_eq!(get(unit, PLLC), Ok(1));
        }
    }

    #[test]
    fn registers_read_back_and_reset_to_the_straps() {
        let strapped = Registers {
            pllc: 1,
            ..Registers::default()
        };
        let unit = &mut Cpr::new(strapped);
        let all = [PLLC, PLLD, PRIMAD, PRIMBD, OPBD, PERD, MALD, ICFG];
        for (index, value) in all.into_iter().zip(0x100..) {
            put(unit, index, value).unwrap();
        }
        for (index, value) in all.into_iter().zip(0x100..) {
            assert_eq!(get(unit, index), Ok(value));
        }
        put(unit, CLKUPD, 0x8000_0000).unwrap();
        assert_eq!(get(unit, CLKUPD), Ok(0));
        assert_eq!(get(unit, 0x41), Err(AccessError::NoIndex { index: 0x41 }));
        let state = unit.state();
        unit.reset();
        assert_eq!(unit.state().registers, strapped);
        unit.set_state(state);
        assert_eq!(unit.read(1), Err(AccessError::NoIndex { index: 0x41 }));
        assert_eq!(unit.read(2), Err(AccessError::NoRegister { offset: 2 }));
    }
}
