//! EBC0, the external bus controller: which chip select answers where.
//!
//! Boot wrappers read the banks to describe the flash in the device tree. The banks describe here,
//! they do not move anything.

use crate::bus::{AccessError, DcrDevice};
use crate::indirect::{self, Indirect};

/// Bank 0's configuration; the others follow at distances of 1.
pub const B0CR: u32 = 0x00;
/// Bank 0's access parameters; the others follow at distances of 1.
pub const B0AP: u32 = 0x10;
/// Bus error address, read only.
pub const BEAR: u32 = 0x20;
/// Bus error status: write 1 to clear.
pub const BESR: u32 = 0x21;
/// Configuration.
pub const CFG: u32 = 0x23;
/// Core identity, read only.
pub const CID: u32 = 0x24;

/// BnCR: the base address, in steps of 1 MiB.
pub const BCR_BASE: u32 = 0xFFF0_0000;
/// BnCR: the size field; size is 1 MiB << field.
pub const BCR_SIZE: u32 = 0x000E_0000;
/// BnCR: usage, 0 off, 1 read only, 2 write only, 3 both.
pub const BCR_USAGE: u32 = 0x0001_8000;
/// BnCR: usage, read only.
pub const BCR_USAGE_READ: u32 = 0x0000_8000;
/// BnCR: bus width.
pub const BCR_WIDTH: u32 = 0x0000_6000;

/// The number of banks.
pub const BANKS: usize = 8;

/// BnCR of a bank for reading and writing, 8 bits wide, at a base that is a multiple of 1 MiB, with
/// a size of 1 MiB << `size_field` (0..=7).
pub const fn bank(base: u32, size_field: u32) -> u32 {
    (base & BCR_BASE) | ((size_field << 17) & BCR_SIZE) | BCR_USAGE
}

/// BnCR of a bank as [`bank`] returns it, but only for reading.
pub const fn read_only_bank(base: u32, size_field: u32) -> u32 {
    (bank(base, size_field) & !BCR_USAGE) | BCR_USAGE_READ
}

/// The values that a snapshot of the external bus controller must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// CFGADDR.
    pub index: u32,
    /// Bank configurations.
    pub bcr: [u32; BANKS],
    /// Bank access parameters.
    pub bap: [u32; BANKS],
    /// Bus error address.
    pub bear: u32,
    /// Bus error status.
    pub besr: u32,
    /// Configuration.
    pub cfg: u32,
}

/// The external bus controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ebc {
    state: State,
    /// The banks as firmware leaves them.
    bcr: [u32; BANKS],
}

impl Ebc {
    /// A controller with B0CR to B7CR as firmware leaves them; 0 is a bank that is off.
    pub fn new(bcr: [u32; BANKS]) -> Self {
        Ebc {
            state: State {
                bcr,
                ..State::default()
            },
            bcr,
        }
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Ebc::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    fn bank_register(state: &mut State, index: u32) -> Option<&mut u32> {
        let (bank, registers) = match index.checked_sub(B0AP) {
            Some(bank) => (bank, &mut state.bap),
            None => (index, &mut state.bcr),
        };
        registers.get_mut(bank as usize)
    }
}

impl Indirect for Ebc {
    fn index(&mut self) -> &mut u32 {
        &mut self.state.index
    }

    fn get(&self, index: u32) -> Result<u32, AccessError> {
        let mut state = self.state;
        if let Some(register) = Self::bank_register(&mut state, index) {
            return Ok(*register);
        }
        Ok(match index {
            BEAR => state.bear,
            BESR => state.besr,
            CFG => state.cfg,
            CID => 0,
            _ => return Err(AccessError::NoIndex { index }),
        })
    }

    fn put(&mut self, index: u32, value: u32) -> Result<(), AccessError> {
        let state = &mut self.state;
        if let Some(register) = Self::bank_register(state, index) {
            *register = value;
            return Ok(());
        }
        match index {
            BEAR | CID => {}
            BESR => state.besr &= !value,
            CFG => state.cfg = value,
            _ => return Err(AccessError::NoIndex { index }),
        }
        Ok(())
    }
}

impl DcrDevice for Ebc {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        indirect::read(self, offset)
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        indirect::write(self, offset, value)
    }

    fn reset(&mut self) {
        *self = Ebc::new(self.bcr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indirect::{get, put};

    #[test]
    fn a_boot_wrapper_finds_the_flash_and_no_other_bank() {
        let unit = &mut Ebc::new([bank(0xFFF0_0000, 0), 0, 0, 0, 0, 0, 0, 0]);
        let mut found = Vec::new();
        for n in 0..8 {
            let bcr = get(unit, n).unwrap();
            if bcr & BCR_USAGE != 0 {
                found.push((n, bcr & BCR_BASE, 0x10_0000 << ((bcr & BCR_SIZE) >> 17)));
            }
        }
        assert_eq!(found, [(0, 0xFFF0_0000_u32, 0x10_0000)]);
        assert_eq!(bank(0xFF80_0000, 3), 0xFF87_8000);
        assert_eq!(read_only_bank(0xFFF0_0000, 0), 0xFFF0_8000);
    }

    #[test]
    fn registers_read_back_where_they_can_be_written() {
        let unit = &mut Ebc::new([0; 8]);
        for index in [0x00, 0x07, 0x10, 0x17, CFG] {
            put(unit, index, 0xA000_0000 | index).unwrap();
            assert_eq!(get(unit, index), Ok(0xA000_0000 | index));
        }
        for index in [BEAR, CID] {
            put(unit, index, u32::MAX).unwrap();
            assert_eq!(get(unit, index), Ok(0));
        }
        for index in [0x08, 0x18, 0x22, 0x25] {
            assert_eq!(get(unit, index), Err(AccessError::NoIndex { index }));
            assert_eq!(put(unit, index, 0), Err(AccessError::NoIndex { index }));
        }
        unit.set_state(State {
            besr: 0xF0,
            ..unit.state()
        });
        put(unit, BESR, 0x30).unwrap();
        assert_eq!(get(unit, BESR), Ok(0xC0));
        unit.reset();
        assert_eq!(unit.state(), State::default());
    }
}
